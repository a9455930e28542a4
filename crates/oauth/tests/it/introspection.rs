//! Introspection repeats the signed token to the parties that it concerns.

use mandate_core::CutTarget;
use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_testkit::story::{self, RESEARCH};
use mandate_testkit::world::{Pairs, World, pairs, payload, with};
use serde_json::{Value, json};

use crate::shown;

fn of(token: &str) -> Pairs {
    pairs(&[("token", token)])
}

async fn by_agent(world: &World, agent: &str, token: &str) -> Value {
    let form =
        with(of(token), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    world.introspect(&with(form, "client_assertion", &world.svid(agent).await), None).await.unwrap()
}

#[tokio::test]
async fn the_answer_is_the_signed_token_claim_for_claim() {
    let world = World::story();
    let token = world.mandate().await;
    let mut expected = payload(&token);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(), expected);

    // Wider rights since then do not change what an old token says.
    let widen = |entry: &mut Entry| {
        if let Entry::Agent(agent) = entry {
            agent.ceiling =
                vec![story::permission("crm", "read:cases write:case_comments write:opportunities")];
            agent.ceiling.push(story::permission("research", "read:cases"));
            agent.ceiling.push(story::permission("archive", "read:cases"));
            agent.purpose = "another purpose".to_owned();
        }
    };
    world.change(EntryKind::Agent, "support-agent", widen).await;
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(), expected);
}

#[tokio::test]
async fn a_resource_may_introspect_what_is_addressed_to_it_and_only_that() {
    let world = World::story();
    let token = world.mandate().await;
    let inactive = json!({"active": false});
    assert_eq!(
        world.introspect(&of(&token), Some(&world.desk_app())).await.unwrap(),
        inactive,
        "neither its token nor its resource"
    );
    assert_eq!(by_agent(&world, "research-agent", &token).await, inactive);
    assert_eq!(
        by_agent(&world, "support-agent", &token).await["active"],
        true,
        "the client it was issued to"
    );

    let person = world.person_token("riley", Some(RESEARCH), None).await;
    assert_eq!(
        by_agent(&world, "research-agent", &person).await["active"],
        true,
        "the agent that serves the resource"
    );
    assert_eq!(by_agent(&world, "archive-agent", &person).await, inactive);
    assert_eq!(world.introspect(&of(&person), Some(&world.crm_api())).await.unwrap(), inactive);
}

#[tokio::test]
async fn nobody_introspects_anonymously() {
    let world = World::story();
    let token = world.mandate().await;
    let asked = |form: Pairs, header: Option<String>| {
        let world = &world;
        async move { shown(&world.introspect(&form, header.as_deref()).await.unwrap_err()) }
    };
    assert_eq!(asked(of(&token), None).await, "401 invalid_client client_authentication_missing");
    assert_eq!(
        asked(with(of(&token), "client_id", "support-app"), None).await,
        "401 invalid_client client_authentication_missing"
    );
    let wrong = mandate_testkit::world::basic("crm-api", "wrong");
    assert_eq!(asked(of(&token), Some(wrong)).await, "401 invalid_client client_authentication_failed");
    assert_eq!(asked(Vec::new(), Some(world.crm_api())).await, "400 invalid_request parameter_missing");
    assert_eq!(world.last_record().reason, "parameter_missing");
}

type Change = fn(&mut Entry);

#[tokio::test]
async fn a_stopped_agent_person_or_grant_makes_its_tokens_inactive() {
    let inactive = json!({"active": false});
    let stop: [(EntryKind, &str, Change); 3] = [
        (EntryKind::Agent, "support-agent", |entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = AgentState::Suspended;
            }
        }),
        (EntryKind::Person, "riley", |entry| {
            if let Entry::Person(person) = entry {
                person.disabled = true;
            }
        }),
        (EntryKind::Grant, "riley-support-agent-crm", |entry| {
            if let Entry::Grant(grant) = entry {
                grant.revoked = true;
            }
        }),
    ];
    for (kind, key, change) in stop {
        let world = World::story();
        let token = world.mandate().await;
        world.change(kind, key, change).await;
        assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(), inactive, "{key}");

        // And without the cut: the registry is asked too.
        let world = World::story();
        let token = world.mandate().await;
        world.change_without_cuts(kind, key, change);
        assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(), inactive, "{key}");
    }
}

#[tokio::test]
async fn a_token_that_was_cut_by_its_id_is_inactive() {
    let world = World::story();
    let token = world.mandate().await;
    world.cut(CutTarget::Token(payload(&token)["jti"].as_str().unwrap().parse().unwrap()));
    assert_eq!(
        world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(),
        json!({"active": false})
    );
    assert!(world.speaks_for(&token).is_none());
    assert!(world.speaks_for(&world.person_token("riley", None, None).await).is_some());
}

#[tokio::test]
async fn a_stopped_agent_learns_nothing() {
    let world = World::story();
    let token = world.person_token("riley", Some(RESEARCH), None).await;
    let svid = world.svid("research-agent").await;
    let set = |entry: &mut Entry| {
        if let Entry::Agent(agent) = entry {
            agent.state = AgentState::Suspended;
        }
    };
    world.change(EntryKind::Agent, "research-agent", set).await;
    let form =
        with(of(&token), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    let error = world.introspect(&with(form, "client_assertion", &svid), None).await.unwrap_err();
    assert_eq!(shown(&error), "401 invalid_client client_authentication_failed");
}

#[tokio::test]
async fn dead_foreign_and_malformed_tokens_say_nothing() {
    let world = World::story();
    let token = world.mandate().await;
    let inactive = json!({"active": false});
    let svid = world.svid("support-agent").await;
    for other in ["x", "a.b.c", svid.as_str()] {
        assert_eq!(world.introspect(&of(other), Some(&world.crm_api())).await.unwrap(), inactive);
    }
    world.clock.advance(std::time::Duration::from_mins(5));
    assert_eq!(world.introspect(&of(&token), Some(&world.crm_api())).await.unwrap(), inactive, "expired");
}
