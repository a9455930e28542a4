//! A server's database that another program holds, such as a backup program that locks it.

#![expect(clippy::expect_used, reason = "helpers of tests end the test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use crate::database;

/// Locks every table against writers, and says when it has done so.
const LOCK: &str = r"BEGIN;
DO $$ DECLARE t TEXT; BEGIN
  FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP EXECUTE format('LOCK TABLE %I IN EXCLUSIVE MODE', t); END LOOP;
END $$;
\echo held
";

/// Holds the database until it is dropped: no other process can write.
#[derive(Debug)]
pub struct HeldDatabase(Held);

#[derive(Debug)]
enum Held {
    Sqlite(Connection),
    Postgres(Child),
}

impl HeldDatabase {
    /// Holds the database of the server's directory `dir`.
    ///
    /// # Panics
    /// It cannot be held.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        if database::is_postgres() {
            return Self(Held::Postgres(hold_tables(&database::database_of(dir))));
        }
        let conn = Connection::open(dir.join("mandate.db")).expect("a database");
        conn.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        conn.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
        Self(Held::Sqlite(conn))
    }

    /// Releases it.
    ///
    /// # Panics
    /// It was no longer held.
    pub fn let_go(self) {
        match self.0 {
            Held::Sqlite(conn) => conn.execute_batch("ROLLBACK").expect("it was held"),
            Held::Postgres(mut psql) => {
                drop(psql.stdin.take());
                assert!(psql.wait().expect("psql ends").success());
            }
        }
    }
}

fn hold_tables(database: &str) -> Child {
    let mut psql = database::cluster()
        .session(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql runs");
    psql.stdin.as_mut().expect("its input").write_all(LOCK.as_bytes()).expect("psql reads");
    let said = BufReader::new(psql.stdout.take().expect("its output")).lines().next();
    assert_eq!(said.expect("a line").expect("text"), "held");
    psql
}
