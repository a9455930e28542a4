//! GitHub Actions: the `OpenID` Connect token that a job asks for.
//!
//! By default `aud` is the address of the repository's owner. `sub` has one of several forms: with names
//! alone, since July 2026 with names and ids, or what the repository has configured. So `sub` identifies
//! nothing here, and is only compared with the ids where it has them.

use mandate_core::lifetimes::GITHUB_TOKEN_AGE;
use mandate_core::registry::PlatformClaims;

use super::rules::{Rules, optional, required};
use crate::error::TokenError;

pub(super) const RULES: Rules = Rules {
    types: &["jwt"],
    max_age: GITHUB_TOKEN_AGE,
    own: &[],
    facts: &[
        required("repository_id", &["repository_id"]),
        required("repository_owner_id", &["repository_owner_id"]),
        required("event_name", &["event_name"]),
        required("ref", &["ref"]),
        required("run_id", &["run_id"]),
        optional("environment", &["environment"]),
        optional("workflow_ref", &["workflow_ref"]),
        optional("runner_environment", &["runner_environment"]),
        optional("run_attempt", &["run_attempt"]),
        optional("actor_id", &["actor_id"]),
        optional("repository", &["repository"]),
        optional("sha", &["sha"]),
    ],
    sub,
};

/// `repo:OWNER@OWNER-ID/REPO@REPO-ID:…`. No name of an owner or a repository has `@`, `/` or `:`; a `:` in
/// later parts is written as `%3A`.
fn sub(sub: &str, said: &PlatformClaims) -> Result<(), TokenError> {
    let Some(name) = sub.strip_prefix("repo:").and_then(|rest| rest.split(':').next()) else { return Ok(()) };
    let Some((owner, repository)) = name.split_once('/') else { return Ok(()) };
    for (part, id) in [(owner, "repository_owner_id"), (repository, "repository_id")] {
        if part.split_once('@').is_some_and(|(_, named)| said.get(id).is_none_or(|id| id != named)) {
            return Err(TokenError::Claim { claim: "sub", why: "it has other ids than the claims" });
        }
    }
    Ok(())
}
