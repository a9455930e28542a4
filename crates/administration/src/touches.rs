//! The names by which what an operator changed is found later in the audit log.

use mandate_audit::{Touch, Touched};
use mandate_core::CutTarget;
use mandate_core::registry::{Entry, Registry, Resource};

pub(crate) fn touched<'a>(all: impl IntoIterator<Item = Touch<'a>>) -> Option<Box<Touched>> {
    let kept = Touched::of(all);
    (!kept.is_empty()).then(|| Box::new(kept))
}

/// The names by which a change of an entry is found later: the entry itself and, for a grant, its parties.
pub(crate) fn touches<'a>(entry: &'a Entry, registry: &'a Registry) -> Vec<Touch<'a>> {
    match entry {
        Entry::Resource(x) => vec![Touch::Resource(x.name.as_str()), Touch::Resource(x.uri.as_str())],
        Entry::Person(x) => vec![Touch::Person(&x.id)],
        Entry::Agent(x) => vec![Touch::Agent(x.name.as_str()), Touch::Agent(x.spiffe_id.as_str())],
        Entry::Client(x) => vec![Touch::Client(x.id.as_str())],
        Entry::Grant(x) => {
            let mut all = vec![
                Touch::Grant(x.id.as_str()),
                Touch::Agent(x.agent.as_str()),
                Touch::Resource(x.resource.as_str()),
            ];
            all.extend(registry.person(&x.person).map(|person| Touch::Person(&person.id)));
            all.extend(registry.agent(&x.agent).map(|agent| Touch::Agent(agent.spiffe_id.as_str())));
            all.extend(registry.resource(&x.resource).map(|resource| Touch::Resource(resource.uri.as_str())));
            all
        }
        Entry::Issuer(_) | Entry::Group(_) | Entry::TrustDomain(_) | Entry::Policy(_) => Vec::new(),
    }
}

/// Who else is affected by a change of an entry: the agents of a client, the agent and the client of a
/// resource.
pub(crate) fn touches_beside<'a>(entry: &'a Entry, registry: &'a Registry) -> Vec<Touch<'a>> {
    let agents: &[_] = match entry {
        Entry::Client(x) => x.agents.as_slice(),
        Entry::Resource(x) => x.agent.as_slice(),
        Entry::Person(_)
        | Entry::Agent(_)
        | Entry::Issuer(_)
        | Entry::Group(_)
        | Entry::TrustDomain(_)
        | Entry::Grant(_)
        | Entry::Policy(_) => &[],
    };
    let mut all: Vec<Touch<'a>> = agents.iter().map(|name| Touch::Agent(name.as_str())).collect();
    all.extend(
        agents
            .iter()
            .filter_map(|name| registry.agent(name))
            .map(|agent| Touch::Agent(agent.spiffe_id.as_str())),
    );
    if let Entry::Resource(Resource { client: Some(client), .. }) = entry {
        all.push(Touch::Client(client.as_str()));
    }
    all
}

/// The names by which a revocation is found later.
pub(crate) fn touches_of_cut<'a>(target: &'a CutTarget, registry: &'a Registry) -> Vec<Touch<'a>> {
    match target {
        CutTarget::Token(jti) => vec![Touch::Token(jti.as_str())],
        CutTarget::Grant(id) => {
            let mut all = vec![Touch::Grant(id.as_str())];
            if let Some(grant) = registry.grant(id) {
                all.extend(registry.person(&grant.person).map(|person| Touch::Person(&person.id)));
                all.extend(registry.agent(&grant.agent).map(|agent| Touch::Agent(agent.spiffe_id.as_str())));
                all.extend(
                    registry.resource(&grant.resource).map(|resource| Touch::Resource(resource.uri.as_str())),
                );
            }
            all
        }
        CutTarget::Agent(sub) => {
            let agent = sub.parse().ok().and_then(|id| registry.agent_by_id(&id));
            std::iter::once(Touch::Agent(sub))
                .chain(agent.map(|agent| Touch::Agent(agent.name.as_str())))
                .collect()
        }
        CutTarget::Person(person) => vec![Touch::Person(person)],
        CutTarget::Client(id) => vec![Touch::Client(id.as_str())],
        // No record is found by a group.
        CutTarget::Group(_) => Vec::new(),
    }
}
