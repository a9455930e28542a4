//! Which attested process may have which identity.

use std::collections::HashSet;

use mandate_authority::is_reserved;
use mandate_core::registry::{Agent, AgentState};

/// The most selectors that a node may send for one process.
pub const MAX_SELECTORS: usize = 64;

/// The longest selector, in bytes.
pub const MAX_SELECTOR_LEN: usize = 4096;

/// Why an agent is given no identity, no matter which process asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotIssuable {
    /// Suspended, contained or retired.
    #[error("the agent is not active")]
    NotActive,
    /// It has no selectors.
    #[error("the agent has no selectors")]
    NoSelectors,
    /// It has no purpose.
    #[error("the agent has no purpose")]
    NoPurpose,
    /// Its SPIFFE ID is one of the authority's own.
    #[error("the agent's SPIFFE ID belongs to the server")]
    Reserved,
}

/// Whether an agent may be given an identity at all. The owner is required by its type.
pub(crate) fn issuable(agent: &Agent) -> Result<(), NotIssuable> {
    if agent.state != AgentState::Active {
        return Err(NotIssuable::NotActive);
    }
    // No selector would be matched by every process.
    if agent.selectors.is_empty() || agent.selectors.iter().any(|selector| selector.trim().is_empty()) {
        return Err(NotIssuable::NoSelectors);
    }
    if agent.purpose.trim().is_empty() {
        return Err(NotIssuable::NoPurpose);
    }
    if is_reserved(&agent.spiffe_id) {
        return Err(NotIssuable::Reserved);
    }
    Ok(())
}

/// What a node attested of one process.
#[derive(Clone, Debug)]
pub(crate) struct Attested<'a>(HashSet<&'a str>);

/// More or longer selectors than a node may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_SELECTORS} selectors, or one longer than {MAX_SELECTOR_LEN} bytes")]
pub struct TooManySelectors;

impl<'a> Attested<'a> {
    /// Takes the selectors, within bounds.
    pub(crate) fn new(selectors: &'a [String]) -> Result<Self, TooManySelectors> {
        let fits = selectors.len() <= MAX_SELECTORS && selectors.iter().all(|selector| selector.len() <= MAX_SELECTOR_LEN);
        if fits { Ok(Self(selectors.iter().map(String::as_str).collect())) } else { Err(TooManySelectors) }
    }

    /// Whether every selector of the agent was attested. Compared bytewise; an agent without selectors matches nothing.
    pub(crate) fn covers(&self, agent: &Agent) -> bool {
        !agent.selectors.is_empty() && agent.selectors.iter().all(|selector| self.0.contains(selector.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::registry::{Agent, AgentState};

    use super::{Attested, MAX_SELECTOR_LEN, MAX_SELECTORS, NotIssuable, issuable};

    fn agent(selectors: &[&str]) -> Agent {
        Agent {
            name: "a".parse().unwrap(),
            owner: "riley".parse().unwrap(),
            purpose: "Works on cases".to_owned(),
            spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
            selectors: selectors.iter().map(|&s| s.to_owned()).collect(),
            ceiling: Vec::new(),
            chain_depth: 3,
            state: AgentState::Active,
        }
    }

    fn covers(attested: &[&str], required: &[&str]) -> bool {
        let attested: Vec<String> = attested.iter().map(|&s| s.to_owned()).collect();
        Attested::new(&attested).unwrap().covers(&agent(required))
    }

    #[test]
    fn every_selector_must_be_attested() {
        assert!(covers(&["unix:uid:1000", "unix:gid:1000", "unix:path:/bin/a"], &["unix:uid:1000", "unix:path:/bin/a"]));
        assert!(!covers(&["unix:uid:1000"], &["unix:uid:1000", "unix:path:/bin/a"]));
        assert!(!covers(&["unix:uid:10000"], &["unix:uid:1000"]), "no prefix matching");
        assert!(!covers(&["UNIX:uid:1000"], &["unix:uid:1000"]), "bytewise");
        assert!(!covers(&[], &["unix:uid:1000"]));
    }

    #[test]
    fn an_agent_without_selectors_matches_no_process() {
        assert!(!covers(&["unix:uid:1000"], &[]));
        assert!(!covers(&[], &[]));
        assert_eq!(issuable(&agent(&[])), Err(NotIssuable::NoSelectors));
        assert_eq!(issuable(&agent(&[" "])), Err(NotIssuable::NoSelectors));
    }

    #[test]
    fn an_agent_that_is_not_active_or_has_no_purpose_gets_nothing() {
        for state in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
            assert_eq!(issuable(&Agent { state, ..agent(&["unix:uid:1"]) }), Err(NotIssuable::NotActive), "{state:?}");
        }
        assert_eq!(issuable(&Agent { purpose: " ".to_owned(), ..agent(&["unix:uid:1"]) }), Err(NotIssuable::NoPurpose));
        assert_eq!(issuable(&agent(&["unix:uid:1"])), Ok(()));
    }

    #[test]
    fn an_agent_with_an_identity_of_the_servers_own_gets_nothing() {
        let own = Agent { spiffe_id: "spiffe://acme.example/mandate/server".parse().unwrap(), ..agent(&["unix:uid:1"]) };
        assert_eq!(issuable(&own), Err(NotIssuable::Reserved));
    }

    #[test]
    fn bounds_what_a_node_may_send() {
        assert!(Attested::new(&vec!["x".to_owned(); MAX_SELECTORS + 1]).is_err());
        assert!(Attested::new(&["x".repeat(MAX_SELECTOR_LEN + 1)]).is_err());
    }
}
