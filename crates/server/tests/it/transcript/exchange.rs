//! The token exchange with tokens of this server (RFC 8693): what is given, and every reason for which
//! nothing is.

use std::time::Duration;

use mandate_api::admin::{AgentStateRequest, RevocationRequest, RevocationTarget};
use mandate_core::Clock as _;
use mandate_core::registry::AgentState;
use mandate_testkit::app::{
    ACCESS_TOKEN, CALLBACK, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, claims, exchange, form,
};

use super::registry::{self, SECRET, agent, ending, granted, uri};
use super::stage::{Stage, TOKEN, with, without};
use crate::world::spiffe_id;

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An exchange by an app, without an actor.
fn bare(subject: &str, resource: &str, scope: &str) -> FormPairs {
    form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", resource),
        ("scope", scope),
    ])
}

fn by(actor: &str, form: FormPairs) -> FormPairs {
    with(with(form, "actor_token", actor), "actor_token_type", JWT)
}

/// Riley's own token and the SVID of her agent.
struct Held {
    riley: String,
    svid: String,
}

async fn begun(title: &str) -> (Stage, Held) {
    let mut stage = Stage::with_node(title).await;
    let uid = rustix::process::getuid().as_raw();
    stage.apply("the registry of the exchanges", &registry::of_exchanges(uid)).await;
    let secret = mandate_api::admin::ClientSecretRequest { secret: SECRET.to_owned() };
    stage.server.admin.set_client_secret("narrow-app", &secret).await.unwrap();
    let riley = stage.server.app.person_token("riley", None, None).await;
    let svid = stage.svid("support-agent").await;
    (stage, Held { riley, svid })
}

impl Stage {
    /// An exchange that is not recorded, and its token.
    async fn exchanged(&self, svid: &str, subject: &str, resource: &str) -> String {
        let answer = self.server.app.token(&without(exchange(svid, subject, resource, ""), "scope")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parameters_of_an_exchange() {
    let (mut stage, Held { riley, svid }) =
        begun("Token endpoint: exchanges, their clients and parameters").await;
    let good = exchange(&svid, &riley, CRM, "read:cases");
    stage.token("An agent, authenticated by its identity", &good).await;
    stage.token("Without scopes: everything that is permitted", &without(good.clone(), "scope")).await;
    let issued = with(good.clone(), "requested_token_type", ACCESS_TOKEN);
    stage.token("With every parameter that may be left out", &by(&svid, with(issued, "audience", CRM))).await;
    stage.token("A token of ours that is called a JWT", &with(good.clone(), "subject_token_type", JWT)).await;
    stage
        .token(
            "The audience in place of the resource",
            &with(without(good.clone(), "resource"), "audience", CRM),
        )
        .await;
    let of_app = by(&svid, bare(&riley, CRM, "read:cases"));
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &of_app);
    stage.log.send("An app that presents an agent's identity", request).await;

    let two = [good.clone(), form(&[("resource", &uri("archive"))])].concat();
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    let refused: [(&str, FormPairs); 21] = [
        ("No subject token", without(good.clone(), "subject_token")),
        ("No type of the subject token", without(good.clone(), "subject_token_type")),
        ("Another type of subject token", with(good.clone(), "subject_token_type", refresh)),
        ("An actor token without its type", with(good.clone(), "actor_token", &svid)),
        ("A type without an actor token", with(good.clone(), "actor_token_type", JWT)),
        (
            "Another type of actor token",
            with(with(good.clone(), "actor_token", &svid), "actor_token_type", ACCESS_TOKEN),
        ),
        ("Another type of token is asked for", with(good.clone(), "requested_token_type", refresh)),
        ("No resource", without(good.clone(), "resource")),
        ("A resource that is no URI", with(good.clone(), "resource", "crm")),
        ("A resource with a fragment", with(good.clone(), "resource", "https://crm.acme.example#x")),
        ("A resource that is not registered", with(good.clone(), "resource", "https://elsewhere.example")),
        ("A resource that is misspelt", with(good.clone(), "resource", "https://crm.acme.example/api")),
        ("Two resources", two),
        ("Another audience than the resource", with(good.clone(), "audience", &uri("archive"))),
        ("An audience that is not registered", with(without(good.clone(), "resource"), "audience", "crm")),
        (
            "An audience that is misspelt",
            with(without(good.clone(), "resource"), "audience", "https://crm.acme.exmaple"),
        ),
        ("A scope with a quote", with(good.clone(), "scope", "\"")),
        ("A subject token that is none", with(good.clone(), "subject_token", "x")),
        ("An identity as subject token", with(good.clone(), "subject_token", &svid)),
        ("A person's token as actor token", by(&riley, good.clone())),
        ("An actor token that is none", by("x", good.clone())),
    ];
    for (what, form) in refused {
        stage.token(what, &form).await;
    }
    let [header, payload, _] = riley.split('.').collect::<Vec<_>>().try_into().unwrap();
    let [_, _, signature] = svid.split('.').collect::<Vec<_>>().try_into().unwrap();
    let forged = format!("{header}.{payload}.{signature}");
    stage
        .token("A subject token with another signature", &with(good.clone(), "subject_token", &forged))
        .await;
    let elsewhere = stage.svid_for(&spiffe_id("support-agent"), "https://elsewhere.example").await;
    stage.token("An identity for another audience as actor token", &by(&elsewhere, good.clone())).await;
    let assertion = with(good.clone(), "client_assertion", &elsewhere);
    stage.token("An identity for another audience as the client's", &assertion).await;
    stage.token("A person's token as the client's", &with(good.clone(), "client_assertion", &riley)).await;
    stage.token("Another client_id than the agent", &with(good, "client_id", "support-app")).await;
    stage.token("A public client", &with(of_app.clone(), "client_id", "support-app")).await;
    stage.token("Nobody", &of_app).await;
    let brief = stage.server.app.person_token("riley", Some(&uri("brief")), None).await;
    stage.pass(2);
    stage.token("A subject token that has expired", &exchange(&svid, &brief, CRM, "read:cases")).await;
    stage.end("exchange_parameters").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parties_of_an_exchange() {
    let (mut stage, Held { riley, svid }) =
        begun("Token endpoint: exchanges, their people, agents and chains").await;
    let research = stage.svid("research-agent").await;
    let ops = stage.svid("ops-agent").await;
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &bare(&riley, CRM, "read:cases"));
    stage.log.send("Nobody acts", request).await;
    let request =
        stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &by(&ops, bare(&riley, CRM, "read:cases")));
    stage.log.send("An agent that the app may not present", request).await;
    stage
        .token(
            "An agent with another agent's identity",
            &by(&research, exchange(&svid, &riley, CRM, "read:cases")),
        )
        .await;

    let at_research = stage.exchanged(&svid, &riley, &uri("research")).await;
    let hop = exchange(&research, &at_research, CRM, "read:cases");
    stage.token("The agent that serves the resource goes on: a chain of two", &hop).await;
    stage
        .token(
            "An agent to which the token is not addressed",
            &exchange(&ops, &at_research, CRM, "read:cases"),
        )
        .await;
    let at_desk = stage.exchanged(&research, &at_research, &uri("desk")).await;
    stage.token("An agent that is in the chain already", &exchange(&svid, &at_desk, CRM, "read:cases")).await;
    let at_shallow = stage.exchanged(&svid, &riley, &uri("shallow")).await;
    let shallow = stage.svid("shallow-agent").await;
    stage
        .token(
            "A chain that is deeper than the agent may have",
            &exchange(&shallow, &at_shallow, CRM, "read:cases"),
        )
        .await;

    let mut own = stage.exchanged(&svid, &riley, CRM).await;
    for _ in 1..16 {
        own = stage.exchanged(&svid, &own, CRM).await;
    }
    stage.log.note("an agent exchanges its own token fifteen times");
    stage.token("The sixteenth time", &exchange(&svid, &own, CRM, "read:cases")).await;

    let mandate = stage.exchanged(&svid, &riley, CRM).await;
    let jti = claims(&mandate)["jti"].as_str().unwrap().parse().unwrap();
    stage.server.admin.revoke(&RevocationRequest { target: RevocationTarget::Token(jti) }).await.unwrap();
    stage.token("A subject token that is revoked", &exchange(&svid, &mandate, CRM, "read:cases")).await;

    let paused = stage.svid("paused-agent").await;
    stage
        .server
        .admin
        .set_agent_state("paused-agent", &AgentStateRequest { state: AgentState::Suspended })
        .await
        .unwrap();
    stage.log.note("paused-agent is suspended");
    stage.token("An agent that is suspended", &exchange(&paused, &riley, CRM, "read:cases")).await;
    let renamed = stage.svid("renamed-agent").await;
    let uid = rustix::process::getuid().as_raw();
    let other = agent(uid, "renamed-agent", "spiffe_id = \"spiffe://acme.example/agent/of-another-name\"");
    stage.apply("renamed-agent gets another identity", &other).await;
    stage
        .token(
            "An identity that belongs to no agent any longer",
            &exchange(&renamed, &riley, CRM, "read:cases"),
        )
        .await;
    stage.end("exchange_parties").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_an_exchange() {
    let (mut stage, Held { riley, svid }) =
        begun("Token endpoint: exchanges, their grants, scopes and policies").await;
    let at = |name: &str| exchange(&svid, &riley, &uri(name), &format!("read:{name}"));
    let issuer = stage.server.issuer().to_owned();
    stage.token("The administration of the server", &exchange(&svid, &riley, &issuer, "mandate:admin")).await;
    stage.token("No grant", &at("ungranted")).await;
    stage.token("A grant that is revoked", &at("closed")).await;
    stage.token("A grant with one use", &at("once")).await;
    stage.token("The same grant again", &at("once")).await;

    let crm = |scope: &str| exchange(&svid, &riley, CRM, scope);
    stage.token("A scope that the resource does not have", &crm("read:nothing")).await;
    let narrow = stage.server.app.person_token("riley", None, Some("read:cases")).await;
    stage
        .token(
            "A scope that the subject token does not have",
            &exchange(&svid, &narrow, CRM, "write:case_comments"),
        )
        .await;
    let request = stage.post_as(("narrow-app", SECRET), TOKEN, &by(&svid, bare(&riley, CRM, "read:cases")));
    stage.log.send("A scope that the client may not ask for", request).await;
    stage.token("A scope that the person does not have", &without(at("rightless"), "scope")).await;
    stage.token("A scope beyond the agent's ceiling", &crm("send:mail")).await;
    stage.token("A scope beyond the grant", &exchange(&svid, &riley, &uri("archive"), "write:archive")).await;
    stage.token("A scope that not everybody has is left out", &crm("read:cases send:mail")).await;
    let split = without(exchange(&svid, &riley, &uri("split"), ""), "scope");
    stage.token("No scope that all of them have", &split).await;

    stage.pass(2);
    stage.token("A grant that has expired", &at("ended")).await;
    let end = stage.server.clock.now().plus(Duration::from_millis(700));
    stage.apply("a grant is given that ends within the second", &ending("ungranted", end)).await;
    stage.token("A grant that ends within the second", &at("ungranted")).await;

    let forbid = |who: &str| {
        format!(
            "policy = [{{ name = \"closed\", source = 'forbid (principal is {who}, action, resource == Resource::\"policed\");' }}]"
        )
    };
    stage.token("Before any policy", &at("policed")).await;
    stage.apply("a policy forbids it to agents", &forbid("Agent")).await;
    stage.token("A policy against the agent", &at("policed")).await;
    stage.apply("a policy forbids it to people", &forbid("Person")).await;
    stage.token("A policy against the person", &at("policed")).await;
    let demand =
        "@approval(\"required\") permit (principal is Agent, action, resource == Resource::\"policed\");";
    stage
        .apply(
            "a policy demands an approval",
            &format!("policy = [{{ name = \"closed\", source = '{demand}' }}]"),
        )
        .await;
    stage.token("A policy that demands an approval", &at("policed")).await;
    stage.end("exchange_rights").await;
}

/// 64 scopes of 128 characters, as a request names them.
fn long_scopes() -> Vec<String> {
    (0..64).map(|n| format!("{:x<125}:{n:02}", "long")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_token_can_carry() {
    let mut stage =
        Stage::with_node("Token endpoint: an exchange with more to say than one token can carry").await;
    let uid = rustix::process::getuid().as_raw();
    let (scopes, long) =
        (long_scopes(), format!("spiffe://acme.example/agent/{}", "long/".repeat(380) + "agent"));
    let list = scopes.iter().map(|scope| format!("\"{scope}\"")).collect::<Vec<_>>().join(", ");
    stage.log.names.fix(&scopes.join(" "), "<64 scopes of 128 characters>");
    stage.log.names.fix(&long, "<a SPIFFE ID of 1,900 characters>");
    let given = format!("[{{ resource = \"wide\", scopes = [{list}] }}]");
    let registry = format!(
        "client = [{{ id = \"support-app\", redirect_uris = [\"{CALLBACK}\"] }}]\nresource = [{{ name = \"wide\", uri = \"{}\", scopes = [{list}] }}]\n[[person]]\nname = \"riley\"\nmay = [{{ resource = \"crm\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"] }}, {{ resource = \"wide\", scopes = [{list}] }}]\n{}{}",
        uri("wide"),
        agent(uid, "long-agent", &format!("spiffe_id = \"{long}\"\nceiling = {given}")),
        granted("riley", "long-agent", "wide", &scopes.join("\", \""), ""),
    );
    stage.apply("an agent with a long name may do much", &registry).await;
    let riley = stage.server.app.person_token("riley", None, Some(&scopes.join(" "))).await;
    let svid = stage.svid_for(&long, stage.server.issuer()).await;
    stage
        .token("More than one token can carry", &without(exchange(&svid, &riley, &uri("wide"), ""), "scope"))
        .await;
    stage.end("exchange_size").await;
}
