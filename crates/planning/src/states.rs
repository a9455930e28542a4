//! The states of agents, people, grants, clients and nodes, and the state after each act: a table for each
//! kind, without I/O.
//!
//! Every change of a state goes through [`StateMachine::after`]: by a registry file, by a call for one entry,
//! and by a revocation. `states.txt` beside the crate shows the whole table. Resources, issuers and policies
//! have no states: they exist or not.

use std::fmt;

use mandate_core::NodeState;
use mandate_core::registry::{AgentState, Client, Grant, Person};

/// A state, as an operator changes it.
pub trait StateMachine: Copy + 'static {
    /// The acts that an operator can ask for.
    type Act: Copy + 'static;

    /// The state after `act`, which may be the same one; `None` if the entry is then gone. Or why the act is
    /// refused.
    fn after(self, act: Self::Act) -> Result<Option<Self>, StateRefusal>;
}

/// Why an act is refused in a state. `Display` continues a sentence that begins with the name of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateRefusal {
    /// The agent is contained. Neither activating nor suspending ends that.
    Contained,
    /// Only a contained agent can be released.
    NotContained,
    /// The agent is retired. It stays in the registry, so that its name is not given to another one.
    Retired,
    /// The grant is revoked. It stays in the registry, because it explains old records.
    Revoked,
    /// The client does not authenticate by a secret.
    NeedsNoSecret,
}

impl fmt::Display for StateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contained => "is contained until it is released",
            Self::NotContained => "is not contained",
            Self::Retired => "is retired permanently; give the new agent another name",
            Self::Revoked => "is revoked permanently; give the new grant another `name`",
            Self::NeedsNoSecret => "needs no secret",
        })
    }
}

/// What can be done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentAct {
    /// Suspend it: it gets no identity and no token until it is activated.
    Suspend,
    /// Stop it because of an incident: it cannot be activated until it is released.
    Contain,
    /// The incident is over. It stays stopped until it is activated.
    Release,
    /// Let it act again. Refused for a contained agent.
    Activate,
    /// Stop it permanently. It stays in the registry, so that its name is not given to another one.
    Retire,
    /// Remove it from the registry.
    Remove,
}

impl AgentAct {
    /// The act that is meant by a caller that names only the wanted state, such as a registry file. It is
    /// never a release.
    pub(crate) fn towards(wish: AgentState) -> Self {
        match wish {
            AgentState::Active => Self::Activate,
            AgentState::Suspended => Self::Suspend,
            AgentState::Contained => Self::Contain,
            AgentState::Retired => Self::Retire,
        }
    }
}

impl StateMachine for AgentState {
    type Act = AgentAct;

    fn after(self, act: AgentAct) -> Result<Option<Self>, StateRefusal> {
        use AgentAct as Act;
        match (self, act) {
            (Self::Active | Self::Suspended, Act::Suspend) | (Self::Contained, Act::Release) => {
                Ok(Some(Self::Suspended))
            }
            (Self::Active | Self::Suspended | Self::Contained, Act::Contain) => Ok(Some(Self::Contained)),
            (Self::Active | Self::Suspended, Act::Activate) => Ok(Some(Self::Active)),
            (Self::Active | Self::Suspended | Self::Contained | Self::Retired, Act::Retire) => {
                Ok(Some(Self::Retired))
            }
            (Self::Active | Self::Suspended, Act::Remove) => Ok(None),
            (Self::Active | Self::Suspended, Act::Release) => Err(StateRefusal::NotContained),
            (Self::Contained, Act::Suspend | Act::Activate | Act::Remove) => Err(StateRefusal::Contained),
            (Self::Retired, Act::Suspend | Act::Contain | Act::Release | Act::Activate | Act::Remove) => {
                Err(StateRefusal::Retired)
            }
        }
    }
}

/// Whether a person may log in and be acted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonState {
    /// They may log in, and agents may act for them.
    Active,
    /// They cannot log in, and no agent acts for them.
    Disabled,
}

impl PersonState {
    /// The state of a person.
    pub fn of(person: &Person) -> Self {
        if person.disabled { Self::Disabled } else { Self::Active }
    }
}

/// What can be done to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonAct {
    /// Stop them: they cannot log in, and no agent acts for them.
    Disable,
    /// Let them log in and be acted for again.
    Enable,
    /// Remove them from the registry.
    Remove,
}

impl StateMachine for PersonState {
    type Act = PersonAct;

    fn after(self, act: PersonAct) -> Result<Option<Self>, StateRefusal> {
        match (self, act) {
            (Self::Active | Self::Disabled, PersonAct::Disable) => Ok(Some(Self::Disabled)),
            (Self::Active | Self::Disabled, PersonAct::Enable) => Ok(Some(Self::Active)),
            (Self::Active | Self::Disabled, PersonAct::Remove) => Ok(None),
        }
    }
}

/// Whether a grant permits anything. A grant that has ended is open: its end can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// It permits something until its end, if it has one.
    Open,
    /// It never permits anything again.
    Revoked,
}

impl GrantState {
    /// The state of a grant.
    pub fn of(grant: &Grant) -> Self {
        if grant.revoked { Self::Revoked } else { Self::Open }
    }
}

/// What can be done to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantAct {
    /// End it permanently. It stays in the registry, because it explains old records.
    Revoke,
    /// Declare that it is not revoked.
    Restore,
    /// Remove it from the registry.
    Remove,
}

impl StateMachine for GrantState {
    type Act = GrantAct;

    fn after(self, act: GrantAct) -> Result<Option<Self>, StateRefusal> {
        match (self, act) {
            (Self::Open | Self::Revoked, GrantAct::Revoke) => Ok(Some(Self::Revoked)),
            (Self::Open, GrantAct::Restore) => Ok(Some(Self::Open)),
            (Self::Open, GrantAct::Remove) => Ok(None),
            (Self::Revoked, GrantAct::Restore | GrantAct::Remove) => Err(StateRefusal::Revoked),
        }
    }
}

/// Whether a client can authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It needs no secret: it is public, or has keys.
    WithoutSecret,
    /// It needs a secret that nobody has set.
    SecretMissing,
    /// It needs a secret, and has one.
    SecretSet,
}

impl ClientState {
    /// The state of a client. `has_secret`: the store has one.
    pub fn of(client: &Client, has_secret: bool) -> Self {
        match (client.authentication.has_secret(), has_secret) {
            (false, _) => Self::WithoutSecret,
            (true, false) => Self::SecretMissing,
            (true, true) => Self::SecretSet,
        }
    }
}

/// What can be done to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAct {
    /// Set its secret, or set another one.
    SetSecret,
    /// Remove it from the registry, and its secret with it.
    Remove,
}

impl StateMachine for ClientState {
    type Act = ClientAct;

    fn after(self, act: ClientAct) -> Result<Option<Self>, StateRefusal> {
        match (self, act) {
            (Self::SecretMissing | Self::SecretSet, ClientAct::SetSecret) => Ok(Some(Self::SecretSet)),
            (Self::WithoutSecret, ClientAct::SetSecret) => Err(StateRefusal::NeedsNoSecret),
            (Self::WithoutSecret | Self::SecretMissing | Self::SecretSet, ClientAct::Remove) => Ok(None),
        }
    }
}

/// What an operator can do to a node. A banned node joins again as another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAct {
    /// Ban it: from now on it gets no information and no identities.
    Ban,
}

impl StateMachine for NodeState {
    type Act = NodeAct;

    fn after(self, act: NodeAct) -> Result<Option<Self>, StateRefusal> {
        match (self, act) {
            (Self::Joined | Self::Banned, NodeAct::Ban) => Ok(Some(Self::Banned)),
        }
    }
}

#[cfg(test)]
mod tests;
