//! What `decide` permits, each reason for which it refuses, and its invariants as properties.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::constraint::Constraints;
use mandate_core::registry::{
    Agent, AgentState, Client, ClientAuthentication, Entry, Grant, Permission, Person, Registry, Resource, SubjectScope, TrustedIssuer,
};
use mandate_core::{Actor, ActorChain, Cut, CutTarget, Issuer, Lifetime, Lineage, RevocationSet, ScopeSet, SpiffeId, Timestamp};
use mandate_policy::Policies;
use mandate_token::access_token::MayAct;
use proptest::prelude::*;

use super::{Authorization, Exchange, Facts, MAX_LINEAGE, Request, decide};
use crate::credential::{AuthenticatedClient, LoggedInPerson, SubjectOrigin, VerifiedActor, VerifiedSubject};
use crate::mandate::MandateView;
use crate::refusal::RefusalReason as R;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ISSUER: &str = "http://127.0.0.1:8420";
const CRM: &str = "http://127.0.0.1:9100";
const HELPDESK: &str = "http://127.0.0.1:9101";

fn scopes(text: &str) -> ScopeSet {
    if text.is_empty() { ScopeSet::new() } else { text.parse().unwrap() }
}

fn allow(resource: &str, text: &str) -> Permission {
    Permission { resource: resource.parse().unwrap(), scopes: scopes(text), constraints: Constraints::default() }
}

fn agent(name: &str) -> Agent {
    Agent {
        name: name.parse().unwrap(),
        owner: "riley".parse().unwrap(),
        purpose: "Works on support cases".into(),
        spiffe_id: format!("spiffe://acme.example/agent/{name}").parse().unwrap(),
        selectors: vec!["unix:uid:1000".into()],
        ceiling: vec![allow("crm", "read:cases write:case_comments"), allow("helpdesk", "read:cases")],
        chain_depth: 3,
        state: AgentState::Active,
    }
}

fn grant(id: &str, agent: &str, resource: &str, text: &str) -> Grant {
    Grant {
        id: id.parse().unwrap(),
        person: "riley".parse().unwrap(),
        agent: agent.parse().unwrap(),
        resource: resource.parse().unwrap(),
        scopes: scopes(text),
        constraints: Constraints::default(),
        expires: None,
        max_uses: None,
        revoked: false,
    }
}

fn resource(name: &str, uri: &str, text: &str, server: Option<&str>) -> Resource {
    Resource {
        name: name.parse().unwrap(),
        uri: uri.parse().unwrap(),
        scopes: scopes(text),
        tools: Vec::new(),
        agent: server.map(|name| name.parse().unwrap()),
        client: None,
    }
}

/// The story's registry, one exchange that is permitted, and everything that may be varied.
struct Case {
    registry: Registry,
    extra_policy: Option<&'static str>,
    revocations: RevocationSet,
    uses: u64,
    client: AuthenticatedClient,
    subject: VerifiedSubject,
    actor: Option<VerifiedActor>,
    resource: String,
    scopes: Option<ScopeSet>,
    now: Timestamp,
}

fn verified(name: &str) -> VerifiedActor {
    // A verified SVID is the only way in from outside; inside the crate the field is written directly.
    VerifiedActor::for_test(&format!("spiffe://acme.example/agent/{name}"))
}

fn app(agents: &[&str]) -> AuthenticatedClient {
    AuthenticatedClient::assertion(Arc::new(support_app(agents)))
}

fn support_app(agents: &[&str]) -> Client {
    Client {
        id: "support-app".parse().unwrap(),
        redirect_uris: vec!["http://127.0.0.1:9200/callback".into()],
        authentication: ClientAuthentication::ClientSecretBasic,
        agents: agents.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

fn act(name: &str) -> Actor {
    Actor { sub: format!("spiffe://acme.example/agent/{name}"), iss: ISSUER.parse().unwrap(), sub_profile: None }
}

impl Case {
    fn new() -> Self {
        let issuer: Issuer = ISSUER.parse().unwrap();
        let riley = Person {
            name: "riley".parse().unwrap(),
            id: mandate_core::Person { iss: issuer.clone(), sub: "riley".into() },
            may: vec![
                allow("crm", "read:cases write:case_comments write:opportunities"),
                allow("helpdesk", "read:cases"),
                allow("mandate", "mandate:admin"),
            ],
            disabled: false,
        };
        let registry = Registry::from_entries([
            Entry::Resource(resource("crm", CRM, "read:cases write:case_comments write:opportunities send:mail", None)),
            Entry::Resource(resource("helpdesk", HELPDESK, "read:cases", Some("support-agent"))),
            Entry::Resource(resource("mandate", ISSUER, "mandate:admin", None)),
            Entry::Person(riley.clone()),
            Entry::Agent(agent("support-agent")),
            Entry::Agent(agent("triage")),
            Entry::Agent(agent("third")),
            Entry::Agent(agent("fourth")),
            Entry::Grant(grant("g1", "support-agent", "crm", "read:cases write:case_comments")),
        ]);
        let subject = VerifiedSubject {
            origin: SubjectOrigin::Own,
            person: riley.id,
            issuer: issuer.clone(),
            audiences: vec![ISSUER.into()],
            client: "support-app".parse().unwrap(),
            jti: "t0".parse().unwrap(),
            issued: NOW.minus(Duration::from_secs(60)),
            expires: NOW.plus(Duration::from_secs(3540)),
            scopes: scopes("read:cases write:case_comments write:opportunities"),
            chain: ActorChain::empty(),
            may_act: None,
            lineage: Lineage::default(),
            auth_time: Some(NOW.minus(Duration::from_secs(60))),
            acr: None,
            amr: vec!["pwd".into()],
            key_bound: false,
        };
        Self {
            registry,
            extra_policy: None,
            revocations: RevocationSet::new(),
            uses: 0,
            client: AuthenticatedClient::Agent(verified("support-agent")),
            subject,
            actor: Some(verified("support-agent")),
            resource: CRM.into(),
            scopes: Some(scopes("read:cases write:case_comments")),
            now: NOW,
        }
    }

    fn agent(&mut self, name: &str, change: impl FnOnce(&mut Agent)) {
        let mut agent = Agent::clone(self.registry.agent(&name.parse().unwrap()).unwrap());
        change(&mut agent);
        self.registry.put(Entry::Agent(agent));
    }

    fn grant(&mut self, change: impl FnOnce(&mut Grant)) {
        let mut grant = Grant::clone(self.registry.grant(&"g1".parse().unwrap()).unwrap());
        change(&mut grant);
        self.registry.put(Entry::Grant(grant));
    }

    fn person(&mut self, change: impl FnOnce(&mut Person)) {
        let mut person = Person::clone(self.registry.person(&"riley".parse().unwrap()).unwrap());
        change(&mut person);
        self.registry.put(Entry::Person(person));
    }

    fn cut(&mut self, target: CutTarget) {
        self.revocations.insert(Cut { target, at: NOW, forget: NOW.plus(Duration::from_secs(3600)) });
    }

    fn facts<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let issuer = ISSUER.parse().unwrap();
        let policies = Policies::compile(self.extra_policy.map(|source| ("extra", source))).unwrap();
        let uses = |_: &mandate_core::GrantId| self.uses;
        ask(&Facts { issuer: &issuer, registry: &self.registry, policies: &policies, revocations: &self.revocations, uses: &uses })
    }

    fn run(&self) -> Result<MandateView, R> {
        let request = Request::Exchange(Exchange {
            client: self.client.clone(),
            subject: self.subject.clone(),
            actor: self.actor.clone(),
            resource: self.resource.parse().unwrap(),
            scopes: self.scopes.clone(),
            jti: "t1".parse().unwrap(),
        });
        self.facts(|facts| decide(request, facts, self.now)).map(|m| m.view().clone()).map_err(|refusal| refusal.reason)
    }
}

fn refuses(reason: R, vary: impl FnOnce(&mut Case)) {
    let mut case = Case::new();
    vary(&mut case);
    assert_eq!(case.run(), Err(reason));
}

fn permits(vary: impl FnOnce(&mut Case)) -> MandateView {
    let mut case = Case::new();
    vary(&mut case);
    case.run().unwrap()
}

#[test]
fn the_story_is_permitted_with_riley_as_subject_and_the_agent_as_actor() {
    let view = permits(|_| {});
    assert_eq!(view.subject.sub, "riley", "Z1: the person stays sub");
    assert_eq!(view.chain.outermost().unwrap().sub, "spiffe://acme.example/agent/support-agent");
    assert_eq!(view.resource, CRM);
    assert_eq!(view.scopes, scopes("read:cases write:case_comments"));
    assert_eq!(view.expires, NOW.plus(Duration::from_secs(300)));
    assert_eq!(view.client.as_str(), "spiffe://acme.example/agent/support-agent");
    assert_eq!(view.lineage.parents, vec!["t0".parse().unwrap()]);
    assert_eq!(view.lineage.grants, vec!["g1".parse().unwrap()]);
    assert_eq!(view.auth_time, Some(NOW.minus(Duration::from_secs(60))), "RFC 9068 §2.2.1: unchanged by an exchange");
}

#[test]
fn without_a_scope_parameter_everything_permitted_is_given_and_no_more() {
    assert_eq!(permits(|c| c.scopes = None).scopes, scopes("read:cases write:case_comments"));
}

#[test]
fn what_is_partly_permitted_is_narrowed() {
    let view = permits(|c| c.scopes = Some(scopes("read:cases write:opportunities")));
    assert_eq!(view.scopes, scopes("read:cases"));
}

#[test]
fn the_hijacked_agent_gets_nothing_of_what_the_mail_asks_for() {
    refuses(R::ScopeBeyondCeiling, |c| c.scopes = Some(scopes("write:opportunities")));
    refuses(R::ScopeExceedsSubject, |c| c.scopes = Some(scopes("send:mail")));
}

#[test]
fn a_dead_subject_token_yields_nothing() {
    refuses(R::SubjectExpired, |c| c.subject.expires = NOW);
    refuses(R::SubjectRevoked, |c| c.cut(CutTarget::Token("t0".parse().unwrap())));
    refuses(R::SubjectRevoked, |c| {
        c.subject.lineage.parents = vec!["root".parse().unwrap()];
        c.cut(CutTarget::Token("root".parse().unwrap()));
    });
    refuses(R::SubjectRevoked, |c| c.cut(CutTarget::Person(c.subject.person.clone())));
    refuses(R::SubjectKeyNotProven, |c| c.subject.key_bound = true);
}

#[test]
fn an_unknown_or_disabled_person_is_refused() {
    refuses(R::PersonUnknown, |c| c.subject.person.sub = "mallory".into());
    refuses(R::PersonUnknown, |c| c.subject.person.iss = "https://other.example".parse().unwrap());
    refuses(R::PersonDisabled, |c| c.person(|p| p.disabled = true));
}

#[test]
fn a1_no_actor_is_impersonation_and_the_client_is_the_actor_when_it_is_an_agent() {
    refuses(R::ActorRequired, |c| {
        c.client = app(&["support-agent"]);
        c.actor = None;
    });
    let view = permits(|c| c.actor = None);
    assert_eq!(view.chain.depth(), 1);
    let kept = permits(|c| {
        c.subject.chain = ActorChain::new(vec![act("triage")]).unwrap();
        c.actor = None;
    });
    assert_eq!(kept.chain.depth(), 2, "A1: leaving out actor_token sheds nobody");
}

#[test]
fn an_app_presents_only_the_agents_it_is_registered_for() {
    permits(|c| c.client = app(&["support-agent"]));
    refuses(R::ClientMayNotPresent, |c| c.client = app(&[]));
    refuses(R::ClientMayNotPresent, |c| c.client = app(&["triage"]));
}

#[test]
fn an_actor_must_be_the_authenticated_agent_known_and_active() {
    refuses(R::ActorNotClient, |c| c.actor = Some(verified("triage")));
    refuses(R::ActorUnknown, |c| {
        c.client = AuthenticatedClient::Agent(verified("ghost"));
        c.actor = None;
    });
    for state in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
        refuses(R::AgentNotActive, |c| c.agent("support-agent", |a| a.state = state));
    }
}

#[test]
fn z7_every_actor_in_the_chain_must_still_be_active() {
    let chained = |c: &mut Case| c.subject.chain = ActorChain::new(vec![act("triage")]).unwrap();
    permits(chained);
    refuses(R::ChainActorNotActive, |c| {
        chained(c);
        c.agent("triage", |a| a.state = AgentState::Suspended);
    });
    refuses(R::ChainActorNotActive, |c| c.subject.chain = ActorChain::new(vec![act("ghost")]).unwrap());
}

#[test]
fn a8_k2_may_act_names_who_may_by_issuer_and_subject() {
    let named = |sub: &str, iss: Option<&str>| MayAct { sub: sub.into(), iss: iss.map(|i| i.parse().unwrap()) };
    permits(|c| c.subject.may_act = Some(named("spiffe://acme.example/agent/support-agent", Some(ISSUER))));
    refuses(R::MayActMismatch, |c| c.subject.may_act = Some(named("spiffe://acme.example/agent/triage", Some(ISSUER))));
    refuses(R::MayActMismatch, |c| {
        c.subject.may_act = Some(named("spiffe://acme.example/agent/support-agent", Some("https://other.example")));
    });
    refuses(R::MayActMismatch, |c| c.subject.may_act = Some(named("support-app", Some(ISSUER))));
}

#[test]
fn a11_a_token_for_somebody_else_cannot_be_exchanged() {
    refuses(R::SubjectNotForPresenter, |c| c.subject.audiences = vec![CRM.into()]);
    refuses(R::SubjectNotForPresenter, |c| c.subject.audiences = vec![ISSUER.into(), CRM.into()]);
    refuses(R::SubjectNotForPresenter, |c| c.subject.audiences = Vec::new());
    permits(|c| c.subject.audiences = vec![HELPDESK.into()]);
    refuses(R::SubjectNotForPresenter, |c| {
        c.subject.audiences = vec![HELPDESK.into()];
        c.registry.put(Entry::Resource(resource("helpdesk", HELPDESK, "read:cases", Some("triage"))));
    });
    permits(|c| {
        c.subject.audiences = vec![CRM.into()];
        c.client = app(&["support-agent"]);
    });
}

#[test]
fn a_foreign_subject_must_be_addressed_as_configured_and_its_scopes_bound_unless_it_only_identifies() {
    let foreign = |subject_scope| {
        move |c: &mut Case| {
            let url: Issuer = "https://login.acme.example".parse().unwrap();
            let issuer = TrustedIssuer { url: url.clone(), audience: "https://mandate.acme.example".into(), subject_scope };
            c.subject.origin = SubjectOrigin::Foreign(Arc::new(issuer));
            c.subject.issuer = url.clone();
            c.subject.person.iss = url.clone();
            c.subject.audiences = vec!["https://mandate.acme.example".into()];
            c.subject.scopes = scopes("openid read:cases");
            c.person(|p| p.id.iss = url);
        }
    };
    refuses(R::ScopeExceedsSubject, foreign(SubjectScope::Token));
    let view = permits(|c| {
        foreign(SubjectScope::Token)(c);
        c.scopes = None;
    });
    assert_eq!(view.scopes, scopes("read:cases"));
    assert_eq!(permits(foreign(SubjectScope::IdentityOnly)).scopes, scopes("read:cases write:case_comments"));
    refuses(R::SubjectNotForPresenter, |c| {
        foreign(SubjectScope::IdentityOnly)(c);
        c.subject.audiences = vec![ISSUER.into()];
    });
    refuses(R::SubjectNotForPresenter, |c| {
        foreign(SubjectScope::IdentityOnly)(c);
        c.subject.audiences = vec!["another".into()];
        c.client = app(&["support-agent"]);
    });
}

#[test]
fn z1_z4_a7_chains_nest_never_loop_and_never_exceed_the_depth() {
    let view = permits(|c| c.subject.chain = ActorChain::new(vec![act("triage"), act("third")]).unwrap());
    let names: Vec<&str> = view.chain.iter().map(|a| a.sub.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["support-agent", "triage", "third"]);
    let again = permits(|c| c.subject.chain = ActorChain::new(vec![act("support-agent"), act("triage")]).unwrap());
    assert_eq!(again.chain.depth(), 2, "Z4: acting again changes nothing");
    refuses(R::ChainLoop, |c| c.subject.chain = ActorChain::new(vec![act("triage"), act("support-agent")]).unwrap());
    refuses(R::ChainTooDeep, |c| c.subject.chain = ActorChain::new(vec![act("triage"), act("third"), act("fourth")]).unwrap());
    refuses(R::ChainTooDeep, |c| {
        c.agent("support-agent", |a| a.chain_depth = 1);
        c.subject.chain = ActorChain::new(vec![act("triage")]).unwrap();
    });
}

#[test]
fn k6_a12_the_target_must_be_registered_bytewise_and_open_to_agents() {
    for uri in ["http://127.0.0.1:9199", "http://127.0.0.1:9100/"] {
        refuses(R::ResourceUnknown, |c| c.resource = uri.into());
    }
    refuses(R::ResourceNotDelegable, |c| {
        c.resource = ISSUER.into();
        c.scopes = None;
    });
}

#[test]
fn z2_a_grant_by_the_person_or_a_refusal() {
    refuses(R::NoGrant, |c| c.registry.remove(mandate_core::registry::Kind::Grant, "g1"));
    refuses(R::NoGrant, |c| {
        c.client = AuthenticatedClient::Agent(verified("triage"));
        c.actor = None;
    });
    refuses(R::GrantRevoked, |c| c.grant(|g| g.revoked = true));
    refuses(R::GrantExpired, |c| c.grant(|g| g.expires = Some(NOW)));
    refuses(R::GrantExhausted, |c| {
        c.grant(|g| g.max_uses = Some(500));
        c.uses = 500;
    });
    permits(|c| {
        c.grant(|g| g.max_uses = Some(500));
        c.uses = 499;
    });
}

#[test]
fn z3_nothing_configured_is_nothing() {
    refuses(R::ScopeBeyondCeiling, |c| c.agent("support-agent", |a| a.ceiling.clear()));
    refuses(R::ScopeBeyondPerson, |c| c.person(|p| p.may.clear()));
    refuses(R::ScopeBeyondGrant, |c| c.grant(|g| g.scopes = ScopeSet::new()));
    refuses(R::ScopeUnknown, |c| c.scopes = Some(scopes("admin:everything")));
    refuses(R::NothingInCommon, |c| {
        c.scopes = None;
        c.subject.scopes = scopes("write:opportunities");
    });
}

#[test]
fn policy_must_permit_both_and_only_takes_away() {
    refuses(R::PolicyDeniesPerson, |c| {
        c.extra_policy = Some(r#"forbid (principal is Person, action == Action::"delegate", resource);"#);
    });
    refuses(R::PolicyDeniesAgent, |c| c.extra_policy = Some(r#"forbid (principal is Agent, action == Action::"act", resource);"#));
    let view = permits(|c| {
        c.extra_policy = Some("permit (principal, action, resource);");
        c.scopes = Some(scopes("read:cases write:opportunities"));
    });
    assert_eq!(view.scopes, scopes("read:cases"), "a permit widens nothing");
}

#[test]
fn k11_expiry_never_grows() {
    let soon = NOW.plus(Duration::from_secs(42));
    assert_eq!(permits(|c| c.subject.expires = soon).expires, soon);
    assert_eq!(permits(|c| c.grant(|g| g.expires = Some(soon))).expires, soon);
    let minute = Constraints { lifetime: Some(Lifetime(Duration::from_secs(60))) };
    assert_eq!(permits(|c| c.grant(|g| g.constraints = minute.clone())).expires, NOW.plus(Duration::from_secs(60)));
    assert_eq!(permits(|c| c.agent("support-agent", |a| a.ceiling[0].constraints = minute)).expires, NOW.plus(Duration::from_secs(60)));
    let day = Constraints { lifetime: Some(Lifetime(Duration::from_secs(86_400))) };
    assert_eq!(permits(|c| c.grant(|g| g.constraints = day)).expires, NOW.plus(Duration::from_secs(900)), "never over 15 minutes");
    refuses(R::NoLifetime, |c| c.grant(|g| g.expires = Some(Timestamp::from_millis(NOW.millis() + 500))));
}

#[test]
fn lineage_grows_by_one_token_and_is_bounded() {
    let view = permits(|c| {
        c.subject.lineage = Lineage {
            parents: vec!["root".parse().unwrap()],
            grants: vec!["g0".parse().unwrap()],
            clients: vec!["portal".parse().unwrap()],
        };
    });
    assert_eq!(view.lineage.parents, vec!["t0".parse().unwrap(), "root".parse().unwrap()]);
    assert_eq!(view.lineage.grants, vec!["g1".parse().unwrap(), "g0".parse().unwrap()]);
    assert_eq!(view.lineage.clients, vec!["support-app".parse().unwrap(), "portal".parse().unwrap()]);
    refuses(R::LineageTooLong, |c| {
        c.subject.lineage.parents = (0..MAX_LINEAGE).map(|n| format!("p{n}").parse().unwrap()).collect();
    });
}

fn authorize(case: &Case, resource: Option<&str>, asked: Option<&str>) -> Result<MandateView, R> {
    let request = Request::Authorization(Authorization {
        client: Arc::new(support_app(&[])),
        person: LoggedInPerson::assertion("riley".parse().unwrap(), NOW),
        resource: resource.map(|uri| uri.parse().unwrap()),
        scopes: asked.map(scopes),
        jti: "t1".parse().unwrap(),
    });
    case.facts(|facts| decide(request, facts, NOW)).map(|m| m.view().clone()).map_err(|refusal| refusal.reason)
}

#[test]
fn a_login_yields_the_persons_own_rights_without_an_actor() {
    let view = authorize(&Case::new(), None, None).unwrap();
    assert_eq!((view.resource.as_str(), view.chain.is_empty()), (ISSUER, true));
    assert_eq!(view.scopes, scopes("read:cases write:case_comments write:opportunities"), "never our own administration unasked");
    let view = authorize(&Case::new(), Some(CRM), Some("read:cases send:mail")).unwrap();
    assert_eq!((view.resource.as_str(), view.scopes), (CRM, scopes("read:cases")));
    let admin = authorize(&Case::new(), Some(ISSUER), None).unwrap();
    assert_eq!(admin.scopes, scopes("mandate:admin"));
}

#[test]
fn a_login_refuses_what_the_person_has_not() {
    let mut case = Case::new();
    assert_eq!(authorize(&case, Some("http://127.0.0.1:9199"), None), Err(R::ResourceUnknown));
    assert_eq!(authorize(&case, None, Some("mandate:admin")), Err(R::ScopeUnknown), "administration is asked for by name and alone");
    assert_eq!(authorize(&case, Some(CRM), Some("send:mail")), Err(R::ScopeBeyondPerson));
    case.extra_policy = Some(r#"forbid (principal is Person, action == Action::"delegate", resource);"#);
    assert_eq!(authorize(&case, None, None), Err(R::PolicyDeniesPerson));
    case.person(|p| p.disabled = true);
    assert_eq!(authorize(&case, None, None), Err(R::PersonDisabled));
    case.registry.remove(mandate_core::registry::Kind::Person, "riley");
    assert_eq!(authorize(&case, None, None), Err(R::PersonUnknown));
}

#[test]
fn codes_are_unique() {
    let mut codes: Vec<&str> = R::ALL.iter().map(|reason| reason.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), R::ALL.len());
}

const WORDS: [&str; 4] = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"];

fn any_scopes() -> impl Strategy<Value = ScopeSet> {
    proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..4).prop_map(|list| list.iter().map(|s| s.parse().unwrap()).collect())
}

fn any_chain() -> impl Strategy<Value = Vec<Actor>> {
    proptest::collection::vec(proptest::sample::select(vec!["support-agent", "triage", "third", "fourth"]), 0..4)
        .prop_map(|names| names.into_iter().map(act).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Invariants 1, 2 and 4 of `decide`, over whatever may vary.
    #[test]
    fn a_mandate_never_exceeds_what_it_rests_on(
        (subject, may, ceiling, granted, asked) in (any_scopes(), any_scopes(), any_scopes(), any_scopes(), proptest::option::of(any_scopes())),
        actors in any_chain(),
        (subject_left, grant_left, limit) in (1u64..2000, proptest::option::of(1u64..2000), proptest::option::of(1u64..2000)),
        depth in 1u8..5,
    ) {
        let Ok(chain) = ActorChain::new(actors) else { return Ok(()) };
        let mut case = Case::new();
        case.subject.scopes = subject.clone();
        case.subject.chain = chain.clone();
        case.subject.expires = NOW.plus(Duration::from_secs(subject_left));
        case.person(|p| p.may[0].scopes = may.clone());
        case.agent("support-agent", |a| {
            a.ceiling[0].scopes = ceiling.clone();
            a.ceiling[0].constraints.lifetime = limit.map(|secs| Lifetime(Duration::from_secs(secs)));
            a.chain_depth = depth;
        });
        case.grant(|g| {
            g.scopes = granted.clone();
            g.expires = grant_left.map(|secs| NOW.plus(Duration::from_secs(secs)));
        });
        case.scopes = asked.clone();
        let Ok(view) = case.run() else { return Ok(()) };
        for bound in [Some(&subject), Some(&may), Some(&ceiling), Some(&granted), asked.as_ref()].into_iter().flatten() {
            prop_assert!(view.scopes.is_subset(bound));
        }
        prop_assert!(!view.scopes.is_empty());
        prop_assert!(view.expires <= case.subject.expires);
        prop_assert!(grant_left.is_none_or(|secs| view.expires <= NOW.plus(Duration::from_secs(secs))));
        prop_assert!(limit.is_none_or(|secs| view.expires <= NOW.plus(Duration::from_secs(secs))));
        prop_assert!(view.expires <= NOW.plus(Duration::from_secs(900)));
        prop_assert_eq!(&view.subject, &case.subject.person);
        prop_assert_eq!(view.resource.as_str(), CRM);
        prop_assert!(view.chain.depth() <= usize::from(depth));
        let me: SpiffeId = "spiffe://acme.example/agent/support-agent".parse().unwrap();
        prop_assert_eq!(&view.chain.outermost().unwrap().sub, me.as_str());
        let inherited: Vec<&Actor> = view.chain.iter().skip(view.chain.depth() - chain.depth()).collect();
        let before: Vec<&Actor> = chain.iter().collect();
        prop_assert_eq!(
            inherited.iter().map(|a| &a.sub).collect::<Vec<_>>(),
            before.iter().map(|a| &a.sub).collect::<Vec<_>>(),
            "the chain only grows, at the outside"
        );
    }
}
