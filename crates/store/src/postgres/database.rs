//! A database of a `PostgreSQL` server, and the directory that belongs to it.

use std::convert::identity;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use mandate_core::{Backoff, Entropy};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::directory::{Directory, SEAL_KEY, unusable};
use crate::driver::{Driver, LogReader, LogSession, Work};
use crate::error::StoreError;
use crate::meta;
use crate::postgres::address::PostgresAddress;
use crate::postgres::connections::{Connections, DEADLINE, LONG_DEADLINE, SEARCHES};
use crate::postgres::exclusive::{Exclusive, Keeper, SERVER};
use crate::postgres::log_session::LogConnection;
use crate::postgres::migration::{self, Content};
use crate::postgres::search::{self, IndexSchema};
use crate::postgres::shared::{IMPATIENT, Outermost, Shared};
use crate::postgres::statements::{self, Session, State, StatementPlace, give_back, has_code};
use crate::record_search::{self, RecordSearch};
use crate::seal::Sealer;
use crate::search_follower::{Follower, Signal};
use crate::search_rows::SearchRows;
use crate::turns::Seats;
use crate::tx::Tx;
use crate::write_trouble::WriteTrouble;

/// How often a transaction is tried that conflicts with others.
const TRIES: u32 = 8;

/// The upper bounds of the first wait and of every wait before such a transaction is tried again. The other
/// one has ended by then, or ends soon.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(128)];

/// Reads and writes together leave some of the shared connections to the threads without async code.
pub(crate) const SEATS: Seats = Seats { reads: 8, searches: SEARCHES, writes: 3 };

/// One database. While it is open, no other server uses it, and no other process opens the directory.
pub(crate) struct Database {
    sealer: Sealer,
    entropy: Arc<dyn Entropy>,
    shared: Arc<Shared>,
    /// The thread of the search index, which ends with this.
    _follower: Follower,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the directory, which has the sealing key, and the database at the address, and brings the schema
    /// up to date.
    pub(crate) fn open(
        dir: &Path,
        address: &PostgresAddress,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let directory = Directory::open(dir)?;
        let connections = Connections::new(address)?;
        if address.accepts_lost_records() {
            tracing::warn!(
                "the address of the database says dangerously_accept_lost_records=yes: audit records and revocations can be lost"
            );
        }
        let exclusive = Exclusive::new(entropy.as_ref());
        exclusive.take(&connections)?;
        let mut client = connections.own()?;
        refuse_a_pooler(&connections, &client)?;
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
        let sealer = key.sealer(Arc::clone(&entropy))?;
        migration::run(&connections, &mut client, content)?;
        let signal = Arc::new(Signal::default());
        if !search::fits(&connections, &mut client) {
            signal.rebuild();
        }
        drop(client);
        let shared = Arc::new(Shared::new(connections, exclusive, Arc::clone(&signal), directory.lock()));
        let follower = Follower::start(signal, IndexSchema::new(Arc::clone(&shared)))?;
        let database = Self { sealer, entropy, shared, _follower: follower };
        database.transact(&mut meta::check_seal).map_err(|error| key.is_anothers(error))?;
        if content != migration::newest() {
            // No server of another version may go on with it.
            database.claim()?;
        }
        directory.settle(&key)?;
        Ok(database)
    }

    /// Reads as a search of the log, in which records are found with `search`.
    fn search_with(&self, search: Option<&dyn RecordSearch>, work: &mut Work<'_>) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        statements::read(connections, connections.search()?, LONG_DEADLINE, |session| {
            work(&search.map_or_else(
                || Tx::new(session, &self.sealer),
                |search| Tx::searching(session, &self.sealer, search),
            ))
        })
    }

    /// As [`Database::search_with`], with the search index. If it is damaged, that is reported, it is built
    /// again, and every record is read instead: in another transaction, because an error ends the one in
    /// which it is met.
    fn read_indexed(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        if !self.shared.signal.is_usable() {
            return self.search_with(None, work);
        }
        match self.search_with(Some(&SearchRows), work) {
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "the search index cannot be used; it is built again, and queries look at every record until then");
                self.shared.signal.rebuild();
                self.search_with(None, work)
            }
            result => result,
        }
    }

    fn try_transaction(&self, keeper: Keeper, work: &mut Work<'_>) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        let (held, state) = (InTransaction::on(connections.shared()?), State::default());
        let client = held.client()?;
        let run = |sql: &str, meaning: fn(StoreError) -> StoreError| {
            state.note(connections.wait(DEADLINE, client.batch_execute(sql)).map_err(meaning))
        };
        let result = (|| {
            run("BEGIN ISOLATION LEVEL SERIALIZABLE", no_writes)?;
            if self.shared.is_held() {
                run(IMPATIENT, identity)?;
            }
            let place = StatementPlace::Connection(client);
            let session = Session { connections, place, deadline: DEADLINE, state: &state };
            work(&Tx::new(&session, &self.sealer))?;
            run(&keeper.commit(), lock_lost)
        })();
        if result.is_err() && !state.is_lost() {
            // The error that counts is the first. After one here, the connection is closed.
            let _ = run("ROLLBACK", identity);
        }
        if !state.is_lost() {
            held.give_back();
        }
        if result.is_ok() {
            self.shared.committed();
        }
        self.shared.note(state.trouble());
        result
    }
}

/// A connection on which a transaction is open. Unless that has ended, the connection is closed, and the
/// transaction ends with it.
struct InTransaction(Option<Object>);

impl InTransaction {
    fn on(client: Object) -> Self {
        Self(Some(client))
    }

    fn client(&self) -> Result<&Object, StoreError> {
        self.0.as_ref().ok_or(StoreError::Ending)
    }

    /// The transaction has ended: the connection is the next one's.
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for InTransaction {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

/// A pooler that runs the transactions of several connections in one session would let two servers hold the
/// lock of that session; and one that gives a connection another session at times would leave the lock with a
/// session that is not ours. Of two sessions that take turns, the third question to one connection shows it.
pub(crate) fn refuse_a_pooler(connections: &Connections, client: &ClientWrapper) -> Result<(), StoreError> {
    let other = connections.own()?;
    // Not prepared: poolers that change sessions may refuse what was prepared in another one.
    let pid = |client: &ClientWrapper| {
        let answer = connections.wait(DEADLINE, client.simple_query("SELECT pg_backend_pid()"))?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        row.ok_or_else(|| StoreError::Corrupt("a session does not say which one it is".to_owned()))
    };
    let (first, another) = (pid(client)?, pid(&other)?);
    let what = if first == another {
        "two connections one session"
    } else if pid(client)? != first || pid(client)? != first {
        "one connection several sessions"
    } else {
        return Ok(());
    };
    Err(StoreError::Directory {
        path: connections.address().into(),
        why: format!("a pooler gives {what}: let it pool by session, or connect to the server itself"),
    })
}

/// A standby answers that it does not support serializable transactions.
pub(crate) fn no_writes(error: StoreError) -> StoreError {
    match error {
        StoreError::Sql(cause) if has_code(cause.as_ref(), &SqlState::FEATURE_NOT_SUPPORTED) => {
            StoreError::ReadOnly(cause)
        }
        other => other,
    }
}

/// The statement of [`Keeper::commit`] divides by zero if the lock is lost.
pub(crate) fn lock_lost(error: StoreError) -> StoreError {
    match error {
        StoreError::Sql(cause) if has_code(cause.as_ref(), &SqlState::DIVISION_BY_ZERO) => {
            StoreError::Busy("the lock on the database was lost".into())
        }
        other => other,
    }
}

impl Driver for Database {
    fn read(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        statements::read(connections, connections.shared()?, DEADLINE, |session| {
            work(&Tx::new(session, &self.sealer))
        })
    }

    fn search(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        self.read_indexed(work)
    }

    fn transact(&self, work: &mut Work<'_>) -> Result<(), StoreError> {
        let _outermost = Outermost::enter(&self.shared)?;
        self.shared.waiting(|| {
            let keeper = self.shared.exclusive.ensure(&self.shared.connections)?;
            let [first, longest] = PAUSES;
            let (mut tries, mut backoff) = (1, Backoff::between(first, longest));
            loop {
                match self.try_transaction(keeper, work) {
                    // Two that are in conflict with each other do not try again at the same moment.
                    Err(StoreError::Conflict(_)) if tries < TRIES => {
                        thread::sleep(backoff.wait(self.entropy.as_ref()));
                    }
                    result => return result,
                }
                tries += 1;
            }
        })
    }

    fn claim(&self) -> Result<(), StoreError> {
        self.transact(&mut |tx| meta::put(tx, SERVER, self.shared.exclusive.server()))
    }

    fn still_ours(&self) -> Result<(), StoreError> {
        let result = self.shared.exclusive.ensure(&self.shared.connections).map(drop);
        self.shared.note(result.as_ref().err().and_then(statements::trouble_of));
        result
    }

    fn settled(&self) -> Result<(), StoreError> {
        let connections = &self.shared.connections;
        let mut client = connections.shared()?;
        let state = State::default();
        let result = (|| {
            let tx = state.note(connections.wait(DEADLINE, client.transaction()))?;
            // Waits for a commit that is under way and whose answer nobody waits for any longer; or fails, if
            // that takes long.
            state
                .note(
                    connections
                        .wait(DEADLINE, tx.query("SELECT version FROM registry_version FOR SHARE", &[])),
                )
                .map(drop)
        })();
        give_back(client, &state);
        result
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
        self.database.search_with(search, &mut |tx| {
            work(tx);
            Ok(())
        })
    }

    fn search_is_wrong(&mut self) {
        self.database.shared.signal.rebuild();
    }
}
