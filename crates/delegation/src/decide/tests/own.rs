//! An agent's own token: within its entry's `may` and its ceiling, for nobody.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::decide::OwnBehalf;
use crate::liveness::{Asker, Dead, living};

const AGENT: &str = "spiffe://acme.example/agent/support-agent";

/// The story's registry, in which `support-agent` may read cases by itself.
fn alone() -> Case {
    let mut case = Case::new();
    case.agent("support-agent", |a| a.may = vec![allow("crm", "read:cases")]);
    case.scopes = None;
    case
}

impl Case {
    fn asks_alone(&self) -> Result<MandateView, Withheld> {
        let AuthenticatedClient::Agent(agent) = self.client.clone() else { panic!("an agent") };
        let request = DecisionRequest::OwnBehalf(OwnBehalf {
            agent,
            resource: self.resource.parse().unwrap(),
            scopes: self.scopes.clone(),
            jti: "t1".parse().unwrap(),
        });
        self.facts(|facts| decide(request, facts, self.now)).map(|mandate| mandate.view().clone())
    }
}

fn given(vary: impl FnOnce(&mut Case)) -> MandateView {
    let mut case = alone();
    vary(&mut case);
    case.asks_alone().unwrap()
}

fn refused(why: R, vary: impl FnOnce(&mut Case)) {
    let mut case = alone();
    vary(&mut case);
    assert_eq!(case.asks_alone().map_err(reason), Err(why));
}

#[test]
fn it_is_for_nobody_by_the_agent_and_descends_from_nothing() {
    let view = given(|_| {});
    let terms = &view.terms;
    assert_eq!(terms.subject, None);
    let actors: Vec<_> = terms.chain.iter().map(|actor| actor.sub.as_str()).collect();
    assert_eq!(actors, [AGENT]);
    assert_eq!((terms.client.as_str(), terms.audience.sole()), (AGENT, Some(CRM)));
    assert_eq!(terms.scopes, scopes("read:cases"));
    assert_eq!(terms.expires, NOW.plus(Duration::from_secs(300)), "as a mandate");
    assert!(terms.lineage.is_empty() && terms.auth_time.is_none() && terms.amr.is_empty());
    assert_eq!(*view.policies, ["built-in/agent-may-by-itself"]);
    assert!(view.reservations.is_empty(), "no grant is used");
}

#[test]
fn an_agent_may_do_nothing_by_itself_unless_its_entry_says_so() {
    refused(R::NotOnOwnBehalf, |c| c.agent("support-agent", |a| a.may.clear()));
    refused(R::ScopeBeyondOwn, |c| {
        c.agent("support-agent", |a| a.may = vec![allow("helpdesk", "read:cases")]);
    });
    refused(R::ScopeBeyondOwn, |c| c.scopes = Some(scopes("write:case_comments")));
}

#[test]
fn the_ceiling_bounds_it_and_neither_grants_nor_rights_of_people_widen_it() {
    let wide = |c: &mut Case| {
        c.agent("support-agent", |a| a.may = vec![allow("crm", "read:cases send:mail write:opportunities")]);
    };
    assert_eq!(given(wide).terms.scopes, scopes("read:cases"), "the rest is beyond the ceiling");
    refused(R::ScopeBeyondCeiling, |c| {
        wide(c);
        c.scopes = Some(scopes("write:opportunities"));
    });
    let apart = |c: &mut Case| {
        c.agent("support-agent", |a| {
            a.may = vec![allow("crm", "read:cases")];
            a.ceiling = vec![allow("crm", "write:case_comments")];
        });
    };
    refused(R::NothingInCommon, apart);
    refused(R::ScopeBeyondCeiling, |c| {
        apart(c);
        c.scopes = Some(scopes("read:cases"));
    });
}

#[test]
fn only_a_registered_active_agent_whose_proof_stands_gets_it() {
    refused(R::ActorUnknown, |c| c.client = AuthenticatedClient::Agent(verified("ghost")));
    for state in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
        refused(R::AgentNotActive, |c| c.agent("support-agent", |a| a.state = state));
    }
    refused(R::ProofOutdated, |c| {
        let later = NOW.plus(Duration::from_secs(1));
        let target = CutTarget::Agent(AGENT.to_owned());
        c.client = AuthenticatedClient::Agent(VerifiedActor::for_test_at(AGENT, NOW, later));
        c.revocations.insert(Cut { target, at: later, forget: NOW.plus(Duration::from_secs(3600)) });
    });
    refused(R::ProofOutdated, |c| {
        c.client = AuthenticatedClient::Agent(VerifiedActor::for_test_at(AGENT, NOW, NOW));
    });
    refused(R::NotOnOwnBehalf, |c| c.agent("support-agent", |a| a.owner = "nobody".parse().unwrap()));
}

#[test]
fn nobody_acts_for_themselves_while_the_one_who_is_responsible_is_disabled() {
    refused(R::OwnerDisabled, |c| c.person(|person| person.disabled = true));
    let mut case = alone();
    let terms = case.asks_alone().unwrap().terms;
    let state = |case: &Case| {
        let (registry, cuts) = (&case.registry, &case.revocations);
        living(&terms, &ISSUER.parse().unwrap(), Asker::Resource, registry, cuts, NOW).map(drop)
    };
    assert_eq!(state(&case), Ok(()));
    case.person(|person| person.disabled = true);
    assert_eq!(state(&case), Err(Dead::OwnerDisabled), "nor does what was given before count");
}

#[test]
fn the_resource_is_registered_and_never_our_administration() {
    refused(R::ResourceUnknown, |c| c.resource = "https://elsewhere.example".into());
    let administration = |c: &mut Case| {
        c.agent("support-agent", |a| {
            a.may.push(allow("mandate", "mandate:admin"));
            a.ceiling.push(allow("mandate", "mandate:admin"));
        });
    };
    refused(R::ResourceNotDelegable, |c| {
        administration(c);
        c.resource = ISSUER.into();
    });
    refused(R::ScopeUnknown, |c| {
        administration(c);
        c.scopes = Some(scopes("mandate:admin"));
    });
    refused(R::ScopeUnknown, |c| c.scopes = Some(scopes("read:cases read:everything")));
}

#[test]
fn its_lifetime_is_that_of_a_mandate_within_both_limits() {
    let limited = |may: Option<u64>, ceiling: Option<u64>| {
        let limit = |secs: Option<u64>| secs.map_or_else(Constraints::default, within);
        let view = given(|c| {
            c.agent("support-agent", |a| {
                a.may[0].constraints = limit(may);
                a.ceiling[0].constraints = limit(ceiling);
            });
        });
        view.terms.expires.since(NOW).as_secs()
    };
    assert_eq!(limited(None, None), 300);
    assert_eq!(limited(Some(600), None), 600);
    assert_eq!(limited(None, Some(60)), 60);
    assert_eq!(limited(Some(600), Some(60)), 60);
    assert_eq!(limited(Some(100_000), None), 900);
    refused(R::NoLifetime, |c| c.agent("support-agent", |a| a.may[0].constraints = within(0)));
}

#[test]
fn a_policy_can_forbid_it_and_cannot_permit_more() {
    let forbid = r#"forbid (principal is Agent, action == Action::"act_alone", resource);"#;
    refused(R::PolicyDeniesAgent, |c| c.extra_policy = Some(forbid));
    refused(R::PolicyDeniesAgent, |c| {
        c.extra_policy = Some("forbid (principal is Agent, action, resource);");
    });
    let of_mandates = r#"forbid (principal is Agent, action == Action::"act", resource);"#;
    given(|c| c.extra_policy = Some(of_mandates));
    refused(R::ScopeBeyondOwn, |c| {
        c.extra_policy = Some("permit (principal, action, resource);");
        c.scopes = Some(scopes("write:case_comments"));
    });
    // The only person that there is to ask about is the owner.
    refused(R::PolicyDeniesAgent, |c| {
        c.extra_policy =
            Some(r#"forbid (principal, action, resource) when { context.person == Person::"riley" };"#);
    });
}

#[test]
fn a_policy_can_demand_an_approval_which_no_persons_approval_can_be_mistaken_for() {
    let demand = r#"@approval("required") permit (principal is Agent, action in [Action::"act", Action::"act_alone"], resource);"#;
    let mut case = alone();
    case.extra_policy = Some(demand);
    let Err(Withheld::NeedsApproval(own)) = case.asks_alone() else { panic!("it needs an approval") };
    let Err(Withheld::NeedsApproval(for_riley)) = case.decided() else { panic!("it needs an approval") };
    assert_ne!(own.request(), for_riley.request());
}

#[test]
fn an_agents_own_token_is_no_subject_token() {
    let own = given(|_| {});
    let subject = |c: &mut Case| {
        c.agent("support-agent", |a| a.may = vec![allow("crm", "read:cases")]);
        c.subject.terms = Terms { audience: Audience::one(ISSUER.into()), ..Terms::clone(&own.terms) };
        c.scopes = Some(scopes("read:cases"));
    };
    refuses(R::SubjectIsAgent, subject);
    refuses(R::SubjectIsAgent, |c| {
        subject(c);
        c.by_app(&["triage"]);
        c.actor = Some(verified("triage"));
    });
    // What it says of itself comes first: it does not count at all.
    refuses(R::ChainActorNotActive, |c| {
        subject(c);
        c.agent("support-agent", |a| a.state = AgentState::Suspended);
    });
    refuses(R::SubjectRevoked, |c| {
        subject(c);
        c.cut(CutTarget::Agent(AGENT.to_owned()));
    });
}

const WORDS: [&str; 4] = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"];

fn words() -> impl Strategy<Value = BTreeSet<&'static str>> {
    proptest::sample::subsequence(WORDS.to_vec(), 0..=4).prop_map(|list| list.into_iter().collect())
}

fn set(words: &BTreeSet<&'static str>) -> ScopeSet {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn an_agents_own_token_is_the_intersection_of_all_that_it_rests_on_and_never_more(
        may in words(), ceiling in words(), asked in proptest::option::of(words()),
        limits in (proptest::option::of(1u64..5000), proptest::option::of(1u64..5000)),
        forbidden in proptest::option::of(Just("send:mail")),
        open in any::<bool>(),
    ) {
        let mut case = alone();
        let on = |words: &BTreeSet<&'static str>, limit: Option<u64>| Permission {
            constraints: limit.map_or_else(Constraints::default, within),
            ..Permission { resource: "crm".parse().unwrap(), scopes: set(words), constraints: Constraints::default() }
        };
        case.agent("support-agent", |a| {
            a.may = vec![on(&may, limits.0)];
            a.ceiling = vec![on(&ceiling, limits.1)];
        });
        case.scopes = asked.as_ref().map(set);
        case.extra_policy = match (forbidden, open) {
            (Some(_), _) => Some(r#"forbid (principal, action, resource) when { context.scope == "send:mail" };"#),
            (None, true) => Some("permit (principal, action, resource);"),
            (None, false) => None,
        };
        let mut all = &may & &ceiling;
        if let Some(asked) = &asked {
            all = &all & asked;
        }
        all.retain(|word| forbidden != Some(*word));
        match case.asks_alone() {
            Ok(view) => {
                prop_assert_eq!(&view.terms.scopes, &set(&all));
                let given = [limits.0, limits.1].into_iter().flatten().min().unwrap_or(300).min(900);
                prop_assert_eq!(view.terms.expires, NOW.plus(Duration::from_secs(given)));
                prop_assert_eq!(&view.terms.subject, &None);
                prop_assert_eq!(view.terms.chain.depth(), 1);
            }
            Err(_) => prop_assert!(all.is_empty(), "{:?} could have been given", all),
        }
    }
}
