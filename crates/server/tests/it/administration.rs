//! Who may administer the server, over every listener.

mod roles;

use std::collections::BTreeSet;

use mandate_administration::OperatorAct;
use mandate_api::admin::{
    ApplyRequest, AuditQuery, ClientSecretRequest, JoinTokenRequest, KeyRotationRequest, PasswordRequest,
    RevocationRequest, RevocationTarget,
};
use mandate_api::{AdminClient, ClientError, Endpoint, registry_file};
use mandate_core::Role;
use mandate_core::Secret;
use mandate_core::registry::EntryKind;
use mandate_testkit::app::{Answer, exchange};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::Server;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation of the document, with names filled in that exist.
async fn operations(server: &Server, base: &str) -> Vec<(Method, String)> {
    let answer = server.app.get(&format!("{base}/openapi.json")).await;
    assert_eq!(answer.status, 200, "the document itself is for anybody");
    let document = answer.json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{kind}", "agent")
            .replace("people/{name}", "people/riley")
            .replace("{name}", "support-agent")
            .replace("{id}", "desk-app");
        let methods = item.as_object().unwrap().keys().filter(|method| METHODS.contains(&method.as_str()));
        found.extend(methods.map(|method| (method.to_uppercase().parse().unwrap(), path.clone())));
    }
    assert!(found.len() >= 15, "{found:?}");
    found
}

/// A body that would do something if it were read.
fn body(path: &str) -> Value {
    match path {
        "/v1/apply" => serde_json::json!({"entries": {}, "prune": true}),
        "/v1/revocations" => serde_json::json!({"target": {"kind": "agent", "id": "support-agent"}}),
        "/v1/agents/support-agent/state" => serde_json::json!({"state": "retired"}),
        "/v1/people/riley/state" => serde_json::json!({"disabled": true}),
        path if path.ends_with("/password") => serde_json::json!({"password": "another password"}),
        path if path.ends_with("/secret") => serde_json::json!({"secret": "another secret of a client"}),
        _ => serde_json::json!({}),
    }
}

async fn call(server: &Server, base: &str, operation: &(Method, String), headers: &[(&str, &str)]) -> Answer {
    let (method, path) = operation;
    let mut request = server.app.http.request(method.clone(), format!("{base}{path}"));
    if *method != Method::GET {
        request = request.json(&body(path));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// Headers with which a caller of other products can claim an identity.
const CLAIMS_TO_BE: [(&str, &str); 6] = [
    ("x-account-id", "acme"),
    ("x-project-id", "default"),
    ("x-user-id", "ceo@acme.example"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-user", "root"),
    ("cookie", "session=admin"),
];

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_no_listener_does_anything_and_each_refusal_is_recorded() {
    let server = Server::story().await;
    let admin = server.ready.admin_url.clone();
    let operations = operations(&server, &admin).await;
    let before = server.admin.list(EntryKind::Agent).await.unwrap().len();
    for operation in &operations {
        let size = server.audit_size().await;
        let answer = call(&server, &admin, operation, &[]).await;
        assert_eq!(answer.status, 401, "{operation:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.header("www-authenticate").starts_with("Bearer "), "RFC 6750 §3");
        assert_eq!(server.audit_size().await, size + 1, "{operation:?} left one record");
        let record = server.newest_record().await;
        let told = (record.kind.as_str(), record.outcome.as_str(), record.reason.as_str(), record.by);
        assert_eq!(told, ("admin", "refused", "no_credentials", None));

        // The listener of people and agents has no administration at all, with or without credentials.
        let answer = call(&server, server.issuer(), operation, &[]).await;
        assert!([401, 403].contains(&answer.status), "{operation:?}: {answer:?}");
    }
    assert_eq!(server.admin.list(EntryKind::Agent).await.unwrap().len(), before);
    assert_eq!(server.admin.status().await.unwrap().cuts, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_name_somebody_are_not_credentials() {
    let server = Server::story().await;
    let admin = server.ready.admin_url.clone();
    for operation in &operations(&server, &admin).await {
        for base in [admin.as_str(), server.issuer()] {
            let answer = call(&server, base, operation, &CLAIMS_TO_BE).await;
            assert_eq!(answer.status, 401, "{operation:?} {answer:?}");
        }
        assert_eq!(server.newest_record().await.by, None, "nobody was named");
    }
    // Over the socket the peer's uid counts, and the same headers change nothing of who is recorded.
    let request = "POST /v1/join-tokens HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-user-id: ceo@acme.example\r\nauthorization: Bearer x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let answer = over_socket(&server, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.newest_record().await.by, Some(format!("uid:{}", rustix::process::getuid().as_raw())));
    server.stop().await;
}

async fn over_socket(server: &Server, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::UnixStream::connect(&server.ready.admin_socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_tokens_do_not_administrate() {
    let server = Server::story().await;
    let admin = server.ready.admin_url.clone();
    let node = server.node().await;
    let riley = server.app.person_token("riley", None, None).await;
    let at_the_crm = server.app.person_token("riley", Some(mandate_testkit::app::CRM), None).await;
    let mandate = server.mandate(&node).await;
    // Administration cannot be delegated, no matter what ceiling an agent has and who grants it.
    let svid = node.svid("ops-agent").await.unwrap();
    let administrator = server.app.person_token("olga", Some(server.issuer()), Some("mandate:admin")).await;
    let olga = server.app.person_token("olga", None, None).await;
    for subject in [&administrator, &olga] {
        let refused = server.app.token(&exchange(&svid, subject, server.issuer(), "mandate:admin")).await;
        assert_eq!(refused.error(), "400 invalid_target", "{refused:?}");
    }
    let bearers = [
        ("garbage", "x".to_owned(), 401, None),
        ("garbage that looks like one", "e30.e30.AAAA".to_owned(), 401, None),
        ("an identity document", svid, 401, None),
        ("a person's token without the scope", riley, 403, Some("riley")),
        ("a token for another resource", at_the_crm, 401, Some("riley")),
        ("an agent's token for another resource", mandate, 401, Some("riley")),
        ("an administrator's token without the scope", olga, 403, Some("olga")),
    ];
    let operations = operations(&server, &admin).await;
    for (what, token, status, who) in &bearers {
        for operation in &operations {
            let bearer = format!("Bearer {token}");
            let answer = call(&server, &admin, operation, &[("authorization", &bearer)]).await;
            assert_eq!(answer.status, *status, "{what}: {operation:?} {answer:?}");
            assert!(
                answer.header("www-authenticate").contains(if *status == 403 {
                    "insufficient_scope"
                } else {
                    "invalid_token"
                }),
                "{what}"
            );
            assert!(!answer.text.contains(token.as_str()), "{what} is not echoed");
        }
        let record = server.newest_record().await;
        assert_eq!((record.outcome.as_str(), record.kind.as_str()), ("refused", "admin"), "{what}");
        let by = record.by.unwrap_or_default();
        assert!(who.map_or(by.is_empty(), |who| by.contains(who)), "{what}: {by}");
    }
    let recorded = AuditQuery {
        kind: Some("admin".into()),
        outcome: Some("refused".into()),
        limit: Some(1000),
        ..AuditQuery::default()
    };
    assert_eq!(
        server.records(recorded).await.len(),
        bearers.len() * operations.len(),
        "every refusal left one record"
    );
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_the_admin_scope_administrates_over_tcp_only_and_by_one_header() {
    let server = Server::story().await;
    let admin = server.ready.admin_url.clone();
    let token = server.app.person_token("olga", Some(server.issuer()), Some("mandate:admin")).await;
    let client =
        AdminClient::new(Endpoint::Tcp { server: admin.parse().unwrap(), token: Secret::new(token.clone()) });
    assert_eq!(client.status().await.unwrap().issuer, server.issuer());
    client.join_token(&JoinTokenRequest::default()).await.unwrap();
    let by = server.newest_record().await.by.unwrap();
    assert!(by.contains("olga") && by.contains("(token "), "{by}");

    let operation = (Method::GET, "/v1/status".to_owned());
    let bearer = format!("Bearer {token}");
    assert_eq!(
        call(&server, server.issuer(), &operation, &[("authorization", &bearer)]).await.status,
        401,
        "not on the public listener"
    );
    assert_eq!(call(&server, &admin, &operation, &[("authorization", &bearer)]).await.status, 200);
    for bad in [
        &[("authorization", bearer.as_str()), ("authorization", bearer.as_str())][..],
        &[("authorization", "Bearer")],
    ] {
        assert_eq!(call(&server, &admin, &operation, bad).await.status, 401, "{bad:?}");
    }
    let dpop = format!("DPoP {token}");
    assert_eq!(call(&server, &admin, &operation, &[("authorization", &dpop)]).await.status, 401);
    let in_query = (Method::GET, format!("/v1/status?access_token={token}"));
    assert_eq!(
        call(&server, &admin, &in_query, &[]).await.status,
        401,
        "a token in a query is not looked at"
    );

    // What was revoked does not administrate from then on.
    server
        .admin
        .revoke(&RevocationRequest { target: RevocationTarget::Person("olga".parse().unwrap()) })
        .await
        .unwrap();
    assert_eq!(call(&server, &admin, &operation, &[("authorization", &bearer)]).await.status, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_with_a_file_that_is_applied_already_changes_nothing() {
    let server = Server::story().await;
    // It gives a person and an agent rights on the built-in administration, which no file declares.
    let text = mandate_testkit::app::registry(mandate_testkit::app::CRM, rustix::process::getuid().as_raw());
    assert!(text.contains("resource = \"mandate\""));
    let request = ApplyRequest {
        entries: mandate_api::registry_file::parse(&text).unwrap(),
        prune: true,
        dry_run: false,
    };
    for _ in 0..2 {
        let answer = server.admin.apply(&request).await.unwrap();
        assert!(answer.changes.is_empty(), "{:?}", answer.changes);
    }
    let token = server.app.person_token("olga", Some(server.issuer()), Some("mandate:admin")).await;
    assert_eq!(mandate_testkit::app::claims(&token)["scope"], "mandate:admin");
    server.stop().await;
}

/// How an act that changes something is asked for: the row of its route, a path that exists, and a body with
/// which it is done. In the order of the table each act can be done after those before it. `None`: it reads.
fn change(act: OperatorAct, node: &str) -> Option<(&'static str, String, Value)> {
    let (route, name, body) = match act {
        OperatorAct::ReadRegistry
        | OperatorAct::ReadNodes
        | OperatorAct::ReadStatus
        | OperatorAct::ReadAudit => return None,
        OperatorAct::SuspendAgent => (AGENT_STATE, "support-agent", json!({"state": "suspended"})),
        OperatorAct::ContainAgent => (AGENT_STATE, "ops-agent", json!({"state": "contained"})),
        OperatorAct::ReleaseAgent => ("/v1/agents/{name}/release", "ops-agent", Value::Null),
        OperatorAct::DisablePerson => (PERSON_STATE, "riley", json!({"disabled": true})),
        OperatorAct::Revoke => {
            ("/v1/revocations", "", json!({"target": {"kind": "client", "id": "desk-app"}}))
        }
        OperatorAct::BanNode => ("/v1/nodes/{name}/ban", node, Value::Null),
        OperatorAct::ActivateAgent => (AGENT_STATE, "support-agent", json!({"state": "active"})),
        OperatorAct::RetireAgent => (AGENT_STATE, "ops-agent", json!({"state": "retired"})),
        OperatorAct::EnablePerson => (PERSON_STATE, "riley", json!({"disabled": false})),
        OperatorAct::ApplyRegistry => ("/v1/apply", "", json!({"entries": {"person": [{"name": "casey"}]}})),
        OperatorAct::SetPassword => {
            ("/v1/people/{name}/password", "riley", json!({"password": "another password"}))
        }
        OperatorAct::SetClientSecret => {
            ("/v1/clients/{id}/secret", "desk-app", json!({"secret": "another secret of a client"}))
        }
        OperatorAct::MakeJoinToken => ("/v1/join-tokens", "", json!({})),
        OperatorAct::RotateKeys => ("/v1/keys/rotate", "", json!({"purpose": "access-token"})),
    };
    Some((route, route.replace("{name}", name).replace("{id}", name), body))
}

const AGENT_STATE: &str = "/v1/agents/{name}/state";
const PERSON_STATE: &str = "/v1/people/{name}/state";

#[tokio::test(flavor = "multi_thread")]
async fn every_act_that_changes_something_records_who_did_it_and_who_was_not_permitted_to() {
    let server = Server::story().await;
    let node = server.node().await;
    let (admin, name) =
        (server.ready.admin_url.clone(), node.spiffe_id.rsplit('/').next().unwrap().to_owned());
    let document = server.app.get(&format!("{admin}/openapi.json")).await.json();
    let methods = |item: &Value| {
        item.as_object()
            .unwrap()
            .keys()
            .filter(|method| METHODS.contains(&method.as_str()))
            .cloned()
            .collect::<Vec<_>>()
    };
    let rows = document["paths"].as_object().unwrap().iter().flat_map(|(route, item)| {
        methods(item).into_iter().map(move |method| (method.to_uppercase(), route.clone()))
    });
    let rows: BTreeSet<_> = rows.filter(|(method, _)| method != "GET").collect();
    let changes: Vec<_> =
        OperatorAct::ALL.iter().filter_map(|act| Some((*act, change(*act, &name)?))).collect();
    for act in OperatorAct::ALL {
        assert_eq!(change(*act, &name).is_none(), act.least() == Role::Viewer, "{act:?}: a viewer reads");
    }
    let asked: BTreeSet<_> =
        changes.iter().map(|(_, (route, ..))| ("POST".to_owned(), (*route).to_owned())).collect();
    assert_eq!(rows, asked, "each row of the document that changes something, and each act, has a case");
    let of = |who: &str| AuditQuery { by: Some(who.to_owned()), limit: Some(1000), ..AuditQuery::default() };
    let send = async |path: &str, body: &Value, token: &str| {
        let request = server.app.http.post(format!("{admin}{path}")).bearer_auth(token);
        let request = if body.is_null() { request } else { request.json(body) };
        Answer::of(request.send().await.unwrap()).await
    };

    let riley = server.app.person_token("riley", None, None).await;
    for (count, (act, (route, path, body))) in changes.iter().enumerate() {
        let answer = send(path, body, &riley).await;
        assert_eq!(answer.status, 403, "{act:?}: {answer:?}");
        let records = server.records(of("riley")).await;
        assert_eq!(records.len(), count + 1, "{act:?} left one record");
        let told = (records[0].kind.as_str(), records[0].outcome.as_str(), records[0].reason.as_str());
        assert_eq!(told, ("admin", "refused", "insufficient_scope"), "{act:?}");
        assert_eq!(records[0].detail, Some(format!("POST {route}")), "{act:?}");
    }

    let olga = server.app.person_token("olga", Some(server.issuer()), Some("mandate:admin")).await;
    for (count, (act, (_, path, body))) in changes.iter().enumerate() {
        let answer = send(path, body, &olga).await;
        assert!((200..300).contains(&answer.status), "{act:?}: {answer:?}");
        let records = server.records(of("olga")).await;
        assert_eq!(records.len(), count + 1, "{act:?} left one record");
        assert_eq!((records[0].outcome.as_str(), records[0].reason.as_str()), ("permitted", "ok"), "{act:?}");
        assert!(
            records[0].by.as_ref().is_some_and(|by| by.contains("olga") && by.contains("(token ")),
            "{act:?}: {:?}",
            records[0].by
        );
        assert!(
            !serde_json::to_string(&records[0]).unwrap().contains("another "),
            "{act:?}: no secret is recorded"
        );
    }

    // What changes nothing is no decision.
    let nothing = server
        .app
        .http
        .post(format!("{admin}/v1/apply"))
        .bearer_auth(&olga)
        .json(&serde_json::json!({"entries": {}}));
    assert_eq!(nothing.send().await.unwrap().status(), 200);
    assert_eq!(server.records(of("olga")).await.len(), changes.len());
    assert!(server.admin.audit_verify().await.unwrap().verified);
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_paths_show_nothing_and_do_nothing() {
    let server = Server::story().await;
    let admin = server.ready.admin_url.clone();
    let size = server.audit_size().await;
    for (method, path, expected) in [
        ("HEAD", "/v1/status", &[401][..]),
        ("OPTIONS", "/v1/status", &[401, 403, 405]),
        ("OPTIONS", "/v1/apply", &[401, 403, 405]),
        ("DELETE", "/v1/registry/agent/support-agent", &[401, 403, 405]),
        ("PUT", "/v1/apply", &[401, 403, 405]),
        ("GET", "/v1/apply", &[401, 403, 405]),
        ("TRACE", "/v1/status", &[401, 403, 405]),
        ("BREW", "/v1/status", &[401, 403, 405]),
        ("GET", "/v1", &[404]),
        ("GET", "/v1/", &[404]),
        ("GET", "/V1/status", &[404]),
        ("GET", "/v1/status/", &[404]),
        ("GET", "//v1/status", &[404]),
        ("GET", "/v1%2Fstatus", &[404]),
        ("GET", "/v1/secrets", &[404]),
        ("GET", "/v1/registry/wizard", &[401]),
        ("GET", "/v1/registry/agent/..%2F..%2Fstatus", &[401]),
        ("GET", "/healthz", &[404]),
    ] {
        let request = server.app.http.request(method.parse().unwrap(), format!("{admin}{path}"));
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert!(expected.contains(&answer.status), "{method} {path}: {answer:?}");
        assert!(answer.header("access-control-allow-origin").is_empty(), "no other site's script may ask");
    }
    let refused = server.audit_size().await - size;
    assert!(refused >= 3, "refusals of what exists are recorded: {refused}");
    let refused = AuditQuery {
        kind: Some("admin".into()),
        outcome: Some("permitted".into()),
        limit: Some(5),
        ..AuditQuery::default()
    };
    assert!(
        server.records(refused).await.iter().all(|record| !record
            .detail
            .clone()
            .unwrap_or_default()
            .contains("rotate"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_whose_plus_is_not_encoded_is_refused_with_the_form_to_write() {
    let server = Server::story().await;
    for member in ["since", "until"] {
        for (time, status, says) in [
            (
                "2026-11-24T09:00:00+01:00",
                400,
                format!("{member}: in the query of a URL a + is a space; write 2026-11-24T09:00:00%2B01:00"),
            ),
            ("2026-11-24T09:00:00%2B01:00", 200, "[".to_owned()),
            ("2026-11-24T09:00:00", 400, format!("{member}: a time without an offset")),
            ("yesterday+night", 400, format!("{member}: ")),
        ] {
            let request = format!(
                "GET /v1/audit/records?{member}={time} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            );
            let answer = over_socket(&server, &request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(&says),
                "{time}: {answer}"
            );
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_a_problem_with_a_reason_and_never_a_500() {
    let server = Server::story().await;
    for (line, body, status) in [
        ("POST /v1/apply", "{", 400),
        ("POST /v1/apply", r#"{"entries":{"agent":[{"name":"x"}]}}"#, 422),
        ("POST /v1/apply", r#"{"entries":{},"surprise":1}"#, 422),
        ("POST /v1/apply", r#"{"entries":{"policy":[{"name":"broken","source":"permit("}]}}"#, 422),
        (
            "POST /v1/apply",
            r#"{"entries":{"resource":[{"name":"mandate","uri":"https://evil.example","scopes":["mandate:admin"]}]}}"#,
            422,
        ),
        ("POST /v1/people/nobody/password", r#"{"password":"another password"}"#, 404),
        ("POST /v1/people/riley/password", r#"{"password":"short"}"#, 400),
        ("POST /v1/clients/nobody/secret", r#"{"secret":"another secret of a client"}"#, 404),
        ("POST /v1/clients/support-app/secret", r#"{"secret":"a secret of a public client"}"#, 400),
        ("POST /v1/revocations", r#"{"target":{"kind":"agent","id":"nobody"}}"#, 404),
        ("POST /v1/revocations", r#"{"target":{"kind":"wizard","id":"x"}}"#, 422),
        ("POST /v1/keys/rotate", r#"{"purpose":"everything"}"#, 400),
        ("GET /v1/registry/wizard", "", 400),
        ("GET /v1/registry/agent/nobody", "", 404),
        ("GET /v1/registry/agent/%FF", "", 400),
        ("GET /v1/audit/records/nothing", "", 404),
        ("GET /v1/audit/records?since=yesterday", "", 400),
        ("GET /v1/audit/records?outcome=maybe", "", 400),
        ("GET /v1/audit/records?limit=-1", "", 400),
        ("GET /v1/audit/records?surprise=1", "", 400),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = over_socket(&server, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {body}: {answer}");
        assert!(
            answer.contains("application/problem+json") && answer.contains("\"detail\""),
            "{line}: {answer}"
        );
    }
    let rotated = server.admin.rotate_keys(&KeyRotationRequest::default()).await.unwrap();
    assert_eq!(rotated.keys.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_policy_that_is_wrong_is_named_at_its_place_in_the_file() {
    let server = Server::story().await;
    let file = "[[policy]]\nname = \"fine\"\nsource = \"forbid (principal, action, resource) when { context.depth > 9 };\"\n\n[[policy]]\nname = \"house\"\nsource = \"permit (\"\n";
    let request = ApplyRequest { entries: registry_file::parse(file).unwrap(), prune: false, dry_run: true };
    let Err(ClientError::Refused(problem)) = server.admin.apply(&request).await else {
        panic!("it was accepted")
    };
    let finding = &problem.errors[0];
    assert!(finding.detail.starts_with("policy house, line 1, column "), "{finding:?}");
    assert_eq!(
        (finding.pointer.as_str(), registry_file::locate(file, &finding.pointer)),
        ("/policy/1/source", Some((7, 10)))
    );
    server.stop().await;
}

#[tokio::test]
async fn the_resource_that_nobody_declared_is_marked() {
    let server = Server::story().await;
    let resources = server.admin.list(EntryKind::Resource).await.unwrap();
    let built_in: Vec<bool> = resources.iter().map(|entry| entry.built_in).collect();
    assert_eq!(built_in.iter().filter(|built_in| **built_in).count(), 1, "{resources:?}");
    assert!(server.admin.entry(EntryKind::Resource, "mandate").await.unwrap().built_in);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_wrong_length_is_refused_with_the_lengths_that_are_right() {
    let server = Server::story().await;
    let refused = |error: ClientError| match error {
        ClientError::Refused(problem) => {
            (problem.status, problem.title.clone(), problem.detail.clone().unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    for length in [7, 1025] {
        let password = "x".repeat(length);
        let error = server.admin.set_password("riley", &PasswordRequest { password }).await.unwrap_err();
        let (status, title, detail) = refused(error);
        assert_eq!((status, detail.as_str()), (400, "Password must be 8 to 1024 characters."), "{length}");
        assert_eq!(title, "The request is not valid");
    }
    for length in [15, 1025] {
        let secret = "x".repeat(length);
        let error =
            server.admin.set_client_secret("desk-app", &ClientSecretRequest { secret }).await.unwrap_err();
        let (status, _, detail) = refused(error);
        assert_eq!(
            (status, detail.as_str()),
            (400, "Client secret must be 16 to 1024 characters."),
            "{length}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_one_that_fits_looks_as_if_there_were_none() {
    let server = Server::story().await;
    let people: Vec<String> = (0..501).map(|n| format!("[[person]]\nname = \"p{n}\"\n")).collect();
    server.apply(&people.concat()).await;
    assert_eq!(server.admin.list(EntryKind::Person).await.unwrap().len(), 503, "a client reads all pages");
    let head = async |query: &str| {
        let answer = over_socket(
            &server,
            &format!("GET /v1/registry/{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        )
        .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let link = head.lines().find_map(|line| line.strip_prefix("link: ")).map(str::to_owned);
        (head.lines().next().unwrap().to_owned(), link, body.trim_start().starts_with('['))
    };
    assert_eq!(head("agent").await, ("HTTP/1.1 200 OK".to_owned(), None, true));
    let (status, link, _) = head("person").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(link.unwrap().ends_with(">; rel=\"next\""), "RFC 8288 §3");
    let (_, link, _) = head("person?limit=2").await;
    assert_eq!(link.unwrap(), "<?after=cDA&limit=2>; rel=\"next\"");
    for bad in [
        "person?limit=0",
        "person?limit=501",
        "person?limit=x",
        "person?after=*",
        "person?surprise=1",
        "wizard?limit=1",
    ] {
        assert_eq!(head(bad).await.0, "HTTP/1.1 400 Bad Request", "{bad}");
    }
    server.stop().await;
}
