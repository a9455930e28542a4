//! Every call is a row and a line of the log, also a refused one. The last ten thousand rows are kept,
//! because anyone can send calls.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use mandate_verifier::{Refusal, Subject};
use rusqlite::{Transaction, params};

use crate::caller::Caller;
use crate::database::Database;

/// The longest path that is kept.
const MAX_PATH: usize = 200;

/// How many calls are kept.
const KEPT: i64 = 10_000;

struct LoggedCall {
    method: Method,
    path: String,
    status: u16,
    decision: &'static str,
    reason: &'static str,
    sub: Option<Subject>,
    act: Option<String>,
    jti: Option<String>,
}

impl LoggedCall {
    fn of(method: Method, path: String, response: &Response) -> Self {
        let status = response.status().as_u16();
        let (caller, refusal) =
            (response.extensions().get::<Caller>(), response.extensions().get::<Refusal>());
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
            sub.clone_from(&attempt.subject);
            act = attempt.actor.as_ref().map(|actor| actor.sub.clone());
            jti = Some(attempt.jti.to_string());
        }
        Self { method, path, status, decision, reason, sub, act, jti }
    }

    /// Adds the row, and removes the rows before the last `kept`.
    fn write(&self, transaction: &Transaction<'_>, kept: i64) -> Result<(), rusqlite::Error> {
        transaction.execute(
            "INSERT INTO call (at, method, path, status, decision, reason, sub, act, jti, sub_iss)
             VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                self.method.as_str(),
                self.path,
                self.status,
                self.decision,
                self.reason,
                self.sub.as_ref().map(|sub| sub.sub.as_str()),
                self.act,
                self.jti,
                self.sub.as_ref().map(|sub| sub.iss.as_str()),
            ],
        )?;
        transaction
            .execute("DELETE FROM call WHERE id <= ?1", params![transaction.last_insert_rowid() - kept])?;
        Ok(())
    }
}

pub(crate) async fn log_call(State(database): State<Database>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(MAX_PATH).collect();
    let response = next.run(request).await;
    let entry = LoggedCall::of(method, path, &response);
    tracing::info!(
        target: "crm::call",
        method = %entry.method, path = %entry.path, status = entry.status, decision = entry.decision, reason = entry.reason,
        sub = entry.sub.as_ref().map(|sub| sub.sub.as_str()), sub_iss = entry.sub.as_ref().map(|sub| sub.iss.as_str()), act = entry.act.as_deref(), jti = entry.jti.as_deref(),
    );
    let written = database.run(move |transaction| {
        entry.write(transaction, KEPT)?;
        Ok(())
    });
    // The answer is not changed: each change stores its cause in its own transaction, even if this row is not
    // written.
    if let Err(error) = written.await {
        tracing::error!(%error, "a call could not be logged");
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::LoggedCall;
    use crate::database::Database;

    #[tokio::test]
    async fn only_the_last_calls_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("crm.db")).unwrap();
        let paths = database.run(|transaction| {
            for n in 0..5 {
                let (method, path) = (Method::GET, format!("/{n}"));
                let (decision, reason) = ("refused", "missing");
                LoggedCall { method, path, status: 401, decision, reason, sub: None, act: None, jti: None }
                    .write(transaction, 3)?;
            }
            let mut rows = transaction.prepare("SELECT path FROM call ORDER BY id")?;
            let paths = rows.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(paths)
        });
        assert_eq!(paths.await.unwrap(), ["/2", "/3", "/4"]);
    }
}
