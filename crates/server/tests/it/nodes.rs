//! Nodes and agents against a real server: joining, coming back, and being stopped.

use std::time::Duration;

use mandate_api::admin::{AuditQuery, JoinTokenRequest};
use mandate_node::{Fault, NodeError};
use mandate_testkit::app::{CRM, exchange};
use mandate_verifier::{Route, Verifier};

use crate::world::{LONG, Server, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_joins_one_node_once() {
    let server = Server::story().await;
    let token = server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
    let node = server.node_in("first", Some(token.clone())).await.unwrap();
    let thief = server.node_in("second", Some(token.clone())).await.err().expect("refused");
    assert!(matches!(thief, NodeError::JoinRefused { .. }), "{thief}");
    assert_eq!(thief.fault(), Fault::Refused);
    assert!(!thief.to_string().contains(&token), "a secret is in no error");
    let record = server.newest_record().await;
    assert_eq!((record.kind.as_str(), record.outcome.as_str()), ("node", "refused"));
    assert!(node.svid("support-agent").await.is_ok(), "the first node is not harmed by the attempt");
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_join_token_and_a_made_up_one_join_nobody() {
    let server = Server::story().await;
    let token = server.admin.join_token(&JoinTokenRequest { ttl: Some("1m".parse().unwrap()) }).await.unwrap().token;
    let (_, pin) = token.rsplit_once('.').unwrap();
    let made_up = server.node_in("made-up", Some(format!("{}.{pin}", "A".repeat(43)))).await.err().expect("refused");
    assert!(matches!(made_up, NodeError::JoinRefused { .. }), "{made_up}");
    server.clock.advance(Duration::from_secs(61));
    let late = server.node_in("late", Some(token)).await.err().expect("refused");
    assert!(matches!(late, NodeError::JoinRefused { .. }), "{late}");
    let (NodeError::JoinRefused { reason: one, .. }, NodeError::JoinRefused { reason: other, .. }) = (&made_up, &late) else {
        unreachable!()
    };
    assert_eq!(one, other, "a thief does not learn which");
    let refused = AuditQuery { kind: Some("node".into()), outcome: Some("refused".into()), ..AuditQuery::default() };
    assert_eq!(server.records(refused).await.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_joined_comes_back_without_a_token_as_who_it_was() {
    let server = Server::story().await;
    let node = server.node().await;
    let id = node.spiffe_id.clone();
    node.stop().await;
    let again = server.node_in("node", None).await.unwrap();
    assert_eq!(again.spiffe_id, id);
    assert!(again.svid("support-agent").await.is_ok());
    again.stop().await;
    let stranger = server.node_in("another", None).await.err().expect("refused");
    assert!(matches!(stranger, NodeError::NotJoined { .. }), "{stranger}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn z7_a_suspended_agent_gets_nothing_and_what_it_has_ends() {
    let server = Server::story().await;
    let node = server.node().await;
    let verifier = Verifier::builder(server.ready.issuer.clone(), CRM.parse().unwrap()).clock(server.clock.clone()).build().unwrap();
    tokio::time::timeout(LONG, verifier.ready()).await.unwrap();
    let route = Route::requires("read:cases").unwrap();
    let riley = server.app.person_token("riley", None, None).await;
    let svid = node.svid("support-agent").await.unwrap();
    let mandate = server.mandate(&node).await;
    let bearer = format!("Bearer {mandate}");
    assert!(verifier.verify(Some(bearer.as_str()), &route).await.is_ok());

    set_state(&server, "suspended").await;
    // At once, without waiting for anything: the exchange is decided on what was just made durable.
    let answer = server.app.token(&exchange(&svid, &riley, CRM, "read:cases")).await;
    assert!([400, 401].contains(&answer.status), "{answer:?}");
    soon(async || verifier.verify(Some(bearer.as_str()), &route).await.is_err()).await;
    soon(async || node.svid("support-agent").await.is_err()).await;
    let record = server.newest_record().await;
    assert_eq!(record.outcome, "refused");

    // Let go again, it gets new mandates; the old one stays dead.
    set_state(&server, "active").await;
    soon(async || node.svid("support-agent").await.is_ok()).await;
    server.clock.advance(Duration::from_secs(1));
    let fresh = server.mandate(&node).await;
    let fresh = format!("Bearer {fresh}");
    assert!(verifier.verify(Some(fresh.as_str()), &route).await.is_ok());
    assert!(verifier.verify(Some(bearer.as_str()), &route).await.is_err());
    node.stop().await;
    server.stop().await;
}

async fn set_state(server: &Server, state: &str) {
    let uid = rustix::process::getuid().as_raw();
    let text = mandate_testkit::app::registry(CRM, uid);
    let line = "name = \"support-agent\"\nowner";
    server.apply(&text.replace(line, &format!("name = \"support-agent\"\nstate = \"{state}\"\nowner"))).await;
}
