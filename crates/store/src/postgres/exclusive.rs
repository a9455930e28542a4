//! One server at a time uses a database. Each has in memory what is in force, and would not notice what
//! another stops.

use std::thread;
use std::time::{Duration, Instant};

use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::postgres::connections::{Connections, DEADLINE};

/// "Mdt1", as in the header of our `SQLite` files. An advisory lock is of one database.
const KEY: i64 = 0x4d64_7431;

/// How long a start waits for the lock: the server may not have noticed yet that the connection of a process
/// that ended is gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long a failure is the answer to all who ask: a writer must not wait for one attempt after another.
const REST: Duration = Duration::from_secs(1);

/// The name in `meta` of who has used the database last.
pub(crate) const SERVER: &str = "server";

/// The lock on the database: of a session, so that it ends with the process.
#[derive(Debug)]
pub(crate) struct Exclusive {
    /// What this process has written as [`SERVER`].
    server: String,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    session: Option<(ClientWrapper, Keeper)>,
    failed: Option<Instant>,
}

/// The process number of the session that has the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeper(i32);

impl Keeper {
    /// The statements that end a transaction that writes: it is committed only if the lock is still held.
    /// They fail, too, in a transaction in which a statement failed, which `COMMIT` alone would roll back
    /// without an error.
    pub(crate) fn commit(self) -> String {
        format!(
            "SELECT 1 / (SELECT count(*) FROM pg_locks WHERE pid = {} AND {}); COMMIT",
            self.0,
            held_lock()
        )
    }
}

/// Which row of `pg_locks` is that of the session that has the lock.
pub(crate) fn held_lock() -> String {
    format!(
        "locktype = 'advisory' AND granted AND classid = 0 AND objid = {KEY} \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
}

impl Exclusive {
    /// `server` is a name that no other process has.
    pub(crate) fn new(server: String) -> Self {
        Self { server, held: Mutex::default() }
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Takes the lock at a start.
    pub(crate) fn take(&self, connections: &Connections) -> Result<(), StoreError> {
        let (begun, session) = (Instant::now(), connections.own()?);
        loop {
            if let Some(keeper) = ask(connections, &session)? {
                self.held.lock().session = Some((session, keeper));
                return Ok(());
            }
            if begun.elapsed() >= PATIENCE {
                return Err(held_elsewhere());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes sure that no other server uses the database. Asks the database only if the lock's connection has
    /// ended.
    pub(crate) fn ensure(&self, connections: &Connections) -> Result<Keeper, StoreError> {
        let Some(mut held) = self.held.try_lock_for(DEADLINE) else {
            return Err(StoreError::Unreachable("the lock on the database is being taken again".into()));
        };
        if let Some((session, keeper)) = &held.session
            && !session.is_closed()
        {
            return Ok(*keeper);
        }
        held.session = None;
        if held.failed.is_some_and(|at| at.elapsed() < REST) {
            return Err(StoreError::Unreachable(
                "the lock on the database could not be taken a moment ago".into(),
            ));
        }
        match self.take_again(connections) {
            Ok((session, keeper)) => {
                *held = Held { session: Some((session, keeper)), failed: None };
                Ok(keeper)
            }
            Err(error) => {
                held.failed = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// While this process did not have the lock, another server may have revoked what is in force here. That
    /// is so whether or not the other one still has the lock.
    fn take_again(&self, connections: &Connections) -> Result<(ClientWrapper, Keeper), StoreError> {
        let session = connections.own()?;
        let keeper = ask(connections, &session)?;
        let row = connections
            .wait(DEADLINE, session.query_opt("SELECT value FROM meta WHERE name = $1", &[&SERVER]))?;
        let last = row.map(|row| row.try_get::<_, Vec<u8>>(0)).transpose()?;
        if last.as_deref() != Some(self.server.as_bytes()) {
            return Err(StoreError::Superseded);
        }
        Ok((session, keeper.ok_or_else(held_elsewhere)?))
    }
}

/// Takes the lock for a session, if no other has it. After an error the server may still grant it: the
/// session must end, as it does with its connection.
fn ask(connections: &Connections, session: &ClientWrapper) -> Result<Option<Keeper>, StoreError> {
    let asked = session.query_one("SELECT pg_try_advisory_lock($1), pg_backend_pid()", &[&KEY]);
    let row = connections.wait(DEADLINE, asked)?;
    Ok(row.try_get::<_, bool>(0)?.then_some(Keeper(row.try_get(1)?)))
}

fn held_elsewhere() -> StoreError {
    StoreError::Busy("another server uses this database".into())
}
