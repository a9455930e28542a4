//! A small customer-relations system: cases with customers' mails, sales opportunities, an outbox. Real HTTP
//! over `SQLite` in one file, on loopback.
//!
//! It is an example of an API that must be protected. It can run without Mandate
//! ([`Protection::DangerousSharedKey`]: one key that may do everything) and with Mandate
//! ([`Protection::Mandate`]), and it uses `mandate-verifier` like any other API.
//!
//! | operation | scope |
//! |---|---|
//! | `GET /cases`, `GET /cases/{id}` | `read:cases` |
//! | `POST /cases/{id}/comments` `{"body"}` | `write:case_comments` |
//! | `GET /opportunities`, `POST /opportunities/{id}/close` `{"reason"}` | `write:opportunities` |
//! | `GET /outbox`, `POST /outbox` `{"to", "subject", "body"}` | `send:mail` |
//! | `GET /healthz` | none |
//!
//! Every change keeps its cause (person, agent, token id), and every call, also a refused one, is a row of
//! the table `call`: [`inspect`] reads both.

mod call_log;
mod caller;
mod database;
mod error;
mod evidence;
mod guard;
mod routes;

use std::path::Path;

use mandate_verifier::ScopeSet;
use tokio::net::TcpListener;

pub use error::CrmError;
pub use evidence::{Call, Evidence, Mail, Opportunity, inspect};
pub use guard::{KeyFileError, Protection, SharedKey};

use crate::database::Database;

/// The scopes that the CRM understands.
pub const SCOPES: [&str; 4] = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"];

/// [`SCOPES`] as a set, for [`mandate_verifier::Builder::scopes_supported`].
pub fn scopes() -> ScopeSet {
    SCOPES.iter().filter_map(|scope| scope.parse().ok()).collect()
}

/// Serves the CRM until the future is dropped.
///
/// A database that does not exist is created with the customers, mails and two dozen open opportunities of
/// the demo. `listener` has to be bound to a loopback address, because the traffic is not encrypted.
pub async fn serve(listener: TcpListener, db_path: &Path, protection: Protection) -> Result<(), CrmError> {
    let address = listener.local_addr().map_err(CrmError::Listener)?;
    if !address.ip().is_loopback() {
        return Err(CrmError::NotLoopback(address));
    }
    let database = Database::open(db_path)?;
    let app = routes::app(&database, &protection)?;
    tracing::info!(%address, protection = protection.name(), "the CRM accepts requests");
    axum::serve(listener, app).await.map_err(CrmError::Listener)
}
