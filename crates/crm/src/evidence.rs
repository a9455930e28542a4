//! What happened, read from the database's own tables: for the demo's side-by-side table and for an
//! investigator.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use serde::Serialize;

use crate::error::CrmError;

/// One sales opportunity and, if it was closed, by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the other field is the name of a customer")]
pub struct Opportunity {
    /// The number of the row.
    pub id: i64,
    pub customer: String,
    /// What it is worth, in euros.
    pub amount_eur: i64,
    /// Whether it has been closed.
    pub closed: bool,
    /// Who closed it, for people.
    pub closed_by: Option<String>,
    /// The id of the token that closed it. `None` under a shared key: nobody can tell.
    pub jti: Option<String>,
}

/// One mail that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the other fields are what their names say")]
pub struct Mail {
    pub to: String,
    pub body: String,
    /// Who sent it, for people.
    pub by: String,
    /// The id of the token that sent it.
    pub jti: Option<String>,
}

/// One call, permitted or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the other fields are those of an HTTP request")]
pub struct Call {
    /// The time of the call, RFC 3339.
    pub at: String,
    pub method: String,
    pub path: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// `permitted`, `refused`, or `open` where nothing is protected.
    pub decision: String,
    /// A machine token: `ok`, or why it was refused.
    pub reason: String,
    /// The person for whom it was made, as their issuer names them.
    pub sub: Option<String>,
    /// The issuer that names the person.
    pub sub_iss: Option<String>,
    /// The agent that made it.
    pub act: Option<String>,
    /// The id of the token.
    pub jti: Option<String>,
}

/// Everything that was changed or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// All opportunities, open and closed.
    pub opportunities: Vec<Opportunity>,
    /// All mails that were sent, oldest first.
    pub outbox: Vec<Mail>,
    /// How many comments were written.
    pub comments: u64,
    /// All calls, in order.
    pub calls: Vec<Call>,
}

impl Evidence {
    /// How many opportunities have been closed.
    pub fn closed(&self) -> usize {
        self.opportunities.iter().filter(|opportunity| opportunity.closed).count()
    }

    /// How many calls were refused.
    pub fn refused(&self) -> usize {
        self.calls.iter().filter(|call| call.decision == "refused").count()
    }
}

/// Reads a CRM's database, also while it is being served.
pub fn inspect(db_path: &Path) -> Result<Evidence, CrmError> {
    let mut connection = Connection::open_with_flags(db_path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // One transaction, so that the lists agree with each other.
    let transaction = connection.transaction()?;
    let opportunities = all(
        &transaction,
        "SELECT opportunity.id, customer, amount_eur, state = 'closed', cause.label, cause.jti
         FROM opportunity LEFT JOIN cause ON cause.id = closed_by ORDER BY opportunity.id",
        |row| {
            Ok(Opportunity {
                id: row.get(0)?,
                customer: row.get(1)?,
                amount_eur: row.get(2)?,
                closed: row.get(3)?,
                closed_by: row.get(4)?,
                jti: row.get(5)?,
            })
        },
    )?;
    let outbox = all(
        &transaction,
        "SELECT recipient, body, cause.label, cause.jti FROM outbox JOIN cause ON cause.id = outbox.cause ORDER BY outbox.id",
        |row| Ok(Mail { to: row.get(0)?, body: row.get(1)?, by: row.get(2)?, jti: row.get(3)? }),
    )?;
    let calls = all(
        &transaction,
        "SELECT at, method, path, status, decision, reason, sub, act, jti, sub_iss FROM call ORDER BY id",
        |row| {
            Ok(Call {
                at: row.get(0)?,
                method: row.get(1)?,
                path: row.get(2)?,
                status: row.get(3)?,
                decision: row.get(4)?,
                reason: row.get(5)?,
                sub: row.get(6)?,
                act: row.get(7)?,
                jti: row.get(8)?,
                sub_iss: row.get(9)?,
            })
        },
    )?;
    let comments: i64 = transaction.query_row("SELECT count(*) FROM comment", [], |row| row.get(0))?;
    Ok(Evidence { opportunities, outbox, comments: comments.unsigned_abs(), calls })
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    of: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], of)?.collect()
}
