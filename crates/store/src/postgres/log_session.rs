//! The audit log's own connection: one transaction for each batch of records.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;

use crate::driver::LogSession;
use crate::error::StoreError;
use crate::postgres::connections::DEADLINE;
use crate::postgres::database::{lock_lost, no_writes};
use crate::postgres::exclusive::Keeper;
use crate::postgres::shared::{IMPATIENT, Shared};
use crate::postgres::statements::{Session, State, StatementPlace};
use crate::tx::{Columns, Rows, Statements};
use crate::value::Value;

/// The connection on which the sequencer writes. It is made again after it was lost.
pub(crate) struct LogConnection {
    shared: Arc<Shared>,
    client: Option<ClientWrapper>,
    open: bool,
    /// The session that has the lock on the database.
    keeper: Option<Keeper>,
    state: State,
}

impl LogConnection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, client: None, open: false, keeper: None, state: State::default() }
    }

    fn client(&self) -> Result<&ClientWrapper, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Unreachable("the connection is lost".into()))
    }

    fn session(&self) -> Result<Session<'_>, StoreError> {
        Ok(Session {
            connections: &self.shared.connections,
            place: StatementPlace::Connection(self.client()?),
            deadline: DEADLINE,
            state: &self.state,
        })
    }

    /// Runs a statement without parameters.
    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.state.note(self.shared.connections.wait(DEADLINE, self.client()?.batch_execute(sql)))
    }

    fn open(&mut self, begin: &str) -> Result<(), StoreError> {
        self.roll_back();
        if self.client.as_ref().is_none_or(|client| client.is_closed()) {
            self.client = None;
            self.client = Some(self.shared.connections.own()?);
        }
        self.state = State::default();
        self.run(begin)?;
        self.open = true;
        Ok(())
    }
}

impl LogSession for LogConnection {
    fn statements(&self) -> &dyn Statements {
        self
    }

    fn begin_reading(&mut self) -> Result<(), StoreError> {
        self.open("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        shared.waiting(|| {
            self.keeper = Some(shared.exclusive.ensure(&shared.connections)?);
            // A receipt is for what is on disk, whatever has been set for the session since.
            self.open("BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL synchronous_commit = 'on'")
                .map_err(no_writes)?;
            if shared.is_held() { self.run(IMPATIENT) } else { Ok(()) }
        })
    }

    fn is_open(&self) -> bool {
        self.open && !self.state.is_lost()
    }

    fn mark(&self) -> Result<(), StoreError> {
        self.run("SAVEPOINT entry")
    }

    fn keep(&self) -> Result<(), StoreError> {
        self.run("RELEASE entry")
    }

    fn undo(&self) -> Result<(), StoreError> {
        self.run("ROLLBACK TO entry; RELEASE entry")
    }

    fn commit(&mut self, records: u64) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let commit = self.keeper.ok_or(StoreError::Ending)?.commit();
        shared.waiting(|| self.run(&commit).map_err(lock_lost))?;
        shared.committed();
        self.open = false;
        self.shared.signal.written(records);
        Ok(())
    }

    fn roll_back(&mut self) {
        if self.open && !self.state.is_lost() && self.run("ROLLBACK").is_err() {
            tracing::debug!("roll-back failed; the connection is closed");
        }
        self.open = false;
        if self.state.is_lost() {
            // What the server still does on it ends with it.
            self.client = None;
        }
    }
}

impl Statements for LogConnection {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        let result = self.session()?.execute(sql, values);
        self.shared.note(self.state.trouble());
        result
    }

    fn query(
        &self,
        sql: &str,
        values: &[Value<'_>],
        rows: Rows,
        each: &mut dyn FnMut(&dyn Columns) -> bool,
    ) -> Result<(), StoreError> {
        let result = self.session()?.query(sql, values, rows, each);
        self.shared.note(self.state.trouble());
        result
    }
}
