//! Both must be permitted, a forbid wins, and a failure is a denial.

use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_core::registry::AgentState;
use mandate_policy::{Denial, DeniedParty, NoRuling, Policies, Question, Ruling};

use crate::world::{NOW, World, built_in, permission, scopes, with};

fn denial(result: Result<Arc<Ruling>, NoRuling>) -> Denial {
    match result {
        Err(NoRuling::Denied(denial)) => denial,
        other => panic!("{other:?}"),
    }
}

fn denied_by(result: Result<Arc<Ruling>, NoRuling>, who: DeniedParty, policy: &str) {
    let denial = denial(result);
    assert_eq!(denial.who, who, "{denial}");
    assert_eq!(denial.errors, Vec::<String>::new());
    assert!(denial.policies.iter().any(|p| p == policy), "{policy} is not in {denial}");
}

#[test]
fn what_person_ceiling_and_grant_allow_is_permitted_and_says_by_which_policies() {
    let permit =
        World::new("read comment", "read comment", "read comment").ask(&built_in(), "read comment").unwrap();
    assert_eq!(permit.scopes(), &scopes("read comment"));
    assert_eq!(
        **permit.policies(),
        ["built-in/agent-has-ceiling-and-grant", "built-in/person-has-the-right"]
    );
}

#[test]
fn only_the_scopes_that_both_may_remain() {
    let permit = World::new("read comment", "read close", "read comment close")
        .ask(&built_in(), "read comment close mail")
        .unwrap();
    assert_eq!(permit.scopes(), &scopes("read"));
}

#[test]
fn what_the_person_may_not_the_agent_may_not_for_them() {
    let world = World::new("read", "close", "close");
    denied_by(world.ask(&built_in(), "close"), DeniedParty::Person, "built-in/beyond-the-persons-rights");
}

#[test]
fn what_the_ceiling_lacks_is_denied_whatever_was_granted() {
    let world = World::new("read close", "read", "read close");
    denied_by(world.ask(&built_in(), "close"), DeniedParty::Agent, "built-in/beyond-the-agents-ceiling");
}

#[test]
fn what_was_not_granted_is_denied_whatever_the_ceiling() {
    let world = World::new("read close", "read close", "read");
    denied_by(world.ask(&built_in(), "close"), DeniedParty::Agent, "built-in/beyond-the-grant");
}

#[test]
fn rights_and_ceilings_on_another_resource_count_for_nothing() {
    let mut world = World::open();
    world.person.may = vec![permission("billing", "read")];
    denied_by(world.ask(&built_in(), "read"), DeniedParty::Person, "built-in/beyond-the-persons-rights");
    let mut world = World::open();
    world.agent.ceiling = vec![permission("billing", "read")];
    denied_by(world.ask(&built_in(), "read"), DeniedParty::Agent, "built-in/beyond-the-agents-ceiling");
}

#[test]
fn several_permissions_on_one_resource_add_up() {
    let mut world = World::open();
    world.person.may =
        vec![permission("crm", "read"), permission("billing", "mail"), permission("crm", "comment")];
    assert_eq!(world.ask(&built_in(), "read comment mail").unwrap().scopes(), &scopes("read comment"));
}

#[test]
fn a_disabled_person_cannot_be_acted_for() {
    let mut world = World::open();
    world.person.disabled = true;
    denied_by(world.ask(&built_in(), "read"), DeniedParty::Person, "built-in/person-is-disabled");
}

#[test]
fn a_suspended_contained_or_retired_agent_cannot_act() {
    for state in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
        let mut world = World::open();
        world.agent.state = state;
        denied_by(world.ask(&built_in(), "read"), DeniedParty::Agent, "built-in/agent-is-not-active");
    }
}

#[test]
fn nothing_configured_is_nothing() {
    let empty = World::new("", "", "");
    denied_by(empty.ask(&built_in(), "read"), DeniedParty::Person, "built-in/beyond-the-persons-rights");
    let mut no_ceiling = World::open();
    no_ceiling.agent.ceiling.clear();
    denied_by(no_ceiling.ask(&built_in(), "read"), DeniedParty::Agent, "built-in/beyond-the-agents-ceiling");
    let mut no_rights = World::open();
    no_rights.person.may.clear();
    denied_by(no_rights.ask(&built_in(), "read"), DeniedParty::Person, "built-in/beyond-the-persons-rights");
}

#[test]
fn no_grant_is_no_permission() {
    let world = World::open();
    let asked = scopes("read");
    let question = Question { grant: None, scopes: &asked, ..world.question() };
    denied_by(built_in().evaluate(&question), DeniedParty::Agent, "built-in/beyond-the-grant");
}

#[test]
fn asking_for_nothing_is_denied() {
    let denial = denial(World::open().ask(&built_in(), ""));
    assert_eq!(denial, Denial { who: DeniedParty::Person, policies: vec![], errors: vec![] });
}

#[test]
fn a_grant_between_others_revoked_or_expired_counts_as_none() {
    let changes: [fn(&mut World); 6] = [
        |w| w.grant.person = "morgan".parse().unwrap(),
        |w| w.grant.agent = "other-agent".parse().unwrap(),
        |w| w.grant.resource = "billing".parse().unwrap(),
        |w| w.grant.revoked = true,
        |w| w.grant.expires = Some(NOW),
        |w| w.grant.expires = Some(Timestamp::from_secs(1)),
    ];
    for change in changes {
        let mut world = World::open();
        change(&mut world);
        denied_by(world.ask(&built_in(), "read"), DeniedParty::Agent, "built-in/beyond-the-grant");
    }
    let mut world = World::open();
    world.grant.expires = Some(Timestamp::from_millis(NOW.millis() + 1));
    assert!(world.ask(&built_in(), "read").is_ok());
}

#[test]
fn without_an_agent_only_the_person_is_asked() {
    let world = World::new("read", "", "");
    let asked = scopes("read close");
    let question = Question { agent: None, grant: None, depth: 0, scopes: &asked, ..world.question() };
    assert_eq!(built_in().evaluate(&question).unwrap().scopes(), &scopes("read"));
    let asked = scopes("close");
    let question = Question { agent: None, grant: None, depth: 0, scopes: &asked, ..world.question() };
    denied_by(built_in().evaluate(&question), DeniedParty::Person, "built-in/beyond-the-persons-rights");
}

#[test]
fn an_extra_forbid_wins_and_is_named() {
    let policies =
        with("forbid (principal, action, resource == Resource::\"crm\") when { context.scope == \"mail\" };");
    denied_by(World::open().ask(&policies, "mail"), DeniedParty::Person, "extra");
    assert_eq!(World::open().ask(&policies, "read mail").unwrap().scopes(), &scopes("read"));
}

#[test]
fn an_extra_forbid_may_be_about_the_agent_alone() {
    let policies =
        with("forbid (principal == Agent::\"support-agent\", action == Action::\"act\", resource);");
    denied_by(World::open().ask(&policies, "read"), DeniedParty::Agent, "extra");
    let mut other = World::open();
    other.agent.name = "other-agent".parse().unwrap();
    other.grant.agent = "other-agent".parse().unwrap();
    assert!(other.ask(&policies, "read").is_ok());
}

#[test]
fn statements_of_a_longer_policy_are_told_apart() {
    let policies = with(
        "forbid (principal, action, resource) when { context.scope == \"read\" };
         @id(\"no-mail\") forbid (principal, action, resource) when { context.scope == \"mail\" };",
    );
    denied_by(World::open().ask(&policies, "read"), DeniedParty::Person, "extra#1");
    denied_by(World::open().ask(&policies, "mail"), DeniedParty::Person, "extra#no-mail");
}

#[test]
fn an_extra_permit_lifts_no_limit() {
    let policies = with("permit (principal, action, resource);");
    denied_by(
        World::new("", "read", "read").ask(&policies, "read"),
        DeniedParty::Person,
        "built-in/beyond-the-persons-rights",
    );
    denied_by(
        World::new("read", "", "read").ask(&policies, "read"),
        DeniedParty::Agent,
        "built-in/beyond-the-agents-ceiling",
    );
    denied_by(
        World::new("read", "read", "").ask(&policies, "read"),
        DeniedParty::Agent,
        "built-in/beyond-the-grant",
    );
    let mut world = World::open();
    world.person.disabled = true;
    denied_by(world.ask(&policies, "read"), DeniedParty::Person, "built-in/person-is-disabled");
    let mut world = World::open();
    world.agent.state = AgentState::Suspended;
    denied_by(world.ask(&policies, "read"), DeniedParty::Agent, "built-in/agent-is-not-active");
}

#[test]
fn a_forbid_that_fails_to_evaluate_is_a_denial_that_names_it() {
    // Valid in strict mode, and overflows when it is evaluated.
    let policies = with(
        "forbid (principal, action == Action::\"act\", resource) when { context.now * 9223372036854775807 > 0 };",
    );
    let denial = denial(World::open().ask(&policies, "read"));
    assert_eq!((denial.who, denial.errors.len()), (DeniedParty::Agent, 1));
    assert_eq!(denial.policies, ["extra"]);
    assert!(denial.errors[0].starts_with("extra: "), "{denial}");
    assert!(denial.errors[0].contains("overflow"), "{denial}");
}

#[test]
fn a_permit_that_fails_to_evaluate_is_a_denial_too() {
    let policies =
        with("permit (principal, action, resource) when { context.now * 9223372036854775807 > 0 };");
    let denial = denial(World::open().ask(&policies, "read"));
    assert_eq!(denial.who, DeniedParty::Person);
    assert!(denial.errors[0].starts_with("extra: "), "{denial}");
}

#[test]
fn a_failure_for_one_scope_denies_all_of_them() {
    let policies = with(
        "forbid (principal, action, resource) when { context.scope == \"read\" && context.now * 9223372036854775807 > 0 };",
    );
    assert!(World::open().ask(&policies, "comment mail").is_ok());
    let denial = denial(World::open().ask(&policies, "comment mail read"));
    assert!(denial.errors[0].starts_with("extra: "), "{denial}");
}

/// Denied exactly when `condition` is true for the question.
fn holds(condition: &str, world: &World, scope: &str) -> bool {
    let source = format!("forbid (principal, action, resource) when {{ {condition} }};");
    world.ask(&with(&source), scope).is_err()
}

#[test]
fn policies_see_what_the_tools_behind_a_scope_do() {
    let world = World::open();
    assert!(holds("context.destructive", &world, "close") && !holds("context.destructive", &world, "mail"));
    assert!(holds("context.egress", &world, "mail") && !holds("context.egress", &world, "close"));
    assert!(!holds("context.untrusted_input", &world, "read"));
}

#[test]
fn policies_see_who_asks_and_when() {
    let world = World::open();
    for condition in [
        "context.client == \"support-app\"",
        "context.depth == 1",
        "context.hour == 22 && context.weekday == 1",
        "context.now == 1795471200",
        "context.scopes == [\"read\"]",
        "context.person == Person::\"riley\" && context.person.subject == \"riley\"",
        "context.person.issuer == \"https://mandate.example\"",
        "context has agent && context.agent.owner == context.person.name",
        "context has agent && context.agent.spiffe_id like \"spiffe://mandate.example/*\"",
        "resource.uri == \"https://crm.example\" && resource.name == \"crm\"",
    ] {
        assert!(holds(condition, &world, "read"), "{condition}");
        assert!(!holds(&format!("!({condition})"), &world, "read"), "{condition}");
    }
}

#[test]
fn the_weekday_turns_at_midnight_utc() {
    let mut world = World::open();
    world.now = NOW.plus(std::time::Duration::from_hours(2));
    assert!(holds("context.hour == 0 && context.weekday == 2", &world, "read"));
    world.now = Timestamp::from_secs(0);
    assert!(holds("context.hour == 0 && context.weekday == 4", &world, "read"), "1970-01-01 was a Thursday");
}

#[test]
fn names_with_quotes_cannot_break_out_of_a_text() {
    let mut world = World::open();
    world.person.id.sub = "x\" || true || \"".to_owned();
    assert!(!holds("context.person.subject == \"x\"", &world, "read"));
    let asked = scopes("read");
    let question =
        Question { client: "\"};permit(principal,action,resource);//", scopes: &asked, ..world.question() };
    let policies = Policies::compile([(
        "c",
        "forbid (principal, action, resource) when { context.client != \"support-app\" };",
    )])
    .unwrap();
    assert!(policies.evaluate(&question).is_err());
}

fn demanded(ruling: &mandate_policy::Ruling) -> Option<&[String]> {
    match ruling {
        mandate_policy::Ruling::NeedsApproval(demand) => Some(demand.by()),
        mandate_policy::Ruling::Permitted(_) => None,
    }
}

#[test]
fn a_permit_can_demand_an_approval_of_the_whole_request_and_widens_nothing() {
    let world = World::new("read close", "read close", "read close");
    let policies =
        with(r#"@approval("required") permit (principal, action, resource) when { context.destructive };"#);
    assert_eq!(demanded(&world.ask(&policies, "read").unwrap()), None);
    let ruling = world.ask(&policies, "read close").unwrap();
    assert_eq!(demanded(&ruling), Some(&["extra".to_owned()][..]));
    assert_eq!(ruling.scopes(), &scopes("read close"), "and nothing is left out");
    assert_eq!(
        demanded(&world.ask(&policies, "read close").unwrap()),
        demanded(&ruling),
        "nor when it is remembered"
    );
    let narrower = World::new("read close", "read", "read close");
    denied_by(narrower.ask(&policies, "close"), DeniedParty::Agent, "built-in/beyond-the-agents-ceiling");
    assert_eq!(
        demanded(&narrower.ask(&policies, "read close").unwrap()),
        None,
        "what is denied needs no approval"
    );
}

#[test]
fn a_forbid_wins_over_a_demand() {
    let source = r#"@approval("required") permit (principal, action, resource); forbid (principal is Agent, action, resource);"#;
    denied_by(World::open().ask(&with(source), "read"), DeniedParty::Agent, "extra#2");
}

#[test]
fn a_policy_about_another_action_decides_nothing_about_a_token() {
    let world = World::open();
    for action in ["call", "administer", "approve", "release"] {
        let policies = with(&format!("forbid (principal, action == Action::\"{action}\", resource);"));
        let ruling = world.ask(&policies, "read").unwrap();
        assert_eq!(
            **ruling.policies(),
            ["built-in/agent-has-ceiling-and-grant", "built-in/person-has-the-right"]
        );
    }
}
