//! A permit is remembered by its facts: if one of them changes, the question is decided again.

use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::registry::AgentState;
use mandate_policy::{Policies, Question};

use crate::world::{World, built_in, permission, scopes, with};

/// Asks twice, so that the second answer is the remembered one if there is any.
fn answer(world: &World, policies: &Policies, asked: &str) -> Option<String> {
    let first = world.ask(policies, asked).ok().map(|permit| permit.scopes().to_string());
    let second = world.ask(policies, asked).ok().map(|permit| permit.scopes().to_string());
    assert_eq!(first, second);
    first
}

type Change = fn(&mut World);

#[test]
fn every_fact_of_the_built_in_policies_is_looked_at_each_time() {
    let policies = built_in();
    let changes: [(&str, Change); 12] = [
        ("the person is disabled", |w| w.person.disabled = true),
        ("the person may less", |w| w.person.may = vec![permission("crm", "close")]),
        ("the person may elsewhere", |w| w.person.may = vec![permission("erp", "read comment close mail")]),
        ("the agent is suspended", |w| w.agent.state = AgentState::Suspended),
        ("the agent is contained", |w| w.agent.state = AgentState::Contained),
        ("the ceiling is lower", |w| w.agent.ceiling = vec![permission("crm", "close")]),
        ("the grant is smaller", |w| w.grant.scopes = scopes("close")),
        ("the grant is revoked", |w| w.grant.revoked = true),
        ("the grant is somebody else's", |w| w.grant.person = "sam".parse().unwrap()),
        ("the grant is for another agent", |w| w.grant.agent = "other".parse().unwrap()),
        ("the grant is for another resource", |w| w.grant.resource = "erp".parse().unwrap()),
        ("the grant has expired", |w| w.grant.expires = Some(w.now)),
    ];
    for (what, change) in changes {
        let mut world = World::open();
        assert_eq!(answer(&world, &policies, "read mail").as_deref(), Some("mail read"), "before {what}");
        change(&mut world);
        assert_eq!(answer(&world, &policies, "read mail"), None, "{what}");
    }
    let world = World::open();
    assert_eq!(
        answer(&world, &policies, "read").as_deref(),
        Some("read"),
        "fewer scopes are another question"
    );
    let person_alone =
        Question { agent: None, grant: None, scopes: &scopes("read mail"), ..world.question() };
    assert_eq!(
        **policies.evaluate(&person_alone).unwrap().policies(),
        ["built-in/person-has-the-right"],
        "and so is no agent"
    );
}

#[test]
fn what_a_policy_reads_is_a_fact() {
    let tool =
        |world: &mut World, egress| world.resource.tools.iter_mut().for_each(|tool| tool.egress = egress);
    let policies = with("forbid (principal, action, resource) when { context.egress };");
    let mut world = World::open();
    tool(&mut world, false);
    assert_eq!(answer(&world, &policies, "mail").as_deref(), Some("mail"));
    tool(&mut world, true);
    assert_eq!(answer(&world, &policies, "mail"), None);

    let policies = with(
        "forbid (principal, action, resource) when { context.client == \"other-app\" || context.depth > 1 };",
    );
    let world = World::open();
    let asked = scopes("read");
    let question = Question { scopes: &asked, ..world.question() };
    assert!(policies.evaluate(&question).is_ok());
    assert!(policies.evaluate(&Question { client: "other-app", ..question }).is_err());
    assert!(policies.evaluate(&Question { depth: 2, ..question }).is_err());
    assert!(policies.evaluate(&question).is_ok());
}

#[test]
fn time_passes_for_a_policy_that_reads_it() {
    let mut world = World::open();
    let closing = world.now.plus(Duration::from_secs(60));
    let policies =
        with(&format!("forbid (principal, action, resource) when {{ context.now >= {} }};", closing.secs()));
    assert!(answer(&world, &policies, "read").is_some());
    world.now = Timestamp::from_secs(closing.secs() - 1);
    assert!(answer(&world, &policies, "read").is_some());
    world.now = closing;
    assert_eq!(answer(&world, &policies, "read"), None);
}
