//! A database of a `PostgreSQL` server, and the directory that belongs to it.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use deadpool_postgres::Object;
use mandate_core::Entropy;
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
use crate::postgres::search::{self, IndexSchema};
use crate::postgres::shared::{IMPATIENT, Outermost, Shared};
use crate::postgres::statements::{Place, Session, State};
use crate::record_search::{self, RecordSearch};
use crate::seal::Sealer;
use crate::search_follower::{Follower, Signal};
use crate::search_rows::SearchRows;
use crate::tx::Tx;
use crate::write_trouble::WriteTrouble;

/// How often a transaction is tried that conflicts with others.
const TRIES: u32 = 8;

/// One database. While it is open, no other server uses it, and no other process opens the directory.
#[derive(Debug)]
pub(crate) struct Database {
    sealer: Sealer,
    shared: Arc<Shared>,
    /// The thread of the search index, which ends with this.
    _follower: Follower,
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
        let signal = Arc::new(Signal::default());
        if !search::fits(&connections, &mut client) {
            signal.rebuild();
        }
        drop(client);
        let shared = Arc::new(Shared::new(connections, exclusive, Arc::clone(&signal), directory.lock()));
        let follower = Follower::start(signal, IndexSchema::new(Arc::clone(&shared)))?;
        let database = Self { sealer, shared, _follower: follower };
        database.transact(&mut meta::check_seal).map_err(|error| key.is_anothers(error))?;
        directory.settle(&key)?;
        Ok(database)
    }

    /// Runs `work` in a transaction that only reads, in which records are found with `search`.
    fn read_only(&self, deadline: Duration, search: Option<&dyn RecordSearch>, work: &mut Work<'_>) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        let mut client = connections.shared()?;
        let state = State::default();
        let result = (|| {
            let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
            let tx = state.note(connections.wait(DEADLINE, begin))?;
            // Dropped, it is rolled back: there is nothing to keep.
            let session = Session { connections, place: Place::Transaction(&tx), deadline, state: &state };
            work(&search.map_or_else(|| Tx::new(&session, &self.sealer), |search| Tx::searching(&session, &self.sealer, search)))
        })();
        give_back(client, &state);
        result
    }

    /// As [`Database::read_only`], with the search index. If it is damaged, that is reported, it is built again, and every record
    /// is read instead: in another transaction, because an error ends the one in which it is met.
    fn read_indexed(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        if !self.shared.signal.is_usable() {
            return self.read_only(LONG_DEADLINE, None, work);
        }
        match self.read_only(LONG_DEADLINE, Some(&SearchRows), work) {
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "the search index cannot be used; it is built again, and queries look at every record until then");
                self.shared.signal.rebuild();
                self.read_only(LONG_DEADLINE, None, work)
            }
            result => result,
        }
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

/// Gives a connection back, or closes it if the server did not answer on it.
fn give_back(client: Object, state: &State) {
    if state.is_lost() {
        drop(Object::take(client));
    }
}

impl Driver for Database {
    fn read(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        self.read_only(DEADLINE, None, work)
    }

    fn search(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        self.read_indexed(work)
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
        self.shared.write_trouble()
    }

    fn log_session(&self) -> Result<Box<dyn LogSession>, StoreError> {
        Ok(Box::new(LogConnection::new(Arc::clone(&self.shared))))
    }

    fn log_reader(&self) -> Result<Box<dyn LogReader + '_>, StoreError> {
        let mut searchable = false;
        self.read_indexed(&mut |tx| {
            searchable = tx.search().is_some();
            record_search::probe(tx)
        })?;
        Ok(Box::new(IndexedReader { database: self, searchable }))
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }
}

/// Reads the log in many short transactions, with the search index or without it from the first to the last.
#[derive(Debug)]
struct IndexedReader<'d> {
    database: &'d Database,
    searchable: bool,
}

impl LogReader for IndexedReader<'_> {
    fn snapshot(&mut self, work: &mut dyn FnMut(&Tx<'_>)) -> Result<(), StoreError> {
        let search = self.searchable.then_some(&SearchRows as &dyn RecordSearch);
        self.database.read_only(LONG_DEADLINE, search, &mut |tx| {
            work(tx);
            Ok(())
        })
    }

    fn search_is_wrong(&mut self) {
        self.database.shared.signal.rebuild();
    }
}
