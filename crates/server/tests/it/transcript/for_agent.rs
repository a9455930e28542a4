//! A person lets one agent act (OAuth for AI agents on behalf of users): the pushed request, the login page,
//! and the code with the agent's proof.

use mandate_testkit::app::{
    ACCESS_TOKEN, Answer, CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, PASSWORD, authorization, form,
    redemption,
};

use super::stage::{Stage, TOKEN, with, without};
use crate::world::spiffe_id;

const PAR: &str = "/par";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const DESK: (&str, &str) = ("desk-app", CLIENT_SECRET);

fn request() -> FormPairs {
    let request = with(authorization(Some(CRM), Some("read:cases")), "client_id", "desk-app");
    with(request, "requested_actor", &spiffe_id("support-agent"))
}

fn brought(pushed: &Answer) -> FormPairs {
    form(&[("client_id", "desk-app"), ("request_uri", &pushed.member("request_uri"))])
}

impl Stage {
    /// A code that Riley gives for support-agent, which is not recorded.
    async fn code_for_agent(&self) -> String {
        let pushed = Answer::of(self.post_as(DESK, PAR, &request()).send().await.unwrap()).await;
        let page = self.server.app.open(&brought(&pushed)).await;
        let answer = self.server.app.log_in(&page, "riley", PASSWORD).await;
        let back = url::Url::parse(answer.header("location")).unwrap();
        back.query_pairs().find(|(key, _)| key == "code").expect("a code").1.into_owned()
    }

    async fn by_desk(&mut self, what: &str, form: &FormPairs) -> Answer {
        let request = self.post_as(DESK, TOKEN, form);
        self.log.send(what, request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_for_an_agent() {
    let mut stage = Stage::with_node("A login for an agent").await;
    stage.authorize("An agent is named, and the request is not pushed: the client is told", &request()).await;
    for (what, agent) in [
        ("An agent that does not exist", spiffe_id("nobody")),
        ("A name that is no SPIFFE ID", "support-agent".to_owned()),
    ] {
        let sent = stage.post_as(DESK, PAR, &with(request(), "requested_actor", &agent));
        stage.log.send(what, sent).await;
    }
    let sent = stage.post_as(DESK, PAR, &without(request(), "resource"));
    stage.log.send("No resource", sent).await;
    let sent = stage.post(PAR, &with(request(), "client_id", "support-app"));
    stage.log.send("A public client, which presents no agent", sent).await;
    let sent = stage.post_as(DESK, PAR, &with(request(), "authorization_details", "[]"));
    stage.log.send("Details (RFC 9396)", sent).await;

    let sent = stage.post_as(DESK, PAR, &request());
    let pushed = stage.log.send("Pushed", sent).await;
    let page = stage.authorize("The page names the agent", &brought(&pushed)).await;
    let allow =
        form(&[("csrf", &page.csrf), ("name", "riley"), ("password", PASSWORD), ("decision", "allow")]);
    stage.submit("Logged in and allowed", &page, &page.cookie, &allow).await;

    let sent = stage.post_as(DESK, PAR, &request());
    let pushed = stage.log.send("Pushed again", sent).await;
    let page = stage.authorize("The page", &brought(&pushed)).await;
    let wrong =
        form(&[("csrf", &page.csrf), ("name", "olga"), ("password", PASSWORD), ("decision", "allow")]);
    stage.submit("A person without a grant for that agent", &page, &page.cookie, &wrong).await;
    stage.end("authorize_for_agent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redemption_of_a_code_for_an_agent() {
    let mut stage = Stage::with_node("Token endpoint: codes for agents").await;
    let (svid, other) = (stage.svid("support-agent").await, stage.svid("ops-agent").await);
    let elsewhere = stage.svid_for(&spiffe_id("support-agent"), CRM).await;
    let code = stage.code_for_agent().await;
    let plain = without(redemption(&code), "client_id");
    let good = with(with(plain.clone(), "actor_token", &svid), "actor_token_type", JWT);
    let refused: [(&str, FormPairs); 10] = [
        ("No actor token", plain.clone()),
        ("An actor token without its type", without(good.clone(), "actor_token_type")),
        ("A type without an actor token", without(good.clone(), "actor_token")),
        ("Another type", with(good.clone(), "actor_token_type", ACCESS_TOKEN)),
        ("Another agent's", with(good.clone(), "actor_token", &other)),
        ("One for another audience", with(good.clone(), "actor_token", &elsewhere)),
        ("One that is no token", with(good.clone(), "actor_token", "x.y.z")),
        ("The actor is requested once more", with(good.clone(), "requested_actor", "x")),
        ("Details (RFC 9396)", with(good.clone(), "authorization_details", "[]")),
        ("Another code_verifier", with(good.clone(), "code_verifier", &"a".repeat(43))),
    ];
    for (what, form) in refused {
        stage.by_desk(what, &form).await;
    }
    let alone = with(
        with(without(good.clone(), "actor_token"), "client_assertion_type", JWT_SPIFFE),
        "client_assertion",
        &svid,
    );
    stage.token("The agent itself", &without(alone, "actor_token_type")).await;
    stage.by_desk("The agent, presented by the client", &good).await;
    stage.by_desk("The same code once more", &good).await;

    let plain = stage.code("riley", Some(CRM), None).await;
    let with_actor = with(with(redemption(&plain), "actor_token", &svid), "actor_token_type", JWT);
    stage.token("An actor token with a code for no agent", &with_actor).await;
    stage.token("That code still counts", &redemption(&plain)).await;

    let code = stage.code_for_agent().await;
    let late = with(without(redemption(&code), "client_id"), "actor_token", &svid);
    let late = with(late, "actor_token_type", JWT);
    stage.pass(301);
    stage.by_desk("A code that is too old", &late).await;
    stage.end("token_code_for_agent").await;
}
