//! Revocation (RFC 7009), and the feed of what is revoked.

use mandate_testkit::app::{CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, form};
use reqwest::Method;

use super::stage::{Stage, with};

const REVOKE: &str = "/revoke";

impl Stage {
    async fn revoke(&mut self, what: &str, form: &FormPairs) {
        let request = self.post(REVOKE, form);
        self.log.send(what, request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_revocation_answers() {
    let mut stage = Stage::with_node("Revocation").await;
    let svid = stage.svid("support-agent").await;
    let mandate = stage
        .server
        .app
        .token(&mandate_testkit::app::exchange(
            &svid,
            &stage.server.app.person_token("riley", None, None).await,
            CRM,
            "read:cases",
        ))
        .await;
    let mandate = mandate.member("access_token");
    let own = stage.server.app.person_token("riley", None, Some("read:cases")).await;
    let by_agent = |token: &str| {
        form(&[("token", token), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", &svid)])
    };
    let anonymous = form(&[("token", &mandate)]);
    for (what, form) in [
        ("Nobody", anonymous.clone()),
        ("A client that is not registered", with(anonymous.clone(), "client_id", "nobody")),
        ("A confidential client that only names itself", with(anonymous.clone(), "client_id", "desk-app")),
        ("A public client, and a token of an agent", with(anonymous.clone(), "client_id", "support-app")),
        ("An agent, and a token of an app", by_agent(&own)),
        ("No token", form(&[("client_assertion_type", JWT_SPIFFE), ("client_assertion", &svid)])),
    ] {
        stage.revoke(what, &form).await;
    }
    let request = stage.post_as(("desk-app", CLIENT_SECRET), REVOKE, &anonymous);
    stage.log.send("Another client's token", request).await;
    let request = stage.post_as(("desk-app", "a wrong secret of a client"), REVOKE, &anonymous);
    stage.log.send("A wrong secret", request).await;
    let request = stage.post("/revoke?token=x", &by_agent(&mandate));
    stage.log.send("A parameter in the query", request).await;
    let request =
        stage.server.app.http.post(stage.server.url(REVOKE)).json(&serde_json::json!({ "token": "x" }));
    stage.log.send("JSON", request).await;
    for method in [Method::GET, Method::OPTIONS] {
        let request = stage.server.app.http.request(method.clone(), stage.server.url(REVOKE));
        stage.log.send(&format!("The method {method}"), request).await;
    }

    stage
        .revoke("An agent and its own token", &with(by_agent(&mandate), "token_type_hint", "access_token"))
        .await;
    stage.revoke("The same token again", &by_agent(&mandate)).await;
    stage.revoke("What is no token: there is nothing to revoke", &by_agent("x")).await;
    stage
        .revoke("A public client and its own token", &form(&[("token", &own), ("client_id", "support-app")]))
        .await;
    stage
        .revoke("A public client and no token", &form(&[("token", "x"), ("client_id", "support-app")]))
        .await;
    stage.end("revocation").await;
}
