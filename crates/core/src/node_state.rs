//! The states of a node.

/// Whether a node may renew and fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It has joined: it may do both.
    Joined,
    /// An operator has banned it: it may do neither, with any certificate.
    Banned,
}
