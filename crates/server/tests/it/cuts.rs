//! Cuts by operators: what they end at once and over a restart, and what works right after them.

use std::time::Duration;

use mandate_api::admin::{ClientSecretRequest, PasswordRequest, RevocationRequest, RevocationTarget};
use mandate_testkit::app::{CLIENT_SECRET, CRM, PASSWORD, authorization, exchange, redemption};

use crate::world::{Node, Server};

/// The shortest time between one call of an operator and the next.
const MOMENT: Duration = Duration::from_millis(1);

async fn exchanged(server: &Server, node: &Node, subject: &str) -> String {
    let svid = node.svid("support-agent").await.unwrap();
    let answer = server.app.token(&exchange(&svid, subject, CRM, "read:cases")).await;
    if answer.status == 200 {
        "ok".to_owned()
    } else {
        answer.member("error_description").split(':').next().unwrap().to_owned()
    }
}

async fn revoke(server: &Server, target: RevocationTarget) {
    server.admin.revoke(&RevocationRequest { target }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_what_the_old_one_opened_and_the_person_goes_on_at_once() {
    let server = Server::story().await;
    let node = server.node().await;
    let before = server.app.person_token("riley", None, None).await;
    let page = server.app.open(&authorization(None, None)).await;
    let back = server.app.log_in(&page, "riley", PASSWORD).await;
    server.clock.advance(MOMENT);
    server.admin.set_password("riley", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    server.clock.advance(MOMENT);

    assert_eq!(exchanged(&server, &node, &before).await, "subject_revoked");
    let location = url::Url::parse(back.header("location")).unwrap();
    let code = location.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let redemption = redemption(&code);
    let answer = server.app.token(&redemption).await;
    assert!(
        answer.member("error_description").starts_with("subject_revoked"),
        "a code of the old password: {answer:?}"
    );

    let after = server.app.person_token("riley", None, None).await;
    assert_eq!(exchanged(&server, &node, &after).await, "ok");
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_secret_ends_what_was_issued_to_the_client_and_the_first_one_ends_nothing() {
    let server = Server::story().await;
    assert_eq!(server.admin.status().await.unwrap().cuts, 0, "the secret that was set was the first");
    server
        .admin
        .set_client_secret("desk-app", &ClientSecretRequest { secret: CLIENT_SECRET.to_owned() })
        .await
        .unwrap();
    assert_eq!(server.admin.status().await.unwrap().cuts, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_is_refused_after_a_restart_too_and_a_new_login_is_not() {
    let mut server = Server::story().await;
    for target in [
        RevocationTarget::Person("riley".parse().unwrap()),
        RevocationTarget::Client("support-app".parse().unwrap()),
    ] {
        let before = server.app.person_token("riley", None, None).await;
        revoke(&server, target).await;
        server = server.restart().await;
        server.clock.advance(MOMENT);
        let node = server.node().await;
        assert_eq!(exchanged(&server, &node, &before).await, "subject_revoked");
        let after = server.app.person_token("riley", None, None).await;
        assert_eq!(exchanged(&server, &node, &after).await, "ok");
        node.stop().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_revives_nothing_of_the_moment_in_which_a_cut_came_into_force() {
    let server = Server::story().await;
    let start = mandate_core::Clock::now(server.clock.as_ref());
    // As if the exchange began after the operator did, and before the cut was in force: later than the time
    // that is written down with the cut.
    server.clock.advance(Duration::from_millis(20));
    let token = server.app.person_token("riley", None, None).await;
    server.clock.set(start);
    revoke(&server, RevocationTarget::Person("riley".parse().unwrap())).await;
    server.clock.advance(Duration::from_secs(1));
    let server = server.restart().await;
    let node = server.node().await;
    assert_eq!(exchanged(&server, &node, &token).await, "subject_revoked");
    node.stop().await;
    server.stop().await;
}
