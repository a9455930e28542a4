//! The client credentials grant: an agent's own token, which is never a person's.

use std::time::Duration;

use mandate_audit::{Outcome, RecordKind};
use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_core::{ClientId, CutTarget};
use mandate_testkit::faulty_backend::Point;
use mandate_testkit::story::{self, CRM, ISSUER, spiffe_id};
use mandate_testkit::world::{ACCESS_TOKEN, JWT, Pairs, World, exposed, pairs, payload, with, without};
use serde_json::json;

use crate::{lives, refused, shown};

fn world() -> World {
    World::with_entries(vec![story::watch_agent()])
}

async fn form(world: &World) -> Pairs {
    world.own_behalf(&world.svid("watch-agent").await, CRM, "read:cases")
}

async fn own_token(world: &World) -> String {
    exposed(&world.token(&form(world).await, None).await.unwrap())
}

async fn agent(world: &World, change: impl FnOnce(&mut mandate_core::registry::Agent)) {
    let change = |entry: &mut Entry| {
        if let Entry::Agent(agent) = entry {
            change(agent);
        }
    };
    world.change(EntryKind::Agent, "watch-agent", change).await;
}

#[tokio::test]
async fn the_token_says_that_it_is_the_agents_own_and_the_answer_has_no_refresh_token() {
    let world = world();
    let answer = world.token(&form(&world).await, None).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.to_json()).unwrap();
    let mut members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"], "RFC 6749 section 4.4.3");
    assert_eq!((&body["expires_in"], &body["scope"]), (&json!(300), &json!("read:cases")));
    let mut claims = payload(&exposed(&answer));
    let id = spiffe_id("watch-agent");
    let issued = claims["iat"].as_u64().unwrap();
    assert_eq!(claims["exp"].as_u64(), Some(issued + 300));
    for volatile in ["jti", "iat", "exp"] {
        claims.as_object_mut().unwrap().remove(volatile).unwrap();
    }
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": id, "sub_profile": "ai_agent", "client_id": id, "aud": CRM, "scope": "read:cases",
        })
    );
}

#[tokio::test]
async fn without_a_scope_parameter_it_has_what_entry_and_ceiling_share() {
    let world = world();
    let all = without(form(&world).await, "scope");
    assert_eq!(world.token(&all, None).await.unwrap().scopes().to_string(), "read:cases");
    agent(&world, |agent| agent.may = vec![story::permission("crm", "read:cases send:mail")]).await;
    assert_eq!(world.token(&all, None).await.unwrap().scopes().to_string(), "read:cases", "the ceiling");
    let audience = with(without(all, "resource"), "audience", CRM);
    world.token(&audience, None).await.unwrap();
}

#[tokio::test]
async fn the_record_has_the_agent_and_nobody_else() {
    let world = world();
    let token = own_token(&world).await;
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Token, Outcome::Permitted));
    assert_eq!(record.said().sub, None);
    let actors: Vec<_> = record.said().act.iter().map(|actor| actor.sub.as_str()).collect();
    assert_eq!(actors, [spiffe_id("watch-agent")]);
    assert_eq!(record.said().client, Some(spiffe_id("watch-agent").as_str()));
    assert_eq!(record.said().jti.unwrap().as_str(), payload(&token)["jti"].as_str().unwrap());
    assert_eq!(*record.policies, ["built-in/agent-may-by-itself"]);
    let query = mandate_audit::Query { agent: Some(spiffe_id("watch-agent")), ..Default::default() };
    assert!(world.records(&query).iter().any(|found| found.id == record.id), "found by its agent");

    let beyond = with(form(&world).await, "scope", "write:case_comments");
    assert_eq!(refused(world.token(&beyond, None).await), "400 invalid_scope scope_beyond_own");
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Token, Outcome::Refused));
    assert_eq!((record.said().sub, record.said().aud), (None, Some(CRM)));
    assert_eq!(record.said().act.depth(), 1);
    assert!(record.detail.unwrap().contains("on its own behalf: read:cases; ceiling: "));
}

#[tokio::test]
async fn an_agent_gets_nothing_by_itself_that_its_entry_does_not_list() {
    let world = world();
    let other = world.own_behalf(&world.svid("support-agent").await, CRM, "read:cases");
    assert_eq!(refused(world.token(&other, None).await), "400 unauthorized_client not_on_own_behalf");
    // What people have granted it is not its own.
    let unknown = with(other, "resource", "https://elsewhere.example");
    assert_eq!(refused(world.token(&unknown, None).await), "400 unauthorized_client not_on_own_behalf");
    let ghost =
        world.own_behalf(&world.svid_for("spiffe://acme.example/agent/ghost", &[ISSUER]).await, CRM, "a");
    assert_eq!(refused(world.token(&ghost, None).await), "401 invalid_client actor_unknown");
}

#[tokio::test]
async fn each_rule_about_the_resource_and_the_scopes_is_that_of_an_exchange() {
    let world = world();
    let form = form(&world).await;
    for (name, value, expected) in [
        ("resource", "https://elsewhere.example", "400 invalid_target resource_unknown"),
        ("resource", "https://crm.acme.example/other", "400 invalid_target resource_unknown"),
        ("resource", "https://crm.acme.example/#a", "400 invalid_target resource_malformed"),
        ("resource", "crm", "400 invalid_target resource_malformed"),
        ("resource", ISSUER, "400 invalid_target resource_unknown"),
        ("audience", "https://research.acme.example", "400 invalid_target audience_differs"),
        ("scope", "read:everything", "400 invalid_scope scope_unknown"),
        ("scope", "mandate:admin", "400 invalid_scope scope_unknown"),
        ("scope", "read:cases mandate:admin", "400 invalid_scope scope_unknown"),
        ("scope", "a  b", "400 invalid_scope scope_malformed"),
        ("scope", "send:mail", "400 invalid_scope scope_beyond_own"),
    ] {
        let answer = world.token(&with(form.clone(), name, value), None).await;
        assert_eq!(refused(answer), expected, "{name}={value}");
    }
    let mut twice = form.clone();
    twice.push(("resource".to_owned(), CRM.to_owned()));
    assert_eq!(refused(world.token(&twice, None).await), "400 invalid_target resource_repeated");
    assert_eq!(
        refused(world.token(&without(form.clone(), "resource"), None).await),
        "400 invalid_target resource_missing"
    );
    world.token(&with(form, "resource", &format!("{CRM}/")), None).await.unwrap();
}

#[tokio::test]
async fn our_administration_is_for_no_agent() {
    let mut administration = story::resource("mandate", ISSUER, "mandate:admin");
    administration.client = None;
    let world = World::with_entries(vec![Entry::Resource(administration), story::watch_agent()]);
    agent(&world, |agent| {
        agent.may.push(story::permission("mandate", "mandate:admin"));
        agent.ceiling.push(story::permission("mandate", "mandate:admin"));
    })
    .await;
    let form = with(with(form(&world).await, "resource", ISSUER), "scope", "mandate:admin");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_target resource_not_delegable");
}

#[tokio::test]
async fn what_names_or_proves_another_party_has_no_place_and_a_code_is_not_used_up() {
    let world = world();
    let subject = world.person_token("riley", None, None).await;
    let code = world.code(&world.authorization("support-app", Some(CRM), None), "riley").await;
    let svid = world.svid("support-agent").await;
    for (name, value) in [
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", svid.as_str()),
        ("actor_token_type", JWT),
        ("code", code.as_str()),
    ] {
        let error = world.token(&with(form(&world).await, name, value), None).await.unwrap_err();
        assert_eq!(shown(&error), "400 invalid_request parameter_misplaced", "{name}");
        assert!(error.description.contains(&format!("The parameter {name} does not")), "{error}");
    }
    let exchange = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let answer = world.token(&with(exchange, "code", &code), None).await;
    assert_eq!(refused(answer), "400 invalid_request parameter_misplaced");
    world.token(&with(world.redemption("support-app", &code), "resource", CRM), None).await.unwrap();
}

#[tokio::test]
async fn only_an_agent_that_has_proven_itself_gets_one() {
    let world = world();
    let anonymous = pairs(&[("grant_type", "client_credentials"), ("resource", CRM)]);
    assert_eq!(
        refused(world.token(&anonymous, None).await),
        "401 invalid_client client_authentication_missing"
    );
    // A public client proves nothing (RFC 6749 section 4.4).
    for client in ["support-app", "unknown-app"] {
        let answer = world.token(&with(anonymous.clone(), "client_id", client), None).await;
        assert!(refused(answer).starts_with("401 invalid_client "), "{client}");
    }
    // A confidential app is known, and has no authority of its own.
    let app = world.token(&anonymous, Some(&world.desk_app())).await;
    assert_eq!(refused(app), "400 unauthorized_client client_not_allowed");
    let mut keyed = anonymous.clone();
    keyed.extend(world.assertion_pairs(&world.assertion(&world.assertion_claims())));
    assert_eq!(refused(world.token(&keyed, None).await), "400 unauthorized_client client_not_allowed");
    let wrong = mandate_testkit::world::basic("desk-app", "a wrong secret of the right length");
    assert_eq!(
        refused(world.token(&anonymous, Some(&wrong)).await),
        "401 invalid_client client_authentication_failed"
    );
    // The agent's own token is no credential either, and neither is a JWT-SVID for somebody else.
    let own = own_token(&world).await;
    let elsewhere = world.svid_for(&spiffe_id("watch-agent"), &[CRM]).await;
    for credential in [own, elsewhere] {
        let form = world.own_behalf(&credential, CRM, "read:cases");
        assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_assertion_refused");
    }
    let other = with(form(&world).await, "client_id", &spiffe_id("support-agent"));
    assert_eq!(refused(world.token(&other, None).await), "401 invalid_client client_id_mismatch");
}

#[tokio::test]
async fn a_stopped_agent_gets_none_and_those_that_it_has_are_worth_nothing() {
    for state in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
        let world = world();
        let token = own_token(&world).await;
        assert!(lives(&world, &token).await);
        agent(&world, |agent| agent.state = state).await;
        assert_eq!(
            refused(world.token(&form(&world).await, None).await),
            "401 invalid_client agent_not_active",
            "{state:?}"
        );
        assert!(!lives(&world, &token).await, "{state:?}");
    }
    // The registry alone is enough, without the cuts that belong to the change.
    let world = world();
    let token = own_token(&world).await;
    world.change_without_cuts(EntryKind::Agent, "watch-agent", |entry| {
        if let Entry::Agent(agent) = entry {
            agent.state = AgentState::Suspended;
        }
    });
    assert!(!lives(&world, &token).await);
    world.remove_without_cuts(EntryKind::Agent, "watch-agent");
    assert!(!lives(&world, &token).await);
}

#[tokio::test]
async fn a_cut_on_the_agent_the_client_or_the_token_ends_it() {
    let id = spiffe_id("watch-agent");
    let client: ClientId = id.parse().unwrap();
    for target in [CutTarget::Agent(id.clone()), CutTarget::Client(client)] {
        let world = world();
        let token = own_token(&world).await;
        world.clock.advance(Duration::from_millis(10));
        world.cut(target.clone());
        assert!(!lives(&world, &token).await, "{target:?}");
        world.clock.advance(Duration::from_millis(10));
        let newer = own_token(&world).await;
        assert!(lives(&world, &newer).await, "a cut refuses what was issued before: {target:?}");
    }
    let world = world();
    let (token, other) = (own_token(&world).await, own_token(&world).await);
    let revocation = pairs(&[
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"),
        ("client_assertion", &world.svid("watch-agent").await),
        ("token", &token),
    ]);
    world.revoke(&revocation, None).await.unwrap();
    assert!(!lives(&world, &token).await && lives(&world, &other).await);
    let record = world.last_record();
    assert_eq!((record.kind, record.said().sub), (RecordKind::Revoke, None));
}

#[tokio::test]
async fn an_entry_that_lists_less_ends_what_was_issued() {
    let world = world();
    let token = own_token(&world).await;
    world.clock.advance(Duration::from_millis(10));
    agent(&world, |agent| agent.may.clear()).await;
    assert!(!lives(&world, &token).await);
    assert_eq!(
        refused(world.token(&form(&world).await, None).await),
        "400 unauthorized_client not_on_own_behalf"
    );
}

#[tokio::test]
async fn introspection_shows_what_it_is_and_only_to_those_whom_it_concerns() {
    let world = world();
    let token = own_token(&world).await;
    let of = pairs(&[("token", &token)]);
    let mut expected = payload(&token);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(world.introspect(&of, Some(&world.crm_api())).await.unwrap(), expected);
    assert_eq!(expected["sub_profile"], "ai_agent");
    assert_eq!(world.introspect(&of, Some(&world.desk_app())).await.unwrap(), json!({"active": false}));
    world.clock.advance(Duration::from_secs(300));
    assert!(!lives(&world, &token).await, "expired");
}

#[tokio::test]
async fn it_is_nobodys_token_neither_to_be_exchanged_nor_to_administrate() {
    let world = World::with_entries(vec![story::watch_agent(), {
        let mut resource =
            story::resource("crm", CRM, "read:cases write:case_comments write:opportunities send:mail");
        resource.agent = Some("support-agent".parse().unwrap());
        resource.client = Some("crm-api".parse().unwrap());
        Entry::Resource(resource)
    }]);
    let token = own_token(&world).await;
    assert_eq!(world.speaks_for(&token), None);
    assert!(world.administration.operator(&token).is_err());

    let is_agent = "400 invalid_request subject_is_agent";
    // By the agent itself, by the agent that serves the resource, and by an app that presents an agent.
    for agent in ["watch-agent", "support-agent"] {
        let exchange = world.agent_exchange(&world.svid(agent).await, &token, CRM, "read:cases");
        assert_eq!(refused(world.token(&exchange, None).await), is_agent, "{agent}");
        let as_jwt = with(exchange, "subject_token_type", JWT);
        assert_eq!(refused(world.token(&as_jwt, None).await), is_agent, "{agent}");
    }
    let by_app = world.app_exchange(&world.svid("support-agent").await, &token, CRM, "read:cases");
    assert_eq!(refused(world.token(&by_app, Some(&world.desk_app())).await), is_agent);
    // An actor token is a JWT-SVID, and nothing else.
    let riley = world.person_token("riley", None, None).await;
    let as_actor = world.app_exchange(&token, &riley, CRM, "read:cases");
    assert_eq!(
        refused(world.token(&as_actor, Some(&world.desk_app())).await),
        "400 invalid_request actor_token_refused"
    );
}

#[tokio::test]
async fn a_policy_forbids_it_by_its_own_action() {
    let world = world();
    let source = r#"forbid (principal is Agent, action == Action::"act_alone", resource) when { context.client like "*watch*" };"#;
    world.forbid("no-night-shift", source).await;
    assert_eq!(
        refused(world.token(&form(&world).await, None).await),
        "400 unauthorized_client policy_denies_agent"
    );
    assert_eq!(*world.last_record().policies, ["no-night-shift"]);
    world.mandate().await;
}

#[tokio::test]
async fn a_policy_that_demands_an_approval_is_a_recorded_refusal() {
    let world = world();
    let source =
        r#"@approval("required") permit (principal is Agent, action == Action::"act_alone", resource);"#;
    world.forbid("asks", source).await;
    assert_eq!(
        refused(world.token(&form(&world).await, None).await),
        "400 unauthorized_client approval_required"
    );
    assert_eq!(*world.last_record().policies, ["asks"]);
}

#[tokio::test]
async fn without_a_durable_record_there_is_no_token() {
    let world = world();
    let form = form(&world).await;
    world.faults.break_down(Point::Commit);
    assert_eq!(refused(world.token(&form, None).await), "503 temporarily_unavailable audit_unavailable");
    world.faults.repair();
    world.token(&form, None).await.unwrap();
}

#[tokio::test]
async fn it_is_offered_in_the_metadata() {
    let metadata = world().engine.metadata();
    let grants = metadata["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!("client_credentials")));
}
