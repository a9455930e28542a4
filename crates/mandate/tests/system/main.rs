//! The program itself as processes: killed in the middle of work, out of disk space, started again, started
//! wrongly.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests end the test"
)]

mod backup;
mod core_dumps;
mod demo;
mod disk;
mod doctor;
mod doctor_postgres;
mod feed_readers;
mod first_start;
mod foreign_issuer;
mod hangup;
mod held_database;
mod kill;
mod large_files;
mod login;
mod memory;
mod namespaces;
mod others_folders;
mod processes;
mod proxies;
mod rollback;
mod start;
mod stops;
mod strangers;
mod svid;
mod terminal;
mod tls;
mod tour;
mod units;
