//! PostgreSQL for tests: a server of Debian's package in a folder of its own, which ends with the test
//! program.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests end the test"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

/// Where Debian puts the server's programs: they are not in `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user who owns every database of the cluster.
const USER: &str = "mandate";

/// The number of the socket's file. No TCP port is open unless a test asks for it.
const PORT: u16 = 5432;

/// What a URL says whose server has `fsync` off, as that of a [`Cluster`] has.
pub const ACCEPT_LOST_RECORDS: &str = "dangerously_accept_lost_records=yes";

/// What a transaction that writes what a caller waits for sends at its end. The search index, which a thread
/// of the store writes at any time, sends `COMMIT` alone.
pub const END_OF_A_WRITE: &[u8] = b"; COMMIT";

/// The user under whom the server runs if the test runs as root: PostgreSQL refuses root.
const SYSTEM_USER: &str = "postgres";

/// A running PostgreSQL server with a Unix socket in a folder that only this test has.
#[derive(Debug)]
pub struct Cluster {
    dir: Folder,
    programs: PathBuf,
    settings: Vec<String>,
    server: Option<Server>,
    databases: AtomicU32,
    /// Removes the folder when this program ends: one that is kept for the whole program is never dropped.
    _sweeper: Option<Child>,
}

/// The folder of the socket.
#[derive(Debug)]
enum Folder {
    Own(TempDir),
    AnotherProgram(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir.path(),
            Self::AnotherProgram(dir) => dir,
        }
    }
}

/// The server's first process, and the thread that waits for its end. The kernel ends the process when that
/// thread ends, which it therefore does not do before.
#[derive(Debug)]
struct Server {
    pid: u32,
    ended: JoinHandle<()>,
}

impl Server {
    fn spawn(mut command: Command) -> Self {
        let (started, pid) = mpsc::sync_channel(1);
        let ended = thread::spawn(move || {
            let mut child = command.spawn().expect("postgres runs");
            started.send(child.id()).expect("the caller waits");
            child.wait().expect("the server ends");
        });
        Self { pid: pid.recv().expect("postgres runs"), ended }
    }

    /// Ends it at once (`SIGQUIT`), as a crash would: it writes nothing more.
    fn end(self) {
        let _ = Command::new("kill").args(["-QUIT", &self.pid.to_string()]).status();
        self.ended.join().expect("the server ended");
    }
}

impl Cluster {
    /// Starts a server with these settings (`name=value`, as in `postgresql.conf`). None if PostgreSQL is not
    /// installed.
    ///
    /// `fsync` is off unless a setting says otherwise: tests kill the server, not the machine.
    #[must_use]
    pub fn start(settings: &[&str]) -> Option<Self> {
        let programs = programs()?;
        let dir = tempfile::Builder::new().prefix("mandate-postgres-").tempdir().expect("a folder");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("a folder");
        if is_root() {
            // The server's own user must reach the folder, and own it.
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
            let owned = Command::new("chown")
                .arg("--recursive")
                .arg(format!("{SYSTEM_USER}:"))
                .arg(dir.path())
                .status();
            assert!(
                owned.expect("chown").success(),
                "the user {SYSTEM_USER} of Debian's package owns the folder"
            );
        }
        let init = as_server_user(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--username",
                USER,
                "--pgdata",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .output()
            .expect("initdb runs");
        assert!(init.status.success(), "initdb: {}", String::from_utf8_lossy(&init.stderr));
        let sweeper = Command::new("sh")
            .args(["-c", "trap '' INT TERM HUP; cat; sleep 1; rm -rf \"$0\"; sleep 5; rm -rf \"$0\""])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("sh runs");
        let settings =
            ["fsync=off", "listen_addresses="].iter().chain(settings).map(ToString::to_string).collect();
        let mut cluster = Self {
            dir: Folder::Own(dir),
            programs,
            settings,
            server: None,
            databases: AtomicU32::new(0),
            _sweeper: Some(sweeper),
        };
        cluster.run();
        Some(cluster)
    }

    /// A server that another test program runs, by the folder of its socket. None if PostgreSQL is not
    /// installed.
    #[must_use]
    pub fn of_another_program(socket_dir: PathBuf) -> Option<Self> {
        let dir = Folder::AnotherProgram(socket_dir);
        Some(Self {
            dir,
            programs: programs()?,
            settings: Vec::new(),
            server: None,
            databases: AtomicU32::new(0),
            _sweeper: None,
        })
    }

    /// The folder of the socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of the socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(format!(".s.PGSQL.{PORT}"))
    }

    /// The folder of the data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Makes an empty database and returns its name.
    #[must_use]
    pub fn create_database(&self) -> String {
        let name = format!("mandate_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Makes an empty database of this name, unless it is there.
    pub fn ensure_database(&self, name: &str) {
        let there =
            self.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"));
        if there == "0" {
            self.sql("postgres", &format!("CREATE DATABASE {name}"));
        }
    }

    /// The address of a database, for `--store`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let host = self.dir.path().to_str().expect("a path in UTF-8").replace('%', "%25").replace('/', "%2F");
        let accepting = if self.settings.iter().any(|setting| setting == "fsync=on") {
            String::new()
        } else {
            format!("?{ACCEPT_LOST_RECORDS}")
        };
        format!("postgres://{USER}@{host}:{PORT}/{database}{accepting}")
    }

    /// Runs a statement by `psql` and returns what it prints: one line for each row, columns separated by
    /// `|`.
    ///
    /// # Panics
    /// The server refuses it.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let done = self.psql(database, statement);
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// All of a database, as `pg_dump` writes it.
    pub fn dump(&self, database: &str) -> Vec<u8> {
        let mut command = Command::new(self.programs.join("pg_dump"));
        command.args(["--username", USER, "--host"]).arg(self.dir.path()).args([
            "--port",
            &PORT.to_string(),
            database,
        ]);
        let done = command.output().expect("pg_dump runs");
        assert!(done.status.success(), "pg_dump: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    fn psql(&self, database: &str, statement: &str) -> std::process::Output {
        self.session(database).args(["--command", statement]).output().expect("psql runs")
    }

    /// A `psql` that is connected to a database, and prints one line for each row, columns separated by `|`.
    #[must_use]
    pub fn session(&self, database: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--username",
            USER,
        ]);
        psql.arg("--host").arg(self.dir.path()).args(["--port", &PORT.to_string(), "--dbname", database]);
        psql
    }

    /// The numbers of all processes of the server. The first one is the parent of the others.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let first = self.server.as_ref().expect("a running server").pid;
        let children =
            Command::new("pgrep").args(["--parent", &first.to_string()]).output().expect("pgrep runs").stdout;
        let children = String::from_utf8(children).expect("numbers");
        std::iter::once(first)
            .chain(children.split_whitespace().map(|pid| pid.parse().expect("a number")))
            .collect()
    }

    /// Stops all processes of the server for a while (`SIGSTOP`), until [`Cluster::thaw`].
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Ends [`Cluster::freeze`].
    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        // The first process first: it starts no other then.
        let all = self.processes().into_iter().map(|pid| pid.to_string());
        let done = Command::new("kill").arg(signal).args(all).status();
        assert!(done.expect("kill runs").success());
    }

    /// Ends the server at once, as a crash would. Committed transactions stay.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.end();
        }
    }

    /// Starts the server again after [`Cluster::kill`].
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    /// Starts the server again as a hot standby: it reads, and replays what a primary would send. There is no
    /// primary.
    pub fn restart_as_standby(&mut self) {
        self.kill();
        let made = as_server_user(Path::new("touch")).arg(self.data_dir().join("standby.signal")).status();
        assert!(made.expect("touch runs").success());
        self.run();
    }

    /// Changes a setting, and starts the server again.
    pub fn restart_with(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
        self.restart();
    }

    fn run(&mut self) {
        let mut command = as_server_user(&self.programs.join("postgres"));
        command.arg("-D").arg(self.data_dir()).arg("-k").arg(self.dir.path()).args(["-p", &PORT.to_string()]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("server.log"))
            .expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(Server::spawn(command));
        for _ in 0..600 {
            if self.psql("postgres", "SELECT 1").status.success() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default();
        std::io::stderr().write_all(log.as_bytes()).expect("standard error");
        panic!("PostgreSQL did not start");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the newest server that is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .max()?;
    Some(newest.1.join("bin"))
        .filter(|programs| programs.join("postgres").exists() && programs.join("initdb").exists())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The program, as a user who is not root, and such that it ends when this program ends in any way. `SIGQUIT`
/// ends the processes of a PostgreSQL server at once.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--init-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::Cluster;
    use crate::skipped;

    #[test]
    fn a_server_starts_keeps_what_was_committed_when_it_is_killed_and_has_databases_of_its_own() {
        let Some(mut cluster) = Cluster::start(&["max_connections=10"]) else {
            return skipped("PostgreSQL is not installed");
        };
        let (one, other) = (cluster.create_database(), cluster.create_database());
        assert_ne!(one, other);
        cluster.sql(&one, "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7)");
        cluster.restart();
        assert_eq!(cluster.sql(&one, "SELECT n FROM t"), "7");
        assert_eq!(cluster.sql(&other, "SELECT count(*) FROM pg_tables WHERE tablename = 't'"), "0");
        assert_eq!(cluster.sql(&one, "SHOW max_connections"), "10");
        assert!(cluster.url(&one).starts_with("postgres://mandate@%2F"));
    }
}
