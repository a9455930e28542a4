//! The driver of `PostgreSQL`: its connections, and what only it has.

pub(crate) mod address;
mod connections;
pub(crate) mod database;
mod durability;
mod exclusive;
pub(crate) mod inspection;
mod log_session;
mod migration;
pub(crate) mod search;
mod shared;
mod statements;
