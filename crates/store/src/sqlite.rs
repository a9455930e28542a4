//! The embedded database: one `SQLite` file in a directory, its locks, its journal and its search index.

pub(crate) mod backfill;
pub(crate) mod connection;
pub(crate) mod database;
pub(crate) mod directory;
pub(crate) mod gate;
pub(crate) mod inspection;
pub(crate) mod journal;
pub(crate) mod log_connection;
pub(crate) mod migration;
pub(crate) mod search;
mod statements;
