//! An agent on its own behalf: only the agent is asked about, by an action of its own.

use mandate_policy::{DeniedParty, NoRuling, Ruling};

use crate::world::{World, built_in, permission, scopes, with};

fn world(may: &str) -> World {
    let mut world = World::new("", "read comment", "");
    world.agent.may = vec![permission("crm", may)];
    world
}

fn denied_by(world: &World, source: Option<&str>, asked: &str, policy: &str) {
    let policies = source.map_or_else(built_in, with);
    match world.ask_alone(&policies, asked) {
        Err(NoRuling::Denied(denial)) => {
            assert_eq!((denial.who, denial.errors.len()), (DeniedParty::Agent, 0), "{denial}");
            assert!(denial.policies.iter().any(|name| name == policy), "{policy} is not in {denial}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_entry_and_ceiling_allow_is_permitted_without_any_right_of_a_person() {
    let ruling = world("read close").ask_alone(&built_in(), "read comment close").unwrap();
    assert_eq!(ruling.scopes(), &scopes("read"));
    assert_eq!(**ruling.policies(), ["built-in/agent-may-by-itself"]);
}

#[test]
fn a_denial_names_the_limit() {
    denied_by(&world("read"), None, "comment", "built-in/beyond-what-the-agent-may-by-itself");
    denied_by(&world("close"), None, "close", "built-in/beyond-the-ceiling-by-itself");
    let mut suspended = world("read");
    suspended.agent.state = mandate_core::registry::AgentState::Suspended;
    denied_by(&suspended, None, "read", "built-in/agent-is-not-active-by-itself");
}

#[test]
fn no_policy_permits_more_and_any_forbid_of_agents_applies() {
    let everything = Some("permit (principal, action, resource);");
    denied_by(&world("read"), everything, "comment", "built-in/beyond-what-the-agent-may-by-itself");
    for source in [
        "forbid (principal, action, resource);",
        "forbid (principal is Agent, action, resource) when { context.hour > 20 };",
        r#"forbid (principal, action, resource) when { context.person == Person::"riley" };"#,
        r#"forbid (principal is Agent, action == Action::"act_alone", resource) when { principal.may.contains("read") };"#,
    ] {
        denied_by(&world("read"), Some(source), "read", "extra");
    }
    for source in [
        r#"forbid (principal is Agent, action == Action::"act", resource);"#,
        "forbid (principal is Person, action, resource);",
    ] {
        assert!(world("read").ask_alone(&with(source), "read").is_ok(), "{source}");
    }
}

#[test]
fn an_answer_to_one_question_is_never_remembered_for_the_other() {
    let mut both = World::open();
    both.agent.may = vec![permission("crm", "read")];
    let policies = built_in();
    let for_person = both.ask(&policies, "read").unwrap();
    let alone = both.ask_alone(&policies, "read").unwrap();
    assert_ne!(for_person.policies(), alone.policies());
    both.agent.may.clear();
    assert!(both.ask(&policies, "read").is_ok() && both.ask_alone(&policies, "read").is_err());
}

#[test]
fn an_approval_can_be_demanded() {
    let source =
        r#"@approval("required") permit (principal is Agent, action == Action::"act_alone", resource);"#;
    let ruling = world("read").ask_alone(&with(source), "read").unwrap();
    assert!(matches!(&*ruling, Ruling::NeedsApproval(_)));
}
