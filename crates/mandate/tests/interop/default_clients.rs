//! Client libraries as they are when nobody has configured anything: `openid-client`, and `Authlib`. Each drives
//! every grant.

use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD};
use serde_json::{Value, json};

use crate::node_program::NodeProgram;
use crate::python_program::PythonProgram;
use crate::registry::{CRM, NO_KEYS, PLAIN_SECRET, SCOPE, apply, registry};
use crate::scripts::Scripts;
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
fn openid_client_sends_its_secret_in_the_body_pushes_its_request_and_gets_refreshes_and_revokes_a_token() {
    let Some(node) = NodeProgram::find() else { return };
    let server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let mut input = world(&server);
    input["client"] = json!({ "id": "post-app", "secret": CLIENT_SECRET });
    is_revoked(&node.json("openid-client.mjs", &input));
    input["push"] = true.into();
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
    // The one of them that is registered for refresh tokens.
    input["refresh"] = (client == "post-app").into();
    input.as_object_mut().unwrap().extend(credential.as_object().unwrap().clone());
    Some(python.run("authlib_client.py", &[], &input).map(|out| serde_json::from_str(&out).unwrap()))
}

#[test]
fn authlib_authenticates_by_a_secret_in_the_header_or_in_the_body_and_refreshes_a_token() {
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

/// Runs a client as the agent, which gets a token of its own and one for Riley.
fn as_the_agent(client: &Scripts, script: &str) {
    let mut server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    server.run(&["client", "set-secret", "crm-api"], PLAIN_SECRET);
    let socket = server.start_node();
    let (svid, spiffe_id) = server.svid(&socket);
    let mut input = world(&server);
    input["agent"] = json!({ "svid": svid, "spiffe_id": spiffe_id });
    input["api"] = json!({ "id": "crm-api", "secret": PLAIN_SECRET });
    let answer = client.json(script, &input);
    let own = &answer["own"];
    assert_eq!((&own["active"], &own["sub"]), (&true.into(), &spiffe_id.as_str().into()), "{answer}");
    assert_eq!((&own["scope"], &own["aud"]), (&SCOPE.into(), &CRM.into()), "{answer}");
    let mandate = &answer["mandate"];
    assert_eq!((&mandate["active"], &mandate["sub"]), (&true.into(), &"riley".into()), "{answer}");
    assert_eq!((&mandate["act"]["sub"], &mandate["aud"]), (&spiffe_id.into(), &CRM.into()), "{answer}");
    assert_eq!(answer["after"], json!({ "active": false }), "{answer}");
}

#[test]
fn openid_client_as_an_agent_gets_a_token_of_its_own_and_exchanges_a_persons() {
    let Some(node) = NodeProgram::find() else { return };
    as_the_agent(&node, "openid-client-agent.mjs");
}

#[test]
fn authlib_as_an_agent_gets_a_token_of_its_own_and_exchanges_a_persons() {
    let Some(python) = PythonProgram::find() else { return };
    as_the_agent(&python, "authlib_agent.py");
}
