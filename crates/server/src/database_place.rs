//! Where the database is, as far as that decides what an operator types.

use crate::config::StoreAddress;

/// If the database is a file.
const DISK: &str = "look at the server's log, and at the disk of its directory";

/// If it is in a server of PostgreSQL.
const SERVER: &str = "look at the server's log for what the database server answered";

/// A session that keeps others from writing has one of these locks. Ours are named `mandate`.
const HOLDERS: &str = "SELECT DISTINCT pid, application_name, usename, client_addr, state, mode, relation::regclass \
    FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND granted \
    AND locktype IN ('advisory', 'relation') AND mode LIKE '%ExclusiveLock'";

/// Where the database is, as far as that decides what an operator does about it.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// `mandate.db` in the server's directory.
    Directory,
    /// The URL of a PostgreSQL database for its own programs, without a password.
    Postgres(String),
}

impl Place {
    pub(crate) fn of(store: &StoreAddress) -> Self {
        match store {
            StoreAddress::Embedded => Self::Directory,
            StoreAddress::Postgres(address) => Self::Postgres(address.for_libpq()),
        }
    }

    /// What shows who has the database open, or locked.
    pub(crate) fn who_holds_it(&self) -> String {
        match self {
            Self::Directory => {
                "fuser mandate.db   (in the server's directory: which processes have the database open?)"
                    .to_owned()
            }
            Self::Postgres(url) => {
                format!(
                    "psql '{url}' -c \"{HOLDERS}\"   (which sessions hold it? those of Mandate are named mandate)"
                )
            }
        }
    }

    /// What an operator looks at first.
    pub(crate) fn look(&self) -> &'static str {
        match self {
            Self::Directory => DISK,
            Self::Postgres(_) => SERVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use mandate_testkit::postgres::Cluster;
    use mandate_testkit::skipped;

    use super::Place;

    #[test]
    fn the_command_shows_who_holds_a_table() {
        let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
        let database = cluster.create_database();
        cluster.sql(&database, "CREATE TABLE records (n BIGINT)");
        let url = cluster.url(&database);
        let place = Place::Postgres(url.split('?').next().unwrap().to_owned());
        let shown = place.who_holds_it();
        let command = shown.split("   (").next().unwrap();
        let mut holder =
            cluster.session(&database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lock = b"BEGIN; LOCK records IN EXCLUSIVE MODE;\n\\echo held\n";
        holder.stdin.as_mut().unwrap().write_all(lock).unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        let asked = Command::new("sh").args(["-c", command]).output().unwrap();
        let answer = String::from_utf8(asked.stdout).unwrap();
        assert!(asked.status.success(), "{command}: {}", String::from_utf8_lossy(&asked.stderr));
        for column in ["psql", "mandate", "idle in transaction", "ExclusiveLock", "records", "(1 row)"] {
            assert!(answer.contains(column), "{column}: {answer}");
        }
        drop(holder.stdin.take());
        holder.wait().unwrap();
    }
}
