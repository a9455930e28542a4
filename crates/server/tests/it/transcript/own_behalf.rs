//! The client credentials grant (RFC 6749 §4.4): an agent's own token.

use mandate_api::admin::{
    AgentStateRequest, ClientSecretRequest, PersonStateRequest, RevocationRequest, RevocationTarget,
};
use mandate_core::registry::AgentState;
use mandate_testkit::app::{ACCESS_TOKEN, CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, exchange, form};

use super::registry::{SECRET, agent};
use super::stage::{Stage, TOKEN, with, without};
use crate::world::spiffe_id;

const GRANT: &str = "client_credentials";

/// A request of an agent for itself.
fn alone(svid: &str, resource: &str, scope: &str) -> FormPairs {
    form(&[
        ("grant_type", GRANT),
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", svid),
        ("resource", resource),
        ("scope", scope),
    ])
}

/// `watch-agent` may read and send by itself, and its ceiling has reading and commenting.
fn registry(uid: u32) -> String {
    let watch = agent(
        uid,
        "watch-agent",
        "may = [{ resource = \"crm\", scopes = [\"read:cases\", \"send:mail\"] }]\nceiling = [{ resource = \"crm\", scopes = [\"read:cases\", \"write:case_comments\"] }]",
    );
    let quick = agent(
        uid,
        "quick-agent",
        "may = [{ resource = \"crm\", scopes = [\"read:cases\"], lifetime = \"30s\" }]\nceiling = [{ resource = \"crm\", scopes = [\"read:cases\"] }]",
    );
    format!("{watch}{quick}{}", agent(uid, "renamed-agent", ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_token() {
    let mut stage = Stage::with_node("Token endpoint: client credentials").await;
    let uid = rustix::process::getuid().as_raw();
    stage.apply("two agents may do something by themselves", &registry(uid)).await;
    let served = format!(
        "client = [{{ id = \"crm-api\", authentication = \"client_secret_basic\" }}]\nresource = [{{ name = \"crm\", uri = \"{CRM}\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"], client = \"crm-api\" }}]"
    );
    stage.apply("the CRM asks as crm-api", &served).await;
    let secret = ClientSecretRequest { secret: SECRET.to_owned() };
    stage.server.admin.set_client_secret("crm-api", &secret).await.unwrap();
    let (watch, quick) = (stage.svid("watch-agent").await, stage.svid("quick-agent").await);
    let good = alone(&watch, CRM, "read:cases");
    let own = stage.token("For one scope", &good).await.member("access_token");
    stage.token("Without a scope: what entry and ceiling share", &without(good.clone(), "scope")).await;
    let by_name = with(without(good.clone(), "resource"), "audience", CRM);
    stage.token("The resource as audience", &by_name).await;
    stage.token("For less time", &alone(&quick, CRM, "read:cases")).await;

    let refused: [(&str, FormPairs); 18] = [
        ("No resource", without(good.clone(), "resource")),
        ("An unknown resource", with(good.clone(), "resource", "https://other.acme.example")),
        ("A resource that is none", with(good.clone(), "resource", "crm")),
        ("The administration of the server", with(good.clone(), "resource", stage.server.issuer())),
        ("Another audience", with(good.clone(), "audience", "https://other.acme.example")),
        ("A scope that the resource does not have", with(good.clone(), "scope", "read:everything")),
        ("A scope of the administration", with(good.clone(), "scope", "mandate:admin")),
        ("A scope that is none", with(good.clone(), "scope", "a  b")),
        ("A scope that is not its own", with(good.clone(), "scope", "write:case_comments")),
        ("A scope beyond its ceiling", with(good.clone(), "scope", "send:mail")),
        ("Nothing that both have", with(good.clone(), "scope", "send:mail write:case_comments")),
        ("A subject token", with(good.clone(), "subject_token", "x")),
        ("A subject token's type", with(good.clone(), "subject_token_type", ACCESS_TOKEN)),
        ("An actor token", with(good.clone(), "actor_token", &watch)),
        ("A code", with(good.clone(), "code", "x")),
        ("Another client_id", with(good.clone(), "client_id", "support-app")),
        ("Its own token as credential", with(good.clone(), "client_assertion", &own)),
        ("Nobody", form(&[("grant_type", GRANT), ("resource", CRM)])),
    ];
    for (what, form) in refused {
        stage.token(what, &form).await;
    }
    let bare = form(&[("grant_type", GRANT), ("resource", CRM)]);
    stage.token("A public client", &with(bare.clone(), "client_id", "support-app")).await;
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &bare);
    stage.log.send("A confidential app", request).await;
    let support = stage.svid("support-agent").await;
    stage.token("An agent that may do nothing by itself", &alone(&support, CRM, "read:cases")).await;

    stage.token("It is no subject token", &exchange(&watch, &own, CRM, "read:cases")).await;
    let renamed = stage.svid("renamed-agent").await;
    let other = agent(uid, "renamed-agent", &format!("spiffe_id = \"{}\"", spiffe_id("another")));
    stage.apply("renamed-agent has another identity", &other).await;
    stage.token("An identity that is no agent's any longer", &alone(&renamed, CRM, "read:cases")).await;

    let forbids = "policy = [{ name = \"nobody-alone\", source = 'forbid (principal is Agent, action == Action::\"act_alone\", resource);' }]";
    stage.apply("a policy forbids it", forbids).await;
    stage.token("A policy denies it", &good).await;
    let demands = "policy = [{ name = \"nobody-alone\", source = '@approval(\"required\") permit (principal is Agent, action == Action::\"act_alone\", resource);' }]";
    stage.apply("and then demands an approval", demands).await;
    stage.token("A policy demands an approval", &good).await;
    let harmless = "policy = [{ name = \"nobody-alone\", source = 'forbid (principal is Agent, action == Action::\"act_alone\", resource) when { context.depth > 99 };' }]";
    stage.apply("and is lifted", harmless).await;

    let disabled = |disabled| PersonStateRequest { disabled };
    stage.server.admin.set_person_state("riley", &disabled(true)).await.unwrap();
    stage.log.note("riley, who is responsible for watch-agent, is disabled");
    stage.token("The person who is responsible for it is disabled", &good).await;
    stage.server.admin.set_person_state("riley", &disabled(false)).await.unwrap();
    stage.log.note("riley is enabled again");

    let suspended = AgentStateRequest { state: AgentState::Suspended };
    stage.server.admin.set_agent_state("watch-agent", &suspended).await.unwrap();
    stage.log.note("watch-agent is suspended");
    stage.token("An agent that is suspended", &good).await;
    stage.end("token_own_behalf").await;
}

/// What the resource is told: beside the transcript above, which has the token endpoint alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_introspection_says_of_an_agents_own_token() {
    let mut stage = Stage::with_node("Introspection: an agent's own token").await;
    let uid = rustix::process::getuid().as_raw();
    stage.apply("an agent may do something by itself", &registry(uid)).await;
    let svid = stage.svid("watch-agent").await;
    let own = stage.server.app.token(&alone(&svid, CRM, "read:cases")).await.member("access_token");
    let ask = |token: &str| {
        form(&[("token", token), ("client_assertion_type", JWT_SPIFFE), ("client_assertion", &svid)])
    };
    let request = stage.post("/introspect", &ask(&own));
    stage.log.send("Active: the agent to which it was issued", request).await;
    let revoke = RevocationRequest { target: RevocationTarget::Agent("watch-agent".parse().unwrap()) };
    stage.server.admin.revoke(&revoke).await.unwrap();
    let request = stage.post("/introspect", &ask(&own));
    stage.log.send("Inactive: the tokens of its agent are revoked", request).await;
    let request = stage
        .server
        .app
        .http
        .get(format!("{}/v1/status", stage.server.ready.admin_url))
        .header("authorization", format!("Bearer {own}"));
    stage.log.send("It administrates nothing", request).await;
    stage.end("introspection_own_behalf").await;
}
