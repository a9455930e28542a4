//! The gate before the one writer's place: first come, first served.
//!
//! In `SQLite` waiting writers poll, with sleeps that become longer. Beside a sequencer that writes without
//! pause, another writer would starve. With turns inside the process, `SQLite`'s lock is free whenever a
//! writer of ours asks for it.

use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::StoreError;
use crate::write_trouble::WriteTrouble;

/// How long the writer at the front waits for another process that holds the database.
///
/// A caller must hear within two seconds that nothing can be recorded. A request may wait four times: for the
/// writer before it, for its own bookkeeping, for the batch of records before its own, and for its own batch.
/// If another process keeps the database, only the first writer waits. Until the database is free again, each
/// later writer tries once.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Debug, Default)]
struct Turns {
    next: u64,
    serving: u64,
    holder: Option<ThreadId>,
    /// Since when the holder has had its turn.
    since: Option<Instant>,
    /// The last writer found the database held by another process.
    held_elsewhere: bool,
}

/// Gives out the right to write, in the order of the requests.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    turns: Mutex<Turns>,
    changed: Condvar,
}

/// Longer than any transaction takes on a disk that answers.
const STUCK: Duration = Duration::from_secs(2);

/// The right to write, until dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Gate>);

impl Gate {
    // The state is two counters, whole after each statement: a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock()
    }

    /// Waits for a turn. A thread that already has the turn would wait for itself: that is an error.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Turn, StoreError> {
        let me = thread::current().id();
        let mut turns = self.lock();
        if turns.holder == Some(me) {
            return Err(StoreError::Nested);
        }
        let mine = turns.next;
        turns.next += 1;
        while turns.serving != mine {
            self.changed.wait(&mut turns);
        }
        turns.holder = Some(me);
        turns.since = Some(Instant::now());
        Ok(Turn(Arc::clone(self)))
    }

    /// What keeps writers from writing, as the last of them saw it. Waits for nobody.
    pub(crate) fn trouble(&self) -> Option<WriteTrouble> {
        let turns = self.lock();
        let lasts = turns.since.map(|since| since.elapsed()).filter(|lasts| *lasts > STUCK);
        match lasts {
            Some(lasts) => Some(WriteTrouble::Stuck(lasts)),
            None => turns.held_elsewhere.then_some(WriteTrouble::HeldElsewhere),
        }
    }
}

impl Turn {
    /// How long to wait for another process.
    pub(crate) fn patience(&self) -> Duration {
        if self.0.lock().held_elsewhere { Duration::ZERO } else { PATIENCE }
    }

    /// Notes for the next writers whether a transaction could begin.
    pub(crate) fn begun<T>(&self, outcome: &Result<T, StoreError>) {
        match outcome {
            Ok(_) => self.0.lock().held_elsewhere = false,
            Err(StoreError::Busy(_)) => self.0.lock().held_elsewhere = true,
            Err(_) => {}
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.0.lock();
        turns.serving += 1;
        turns.holder = None;
        turns.since = None;
        if turns.serving != turns.next {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
