//! The thread that follows the logs and keeps the search index.
//!
//! If the index were written in a log's own transactions, every record would touch a page for each person and
//! agent: most of the cost of a record. So a thread reads what is durable and writes the index in large
//! pieces, and does not wait for the disk. Nothing is lost with the index: when it is missing, damaged or
//! does not belong to the logs, it is built again.

use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::StoreError;

/// How long after an error the next attempt is.
#[cfg(not(test))]
const PAUSE: Duration = Duration::from_secs(5);
/// Short in tests, which wait for it.
#[cfg(test)]
const PAUSE: Duration = Duration::from_millis(100);

/// Where a database has its logs and their index. Everything blocks.
pub(crate) trait IndexPlace: Send + 'static {
    /// Makes an empty index. It replaces any other.
    fn create(&mut self) -> Result<(), StoreError>;

    /// Adds the next chunk of a log to the index, in a transaction of its own. Returns how many records are
    /// missing for one: 0 if a chunk was added.
    fn take(&mut self) -> Result<u64, StoreError>;
}

#[derive(Debug, Default)]
struct Pending {
    /// How many records were written to all logs together, as far as the follower was told.
    written: u64,
    /// The number that it waits for.
    wanted: u64,
    rebuild: bool,
    /// Whether an empty index is being made: until that is done, there is no complete index.
    rebuilding: bool,
    stop: bool,
}

/// Tells the follower what was written.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    pending: Mutex<Pending>,
    changed: Condvar,
}

impl Signal {
    // Plain values, whole after each statement.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }

    /// Notes that so many records were written to a log, and are durable.
    pub(crate) fn written(&self, records: u64) {
        let mut pending = self.lock();
        pending.written = pending.written.saturating_add(records);
        if pending.written >= pending.wanted {
            self.changed.notify_one();
        }
    }

    /// Tells that the index cannot be used. If it is being built again already, this changes nothing.
    pub(crate) fn rebuild(&self) {
        let mut pending = self.lock();
        if !pending.rebuilding {
            pending.rebuild = true;
            self.changed.notify_one();
        }
    }

    /// Whether there is an index, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        let pending = self.lock();
        !pending.rebuild && !pending.rebuilding
    }

    /// Whether the index is to be built again, from now until [`Signal::rebuilt`].
    fn begin_rebuild(&self) -> bool {
        let mut pending = self.lock();
        if mem::take(&mut pending.rebuild) {
            pending.rebuilding = true;
        }
        pending.rebuilding
    }

    /// Tells that there is an index again.
    fn rebuilt(&self) {
        self.lock().rebuilding = false;
    }

    /// Waits until `wanted` records were written in all (without a number, for [`PAUSE`]), or until the index
    /// is to be built again. Returns false when the thread is to end.
    fn wait(&self, wanted: Option<u64>) -> bool {
        let mut pending = self.lock();
        pending.wanted = wanted.unwrap_or(u64::MAX);
        let waits =
            |pending: &mut Pending| pending.written < pending.wanted && !pending.rebuild && !pending.stop;
        if wanted.is_some() {
            self.changed.wait_while(&mut pending, waits);
        } else {
            self.changed.wait_while_for(&mut pending, waits, PAUSE);
        }
        !pending.stop
    }
}

/// The thread that keeps the index. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts with the records that are not in the index yet. `signal` may say already that the index is to
    /// be built again.
    pub(crate) fn start(signal: Arc<Signal>, place: impl IndexPlace) -> Result<Self, StoreError> {
        let own = Arc::clone(&signal);
        let thread =
            thread::Builder::new().name("search-index".to_owned()).spawn(move || follow(&own, place));
        Ok(Self { signal, thread: Some(thread.map_err(|e| StoreError::Io(Box::new(e)))?) })
    }

    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }
}

fn follow(signal: &Signal, mut place: impl IndexPlace) {
    let mut failing = false;
    // What the logs have from before is not signalled.
    let mut wanted = Some(0);
    while signal.wait(wanted) {
        let made = if signal.begin_rebuild() { place.create() } else { Ok(()) };
        if made.is_ok() {
            signal.rebuilt();
        }
        // Records that are written from here on may be read already: then the next wait is shorter than it
        // need be.
        let written = signal.lock().written;
        wanted = match made.and_then(|()| place.take()) {
            Ok(missing) => {
                if mem::take(&mut failing) {
                    tracing::info!("the search index is continued");
                }
                Some(written.saturating_add(missing))
            }
            Err(error) => {
                if !mem::replace(&mut failing, true) {
                    // Meanwhile searches read the records themselves.
                    let cause = std::error::Error::source(&error);
                    tracing::warn!(%error, ?cause, "the search index cannot be continued for now; it is tried again until it can");
                }
                None
            }
        };
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.signal.lock().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the search index's thread had panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::{Follower, IndexPlace, Signal};
    use crate::error::StoreError;

    #[test]
    fn an_index_that_is_being_built_is_not_begun_a_second_time() {
        let signal = Signal::default();
        assert!(!signal.begin_rebuild() && signal.is_usable());
        signal.rebuild();
        assert!(!signal.is_usable());
        assert!(signal.begin_rebuild());
        signal.rebuild();
        assert!(!signal.is_usable(), "it is being made");
        signal.rebuilt();
        assert!(signal.is_usable());
        assert!(!signal.begin_rebuild(), "it was said of the one that was made meanwhile");
        signal.rebuild();
        assert!(signal.begin_rebuild(), "it is spoiled again");
    }

    /// Says what is asked of it; the first attempts fail.
    struct Failing {
        asked: mpsc::Sender<&'static str>,
        failures: u32,
    }

    impl Failing {
        fn answer(&mut self, asked: &'static str) -> Result<(), StoreError> {
            self.asked.send(asked).unwrap();
            let fails = self.failures > 0;
            self.failures = self.failures.saturating_sub(1);
            if fails { Err(StoreError::Unreachable("away".into())) } else { Ok(()) }
        }
    }

    impl IndexPlace for Failing {
        fn create(&mut self) -> Result<(), StoreError> {
            self.answer("create")
        }

        fn take(&mut self) -> Result<u64, StoreError> {
            self.answer("take").map(|()| 16)
        }
    }

    #[test]
    fn what_failed_is_tried_again_though_nobody_asks_for_it_and_the_thread_ends_with_its_owner() {
        let (asked, seen) = mpsc::channel();
        let signal = std::sync::Arc::new(Signal::default());
        signal.rebuild();
        let follower =
            Follower::start(std::sync::Arc::clone(&signal), Failing { asked, failures: 2 }).unwrap();
        assert_eq!(seen.iter().take(4).collect::<Vec<_>>(), ["create", "create", "create", "take"]);
        assert!(follower.signal().is_usable());
        signal.written(15);
        assert!(seen.recv_timeout(Duration::from_millis(20)).is_err(), "one is missing");
        signal.written(1);
        assert_eq!(seen.recv(), Ok("take"));
        drop(follower);
        assert!(seen.recv().is_err(), "its end of the channel is gone");
    }
}
