//! Whether a grant is in force, and an agent active, at a given moment.

use std::sync::Arc;

use super::{Agent, AgentState, Grant, Registry};
use crate::spiffe::SpiffeId;
use crate::time::Timestamp;

/// Why a grant is no longer in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantEnd {
    /// It is marked as revoked, whether its end has passed or not.
    Revoked,
    /// Its end has passed.
    Expired,
}

impl Grant {
    /// Why it is not in force at `now`; `None` if it is. Its uses are not considered.
    pub fn ended(&self, now: Timestamp) -> Option<GrantEnd> {
        if self.revoked {
            return Some(GrantEnd::Revoked);
        }
        self.expires.is_some_and(|expires| expires <= now).then_some(GrantEnd::Expired)
    }
}

impl Registry {
    /// The agent with that SPIFFE ID, if it may act.
    pub fn active_agent(&self, id: &SpiffeId) -> Option<&Arc<Agent>> {
        self.agent_by_id(id).filter(|agent| agent.state == AgentState::Active)
    }
}
