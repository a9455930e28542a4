//! How many calls of async code use the database at a time.
//!
//! Each has a thread that may block, and a connection. A thread that was used once keeps some hundred KiB,
//! and one disk does not answer sooner when more threads wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::StoreError;

/// Reads of a few pages each.
const READS: usize = 8;

/// Queries of the audit log, which can take long: they must not keep the reads of decisions waiting.
const SEARCHES: usize = 3;

/// Writes take turns in the database too. The second one waits for its turn there.
const WRITES: usize = 2;

/// How long a call waits for its turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The calls that may run now.
#[derive(Debug)]
pub(crate) struct Turns {
    reads: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Search,
    Write,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            reads: Arc::new(Semaphore::new(READS)),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            writes: Arc::new(Semaphore::new(WRITES)),
        }
    }
}

impl Turns {
    /// Waits for a turn, in the order of the calls. It ends when what is returned is dropped.
    pub(crate) async fn take(&self, access: Access) -> Result<OwnedSemaphorePermit, StoreError> {
        let turns = match access {
            Access::Read => &self.reads,
            Access::Search => &self.searches,
            Access::Write => &self.writes,
        };
        match timeout(PATIENCE, Arc::clone(turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Nothing closes it.
            Ok(Err(_)) => Err(StoreError::Ending),
            Err(_) => Err(StoreError::Overloaded(PATIENCE.as_secs())),
        }
    }
}
