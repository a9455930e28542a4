//! The gate before the one writer's place: first come, first served.
//!
//! `SQLite` lets waiting writers poll with growing sleeps; beside a sequencer that writes without pause, another writer
//! would starve. In-process turns make its lock free whenever one of ours asks for it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::error::StoreError;

#[derive(Debug, Default)]
struct Turns {
    next: u64,
    serving: u64,
    holder: Option<ThreadId>,
}

/// Hands out the right to write, in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    turns: Mutex<Turns>,
    changed: Condvar,
}

/// The right to write, until dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Gate>);

impl Gate {
    // The state is two counters, whole after each statement: a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn. A thread that holds it already would wait for itself: that is an error.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Turn, StoreError> {
        let me = thread::current().id();
        let mut turns = self.lock();
        if turns.holder == Some(me) {
            return Err(StoreError::Nested);
        }
        let mine = turns.next;
        turns.next += 1;
        while turns.serving != mine {
            turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        turns.holder = Some(me);
        Ok(Turn(Arc::clone(self)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.0.lock();
        turns.serving += 1;
        turns.holder = None;
        if turns.serving != turns.next {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
