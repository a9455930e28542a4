//! A token that is active at introspection is one that can be exchanged, and no other.

use std::cell::Cell;

use mandate_core::registry::EntryKind;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::liveness::{Asker, Dead, living};

const CASES: u32 = 768;

/// A change of the case, and whether it ends the subject token.
type Change = (&'static str, bool, fn(&mut Case));

fn earlier(c: &mut Case, target: CutTarget) {
    c.revocations.insert(Cut {
        target,
        at: NOW.minus(Duration::from_secs(200)),
        forget: NOW.plus(Duration::from_secs(3600)),
    });
}

fn state(c: &mut Case, state: AgentState) {
    if c.registry.agent(&"triage".parse().unwrap()).is_some() {
        c.agent("triage", |a| a.state = state);
    }
}

fn inherited(c: &mut Case, change: impl FnOnce(&mut Grant)) {
    if let Some(grant) = c.registry.grant(&"g7".parse().unwrap()) {
        let mut grant = Grant::clone(grant);
        change(&mut grant);
        c.registry.put(Entry::Grant(grant));
    }
}

fn remove(c: &mut Case, kind: EntryKind, key: &str) {
    c.registry.remove(kind, key);
}

fn riley(c: &Case) -> CutTarget {
    CutTarget::Person(c.subject.terms.subject.clone().unwrap())
}

const CHANGES: &[Change] = &[
    ("it has expired", true, |c| c.subject.terms.expires = NOW),
    ("it is cut", true, |c| c.cut(CutTarget::Token("t0".parse().unwrap()))),
    ("its ancestor is cut", true, |c| c.cut(CutTarget::Token("root".parse().unwrap()))),
    ("its grant is cut", true, |c| c.cut(CutTarget::Grant("g7".parse().unwrap()))),
    ("its agent is cut", true, |c| c.cut(CutTarget::Agent(act("triage").sub))),
    ("its person is cut", true, |c| c.cut(riley(c))),
    ("its client is cut", true, |c| c.cut(CutTarget::Client("support-app".parse().unwrap()))),
    ("its first client is cut", true, |c| c.cut(CutTarget::Client("portal".parse().unwrap()))),
    ("its person is disabled", true, |c| {
        if c.registry.person(&"riley".parse().unwrap()).is_some() {
            c.person(|p| p.disabled = true);
        }
    }),
    ("its person is removed", true, |c| remove(c, EntryKind::Person, "riley")),
    ("its agent is suspended", true, |c| state(c, AgentState::Suspended)),
    ("its agent is contained", true, |c| state(c, AgentState::Contained)),
    ("its agent is retired", true, |c| state(c, AgentState::Retired)),
    ("its agent is removed", true, |c| remove(c, EntryKind::Agent, "triage")),
    ("its grant is revoked", true, |c| inherited(c, |g| g.revoked = true)),
    ("its grant has expired", true, |c| inherited(c, |g| g.expires = Some(NOW))),
    ("its grant is removed", true, |c| remove(c, EntryKind::Grant, "g7")),
    ("its client is removed", true, |c| remove(c, EntryKind::Client, "support-app")),
    ("its first client is removed", true, |c| remove(c, EntryKind::Client, "portal")),
    ("its grant ends later", false, |c| {
        inherited(c, |g| g.expires = g.expires.or(Some(NOW.plus(Duration::from_secs(1)))));
    }),
    ("its grant has no uses left", false, |c| inherited(c, |g| g.max_uses = Some(0))),
    ("its agent was cut before", false, |c| earlier(c, CutTarget::Agent(act("triage").sub))),
    ("its grant was cut before", false, |c| earlier(c, CutTarget::Grant("g7".parse().unwrap()))),
    ("its person was cut before", false, |c| earlier(c, riley(c))),
    ("its client was cut before", false, |c| earlier(c, CutTarget::Client("support-app".parse().unwrap()))),
    ("another token is cut", false, |c| c.cut(CutTarget::Token("t9".parse().unwrap()))),
    ("another agent is suspended", false, |c| c.agent("fourth", |a| a.state = AgentState::Suspended)),
    ("an actor of another issuer has the name of an agent that is cut", false, |c| {
        c.cut(CutTarget::Agent("batch".into()));
    }),
];

/// A token of the second hop, with a history of every kind.
fn token_with_a_history() -> Case {
    let mut case = Case::new();
    let abroad = Actor { sub: "batch".into(), iss: LOGIN.parse().unwrap(), sub_profile: None };
    case.subject.terms.chain = ActorChain::new(vec![act("triage"), abroad]).unwrap();
    case.subject.terms.lineage = Lineage {
        parents: vec!["root".parse().unwrap()],
        grants: vec!["g7".parse().unwrap()],
        clients: vec!["portal".parse().unwrap()],
    };
    case.registry.put(Entry::Grant(grant("g7", "triage", "crm", "read:cases")));
    case.registry.put(Entry::Client(Client { id: "portal".parse().unwrap(), ..support_app(&[]) }));
    case
}

fn asked(case: &Case, asker: Asker) -> Result<(), Dead> {
    let issuer = ISSUER.parse().unwrap();
    living(&case.subject.terms, &issuer, asker, &case.registry, &case.revocations, case.now).map(|_| ())
}

fn all_agree(changes: &[Change], key_bound: bool, living: &Cell<u32>) -> Result<(), TestCaseError> {
    let mut case = token_with_a_history();
    for (_, _, change) in changes {
        change(&mut case);
    }
    case.subject.terms.cnf = key_bound.then_some(Confirmation::Unknown);
    let names: Vec<_> = changes.iter().map(|(name, ..)| name).collect();

    let active = asked(&case, Asker::Resource).is_ok();
    prop_assert_eq!(active, !changes.iter().any(|(_, ends, _)| *ends), "{:?}", names);
    living.set(living.get() + u32::from(active));
    let shown = asked(&case, Asker::Ourselves);
    prop_assert_eq!(shown.is_ok(), active && !key_bound, "{:?}", names);
    let decided = case.run().map(|_| ());
    prop_assert_eq!(decided, shown.map_err(R::from), "{:?}", names);
    if active && key_bound {
        prop_assert_eq!(shown, Err(Dead::KeyNotProven));
    }
    Ok(())
}

#[test]
fn what_introspection_calls_active_is_exchanged_and_what_it_does_not_is_refused() {
    let living = Cell::new(0);
    let changes = proptest::sample::subsequence(CHANGES, 0..=4);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    runner.run(&(changes, any::<bool>()), |(changes, bound)| all_agree(&changes, bound, &living)).unwrap();
    assert!((CASES / 8..CASES * 7 / 8).contains(&living.get()), "{} of {CASES} were living", living.get());
}

#[test]
fn each_row_of_the_rule_ends_a_token_alone() {
    for change in CHANGES {
        all_agree(&[*change], false, &Cell::new(0)).unwrap();
    }
}

#[test]
fn an_agent_is_a_client_only_while_it_is_active() {
    let by_third = |c: &mut Case| c.subject.terms.client = act("third").sub.parse().unwrap();
    permits(by_third);
    refuses(R::SubjectRevoked, |c| {
        by_third(c);
        c.agent("third", |a| a.state = AgentState::Suspended);
    });
}

#[test]
fn names_in_a_token_of_another_issuer_are_not_ours() {
    permits(|c| {
        c.foreign(SubjectScope::IdentityOnly);
        c.subject.terms.client = "nobody-here".parse().unwrap();
        c.subject.terms.lineage.grants = Vec::new();
    });
}
