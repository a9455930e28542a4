//! What keeps writers from writing.

use std::time::Duration;

/// Why nothing can be written to the database now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteTrouble {
    /// Another process holds the database.
    HeldElsewhere,
    /// Another server has used the database since this one lost its lock on it: this one ends.
    Superseded,
    /// A transaction has been waiting for the database for so long.
    Stuck(Duration),
    /// The database server cannot be reached, or takes no connections.
    Unreachable,
    /// The database server takes no writes: it is a standby, or was set to be read-only.
    ReadOnly,
    /// The database server may lose what it commits.
    LosesCommits,
}
