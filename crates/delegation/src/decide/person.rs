//! The decision on a person's own token, for a client for which the person has logged in.

use std::sync::Arc;

use mandate_core::registry::{Client, OneTenant, Person, Resource, TenantCrossing};
use mandate_core::uri::same;
use mandate_core::{
    Actor, ActorChain, Audience, ClientId, CutTarget, Lineage, ResourceUri, ScopeSet, SubjectProfile, Terms,
    Timestamp,
};
use mandate_policy::{NoRuling, Question, Ruling};

use crate::approval::{NeedsApproval, Withheld};
use crate::credential::{LoggedInPerson, LoginClient, ProviderLogin};
use crate::liveness::enabled;
use crate::mandate::{Mandate, MandateView};
use crate::refusal::{DecisionRefusal, RefusalReason};

use super::facts::{Facts, resource_of};
use super::limits::{groups_on, own_expiry, scopes_on, unattested_expiry};
use super::tenants::as_the_issuer_says;
use super::{Authorization, ContinuedLogin};

pub(super) fn decide_authorization(
    authorization: Authorization,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Mandate, Withheld> {
    let Authorization { client, person, resource, scopes, jti, continued } = authorization;
    let login = person;
    let person = enabled(facts.registry.person(&login.name))?;
    login_is_alive(person, &login, &client, facts)?;
    let groups = login.provider.as_ref().map(|at| at.groups_now(facts.registry)).unwrap_or_default();
    let person = &*person.with_groups(&groups);
    let tenants = tenants_of(person, &login, &client, facts)?;
    let asking = Asking::now(&client, facts)?;
    if let Some(login) = &continued {
        may_continue(login, &asking, resource.as_ref(), facts, now)?;
    }

    // With a resource, the token is for that resource. Without, it is for us, to be exchanged, and carries
    // what the person may delegate anywhere; never our own administration, which must be asked for by name
    // and alone. That holds for its scopes no matter which resource declares them: the token that is
    // addressed to us would carry them to us.
    let kept = if resource.is_some() { None } else { administration_scopes(facts) };
    let open = |target: &Resource| {
        kept.map_or_else(|| target.scopes.clone(), |kept| target.scopes.filter(|scope| !kept.contains(scope)))
    };
    let askable =
        |target: &Resource| open(target).intersection(&asking.may_ask_of(target, facts, resource.is_some()));
    let target = match &resource {
        Some(uri) => Some(facts.registry.resource_by_uri(uri).ok_or(RefusalReason::ResourceUnknown)?),
        None => None,
    };
    let resource_tenant = target.and_then(|target| target.tenant.as_ref());
    let tenant = tenants.with("resource", resource_tenant)?.name().cloned();
    if let Some(asked) = &scopes {
        something_is_askable(asked, target, facts, &open, &askable)?;
    }
    let targets = target.map_or_else(|| everywhere(person, tenants, facts), |target| vec![target]);

    let mut permitted = ScopeSet::new();
    let mut policies: Vec<String> = Vec::new();
    let mut denied: Option<DecisionRefusal> = None;
    let mut last: Option<Arc<Ruling>> = None;
    for target in &targets {
        let askable = askable(target);
        let wanted = scopes
            .as_ref()
            .unwrap_or(&askable)
            .intersection(&askable)
            .intersection(&scopes_on(&person.may, &target.name));
        if wanted.is_empty() {
            continue;
        }
        let question = Question {
            person,
            groups: &groups,
            agent: None,
            resource: target,
            scopes: &wanted,
            grant: None,
            client: client.id().as_str(),
            depth: asking.depth(),
            now,
        };
        match facts.policies.evaluate(&question) {
            Ok(ruling) => {
                permitted = permitted.union(&wanted.intersection(ruling.scopes()));
                policies.extend(ruling.policies().iter().cloned());
                last = Some(ruling);
            }
            Err(NoRuling::Denied(denial)) => {
                // One that fails is named also if the token has scopes of other resources.
                if !denial.errors.is_empty() {
                    policies.extend(denial.policies.iter().cloned());
                }
                denied.get_or_insert_with(|| RefusalReason::PolicyDeniesPerson.into()).add(denial);
            }
            Err(NoRuling::Failed(why)) => return Err(Withheld::Failed(why)),
        }
    }
    if permitted.is_empty() {
        let client_has_none = targets.iter().all(|target| askable(target).is_empty())
            && targets.iter().any(|target| !open(target).is_empty());
        let reason =
            if client_has_none { RefusalReason::ScopeBeyondClient } else { RefusalReason::ScopeBeyondPerson };
        return Err(denied.unwrap_or_else(|| reason.into()).into());
    }
    policies.sort_unstable();
    policies.dedup();
    let ends = continued.as_ref().map(|login| login.ends);
    let (chain, expires) = asking.chain_and_expiry(client.id(), (person, target), ends, facts, now)?;
    // A cut on the first token of a login cuts every later one.
    let parents = continued.into_iter().map(|login| login.root).collect();

    let audience =
        target.map_or_else(|| Audience::one(facts.issuer.as_str().to_owned()), |target| resource_of(target));
    let groups = match target {
        Some(target) => groups_on(&groups, &target.name),
        None => groups.iter().map(|group| group.name.clone()).collect(),
    };
    let (subject, client) = (person.id.clone(), client.id().clone());
    let terms = Terms::new(facts.issuer.clone(), subject, client, audience, permitted, jti, (now, expires));
    let lineage = Lineage { parents, ..Lineage::default() };
    let terms = with_proof(Terms { chain, lineage, groups, tenant, ..terms }, login);
    let (terms, policies) = (Arc::new(terms), policies.into());
    let view = MandateView { terms, reservations: Vec::new(), policies, evidence: None, said_actors: None };
    match last.as_deref() {
        // A token that is addressed to us opens nothing but exchanges, and each of them asks the policies
        // again.
        Some(Ruling::NeedsApproval(demand)) if target.is_some() => {
            Err(Withheld::NeedsApproval(NeedsApproval::decided(&view, demand.by())?))
        }
        Some(Ruling::NeedsApproval(_) | Ruling::Permitted(_)) | None => Ok(Mandate::decided(view)?),
    }
}

/// The resources of their tenant, or of none, at which the person has rights.
fn everywhere<'f>(person: &Person, tenants: OneTenant<'_>, facts: &Facts<'f>) -> Vec<&'f Arc<Resource>> {
    let alike = |resource: &&Arc<Resource>| tenants.with("resource", resource.tenant.as_ref()).is_ok();
    let mut names: Vec<_> = person.may.iter().map(|permission| &permission.resource).collect();
    // A group may give something where the person or another group has a right too.
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| facts.registry.resource(name)).filter(alike).collect()
}

/// The person, what their provider said, and the client.
fn tenants_of<'f>(
    person: &'f Person,
    login: &LoggedInPerson,
    client: &LoginClient,
    facts: &Facts<'f>,
) -> Result<OneTenant<'f>, TenantCrossing> {
    let provider = login.provider.as_ref();
    if let Some((at, issuer)) = provider.and_then(|at| Some((at, facts.registry.issuer(&at.id.iss)?))) {
        as_the_issuer_says(person, issuer, at.tenant_now(issuer))?;
    }
    let client = facts.registry.tenant_of_client(client.id());
    facts.registry.tenant_of_person(person)?.with("client", client)
}

/// What is unknown, or not for this client, is left out (RFC 6749 §3.3); if nothing is left, that is the reason.
fn something_is_askable(
    asked: &ScopeSet,
    target: Option<&Arc<Resource>>,
    facts: &Facts<'_>,
    open: &dyn Fn(&Resource) -> ScopeSet,
    askable: &dyn Fn(&Resource) -> ScopeSet,
) -> Result<(), RefusalReason> {
    let any = |of: &dyn Fn(&Resource) -> ScopeSet| match target {
        Some(target) => !of(target).intersection(asked).is_empty(),
        None => facts.registry.resources().any(|target| !of(target).intersection(asked).is_empty()),
    };
    if !any(open) {
        return Err(RefusalReason::ScopeUnknown);
    }
    if any(askable) { Ok(()) } else { Err(RefusalReason::ScopeBeyondClient) }
}

/// Whether a login still goes on: it is not too old, nobody cut it, and the client may act for people while they
/// are away. Only a client that an operator knows may, and never an agent.
fn may_continue(
    login: &ContinuedLogin,
    asking: &Asking<'_>,
    resource: Option<&ResourceUri>,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<(), RefusalReason> {
    // Operators administrate while they are there.
    if resource.is_some_and(|uri| same(uri.as_str(), facts.issuer.as_str())) {
        return Err(RefusalReason::ResourceNotDelegable);
    }
    let may = match asking {
        Asking::App(client) => client.refresh,
        Asking::Unattested => false,
    };
    if !may || facts.revocations.contains(&CutTarget::Token(login.root.clone())) {
        return Err(RefusalReason::SubjectRevoked);
    }
    if now < login.ends { Ok(()) } else { Err(RefusalReason::SubjectExpired) }
}

/// The terms, with how the person has proven who they are.
fn with_proof(terms: Terms, login: LoggedInPerson) -> Terms {
    match login.provider {
        None => Terms { auth_time: Some(login.at), amr: vec!["pwd".to_owned()], ..terms },
        // What the provider does not say stays unsaid.
        Some(ProviderLogin { auth_time, acr, amr, .. }) => {
            Terms { auth_time: auth_time.map(|time| time.min(login.at)), acr, amr, ..terms }
        }
    }
}

/// The client for which the person has logged in, as it is now.
enum Asking<'f> {
    App(&'f Client),
    /// It describes itself, and nothing attests it.
    Unattested,
}

impl<'f> Asking<'f> {
    fn now(client: &LoginClient, facts: &Facts<'f>) -> Result<Self, RefusalReason> {
        let found = match client {
            LoginClient::App(client) => {
                client.confirmed(facts.registry, facts.revocations).map(|client| Self::App(client))
            }
            LoginClient::Unattested(client) => client.stands(facts.revocations).then_some(Self::Unattested),
        };
        found.ok_or(RefusalReason::ProofOutdated)
    }

    /// The scopes of `target` that it may ask for. `named`: the token is for this resource. What registered
    /// itself gets nothing that could be exchanged, and nothing of our own administration.
    fn may_ask_of(&self, target: &Resource, facts: &Facts<'_>, named: bool) -> ScopeSet {
        match self {
            Self::App(client) => client.may_ask_of(target, facts.issuer),
            Self::Unattested if !named || same(target.uri.as_str(), facts.issuer.as_str()) => ScopeSet::new(),
            Self::Unattested => target.unattested.intersection(&target.scopes),
        }
    }

    /// How many actors the chain will have.
    fn depth(&self) -> u8 {
        match self {
            Self::App(_) => 0,
            Self::Unattested => 1,
        }
    }

    /// A person acts by themselves through a client that an operator knows. One that describes itself is an
    /// actor of its own, so that everybody who reads the token sees it, and it has the lifetime of a mandate.
    fn chain_and_expiry(
        &self,
        id: &ClientId,
        (person, target): (&Person, Option<&Arc<Resource>>),
        ends: Option<Timestamp>,
        facts: &Facts<'_>,
        now: Timestamp,
    ) -> Result<(ActorChain, Timestamp), RefusalReason> {
        let at = (now, facts.behind);
        match self {
            Self::App(_) => Ok((ActorChain::empty(), own_expiry(person, target, ends, at)?)),
            Self::Unattested => {
                let actor = Actor {
                    sub: id.as_str().to_owned(),
                    iss: facts.issuer.clone(),
                    sub_profile: Some(SubjectProfile::AiAgent),
                };
                Ok((ActorChain::new(vec![actor])?, unattested_expiry(person, target, at)?))
            }
        }
    }
}

/// The scopes of our own administration, if it is a resource.
fn administration_scopes<'a>(facts: &Facts<'a>) -> Option<&'a ScopeSet> {
    let uri = facts.issuer.as_str().parse().ok()?;
    facts.registry.resource_by_uri(&uri).map(|own| &own.scopes)
}

/// Invariant 5 for a login: a code is refused if, since the login, the password was replaced, the person or
/// client was cut, the client was removed, or people no longer log in at the provider. It is also refused if
/// the name in the registry now belongs to another person than the one who logged in.
fn login_is_alive(
    person: &Person,
    login: &LoggedInPerson,
    client: &LoginClient,
    facts: &Facts<'_>,
) -> Result<(), RefusalReason> {
    let parties = [CutTarget::Person(person.id.clone()), CutTarget::Client(client.id().clone())];
    let cut = parties.iter().any(|party| facts.revocations.has_cut_since(party, login.at));
    let gone = match client {
        LoginClient::App(client) => facts.registry.client(client.id()).is_none(),
        // An operator who removes it cuts it.
        LoginClient::Unattested(_) => false,
    };
    let is_another = match &login.provider {
        None => person.id.iss != *facts.issuer,
        Some(ProviderLogin { id, .. }) => {
            let provider = facts.registry.issuer(&id.iss);
            person.id != *id || provider.is_none_or(|provider| provider.login.is_none())
        }
    };
    if cut || gone || is_another { Err(RefusalReason::SubjectRevoked) } else { Ok(()) }
}
