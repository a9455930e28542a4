//! The engine against a real store, authority and audit log. Test names say which attack is refused.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod audit_trail;
mod chain;
mod clients;
mod clock;
mod codes;
mod device;
mod discovery;
mod exchange;
mod foreign;
mod foreign_svids;
mod grants;
mod held_database;
mod introspection;
mod login;
mod metadata_document;
mod own_behalf;
mod platforms;
mod providers;
mod pushed;
mod records;
mod refresh;
mod registration;
mod requested_actor;
mod revocation;
mod strangers;
mod tenants;
mod while_waiting;

use mandate_oauth::{OAuthError, TokenResponse};
use mandate_testkit::world::{World, pairs};

/// The machine token of a refusal, with its status and error code: `"400 invalid_request no_grant"`.
#[track_caller]
fn refused(answer: Result<TokenResponse, OAuthError>) -> String {
    shown(&answer.expect_err("a refusal"))
}

fn shown(error: &OAuthError) -> String {
    format!("{} {} {}", error.status, error.error, error.description.split(':').next().unwrap_or_default())
}

/// Whether introspection finds the token alive.
async fn lives(world: &World, token: &str) -> bool {
    let answer = world.introspect(&pairs(&[("token", token)]), Some(&world.crm_api())).await;
    answer.unwrap().get("active").and_then(serde_json::Value::as_bool).unwrap()
}
