//! Whether an entry is stopped, separate from the rest of its content.

use serde::{Deserialize, Serialize};

use super::{AgentState, Entry};

/// How far an entry is stopped. Of two values for one entry, the greater one is the stronger stop.
///
/// A stop and a change of the same entry can be made at the same time. Each then keeps what the other has
/// done: the stop changes nothing else in the entry, and the change does not lift a stop that it has not
/// seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// The state of an agent.
    Agent(AgentState),
    /// Whether a person is disabled.
    Person(bool),
    /// Whether a grant is revoked.
    Grant(bool),
}

impl Entry {
    /// How far it is stopped; `None` for kinds of entries that have no state.
    pub fn halt(&self) -> Option<Halt> {
        match self {
            Self::Agent(agent) => Some(Halt::Agent(agent.state)),
            Self::Person(person) => Some(Halt::Person(person.disabled)),
            Self::Grant(grant) => Some(Halt::Grant(grant.revoked)),
            Self::Resource(_)
            | Self::Client(_)
            | Self::Issuer(_)
            | Self::Group(_)
            | Self::TrustDomain(_)
            | Self::Policy(_) => None,
        }
    }

    /// Stops it at least this far. An entry of another kind stays as it is.
    pub fn stop(&mut self, halt: Halt) {
        match (self, halt) {
            (Self::Agent(agent), Halt::Agent(state)) => agent.state = agent.state.max(state),
            (Self::Person(person), Halt::Person(disabled)) => person.disabled |= disabled,
            (Self::Grant(grant), Halt::Grant(revoked)) => grant.revoked |= revoked,
            (Self::Agent(_), Halt::Person(_) | Halt::Grant(_))
            | (Self::Person(_), Halt::Agent(_) | Halt::Grant(_))
            | (Self::Grant(_), Halt::Agent(_) | Halt::Person(_))
            | (
                Self::Resource(_)
                | Self::Client(_)
                | Self::Issuer(_)
                | Self::Group(_)
                | Self::TrustDomain(_)
                | Self::Policy(_),
                Halt::Agent(_) | Halt::Person(_) | Halt::Grant(_),
            ) => {}
        }
    }

    /// The same, stopped at least this far.
    #[must_use]
    pub fn stopped(mut self, halt: Option<Halt>) -> Self {
        if let Some(halt) = halt {
            self.stop(halt);
        }
        self
    }

    /// This entry as the new value of another one. `then`: how far that one was stopped when the change was
    /// planned. `now`: its present value. If it was stopped in between, the new value is stopped as well.
    #[must_use]
    pub fn keeping_a_stop(self, then: Option<Halt>, now: Option<&Self>) -> Self {
        let current = now.and_then(Self::halt);
        if then < current { self.stopped(current) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Agent, Entry, Grant, Person, Resource};
    use super::{AgentState, Halt};
    use crate::{ScopeSet, Subject};

    const STATES: [AgentState; 4] =
        [AgentState::Active, AgentState::Suspended, AgentState::Contained, AgentState::Retired];

    fn agent(state: AgentState) -> Entry {
        Entry::Agent(Agent {
            name: "a".parse().unwrap(),
            owner: "olga".parse().unwrap(),
            spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
            selectors: Vec::new(),
            proofs: Vec::new(),
            ceiling: Vec::new(),
            may: Vec::new(),
            chain_depth: 1,
            state,
            purpose: String::new(),
            tenant: None,
        })
    }

    fn person(disabled: bool) -> Entry {
        let id = Subject { iss: "https://m.example".parse().unwrap(), sub: "olga".into() };
        Entry::Person(Person { name: "olga".parse().unwrap(), id, may: Vec::new(), disabled, tenant: None })
    }

    #[test]
    fn a_stop_never_brings_an_agent_nearer_to_acting() {
        for before in STATES {
            for to in STATES {
                let mut entry = agent(before);
                entry.stop(Halt::Agent(to));
                assert_eq!(entry, agent(before.max(to)), "{before:?} {to:?}");
            }
        }
        assert!(STATES.is_sorted(), "from acting to gone");
    }

    #[test]
    fn a_change_lifts_the_stops_that_it_saw_and_no_others() {
        for then in STATES {
            for now in STATES {
                for after in STATES {
                    let kept = if now > then { after.max(now) } else { after };
                    let changed = agent(after).keeping_a_stop(agent(then).halt(), Some(&agent(now)));
                    assert_eq!(changed, agent(kept), "{then:?} {now:?} {after:?}");
                }
            }
        }
        assert_eq!(person(false).keeping_a_stop(person(false).halt(), Some(&person(true))), person(true));
        assert_eq!(person(false).keeping_a_stop(person(true).halt(), Some(&person(true))), person(false));
        assert_eq!(person(false).keeping_a_stop(person(true).halt(), None), person(false));
    }

    #[test]
    fn a_stop_of_another_kind_changes_nothing() {
        let mut entry = person(false);
        entry.stop(Halt::Agent(AgentState::Retired));
        entry.stop(Halt::Grant(true));
        assert_eq!(entry, person(false));
        let (name, uri) = ("crm".parse().unwrap(), "https://crm.example".parse().unwrap());
        let mut crm = Entry::Resource(Resource {
            name,
            uri,
            scopes: ScopeSet::new(),
            tools: Vec::new(),
            agent: None,
            client: None,
            unattested: ScopeSet::new(),
            tenant: None,
        });
        let before = crm.clone();
        crm.stop(Halt::Person(true));
        assert_eq!((crm.halt(), &crm), (None, &before));
    }

    #[test]
    fn a_revoked_grant_stays_revoked() {
        let grant = |revoked| {
            Entry::Grant(Grant {
                id: "g".parse().unwrap(),
                person: "olga".parse().unwrap(),
                agent: "a".parse().unwrap(),
                resource: "crm".parse().unwrap(),
                scopes: ScopeSet::new(),
                constraints: crate::constraint::Constraints::default(),
                expires: None,
                span: None,
                max_uses: None,
                revoked,
            })
        };
        let mut entry = grant(true);
        entry.stop(Halt::Grant(false));
        assert_eq!(entry, grant(true));
    }
}
