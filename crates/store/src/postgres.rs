//! PostgreSQL: a database of another process, perhaps on another machine.

pub(crate) mod address;
