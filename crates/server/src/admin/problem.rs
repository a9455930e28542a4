//! Every error of the admin API as problem details (RFC 9457). One exhaustive match: a new error needs an
//! entry here.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use mandate_administration::{AccessDenied, AdministrationError};
use mandate_api::Problem;
use mandate_api::admin::kind_name;
use mandate_api::problem::{ADMINISTRATION_ELSEWHERE, PROBLEM_JSON};
use mandate_api::registry_file::Finding;
use mandate_core::Role;
use mandate_core::names::{AccessTokenType, ErrorCode, Parameter, ResponseParameter};
use mandate_planning::states::StateRefusal;

/// Why a request is refused before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unauthorized {
    /// The route has no authorization row: a fault of the program, so the call is refused.
    NoRow,
    /// There are no credentials.
    NoCredentials,
    /// Only people and agents are served at this address.
    Elsewhere,
    /// The credentials do not permit it.
    Denied(AccessDenied),
}

impl From<AccessDenied> for Unauthorized {
    fn from(denied: AccessDenied) -> Self {
        Self::Denied(denied)
    }
}

impl Unauthorized {
    /// The reason in the audit record.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoRow => "no_authorization_row",
            Self::NoCredentials => "no_credentials",
            Self::Elsewhere => ADMINISTRATION_ELSEWHERE,
            Self::Denied(denied) => denied.code(),
        }
    }
}

fn send(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Plain data always serializes; if it did not, the status alone would still tell the error.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // RFC 9110 §15.6.4.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// The challenge (RFC 6750 §3): the error, and the scope that would be enough.
fn challenge(error: Option<ErrorCode>, scope: Option<&str>) -> String {
    let mut text = format!("{} realm=\"mandate\"", AccessTokenType::Bearer);
    let error = error.map(|code| (ResponseParameter::Error.as_str(), code.as_str()));
    for (name, value) in [error, scope.map(|scope| (Parameter::Scope.as_str(), scope))].into_iter().flatten()
    {
        text.extend([", ", name, "=\"", value, "\""]);
    }
    text
}

/// The refusal (RFC 6750 §3.1 for the challenge).
pub(crate) fn unauthorized(why: Unauthorized) -> Response {
    let (problem, challenge) = match why {
        Unauthorized::NoRow => (Problem::new(403, "forbidden", "Nobody may call this"), None),
        Unauthorized::NoCredentials => (
            Problem::new(401, "unauthorized", "Administration needs credentials").with_detail(
                "Use the unix socket as the server's own user, or send an access token of this server with the scope of a role, such as mandate:viewer.",
            ),
            Some(challenge(None, Some(Role::Admin.scope()))),
        ),
        Unauthorized::Elsewhere => (
            Problem::new(401, ADMINISTRATION_ELSEWHERE, "The admin API is not served at this address")
                .with_detail("It has an address of its own, and a unix socket in the server's directory. No credentials count here."),
            Some(challenge(None, None)),
        ),
        Unauthorized::Denied(AccessDenied::Token) => (
            Problem::new(401, "unauthorized", "The access token is not accepted here"),
            Some(challenge(Some(ErrorCode::InvalidToken), None)),
        ),
        Unauthorized::Denied(AccessDenied::Role(role)) => (
            Problem::new(403, "forbidden", "The access token does not permit administration"),
            Some(challenge(Some(ErrorCode::InsufficientScope), Some(role.scope()))),
        ),
        Unauthorized::Denied(AccessDenied::Uid) => {
            (Problem::new(403, "forbidden", "Only root and the server's own user may administer the server through this socket"), None)
        }
    };
    let mut response = send(&problem);
    if let Some(challenge) = challenge.and_then(|challenge| HeaderValue::try_from(challenge).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The problem of an error, with private detail left to the log.
fn response(error: &AdministrationError) -> Response {
    let problem = match error {
        AdministrationError::NotPermitted(denied) => return unauthorized((*denied).into()),
        AdministrationError::InvalidRegistry(findings) => Problem::invalid_registry(findings.clone()),
        AdministrationError::BadRequest(why) => {
            Problem::new(400, "bad_request", "The request is not valid").with_detail(why.clone())
        }
        AdministrationError::NotFound { kind, name } => Problem::new(404, "not_found", "No such entry")
            .with_detail(format!("there is no {} `{name}`", kind_name(*kind))),
        AdministrationError::NoSuchRecord => Problem::new(404, "not_found", "No such record")
            .with_detail("there is no audit record of that id; `mandate audit query` shows ids"),
        AdministrationError::NoSuchNode(name) => Problem::new(404, "not_found", "No such node")
            .with_detail(format!("no node `{name}` has joined; `mandate node list` shows names")),
        AdministrationError::State { kind, name, refusal } => {
            let kind = kind_name(*kind);
            let detail = format!("{kind} `{name}` {refusal}");
            match refusal {
                // The status that a registry file with this state gets, too.
                StateRefusal::Contained
                | StateRefusal::Retired
                | StateRefusal::Revoked
                | StateRefusal::NeedsNoSecret => {
                    Problem::invalid_registry(vec![Finding::new(format!("/{kind}/0/state"), detail)])
                }
                StateRefusal::NotContained => conflict(&detail),
            }
        }
        AdministrationError::Overtaken => conflict(
            "others are changing the registry or the same entry, so nothing was changed: look at it, and try again",
        ),
        AdministrationError::OperatorRevoked => conflict(
            "the operator was not permitted this when it was to be recorded, so nothing was changed: try again",
        ),
        AdministrationError::KeyTooNew { ready } => {
            conflict(&format!("the next key was published too recently; it can be used from {ready}"))
        }
        AdministrationError::AuditUnavailable(why) => {
            tracing::error!(%why, "the audit log cannot be written; everything is refused until it can");
            Problem::new(503, "audit_unavailable", "The audit log cannot be written; the change may not have been done").with_detail(
                "The disk may be full or failing, another program may hold the database, or its server may not answer: the server's log says which. \
                 Before you try again, look whether the change was made after all.",
            )
        }
        AdministrationError::AuditBroken(what) => {
            Problem::new(500, "audit_broken", "The audit log does not verify").with_detail(what.clone())
        }
        AdministrationError::Internal(why) => {
            tracing::error!(%why, "an operator's request failed");
            Problem::new(500, "internal", "The server could not do this")
                .with_detail("Look at the server's log.")
        }
    };
    send(&problem)
}

fn conflict(detail: &str) -> Problem {
    Problem::new(409, "conflict", "The change was refused").with_detail(detail)
}

/// The answer of a handler that failed.
pub(super) struct Failed(pub(super) AdministrationError);

impl From<AdministrationError> for Failed {
    fn from(error: AdministrationError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        response(&self.0)
    }
}

/// A body or parameter that cannot be read.
pub(crate) fn unreadable(why: &str, status: StatusCode) -> Response {
    send(&Problem::new(status.as_u16(), "bad_request", "The request cannot be read").with_detail(why))
}

/// The parameters of a path, or the problem with them.
pub(crate) struct Named<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Named<T>
where
    S: Send + Sync,
    Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(named)| Self(named))
            .map_err(|rejection| unreadable(&rejection.body_text(), rejection.status()))
    }
}

/// The answer for a path that does not exist.
pub(crate) async fn no_such_path(method: Method, uri: Uri) -> Response {
    send(
        &Problem::new(404, "not_found", "No such path")
            .with_detail(format!("there is no {method} {}; see /openapi.json", uri.path())),
    )
}

/// The answer for a method that a path does not have.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Response {
    send(
        &Problem::new(405, "method_not_allowed", "No such method")
            .with_detail(format!("{} takes no {method}; see /openapi.json", uri.path())),
    )
}
