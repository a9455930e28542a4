//! The registry: what an operator has declared. An immutable, indexed snapshot of validated
//! entries.

mod claim_path;
mod entries;
mod foreign_domain;
mod group;
mod halt;
mod narrowing;
mod platform;
mod proof;
mod standing;
mod tenancy;
mod trusted_issuer;
mod version;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::id::{AgentName, ClientId, GrantId, GroupName, PersonName, PolicyName, ResourceName};
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::subject::Subject;
use crate::uri::{Issuer, ResourceUri, other_spelling};

use proof::ProofIndex;

pub use claim_path::ClaimPath;
pub use entries::{
    Agent, AgentState, AssertionAudience, Client, ClientAuthentication, DEFAULT_CHAIN_DEPTH, Entry,
    EntryKind, Grant, Group, Permission, Person, Policy, Resource, Tool,
};
pub use foreign_domain::{BundleSource, ForeignDomain};
pub use group::{MAX_GROUP_ID_LEN, MAX_GROUPS, is_group_id};
pub use halt::Halt;
pub use platform::{MAX_MEMBER_LEN, MemberForm, Need, Platform, ProofMember, role_account};
pub use proof::{AgentProof, PlatformClaims, PlatformProof, ProofEvidence, ProofKind};
pub use standing::GrantEnd;
pub use tenancy::{OneTenant, TenantCrossing};
pub use trusted_issuer::{
    EVENTS_PATH, IdTokenUse, IntrospectionClient, LOGIN_CALLBACK_PATH, LOGOUT_PATH, SubjectScope,
    TokenProfile, TrustedIssuer, UpstreamClient, events_address, login_callback, login_key,
};
pub use version::RegistryVersion;

/// An immutable, indexed snapshot of the registry. Cloning shares the entries.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    resources: HashMap<ResourceName, Arc<Resource>>,
    resources_by_uri: HashMap<ResourceUri, Arc<Resource>>,
    people: HashMap<PersonName, Arc<Person>>,
    people_by_id: HashMap<Subject, Arc<Person>>,
    agents: HashMap<AgentName, Arc<Agent>>,
    agents_by_id: HashMap<SpiffeId, Arc<Agent>>,
    proofs: ProofIndex,
    clients: HashMap<ClientId, Arc<Client>>,
    issuers: HashMap<Issuer, Arc<TrustedIssuer>>,
    groups: HashMap<GroupName, Arc<Group>>,
    groups_by_id: HashMap<Issuer, HashMap<String, Arc<Group>>>,
    trust_domains: HashMap<TrustDomain, Arc<ForeignDomain>>,
    grants: HashMap<GrantId, Arc<Grant>>,
    grants_by_parties: HashMap<(PersonName, AgentName, ResourceName), Vec<Arc<Grant>>>,
    policies: HashMap<PolicyName, Arc<Policy>>,
}

impl Registry {
    /// Builds a snapshot from entries.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut registry = Self::default();
        for entry in entries {
            registry.put(entry);
        }
        registry
    }

    /// Adds an entry, or replaces the one with the same key.
    pub fn put(&mut self, entry: Entry) {
        self.remove(entry.kind(), entry.key());
        match entry {
            Entry::Resource(x) => {
                let x = Arc::new(x);
                self.resources_by_uri.insert(x.uri.clone(), Arc::clone(&x));
                self.resources.insert(x.name.clone(), x);
            }
            Entry::Person(x) => {
                let x = Arc::new(x);
                self.people_by_id.insert(x.id.clone(), Arc::clone(&x));
                self.people.insert(x.name.clone(), x);
            }
            Entry::Agent(x) => {
                let x = Arc::new(x);
                self.agents_by_id.insert(x.spiffe_id.clone(), Arc::clone(&x));
                self.proofs.add(&x);
                self.agents.insert(x.name.clone(), x);
            }
            Entry::Client(x) => {
                self.clients.insert(x.id.clone(), Arc::new(x));
            }
            Entry::Issuer(x) => {
                self.issuers.insert(x.url.clone(), Arc::new(x));
            }
            Entry::Group(x) => {
                let x = Arc::new(x);
                self.groups_by_id.entry(x.issuer.clone()).or_default().insert(x.id.clone(), Arc::clone(&x));
                self.groups.insert(x.name.clone(), x);
            }
            Entry::TrustDomain(x) => {
                self.trust_domains.insert(x.name.clone(), Arc::new(x));
            }
            Entry::Grant(x) => {
                let x = Arc::new(x);
                self.grants_by_parties
                    .entry((x.person.clone(), x.agent.clone(), x.resource.clone()))
                    .or_default()
                    .push(Arc::clone(&x));
                self.grants.insert(x.id.clone(), x);
            }
            Entry::Policy(x) => {
                self.policies.insert(x.name.clone(), Arc::new(x));
            }
        }
    }

    /// Removes an entry, if it is there.
    pub fn remove(&mut self, kind: EntryKind, key: &str) {
        match kind {
            EntryKind::Resource => {
                if let Some(old) = key.parse().ok().and_then(|k: ResourceName| self.resources.remove(&k)) {
                    forget_index(&mut self.resources_by_uri, &old.uri, &old);
                }
            }
            EntryKind::Person => {
                if let Some(old) = key.parse().ok().and_then(|k: PersonName| self.people.remove(&k)) {
                    forget_index(&mut self.people_by_id, &old.id, &old);
                }
            }
            EntryKind::Agent => {
                if let Some(old) = key.parse().ok().and_then(|k: AgentName| self.agents.remove(&k)) {
                    forget_index(&mut self.agents_by_id, &old.spiffe_id, &old);
                    self.proofs.remove(&old);
                }
            }
            EntryKind::Client => {
                if let Ok(key) = key.parse::<ClientId>() {
                    self.clients.remove(&key);
                }
            }
            EntryKind::Issuer => {
                if let Ok(key) = key.parse::<Issuer>() {
                    self.issuers.remove(&key);
                }
            }
            EntryKind::Group => {
                if let Some(old) = key.parse().ok().and_then(|k: GroupName| self.groups.remove(&k))
                    && let Some(of_issuer) = self.groups_by_id.get_mut(&old.issuer)
                {
                    forget_index(of_issuer, &old.id, &old);
                    if of_issuer.is_empty() {
                        self.groups_by_id.remove(&old.issuer);
                    }
                }
            }
            EntryKind::TrustDomain => {
                self.trust_domains.remove(key);
            }
            EntryKind::Grant => {
                if let Some(old) = key.parse().ok().and_then(|k: GrantId| self.grants.remove(&k)) {
                    let parties = (old.person.clone(), old.agent.clone(), old.resource.clone());
                    if let Some(list) = self.grants_by_parties.get_mut(&parties) {
                        list.retain(|g| g.id != old.id);
                        if list.is_empty() {
                            self.grants_by_parties.remove(&parties);
                        }
                    }
                }
            }
            EntryKind::Policy => {
                if let Ok(key) = key.parse::<PolicyName>() {
                    self.policies.remove(&key);
                }
            }
        }
    }

    /// The entry of that kind and key.
    pub fn get(&self, kind: EntryKind, key: &str) -> Option<Entry> {
        Some(match kind {
            EntryKind::Resource => Entry::Resource(Resource::clone(self.resource(&key.parse().ok()?)?)),
            EntryKind::Person => Entry::Person(Person::clone(self.person(&key.parse().ok()?)?)),
            EntryKind::Agent => Entry::Agent(Agent::clone(self.agent(&key.parse().ok()?)?)),
            EntryKind::Client => Entry::Client(Client::clone(self.client(&key.parse().ok()?)?)),
            EntryKind::Issuer => Entry::Issuer(TrustedIssuer::clone(self.issuer(key)?)),
            EntryKind::Group => Entry::Group(Group::clone(self.group(&key.parse().ok()?)?)),
            EntryKind::TrustDomain => Entry::TrustDomain(ForeignDomain::clone(self.trust_domain(key)?)),
            EntryKind::Grant => Entry::Grant(Grant::clone(self.grant(&key.parse().ok()?)?)),
            EntryKind::Policy => Entry::Policy(Policy::clone(self.policies.get(&key.parse().ok()?)?)),
        })
    }

    /// The resource of that name.
    pub fn resource(&self, name: &ResourceName) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// The resource with that identifier, in either spelling of an empty path: see
    /// [`Registry::resource_uri`].
    pub fn resource_by_uri(&self, uri: &ResourceUri) -> Option<&Arc<Resource>> {
        let found = self.resources_by_uri.get(uri);
        found.or_else(|| {
            other_spelling(uri.as_str()).and_then(|other| self.resources_by_uri.get(other.as_str()))
        })
    }

    /// The identifier of the registered resource that `text` names: written exactly so, or with the other
    /// spelling of an empty path (RFC 3986 §6.2.3).
    pub fn resource_uri(&self, text: &str) -> Option<&ResourceUri> {
        let find = |text: &str| self.resources_by_uri.get_key_value(text).map(|(uri, _)| uri);
        find(text).or_else(|| other_spelling(text).and_then(|other| find(&other)))
    }

    /// The person of that name.
    pub fn person(&self, name: &PersonName) -> Option<&Arc<Person>> {
        self.people.get(name)
    }

    /// The person with that issuer and subject.
    pub fn person_by_id(&self, id: &Subject) -> Option<&Arc<Person>> {
        self.people_by_id.get(id)
    }

    /// The agent of that name.
    pub fn agent(&self, name: &AgentName) -> Option<&Arc<Agent>> {
        self.agents.get(name)
    }

    /// The agent with that SPIFFE ID.
    pub fn agent_by_id(&self, id: &SpiffeId) -> Option<&Arc<Agent>> {
        self.agents_by_id.get(id)
    }

    /// The platform whose tokens this issuer issues, if the proof of an agent names the issuer.
    pub fn platform_of_issuer(&self, issuer: &str) -> Option<Platform> {
        self.proofs.platform(issuer)
    }

    /// The agents with a proof that names the workload of a token. Their proofs may require more than that.
    pub fn agents_of_workload(
        &self,
        issuer: &Issuer,
        platform: Platform,
        said: &PlatformClaims,
    ) -> &[Arc<Agent>] {
        self.proofs.agents(issuer, platform, said)
    }

    /// The agents that a JWT-SVID of another trust domain with this SPIFFE ID proves.
    pub fn agents_of_svid(&self, id: &SpiffeId) -> &[Arc<Agent>] {
        self.proofs.agents_of_svid(id)
    }

    /// The client with that id.
    pub fn client(&self, id: &ClientId) -> Option<&Arc<Client>> {
        self.clients.get(id)
    }

    /// The trusted issuer with that identifier, compared bytewise (RFC 8414 §3.3).
    pub fn issuer<Q: Hash + Eq + ?Sized>(&self, url: &Q) -> Option<&Arc<TrustedIssuer>>
    where
        Issuer: Borrow<Q>,
    {
        self.issuers.get(url)
    }

    /// The group of that name.
    pub fn group(&self, name: &GroupName) -> Option<&Arc<Group>> {
        self.groups.get(name)
    }

    /// The trust domain of another organization with that name.
    pub fn trust_domain<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<&Arc<ForeignDomain>>
    where
        TrustDomain: Borrow<Q>,
    {
        self.trust_domains.get(name)
    }

    /// The grant with that id.
    pub fn grant(&self, id: &GrantId) -> Option<&Arc<Grant>> {
        self.grants.get(id)
    }

    /// All grants of a person to an agent on a resource.
    pub fn grants_between(
        &self,
        person: &PersonName,
        agent: &AgentName,
        resource: &ResourceName,
    ) -> &[Arc<Grant>] {
        // The key is built for each call. It has three short strings; an index by references would need more
        // types than that is worth.
        self.grants_by_parties
            .get(&(person.clone(), agent.clone(), resource.clone()))
            .map_or(&[], Vec::as_slice)
    }

    /// All resources, in no particular order.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// All people, in no particular order.
    pub fn people(&self) -> impl Iterator<Item = &Arc<Person>> {
        self.people.values()
    }

    /// All agents, in no particular order.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// All clients, in no particular order.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    /// All trusted issuers, in no particular order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers.values()
    }

    /// All groups, in no particular order.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    /// All trust domains of other organizations, in no particular order.
    pub fn trust_domains(&self) -> impl Iterator<Item = &Arc<ForeignDomain>> {
        self.trust_domains.values()
    }

    /// All grants, in no particular order.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.values()
    }

    /// All policies, in no particular order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// The first `most` entries of a kind whose key is greater than `after`, ordered by key, bytewise. An
    /// empty `after` is before every key.
    pub fn page(&self, kind: EntryKind, after: &str, most: usize) -> Vec<Entry> {
        let mut keys = self.keys(kind);
        keys.retain(|key| *key > after);
        if most < keys.len() {
            keys.select_nth_unstable(most);
            keys.truncate(most);
        }
        keys.sort_unstable();
        keys.into_iter().filter_map(|key| self.get(kind, key)).collect()
    }

    fn keys(&self, kind: EntryKind) -> Vec<&str> {
        match kind {
            EntryKind::Resource => self.resources.keys().map(ResourceName::as_str).collect(),
            EntryKind::Person => self.people.keys().map(PersonName::as_str).collect(),
            EntryKind::Agent => self.agents.keys().map(AgentName::as_str).collect(),
            EntryKind::Client => self.clients.keys().map(ClientId::as_str).collect(),
            EntryKind::Issuer => self.issuers.keys().map(Issuer::as_str).collect(),
            EntryKind::Group => self.groups.keys().map(GroupName::as_str).collect(),
            EntryKind::TrustDomain => self.trust_domains.keys().map(TrustDomain::as_str).collect(),
            EntryKind::Grant => self.grants.keys().map(GrantId::as_str).collect(),
            EntryKind::Policy => self.policies.keys().map(PolicyName::as_str).collect(),
        }
    }

    /// Every entry, in the order of kinds and then keys.
    pub fn entries(&self) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        all.extend(self.resources().map(|x| Entry::Resource(Resource::clone(x))));
        all.extend(self.people().map(|x| Entry::Person(Person::clone(x))));
        all.extend(self.agents().map(|x| Entry::Agent(Agent::clone(x))));
        all.extend(self.clients().map(|x| Entry::Client(Client::clone(x))));
        all.extend(self.issuers().map(|x| Entry::Issuer(TrustedIssuer::clone(x))));
        all.extend(self.groups().map(|x| Entry::Group(Group::clone(x))));
        all.extend(self.trust_domains().map(|x| Entry::TrustDomain(ForeignDomain::clone(x))));
        all.extend(self.grants().map(|x| Entry::Grant(Grant::clone(x))));
        all.extend(self.policies().map(|x| Entry::Policy(Policy::clone(x))));
        all.sort_by(|a, b| (a.kind(), a.key()).cmp(&(b.kind(), b.key())));
        all
    }
}

/// Removes a deleted entry from an index, unless the index has another entry under this key: two entries may
/// exchange identifiers in one change.
fn forget_index<K: Hash + Eq, V>(index: &mut HashMap<K, Arc<V>>, key: &K, old: &Arc<V>) {
    if index.get(key).is_some_and(|now| Arc::ptr_eq(now, old)) {
        index.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, EntryKind, Person, Registry, Resource};
    use crate::{ScopeSet, Subject};

    fn person(name: &str, sub: &str) -> Person {
        let id = Subject { iss: "https://m.example".parse().unwrap(), sub: sub.into() };
        Person { name: name.parse().unwrap(), id, may: Vec::new(), disabled: false, tenant: None }
    }

    fn resource(name: &str, uri: &str) -> Resource {
        let (name, uri) = (name.parse().unwrap(), uri.parse().unwrap());
        Resource {
            name,
            uri,
            scopes: ScopeSet::new(),
            tools: Vec::new(),
            agent: None,
            client: None,
            unattested: ScopeSet::new(),
            tenant: None,
        }
    }

    #[test]
    fn pages_are_by_key_bytewise_and_end_to_end() {
        let names = ["riley", "a", "z9", "sam", "riley-2", "b.c", "casey"];
        let registry = Registry::from_entries(names.map(|name| Entry::Person(person(name, name))));
        let mut sorted = names;
        sorted.sort_unstable();
        for most in 1..=8 {
            let (mut got, mut after) = (Vec::new(), String::new());
            loop {
                let page = registry.page(EntryKind::Person, &after, most);
                assert!(page.len() <= most);
                let Some(last) = page.last() else { break };
                after = last.key().to_owned();
                got.extend(page.iter().map(|entry| entry.key().to_owned()));
            }
            assert_eq!(got, sorted, "{most}");
        }
        assert!(registry.page(EntryKind::Agent, "", 10).is_empty(), "of that kind alone");
        assert!(registry.page(EntryKind::Person, "", 0).is_empty());
    }

    #[test]
    fn two_entries_that_trade_their_identifiers_are_both_found_by_them() {
        let (one, two) = ("https://one.example", "https://two.example");
        let mut registry = Registry::from_entries([
            Entry::Person(person("riley", "1")),
            Entry::Person(person("sam", "2")),
            Entry::Resource(resource("crm", one)),
            Entry::Resource(resource("desk", two)),
        ]);
        registry.put(Entry::Person(person("riley", "2")));
        registry.put(Entry::Person(person("sam", "1")));
        registry.put(Entry::Resource(resource("crm", two)));
        registry.put(Entry::Resource(resource("desk", one)));
        for (name, sub) in [("riley", "2"), ("sam", "1")] {
            assert_eq!(registry.person_by_id(&person(name, sub).id).unwrap().name.as_str(), name);
        }
        for (name, uri) in [("crm", two), ("desk", one)] {
            assert_eq!(registry.resource_by_uri(&uri.parse().unwrap()).unwrap().name.as_str(), name);
        }
        registry.remove(EntryKind::Person, "riley");
        assert!(registry.person_by_id(&person("riley", "2").id).is_none(), "and not when they are gone");
    }
}
