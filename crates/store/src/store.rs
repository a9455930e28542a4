//! The store: where reads and writes begin.
//!
//! A transaction blocks its thread. [`Store::read`], [`Store::search`] and [`Store::transact`] are for async
//! code: they run on a thread that may block, a few at a time. What is named `…_blocking` is for threads
//! without async code: the start, the sequencer, tests.

use std::path::Path;
use std::sync::Arc;

use mandate_core::Entropy;

use crate::audit_backend::AuditBackend;
use crate::driver::{Driver, LogReader, Work};
use crate::error::StoreError;
use crate::postgres::address::PostgresAddress;
use crate::sqlite::directory;
use crate::turns::{Access, Seats, Turns};
use crate::tx::Tx;
use crate::write_trouble::WriteTrouble;
use crate::{postgres, sqlite};

/// The database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    driver: Arc<dyn Driver>,
    turns: Arc<Turns>,
    /// Whether each closure runs twice; see `Store::rehearsing`.
    #[cfg(any(test, feature = "rehearsal"))]
    rehearsing: bool,
}

impl Store {
    /// Opens the embedded database in `dir`, creating it (mode 0700), `mandate.db` and `seal.key` (0600) when
    /// absent, and brings the schema up to date. Only one process at a time has a directory open. Blocks.
    pub fn open_blocking(dir: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        Self::on(sqlite::database::Database::open(dir, entropy)?, sqlite::database::SEATS)
    }

    /// Opens the database at an address of `PostgreSQL`, and brings the schema up to date. `dir` is created
    /// (mode 0700) when absent; it has `seal.key`. Only one server at a time uses a database, and only one
    /// process a directory. Blocks.
    pub fn connect_blocking(
        dir: &Path,
        address: &PostgresAddress,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        Self::on(postgres::database::Database::open(dir, address, entropy)?, postgres::database::SEATS)
    }

    fn on(driver: impl Driver + 'static, seats: Seats) -> Result<Self, StoreError> {
        Ok(Self {
            driver: Arc::new(driver),
            turns: Arc::new(Turns::new(seats)?),
            #[cfg(any(test, feature = "rehearsal"))]
            rehearsing: false,
        })
    }

    /// The same store, which runs each closure once in a transaction that is rolled back, before the one that
    /// counts. A database that finds two transactions in conflict does the same.
    #[cfg(any(test, feature = "rehearsal"))]
    #[must_use]
    pub fn rehearsing(self) -> Self {
        Self { rehearsing: true, ..self }
    }

    /// Why nothing can be written now, as far as the last writer noticed. Neither blocks nor touches the
    /// disk.
    pub fn write_trouble(&self) -> Option<WriteTrouble> {
        self.driver.write_trouble()
    }

    /// Whether `dir` holds a database. If a database was there and is missing now, the operator must restore
    /// it. Blocks.
    pub fn is_there(dir: &Path) -> Result<bool, StoreError> {
        directory::is_there(dir)
    }

    /// Notes that this process uses the database from now on. A start does so once nothing refuses it any
    /// longer, and before it writes what other servers would have to know: a server that has lost its lock on
    /// the database for a moment ends then, and goes on otherwise. Until then this process itself ends if it
    /// loses the lock. With `SQLite` there is nothing to note. Blocks.
    pub fn claim_blocking(&self) -> Result<(), StoreError> {
        reported("the use of the database cannot be noted", "claim", self.driver.claim())
    }

    /// Whether this process may still use the database: [`StoreError::Superseded`] if another server has used
    /// it since this one lost its lock on it. What the other one revoked is not known here, so the process
    /// must end. Any other error says nothing about that. Asks the database only if the lock was lost.
    pub async fn still_ours(&self) -> Result<(), StoreError> {
        self.in_turn(Access::Read, |store| store.driver.still_ours()).await
    }

    /// Waits until every change of the registry has ended whose answer this process did not get. A read after
    /// that shows whether the change was made.
    pub async fn settled(&self) -> Result<(), StoreError> {
        self.in_turn(Access::Read, |store| {
            reported("the state of a lost change cannot be read", "settled", store.driver.settled())
        })
        .await
    }

    /// Reads from one consistent snapshot, beside any writer.
    ///
    /// `name` says in logs what was read. The closure may run twice.
    pub async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        f: impl FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(Access::Read, move |store| store.read_blocking(name, f)).await
    }

    /// As [`Store::read`], for threads without async code.
    pub fn read_blocking<T>(
        &self,
        name: &'static str,
        f: impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(name, "a read failed", f, |work| self.driver.read(work))
    }

    /// As [`Store::read`], for queries of the audit log: records are found with the search index or, if it
    /// cannot be used, all are read.
    pub async fn search<T: Send + 'static>(
        &self,
        name: &'static str,
        f: impl FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(Access::Search, move |store| store.search_blocking(name, f)).await
    }

    /// As [`Store::search`], for threads without async code.
    pub fn search_blocking<T>(
        &self,
        name: &'static str,
        f: impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(name, "a search failed", f, |work| self.driver.search(work))
    }

    /// Writes data that is not a decision: keys at first start, join tokens, housekeeping. Durable on return,
    /// all or nothing. Waits for its turn beside the audit log's sequencer. Decisions are written as effects
    /// of an audit record instead.
    ///
    /// While another process holds the database, it fails with [`StoreError::Busy`] within a second.
    ///
    /// `name` says in logs what was written. The closure may run twice; what it did the first time is undone
    /// then. If the future is dropped, the transaction is made nevertheless once it has its turn.
    pub async fn transact<T: Send + 'static>(
        &self,
        name: &'static str,
        f: impl FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.in_turn(Access::Write, move |store| store.transact_blocking(name, f)).await
    }

    /// As [`Store::transact`], for threads without async code.
    pub fn transact_blocking<T>(
        &self,
        name: &'static str,
        f: impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(name, "a write failed", f, |work| self.driver.transact(work))
    }

    /// What the sequencer of the audit log with that origin writes to, with a connection of its own. It
    /// writes to that log alone. If there are two for one log, only one at a time can write. Blocks.
    pub fn audit_backend(&self, origin: &str) -> Result<AuditBackend, StoreError> {
        Ok(AuditBackend::new(self.driver.log_session()?, self.driver.sealer().clone(), origin.to_owned()))
    }

    /// Runs the closure in a transaction, and returns what it returned in the one that counted.
    #[cfg_attr(
        not(any(test, feature = "rehearsal")),
        expect(clippy::unused_self, reason = "what rehearses is in `self`")
    )]
    fn run<T>(
        &self,
        name: &'static str,
        failed: &'static str,
        mut f: impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
        transaction: impl Fn(&mut Work<'_>) -> Result<(), StoreError>,
    ) -> Result<T, StoreError> {
        #[cfg(any(test, feature = "rehearsal"))]
        if self.rehearsing {
            drop(transaction(&mut rolled_back(&mut f)));
        }
        let mut value = None;
        let ended = transaction(&mut |tx| {
            value = Some(f(tx)?);
            Ok(())
        });
        // The last run is the one that counted.
        reported(failed, name, ended.and_then(|()| value.ok_or(StoreError::Ending)))
    }

    /// Runs on a thread that may block, when it is the call's turn. The turn ends with the work, even if
    /// nobody waits for that any longer.
    async fn in_turn<T: Send + 'static>(
        &self,
        access: Access,
        f: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        self.turns.run(access, move || f(&store)).await
    }

    pub(crate) fn log_reader(&self) -> Result<Box<dyn LogReader + '_>, StoreError> {
        self.driver.log_reader()
    }
}

/// The closure, as a transaction that conflicts with another runs it: nothing that it writes is kept.
#[cfg(any(test, feature = "rehearsal"))]
fn rolled_back<T>(
    f: &mut impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
) -> impl FnMut(&Tx<'_>) -> Result<(), StoreError> {
    move |tx| {
        drop(f(tx));
        Err(StoreError::Ending)
    }
}

/// Reports a failure in the server's log. A refusal is not one.
fn reported<T>(
    what: &'static str,
    name: &'static str,
    result: Result<T, StoreError>,
) -> Result<T, StoreError> {
    if let Err(error) = &result
        && error.refusal().is_none()
    {
        tracing::warn!(name, %error, "{what}");
    }
    result
}
