//! Whether every name that an entry mentions exists, and every identifier that must be unique is.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use mandate_api::admin::kind_name;
use mandate_api::registry_file::{Finding, nearest};
use mandate_core::registry::{
    Agent, AgentProof, Client, Entry, EntryKind, ForeignDomain, Grant, Permission, Person, Registry,
    Resource, TrustedIssuer,
};
use mandate_core::uri::other_spelling;
use mandate_core::{AgentName, ClientId, Issuer, PersonName, ResourceName, ScopeSet, SpiffeId, TenantName};

use crate::entries::{Declared, Defaults};
use crate::removal::is_history;

/// The registry as it will be: the declared entries replace existing ones, and removed entries are left out.
struct After<'a> {
    declared: HashMap<(EntryKind, &'a str), &'a Entry>,
    removed: HashSet<(EntryKind, &'a str)>,
    current: &'a Registry,
    /// The scopes of all its resources; computed at the first use.
    scopes: OnceCell<ScopeSet>,
}

macro_rules! lookup {
    ($name:ident, $key:ty, $kind:ident, $value:ty) => {
        fn $name(&self, key: &$key) -> Option<&$value> {
            match self.declared.get(&(EntryKind::$kind, key.as_str())) {
                Some(Entry::$kind(found)) => Some(found),
                _ if self.removed.contains(&(EntryKind::$kind, key.as_str())) => None,
                _ => self.current.$name(key).map(|found| &**found),
            }
        }
    };
}

impl After<'_> {
    lookup!(resource, ResourceName, Resource, Resource);
    lookup!(person, PersonName, Person, Person);
    lookup!(agent, AgentName, Agent, Agent);
    lookup!(client, ClientId, Client, Client);
    lookup!(issuer, Issuer, Issuer, TrustedIssuer);

    /// By the name alone, which a SPIFFE ID has in it.
    fn trust_domain(&self, name: &str) -> Option<&ForeignDomain> {
        match self.declared.get(&(EntryKind::TrustDomain, name)) {
            Some(Entry::TrustDomain(found)) => Some(found),
            _ if self.removed.contains(&(EntryKind::TrustDomain, name)) => None,
            _ => self.current.trust_domain(name).map(|found| &**found),
        }
    }

    /// The scopes of all resources together.
    fn scopes(&self) -> &ScopeSet {
        self.scopes.get_or_init(|| {
            let declared = self.declared.values().filter_map(|entry| match entry {
                Entry::Resource(resource) => Some(resource),
                _ => None,
            });
            let stays = self
                .current
                .resources()
                .filter(|resource| self.untouched(EntryKind::Resource, resource.name.as_str()));
            declared
                .chain(stays.map(|resource| &**resource))
                .flat_map(|resource| resource.scopes.iter().cloned())
                .collect()
        })
    }

    /// Whether the entry of that kind and key is left as it was.
    fn untouched(&self, kind: EntryKind, key: &str) -> bool {
        !self.declared.contains_key(&(kind, key)) && !self.removed.contains(&(kind, key))
    }

    fn unknown(&self, kind: EntryKind, word: &str, key: &str) -> String {
        let declared = self.declared.keys().filter(|(k, _)| *k == kind).map(|(_, key)| *key);
        match nearest(key, declared) {
            Some(meant) => format!("{word} `{key}` is not declared; did you mean `{meant}`?"),
            None => format!("{word} `{key}` is not declared"),
        }
    }
}

/// Checks the declared entries, and if something was removed or narrowed, also the entries that stay as they
/// were.
pub(crate) fn check(
    declared: &[Declared],
    current: &Registry,
    removals: &[Entry],
    defaults: &Defaults,
) -> Vec<Finding> {
    let after = After {
        declared: declared.iter().map(|d| ((d.entry.kind(), d.entry.key()), &d.entry)).collect(),
        removed: removals.iter().map(|entry| (entry.kind(), entry.key())).collect(),
        current,
        scopes: OnceCell::new(),
    };
    let mut findings = Vec::new();
    for item in declared {
        for (at, detail) in dangling(&item.entry, &after, defaults) {
            findings.push(Finding::new(format!("{}{at}", item.pointer), detail));
        }
    }
    let narrowed = declared.iter().any(|d| match &d.entry {
        Entry::Resource(x) => {
            current.resource(&x.name).is_some_and(|before| !before.scopes.is_subset(&x.scopes))
        }
        _ => false,
    });
    if narrowed || moved_to_a_tenant(declared, current) || !removals.is_empty() {
        for entry in current.entries() {
            if after.untouched(entry.kind(), entry.key()) {
                let who = format!("{} `{}`", kind_name(entry.kind()), entry.key());
                findings.extend(
                    dangling(&entry, &after, defaults).into_iter().map(|(_, detail)| {
                        Finding::new("", format!("{who}, which stays, mentions: {detail}"))
                    }),
                );
            }
        }
    }
    findings.extend(collisions(declared, &after));
    findings.extend(opaque_tokens_of_two(declared, &after));
    findings
}

/// Whether an agent or a client gets a tenant, or another one: a resource that stays may name it.
fn moved_to_a_tenant(declared: &[Declared], current: &Registry) -> bool {
    declared.iter().any(|d| match &d.entry {
        Entry::Agent(x) => {
            x.tenant.is_some() && current.agent(&x.name).is_some_and(|before| before.tenant != x.tenant)
        }
        Entry::Client(x) => {
            x.tenant.is_some() && current.client(&x.id).is_some_and(|before| before.tenant != x.tenant)
        }
        _ => false,
    })
}

/// What is wrong if something that a resource of the tenant `own` names is of `other`.
fn apart(own: Option<&TenantName>, other: Option<&TenantName>, what: &str) -> Option<String> {
    let (own, other) = (own?, other?);
    (own != other).then(|| format!("{what} is of tenant `{other}`, and the resource of tenant `{own}`"))
}

/// What an entry mentions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mention<'e> {
    /// One entry, by its kind and key.
    Entry(EntryKind, &'e str),
    /// A scope of a resource, whichever has it.
    AnyResource,
}

/// What an entry mentions, and cannot be without: what [`dangling`] looks for.
pub fn mentions(entry: &Entry) -> Vec<Mention<'_>> {
    fn agent(name: &AgentName) -> Mention<'_> {
        Mention::Entry(EntryKind::Agent, name.as_str())
    }
    fn on(list: &[Permission]) -> impl Iterator<Item = Mention<'_>> {
        list.iter().map(|permission| Mention::Entry(EntryKind::Resource, permission.resource.as_str()))
    }
    fn of_domain(id: &SpiffeId) -> Mention<'_> {
        Mention::Entry(EntryKind::TrustDomain, id.trust_domain_name())
    }
    match entry {
        Entry::Resource(x) => {
            let client = x.client.iter().map(|id| Mention::Entry(EntryKind::Client, id.as_str()));
            x.agent.iter().map(agent).chain(client).collect()
        }
        Entry::Person(x) => {
            std::iter::once(Mention::Entry(EntryKind::Issuer, x.id.iss.as_str())).chain(on(&x.may)).collect()
        }
        Entry::Agent(x) => std::iter::once(Mention::Entry(EntryKind::Person, x.owner.as_str()))
            .chain(x.proofs.iter().filter_map(AgentProof::svid).map(of_domain))
            .chain(of_proofs(x).flat_map(|(_, ceiling)| on(ceiling)))
            .chain(on(&x.ceiling))
            .chain(on(&x.may))
            .collect(),
        Entry::Client(x) => {
            let scopes = x.scopes.iter().flat_map(ScopeSet::iter).next().map(|_| Mention::AnyResource);
            x.agents.iter().map(agent).chain(scopes).collect()
        }
        Entry::Grant(x) => vec![
            Mention::Entry(EntryKind::Person, x.person.as_str()),
            Mention::Entry(EntryKind::Agent, x.agent.as_str()),
            Mention::Entry(EntryKind::Resource, x.resource.as_str()),
        ],
        Entry::Group(x) => {
            std::iter::once(Mention::Entry(EntryKind::Issuer, x.issuer.as_str())).chain(on(&x.may)).collect()
        }
        Entry::Issuer(_) | Entry::TrustDomain(_) | Entry::Policy(_) => Vec::new(),
    }
}

/// The ceilings of an agent's proofs, with the place of each proof.
fn of_proofs(agent: &Agent) -> impl Iterator<Item = (usize, &[Permission])> {
    let proofs = agent.proofs.iter().enumerate();
    proofs.filter_map(|(at, proof)| Some((at, proof.platform()?.ceiling.as_deref()?)))
}

/// What a resource mentions that does not exist, or is of another tenant.
fn of_resource(x: &Resource, after: &After<'_>, found: &mut Vec<(String, String)>) {
    if let Some(agent) = x.agent.as_ref().filter(|name| after.agent(name).is_none()) {
        found.push(("/agent".to_owned(), after.unknown(EntryKind::Agent, "agent", agent.as_str())));
    }
    if let Some(client) = x.client.as_ref().filter(|id| after.client(id).is_none()) {
        found.push(("/client".to_owned(), after.unknown(EntryKind::Client, "client", client.as_str())));
    }
    let agent = x.agent.as_ref().and_then(|name| after.agent(name));
    found.extend(agent.and_then(|agent| {
        let what = format!("agent `{}`", agent.name);
        Some(("/agent".to_owned(), apart(x.tenant.as_ref(), agent.tenant.as_ref(), &what)?))
    }));
    let client = x.client.as_ref().and_then(|id| after.client(id));
    found.extend(client.and_then(|client| {
        let what = format!("client `{}`", client.id);
        Some(("/client".to_owned(), apart(x.tenant.as_ref(), client.tenant.as_ref(), &what)?))
    }));
}

/// The pointers below an entry, and what they mention that does not exist.
fn dangling(entry: &Entry, after: &After<'_>, defaults: &Defaults) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if is_history(entry) {
        return found;
    }
    match entry {
        Entry::Resource(x) => of_resource(x, after, &mut found),
        Entry::Person(x) => {
            if x.id.iss != defaults.issuer && after.issuer(&x.id.iss).is_none() {
                found.push((
                    "/issuer".to_owned(),
                    after.unknown(EntryKind::Issuer, "issuer", x.id.iss.as_str()),
                ));
            }
            found.extend(permissions(&x.may, "/may", after));
            let of_issuer = after.issuer(&x.id.iss).and_then(|issuer| issuer.tenant.as_ref());
            if let (Some(of_issuer), Some(own)) = (of_issuer, &x.tenant)
                && of_issuer != own
            {
                let detail = format!("all people of issuer `{}` are of tenant `{of_issuer}`", x.id.iss);
                found.push(("/tenant".to_owned(), detail));
            }
        }
        Entry::Agent(x) => {
            if after.person(&x.owner).is_none() {
                found.push((
                    "/owner".to_owned(),
                    after.unknown(EntryKind::Person, "person", x.owner.as_str()),
                ));
            }
            for (at, id) in x.proofs.iter().enumerate().filter_map(|(at, proof)| Some((at, proof.svid()?))) {
                let name = id.trust_domain_name();
                if after.trust_domain(name).is_none() {
                    let detail = after.unknown(EntryKind::TrustDomain, "trust domain", name);
                    found.push((format!("/proof/{at}/trust_domain"), detail));
                }
            }
            for (at, ceiling) in of_proofs(x) {
                found.extend(permissions(ceiling, &format!("/proof/{at}/ceiling"), after));
            }
            found.extend(permissions(&x.ceiling, "/ceiling", after));
            found.extend(permissions(&x.may, "/may", after));
        }
        Entry::Client(x) => {
            for (at, agent) in x.agents.iter().enumerate().filter(|(_, name)| after.agent(name).is_none()) {
                found.push((
                    format!("/agents/{at}"),
                    after.unknown(EntryKind::Agent, "agent", agent.as_str()),
                ));
            }
            for scope in
                x.scopes.iter().flat_map(ScopeSet::iter).filter(|scope| !after.scopes().contains(scope))
            {
                let detail =
                    match nearest(scope.as_str(), after.scopes().iter().map(mandate_core::Scope::as_str)) {
                        Some(meant) => format!("no resource has a scope `{scope}`; did you mean `{meant}`?"),
                        None => format!("no resource has a scope `{scope}`"),
                    };
                found.push(("/scopes".to_owned(), detail));
            }
        }
        Entry::Grant(x) => {
            if after.person(&x.person).is_none() {
                found.push((
                    "/person".to_owned(),
                    after.unknown(EntryKind::Person, "person", x.person.as_str()),
                ));
            }
            if after.agent(&x.agent).is_none() {
                found.push(("/agent".to_owned(), after.unknown(EntryKind::Agent, "agent", x.agent.as_str())));
            }
            found.extend(on_resource(&x.resource, &x.scopes, "", after));
        }
        Entry::Group(x) => {
            if after.issuer(&x.issuer).is_none() {
                found.push((
                    "/issuer".to_owned(),
                    after.unknown(EntryKind::Issuer, "issuer", x.issuer.as_str()),
                ));
            }
            found.extend(permissions(&x.may, "/may", after));
        }
        Entry::Issuer(_) | Entry::TrustDomain(_) | Entry::Policy(_) => {}
    }
    found
}

fn permissions(list: &[Permission], pointer: &str, after: &After<'_>) -> Vec<(String, String)> {
    list.iter()
        .enumerate()
        .flat_map(|(at, p)| on_resource(&p.resource, &p.scopes, &format!("{pointer}/{at}"), after))
        .collect()
}

fn on_resource(
    name: &ResourceName,
    scopes: &ScopeSet,
    pointer: &str,
    after: &After<'_>,
) -> Vec<(String, String)> {
    let Some(resource) = after.resource(name) else {
        return vec![(
            format!("{pointer}/resource"),
            after.unknown(EntryKind::Resource, "resource", name.as_str()),
        )];
    };
    let missing = scopes.iter().filter(|scope| !resource.scopes.contains(scope));
    missing
        .map(|scope| {
            let detail =
                match nearest(scope.as_str(), resource.scopes.iter().map(mandate_core::Scope::as_str)) {
                    Some(meant) => {
                        format!("resource `{name}` has no scope `{scope}`; did you mean `{meant}`?")
                    }
                    None => format!("resource `{name}` has no scope `{scope}`"),
                };
            (format!("{pointer}/scopes"), detail)
        })
        .collect()
}

/// Two entries of one kind that claim the same identifier on the wire.
fn collisions(declared: &[Declared], after: &After<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut claimed: HashMap<(EntryKind, String), &str> = HashMap::new();
    for item in declared {
        let (member, id, holder) = match &item.entry {
            Entry::Resource(x) => {
                // An empty path and `/` are one identifier (RFC 3986 §6.2.3), so they are claimed together.
                let one = other_spelling(x.uri.as_str()).filter(|other| other.len() < x.uri.as_str().len());
                (
                    "/uri",
                    one.unwrap_or_else(|| x.uri.as_str().to_owned()),
                    after.current.resource_by_uri(&x.uri).map(|r| r.name.as_str()),
                )
            }
            Entry::Person(x) => {
                ("", x.id.to_string(), after.current.person_by_id(&x.id).map(|p| p.name.as_str()))
            }
            Entry::Agent(x) => (
                "/spiffe_id",
                x.spiffe_id.as_str().to_owned(),
                after.current.agent_by_id(&x.spiffe_id).map(|a| a.name.as_str()),
            ),
            Entry::Group(x) => (
                "/id",
                format!("{} of {}", x.id, x.issuer),
                after.current.group_by_id(&x.issuer, &x.id).map(|group| group.name.as_str()),
            ),
            Entry::Client(_)
            | Entry::Issuer(_)
            | Entry::TrustDomain(_)
            | Entry::Grant(_)
            | Entry::Policy(_) => continue,
        };
        let (kind, key) = (item.entry.kind(), item.entry.key());
        let stays = holder.filter(|name| *name != key && after.untouched(kind, name));
        let other = claimed.insert((kind, id.clone()), key).or(stays);
        if let Some(other) = other.filter(|other| *other != key) {
            let word = kind_name(kind);
            findings.push(Finding::new(
                format!("{}{member}", item.pointer),
                format!("{word} `{other}` is `{id}` already"),
            ));
        }
    }
    findings
}

/// Two issuers that name one client as theirs: nothing in an opaque token says whose it is, and it is shown to
/// one issuer alone.
fn opaque_tokens_of_two(declared: &[Declared], after: &After<'_>) -> Vec<Finding> {
    fn named(issuer: &TrustedIssuer) -> impl Iterator<Item = &ClientId> {
        issuer.introspection.iter().flat_map(|asks| &asks.clients)
    }
    let mut holders: HashMap<&ClientId, &Issuer> = HashMap::new();
    for issuer in after.current.issuers() {
        if after.untouched(EntryKind::Issuer, issuer.url.as_str()) {
            holders.extend(named(issuer).map(|client| (client, &issuer.url)));
        }
    }
    let mut findings = Vec::new();
    for item in declared {
        let Entry::Issuer(issuer) = &item.entry else { continue };
        for client in named(issuer) {
            if let Some(other) = holders.insert(client, &issuer.url).filter(|other| **other != issuer.url) {
                let detail = format!(
                    "opaque tokens of the client `{client}` are of the issuer `{other}` already: a token is shown to one issuer alone"
                );
                findings.push(Finding::new(format!("{}/introspection/clients", item.pointer), detail));
            }
        }
    }
    findings
}

/// Notes about what is allowed but probably a mistake: a grant of scopes that can never be used, a grant that
/// has ended, or an agent's own permission beyond its ceiling.
pub(crate) fn notes(declared: &[Declared], defaults: &Defaults) -> Vec<String> {
    let of = |kind: EntryKind, key: &str| {
        declared.iter().position(|d| d.entry.kind() == kind && d.entry.key() == key)
    };
    // Only for files that a person can have written, because the search is quadratic.
    if declared.len() > 1000 {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for group in declared.iter().filter_map(|d| match &d.entry {
        Entry::Group(group) => Some(group),
        _ => None,
    }) {
        if let Some(Entry::Issuer(issuer)) =
            of(EntryKind::Issuer, group.issuer.as_str()).and_then(|at| declared.get(at)).map(|d| &d.entry)
            && issuer.groups_claim.is_none()
        {
            notes.push(format!(
                "group `{}` has no members: `claims.groups` of issuer `{}` does not say where its tokens name groups",
                group.name, issuer.url
            ));
        }
    }
    for grant in declared.iter().filter_map(|d| match &d.entry {
        Entry::Grant(grant) if !grant.revoked => Some(grant),
        _ => None,
    }) {
        if let Some(end) = grant.expires.filter(|end| *end <= defaults.now) {
            notes.push(format!("{} ended at {end}: nothing will be given by it", parties(grant)));
        }
        notes.extend(crosses_tenants(grant, &|kind, key| {
            of(kind, key).and_then(|at| declared.get(at)).map(|declared| &declared.entry)
        }));
        if let Some(Entry::Agent(agent)) =
            of(EntryKind::Agent, grant.agent.as_str()).and_then(|at| declared.get(at)).map(|d| &d.entry)
        {
            notes.extend(unused(grant, &agent.ceiling, &format!("the ceiling of `{}`", agent.name)));
        }
        if let Some(Entry::Person(person)) =
            of(EntryKind::Person, grant.person.as_str()).and_then(|at| declared.get(at)).map(|d| &d.entry)
        {
            // Who is in a group is known at the login alone.
            let groups = declared.iter().filter_map(|d| match &d.entry {
                Entry::Group(group) if group.issuer == person.id.iss => Some(group),
                _ => None,
            });
            let may = person.may.iter().chain(groups.flat_map(|group| &group.may));
            let may: Vec<Permission> = may.cloned().collect();
            notes.extend(unused(grant, &may, &format!("what `{}` may do", person.name)));
        }
    }
    for agent in declared.iter().filter_map(|d| match &d.entry {
        Entry::Agent(agent) => Some(agent),
        _ => None,
    }) {
        for (_, ceiling) in of_proofs(agent) {
            for within in ceiling {
                let whose = format!("the ceiling of a proof of `{}` on `{}`", agent.name, within.resource);
                let bound = format!("the ceiling of `{}`", agent.name);
                notes.extend(beyond(&within.scopes, &within.resource, &agent.ceiling, &whose, &bound));
            }
        }
        for own in &agent.may {
            let whose = format!("what `{}` may do on its own behalf on `{}`", agent.name, own.resource);
            let bound = format!("the ceiling of `{}`", agent.name);
            notes.extend(beyond(&own.scopes, &own.resource, &agent.ceiling, &whose, &bound));
        }
    }
    notes
}

/// A note if what a grant names belongs to different tenants.
fn crosses_tenants<'d>(grant: &Grant, find: &dyn Fn(EntryKind, &str) -> Option<&'d Entry>) -> Option<String> {
    let tenant = |kind, key: &str| match find(kind, key)? {
        Entry::Person(x) => x.tenant.as_ref().or_else(|| match find(EntryKind::Issuer, x.id.iss.as_str())? {
            Entry::Issuer(issuer) => issuer.tenant.as_ref(),
            _ => None,
        }),
        Entry::Agent(x) => x.tenant.as_ref(),
        Entry::Resource(x) => x.tenant.as_ref(),
        _ => None,
    };
    let parties = [
        (EntryKind::Person, grant.person.as_str()),
        (EntryKind::Agent, grant.agent.as_str()),
        (EntryKind::Resource, grant.resource.as_str()),
    ];
    let mut tenants: Vec<&str> =
        parties.into_iter().filter_map(|(kind, key)| Some(tenant(kind, key)?.as_str())).collect();
    tenants.sort_unstable();
    tenants.dedup();
    (tenants.len() > 1).then(|| {
        format!(
            "{} crosses the tenants `{}`: nothing will be given by it",
            self::parties(grant),
            tenants.join("` and `")
        )
    })
}

fn unused(grant: &Grant, bound: &[Permission], whose: &str) -> Option<String> {
    beyond(&grant.scopes, &grant.resource, bound, &parties(grant), whose)
}

/// A note if `what` has scopes on a resource that `bound`, which is `whose`, does not have.
fn beyond(
    scopes: &ScopeSet,
    resource: &ResourceName,
    bound: &[Permission],
    what: &str,
    whose: &str,
) -> Option<String> {
    let within: ScopeSet =
        bound.iter().filter(|p| p.resource == *resource).flat_map(|p| p.scopes.iter().cloned()).collect();
    let beyond = scopes.filter(|scope| !within.contains(scope));
    (!beyond.is_empty())
        .then(|| format!("{what} has `{beyond}`, which {whose} does not: it will not be given"))
}

fn parties(grant: &Grant) -> String {
    format!("the grant of `{}` to `{}` on `{}`", grant.person, grant.agent, grant.resource)
}
