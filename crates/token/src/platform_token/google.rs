//! Google Cloud: the ID token of a service account, from the metadata server of a VM or of Cloud Run, or from
//! `generateIdToken`.
//!
//! The same issuer signs ID tokens of people. Theirs are addressed to the id of an OAuth client, and `azp` is
//! such an id; a service account is its own `azp`, by the unique id that `sub` has. A token
//! that a program got with a downloaded key has the account's address there. It is refused, because a copy of
//! the key is enough to get one. The address (`email`) and the names of project and instance identify nothing.

use mandate_core::lifetimes::PLATFORM_TOKEN_AGE;
use mandate_core::registry::PlatformClaims;

use super::rules::{Rules, flag, optional, required};
use crate::error::TokenError;

/// What only the metadata server of a VM says, with `format=full`.
const ENGINE: [&str; 2] = ["google", "compute_engine"];

pub(super) const RULES: Rules = Rules {
    types: &["jwt"],
    max_age: PLATFORM_TOKEN_AGE,
    own: &["azp"],
    facts: &[
        required("service_account_id", &["sub"]),
        required("azp", &["azp"]),
        optional("email", &["email"]),
        flag("email_verified", &["email_verified"]),
        optional("instance_id", &[ENGINE[0], ENGINE[1], "instance_id"]),
        optional("project_number", &[ENGINE[0], ENGINE[1], "project_number"]),
        optional("project_id", &[ENGINE[0], ENGINE[1], "project_id"]),
        optional("zone", &[ENGINE[0], ENGINE[1], "zone"]),
    ],
    sub,
};

fn sub(sub: &str, said: &PlatformClaims) -> Result<(), TokenError> {
    let named = |name: &str| said.get(name).map(String::as_str);
    if named("azp") != Some(sub) {
        return Err(TokenError::Claim { claim: "azp", why: "not the service account itself" });
    }
    if named("email").is_some() && named("email_verified") != Some("true") {
        return Err(TokenError::Claim { claim: "email_verified", why: "not true" });
    }
    Ok(())
}
