//! The world after: the same agent, the same mail.

use std::time::Duration;

use mandate_crm::{Protection, scopes};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_verifier::{Clock as _, Verifier};
use serde_json::json;

use crate::world::{Crm, listen, obey};

const SCOPE: &str = "read:cases write:case_comments";

async fn world(scope: &str) -> (HostileIssuer, Crm) {
    let issuer = HostileIssuer::start();
    let (listener, url) = listen().await;
    let builder = Verifier::builder(issuer.issuer(), url.parse().unwrap()).scopes_supported(scopes());
    let verifier = builder.build().unwrap();
    tokio::time::timeout(Duration::from_secs(30), verifier.ready()).await.unwrap();
    let mut crm = Crm::start((listener, url), Protection::Mandate(verifier)).await;
    crm.credential = issuer.token(&crm.url, scope, mandate_core::SystemClock.now());
    (issuer, crm)
}

#[tokio::test]
async fn the_hidden_instructions_come_to_nothing_and_both_names_are_on_record() {
    let (_issuer, crm) = world(SCOPE).await;
    let answers = obey(&crm).await;
    assert_eq!(answers, vec![403; 24]);
    assert_eq!(
        crm.post("/cases/3/comments", json!({ "body": "The spares left on Monday." })).await.status,
        201
    );
    let evidence = crm.evidence();
    assert_eq!(
        (evidence.closed(), evidence.outbox.len(), evidence.comments, evidence.refused()),
        (0, 0, 1, 24)
    );
    for call in &evidence.calls {
        assert_eq!(call.sub.as_deref(), Some("riley"));
        assert!(call.sub_iss.is_some(), "and who gives the name");
        assert_eq!(call.act.as_deref(), Some("spiffe://acme.example/agent/support-agent"));
        assert_eq!(call.jti.as_deref(), Some("token-1"));
        let expected =
            if call.status == 403 { ("refused", "insufficient_scope") } else { ("permitted", "ok") };
        assert_eq!((call.decision.as_str(), call.reason.as_str()), expected);
    }
    let case = crm.get("/cases/3").await;
    assert_eq!(case.json["comments"][0]["by"], "spiffe://acme.example/agent/support-agent for riley");
}

#[tokio::test]
async fn a_person_of_another_issuer_is_named_with_it() {
    let (issuer, mut crm) = world(SCOPE).await;
    let mut terms = issuer.terms(&crm.url, SCOPE, mandate_core::SystemClock.now());
    terms.subject.as_mut().unwrap().iss = "https://login.acme.example".parse().unwrap();
    crm.credential = issuer.sign(&terms);
    assert_eq!(
        crm.post("/cases/3/comments", json!({ "body": "Not by the riley of this issuer." })).await.status,
        201
    );
    let case = crm.get("/cases/3").await;
    let by = "spiffe://acme.example/agent/support-agent for riley of https://login.acme.example";
    assert_eq!(case.json["comments"][0]["by"], by);
}

#[tokio::test]
async fn a_close_that_is_permitted_leads_to_the_token() {
    let (issuer, mut crm) = world("write:opportunities").await;
    assert_eq!(crm.post("/opportunities/5/close", json!({ "reason": "won" })).await.status, 200);
    crm.credential = issuer.token(&crm.url, "send:mail", mandate_core::SystemClock.now());
    assert_eq!(
        crm.post("/outbox", json!({ "to": "a@b.example", "subject": "s", "body": "b" })).await.status,
        201
    );
    let evidence = crm.evidence();
    let closed: Vec<_> = evidence.opportunities.iter().filter(|opportunity| opportunity.closed).collect();
    assert_eq!((closed.len(), closed[0].id, closed[0].jti.as_deref()), (1, 5, Some("token-1")));
    assert_eq!(
        (evidence.outbox[0].jti.as_deref(), evidence.outbox[0].to.as_str()),
        (Some("token-2"), "a@b.example")
    );
}

#[tokio::test]
async fn each_operation_opens_by_its_own_scope_only() {
    let (issuer, mut crm) = world(SCOPE).await;
    let operations: [(&str, Option<serde_json::Value>, &str); 7] = [
        ("/cases", None, "read:cases"),
        ("/cases/1", None, "read:cases"),
        ("/cases/1/comments", Some(json!({ "body": "x" })), "write:case_comments"),
        ("/opportunities", None, "write:opportunities"),
        ("/opportunities/1/close", Some(json!({ "reason": "x" })), "write:opportunities"),
        ("/outbox", None, "send:mail"),
        ("/outbox", Some(json!({ "to": "a@b.example", "subject": "s", "body": "b" })), "send:mail"),
    ];
    for (path, body, needed) in operations {
        let all_others: Vec<&str> =
            mandate_crm::SCOPES.into_iter().filter(|scope| *scope != needed).collect();
        for (scope, permitted) in [(all_others.join(" "), false), (needed.to_owned(), true)] {
            crm.credential = issuer.token(&crm.url, &scope, mandate_core::SystemClock.now());
            let answer = match &body {
                Some(body) => crm.post(path, body.clone()).await,
                None => crm.get(path).await,
            };
            assert_eq!(answer.status < 300, permitted, "{path} with {scope}: {}", answer.status);
            if !permitted {
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                assert!(
                    answer.status == 403 && challenge.contains(&format!("scope=\"{needed}\"")),
                    "{challenge}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_stranger_finds_out_where_to_get_a_token() {
    let (issuer, mut crm) = world(SCOPE).await;
    crm.credential.clear();
    let answer = crm.get("/cases").await;
    assert_eq!(answer.status, 401);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap().to_owned();
    assert!(!challenge.contains("error="), "{challenge}");
    let url = challenge.split('"').nth(1).unwrap();
    let document = crm.get(url.strip_prefix(&crm.url).unwrap()).await.json;
    assert_eq!(document["resource"], crm.url.as_str());
    assert_eq!(document["authorization_servers"], json!([issuer.issuer()]));
    assert_eq!(document["scopes_supported"].as_array().unwrap().len(), 4);
    assert_eq!(crm.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_token_for_another_resource_opens_nothing() {
    let (issuer, mut crm) = world(SCOPE).await;
    crm.credential = issuer.token("http://127.0.0.1:1", SCOPE, mandate_core::SystemClock.now());
    assert_eq!(crm.get("/cases").await.status, 401);
    let evidence = crm.evidence();
    assert_eq!(evidence.calls[0].reason, "audience");
}

#[tokio::test]
async fn a_revoked_agent_is_stopped() {
    let (issuer, crm) = world(SCOPE).await;
    assert_eq!(crm.get("/cases").await.status, 200);
    let agent = mandate_core::CutTarget::Agent("spiffe://acme.example/agent/support-agent".into());
    issuer.cut(agent, mandate_core::SystemClock.now());
    let stopped = async {
        while crm.get("/cases").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stopped).await.expect("stopped");
    assert_eq!(crm.evidence().calls.last().map(|call| call.reason.clone()), Some("revoked".into()));
}
