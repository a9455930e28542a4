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
use mandate_api::Problem;
use mandate_api::admin::{AuditCheckpoint, AuditQuery, AuditRecord, AuditVerification, AuditVerifyQuery};
use mandate_audit::offline::BundleError;
use mandate_audit::query::operator_of;
use mandate_audit::{Checkpoint, CheckpointError, CheckpointVerifier, Tampered};
use mandate_core::Timestamp;
use mandate_core::time::InvalidTimestamp;
use mandate_store::records::{self, Found, LogError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::problem::{self, Named};
use crate::control::Control;
use crate::error::ControlError;

/// How many records a query returns by default.
const DEFAULT_LIMIT: u32 = 100;

fn text(found: &Found) -> Result<AuditRecord, ControlError> {
    let internal = |error: serde_json::Error| ControlError::Internal(error.to_string());
    let record: AuditRecord = serde_json::to_value(&found.record).and_then(serde_json::from_value).map_err(internal)?;
    Ok(AuditRecord { index: Some(found.index), ..record })
}

/// To read the whole log, or to write out thousands of records, must not keep the threads that serve requests.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, ControlError> + Send + 'static) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(f).await.map_err(|error| ControlError::Internal(error.to_string()))?
}

fn resolve(control: &Control, query: AuditQuery) -> Result<mandate_audit::Query, ControlError> {
    let bad = |name: &str, why: String| ControlError::BadRequest(format!("{name}: {why}"));
    let snapshot = control.snapshot();
    let registry = &snapshot.registry;
    // The name or SPIFFE ID of an agent of ours finds only actors that our issuer names. Any other text is looked for as it
    // is, no matter which issuer names the actor.
    let of_ours = |text: &str| {
        let by_name = text.parse().ok().and_then(|name| registry.agent(&name));
        by_name.or_else(|| text.parse().ok().and_then(|id| registry.agent_by_id(&id))).cloned()
    };
    let (agent, agent_issuer) = match query.agent {
        None => (None, None),
        Some(text) => match of_ours(&text) {
            Some(agent) => (Some(agent.spiffe_id.as_str().to_owned()), Some(control.live.issuer().clone())),
            None => (Some(text), None),
        },
    };
    let named = query.person.as_deref().and_then(|text| text.parse().ok()).and_then(|name| registry.person(&name).cloned());
    let (person, person_issuer) = match named {
        Some(person) => (Some(person.id.sub.clone()), Some(person.id.iss.clone())),
        None => (query.person, None),
    };
    let resource = query.resource.map(|text| {
        let named = text.parse().ok().and_then(|name| registry.resource(&name));
        named.map_or(text, |resource| resource.uri.as_str().to_owned())
    });
    let time = |name, text: Option<String>| {
        text.map(|text| text.parse().map_err(|error: InvalidTimestamp| bad(name, why_no_time(&text, error)))).transpose()
    };
    let by = query.by.map(|text| {
        let named = text.parse().ok().and_then(|name| registry.person(&name));
        named.map_or_else(|| operator_of(&text).to_owned(), |person| person.id.to_string())
    });
    let value = serde_json::Value::String;
    let outcome = query.outcome.map(|text| serde_json::from_value(value(text)).map_err(|e| bad("outcome", e.to_string()))).transpose()?;
    let kind = query.kind.map(|text| serde_json::from_value(value(text)).map_err(|e| bad("kind", e.to_string()))).transpose()?;
    Ok(mandate_audit::Query {
        agent,
        agent_issuer,
        person,
        person_issuer,
        resource,
        jti: query.jti.map(|text| text.parse().map_err(|error: mandate_core::InvalidName| bad("jti", error.to_string()))).transpose()?,
        since: time("since", query.since)?,
        until: time("until", query.until)?,
        client: query.client,
        grant: query.grant,
        by,
        outcome,
        kind,
        limit: Some(query.limit.unwrap_or(DEFAULT_LIMIT)),
        before: query.before,
    })
}

/// Why a text in a query is no time. A `+` that is not encoded is a space there, also the one in front of an offset.
fn why_no_time(text: &str, error: InvalidTimestamp) -> String {
    match text.rsplit_once(' ') {
        Some((time, offset)) if format!("{time}+{offset}").parse::<Timestamp>().is_ok() => {
            format!("in the query of a URL a + is a space; write {time}%2B{offset}")
        }
        _ => error.to_string(),
    }
}

/// Finds records, the newest first.
#[utoipa::path(get, path = "/v1/audit/records", tag = "audit",
    params(("agent" = Option<String>, Query, description = "an agent's name or SPIFFE ID: it acted, or it was changed or revoked"), ("person" = Option<String>, Query), ("resource" = Option<String>, Query), ("jti" = Option<String>, Query), ("client" = Option<String>, Query), ("grant" = Option<String>, Query), ("by" = Option<String>, Query, description = "an operator: a person's name, or `uid:NUMBER`"), ("since" = Option<String>, Query, description = "RFC 3339"), ("until" = Option<String>, Query), ("outcome" = Option<String>, Query, description = "`permitted` or `refused`"), ("kind" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "100 unless it says, never more than 10000"), ("before" = Option<u64>, Query, description = "the `index` of the last record of the page before")),
    responses((status = 200, body = Vec<AuditRecord>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn records(
    State(control): State<Arc<Control>>,
    query: Result<Query<AuditQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return problem::unreadable(&rejection.body_text(), rejection.status()),
    };
    let query = match resolve(&control, query) {
        Ok(query) => query,
        Err(error) => return error.into_response(),
    };
    let store = control.store.clone();
    blocking(move || {
        let found = store.search_blocking("query the audit log", |tx| records::query(tx, &query))?;
        found.iter().map(text).collect::<Result<Vec<_>, _>>()
    })
    .await
    .map(Json)
    .into_response()
}

/// One record.
#[utoipa::path(get, path = "/v1/audit/records/{id}", tag = "audit", params(("id" = String, Path)),
    responses((status = 200, body = AuditRecord), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn record(State(control): State<Arc<Control>>, Named(id): Named<String>) -> Result<Json<AuditRecord>, ControlError> {
    let id = id.parse().map_err(|_| ControlError::NoSuchRecord)?;
    let found = control.store.search("read an audit record", move |tx| records::get(tx, &id)).await?;
    text(&found.ok_or(ControlError::NoSuchRecord)?).map(Json)
}

fn verifier(control: &Control) -> Result<CheckpointVerifier, ControlError> {
    CheckpointVerifier::new(control.authority.checkpoint_vkey()).map_err(|error| ControlError::Internal(error.to_string()))
}

/// A tampered log has its own answer; everything else is a failure of ours.
fn broken(error: LogError) -> ControlError {
    match error {
        LogError::Tampered(tampered) => ControlError::AuditBroken(tampered.to_string()),
        other => ControlError::Internal(other.to_string()),
    }
}

/// A checkpoint that an auditor kept. If it belongs to another log, that is not the caller's mistake: this log was replaced.
fn kept(verifier: &CheckpointVerifier, note: &str) -> Result<Checkpoint, ControlError> {
    verifier.open(note.as_bytes()).map_err(|error| match error {
        CheckpointError::Malformed => ControlError::BadRequest("since: this is not a checkpoint".to_owned()),
        other => ControlError::AuditBroken(Tampered::Earlier(other).to_string()),
    })
}

/// Verifies the whole log: every record, the tree, the checkpoint's signature, and that it continues an earlier checkpoint.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit",
    params(("since" = Option<String>, Query, description = "a checkpoint that was kept earlier, a C2SP signed note")),
    responses((status = 200, body = AuditVerification), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 500, body = Problem)))]
pub(super) async fn verify(
    State(control): State<Arc<Control>>,
    query: Result<Query<AuditVerifyQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => verified(&control, query.since.as_deref()).await.map(Json).into_response(),
        Err(rejection) => problem::unreadable(&rejection.body_text(), rejection.status()),
    }
}

async fn verified(control: &Control, since: Option<&str>) -> Result<AuditVerification, ControlError> {
    let verifier = verifier(control)?;
    let earlier = since.map(|note| kept(&verifier, note)).transpose()?;
    let since = earlier.as_ref().map(|earlier| earlier.size);
    let store = control.store.clone();
    let key = control.authority.checkpoint_vkey().to_owned();
    blocking(move || {
        let log = records::verify_blocking(&store, &verifier, earlier, |_, _| {}).map_err(broken)?;
        Ok(AuditVerification {
            verified: true,
            size: log.summary.size,
            root: log.summary.root.to_string(),
            checkpoint: String::from_utf8_lossy(&log.checkpoint).into_owned(),
            key,
            since,
        })
    })
    .await
}

/// The current checkpoint. An auditor keeps it, and later checks the log against it.
#[utoipa::path(get, path = "/v1/audit/checkpoint", tag = "audit",
    responses((status = 200, body = AuditCheckpoint), (status = 401, body = Problem), (status = 403, body = Problem), (status = 500, body = Problem)))]
pub(super) async fn checkpoint(State(control): State<Arc<Control>>) -> Result<Json<AuditCheckpoint>, ControlError> {
    let verifier = verifier(&control)?;
    let note = control.store.read("read the checkpoint", records::checkpoint).await?;
    let note = note.ok_or_else(|| ControlError::AuditBroken("there is no checkpoint".to_owned()))?;
    let head = verifier.open(&note).map_err(|error| ControlError::AuditBroken(error.to_string()))?;
    Ok(Json(AuditCheckpoint {
        size: head.size,
        root: head.root.to_string(),
        checkpoint: String::from_utf8_lossy(&note).into_owned(),
        key: control.authority.checkpoint_vkey().to_owned(),
    }))
}

/// How long the reader of an export may take for one piece. Only a thread and some memory wait for the reader.
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
        let sent = self.runtime.block_on(async { tokio::time::timeout(self.deadline, self.out.send(piece)).await });
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(|_| io::ErrorKind::BrokenPipe.into())
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

/// The body of the response. It ends with an error unless the end was announced, so that nobody takes half a bundle for a
/// complete one.
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

/// The whole log as a bundle that anyone can verify offline.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit",
    responses((status = 200, description = "A bundle, one JSON document a line", content_type = "application/x-ndjson"), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn export(State(control): State<Arc<Control>>) -> Result<Response, ControlError> {
    let verifier = verifier(&control)?;
    let store = control.store.clone();
    let (out, pieces) = mpsc::channel(4);
    let pieces_out = Pieces::new(out, PIECE_DEADLINE);
    tokio::task::spawn_blocking(move || {
        let exported = records::export_blocking(&store, &verifier, pieces_out, |_, _| {});
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

    use super::{Bundle, PIECE, Piece, Pieces};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_stands_still_is_given_up() {
        let (out, _kept_but_not_read) = mpsc::channel(1);
        let mut pieces = Pieces::new(out, Duration::from_millis(1));
        let written = tokio::task::spawn_blocking(move || (0..3).try_for_each(|_| pieces.write_all(&vec![b'x'; PIECE])));
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
            assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), if whole { vec![true] } else { vec![true, false] });
        }
    }
}
