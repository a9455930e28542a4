//! The database under the servers of a run, and what exchanges cost there.

use std::path::Path;
use std::time::Duration;

use mandate_testkit::postgres::Cluster;
use rustix::fs::{FsWord, statfs};

use crate::error::BenchError;
use crate::kernel::CpuTime;

/// The type of a file system in memory (statfs(2)).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// How long to wait until `pg_stat_database` counts all that was committed: an idle session adds its last
/// counts after 10 s.
const COUNTED: Duration = Duration::from_secs(12);

/// Which kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// `mandate.db` in the directory of each server.
    Sqlite,
    /// A PostgreSQL server for the run, with a database for each server.
    Postgres,
}

impl StoreKind {
    const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// As on the command line and in the figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// None if no kind has this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where the servers of a run keep their data. It must live as long as they do.
pub(crate) enum Store {
    Sqlite,
    Postgres(Cluster),
}

/// The database of one server, if it is not in the server's directory.
pub(crate) struct Database {
    name: String,
    /// For `mandate serve --store`.
    pub(crate) url: String,
}

impl Store {
    /// Starts what this kind needs. PostgreSQL syncs to disk, as in production.
    pub(crate) fn start(kind: StoreKind) -> Result<Self, BenchError> {
        match kind {
            StoreKind::Sqlite => Ok(Self::Sqlite),
            StoreKind::Postgres => {
                // The cluster's data is in this folder.
                on_disk(&std::env::temp_dir())?;
                Self::of(Cluster::start(&["fsync=on"]))
            }
        }
    }

    fn of(cluster: Option<Cluster>) -> Result<Self, BenchError> {
        cluster.map(Self::Postgres).ok_or_else(|| {
            BenchError(
                "PostgreSQL is not installed: there is no /usr/lib/postgresql/VERSION/bin/postgres, where Debian's package puts it. \
                 Install the package postgresql, or measure with --store sqlite"
                    .to_owned(),
            )
        })
    }

    /// An empty database for one more server; none with SQLite.
    pub(crate) fn database(&self) -> Option<Database> {
        let Self::Postgres(cluster) = self else { return None };
        let name = cluster.create_database();
        Some(Database { url: cluster.url(&name), name })
    }

    /// The CPU time so far of all processes of the PostgreSQL server; none with SQLite, which is part of the
    /// server process.
    pub(crate) fn cpu(&self) -> Result<Option<CpuTime>, BenchError> {
        let Self::Postgres(cluster) = self else { return Ok(None) };
        let processes = cluster.processes();
        let (first, others) =
            processes.split_first().ok_or_else(|| BenchError("PostgreSQL has no process".to_owned()))?;
        CpuTime::of_family(*first, others).map(Some)
    }

    /// How many transactions were committed in a database so far. Takes some seconds, until all are counted.
    pub(crate) async fn commits(&self, database: Option<&Database>) -> Result<Option<f64>, BenchError> {
        let (Self::Postgres(cluster), Some(database)) = (self, database) else { return Ok(None) };
        tokio::time::sleep(COUNTED).await;
        // From another database, so that the question itself does not count.
        let count = cluster.sql(
            "postgres",
            &format!("SELECT xact_commit FROM pg_stat_database WHERE datname = '{}'", database.name),
        );
        count.parse().map(Some).map_err(BenchError::during("reading pg_stat_database"))
    }
}

/// Refuses a folder in memory, where `fsync` costs nothing.
fn on_disk(folder: &Path) -> Result<(), BenchError> {
    let shown = folder.display();
    let found = statfs(folder).map_err(BenchError::during(&format!("reading the file system of {shown}")))?;
    if found.f_type == TMPFS_MAGIC {
        return Err(BenchError(format!(
            "PostgreSQL's data would be in {shown}, which is in memory, where fsync costs nothing. Set TMPDIR to a folder on disk that all \
             users can reach, such as /var/tmp"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mandate_testkit::skipped;

    use super::{Store, StoreKind, on_disk};

    #[test]
    fn a_machine_without_postgresql_is_told_so() {
        let Err(error) = Store::of(None) else { panic!("there is no cluster") };
        assert!(error.to_string().contains("PostgreSQL is not installed"), "{error}");
    }

    #[test]
    fn a_folder_in_memory_is_refused() {
        // Linux keeps POSIX shared memory there, and some containers have none.
        let memory = Path::new("/dev/shm");
        if !std::fs::read_to_string("/proc/mounts").unwrap().contains(" /dev/shm tmpfs ") {
            return skipped("/dev/shm is not in memory");
        }
        let error = on_disk(memory).unwrap_err();
        assert!(error.to_string().contains("TMPDIR"), "{error}");
    }

    #[test]
    fn sqlite_needs_no_server_and_has_no_figures_of_its_own() {
        let store = Store::start(StoreKind::Sqlite).unwrap();
        assert!(store.database().is_none());
        assert!(store.cpu().unwrap().is_none());
    }

    #[tokio::test]
    async fn what_sessions_cost_is_counted_also_after_they_end() {
        if on_disk(&std::env::temp_dir()).is_err() {
            return skipped("the folder for temporary files is in memory");
        }
        let Ok(store) = Store::start(StoreKind::Postgres) else {
            return skipped("PostgreSQL is not installed");
        };
        let Store::Postgres(cluster) = &store else { panic!("not PostgreSQL") };
        assert_eq!(cluster.sql("postgres", "SHOW fsync"), "on");
        let (one, other) = (store.database().unwrap(), store.database().unwrap());
        assert_ne!(one.url, other.url);
        let (commits, cpu) =
            (store.commits(Some(&one)).await.unwrap().unwrap(), store.cpu().unwrap().unwrap());
        // A session that has ended, so that only its parent knows its CPU time. Each statement is a
        // transaction.
        let busy = "SELECT count(*) FROM generate_series(1, 3000000)";
        let began = std::time::Instant::now();
        for _ in 0..3 {
            cluster.sql(&one.name, busy);
        }
        let elapsed = began.elapsed().as_secs_f64();
        let used = store.cpu().unwrap().unwrap().since(cpu).total();
        assert!(used > 0.1 && used < elapsed * 4.0, "{used} s of CPU time in {elapsed} s");
        cluster.sql(&other.name, "SELECT 1");
        let counted = store.commits(Some(&one)).await.unwrap().unwrap() - commits;
        assert!((3.0..10.0).contains(&counted), "{counted}");
    }
}
