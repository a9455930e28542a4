//! Every call is a row and a line, also a refused one.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use mandate_verifier::{Person, Refusal};
use rusqlite::params;

use crate::database::Database;
use crate::guard::Caller;

/// The longest path that is kept.
const MAX_PATH: usize = 200;

struct Entry {
    method: Method,
    path: String,
    status: u16,
    decision: &'static str,
    reason: &'static str,
    sub: Option<Person>,
    act: Option<String>,
    jti: Option<String>,
}

impl Entry {
    fn of(method: Method, path: String, response: &Response) -> Self {
        let status = response.status().as_u16();
        let (caller, refusal) = (response.extensions().get::<Caller>(), response.extensions().get::<Refusal>());
        let (decision, reason) = match (caller, refusal) {
            (_, Some(refusal)) => ("refused", refusal.reason().code()),
            (Some(_), None) => ("permitted", "ok"),
            (None, None) if status == 401 => ("refused", "wrong_key"),
            (None, None) => ("open", "no_protection"),
        };
        let (mut sub, mut act, mut jti) = (None, None, None);
        if let Some(verified) = caller.and_then(Caller::verified) {
            sub = Some(verified.subject().clone());
            act = verified.actor().map(|actor| actor.sub.clone());
            jti = Some(verified.jti().to_string());
        } else if let Some(attempt) = refusal.and_then(Refusal::attempt) {
            sub = Some(attempt.subject.clone());
            act = attempt.actor.as_ref().map(|actor| actor.sub.clone());
            jti = Some(attempt.jti.to_string());
        }
        Self { method, path, status, decision, reason, sub, act, jti }
    }
}

pub(crate) async fn log_call(State(database): State<Database>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(MAX_PATH).collect();
    let response = next.run(request).await;
    let entry = Entry::of(method, path, &response);
    tracing::info!(
        target: "crm::call",
        method = %entry.method, path = %entry.path, status = entry.status, decision = entry.decision, reason = entry.reason,
        sub = entry.sub.as_ref().map(|sub| sub.sub.as_str()), sub_iss = entry.sub.as_ref().map(|sub| sub.iss.as_str()), act = entry.act.as_deref(), jti = entry.jti.as_deref(),
    );
    let written = database.run(move |transaction| {
        transaction.execute(
            "INSERT INTO call (at, method, path, status, decision, reason, sub, act, jti, sub_iss)
             VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                entry.method.as_str(),
                entry.path,
                entry.status,
                entry.decision,
                entry.reason,
                entry.sub.as_ref().map(|sub| sub.sub.as_str()),
                entry.act,
                entry.jti,
                entry.sub.as_ref().map(|sub| sub.iss.as_str()),
            ],
        )?;
        Ok(())
    });
    // The answer is not changed: each change stores its cause in its own transaction, even if this row is not written.
    if let Err(error) = written.await {
        tracing::error!(%error, "a call could not be logged");
    }
    response
}
