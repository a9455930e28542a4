//! The schema of the search index: how it is made, and the thread's connection to it.

use std::sync::Arc;

use deadpool_postgres::{ClientWrapper, Transaction};
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

/// As [`crate::sqlite::search::SCHEMA`].
pub(crate) const TABLES: &str = "
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

/// Begins to make an empty index: in one step, during which searches wait for the tables.
///
/// It waits for searches for a shorter time than they wait for it, and is tried again. Searches that begin
/// meanwhile use no index.
const BEGIN: &str = "SET LOCAL lock_timeout = '200ms'; SET LOCAL synchronous_commit = off;
     CREATE SCHEMA IF NOT EXISTS search";

/// Whether the schema `search` is ours; none if there is none. Of a schema, or of a table in it, that another
/// role has, the triggers and views would run with our rights.
const IS_OURS: &str =
    "SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'search'";

/// Whether our mark is in the schema, which must be ours too, with all that is in it.
const IS_MARKED: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'search' AND c.relname = 'mandate_index' AND c.relkind = 'r'
     AND pg_catalog.pg_has_role(n.nspowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_catalog.pg_class other
     WHERE other.relnamespace = n.oid AND NOT pg_catalog.pg_has_role(other.relowner, 'USAGE')))";

/// How many tables and the like the schema has.
const RELATIONS: &str =
    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'search'";

/// Like a search, it locks `chunks` first, so that the two cannot wait for each other.
fn creation() -> String {
    format!(
        "{MARK};
         DROP TABLE IF EXISTS search.chunks, search.names; {TABLES}
         INSERT INTO search.mandate_index (one, version) VALUES (1, {VERSION}) ON CONFLICT (one) DO UPDATE SET version = {VERSION};"
    )
}

/// Whether there is an index of this version that belongs to the logs.
pub(crate) fn fits(connections: &Connections, client: &mut ClientWrapper) -> bool {
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

fn is_marked(connections: &Connections, client: &ClientWrapper) -> Result<bool, StoreError> {
    Ok(connections.wait(DEADLINE, client.query_one(IS_MARKED, &[]))?.try_get(0)?)
}

/// Refuses a schema `search` that is not ours, or that has something in it and not our mark.
fn refuse_anothers(connections: &Connections, tx: &Transaction<'_>) -> Result<(), StoreError> {
    let ask = |sql| connections.wait(DEADLINE, tx.query_opt(sql, &[]));
    let anothers = |whose: &str| {
        Err(StoreError::Corrupt(format!(
            "the schema `search` of the database is another {whose}; searches read every record"
        )))
    };
    if let Some(row) = ask(IS_OURS)?
        && !row.try_get::<_, bool>(0)?
    {
        return anothers("role's");
    }
    let marked = ask(IS_MARKED)?.map(|row| row.try_get::<_, bool>(0)).transpose()?;
    let relations = ask(RELATIONS)?.map(|row| row.try_get::<_, i64>(0)).transpose()?;
    if marked != Some(true) && relations != Some(0) { anothers("program's") } else { Ok(()) }
}

/// The logs and their index, with the connection that the thread uses for both.
pub(crate) struct IndexSchema {
    shared: Arc<Shared>,
    client: Option<ClientWrapper>,
}

impl IndexSchema {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, client: None }
    }

    /// Runs `work` with the connection, which is closed if the server did not answer on it.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Connections, &mut ClientWrapper, &State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connections = &self.shared.connections;
        self.shared.exclusive.ensure(connections)?;
        let mut client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connections.own()?,
        };
        let state = State::default();
        let result = state.note(work(connections, &mut client, &state));
        if !state.is_lost() {
            self.client = Some(client);
        }
        result
    }
}

impl search_follower::IndexPlace for IndexSchema {
    fn create(&mut self) -> Result<(), StoreError> {
        self.with(|connections, client, _| {
            let tx = connections.wait(DEADLINE, client.transaction())?;
            // Before anything is made, and again when nobody can put anything in its place any longer.
            refuse_anothers(connections, &tx)?;
            connections.wait(LONG_DEADLINE, tx.batch_execute(BEGIN))?;
            refuse_anothers(connections, &tx)?;
            connections.wait(LONG_DEADLINE, async {
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
