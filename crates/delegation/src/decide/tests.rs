//! What `decide` permits and each reason for which it refuses. For every check of it, some test here fails
//! without it.

mod approval;
mod authorization;
mod bounds;
mod continued;
mod delegated_login;
mod groups;
mod lineage;
mod liveness;
mod own;
mod parties;
mod proofs;
mod properties;
mod tenants;
mod unattested;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::constraint::Constraints;
use mandate_core::registry::{
    Agent, AgentState, Client, ClientAuthentication, Entry, Grant, IdTokenUse, IntrospectionClient,
    Permission, Person, Registry, Resource, SubjectScope, TokenProfile, TrustedIssuer,
};
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, Cut, CutTarget, Issuer, Lifetime, Lineage, RevocationSet,
    ScopeSet, Terms, Timestamp,
};
use mandate_policy::Policies;
use mandate_token::MappedClaims;
use mandate_token::access_token::MayAct;

use super::{DecisionRequest, Exchange, Facts, MAX_LINEAGE, decide};
use crate::approval::Withheld;
use crate::credential::{
    AuthenticatedClient, ForeignToken, ProvenClient, SubjectOrigin, VerifiedActor, VerifiedSubject,
};
use crate::mandate::MandateView;
use crate::refusal::RefusalReason as R;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ISSUER: &str = "http://127.0.0.1:8420";
const CRM: &str = "http://127.0.0.1:9100";
const HELPDESK: &str = "http://127.0.0.1:9101";
const LOGIN: &str = "https://login.acme.example";
const AUDIENCE: &str = "https://mandate.acme.example";

fn scopes(text: &str) -> ScopeSet {
    if text.is_empty() { ScopeSet::new() } else { text.parse().unwrap() }
}

fn allow(resource: &str, text: &str) -> Permission {
    Permission {
        resource: resource.parse().unwrap(),
        scopes: scopes(text),
        constraints: Constraints::default(),
    }
}

fn within(secs: u64) -> Constraints {
    Constraints { lifetime: Some(Lifetime(Duration::from_secs(secs))) }
}

fn agent(name: &str) -> Agent {
    Agent {
        name: name.parse().unwrap(),
        owner: "riley".parse().unwrap(),
        purpose: "Works on support cases".into(),
        spiffe_id: format!("spiffe://acme.example/agent/{name}").parse().unwrap(),
        selectors: vec!["unix:uid:1000".parse().unwrap()],
        proofs: Vec::new(),
        ceiling: vec![allow("crm", "read:cases write:case_comments"), allow("helpdesk", "read:cases")],
        may: Vec::new(),
        chain_depth: 3,
        state: AgentState::Active,
        tenant: None,
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
        span: None,
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
        unattested: ScopeSet::new(),
        tenant: None,
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
    behind: Duration,
}

fn verified(name: &str) -> VerifiedActor {
    // A verified SVID is the only way in from outside; inside the crate the field is written directly.
    VerifiedActor::for_test(&format!("spiffe://acme.example/agent/{name}"))
}

fn support_app(agents: &[&str]) -> Client {
    Client {
        id: "support-app".parse().unwrap(),
        redirect_uris: vec!["http://127.0.0.1:9200/callback".into()],
        authentication: ClientAuthentication::ClientSecretBasic,
        agents: agents.iter().map(|name| name.parse().unwrap()).collect(),
        scopes: None,
        refresh: false,
        require_pushed_authorization_requests: false,
        device: false,
        tenant: None,
    }
}

/// A client at that issuer.
const PORTAL: &str = "portal";

fn trusted_issuer(audience: &str, subject_scope: SubjectScope) -> TrustedIssuer {
    let (url, other_audiences) = (LOGIN.parse().unwrap(), Vec::new());
    TrustedIssuer {
        url,
        audience: audience.into(),
        subject_scope,
        other_audiences,
        ca: None,
        proxy: None,
        profile: TokenProfile::Rfc9068,
        required_claims: BTreeMap::new(),
        login: None,
        events_audience: None,
        groups_claim: None,
        tenant_claim: None,
        tenant: None,
        id_tokens: Vec::new(),
        introspection: None,
        oldest_actor_first: false,
    }
}

fn audience(all: &[&str]) -> Audience {
    let mut all = all.iter().map(|&one| one.to_owned());
    Audience::several(all.next().unwrap(), all.collect())
}

fn act(name: &str) -> Actor {
    Actor {
        sub: format!("spiffe://acme.example/agent/{name}"),
        iss: ISSUER.parse().unwrap(),
        sub_profile: None,
    }
}

impl Case {
    fn new() -> Self {
        let issuer: Issuer = ISSUER.parse().unwrap();
        let riley = Person {
            name: "riley".parse().unwrap(),
            id: mandate_core::Subject { iss: issuer.clone(), sub: "riley".into() },
            may: vec![
                allow("crm", "read:cases write:case_comments write:opportunities"),
                allow("helpdesk", "read:cases"),
                allow("mandate", "mandate:admin"),
            ],
            disabled: false,
            tenant: None,
        };
        let registry = Registry::from_entries([
            Entry::Resource(resource(
                "crm",
                CRM,
                "read:cases write:case_comments write:opportunities send:mail",
                None,
            )),
            Entry::Resource(resource("helpdesk", HELPDESK, "read:cases", Some("support-agent"))),
            Entry::Resource(resource("mandate", ISSUER, "mandate:admin", None)),
            Entry::Person(riley.clone()),
            Entry::Agent(agent("support-agent")),
            Entry::Agent(agent("triage")),
            Entry::Agent(agent("third")),
            Entry::Agent(agent("fourth")),
            Entry::Grant(grant("g1", "support-agent", "crm", "read:cases write:case_comments")),
            Entry::Client(support_app(&[])),
            Entry::Client(Client { id: "other-app".parse().unwrap(), ..support_app(&[]) }),
        ]);
        let rights = scopes("read:cases write:case_comments write:opportunities");
        let times = (NOW.minus(Duration::from_secs(60)), NOW.plus(Duration::from_secs(3540)));
        let (client, audience, jti) =
            ("support-app".parse().unwrap(), Audience::one(ISSUER.into()), "t0".parse().unwrap());
        let terms = Terms {
            auth_time: Some(NOW.minus(Duration::from_secs(60))),
            amr: vec!["pwd".into()],
            ..Terms::new(issuer, riley.id, client, audience, rights, jti, times)
        };
        let subject = VerifiedSubject {
            origin: SubjectOrigin::Own,
            terms,
            may_act: None,
            mapped: MappedClaims::default(),
            said_actors: None,
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
            behind: Duration::ZERO,
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

    /// The registered app exchanges, which may present these agents.
    fn by_app(&mut self, agents: &[&str]) {
        let app = support_app(agents);
        self.registry.put(Entry::Client(app.clone()));
        self.client = AuthenticatedClient::App(ProvenClient::assertion(Arc::new(app), NOW));
    }

    /// The subject token is from a trusted issuer, which identifies Riley.
    fn foreign(&mut self, subject_scope: SubjectScope) {
        let url: Issuer = LOGIN.parse().unwrap();
        let issuer = trusted_issuer(AUDIENCE, subject_scope);
        self.registry.put(Entry::Issuer(issuer.clone()));
        self.subject.origin = SubjectOrigin::Foreign(Arc::new(issuer), ForeignToken::AccessToken);
        self.subject.terms.issuer = url.clone();
        self.subject.terms.subject.as_mut().unwrap().iss = url.clone();
        self.subject.terms.audience = audience(&[AUDIENCE]);
        self.person(|p| p.id.iss = url);
    }

    /// The subject token is an ID token of that issuer for its client `portal`, which the client of the request
    /// may present.
    fn identified(&mut self) {
        self.foreign(SubjectScope::Token);
        let client = self.client.name().parse().unwrap();
        let id_tokens = vec![IdTokenUse { audience: PORTAL.to_owned(), client }];
        let issuer = TrustedIssuer { id_tokens, ..trusted_issuer("", SubjectScope::Token) };
        self.registry.put(Entry::Issuer(issuer.clone()));
        self.subject.origin = SubjectOrigin::Foreign(Arc::new(issuer), ForeignToken::IdToken);
        self.subject.terms.client = PORTAL.parse().unwrap();
        self.subject.terms.audience = audience(&[PORTAL]);
        self.subject.terms.scopes = ScopeSet::new();
    }

    /// The subject token is an opaque access token of that issuer, and the client of the request presents such.
    fn opaque(&mut self, subject_scope: SubjectScope) {
        self.foreign(subject_scope);
        let introspection = Some(IntrospectionClient {
            client_id: "mandate".to_owned(),
            client_secret_file: "x".to_owned(),
            clients: vec![self.client.name().parse().unwrap()],
        });
        let issuer = TrustedIssuer { introspection, ..trusted_issuer(AUDIENCE, subject_scope) };
        self.registry.put(Entry::Issuer(issuer.clone()));
        self.subject.origin = SubjectOrigin::Foreign(Arc::new(issuer), ForeignToken::OpaqueAccessToken);
    }

    fn cut(&mut self, target: CutTarget) {
        self.revocations.insert(Cut { target, at: NOW, forget: NOW.plus(Duration::from_secs(3600)) });
    }

    fn facts<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let issuer = ISSUER.parse().unwrap();
        let policies = Policies::compile(self.extra_policy.map(|source| ("extra", source))).unwrap();
        let used = |_: &mandate_core::MeterId| self.uses;
        ask(&Facts {
            issuer: &issuer,
            registry: &self.registry,
            policies: &policies,
            revocations: &self.revocations,
            used: &used,
            behind: self.behind,
        })
    }

    fn run(&self) -> Result<MandateView, R> {
        self.decided().map_err(reason)
    }

    fn decided(&self) -> Result<MandateView, Withheld> {
        let request = DecisionRequest::Exchange(Exchange {
            client: self.client.clone(),
            subject: self.subject.clone(),
            actor: self.actor.clone(),
            resource: self.resource.parse().unwrap(),
            scopes: self.scopes.clone(),
            jti: "t1".parse().unwrap(),
        });
        self.facts(|facts| decide(request, facts, self.now)).map(|m| m.view().clone())
    }
}

fn reason(withheld: Withheld) -> R {
    match withheld {
        Withheld::Refusal(refusal) => refusal.reason,
        other => panic!("{other:?}"),
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
    assert_eq!(view.terms.subject.as_ref().unwrap().sub, "riley", "the person stays sub");
    assert_eq!(view.terms.chain.outermost().unwrap().sub, "spiffe://acme.example/agent/support-agent");
    assert_eq!(view.terms.audience.sole(), Some(CRM));
    assert_eq!(view.terms.scopes, scopes("read:cases write:case_comments"));
    assert_eq!(view.terms.expires, NOW.plus(Duration::from_secs(300)));
    assert_eq!(view.terms.client.as_str(), "spiffe://acme.example/agent/support-agent");
    assert_eq!(view.terms.lineage.parents, vec!["t0".parse().unwrap()]);
    assert_eq!(view.terms.lineage.grants, vec!["g1".parse().unwrap()]);
    assert_eq!(
        view.terms.auth_time,
        Some(NOW.minus(Duration::from_secs(60))),
        "RFC 9068 §2.2.1: unchanged by an exchange"
    );
}

#[test]
fn without_a_scope_parameter_everything_permitted_is_given_and_no_more() {
    assert_eq!(permits(|c| c.scopes = None).terms.scopes, scopes("read:cases write:case_comments"));
}

#[test]
fn what_is_partly_permitted_is_narrowed() {
    let view = permits(|c| c.scopes = Some(scopes("read:cases write:opportunities")));
    assert_eq!(view.terms.scopes, scopes("read:cases"));
}

#[test]
fn the_hijacked_agent_gets_nothing_of_what_the_mail_asks_for() {
    refuses(R::ScopeBeyondCeiling, |c| c.scopes = Some(scopes("write:opportunities")));
    refuses(R::ScopeExceedsSubject, |c| c.scopes = Some(scopes("send:mail")));
}

#[test]
fn a_dead_subject_token_yields_nothing() {
    refuses(R::SubjectExpired, |c| c.subject.terms.expires = NOW);
    refuses(R::SubjectRevoked, |c| c.cut(CutTarget::Token("t0".parse().unwrap())));
    refuses(R::SubjectRevoked, |c| {
        c.subject.terms.lineage.parents = vec!["root".parse().unwrap()];
        c.cut(CutTarget::Token("root".parse().unwrap()));
    });
    refuses(R::SubjectRevoked, |c| {
        c.subject.terms.lineage.grants = vec!["g0".parse().unwrap()];
        c.cut(CutTarget::Grant("g0".parse().unwrap()));
    });
    refuses(R::SubjectRevoked, |c| {
        c.subject.terms.lineage.clients = vec!["portal".parse().unwrap()];
        c.cut(CutTarget::Client("portal".parse().unwrap()));
    });
    refuses(R::SubjectRevoked, |c| {
        c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
        c.cut(CutTarget::Agent(act("triage").sub));
    });
    refuses(R::SubjectRevoked, |c| c.cut(CutTarget::Client("support-app".parse().unwrap())));
    refuses(R::SubjectRevoked, |c| c.cut(CutTarget::Person(c.subject.terms.subject.clone().unwrap())));
    permits(|c| {
        c.subject.terms.issued = NOW.plus(Duration::from_secs(61));
        c.cut(CutTarget::Person(c.subject.terms.subject.clone().unwrap()));
    });
    refuses(R::SubjectKeyNotProven, |c| c.subject.terms.cnf = Some(Confirmation::Unknown));
}

#[test]
fn an_unknown_or_disabled_person_is_refused() {
    refuses(R::PersonUnknown, |c| c.subject.terms.subject.as_mut().unwrap().sub = "mallory".into());
    refuses(R::PersonUnknown, |c| {
        c.subject.terms.subject.as_mut().unwrap().iss = "https://other.example".parse().unwrap();
    });
    refuses(R::PersonDisabled, |c| c.person(|p| p.disabled = true));
}

#[test]
fn no_actor_is_impersonation_and_the_client_is_the_actor_when_it_is_an_agent() {
    refuses(R::ActorRequired, |c| {
        c.by_app(&["support-agent"]);
        c.actor = None;
    });
    let view = permits(|c| c.actor = None);
    assert_eq!(view.terms.chain.depth(), 1);
    let kept = permits(|c| {
        c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
        c.actor = None;
    });
    assert_eq!(kept.terms.chain.depth(), 2, "leaving out actor_token removes no actor");
}

#[test]
fn an_app_presents_only_the_agents_it_is_registered_for() {
    permits(|c| c.by_app(&["support-agent"]));
    refuses(R::ClientMayNotPresent, |c| c.by_app(&[]));
    refuses(R::ClientMayNotPresent, |c| c.by_app(&["triage"]));
    // What it was registered for when it authenticated is over.
    refuses(R::ClientMayNotPresent, |c| {
        c.by_app(&["support-agent"]);
        c.registry.put(Entry::Client(support_app(&[])));
    });
    refuses(R::ClientMayNotPresent, |c| {
        c.by_app(&["support-agent"]);
        c.subject.terms.client = "other-app".parse().unwrap();
        c.registry.remove(mandate_core::registry::EntryKind::Client, "support-app");
    });
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
fn every_actor_in_the_chain_must_still_be_active() {
    let chained = |c: &mut Case| c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
    permits(chained);
    refuses(R::ChainActorNotActive, |c| {
        chained(c);
        c.agent("triage", |a| a.state = AgentState::Suspended);
    });
    refuses(R::ChainActorNotActive, |c| c.subject.terms.chain = ActorChain::new(vec![act("ghost")]).unwrap());
}

#[test]
fn may_act_names_who_may_by_issuer_and_subject() {
    let named =
        |sub: &str, iss: Option<&str>| MayAct { sub: sub.into(), iss: iss.map(|i| i.parse().unwrap()) };
    permits(|c| c.subject.may_act = Some(named("spiffe://acme.example/agent/support-agent", Some(ISSUER))));
    refuses(R::MayActMismatch, |c| {
        c.subject.may_act = Some(named("spiffe://acme.example/agent/triage", Some(ISSUER)));
    });
    refuses(R::MayActMismatch, |c| {
        c.subject.may_act =
            Some(named("spiffe://acme.example/agent/support-agent", Some("https://other.example")));
    });
    refuses(R::MayActMismatch, |c| c.subject.may_act = Some(named("support-app", Some(ISSUER))));
}

#[test]
fn a_token_for_somebody_else_cannot_be_exchanged() {
    refuses(R::SubjectNotForPresenter, |c| c.subject.terms.audience = audience(&[CRM]));
    refuses(R::SubjectNotForPresenter, |c| c.subject.terms.audience = audience(&[ISSUER, CRM]));
    permits(|c| c.subject.terms.audience = audience(&[HELPDESK]));
    refuses(R::SubjectNotForPresenter, |c| {
        c.subject.terms.audience = audience(&[HELPDESK]);
        c.registry.put(Entry::Resource(resource("helpdesk", HELPDESK, "read:cases", Some("triage"))));
    });
    permits(|c| {
        c.subject.terms.audience = audience(&[CRM]);
        c.by_app(&["support-agent"]);
    });
}

#[test]
fn chains_nest_never_loop_and_never_exceed_the_depth() {
    let view =
        permits(|c| c.subject.terms.chain = ActorChain::new(vec![act("triage"), act("third")]).unwrap());
    let names: Vec<&str> = view.terms.chain.iter().map(|a| a.sub.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["support-agent", "triage", "third"]);
    let again = permits(|c| {
        c.subject.terms.chain = ActorChain::new(vec![act("support-agent"), act("triage")]).unwrap();
    });
    assert_eq!(again.terms.chain.depth(), 2, "acting again changes nothing");
    refuses(R::ChainLoop, |c| {
        c.subject.terms.chain = ActorChain::new(vec![act("triage"), act("support-agent")]).unwrap();
    });
    refuses(R::ChainTooDeep, |c| {
        c.subject.terms.chain = ActorChain::new(vec![act("triage"), act("third"), act("fourth")]).unwrap();
    });
    refuses(R::ChainTooDeep, |c| {
        c.agent("support-agent", |a| a.chain_depth = 1);
        c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
    });
}

#[test]
fn the_target_must_be_registered_bytewise_and_open_to_agents() {
    for uri in ["http://127.0.0.1:9199", "http://127.0.0.1:9100/api", "http://127.0.0.1:9100/?"] {
        refuses(R::ResourceUnknown, |c| c.resource = uri.into());
    }
    for uri in [ISSUER, "http://127.0.0.1:8420/"] {
        refuses(R::ResourceNotDelegable, |c| {
            c.resource = uri.into();
            c.scopes = None;
        });
    }
}

#[test]
fn an_empty_path_names_the_resource_and_the_token_is_addressed_to_it_as_it_is_registered() {
    let view = permits(|c| c.resource = format!("{CRM}/"));
    assert_eq!(view.terms.audience.sole(), Some(CRM));
}

#[test]
fn a_grant_by_the_person_or_a_refusal() {
    refuses(R::NoGrant, |c| c.registry.remove(mandate_core::registry::EntryKind::Grant, "g1"));
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
fn nothing_configured_is_nothing() {
    refuses(R::ScopeBeyondCeiling, |c| c.agent("support-agent", |a| a.ceiling.clear()));
    refuses(R::ScopeBeyondPerson, |c| c.person(|p| p.may.clear()));
    refuses(R::ScopeBeyondGrant, |c| c.grant(|g| g.scopes = ScopeSet::new()));
    refuses(R::ScopeUnknown, |c| c.scopes = Some(scopes("admin:everything")));
    refuses(R::NothingInCommon, |c| {
        c.scopes = None;
        c.subject.terms.scopes = scopes("write:opportunities");
    });
}

#[test]
fn policy_must_permit_both_and_only_takes_away() {
    refuses(R::PolicyDeniesPerson, |c| {
        c.extra_policy = Some(r#"forbid (principal is Person, action == Action::"delegate", resource);"#);
    });
    refuses(R::PolicyDeniesAgent, |c| {
        c.extra_policy = Some(r#"forbid (principal is Agent, action == Action::"act", resource);"#);
    });
    let view = permits(|c| {
        c.extra_policy = Some("permit (principal, action, resource);");
        c.scopes = Some(scopes("read:cases write:opportunities"));
    });
    assert_eq!(view.terms.scopes, scopes("read:cases"), "a permit widens nothing");
}

#[test]
fn codes_are_unique() {
    let mut codes: Vec<&str> = R::ALL.iter().map(|reason| reason.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), R::ALL.len());
}
