//! Introspection (RFC 7662).

use mandate_api::admin::{
    AgentStateRequest, ClientSecretRequest, PersonStateRequest, RevocationRequest, RevocationTarget,
};
use mandate_core::registry::AgentState;
use mandate_testkit::app::{CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, claims, exchange, form, redemption};

use super::registry::{SECRET, of_exchanges, uri};
use super::stage::{Stage, with};

const INTROSPECT: &str = "/introspect";

fn by_agent(svid: &str, token: &str) -> FormPairs {
    form(&[("token", token), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", svid)])
}

impl Stage {
    async fn introspect(&mut self, what: &str, form: &FormPairs) {
        let request = self.post(INTROSPECT, form);
        self.log.send(what, request).await;
    }

    async fn introspect_as(&mut self, what: &str, client: (&str, &str), token: &str) {
        let request = self.post_as(client, INTROSPECT, &form(&[("token", token)]));
        self.log.send(what, request).await;
    }

    async fn mandate_for(&self, svid: &str, person: &str, resource: &str, scope: &str) -> String {
        let subject = self.server.app.person_token(person, None, None).await;
        let answer = self.server.app.token(&exchange(svid, &subject, resource, scope)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_introspection_says() {
    let mut stage = Stage::with_node("Introspection").await;
    let uid = rustix::process::getuid().as_raw();
    stage.apply("the registry of the exchanges", &of_exchanges(uid)).await;
    let served = format!(
        "client = [{{ id = \"crm-api\", authentication = \"client_secret_basic\" }}]\nresource = [{{ name = \"crm\", uri = \"{CRM}\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"], client = \"crm-api\" }}]"
    );
    stage.apply("the CRM asks as crm-api", &served).await;
    stage
        .server
        .admin
        .set_client_secret("crm-api", &ClientSecretRequest { secret: SECRET.to_owned() })
        .await
        .unwrap();
    let (svid, research) = (stage.svid("support-agent").await, stage.svid("research-agent").await);
    let mandate = stage.mandate_for(&svid, "riley", CRM, "read:cases").await;
    let crm = ("crm-api", SECRET);

    stage.introspect_as("Active: the resource to which it is addressed", crm, &mandate).await;
    stage.introspect("Active: the agent to which it was issued", &by_agent(&svid, &mandate)).await;
    let at_research = stage.mandate_for(&svid, "riley", &uri("research"), "read:cases").await;
    stage.introspect("Active: the agent that serves the resource", &by_agent(&research, &at_research)).await;
    let at_the_crm = stage.server.app.person_token("riley", Some(CRM), Some("read:cases")).await;
    stage.introspect_as("Active: a person's own token", crm, &at_the_crm).await;

    stage.introspect_as("Inactive: no token", crm, "x").await;
    stage.introspect_as("Inactive: an identity", crm, &svid).await;
    stage.introspect_as("Inactive: it concerns another client", ("desk-app", CLIENT_SECRET), &mandate).await;
    stage.introspect("Inactive: it concerns another agent", &by_agent(&research, &mandate)).await;
    let jti = claims(&at_the_crm)["jti"].as_str().unwrap().parse().unwrap();
    stage.server.admin.revoke(&RevocationRequest { target: RevocationTarget::Token(jti) }).await.unwrap();
    stage.introspect_as("Inactive: it is revoked", crm, &at_the_crm).await;

    let anonymous = form(&[("token", &mandate)]);
    for (what, form) in [
        ("Refused: nobody", anonymous.clone()),
        ("Refused: a public client", with(anonymous.clone(), "client_id", "support-app")),
        ("Refused: an identity that is none", by_agent("x", &mandate)),
        ("Refused: no token", form(&[("client_assertion_type", JWT_SPIFFE), ("client_assertion", &svid)])),
    ] {
        stage.introspect(what, &form).await;
    }
    stage.introspect_as("Refused: a wrong secret", ("crm-api", "a wrong secret of a client"), &mandate).await;
    let request = stage.post_as(crm, "/introspect?token=x", &anonymous);
    stage.log.send("Refused: a parameter in the query", request).await;
    let request =
        stage.server.app.http.post(stage.server.url(INTROSPECT)).json(&serde_json::json!({ "token": "x" }));
    stage.log.send("Refused: JSON", request).await;
    let request = stage.server.app.http.get(stage.server.url(INTROSPECT));
    stage.log.send("Refused: another method", request).await;

    let grant = claims(&mandate)["lineage"]["grants"][0].as_str().unwrap().parse().unwrap();
    stage.server.admin.revoke(&RevocationRequest { target: RevocationTarget::Grant(grant) }).await.unwrap();
    stage.introspect_as("Inactive: its grant is revoked", crm, &mandate).await;
    stage
        .server
        .admin
        .set_agent_state("support-agent", &AgentStateRequest { state: AgentState::Suspended })
        .await
        .unwrap();
    stage.introspect("Inactive: its agent is suspended", &by_agent(&research, &at_research)).await;
    stage.introspect("Refused: an agent that is suspended", &by_agent(&svid, &at_research)).await;
    let again = stage.server.app.person_token("riley", Some(CRM), Some("read:cases")).await;
    stage.server.admin.set_person_state("riley", &PersonStateRequest { disabled: true }).await.unwrap();
    stage.introspect_as("Inactive: its person is disabled", crm, &again).await;
    let olga = stage
        .server
        .app
        .token(&redemption(&stage.code("olga", Some(CRM), None).await))
        .await
        .member("access_token");
    stage.pass(3601);
    stage.introspect_as("Inactive: it has expired", crm, &olga).await;
    stage.end("introspection").await;
}
