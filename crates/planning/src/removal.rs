//! Whether an entry that a file does not mention may be removed.

use mandate_core::registry::Entry;

use crate::states::{
    AgentAct, GrantAct, GrantState, PersonAct, PersonState, StateMachine as _, StateRefusal,
};

/// Whether an entry in its present state may be removed from the registry.
pub fn may_be_removed(entry: &Entry) -> bool {
    removal(entry).is_ok()
}

/// Whether an entry may be removed.
pub(crate) fn removal(entry: &Entry) -> Result<(), StateRefusal> {
    match entry {
        Entry::Agent(agent) => agent.state.after(AgentAct::Remove).map(drop),
        Entry::Grant(grant) => GrantState::of(grant).after(GrantAct::Remove).map(drop),
        Entry::Person(person) => PersonState::of(person).after(PersonAct::Remove).map(drop),
        Entry::Resource(_)
        | Entry::Client(_)
        | Entry::Issuer(_)
        | Entry::Group(_)
        | Entry::TrustDomain(_)
        | Entry::Policy(_) => Ok(()),
    }
}

/// Whether an entry stays in the registry permanently: the names of retired agents are never given to other
/// agents, and revoked grants explain old records.
pub(crate) fn is_history(entry: &Entry) -> bool {
    matches!(removal(entry), Err(StateRefusal::Retired | StateRefusal::Revoked))
}
