//! Errors, and how a caller is told of them.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// The CRM cannot start or continue. The operator must repair the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrmError {
    /// The database cannot be opened, read or written.
    #[error("the CRM's database")]
    Database(#[from] rusqlite::Error),
    /// The listener cannot be bound, or it failed later.
    #[error("the CRM's listener")]
    Listener(#[source] std::io::Error),
    /// The listener is reachable from other machines.
    #[error("the CRM serves plain HTTP on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    /// One of the CRM's own scopes is not a scope.
    #[error("a route's scope is not valid")]
    Scope,
}

/// Why one request fails. The first group is the caller's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("not_found: there is no such {0}")]
    NotFound(&'static str),
    #[error("conflict: {0}")]
    Conflict(&'static str),
    #[error("invalid: {0}")]
    Invalid(&'static str),
    #[error("invalid: {0}")]
    Body(JsonRejection),
    #[error("internal: the request could not be completed")]
    Database(#[from] rusqlite::Error),
    #[error("internal: the request could not be completed")]
    Interrupted,
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Body(rejection) => rejection.status(),
            Self::Database(error) => {
                tracing::error!(%error, "the CRM's database failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(serde_json::json!({ "error": self.to_string() }))).into_response()
    }
}
