//! How many calls of async code use the database at a time.
//!
//! Each has a thread that may block, and a connection. A thread that was used once keeps some hundred KiB,
//! and one disk does not answer sooner when more threads wait for it. The threads are the store's own: tokio
//! would start one more for each call that comes before the thread of the last one is idle.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::timeout;

use crate::error::StoreError;

/// How many calls of each kind a database serves at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    /// Reads of a few pages each.
    pub reads: usize,
    /// Queries of the audit log, which can take long: they must not keep the reads of decisions waiting.
    pub searches: usize,
    pub writes: usize,
}

/// How long a call waits for its turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The calls that may run now, and the threads that they run on.
#[derive(Debug)]
pub(crate) struct Turns {
    reads: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// Has only threads that may block. None while it is dropped.
    threads: Option<Runtime>,
}

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Search,
    Write,
}

impl Turns {
    pub(crate) fn new(seats: Seats) -> Result<Self, StoreError> {
        let all = seats.reads + seats.searches + seats.writes;
        let threads = Builder::new_current_thread().thread_name("store").max_blocking_threads(all).build();
        Ok(Self {
            reads: Arc::new(Semaphore::new(seats.reads)),
            searches: Arc::new(Semaphore::new(seats.searches)),
            writes: Arc::new(Semaphore::new(seats.writes)),
            threads: Some(threads.map_err(|error| StoreError::Io(Box::new(error)))?),
        })
    }

    /// Waits for a turn, in the order of the calls. It ends when what is returned is dropped.
    async fn take(&self, access: Access) -> Result<OwnedSemaphorePermit, StoreError> {
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

    /// Runs on a thread that may block. It runs to its end, whether or not somebody waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        access: Access,
        f: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.take(access).await?;
        let threads = self.threads.as_ref().ok_or(StoreError::Ending)?;
        let work = threads.spawn_blocking(move || {
            let result = f();
            drop(turn);
            result
        });
        ended(work.await)
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // The last call may still be on one of them: it ends by itself.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// What was done on a thread that may block.
fn ended<T>(done: Result<Result<T, StoreError>, JoinError>) -> Result<T, StoreError> {
    match done {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that ends does not begin what it is given.
            Err(_) => Err(StoreError::Ending),
        },
    }
}
