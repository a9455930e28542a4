//! Audit routes. They read; only the sequencer writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use mandate_administration::{Listed, act};
use mandate_api::Problem;
use mandate_api::admin::{AuditCheckpoint, AuditQuery, AuditRecord, AuditVerification, AuditVerifyQuery};
use mandate_audit::offline::BundleError;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::authentication::Permitted;
use super::pages;
use super::parts::Admin;
use super::problem::{self, Failed, Named};

/// Finds records of all logs, the newest first.
#[utoipa::path(get, path = "/v1/audit/records", tag = "audit",
    params(("agent" = Option<String>, Query, description = "an agent's name or SPIFFE ID: it acted, or it was changed or revoked"), ("person" = Option<String>, Query), ("resource" = Option<String>, Query), ("jti" = Option<String>, Query), ("client" = Option<String>, Query), ("grant" = Option<String>, Query), ("by" = Option<String>, Query, description = "an operator: a person's name, or `uid:NUMBER`"), ("since" = Option<String>, Query, description = "RFC 3339"), ("until" = Option<String>, Query), ("outcome" = Option<String>, Query, description = "`permitted` or `refused`"), ("kind" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "100 by default, at most 10000"), ("before" = Option<String>, Query, description = "where the page before ended: with one log the `index` of its last record, with several the `before` in its `Link` header, such as `1:17,2:0`")),
    responses((status = 200, body = Vec<AuditRecord>, headers(("link" = Option<String>, description = "with several logs the next page, if the page is full: `<?before=…>; rel=\"next\"`"))), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn records(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadAudit>,
    query: Result<Query<AuditQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => {
            let listed = admin.administration.records(&permit, query.clone()).await.map_err(Failed);
            listed.map(|listed| page(query, listed)).into_response()
        }
        Err(rejection) => problem::unreadable(&rejection.body_text(), rejection.status()),
    }
}

/// The records as a JSON array. If they say what comes next, the `Link` header has it: the same query with
/// another `before`.
fn page(mut query: AuditQuery, listed: Listed<AuditRecord>) -> Response {
    let Listed { items, next } = listed;
    let more = next.is_some();
    query.before = next;
    pages::linked(Json(items).into_response(), more.then(|| query.to_url_query()).as_deref())
}

/// The record with this id, of any log.
#[utoipa::path(get, path = "/v1/audit/records/{id}", tag = "audit", params(("id" = String, Path)),
    responses((status = 200, body = AuditRecord), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn record(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadAudit>,
    Named(id): Named<String>,
) -> Result<Json<AuditRecord>, Failed> {
    Ok(Json(admin.administration.audit_record(&permit, &id).await?))
}

/// Verifies every log: every record, the tree, the checkpoint's signature, and that the log of an earlier
/// checkpoint continues it.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit",
    params(("since" = Option<String>, Query, description = "a checkpoint that was kept earlier, a C2SP signed note")),
    responses((status = 200, body = AuditVerification), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 500, body = Problem)))]
pub(super) async fn verify(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadAudit>,
    query: Result<Query<AuditVerifyQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => admin
            .administration
            .verify(&permit, query.since.as_deref())
            .await
            .map(Json)
            .map_err(Failed)
            .into_response(),
        Err(rejection) => problem::unreadable(&rejection.body_text(), rejection.status()),
    }
}

/// The current checkpoint of the server's own log. An auditor keeps it, and later checks the log against it.
#[utoipa::path(get, path = "/v1/audit/checkpoint", tag = "audit",
    responses((status = 200, body = AuditCheckpoint), (status = 401, body = Problem), (status = 403, body = Problem), (status = 500, body = Problem)))]
pub(super) async fn checkpoint(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadAudit>,
) -> Result<Json<AuditCheckpoint>, Failed> {
    Ok(Json(admin.administration.checkpoint(&permit).await?))
}

/// How long the reader of an export may take for one piece. Only a thread and some memory wait for the
/// reader.
const PIECE_DEADLINE: Duration = Duration::from_secs(30);

/// How much of a bundle is sent at once, in bytes.
const PIECE: usize = 64 * 1024;

/// What the thread that reads the log sends to the response.
enum Piece {
    Bytes(Vec<u8>),
    /// The bundle is complete.
    End,
}

/// Hands the pieces of a bundle to the response as they are written.
struct Pieces {
    out: mpsc::Sender<Piece>,
    runtime: Handle,
    deadline: Duration,
    piece: Vec<u8>,
}

impl Pieces {
    fn new(out: mpsc::Sender<Piece>, deadline: Duration) -> Self {
        Self { out, runtime: Handle::current(), deadline, piece: Vec::new() }
    }

    /// Waits for room, on a thread that may block.
    fn send(&self, piece: Piece) -> io::Result<()> {
        let sent =
            self.runtime.block_on(async { tokio::time::timeout(self.deadline, self.out.send(piece)).await });
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() { Ok(()) } else { self.send(Piece::Bytes(piece)) }
    }
}

/// The body of the response. It ends with an error unless the end was announced, so that nobody takes half a
/// bundle for a complete one.
struct Bundle(Option<mpsc::Receiver<Piece>>);

impl Stream for Bundle {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(pieces) = &mut self.0 else { return Poll::Ready(None) };
        match ready!(pieces.poll_recv(context)) {
            Some(Piece::Bytes(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Some(Piece::End) => {
                self.0 = None;
                Poll::Ready(None)
            }
            None => {
                self.0 = None;
                Poll::Ready(Some(Err(io::Error::other("the export failed"))))
            }
        }
    }
}

/// The server's whole own log as a bundle that anyone can verify offline.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit",
    responses((status = 200, description = "A bundle, one JSON document a line", content_type = "application/x-ndjson"), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn export(
    State(admin): State<Arc<Admin>>,
    Permitted(permit): Permitted<act::ReadAudit>,
) -> Result<Response, Failed> {
    let export = admin.administration.export(&permit)?;
    let (out, pieces) = mpsc::channel(4);
    let pieces_out = Pieces::new(out, PIECE_DEADLINE);
    tokio::task::spawn_blocking(move || {
        let exported = export(pieces_out);
        if let Err(error) = exported.and_then(|out| Ok(out.send(Piece::End).map_err(BundleError::from)?)) {
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "exporting the audit log failed, or its reader went away");
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(Bundle(Some(pieces)))).into_response())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio_stream::StreamExt as _;

    use mandate_administration::Listed;
    use mandate_api::admin::AuditQuery;

    use super::{Bundle, PIECE, Piece, Pieces, page};

    #[test]
    fn what_comes_next_is_the_same_query_with_another_place() {
        let query = AuditQuery {
            agent: Some("a&b".to_owned()),
            limit: Some(2),
            before: Some("1:9,2:9".to_owned()),
            ..AuditQuery::default()
        };
        let link = |next: Option<&str>| {
            let response = page(query.clone(), Listed { items: Vec::new(), next: next.map(str::to_owned) });
            response.headers().get("link").map(|link| link.to_str().unwrap().to_owned())
        };
        assert_eq!(link(None), None);
        assert_eq!(
            link(Some("1:7,2:5")).unwrap(),
            "<?agent=a%26b&limit=2&before=1%3A7%2C2%3A5>; rel=\"next\""
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_stands_still_is_given_up() {
        let (out, _kept_but_not_read) = mpsc::channel(1);
        let mut pieces = Pieces::new(out, Duration::from_millis(1));
        let written = tokio::task::spawn_blocking(move || {
            (0..3).try_for_each(|_| pieces.write_all(&vec![b'x'; PIECE]))
        });
        assert_eq!(written.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_body_ends_well_only_when_the_bundle_is_whole() {
        for whole in [true, false] {
            let (out, pieces) = mpsc::channel(4);
            out.send(Piece::Bytes(b"x".to_vec())).await.unwrap();
            if whole {
                out.send(Piece::End).await.unwrap();
            }
            drop(out);
            let items: Vec<_> = Bundle(Some(pieces)).collect().await;
            assert_eq!(
                items.iter().map(Result::is_ok).collect::<Vec<_>>(),
                if whole { vec![true] } else { vec![true, false] }
            );
        }
    }
}
