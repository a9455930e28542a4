//! Nodes and agents against a real server: joining, reconnecting, and being stopped.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::ClientError;
use mandate_api::admin::{AuditQuery, JoinTokenRequest, NodeState, Recorded};
use mandate_api::proto::node::{RenewRequest, WatchRequest};
use mandate_core::{Clock as _, SystemClock};
use mandate_node::{NodeError, NodeFault};
use mandate_testkit::app::{CRM, exchange};
use mandate_testkit::clock::SteppedClock;
use mandate_verifier::{Route, Verifier};
use tonic::Code;

use crate::node_link::{NodeLink, issue};
use crate::world::{LONG, Server, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_joins_one_node_once() {
    let server = Server::story().await;
    let token = server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
    let node = server.node_in("first", Some(token.clone())).await.unwrap();
    let thief = server.node_in("second", Some(token.clone())).await.err().expect("refused");
    assert!(matches!(thief, NodeError::JoinRefused { .. }), "{thief}");
    assert_eq!(thief.fault(), NodeFault::Refused);
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
    let token =
        server.admin.join_token(&JoinTokenRequest { ttl: Some("1m".parse().unwrap()) }).await.unwrap().token;
    let (_, pin) = token.rsplit_once('.').unwrap();
    let made_up =
        server.node_in("made-up", Some(format!("{}.{pin}", "A".repeat(43)))).await.err().expect("refused");
    assert!(matches!(made_up, NodeError::JoinRefused { .. }), "{made_up}");
    server.clock.advance(Duration::from_secs(61));
    let late = server.node_in("late", Some(token)).await.err().expect("refused");
    assert!(matches!(late, NodeError::JoinRefused { .. }), "{late}");
    let (NodeError::JoinRefused { reason: one, .. }, NodeError::JoinRefused { reason: other, .. }) =
        (&made_up, &late)
    else {
        unreachable!()
    };
    assert_eq!(one, other, "a thief does not learn which");
    let refused =
        AuditQuery { kind: Some("node".into()), outcome: Some("refused".into()), ..AuditQuery::default() };
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
async fn a_suspended_agent_gets_nothing_and_what_it_has_ends() {
    let server = Server::story().await;
    let node = server.node().await;
    let verifier = Verifier::builder(server.ready.issuer.clone(), CRM.parse().unwrap())
        .clock(server.clock.clone())
        .build()
        .unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_is_worth_nothing_after_the_certificate_that_opened_it_has_expired() {
    let server = Server::story().await;
    let node = server.node().await;
    node.stop().await;
    // An attacker who has a copy of the node's files connects while they are valid, and keeps the connection.
    let mut thief = NodeLink::open(&server, "node").await;
    let mut states = thief.client.watch(WatchRequest {}).await.unwrap().into_inner();
    states.message().await.unwrap().unwrap();
    thief.client.issue_jwt_svid(issue("support-agent", server.issuer())).await.unwrap();

    server.clock.advance(Duration::from_hours(1));
    let refused = thief.client.issue_jwt_svid(issue("support-agent", server.issuer())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let record = server.newest_record().await;
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("refused", "node_certificate_expired"));
    let refused = thief.client.renew(RenewRequest { csr: Vec::new() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "an expired certificate buys no other: {refused:?}");
    // The stream tells nothing more either.
    set_state(&server, "suspended").await;
    assert_eq!(states.message().await.unwrap_err().code(), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_a_node_has_few_watch_calls_and_a_new_one_when_one_has_ended() {
    let server = Server::story().await;
    server.node().await.stop().await;
    let mut link = NodeLink::open(&server, "node").await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut states = link.client.watch(WatchRequest {}).await.unwrap().into_inner();
        states.message().await.unwrap().unwrap();
        open.push(states);
    }
    assert_eq!(link.client.watch(WatchRequest {}).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(open.pop());
    let client = link.client.clone();
    soon(async || client.clone().watch(WatchRequest {}).await.is_ok()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_node_is_told_and_issued_nothing_more_from_that_moment_on() {
    let server = Server::story().await;
    let node = server.node().await;
    let listed = server.admin.nodes().await.unwrap();
    let [ours] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((ours.spiffe_id.as_str(), ours.state), (node.spiffe_id.as_str(), NodeState::Joined));
    assert!(node.svid("support-agent").await.is_ok());
    let mut thief = NodeLink::open(&server, "node").await;
    let mut states = thief.client.watch(WatchRequest {}).await.unwrap().into_inner();
    states.message().await.unwrap().unwrap();

    let banned = server.admin.ban_node(&ours.name).await.unwrap();
    assert_eq!(banned.recorded, Recorded::Log);
    let banned = banned.node.unwrap();
    assert_eq!((banned.name.as_str(), banned.state), (ours.name.as_str(), NodeState::Banned));
    let record = server.newest_record().await;
    assert_eq!((record.kind.as_str(), record.outcome.as_str()), ("node", "permitted"));
    assert_eq!(record.by, Some(format!("uid:{}", rustix::process::getuid().as_raw())));
    assert!(record.detail.unwrap().contains(&ours.name));
    // The stream ends by itself, and every call on the connection that was open is refused.
    let ended =
        tokio::time::timeout(LONG, states.message()).await.expect("the ban wakes the stream").unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    let refused = thief.client.issue_jwt_svid(issue("support-agent", server.issuer())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let refused = thief.client.renew(RenewRequest { csr: Vec::new() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    // The node itself drops what it held.
    soon(async || node.svid("support-agent").await.is_err()).await;
    node.stop().await;
    let unknown = server.admin.ban_node("nobody").await.unwrap_err();
    assert!(matches!(&unknown, ClientError::Refused(problem) if problem.code == "not_found"), "{unknown}");
    // Another node is not concerned.
    let other = server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
    let other = server.node_in("other", Some(other)).await.unwrap();
    assert!(other.svid("support-agent").await.is_ok());
    other.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_lives_for_more_than_nothing_and_at_most_a_day() {
    let server = Server::empty().await;
    for (ttl, made) in [("0s", false), ("24h", true), ("25h", false)] {
        let answer = server.admin.join_token(&JoinTokenRequest { ttl: Some(ttl.parse().unwrap()) }).await;
        let refused = matches!(&answer, Err(ClientError::Refused(problem)) if problem.status == 400);
        assert_eq!((answer.is_ok(), refused), (made, !made), "{ttl}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_45_seconds_apart_join_fetch_exchange_and_renew() {
    let apart = Duration::from_secs(45);
    // The server's TLS has only the system's clock, so the server starts early enough to renew within its
    // certificates.
    let start = SystemClock.now().minus(Duration::from_mins(40));
    let server = Server::story_at(start).await;
    for (name, at) in [("late", start.minus(apart)), ("early", start.plus(apart))] {
        let clock = Arc::new(SteppedClock::at(at));
        let token = server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
        let node = server.node_with_clock(name, Some(token), clock.clone()).await.unwrap();
        let svid = node.svid("support-agent").await.unwrap();
        let riley = server.app.person_token("riley", None, None).await;
        let answer = server.app.token(&exchange(&svid, &riley, CRM, "read:cases")).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        node.stop().await;
    }
    let passed = Duration::from_mins(40);
    server.clock.advance(passed);
    for (name, at) in [("late", start.minus(apart)), ("early", start.plus(apart))] {
        let clock = Arc::new(SteppedClock::at(at.plus(passed)));
        let key = server.node_dir(name).join("node.pem");
        let before = std::fs::read(&key).unwrap();
        let node = server.node_with_clock(name, None, clock).await.unwrap();
        soon(async || std::fs::read(&key).unwrap() != before).await;
        soon(async || node.svid("support-agent").await.is_ok()).await;
        node.stop().await;
    }
    server.stop().await;
}
