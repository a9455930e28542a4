//! Client libraries as they are when nobody has configured anything: `openid-client`, and `Authlib`.

use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD};
use serde_json::{Value, json};

use crate::node_program::NodeProgram;
use crate::python_program::PythonProgram;
use crate::registry::{CRM, NO_KEYS, PLAIN_SECRET, SCOPE, apply, registry};
use crate::server::Server;

fn world(server: &Server) -> Value {
    json!({
        "issuer": server.issuer(),
        "resource": CRM,
        "scope": SCOPE,
        "redirect_uri": CALLBACK,
        "person": { "name": "riley", "password": PASSWORD },
    })
}

fn is_revoked(answer: &Value) {
    assert_eq!(answer["scope"], SCOPE, "{answer}");
    assert_eq!(
        (&answer["before"]["active"], &answer["before"]["aud"]),
        (&true.into(), &CRM.into()),
        "{answer}"
    );
    assert_eq!(answer["after"], json!({ "active": false }), "{answer}");
}

#[test]
fn openid_client_sends_its_secret_in_the_body_and_gets_refreshes_and_revokes_a_token() {
    let Some(node) = NodeProgram::find() else { return };
    let server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let mut input = world(&server);
    input["client"] = json!({ "id": "post-app", "secret": CLIENT_SECRET });
    is_revoked(&node.json("openid-client.mjs", &input));
    // A client that is registered for another method is told which.
    input["client"] = json!({ "id": "desk-app", "secret": CLIENT_SECRET });
    let refused = node.run("openid-client.mjs", &[], &input).unwrap_err();
    assert!(refused.contains("401"), "{refused}");
}

#[test]
fn openid_client_waits_as_a_device_until_a_person_has_logged_in() {
    let Some(node) = NodeProgram::find() else { return };
    let server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let mut input = world(&server);
    input["client"] = json!({ "id": "post-app", "secret": CLIENT_SECRET });
    is_revoked(&node.json("openid-device.mjs", &input));
}

/// Runs Authlib as one client. What it says on standard error is the refusal.
fn authlib(client: &str, method: &str, credential: &Value) -> Option<Result<Value, String>> {
    let (python, node) = (PythonProgram::find()?, NodeProgram::find()?);
    let keys = node.json("client-keys.mjs", &Value::Null);
    let server = Server::start();
    apply(&server, &registry(&keys["jwks"].to_string(), ""));
    server.run(&["client", "set-secret", "desk-app"], PLAIN_SECRET);
    let mut input = world(&server);
    input["client"] = client.into();
    input["method"] = method.into();
    let credential =
        if method == "private_key_jwt" { json!({ "key": keys["private"] }) } else { credential.clone() };
    input.as_object_mut().unwrap().extend(credential.as_object().unwrap().clone());
    Some(python.run("authlib_client.py", &[], &input).map(|out| serde_json::from_str(&out).unwrap()))
}

#[test]
fn authlib_authenticates_by_a_secret_in_the_header_or_in_the_body() {
    for (client, method, secret) in
        [("desk-app", "client_secret_basic", PLAIN_SECRET), ("post-app", "client_secret_post", CLIENT_SECRET)]
    {
        let Some(answer) = authlib(client, method, &json!({ "secret": secret })) else { return };
        is_revoked(&answer.unwrap_or_else(|said| panic!("{client}: {said}")));
    }
}

#[test]
fn authlib_signs_assertions_for_the_token_endpoint_which_a_client_must_be_registered_for() {
    let Some(answer) = authlib("old-portal", "private_key_jwt", &json!({})) else { return };
    is_revoked(&answer.unwrap_or_else(|said| panic!("{said}")));
    let Some(refused) = authlib("portal", "private_key_jwt", &json!({})) else { return };
    let refused = refused.unwrap_err();
    assert!(refused.contains("Its aud must be http://127.0.0.1:"), "{refused}");
}

#[test]
fn authlib_as_a_public_client_revokes_its_own_token() {
    let Some(answer) = authlib("support-app", "none", &json!({})) else { return };
    let answer = answer.unwrap_or_else(|said| panic!("{said}"));
    assert_eq!((&answer["scope"], &answer["revoked"]), (&SCOPE.into(), &200.into()), "{answer}");
}
