//! One server at a time uses a database. Each has in memory what is in force, and would not notice what another stops.

use std::thread;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::postgres::connections::{Connections, DEADLINE};

/// "Mdt1", as in the header of our `SQLite` files. An advisory lock is of one database.
const KEY: i64 = 0x4d64_7431;

/// How long a lock may take to become free: the server has not yet noticed that the connection of a process that ended is gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock on the database: of a session, so that it ends with the process.
#[derive(Debug, Default)]
pub(crate) struct Exclusive {
    session: Mutex<Option<Object>>,
}

impl Exclusive {
    /// Makes sure that no other server uses the database. Asks the database only if the lock's connection has ended.
    pub(crate) fn ensure(&self, connections: &Connections) -> Result<(), StoreError> {
        let mut session = self.session.lock();
        if session.as_ref().is_some_and(|session| !session.is_closed()) {
            return Ok(());
        }
        *session = None;
        let begun = Instant::now();
        let client = connections.own()?;
        loop {
            let row = connections.wait(DEADLINE, client.query_one("SELECT pg_try_advisory_lock($1)", &[&KEY]))?;
            if row.try_get(0)? {
                *session = Some(client);
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(StoreError::Busy("another server uses this database".into()));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}
