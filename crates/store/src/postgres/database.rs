//! A database of a `PostgreSQL` server, and the directory that belongs to it.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use mandate_core::Entropy;
use parking_lot::Mutex;
use tokio_postgres::IsolationLevel;

use crate::directory::{Directory, SEAL_KEY, unusable};
use crate::driver::{Driver, LogReader, LogSession, Work};
use crate::error::StoreError;
use crate::meta;
use crate::postgres::address::PostgresAddress;
use crate::postgres::connections::{Connections, DEADLINE, LONG_DEADLINE};
use crate::postgres::exclusive::Exclusive;
use crate::postgres::log_session::LogConnection;
use crate::postgres::migration::{self, Content};
use crate::postgres::statements::{Place, Session, State, trouble_of};
use crate::seal::Sealer;
use crate::tx::Tx;
use crate::write_trouble::WriteTrouble;

/// How often a transaction is tried that conflicts with others.
const TRIES: u32 = 8;

/// While another program holds a table, one writer after the other tries, and none waits.
pub(crate) const IMPATIENT: &str = "SET LOCAL lock_timeout = '20ms'";

/// Longer than a transaction takes with a server that answers.
const STUCK: Duration = Duration::from_secs(2);

/// What the log's connection shares with the others.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connections: Connections,
    pub(crate) exclusive: Exclusive,
    writers: Mutex<Writers>,
    /// The threads that are in a transaction that writes.
    threads: Mutex<HashSet<ThreadId>>,
    _lock: Arc<File>,
}

/// What writers notice.
#[derive(Debug, Default)]
struct Writers {
    /// Since when the oldest of those that wait has waited, and how many wait.
    waiting: Option<(Instant, usize)>,
    /// Why the last one failed.
    trouble: Option<WriteTrouble>,
}

impl Shared {
    /// Runs what a writer waits for, and notes why it failed.
    pub(crate) fn waiting<T>(&self, f: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        {
            let mut writers = self.writers.lock();
            writers.waiting = Some(writers.waiting.map_or((Instant::now(), 1), |(since, count)| (since, count + 1)));
        }
        let result = f();
        self.note(result.as_ref().err().and_then(trouble_of));
        let mut writers = self.writers.lock();
        writers.waiting = writers.waiting.and_then(|(_, count)| (count > 1).then(|| (Instant::now(), count - 1)));
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
}

/// One database. While it is open, no other server uses it, and no other process opens the directory.
#[derive(Debug)]
pub(crate) struct Database {
    sealer: Sealer,
    shared: Arc<Shared>,
}

impl Database {
    /// Opens the directory, which has the sealing key, and the database at the address, and brings the schema up to date.
    pub(crate) fn open(dir: &Path, address: &PostgresAddress, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let directory = Directory::open(dir)?;
        let connections = Connections::new(address)?;
        let exclusive = Exclusive::default();
        exclusive.ensure(&connections)?;
        let mut client = connections.own()?;
        let content = migration::content(&connections, &client)?;
        let key = directory.seal_key(content != Content::Nothing, entropy.as_ref(), || {
            unusable(
                &directory.files().entry(SEAL_KEY),
                format!(
                    "the directory has a sealing key, and the database {} is empty: restore the database from a backup; to start without its content, use an empty directory",
                    connections.address()
                ),
            )
        })?;
        let sealer = key.sealer(entropy)?;
        migration::run(&connections, &mut client, content)?;
        drop(client);
        let shared =
            Arc::new(Shared { connections, exclusive, writers: Mutex::default(), threads: Mutex::default(), _lock: directory.lock() });
        let database = Self { sealer, shared };
        database.transact(&mut meta::check_seal).map_err(|error| key.is_anothers(error))?;
        directory.settle(&key)?;
        Ok(database)
    }

    /// Runs `work` in a transaction that only reads.
    fn read_only(&self, deadline: Duration, work: &mut Work<'_>) -> Result<(), StoreError> {
        let mut client = self.shared.connections.shared()?;
        let state = State::default();
        let result = self.in_snapshot(&mut client, &state, deadline, work);
        give_back(client, &state);
        result
    }

    fn in_snapshot(&self, client: &mut Object, state: &State, deadline: Duration, work: &mut Work<'_>) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
        let tx = state.note(connections.wait(DEADLINE, begin))?;
        // Dropped, it is rolled back: there is nothing to keep.
        work(&Tx::new(&Session { connections, place: Place::Transaction(&tx), deadline, state }, &self.sealer))
    }

    fn try_transaction(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        let mut client = connections.shared()?;
        let state = State::default();
        let result = (|| {
            let begin = client.build_transaction().isolation_level(IsolationLevel::Serializable).start();
            let tx = state.note(connections.wait(DEADLINE, begin))?;
            if self.shared.is_held() {
                state.note(connections.wait(DEADLINE, tx.batch_execute(IMPATIENT)))?;
            }
            work(&Tx::new(&Session { connections, place: Place::Transaction(&tx), deadline: DEADLINE, state: &state }, &self.sealer))?;
            state.note(connections.wait(DEADLINE, tx.commit()))
        })();
        give_back(client, &state);
        if result.is_ok() {
            self.shared.committed();
        }
        self.shared.note(state.trouble());
        result
    }
}

/// The one transaction of a thread that writes. One inside another could wait for it, and would not be part of it.
struct Outermost<'s>(&'s Shared);

impl<'s> Outermost<'s> {
    fn enter(shared: &'s Shared) -> Result<Self, StoreError> {
        if shared.threads.lock().insert(thread::current().id()) { Ok(Self(shared)) } else { Err(StoreError::Nested) }
    }
}

impl Drop for Outermost<'_> {
    fn drop(&mut self) {
        self.0.threads.lock().remove(&thread::current().id());
    }
}

/// Gives a connection back, or closes it if the server did not answer on it.
fn give_back(client: Object, state: &State) {
    if state.is_lost() {
        drop(Object::take(client));
    }
}

impl Driver for Database {
    fn read(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        self.read_only(DEADLINE, work)
    }

    fn search(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        self.read_only(LONG_DEADLINE, work)
    }

    fn transact(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let _outermost = Outermost::enter(&self.shared)?;
        self.shared.waiting(|| {
            self.shared.exclusive.ensure(&self.shared.connections)?;
            let mut tries = 1;
            loop {
                match self.try_transaction(work) {
                    // The other one is through by now, or soon.
                    Err(StoreError::Conflict(_)) if tries < TRIES => thread::sleep(Duration::from_millis(1 << tries)),
                    result => return result,
                }
                tries += 1;
            }
        })
    }

    fn write_trouble(&self) -> Option<WriteTrouble> {
        let writers = self.shared.writers.lock();
        let lasts = writers.waiting.map(|(since, _)| since.elapsed()).filter(|lasts| *lasts > STUCK);
        lasts.map(WriteTrouble::Stuck).or(writers.trouble)
    }

    fn log_session(&self) -> Result<Box<dyn LogSession>, StoreError> {
        Ok(Box::new(LogConnection::new(Arc::clone(&self.shared))))
    }

    fn log_reader(&self) -> Result<Box<dyn LogReader + '_>, StoreError> {
        Ok(Box::new(self))
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

impl LogReader for &Database {
    fn snapshot(&mut self, work: &mut dyn FnMut(&Tx<'_>)) -> Result<(), StoreError> {
        self.read_only(LONG_DEADLINE, &mut |tx| {
            work(tx);
            Ok(())
        })
    }
}
