//! A code that a person gave for an agent.

use proptest::prelude::*;

use super::*;
use crate::credential::{LoggedInPerson, LoginClient};
use crate::decide::{Authorization, DelegatedLogin, NotRequestable, has_grant_for, requestable};

const AGENT: &str = "spiffe://acme.example/agent/support-agent";

/// The story, where `support-app` presents `support-agent`.
fn presenting() -> Case {
    let mut case = Case::new();
    case.by_app(&["support-agent"]);
    case
}

fn app() -> ProvenClient {
    ProvenClient::assertion(Arc::new(support_app(&["support-agent"])), NOW)
}

fn riley(at: Timestamp) -> LoggedInPerson {
    LoggedInPerson::assertion("riley".parse().unwrap(), at)
}

fn login(asked: Option<&str>) -> DelegatedLogin {
    DelegatedLogin {
        client: app(),
        person: riley(NOW),
        actor: VerifiedActor::for_test_at(AGENT, NOW, NOW.plus(Duration::from_hours(1))),
        requested: AGENT.parse().unwrap(),
        resource: CRM.parse().unwrap(),
        scopes: asked.map(scopes),
        jti: "t1".parse().unwrap(),
    }
}

fn decided(case: &Case, login: DelegatedLogin) -> Result<MandateView, R> {
    case.facts(|facts| decide(DecisionRequest::DelegatedLogin(login), facts, NOW))
        .map(|mandate| mandate.view().clone())
        .map_err(reason)
}

/// The same in two requests: a login for a token that is addressed to us, and its exchange.
fn in_two_steps(case: &Case, asked: Option<&str>) -> Result<MandateView, R> {
    let own = DecisionRequest::Authorization(Authorization {
        client: LoginClient::App(app()),
        person: riley(NOW),
        resource: None,
        scopes: asked.map(scopes),
        jti: "t0".parse().unwrap(),
        continued: None,
    });
    let own = case.facts(|facts| decide(own, facts, NOW)).map_err(reason)?;
    let terms = Terms::clone(&own.view().terms);
    let exchange = DecisionRequest::Exchange(Exchange {
        client: AuthenticatedClient::App(app()),
        subject: VerifiedSubject {
            origin: SubjectOrigin::Own,
            terms,
            may_act: None,
            mapped: MappedClaims::default(),
            said_actors: None,
        },
        actor: Some(verified("support-agent")),
        resource: CRM.parse().unwrap(),
        scopes: None,
        jti: "t1".parse().unwrap(),
    });
    case.facts(|facts| decide(exchange, facts, NOW)).map(|m| m.view().clone()).map_err(reason)
}

#[test]
fn the_agent_that_the_person_let_act_gets_a_mandate_for_that_resource() {
    let view = decided(&presenting(), login(Some("read:cases"))).unwrap();
    let terms = &view.terms;
    assert_eq!(terms.subject.as_ref().unwrap().sub, "riley", "the person stays sub");
    assert_eq!((terms.chain.depth(), terms.chain.outermost().unwrap().sub.as_str()), (1, AGENT));
    assert_eq!((terms.audience.sole(), &terms.scopes), (Some(CRM), &scopes("read:cases")));
    assert_eq!(terms.client.as_str(), "support-app");
    assert_eq!(terms.lineage.grants, vec!["g1".parse().unwrap()]);
    let of_a_token = (terms.lineage.parents.len(), terms.lineage.clients.len());
    assert_eq!(of_a_token, (0, 0), "there was no token of the login");
    assert_eq!((terms.auth_time, terms.amr.as_slice()), (Some(NOW), ["pwd".to_owned()].as_slice()));
}

#[test]
fn no_other_agent_gets_it_and_none_that_the_client_may_not_present() {
    let other = DelegatedLogin { actor: verified("triage"), ..login(None) };
    assert_eq!(decided(&presenting(), other), Err(R::ActorNotRequested));
    let requested = DelegatedLogin { requested: act("triage").sub.parse().unwrap(), ..login(None) };
    assert_eq!(decided(&presenting(), requested), Err(R::ActorNotRequested));
    let mut case = presenting();
    case.registry.put(Entry::Client(support_app(&["triage"])));
    assert_eq!(decided(&case, login(None)), Err(R::ClientMayNotPresent));
}

#[test]
fn each_party_is_checked_as_it_is_now() {
    let refused = |why: R, vary: &dyn Fn(&mut Case)| {
        let mut case = presenting();
        vary(&mut case);
        assert_eq!(decided(&case, login(None)), Err(why));
    };
    let later = NOW.plus(Duration::from_millis(1));
    let cut = |case: &mut Case, target| {
        case.revocations.insert(Cut { target, at: later, forget: later.plus(Duration::from_hours(1)) });
    };
    refused(R::PersonDisabled, &|c| c.person(|p| p.disabled = true));
    refused(R::SubjectRevoked, &|c| {
        let id = c.registry.person(&"riley".parse().unwrap()).unwrap().id.clone();
        cut(c, CutTarget::Person(id));
    });
    refused(R::SubjectRevoked, &|c| cut(c, CutTarget::Client("support-app".parse().unwrap())));
    refused(R::ProofOutdated, &|c| cut(c, CutTarget::Agent(AGENT.into())));
    refused(R::AgentNotActive, &|c| c.agent("support-agent", |a| a.state = AgentState::Suspended));
    refused(R::NoGrant, &|c| c.grant(|g| g.agent = "triage".parse().unwrap()));
    refused(R::GrantRevoked, &|c| c.grant(|g| g.revoked = true));
    refused(R::ScopeBeyondGrant, &|c| c.grant(|g| g.scopes = scopes("send:mail")));
    refused(R::ScopeBeyondCeiling, &|c| {
        c.agent("support-agent", |a| a.ceiling[0].scopes = scopes("send:mail"));
    });
    refused(R::ScopeBeyondPerson, &|c| c.person(|p| p.may.clear()));
    refused(R::PolicyDeniesAgent, &|c| {
        c.extra_policy = Some("forbid (principal is Agent, action, resource);");
    });
    refused(R::PolicyDeniesPerson, &|c| {
        c.extra_policy = Some("forbid (principal is Person, action, resource);");
    });
    let at = |resource: &str| DelegatedLogin { resource: resource.parse().unwrap(), ..login(None) };
    assert_eq!(decided(&presenting(), at("https://unknown.example")), Err(R::ResourceUnknown));
    assert_eq!(decided(&presenting(), at(ISSUER)), Err(R::ResourceNotDelegable), "our own administration");
    let expired = VerifiedActor::for_test_at(AGENT, NOW, NOW);
    let login = DelegatedLogin { actor: expired, ..login(None) };
    assert_eq!(decided(&presenting(), login), Err(R::ProofOutdated));
}

#[test]
fn a_client_asks_only_for_active_agents_of_its_own() {
    let case = presenting();
    let asks = |agents: &[&str], agent: &str| {
        let agent = format!("spiffe://acme.example/agent/{agent}").parse().unwrap();
        requestable(&support_app(agents), &agent, &case.registry).map(|name| name.as_str().to_owned())
    };
    assert_eq!(asks(&["support-agent"], "support-agent"), Ok("support-agent".to_owned()));
    assert_eq!(asks(&["support-agent"], "triage"), Err(NotRequestable::Client));
    assert_eq!(asks(&[], "support-agent"), Err(NotRequestable::Client));
    assert_eq!(asks(&["nobody"], "nobody"), Err(NotRequestable::Agent));
    let mut stopped = presenting();
    stopped.agent("support-agent", |agent| agent.state = AgentState::Contained);
    let agent = AGENT.parse().unwrap();
    assert_eq!(
        requestable(&support_app(&["support-agent"]), &agent, &stopped.registry),
        Err(NotRequestable::Agent)
    );
}

#[test]
fn without_a_grant_nobody_is_given_a_code() {
    let asked = |case: &Case| {
        let (agent, crm) = (AGENT.parse().unwrap(), CRM.parse().unwrap());
        let (riley, app) = (riley(NOW), "support-app".parse().unwrap());
        let found = case.facts(|facts| has_grant_for((&riley, &app), &agent, (&crm, None), facts, NOW));
        found.map_err(|refused| refused.reason)
    };
    assert_eq!(asked(&presenting()), Ok(()));
    let refused = |why: R, vary: &dyn Fn(&mut Case)| {
        let mut case = presenting();
        vary(&mut case);
        assert_eq!(asked(&case), Err(why));
    };
    refused(R::NoGrant, &|c| c.grant(|g| g.agent = "triage".parse().unwrap()));
    refused(R::GrantRevoked, &|c| c.grant(|g| g.revoked = true));
    refused(R::AgentNotActive, &|c| c.agent("support-agent", |a| a.state = AgentState::Retired));
    refused(R::PersonDisabled, &|c| c.person(|p| p.disabled = true));
    refused(R::PartiesApart, &two_tenants);
}

/// Riley and the agent are of two tenants.
fn two_tenants(case: &mut Case) {
    case.person(|person| person.tenant = Some("acme".parse().unwrap()));
    case.agent("support-agent", |agent| agent.tenant = Some("umbrella".parse().unwrap()));
}

#[test]
fn parties_of_two_tenants_are_told_as_such_and_not_as_missing_rights() {
    let mut case = presenting();
    two_tenants(&mut case);
    assert_eq!(decided(&case, login(None)), Err(R::PartiesApart));
    let mut case = presenting();
    case.person(|person| person.tenant = Some("acme".parse().unwrap()));
    let crm = resource("crm", CRM, "read:cases", None);
    case.registry.put(Entry::Resource(Resource { tenant: Some("umbrella".parse().unwrap()), ..crm }));
    assert_eq!(decided(&case, login(None)), Err(R::PartiesApart));
}

const WORDS: [&str; 4] = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"];

fn words() -> impl Strategy<Value = String> {
    proptest::sample::subsequence(WORDS.to_vec(), 1..=4).prop_map(|list| list.join(" "))
}

proptest! {
    /// One request gives what two give, and nothing that two refuse.
    #[test]
    fn a_code_for_an_agent_gives_what_a_login_and_its_exchange_give(
        asked in words(), may in words(), ceiling in words(), granted in words(),
        listed in proptest::option::of(words()), limit in proptest::option::of(1u64..900),
        forbidden in proptest::option::of(proptest::sample::select(&WORDS[..])),
    ) {
        let mut case = presenting();
        case.person(|p| p.may[0].scopes = scopes(&may));
        case.agent("support-agent", |a| a.ceiling[0].scopes = scopes(&ceiling));
        case.grant(|g| g.scopes = scopes(&granted));
        if let Some(limit) = limit {
            case.grant(|g| g.constraints = within(limit));
        }
        case.extra_policy = forbidden.map(|scope| match scope {
            "read:cases" => r#"forbid (principal, action, resource) when { context.scope == "read:cases" };"#,
            "send:mail" => r#"forbid (principal, action, resource) when { context.scope == "send:mail" };"#,
            _ => r#"forbid (principal is Agent, action, resource) when { context.scope like "write:*" };"#,
        });
        let app = Client { scopes: listed.as_deref().map(scopes), ..support_app(&["support-agent"]) };
        case.registry.put(Entry::Client(app));
        let (one, two) = (decided(&case, login(Some(&asked))), in_two_steps(&case, Some(&asked)));
        match (&one, &two) {
            (Ok(one), Ok(two)) => {
                let same = |view: &MandateView| Terms { lineage: Lineage::default(), ..Terms::clone(&view.terms) };
                prop_assert_eq!(same(one), same(two));
                prop_assert_eq!(&one.terms.lineage.grants, &two.terms.lineage.grants);
            }
            (Err(_), Err(_)) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
