//! Looking at a database without changing it, beside the server that uses it or without one.

use std::sync::Arc;

use mandate_core::{Entropy, Secret, Timestamp};

use crate::driver::LogReader;
use crate::error::{LogError, StoreError};
use crate::installation::{self, Installation};
use crate::last_checkpoint::{KeptCheckpoint, WentBack};
use crate::log_verification::{self, CheckedLog};
use crate::logs;
use crate::meta;
use crate::migrations::POSTGRES;
use crate::postgres::address::PostgresAddress;
use crate::postgres::connections::{Connections, LONG_DEADLINE};
use crate::postgres::database::refuse_a_pooler;
use crate::postgres::exclusive::held_lock;
use crate::postgres::migration::{self, Content};
use crate::postgres::statements;
use crate::seal::Sealer;
use crate::tx::Tx;

/// The server that uses a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseHolder {
    /// The process in the database server that serves the session with the lock.
    pub pid: i32,
    /// The address from which that session comes. None over a Unix socket, or if this user may not see it.
    pub from: Option<String>,
}

/// A database that is only read, in transactions that cannot write. It takes no lock, and needs no directory.
#[derive(Debug)]
pub struct PostgresInspection {
    connections: Connections,
}

impl PostgresInspection {
    /// Connects. Blocks, as everything here.
    ///
    /// # Errors
    /// The database server cannot be reached, takes no connection of this user, may lose what it commits, or
    /// is behind a pooler that does not fit.
    pub fn connect(address: &PostgresAddress) -> Result<Self, StoreError> {
        let connections = Connections::reading(address)?;
        refuse_a_pooler(&connections, &connections.own()?)?;
        Ok(Self { connections })
    }

    /// The version of its schema; none if nothing has been put into the database. Refuses a newer version,
    /// what is not ours, and a server of another version or encoding than is needed.
    pub fn schema(&self) -> Result<Option<u32>, StoreError> {
        let client = self.connections.shared()?;
        Ok(match migration::content(&self.connections, &client)? {
            Content::Nothing => None,
            Content::Schema(version) => Some(version),
        })
    }

    /// The version of the schema that this program brings a database to.
    pub fn newest_schema() -> u32 {
        u32::try_from(POSTGRES.len()).unwrap_or(u32::MAX)
    }

    /// Whether it takes writes: a standby does not, nor a server that was set to be read-only.
    pub fn takes_writes(&self) -> Result<bool, StoreError> {
        let client = self.connections.shared()?;
        // Not the current setting: these sessions have one of their own.
        let sql = "SELECT NOT pg_is_in_recovery() AND reset_val = 'off' FROM pg_settings \
             WHERE name = 'default_transaction_read_only'";
        Ok(self.connections.wait(LONG_DEADLINE, client.query_one(sql, &[]))?.try_get(0)?)
    }

    /// The server that has the lock on it now.
    pub fn holder(&self) -> Result<Option<DatabaseHolder>, StoreError> {
        let client = self.connections.shared()?;
        let sql = format!(
            "SELECT pid, host(client_addr) FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) WHERE {}",
            held_lock()
        );
        let row = self.connections.wait(LONG_DEADLINE, client.query_opt(&sql, &[]))?;
        row.map(|row| Ok(DatabaseHolder { pid: row.try_get(0)?, from: row.try_get(1)? })).transpose()
    }

    /// Whose data it is, if it says so.
    pub fn installation(&self) -> Result<Option<Installation>, StoreError> {
        self.read(None, installation::load)?
    }

    /// The latest time of a record.
    pub fn newest(&self) -> Result<Timestamp, StoreError> {
        self.read(None, logs::newest)?
    }

    /// Whether it was sealed with this key.
    pub fn is_sealed_with(&self, key: &Secret, entropy: Arc<dyn Entropy>) -> Result<bool, StoreError> {
        match Sealer::new(key, entropy) {
            Some(sealer) => self.read(Some(&sealer), meta::opens_seal)?,
            None => Ok(false),
        }
    }

    /// As [`crate::Inspection::verify_logs`].
    pub fn verify_logs(&self, mut progress: impl FnMut(u64, u64)) -> Result<Vec<CheckedLog>, LogError> {
        log_verification::verify_inspected(&mut Snapshots(self), &mut progress)
    }

    /// As [`crate::Inspection::compare`].
    pub fn compare(&self, kept: &KeptCheckpoint) -> Result<u64, WentBack> {
        self.read(None, |tx| kept.inspect(tx))?
    }

    /// Calls `work` with one consistent snapshot.
    fn read<T>(&self, sealer: Option<&Sealer>, work: impl FnOnce(&Tx<'_>) -> T) -> Result<T, StoreError> {
        let connections = &self.connections;
        statements::read(connections, connections.shared()?, LONG_DEADLINE, |session| {
            Ok(work(&match sealer {
                Some(sealer) => Tx::new(session, sealer),
                None => Tx::without_key(session),
            }))
        })
    }
}

struct Snapshots<'i>(&'i PostgresInspection);

impl LogReader for Snapshots<'_> {
    fn snapshot(&mut self, work: &mut dyn FnMut(&Tx<'_>)) -> Result<(), StoreError> {
        self.0.read(None, work)
    }

    // It is not looked at here.
    fn search_is_wrong(&mut self) {}
}

#[cfg(test)]
mod tests {
    use mandate_testkit::postgres::Cluster;
    use mandate_testkit::skipped;

    use super::{LONG_DEADLINE, PostgresInspection};
    use crate::StoreError;

    #[test]
    fn no_statement_of_an_inspection_can_write_and_it_says_whether_others_can() {
        let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
        let database = cluster.create_database();
        let address = cluster.url(&database).parse().unwrap();
        let inspection = PostgresInspection::connect(&address).unwrap();
        let connections = &inspection.connections;
        for client in [&*connections.shared().unwrap(), &connections.own().unwrap()] {
            let made = connections.wait(LONG_DEADLINE, client.batch_execute("CREATE TABLE t (n INTEGER)"));
            assert!(matches!(made, Err(StoreError::ReadOnly(_))), "{made:?}");
        }
        assert!(inspection.takes_writes().unwrap());
        cluster.sql(&database, "ALTER ROLE mandate SET default_transaction_read_only = on");
        assert!(!PostgresInspection::connect(&address).unwrap().takes_writes().unwrap());
    }
}
