//! Whether the database answers, and what to type if it does not.

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::Lifetime;
use mandate_store::{Store, StoreError, WriteTrouble};

use super::{Health, problem};
use crate::config::StoreAddress;

/// What an operator looks at first if the database is a file.
const DISK: &str = "look at the server's log, and at the disk of its directory";

/// The same, if it is in a server of PostgreSQL.
const SERVER: &str = "look at the server's log for what the database server answered";

/// Whoever keeps others from writing has one of these locks. Every session of ours is named `mandate`.
const HOLDERS: &str = "SELECT DISTINCT pid, application_name, usename, client_addr, state, mode, relation::regclass \
    FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND granted \
    AND locktype IN ('advisory', 'relation') AND mode LIKE '%ExclusiveLock'";

/// Where the database is, as far as that decides what an operator does about it.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// `mandate.db` in the server's directory.
    Directory,
    /// The URL of a PostgreSQL database, without a password.
    Postgres(String),
}

impl Place {
    pub(crate) fn of(store: &StoreAddress) -> Self {
        match store {
            StoreAddress::Embedded => Self::Directory,
            StoreAddress::Postgres(address) => Self::Postgres(address.to_string()),
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

    fn look(&self) -> &'static str {
        match self {
            Self::Directory => DISK,
            Self::Postgres(_) => SERVER,
        }
    }
}

/// Watches the writers. Each request for the status tries to read.
pub(crate) fn watch(health: &Health, store: Store, place: Place) {
    health.watch(move |_| store.write_trouble().map(|trouble| cannot_write(trouble, &place)));
}

fn cannot_write(trouble: WriteTrouble, place: &Place) -> StatusProblem {
    let detail = match trouble {
        WriteTrouble::HeldElsewhere => {
            "another program held the database when the server last tried to write; until it lets go, nothing is issued".to_owned()
        }
        WriteTrouble::Stuck(lasts) => {
            let lasts = Lifetime(std::time::Duration::from_secs(lasts.as_secs()));
            format!("the database has not finished a write for {lasts}; until it does, nothing is issued")
        }
        WriteTrouble::Unreachable => {
            "the database server could not be reached when the server last tried to write; nothing is issued until it can".to_owned()
        }
        WriteTrouble::ReadOnly => {
            "the database server takes no writes (it is a standby, or set to be read-only); nothing is issued until it does".to_owned()
        }
        WriteTrouble::LosesCommits => {
            "the database server may lose what it commits (fsync or full_page_writes is off); nothing is issued until both are on".to_owned()
        }
    };
    let next = match trouble {
        WriteTrouble::HeldElsewhere => place.who_holds_it(),
        WriteTrouble::Stuck(_)
        | WriteTrouble::Unreachable
        | WriteTrouble::ReadOnly
        | WriteTrouble::LosesCommits => place.look().to_owned(),
    };
    problem(problem_code::DATABASE, detail, next)
}

/// Reading failed.
pub(crate) fn unreadable(error: &StoreError, place: &Place) -> StatusProblem {
    problem(problem_code::DATABASE, format!("the database cannot be read: {error}"), place.look().to_owned())
}

/// Reading has not ended in time.
pub(crate) fn silent(place: &Place) -> StatusProblem {
    let detail =
        "the database did not answer in time: the number of audit records and the nodes are not known"
            .to_owned();
    problem(problem_code::DATABASE, detail, place.look().to_owned())
}

/// The other checks have not ended in time.
pub(crate) fn checks_wait() -> StatusProblem {
    let detail =
        "the disk did not answer in time: certificates, space and what else is on it were not checked"
            .to_owned();
    problem(problem_code::DATABASE, detail, DISK.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use mandate_store::{StoreError, WriteTrouble};
    use mandate_testkit::postgres::Cluster;
    use mandate_testkit::skipped;

    use super::{Place, cannot_write, silent, unreadable};

    #[test]
    fn who_holds_the_database_and_for_how_long_a_disk_is_silent_is_told() {
        let held = cannot_write(WriteTrouble::HeldElsewhere, &Place::Directory);
        assert!(held.detail.starts_with("another program held the database"), "{}", held.detail);
        assert!(held.next.unwrap().starts_with("fuser mandate.db"));
        let stuck = cannot_write(WriteTrouble::Stuck(Duration::from_millis(35_400)), &Place::Directory);
        assert!(stuck.detail.contains("for 35s"), "{}", stuck.detail);
    }

    #[test]
    fn with_postgresql_nobody_is_sent_to_look_at_a_file() {
        let place = Place::Postgres("postgres://m@db.example:5432/log".to_owned());
        let troubles = [
            WriteTrouble::HeldElsewhere,
            WriteTrouble::Stuck(Duration::from_secs(9)),
            WriteTrouble::Unreachable,
            WriteTrouble::ReadOnly,
            WriteTrouble::LosesCommits,
        ];
        let found = troubles.map(|trouble| cannot_write(trouble, &place)).into_iter();
        for problem in found.chain([silent(&place), unreadable(&StoreError::Ending, &place)]) {
            let next = problem.next.unwrap();
            assert!(!next.contains("mandate.db") && !next.contains("disk"), "{next}");
        }
    }

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
