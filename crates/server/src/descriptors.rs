//! How many files this process may have open, and which party may use how many of them.
//!
//! Every connection is a file. Each bound here is a share of the limit that the kernel enforces, so that a
//! listener is full before the process is: strangers never take the files that operators, nodes and known
//! clients need.

use std::cmp::min;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::places::Places;

/// For the store, its read connections, the search index, listeners, the runtime, certificates that are read
/// again, and keys that are fetched from other issuers. A server at rest has 40 open.
const OWN: usize = 128;

/// For the admin socket.
const OPERATORS: usize = 64;

/// The fewest files with which a server starts: the files that are set aside, and the same number for all
/// other uses.
const LEAST: usize = 2 * (OWN + OPERATORS);

/// The limit that is assumed if the kernel sets none.
const UNLIMITED: usize = 1 << 20;

/// Too few files may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit of open files is {0}, and the server needs {LEAST}: raise it (`ulimit -n`, or LimitNOFILE= in a unit file)"
)]
pub struct TooFewFiles(usize);

/// Raises the soft limit of open files to the hard one. Returns the limit that is in force.
pub(crate) fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNLIMITED)
}

/// How many connections each listener may have, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Connections of the admin socket.
    pub(crate) operators: usize,
    /// Connections of strangers to the admin listener over TCP, and those of operators.
    pub(crate) admin_strangers: usize,
    pub(crate) admin_known: usize,
    /// Connections of strangers to the public listener, those of known clients and people, and feeds.
    pub(crate) public_strangers: usize,
    pub(crate) public_known: usize,
    pub(crate) feeds: usize,
    /// Connections of the nodes' listener during the handshake, those without certificate after it, and those
    /// of nodes.
    pub(crate) node_handshakes: usize,
    pub(crate) node_strangers: usize,
    pub(crate) nodes: usize,
}

impl Budget {
    /// The shares of `limit` open files.
    pub(crate) fn of(limit: usize) -> Result<Self, TooFewFiles> {
        if limit < LEAST {
            return Err(TooFewFiles(limit));
        }
        let shared = limit - OWN - OPERATORS;
        // In 32nds, all of them together 32; each up to what is ever useful.
        let share = |part: usize, most: usize| min(shared * part / 32, most);
        Ok(Self {
            operators: OPERATORS,
            admin_strangers: share(2, 256),
            admin_known: share(2, 256),
            public_strangers: share(5, 2048),
            public_known: share(8, 4096),
            feeds: share(7, 1024),
            node_handshakes: share(1, 256),
            node_strangers: share(1, 256),
            nodes: share(6, 4096),
        })
    }

    /// Places for the admin listener over TCP.
    pub(crate) fn admin_places(&self) -> Arc<Places> {
        Places::new(self.admin_strangers, self.admin_known, 0)
    }

    /// Places for the public listener.
    pub(crate) fn public_places(&self) -> Arc<Places> {
        Places::new(self.public_strangers, self.public_known, self.feeds)
    }

    /// Places for the nodes' listener.
    pub(crate) fn node_places(&self) -> Arc<Places> {
        Places::for_nodes(self.node_handshakes, self.nodes, self.node_strangers)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, LEAST, OWN, Resource, Rlimit, TooFewFiles, getrlimit, raise, setrlimit};

    fn total(budget: Budget) -> usize {
        let Budget {
            operators,
            admin_strangers,
            admin_known,
            public_strangers,
            public_known,
            feeds,
            node_handshakes,
            node_strangers,
            nodes,
        } = budget;
        operators
            + admin_strangers
            + admin_known
            + public_strangers
            + public_known
            + feeds
            + node_handshakes
            + node_strangers
            + nodes
    }

    #[test]
    fn all_shares_together_leave_what_the_server_needs_itself() {
        for limit in [LEAST, 512, 1024, 4096, 65_536, 1 << 20] {
            let budget = Budget::of(limit).unwrap();
            assert!(total(budget) + OWN <= limit, "{limit}: {budget:?}");
            assert!(
                budget.operators >= 64
                    && budget.nodes >= 32
                    && budget.public_known >= 32
                    && budget.node_strangers >= 4,
                "{budget:?}"
            );
        }
    }

    #[test]
    fn too_few_files_are_refused_with_the_number_that_is_needed() {
        assert_eq!(Budget::of(LEAST - 1), Err(TooFewFiles(LEAST - 1)));
        assert!(TooFewFiles(64).to_string().contains(&LEAST.to_string()));
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        // As login shells and service managers set it. Nothing in these tests needs more.
        let soft = hard.map_or(1024, |hard| hard.min(1024));
        setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: hard }).unwrap();
        let holds = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert!(limit.current.is_none_or(|limit| limit == holds as u64));
    }
}
