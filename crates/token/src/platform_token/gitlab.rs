//! GitLab CI/CD: the ID tokens that `id_tokens` gives to a job.
//!
//! The same issuer signs ID tokens of people; their `sub` is a number, and they name no job. `ref` has the
//! short name of a branch or tag, so `ref_path` is what counts. The pipeline of a merge request from a fork
//! says the `project_id` of the fork, and in `job_project_id` where it runs. Before GitLab 18.2.2 it said the
//! ids of the project, which is one reason why `merge_request_event` is not a usual source.

use mandate_core::lifetimes::PLATFORM_TOKEN_AGE;
use mandate_core::registry::PlatformClaims;

use super::rules::{Rules, optional, required};
use crate::error::TokenError;

pub(super) const RULES: Rules = Rules {
    types: &["jwt"],
    max_age: PLATFORM_TOKEN_AGE,
    own: &[],
    facts: &[
        required("project_id", &["project_id"]),
        required("namespace_id", &["namespace_id"]),
        required("pipeline_source", &["pipeline_source"]),
        required("pipeline_id", &["pipeline_id"]),
        required("job_id", &["job_id"]),
        optional("job_project_id", &["job_project_id"]),
        optional("ref", &["ref_path"]),
        optional("ref_protected", &["ref_protected"]),
        optional("environment", &["environment"]),
        optional("environment_protected", &["environment_protected"]),
        optional("runner_environment", &["runner_environment"]),
        optional("runner_id", &["runner_id"]),
        optional("user_id", &["user_id"]),
        optional("project_path", &["project_path"]),
        optional("sha", &["sha"]),
    ],
    sub,
};

/// By default `project_path:GROUP/PROJECT:ref_type:TYPE:ref:NAME`. A project can configure it, but not
/// without its first part, which is one of these.
fn sub(sub: &str, said: &PlatformClaims) -> Result<(), TokenError> {
    if !["project_", "job_project_", "source_project_"].iter().any(|first| sub.starts_with(first)) {
        return Err(TokenError::Claim { claim: "sub", why: "not the subject of a job" });
    }
    if said.get("job_project_id").is_some_and(|running| Some(running) != said.get("project_id")) {
        return Err(TokenError::Claim { claim: "job_project_id", why: "the code is of another project" });
    }
    Ok(())
}
