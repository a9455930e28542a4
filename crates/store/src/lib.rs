//! The database: one transaction handle, numbered migrations, sealed columns, repositories by aggregate.
//!
//! The only crate that uses SQL. Repositories are written once, in the SQL that databases share, over [`Tx`];
//! what only one database has is in `sqlite` or `postgres`. Writes that are decisions go through the audit
//! log as [`Effect`]s, in the same transaction as their record; [`Store::transact`] is for bookkeeping that
//! is not a decision. With `SQLite`, both take turns at one gate; with `PostgreSQL`, both are serializable
//! transactions.

mod audit_backend;
pub mod codes;
pub mod cuts;
pub mod device_requests;
mod directory;
mod driver;
mod effect;
mod error;
pub mod installation;
pub mod keys;
mod last_checkpoint;
mod log_number;
mod log_rows;
mod log_verification;
pub mod login_sessions;
mod logs;
pub mod meta;
pub mod meters;
mod migrations;
pub mod nodes;
mod postgres;
mod record_search;
pub mod records;
pub mod refresh;
mod refusal;
pub mod registry;
pub mod replay;
mod seal;
mod search_follower;
mod search_rows;
pub mod secrets;
pub mod self_registered;
mod sqlite;
pub mod stops;
mod store;
mod sweep;
mod turns;
mod tx;
mod value;
mod write_trouble;

pub use audit_backend::AuditBackend;
pub use directory::DirectoryHolder;
pub use effect::Effect;
pub use error::StoreError;
pub use installation::Installation;
pub use last_checkpoint::{
    KeptCheckpoint, LAST_CHECKPOINT, WentBack, check_last_checkpoint, keep_last_checkpoint,
};
pub use postgres::address::{AddressError, AddressFiles, PostgresAddress, PostgresTls};
pub use postgres::inspection::{DatabaseHolder, PostgresInspection};
pub use refusal::EffectRefusal;
pub use sqlite::inspection::Inspection;
pub use store::Store;
pub use sweep::{Swept, sweep_blocking};
pub use tx::Tx;
pub use write_trouble::WriteTrouble;

/// The audit log, whose effects this store makes.
pub type Log = mandate_sequencer::Log<Effect>;

/// Why a record and its effects were not made durable.
pub type AppendError = mandate_sequencer::AppendError<EffectRefusal>;
