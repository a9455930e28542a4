//! Problem details (RFC 9457): the one form of every error of the admin API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::registry_file::Finding;

/// The media type of a [`Problem`] (RFC 9457 §3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The code of the answer to a call of the admin API where only people and agents are served.
pub const ADMINISTRATION_ELSEWHERE: &str = "administration_elsewhere";

/// What went wrong, for a person and for a program. It never contains private detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{}", .detail.as_deref().unwrap_or(.title))]
pub struct Problem {
    /// A URI reference that names the problem type: `/problems/<code>`.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not_found")]
    pub type_: String,
    /// A short summary, the same for every problem of the type.
    pub title: String,
    /// The status code of the HTTP response (RFC 9457 §3.1.2).
    pub status: u16,
    /// What is wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The same as the last segment of `type`, for programs.
    #[serde(default)]
    pub code: String,
    /// Each thing that is wrong with the request's body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

impl Problem {
    /// A problem of the type `/problems/<code>`.
    pub fn new(status: u16, code: &str, title: &str) -> Self {
        let (code, title) = (code.to_owned(), title.to_owned());
        Self { type_: format!("/problems/{code}"), title, status, detail: None, code, errors: Vec::new() }
    }

    /// Adds the sentence about what is wrong this time.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The problem of a registry file that cannot be applied, with every finding.
    pub fn invalid_registry(errors: Vec<Finding>) -> Self {
        let detail = match errors.as_slice() {
            [one] => one.detail.clone(),
            many => format!("{} errors; nothing was changed", many.len()),
        };
        Self {
            errors,
            ..Self::new(422, "invalid_registry", "The registry file cannot be applied").with_detail(detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;

    #[test]
    fn has_the_members_of_rfc_9457() {
        let problem =
            Problem::new(404, "not_found", "No such entry").with_detail("agent `x` is not declared");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"type": "/problems/not_found", "title": "No such entry", "status": 404, "detail": "agent `x` is not declared", "code": "not_found"})
        );
        assert_eq!(problem.to_string(), "agent `x` is not declared");
    }

    #[test]
    fn a_bare_problem_of_somebody_else_is_read() {
        let problem: Problem =
            serde_json::from_str(r#"{"type":"about:blank","title":"Bad Gateway","status":502,"extra":1}"#)
                .unwrap();
        assert_eq!((problem.status, problem.to_string().as_str()), (502, "Bad Gateway"));
    }
}
