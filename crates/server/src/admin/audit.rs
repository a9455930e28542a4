//! Audit routes. They read; only the sequencer writes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use mandate_api::Problem;
use mandate_api::admin::{AuditQuery, AuditRecord, AuditVerification};
use mandate_audit::{CheckpointVerifier, Record};
use mandate_store::records::{self, LogError};
use tokio_stream::wrappers::ReceiverStream;

use super::problem::{self, Named};
use crate::control::Control;
use crate::error::ControlError;

/// How many records a query answers unless it says.
const DEFAULT_LIMIT: u32 = 100;

fn text(record: &Record) -> Result<AuditRecord, ControlError> {
    let value = serde_json::to_value(record).map_err(|error| ControlError::Internal(error.to_string()))?;
    serde_json::from_value(value).map_err(|error| ControlError::Internal(error.to_string()))
}

/// Reading takes as long as the disk: not on the threads that serve.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, ControlError> + Send + 'static) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(f).await.map_err(|error| ControlError::Internal(error.to_string()))?
}

fn resolve(control: &Control, query: AuditQuery) -> Result<mandate_audit::Query, ControlError> {
    let bad = |name: &str, why: String| ControlError::BadRequest(format!("{name}: {why}"));
    let snapshot = control.snapshot();
    let registry = &snapshot.registry;
    let agent = query.agent.map(|text| {
        let named = text.parse().ok().and_then(|name| registry.agent(&name));
        named.map_or(text, |agent| agent.spiffe_id.as_str().to_owned())
    });
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
        text.map(|text| text.parse().map_err(|error: mandate_core::time::InvalidTimestamp| bad(name, error.to_string()))).transpose()
    };
    let value = serde_json::Value::String;
    let outcome = query.outcome.map(|text| serde_json::from_value(value(text)).map_err(|e| bad("outcome", e.to_string()))).transpose()?;
    let kind = query.kind.map(|text| serde_json::from_value(value(text)).map_err(|e| bad("kind", e.to_string()))).transpose()?;
    Ok(mandate_audit::Query {
        agent,
        person,
        person_issuer,
        resource,
        jti: query.jti.map(|text| text.parse().map_err(|error: mandate_core::InvalidName| bad("jti", error.to_string()))).transpose()?,
        since: time("since", query.since)?,
        until: time("until", query.until)?,
        outcome,
        kind,
        limit: Some(query.limit.unwrap_or(DEFAULT_LIMIT)),
    })
}

/// Finds records, the newest first.
#[utoipa::path(get, path = "/v1/audit/records", tag = "audit",
    params(("agent" = Option<String>, Query, description = "an agent's name or SPIFFE ID, at any place in the chain"), ("person" = Option<String>, Query), ("resource" = Option<String>, Query), ("jti" = Option<String>, Query), ("since" = Option<String>, Query, description = "RFC 3339"), ("until" = Option<String>, Query), ("outcome" = Option<String>, Query, description = "`permitted` or `refused`"), ("kind" = Option<String>, Query), ("limit" = Option<u32>, Query)),
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
        let found = store.read("query the audit log", |tx| records::query(tx, &query))?;
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
    let store = control.store.clone();
    let found = blocking(move || Ok(store.read("read an audit record", |tx| records::get(tx, &id))?)).await?;
    text(&found.ok_or(ControlError::NoSuchRecord)?).map(Json)
}

fn verifier(control: &Control) -> Result<CheckpointVerifier, ControlError> {
    CheckpointVerifier::new(control.authority.checkpoint_vkey()).map_err(|error| ControlError::Internal(error.to_string()))
}

/// A tampered log is its own answer; everything else is a failure of ours.
fn broken(error: LogError) -> ControlError {
    match error {
        LogError::Tampered(tampered) => ControlError::AuditBroken(tampered.to_string()),
        other => ControlError::Internal(other.to_string()),
    }
}

/// Verifies the whole log: every record, the tree, the checkpoint's signature.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit",
    responses((status = 200, body = AuditVerification), (status = 401, body = Problem), (status = 403, body = Problem), (status = 500, body = Problem)))]
pub(super) async fn verify(State(control): State<Arc<Control>>) -> Result<Json<AuditVerification>, ControlError> {
    let verifier = verifier(&control)?;
    let store = control.store.clone();
    let key = control.authority.checkpoint_vkey().to_owned();
    blocking(move || {
        let mut outcome = None;
        let note = store.read("verify the audit log", |tx| {
            outcome = Some(records::verify(tx, &verifier, None, |_, _| {}));
            records::checkpoint(tx)
        })?;
        let summary = outcome.ok_or_else(|| ControlError::Internal("the log was not read".to_owned()))?.map_err(broken)?;
        Ok(AuditVerification {
            verified: true,
            size: summary.size,
            root: summary.root.to_string(),
            checkpoint: String::from_utf8_lossy(&note.unwrap_or_default()).into_owned(),
            key,
        })
    })
    .await
    .map(Json)
}

/// Hands the pieces of a bundle to the response as they are written.
struct Pieces {
    out: tokio::sync::mpsc::Sender<Result<Vec<u8>, std::io::Error>>,
    piece: Vec<u8>,
}

const PIECE: usize = 64 * 1024;

impl Pieces {
    fn send(&mut self) -> std::io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() { Ok(()) } else { self.out.blocking_send(Ok(piece)).map_err(|_| std::io::ErrorKind::BrokenPipe.into()) }
    }
}

impl std::io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.send()
    }
}

/// The whole log as a bundle that anyone can verify offline.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit",
    responses((status = 200, description = "A bundle, one JSON document a line", content_type = "application/x-ndjson"), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn export(State(control): State<Arc<Control>>) -> Result<Response, ControlError> {
    let verifier = verifier(&control)?;
    let store = control.store.clone();
    let (out, pieces) = tokio::sync::mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut writer = Some(Pieces { out: out.clone(), piece: Vec::new() });
        let mut result = Ok(());
        let read = store.read("export the audit log", |tx| {
            if let Some(pieces) = writer.take() {
                result = records::export(tx, &verifier, pieces, |_, _| {}).map_err(|error| error.to_string()).and_then(|mut pieces| {
                    use std::io::Write as _;
                    pieces.flush().map_err(|error| error.to_string())
                });
            }
            Ok(())
        });
        if let Err(why) = result.and_then(|()| read.map_err(|error| error.to_string())) {
            tracing::error!(%why, "exporting the audit log failed");
            // The response breaks off, so that nobody takes half a bundle for a whole one.
            let _ = out.blocking_send(Err(std::io::Error::other("the export failed")));
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(ReceiverStream::new(pieces))).into_response())
}
