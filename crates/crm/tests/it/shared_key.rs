//! The world before: one key opens everything, and nobody can tell who it was.

use mandate_crm::{CrmError, Protection, SharedKey, serve};
use serde_json::json;
use tokio::net::TcpListener;

use crate::world::{Crm, listen, obey};

const KEY: &str = "a-key-of-a-service-account";

async fn crm() -> Crm {
    let mut crm =
        Crm::start(listen().await, Protection::dangerous_shared_key(SharedKey::new(KEY).unwrap())).await;
    KEY.clone_into(&mut crm.credential);
    crm
}

#[tokio::test]
async fn the_hidden_instructions_destroy_the_pipeline_and_nobody_can_say_who_did_it() {
    let crm = crm().await;
    let before = crm.evidence();
    assert_eq!((before.opportunities.len(), before.closed(), before.outbox.len()), (24, 0, 0));
    let answers = obey(&crm).await;
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 12);
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 12);
    let after = crm.evidence();
    assert_eq!((after.closed(), after.outbox.len(), after.refused()), (12, 12, 0));
    for opportunity in after.opportunities.iter().filter(|opportunity| opportunity.closed) {
        assert_eq!(
            (opportunity.jti.as_deref(), opportunity.closed_by.as_deref()),
            (None, Some("a holder of the shared key"))
        );
    }
    assert!(after.calls.iter().all(|call| call.sub.is_none() && call.act.is_none() && call.jti.is_none()));
}

#[tokio::test]
async fn without_the_key_nothing_opens() {
    let mut crm = crm().await;
    for wrong in ["", "a-key-of-a-service-accounT", "a-key-of-a-service-accoun", "nonsense"] {
        wrong.clone_into(&mut crm.credential);
        for path in ["/cases", "/cases/1", "/opportunities", "/outbox"] {
            let answer = crm.get(path).await;
            assert_eq!(
                (answer.status, &answer.headers["www-authenticate"]),
                (401, &"Bearer".parse().unwrap()),
                "{path}"
            );
        }
        assert_eq!(crm.post("/opportunities/1/close", json!({ "reason": "x" })).await.status, 401);
    }
    assert_eq!(crm.evidence().closed(), 0);
    assert!(crm.evidence().calls.iter().all(|call| call.decision == "refused"));
}

#[tokio::test]
async fn bad_input_changes_nothing_and_says_why() {
    let crm = crm().await;
    assert_eq!(crm.post("/opportunities/1/close", json!({ "reason": "lost" })).await.status, 200);
    for (path, body, status) in [
        ("/opportunities/1/close", json!({ "reason": "again" }), 409),
        ("/opportunities/99/close", json!({ "reason": "x" }), 404),
        ("/opportunities/2/close", json!({ "reason": " " }), 422),
        ("/opportunities/2/close", json!({ "reason": "x", "force": true }), 422),
        ("/opportunities/2/close", json!({}), 422),
        ("/cases/99/comments", json!({ "body": "x" }), 404),
        ("/cases/1/comments", json!({ "body": "" }), 422),
        ("/cases/1/comments", json!({ "body": "x".repeat(10_001) }), 422),
        ("/outbox", json!({ "to": "a@b.example, c@d.example", "subject": "s", "body": "b" }), 422),
        ("/outbox", json!({ "to": "a@b.example", "subject": "s\r\nBcc: x@y.example", "body": "b" }), 422),
        ("/outbox", json!({ "to": "nobody", "subject": "s", "body": "b" }), 422),
        ("/nowhere", json!({}), 404),
    ] {
        let answer = crm.post(path, body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}");
        assert!(answer.json["error"].is_string(), "{path} {body}");
    }
    assert_eq!(crm.get("/cases/99").await.status, 404);
    assert_eq!(crm.post_text("/outbox", "{").await.status, 400);
    assert_eq!(crm.post_text("/outbox", format!("\"{}\"", "x".repeat(70_000))).await.status, 413);
    let evidence = crm.evidence();
    assert_eq!((evidence.closed(), evidence.comments, evidence.outbox.len()), (1, 0, 0));
}

#[tokio::test]
async fn a_database_is_kept_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("crm.db");
    for expected in [200, 409] {
        let (listener, url) = listen().await;
        let (path, protection) =
            (database.clone(), Protection::dangerous_shared_key(SharedKey::new(KEY).unwrap()));
        let server = tokio::spawn(async move { serve(listener, &path, protection).await });
        let request = crate::world::http().post(format!("{url}/opportunities/7/close")).bearer_auth(KEY);
        assert_eq!(
            request.json(&json!({ "reason": "lost" })).send().await.unwrap().status().as_u16(),
            expected
        );
        server.abort();
    }
}

#[tokio::test]
async fn plain_http_is_served_on_loopback_only() {
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let protection = Protection::dangerous_shared_key(SharedKey::new(KEY).unwrap());
    let outcome = serve(listener, &directory.path().join("crm.db"), protection).await;
    assert!(matches!(outcome, Err(CrmError::NotLoopback(_))));
}

#[test]
fn the_key_comes_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    assert!(SharedKey::from_file(&file).is_ok());
    std::fs::write(&file, format!("\u{feff}{KEY}\r\n")).unwrap();
    assert!(SharedKey::from_file(&file).is_ok(), "as an editor of another system writes it");
    std::fs::write(&file, "short\n").unwrap();
    assert!(SharedKey::from_file(&file).is_err());
    assert!(SharedKey::from_file(&directory.path().join("absent")).is_err());
}
