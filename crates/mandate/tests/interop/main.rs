//! Mandate against software that others wrote: an identity provider, strict client libraries, a browser.
//!
//! If the other program is missing, a test reports that it did nothing; `cargo xtask interop` installs the
//! programs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails is a test that fails"
)]
#![expect(clippy::print_stdout, reason = "a browser that cannot be ended is worth a word")]

mod browser;
mod clock;
mod default_clients;
mod demo_on_postgres;
mod examples;
mod foreign_issuer;
mod foreign_subjects;
mod login_page;
mod mcp_clients;
mod node_program;
mod provider_login;
mod python_clients;
mod python_program;
mod registry;
mod rejoin;
mod scripts;
mod server;
mod strict_clients;
mod webdriver;
mod workload_clients;
