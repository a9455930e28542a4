//! The schema of the search index: how it is made, and the thread's connection to it.

use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::IsolationLevel;

use crate::error::StoreError;
use crate::postgres::connections::{Connections, DEADLINE, LONG_DEADLINE};
use crate::postgres::shared::Shared;
use crate::postgres::statements::{Session, State, StatementPlace};
use crate::search_follower;
use crate::search_rows::{self, VERSION};
use crate::tx::Tx;

/// Marks the schema as ours. What it has besides is derived from the logs and may be dropped at any time.
const MARK: &str = "CREATE TABLE IF NOT EXISTS search.mandate_index (one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL)";

const TABLES: &str = "
CREATE TABLE search.chunks (
    log      INTEGER NOT NULL,
    chunk    INTEGER NOT NULL,
    earliest BIGINT NOT NULL,
    latest   BIGINT NOT NULL,
    last     BYTEA  NOT NULL,
    PRIMARY KEY (log, chunk)
);
CREATE TABLE search.names (
    log   INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    name  BIGINT NOT NULL,
    idx   BIGINT NOT NULL,
    PRIMARY KEY (log, chunk, name, idx)
);";

/// How an empty index is made: in one step, during which searches wait for the tables.
///
/// It waits for searches for a shorter time than they wait for it, and is tried again. Searches that begin
/// meanwhile use no index. Like a search, it locks `chunks` first, so that the two cannot wait for each
/// other.
fn creation() -> String {
    format!(
        "SET LOCAL lock_timeout = '200ms'; SET LOCAL synchronous_commit = off;
         CREATE SCHEMA IF NOT EXISTS search; {MARK};
         DROP TABLE IF EXISTS search.chunks, search.names; {TABLES}
         INSERT INTO search.mandate_index (one, version) VALUES (1, {VERSION}) ON CONFLICT (one) DO UPDATE SET version = {VERSION};"
    )
}

/// Whether there is an index of this version that belongs to the logs.
pub(crate) fn fits(connections: &Connections, client: &mut Object) -> bool {
    let fits = (|| {
        if !is_marked(connections, client)? {
            return Ok(false);
        }
        let row =
            connections.wait(DEADLINE, client.query_one("SELECT version FROM search.mandate_index", &[]))?;
        if row.try_get::<_, i64>(0)? != i64::from(VERSION) {
            return Ok(false);
        }
        let state = State::default();
        let tx = connections.wait(DEADLINE, client.transaction())?;
        let tx = Session {
            connections,
            place: StatementPlace::Transaction(&tx),
            deadline: DEADLINE,
            state: &state,
        };
        let tx = Tx::without_key(&tx);
        search_rows::fits(&tx, &tx)
    })();
    match fits {
        Ok(true) => return true,
        Ok(false) => {
            tracing::info!("there is no search index of these logs and of this version; it is built");
        }
        Err::<_, StoreError>(error) => {
            tracing::warn!(%error, "the search index is unusable; it is built again");
        }
    }
    false
}

fn is_marked(connections: &Connections, client: &Object) -> Result<bool, StoreError> {
    let sql = "SELECT to_regclass('search.mandate_index') IS NOT NULL";
    Ok(connections.wait(DEADLINE, client.query_one(sql, &[]))?.try_get(0)?)
}

/// The logs and their index, with the connection that the thread uses for both.
pub(crate) struct IndexSchema {
    shared: Arc<Shared>,
    client: Option<Object>,
}

impl IndexSchema {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, client: None }
    }

    /// Runs `work` with the connection, which is closed if the server did not answer on it.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Connections, &mut Object, &State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connections = &self.shared.connections;
        self.shared.exclusive.ensure(connections)?;
        let mut client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connections.own()?,
        };
        let state = State::default();
        let result = state.note(work(connections, &mut client, &state));
        if state.is_lost() {
            drop(Object::take(client));
        } else {
            self.client = Some(client);
        }
        result
    }
}

impl search_follower::IndexPlace for IndexSchema {
    fn create(&mut self) -> Result<(), StoreError> {
        self.with(|connections, client, _| {
            let theirs = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('search')";
            if !is_marked(connections, client)?
                && connections.wait(DEADLINE, client.query_one(theirs, &[]))?.try_get::<_, i64>(0)? > 0
            {
                return Err(StoreError::Corrupt(
                    "the schema `search` of the database is another program's".to_owned(),
                ));
            }
            connections.wait(LONG_DEADLINE, async {
                let tx = client.transaction().await?;
                tx.batch_execute(&creation()).await?;
                tx.commit().await
            })
        })
    }

    fn take(&mut self) -> Result<u64, StoreError> {
        self.with(|connections, client, state| {
            // What is written here can be derived again. So the commit does not wait for the disk, and the
            // transaction is not serializable: it conflicts with no other.
            let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start();
            let tx = connections.wait(DEADLINE, begin)?;
            connections.wait(DEADLINE, tx.batch_execute("SET LOCAL synchronous_commit = off"))?;
            let missing = {
                let session = Session {
                    connections,
                    place: StatementPlace::Transaction(&tx),
                    deadline: DEADLINE,
                    state,
                };
                let tx = Tx::without_key(&session);
                search_rows::take_chunk(&tx, &tx)?
            };
            connections.wait(DEADLINE, tx.commit())?;
            Ok(missing)
        })
    }
}

#[cfg(test)]
mod tests;
