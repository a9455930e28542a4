//! One server at a time uses a database. Each has in memory what is in force, and would not notice what
//! another stops.

use std::thread;
use std::time::{Duration, Instant};

use deadpool_postgres::ClientWrapper;
use mandate_core::Entropy;
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
    /// The key of the lock that only this process takes.
    own: i64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    session: Option<(ClientWrapper, Keeper)>,
    failed: Option<Instant>,
}

/// The session that has the lock, as a transaction can look for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeper {
    /// Its process number. After a failover behind one address, another server's session may have the same.
    pid: i32,
    /// The key of a second lock, which no session of another process takes.
    own: i64,
}

impl Keeper {
    /// The statements that end a transaction that writes: it is committed only if the lock is still held.
    /// They fail, too, in a transaction in which a statement failed, which `COMMIT` alone would roll back
    /// without an error.
    pub(crate) fn commit(self) -> String {
        format!(
            "SELECT 1 / (SELECT count(*) / 2 FROM pg_locks WHERE pid = {} AND ({} OR {})); COMMIT",
            self.pid,
            held(KEY),
            held(self.own)
        )
    }
}

/// Which row of `pg_locks` is that of the session that has the lock.
pub(crate) fn held_lock() -> String {
    held(KEY)
}

/// Which row of `pg_locks` is that of a lock with this key (`PostgreSQL` 15, §54.12).
fn held(key: i64) -> String {
    let (high, low) = (key.cast_unsigned() >> 32, key.cast_unsigned() & 0xffff_ffff);
    format!(
        "locktype = 'advisory' AND granted AND classid = '{high}' AND objid = '{low}' AND objsubid = 1 \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
}

/// A key that is not [`KEY`], of 62 random bits.
fn own_key(entropy: &dyn Entropy) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    (i64::from_le_bytes(bytes) | 1 << 62) & i64::MAX
}

/// A name that no other process has.
fn random_name(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    base16ct::lower::encode_string(&bytes)
}

impl Exclusive {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self { server: random_name(entropy), own: own_key(entropy), held: Mutex::default() }
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Takes the lock at a start.
    pub(crate) fn take(&self, connections: &Connections) -> Result<(), StoreError> {
        let (begun, session) = (Instant::now(), connections.own()?);
        loop {
            if let Some(keeper) = self.ask(connections, &session)? {
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
        let keeper = self.ask(connections, &session)?;
        let row = connections
            .wait(DEADLINE, session.query_opt("SELECT value FROM meta WHERE name = $1", &[&SERVER]))?;
        let last = row.map(|row| row.try_get::<_, Vec<u8>>(0)).transpose()?;
        if last.as_deref() != Some(self.server.as_bytes()) {
            return Err(StoreError::Superseded);
        }
        Ok((session, keeper.ok_or_else(held_elsewhere)?))
    }

    /// Takes the lock for a session, if no other has it. After an error the server may still grant it: the
    /// session must end, as it does with its connection.
    fn ask(&self, connections: &Connections, session: &ClientWrapper) -> Result<Option<Keeper>, StoreError> {
        let sql = "SELECT pg_try_advisory_lock($1) AND pg_try_advisory_lock($2), pg_backend_pid()";
        let row = connections.wait(DEADLINE, session.query_one(sql, &[&KEY, &self.own]))?;
        let (granted, pid) = (row.try_get(0)?, row.try_get(1)?);
        Ok(if granted { Some(Keeper { pid, own: self.own }) } else { None })
    }
}

fn held_elsewhere() -> StoreError {
    StoreError::Busy("another server uses this database".into())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use mandate_testkit::clock::SeededEntropy;
    use mandate_testkit::postgres::Cluster;
    use mandate_testkit::skipped;

    use super::{KEY, Keeper, held, own_key};

    #[test]
    fn a_session_with_the_same_number_and_not_our_own_lock_lets_nothing_be_committed() {
        let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
        let database = cluster.create_database();
        let own = own_key(&SeededEntropy::new(1));
        for (keys, commits) in
            [(vec![KEY], false), (vec![own], false), (vec![KEY, own + 1], false), (vec![KEY, own], true)]
        {
            let mut session = cluster.session(&database);
            for key in &keys {
                session.args(["--command", &format!("SELECT pg_advisory_lock({key})")]);
            }
            let sleep = "SELECT pg_sleep(60)";
            let mut session = session.args(["--command", sleep]).stdout(Stdio::null()).spawn().unwrap();
            let pid = format!("SELECT pid FROM pg_stat_activity WHERE query = '{sleep}'");
            let mut found = String::new();
            while found.is_empty() {
                found = cluster.sql(&database, &pid);
            }
            let keeper = Keeper { pid: found.parse().unwrap(), own };
            let transaction = format!("BEGIN; {}", keeper.commit());
            let done = cluster.session(&database).args(["--command", &transaction]).output().unwrap();
            assert_eq!(done.status.success(), commits, "{keys:?}: {done:?}");
            assert_eq!(String::from_utf8_lossy(&done.stderr).contains("division by zero"), !commits);
            session.kill().unwrap();
            session.wait().unwrap();
            cluster.sql(&database, &format!("SELECT pg_terminate_backend({found}, 5000)"));
        }
    }

    #[test]
    fn our_own_key_is_never_that_of_the_lock() {
        for seed in 0..100 {
            let own = own_key(&SeededEntropy::new(seed));
            assert!(own >= 1 << 62, "{own}");
        }
        assert!(held(KEY).contains("classid = '0' AND objid = '1298428977'"));
    }
}
