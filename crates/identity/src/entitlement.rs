//! Which attested process may have which identity.

use mandate_authority::is_reserved;
use mandate_core::Selector;
use mandate_core::registry::{Agent, AgentState};
use mandate_core::selector::MAX_SELECTOR_LEN;

/// The most selectors that a node may send for one process.
pub const MAX_SELECTORS: usize = 64;

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
    if agent.selectors.is_empty() {
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

/// More or longer selectors than a node may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_SELECTORS} selectors, or one longer than {MAX_SELECTOR_LEN} bytes")]
pub struct TooManySelectors;

/// The selectors that a node says a process shows. A text that is none is left out: no agent can require it.
pub(crate) fn shown(texts: &[String]) -> Result<Vec<Selector>, TooManySelectors> {
    let fits = texts.len() <= MAX_SELECTORS && texts.iter().all(|text| text.len() <= MAX_SELECTOR_LEN);
    if fits { Ok(texts.iter().filter_map(|text| text.parse().ok()).collect()) } else { Err(TooManySelectors) }
}

#[cfg(test)]
mod tests {
    use mandate_core::registry::{Agent, AgentState};

    use mandate_core::selector::shows_all;

    use super::{MAX_SELECTOR_LEN, MAX_SELECTORS, NotIssuable, issuable, shown};

    fn agent(selectors: &[&str]) -> Agent {
        Agent {
            name: "a".parse().unwrap(),
            owner: "riley".parse().unwrap(),
            purpose: "Works on cases".to_owned(),
            spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
            selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
            proofs: Vec::new(),
            ceiling: Vec::new(),
            may: Vec::new(),
            chain_depth: 3,
            state: AgentState::Active,
            tenant: None,
        }
    }

    fn covers(sent: &[&str], required: &[&str]) -> bool {
        let sent: Vec<String> = sent.iter().map(|&text| text.to_owned()).collect();
        shows_all(&shown(&sent).unwrap(), &agent(required).selectors)
    }

    #[test]
    fn every_selector_must_be_attested() {
        assert!(covers(
            &["unix:uid:1000", "unix:gid:1000", "unix:path:/bin/a"],
            &["unix:uid:1000", "unix:path:/bin/a"]
        ));
        assert!(!covers(&["unix:uid:1000"], &["unix:uid:1000", "unix:path:/bin/a"]));
        assert!(!covers(&["unix:uid:10000"], &["unix:uid:1000"]), "no prefix matching");
        assert!(!covers(&["UNIX:uid:1000"], &["unix:uid:1000"]), "bytewise");
        assert!(!covers(&[], &["unix:uid:1000"]));
    }

    #[test]
    fn what_a_node_sends_that_is_no_selector_or_of_an_attestor_unknown_here_takes_nothing_away() {
        assert!(covers(
            &["", "nonsense", "unix:user:riley", "k8s:ns:prod", "unix:uid:1000"],
            &["unix:uid:1000"]
        ));
        assert!(
            covers(&["k8s:ns:prod", "unix:uid:1000"], &["k8s:ns:prod"]),
            "a kind needs nothing here to be required and shown"
        );
        assert!(!covers(&["k8s:ns:production"], &["k8s:ns:prod"]));
    }

    #[test]
    fn an_agent_without_selectors_matches_no_process() {
        assert!(!covers(&["unix:uid:1000"], &[]));
        assert!(!covers(&[], &[]));
        assert_eq!(issuable(&agent(&[])), Err(NotIssuable::NoSelectors));
    }

    #[test]
    fn an_agent_that_is_not_active_or_has_no_purpose_gets_nothing() {
        for state in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
            assert_eq!(
                issuable(&Agent { state, ..agent(&["unix:uid:1"]) }),
                Err(NotIssuable::NotActive),
                "{state:?}"
            );
        }
        assert_eq!(
            issuable(&Agent { purpose: " ".to_owned(), ..agent(&["unix:uid:1"]) }),
            Err(NotIssuable::NoPurpose)
        );
        assert_eq!(issuable(&agent(&["unix:uid:1"])), Ok(()));
    }

    #[test]
    fn an_agent_with_an_identity_of_the_servers_own_gets_nothing() {
        let own = Agent {
            spiffe_id: "spiffe://acme.example/mandate/server".parse().unwrap(),
            ..agent(&["unix:uid:1"])
        };
        assert_eq!(issuable(&own), Err(NotIssuable::Reserved));
    }

    #[test]
    fn bounds_what_a_node_may_send() {
        assert!(shown(&vec!["unix:uid:1".to_owned(); MAX_SELECTORS]).is_ok());
        assert!(shown(&vec!["unix:uid:1".to_owned(); MAX_SELECTORS + 1]).is_err());
        assert!(shown(&["x".repeat(MAX_SELECTOR_LEN + 1)]).is_err());
    }
}
