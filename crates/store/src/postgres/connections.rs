//! The connections to the server, and waiting for its answers from threads without async code.
//!
//! The client library is async. Its connections run on a thread of their own, so that a caller may wait for
//! an answer on any thread that may block.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime as PoolRuntime,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::unconstrained;
use tokio::time::timeout;

use crate::error::StoreError;
use crate::postgres::address::PostgresAddress;
use crate::postgres::durability;

/// How long an answer may take, when a request waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// How long an answer may take at the start and in searches of the log, of which nothing else has to wait.
pub(crate) const LONG_DEADLINE: Duration = Duration::from_secs(60);

/// The most connections that read and do bookkeeping at the same time.
const MOST: usize = 12;

/// How every session is set up.
///
/// A receipt means that a record is on the server's disk, whatever is usual for its role or database. A
/// transaction whose client has gone away must not keep its locks. While another program holds a table, a
/// request must hear so within two seconds, and it may wait four times, as in [`crate::sqlite::gate`].
///
/// The server must notice when our machine is lost, and then let go of what its sessions hold. The session
/// that has the lock on the database is always idle.
const SETTINGS: &str = "SET synchronous_commit = 'on'; SET lock_timeout = '400ms'; SET idle_in_transaction_session_timeout = '60s'; \
     SET idle_session_timeout = 0; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
     SET tcp_user_timeout = 10000; SET client_encoding = 'UTF8'; SET timezone = 'UTC'; SET standard_conforming_strings = 'on'";

/// Names the schema of our tables, so that no other one comes before it: the schema in which our user, or
/// else a role that it belongs to, has `mandate_schema`. Where there is none yet, the one in which tables are
/// made.
const PINNED: &str = "SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident(coalesce(( \
     SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relname = 'mandate_schema' AND c.relkind IN ('r', 'p') \
     AND pg_catalog.pg_has_role(c.relowner, 'USAGE') \
     ORDER BY pg_catalog.pg_get_userbyid(c.relowner) = current_user DESC, \
     n.nspname = current_schema() DESC, n.nspname LIMIT 1 \
     ), current_schema())) || ', pg_temp', false)";

/// Ends a statement whose caller has gone. Not every system can notice that.
const IF_POSSIBLE: &str = "SET client_connection_check_interval = '1s'";

/// For a program that only looks: nothing is written, in whatever transaction a statement runs.
const ONLY_READING: &str = "SET default_transaction_read_only = on";

/// The most searches of the log at the same time: they may take long, and logins must not wait for them.
pub(super) const SEARCHES: usize = 3;

/// The connections of one store.
pub(crate) struct Connections {
    // None only while it is dropped: a runtime must not be dropped where other async code runs.
    runtime: Option<Runtime>,
    /// For reads and bookkeeping.
    shared: Pool,
    /// For searches of the log.
    searches: Pool,
    /// Makes connections that are not shared: for the audit log, and for what keeps other servers away.
    own: Pool,
    address: String,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connections {
    /// Makes the pools. They connect when a connection is asked for.
    pub(crate) fn new(address: &PostgresAddress) -> Result<Self, StoreError> {
        Self::set_up(address, "")
    }

    /// As [`Connections::new`], for sessions whose transactions cannot write.
    pub(crate) fn reading(address: &PostgresAddress) -> Result<Self, StoreError> {
        Self::set_up(address, ONLY_READING)
    }

    /// `more` is run in each new session.
    fn set_up(address: &PostgresAddress, more: &'static str) -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|e| StoreError::Io(Box::new(e)))?;
        let (shared, searches, own) =
            (pool(address, MOST, more)?, pool(address, SEARCHES, more)?, pool(address, OWN, more)?);
        Ok(Self { runtime: Some(runtime), shared, searches, own, address: address.to_string() })
    }

    /// Which database it is, without a password.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A connection for reads and bookkeeping, which is given back when it is dropped.
    pub(crate) fn shared(&self) -> Result<Object, StoreError> {
        self.wait(DEADLINE * 2, self.shared.get())
    }

    /// A connection for a search of the log, which is given back when it is dropped.
    pub(crate) fn search(&self) -> Result<Object, StoreError> {
        self.wait(DEADLINE * 2, self.searches.get())
    }

    /// A new connection that nobody else gets: it is closed when it is dropped. So what its session holds,
    /// such as a lock or an open transaction, ends with it, whatever became of its last answer.
    pub(crate) fn own(&self) -> Result<ClientWrapper, StoreError> {
        self.wait(DEADLINE * 2, self.own.get()).map(Object::take)
    }

    /// Blocks until the server has answered. A connection whose answer did not come in time must not be used
    /// again.
    pub(crate) fn wait<T, E>(
        &self,
        deadline: Duration,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError>
    where
        StoreError: From<E>,
    {
        let _timers = self.runtime.as_ref().ok_or(StoreError::Ending)?.enter();
        // Unconstrained: the thread may be in a task of another runtime, whose budget is used up here and is
        // only given back when that task yields, which it does not before the answer.
        match futures_executor::block_on(unconstrained(timeout(deadline, answer))) {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                Err(StoreError::Unreachable(format!("no answer within {} s", deadline.as_secs()).into()))
            }
        }
    }
}

/// The most connections of this kind that are being made at a time. Once made, they are not the pool's.
const OWN: usize = 8;

fn pool(address: &PostgresAddress, most: usize, more: &'static str) -> Result<Pool, StoreError> {
    // A connection that was closed is noticed; one that is dead in another way ends with its deadline.
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let mut config = address.config();
    // A server that vanished without a word is noticed, also while nobody asks it anything.
    config.connect_timeout(DEADLINE).tcp_user_timeout(DEADLINE * 5).keepalives_idle(DEADLINE * 5);
    config.keepalives_interval(DEADLINE).keepalives_retries(3);
    let manager = Manager::from_config(config, address.tls()?, manager);
    let accepts_lost_records = address.accepts_lost_records();
    let set_up = Hook::async_fn(move |client, _| {
        Box::pin(async move {
            client.batch_execute(SETTINGS).await.map_err(HookError::Backend)?;
            client.batch_execute(PINNED).await.map_err(HookError::Backend)?;
            client.batch_execute(more).await.map_err(HookError::Backend)?;
            if !accepts_lost_records {
                durability::check(client).await?;
            }
            if client.batch_execute(IF_POSSIBLE).await.is_err() {
                tracing::debug!("the database server does not notice when a caller has gone");
            }
            Ok(())
        })
    });
    let pool = Pool::builder(manager)
        .max_size(most)
        .runtime(PoolRuntime::Tokio1)
        .wait_timeout(Some(DEADLINE))
        .create_timeout(Some(DEADLINE))
        .recycle_timeout(Some(DEADLINE))
        .post_create(set_up)
        .build();
    pool.map_err(|e| StoreError::Sql(Box::new(e)))
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
            PoolError::PostCreateHook(HookError::Message(why)) => Self::LosesCommits(why.into_owned()),
            other => Self::Unreachable(Box::new(other)),
        }
    }
}
