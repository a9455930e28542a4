//! Chains: a person, an agent, and the agents that it calls.

use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_testkit::story::{self, ARCHIVE, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{World, exposed, payload};
use serde_json::Value;

use crate::refused;

async fn hop(world: &World, agent: &str, subject: &str, resource: &str) -> String {
    let form = world.agent_exchange(&world.svid(agent).await, subject, resource, "read:cases");
    exposed(&world.token(&form, None).await.unwrap())
}

fn actors(token: &str) -> Vec<String> {
    let claims = payload(token);
    let mut act = claims.get("act");
    let mut names = Vec::new();
    while let Some(current) = act {
        assert_eq!(current["iss"], ISSUER);
        names.push(current["sub"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
        act = current.get("act");
    }
    names
}

#[tokio::test]
async fn the_person_stays_and_every_actor_is_kept_outermost_first() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    let second = hop(&world, "research-agent", &first, ARCHIVE).await;
    let third = hop(&world, "archive-agent", &second, CRM).await;
    assert_eq!(actors(&third), ["archive-agent", "research-agent", "support-agent"]);
    for token in [&first, &second, &third] {
        assert_eq!(payload(token)["sub"], "riley");
        assert_eq!(payload(token)["auth_time"], payload(&person)["auth_time"]);
    }
    let lineage = &payload(&third)["lineage"];
    let jti = |token: &str| payload(token)["jti"].clone();
    assert_eq!(lineage["parents"], Value::from(vec![jti(&second), jti(&first), jti(&person)]));
    assert_eq!(lineage["grants"].as_array().unwrap().len(), 3);
    assert_eq!(lineage["clients"], Value::from(vec!["support-app"]), "agents are in act already");
}

#[tokio::test]
async fn a_chain_is_not_shed_by_leaving_out_the_actor_token() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    // `hop` sends no actor token: the client is the actor, and the history stays.
    assert_eq!(
        actors(&hop(&world, "research-agent", &first, CRM).await),
        ["research-agent", "support-agent"]
    );
}

#[tokio::test]
async fn acting_again_changes_nothing_and_loops_are_refused() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    assert_eq!(actors(&hop(&world, "support-agent", &first, RESEARCH).await), ["support-agent"]);
    let second = hop(&world, "research-agent", &first, ARCHIVE).await;
    // The archive calls back to a resource that the support agent serves.
    let mut desk = story::resource("desk", "https://desk.acme.example", "read:cases");
    desk.agent = Some("support-agent".parse().unwrap());
    world.apply(Entry::Resource(desk)).await;
    world.apply(Entry::Grant(story::grant("riley", "research-agent", "desk", "read:cases"))).await;
    let widen = |entry: &mut Entry| {
        if let Entry::Agent(agent) = entry {
            agent.ceiling.push(story::permission("desk", "read:cases"));
        }
    };
    world.change(EntryKind::Agent, "research-agent", widen).await;
    let widen = |entry: &mut Entry| {
        if let Entry::Person(person) = entry {
            person.may.push(story::permission("desk", "read:cases"));
        }
    };
    world.change(EntryKind::Person, "riley", widen).await;
    let back = hop(&world, "research-agent", &first, "https://desk.acme.example").await;
    let form = world.agent_exchange(&world.svid("support-agent").await, &back, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request chain_loop");
    drop(second);
}

#[tokio::test]
async fn a_chain_that_is_too_deep_is_refused_not_cut() {
    let world = World::story();
    let limit = |entry: &mut Entry| {
        if let Entry::Agent(agent) = entry {
            agent.chain_depth = 2;
        }
    };
    world.change(EntryKind::Agent, "archive-agent", limit).await;
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    let second = hop(&world, "research-agent", &first, ARCHIVE).await;
    let form = world.agent_exchange(&world.svid("archive-agent").await, &second, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request chain_too_deep");
}

#[tokio::test]
async fn an_inner_actor_grants_nothing_to_the_outermost() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    // The support agent, now inner, may write comments; the research agent may not.
    let wide = |entry: &mut Entry| {
        if let Entry::Grant(grant) = entry {
            grant.scopes = "read:cases write:case_comments".parse().unwrap();
        }
    };
    world.change(EntryKind::Grant, "riley-research-agent-crm", wide).await;
    let form = world.agent_exchange(&world.svid("research-agent").await, &first, CRM, "write:case_comments");
    assert!(refused(world.token(&form, None).await).starts_with("400 invalid_scope"));
    // And the inner actors do not bypass a policy on the outermost one.
    world
        .forbid(
            "no-research",
            r#"forbid (principal == Agent::"research-agent", action == Action::"act", resource);"#,
        )
        .await;
    let form = world.agent_exchange(&world.svid("research-agent").await, &first, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request policy_denies_agent");
}

#[tokio::test]
async fn a_suspended_inner_agent_stops_the_whole_chain() {
    let world = World::story();
    let person = world.person_token("riley", None, None).await;
    let first = hop(&world, "support-agent", &person, RESEARCH).await;
    let second = hop(&world, "research-agent", &first, ARCHIVE).await;
    let set = |state| {
        move |entry: &mut Entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = state;
            }
        }
    };
    world.change(EntryKind::Agent, "support-agent", set(AgentState::Suspended)).await;
    for (agent, subject) in [("research-agent", &first), ("archive-agent", &second)] {
        let form = world.agent_exchange(&world.svid(agent).await, subject, CRM, "read:cases");
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_revoked", "{agent}");
    }
    // Active again, it gets new tokens; the old ones stay dead.
    world.change(EntryKind::Agent, "support-agent", set(AgentState::Active)).await;
    let form = world.agent_exchange(&world.svid("research-agent").await, &first, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_revoked");
}
