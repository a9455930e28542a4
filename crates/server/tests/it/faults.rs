//! A failure inside the server, as callers see it: a fault of ours, without a word of the cause, and without
//! a record that blames anybody.

use mandate_api::ClientError;
use mandate_api::admin::{AgentStateRequest, JoinTokenRequest};
use mandate_api::proto::node::JoinRequest;
use mandate_core::registry::AgentState;
use mandate_testkit::app::{PASSWORD, authorization, redemption};
use mandate_testkit::database;
use tokio::net::TcpStream;
use tonic::Code;

use crate::node_link::NodeLink;
use crate::world::Server;

/// Lets every change of a row of this table fail from now on, which is neither a refusal nor the environment.
fn spoil(server: &Server, table: &str) {
    let sqlite = format!(
        "CREATE TRIGGER no_new_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'spoilt'); END;
         CREATE TRIGGER no_change_{table} BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'spoilt'); END;"
    );
    let postgres = format!("ALTER TABLE {table} ADD CONSTRAINT spoilt CHECK (false) NOT VALID");
    database::edit(&server.state_dir(), &sqlite, &postgres);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_fails_inside_is_answered_with_500_and_recorded_for_nobody() {
    let server = Server::story().await;
    let set = async |state| server.admin.set_agent_state("support-agent", &AgentStateRequest { state }).await;
    set(AgentState::Suspended).await.unwrap();
    let size = server.audit_size().await;
    spoil(&server, "registry");
    let answer = set(AgentState::Active).await;
    let Err(ClientError::Server(problem)) = answer else { panic!("{answer:?}") };
    assert_eq!((problem.status, problem.code.as_str()), (500, "internal"));
    let said = serde_json::to_string(&problem).unwrap();
    assert!(!said.contains("spoilt") && !said.contains("registry"), "{said}");
    assert_eq!(server.audit_size().await, size, "no record");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_redemption_fails_inside_is_our_fault_and_stays_unused() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(None, None)).await;
    let back = server.app.log_in(&page, "riley", PASSWORD).await;
    let back = url::Url::parse(back.header("location")).unwrap();
    let (_, code) = back.query_pairs().find(|(key, _)| key == "code").unwrap();
    spoil(&server, "codes");
    let answer = server.app.token(&redemption(&code)).await;
    assert_eq!((answer.status, answer.member("error").as_str()), (503, "temporarily_unavailable"));
    assert_eq!(answer.member("error_description"), "internal: The server could not complete the request.");
    assert!(!answer.text.contains("spoilt") && answer.member("access_token").is_empty(), "{answer:?}");
    let record = server.newest_record().await;
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("refused", "internal"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_fails_inside_is_internal_to_the_node_and_blamed_on_no_token() {
    let server = Server::story().await;
    server.node().await.stop().await;
    let token = server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
    let tcp = TcpStream::connect(server.ready.node_server).await.unwrap();
    let mut link = NodeLink::stranger(&server, "node", tcp).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    spoil(&server, "nodes");
    let failed = link.client.join(JoinRequest { token, csr }).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::Internal, "the server could not do this"));
    let record = server.newest_record().await;
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("refused", "internal"));
    assert_eq!((record.by, record.sub, record.client), (None, None, None), "it names nobody");
    server.stop().await;
}
