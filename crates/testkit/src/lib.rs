//! Code that only tests and the load generator may link: clocks that stand still, entropy that repeats,
//! servers of PostgreSQL. The release binary contains none of it.

#[cfg(feature = "app")]
pub mod app;
#[cfg(feature = "busy-threads")]
pub mod busy_threads;
pub mod clock;
#[cfg(feature = "database")]
pub mod database;
#[cfg(feature = "faulty-backend")]
pub mod faulty_backend;
#[cfg(feature = "hostile-issuer")]
pub mod foreign_domain;
#[cfg(feature = "world")]
mod form;
#[cfg(feature = "held-database")]
pub mod held_database;
#[cfg(feature = "hostile-issuer")]
pub mod hostile_issuer;
#[cfg(feature = "postgres")]
pub mod line;
#[cfg(feature = "listed-names")]
pub mod listed_names;
#[cfg(feature = "postgres")]
pub mod pooler;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "login-provider")]
pub mod provider_double;
pub mod proxy;
#[cfg(feature = "faulty-backend")]
pub mod repeating_backend;
mod skip;
pub mod small_disk;
#[cfg(feature = "world")]
pub mod story;
#[cfg(feature = "tls-front")]
pub mod tls_front;
#[cfg(feature = "world")]
pub mod world;

pub use skip::skipped;
