//! The operations.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call_log::log_call;
use crate::caller::Caller;
use crate::database::{Database, cause};
use crate::error::{CrmError, RequestError};
use crate::guard::Protection;

/// The largest request body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The longest text of a field, in characters.
const MAX_TEXT: usize = 10_000;

pub(crate) fn app(database: &Database, protection: &Protection) -> Result<Router, CrmError> {
    let operations = Router::new()
        .route("/cases", protection.protect("read:cases", get(list_cases))?)
        .route("/cases/{id}", protection.protect("read:cases", get(show_case))?)
        .route("/cases/{id}/comments", protection.protect("write:case_comments", post(add_comment))?)
        .route("/opportunities", protection.protect("write:opportunities", get(list_opportunities))?)
        .route(
            "/opportunities/{id}/close",
            protection.protect("write:opportunities", post(close_opportunity))?,
        )
        .route("/outbox", protection.protect("send:mail", get(list_outbox).post(send_mail))?)
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(async || RequestError::NotFound("operation"))
        .with_state(database.clone())
        .layer(DefaultBodyLimit::max(MAX_BODY));
    Ok(protection.advertise(operations).layer(from_fn_with_state(database.clone(), log_call)))
}

type Answer = Result<Response, RequestError>;

/// A JSON body, whose mistakes are answered in the CRM's own form.
type Body<T> = Result<Json<T>, JsonRejection>;

fn parsed<T>(body: Body<T>) -> Result<T, RequestError> {
    body.map(|Json(value)| value).map_err(RequestError::Body)
}

fn text(value: &str, what: &'static str) -> Result<(), RequestError> {
    let good = !value.trim().is_empty() && value.chars().count() <= MAX_TEXT;
    if good { Ok(()) } else { Err(RequestError::Invalid(what)) }
}

/// The rows of a query as JSON objects.
fn rows<P: rusqlite::Params>(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: P,
    to_json: impl Fn(&Row<'_>) -> rusqlite::Result<Value>,
) -> rusqlite::Result<Vec<Value>> {
    transaction.prepare_cached(sql)?.query_map(parameters, to_json)?.collect()
}

fn case_exists(transaction: &Transaction<'_>, id: i64) -> Result<(), RequestError> {
    let found = transaction.query_row("SELECT 1 FROM case_ WHERE id = ?1", [id], |_| Ok(())).optional()?;
    found.ok_or(RequestError::NotFound("case"))
}

async fn list_cases(State(database): State<Database>) -> Answer {
    let cases = database.run(|transaction| {
        Ok(rows(transaction, "SELECT id, customer, subject, state FROM case_ ORDER BY id", [], |row| {
            Ok(json!({
                "id": row.get::<_, i64>(0)?,
                "customer": row.get::<_, String>(1)?,
                "subject": row.get::<_, String>(2)?,
                "state": row.get::<_, String>(3)?,
            }))
        })?)
    });
    Ok(Json(cases.await?).into_response())
}

async fn show_case(State(database): State<Database>, Path(id): Path<i64>) -> Answer {
    let case = database.run(move |transaction| {
        let sql = "SELECT customer, subject, state FROM case_ WHERE id = ?1";
        let head =
            transaction.query_row(sql, [id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)));
        let (customer, subject, state) = head.optional()?.ok_or(RequestError::NotFound("case"))?;
        let mails = rows(transaction, "SELECT sender, sent, body FROM inbound_mail WHERE case_id = ?1 ORDER BY sent, id", [id], |row| {
            Ok(json!({ "from": row.get::<_, String>(0)?, "sent": row.get::<_, String>(1)?, "body": row.get::<_, String>(2)? }))
        })?;
        let comments = rows(
            transaction,
            "SELECT comment.body, comment.at, cause.label FROM comment JOIN cause ON cause.id = comment.cause
             WHERE case_id = ?1 ORDER BY comment.id",
            [id],
            |row| Ok(json!({ "body": row.get::<_, String>(0)?, "at": row.get::<_, String>(1)?, "by": row.get::<_, String>(2)? })),
        )?;
        Ok(json!({ "id": id, "customer": customer, "subject": subject, "state": state, "mails": mails, "comments": comments }))
    });
    Ok(Json(case.await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewComment {
    body: String,
}

async fn add_comment(
    State(database): State<Database>,
    Path(id): Path<i64>,
    Extension(caller): Extension<Caller>,
    body: Body<NewComment>,
) -> Answer {
    let NewComment { body } = parsed(body)?;
    text(&body, "body must be 1 to 10000 characters")?;
    let created = database.run(move |transaction| {
        case_exists(transaction, id)?;
        let cause = cause(transaction, &caller)?;
        transaction.execute(
            "INSERT INTO comment (case_id, body, at, cause) VALUES (?1, ?2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?3)",
            params![id, body, cause],
        )?;
        Ok(transaction.last_insert_rowid())
    });
    Ok((StatusCode::CREATED, Json(json!({ "id": created.await? }))).into_response())
}

async fn list_opportunities(State(database): State<Database>) -> Answer {
    let opportunities = database.run(|transaction| {
        let sql = "SELECT id, customer, contact, title, amount_eur, state, closed_reason FROM opportunity ORDER BY id";
        Ok(rows(transaction, sql, [], |row| {
            Ok(json!({
                "id": row.get::<_, i64>(0)?,
                "customer": row.get::<_, String>(1)?,
                "contact": row.get::<_, String>(2)?,
                "title": row.get::<_, String>(3)?,
                "amount_eur": row.get::<_, i64>(4)?,
                "state": row.get::<_, String>(5)?,
                "closed_reason": row.get::<_, Option<String>>(6)?,
            }))
        })?)
    });
    Ok(Json(opportunities.await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    reason: String,
}

async fn close_opportunity(
    State(database): State<Database>,
    Path(id): Path<i64>,
    Extension(caller): Extension<Caller>,
    body: Body<Close>,
) -> Answer {
    let Close { reason } = parsed(body)?;
    text(&reason, "reason must be 1 to 10000 characters")?;
    let closed = database.run(move |transaction| {
        let state: Option<String> = transaction
            .query_row("SELECT state FROM opportunity WHERE id = ?1", [id], |row| row.get(0))
            .optional()?;
        match state.as_deref() {
            None => return Err(RequestError::NotFound("opportunity")),
            Some("open") => {}
            Some(_) => return Err(RequestError::Conflict("the opportunity is closed already")),
        }
        let cause = cause(transaction, &caller)?;
        transaction.execute(
            "UPDATE opportunity SET state = 'closed', closed_reason = ?2, closed_by = ?3,
             closed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?1",
            params![id, reason, cause],
        )?;
        Ok(json!({ "id": id, "state": "closed" }))
    });
    Ok(Json(closed.await?).into_response())
}

async fn list_outbox(State(database): State<Database>) -> Answer {
    let mails = database.run(|transaction| {
        let sql = "SELECT id, recipient, subject, body, at FROM outbox ORDER BY id";
        Ok(rows(transaction, sql, [], |row| {
            Ok(json!({
                "id": row.get::<_, i64>(0)?,
                "to": row.get::<_, String>(1)?,
                "subject": row.get::<_, String>(2)?,
                "body": row.get::<_, String>(3)?,
                "at": row.get::<_, String>(4)?,
            }))
        })?)
    });
    Ok(Json(mails.await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMail {
    to: String,
    subject: String,
    body: String,
}

async fn send_mail(
    State(database): State<Database>,
    Extension(caller): Extension<Caller>,
    body: Body<NewMail>,
) -> Answer {
    let NewMail { to, subject, body } = parsed(body)?;
    let one_address = to.len() <= 254
        && to.split('@').count() == 2
        && !to.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',');
    if !one_address {
        return Err(RequestError::Invalid("to must be one mail address"));
    }
    if subject.chars().count() > 200 || subject.contains(char::is_control) {
        return Err(RequestError::Invalid("subject must be one line of at most 200 characters"));
    }
    text(&body, "body must be 1 to 10000 characters")?;
    let sent = database.run(move |transaction| {
        let cause = cause(transaction, &caller)?;
        transaction.execute(
            "INSERT INTO outbox (recipient, subject, body, at, cause)
             VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?4)",
            params![to, subject, body, cause],
        )?;
        Ok(transaction.last_insert_rowid())
    });
    Ok((StatusCode::CREATED, Json(json!({ "id": sent.await? }))).into_response())
}
