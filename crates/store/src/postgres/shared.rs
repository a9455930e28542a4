//! What the connections of a database share: who writes, and how that goes.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::StoreError;
use crate::postgres::connections::Connections;
use crate::postgres::exclusive::Exclusive;
use crate::postgres::statements::trouble_of;
use crate::search_follower::Signal;
use crate::write_trouble::WriteTrouble;

/// While another program holds a table, one writer after the other tries, and none waits.
pub(crate) const IMPATIENT: &str = "SET LOCAL lock_timeout = '20ms'";

/// Longer than a transaction takes with a server that answers.
const STUCK: Duration = Duration::from_secs(2);

/// What the log's connection shares with the others.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connections: Connections,
    pub(crate) exclusive: Exclusive,
    /// Tells the thread of the search index.
    pub(crate) signal: Arc<Signal>,
    writers: Mutex<Writers>,
    /// The threads that are in a transaction that writes.
    threads: Mutex<HashSet<ThreadId>>,
    _lock: Arc<File>,
}

/// What the latest writers noticed.
#[derive(Debug, Default)]
struct Writers {
    /// Since when the oldest of those that wait has waited, and how many wait.
    waiting: Option<(Instant, usize)>,
    /// Why the last one failed.
    trouble: Option<WriteTrouble>,
}

impl Shared {
    pub(crate) fn new(
        connections: Connections,
        exclusive: Exclusive,
        signal: Arc<Signal>,
        lock: Arc<File>,
    ) -> Self {
        Self {
            connections,
            exclusive,
            signal,
            writers: Mutex::default(),
            threads: Mutex::default(),
            _lock: lock,
        }
    }

    /// Runs what a writer waits for, and notes why it failed.
    pub(crate) fn waiting<T>(&self, f: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        {
            let mut writers = self.writers.lock();
            writers.waiting =
                Some(writers.waiting.map_or((Instant::now(), 1), |(since, count)| (since, count + 1)));
        }
        let result = f();
        self.note(result.as_ref().err().and_then(trouble_of));
        let mut writers = self.writers.lock();
        writers.waiting =
            writers.waiting.and_then(|(_, count)| (count > 1).then(|| (Instant::now(), count - 1)));
        result
    }

    /// Notes what keeps writers from writing, if something does.
    pub(crate) fn note(&self, trouble: Option<WriteTrouble>) {
        if trouble.is_some() {
            self.writers.lock().trouble = trouble;
        }
    }

    /// Notes that a transaction was committed.
    pub(crate) fn committed(&self) {
        self.writers.lock().trouble = None;
    }

    /// Whether another program held a table when the last writer tried: the next need not wait as long.
    pub(crate) fn is_held(&self) -> bool {
        self.writers.lock().trouble == Some(WriteTrouble::HeldElsewhere)
    }

    /// Why nothing can be written now, as far as the last writer noticed.
    pub(crate) fn write_trouble(&self) -> Option<WriteTrouble> {
        let writers = self.writers.lock();
        let lasts = writers.waiting.map(|(since, _)| since.elapsed()).filter(|lasts| *lasts > STUCK);
        lasts.map(WriteTrouble::Stuck).or(writers.trouble)
    }
}

/// The one writing transaction of a thread. A second one inside it could wait for it, and would not be part
/// of it.
pub(crate) struct Outermost<'s>(&'s Shared);

impl<'s> Outermost<'s> {
    pub(crate) fn enter(shared: &'s Shared) -> Result<Self, StoreError> {
        if shared.threads.lock().insert(thread::current().id()) {
            Ok(Self(shared))
        } else {
            Err(StoreError::Nested)
        }
    }
}

impl Drop for Outermost<'_> {
    fn drop(&mut self) {
        self.0.threads.lock().remove(&thread::current().id());
    }
}
