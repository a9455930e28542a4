//! A server's database that another process holds, such as a backup program that locks it.

#![expect(clippy::expect_used, reason = "helpers of tests end the test")]

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

/// Holds the database until it is dropped: no other process can write.
#[derive(Debug)]
pub struct HeldDatabase(Connection);

impl HeldDatabase {
    /// Holds the database of the server's directory `dir`.
    ///
    /// # Panics
    /// It cannot be held.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        let conn = Connection::open(dir.join("mandate.db")).expect("a database");
        conn.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        conn.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
        Self(conn)
    }

    /// Releases it.
    ///
    /// # Panics
    /// It was no longer held.
    pub fn let_go(self) {
        self.0.execute_batch("ROLLBACK").expect("it was held");
    }
}
