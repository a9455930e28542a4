//! The states of a node.

/// Whether a node may renew and fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It may.
    Joined,
    /// It may not, no matter which certificate it has.
    Banned,
}
