//! `oauth4webapi` and `jose`: client libraries that refuse everything that the standards do not allow.

use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD};
use serde_json::{Value, json};

use crate::node_program::NodeProgram;
use crate::registry::{CRM, SCOPE, apply, registry};
use crate::server::Server;

/// Runs one check of `strict-client.mjs` against a server of its own.
fn holds(check: &str) {
    let Some(node) = NodeProgram::find() else { return };
    let keys = node.json("client-keys.mjs", &Value::Null);
    let mut server = Server::start();
    apply(&server, &registry(&keys["jwks"].to_string(), ""));
    let mut world = json!({
        "issuer": server.issuer(),
        "person": { "name": "riley", "password": PASSWORD },
        "resource": CRM,
        "scope": SCOPE,
        "redirect_uri": CALLBACK,
        "secret": CLIENT_SECRET,
        "portal_key": keys["private"],
    });
    if ["token-exchange", "client-credentials"].contains(&check) {
        let socket = server.start_node();
        let (svid, spiffe_id) = server.svid(&socket);
        world["agent"] = json!({ "svid": svid, "spiffe_id": spiffe_id });
    }
    if let Err(said) = node.run("strict-client.mjs", &[check], &world) {
        panic!("{check}: {said}");
    }
}

#[test]
fn metadata_is_accepted_and_names_this_issuer_alone() {
    holds("metadata");
}

#[test]
fn a_public_client_redeems_a_code_once_with_its_own_verifier() {
    holds("public-client");
}

#[test]
fn clients_push_their_requests_and_one_of_them_must() {
    holds("pushed-request");
}

#[test]
fn a_public_client_refreshes_until_a_token_is_used_twice_or_revoked() {
    holds("refresh-token");
}

#[test]
fn a_device_gets_its_token_when_a_person_has_logged_in_elsewhere() {
    holds("device-code");
}

#[test]
fn denial_wrong_password_and_unknown_resource_are_errors_to_a_client() {
    holds("refused-login");
}

#[test]
fn access_tokens_are_valid_to_resource_servers_and_forgeries_are_not() {
    holds("validate-access-token");
}

#[test]
fn a_client_with_a_secret_introspects_and_revokes_what_concerns_it() {
    holds("client-secret-basic");
}

#[test]
fn a_client_with_a_key_introspects_and_revokes_and_never_by_a_used_assertion() {
    holds("private-key-jwt");
}

#[test]
fn an_agents_mandate_is_a_valid_access_token() {
    holds("token-exchange");
}

#[test]
fn an_agents_own_token_is_a_valid_access_token_and_nobody_elses() {
    holds("client-credentials");
}
