//! `mandate` as child processes that end with the test.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use mandate_api::admin::{ApplyRequest, JoinTokenRequest, PasswordRequest};
use mandate_api::{AdminClient, Endpoint, registry_file};
use mandate_testkit::app::{App, CRM, FormPairs, PASSWORD, exchange, fetch_svid, registry};
use mandate_testkit::database;
use serde_json::Value;

/// Longer than any command takes that ends by itself, on a slow machine.
const LONGEST_RUN: Duration = Duration::from_mins(2);

const LOOPBACK: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// The result of a complete run.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Variables of a process's environment, beside those that every process here has.
pub(crate) type Environment = [(&'static str, String)];

/// The program as it is shipped.
pub(crate) const MANDATE: &str = env!("CARGO_BIN_EXE_mandate");

/// Whether servers keep their data in files. In a run on PostgreSQL, tests that damage, fill or copy these
/// files are skipped, because of [`database::OF_FILES`].
pub(crate) fn keeps_files() -> bool {
    !database::is_postgres()
}

fn mandate(arguments: &[&str]) -> Command {
    // Under nohup(1) this process ignores hangups, and so would its children.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT", MANDATE]).args(arguments);
    apart(&mut command);
    if let ["serve", rest @ ..] = arguments
        && database::is_postgres()
        && let Some(dir) = rest.iter().skip_while(|argument| **argument != "--dir").nth(1)
    {
        command.env("MANDATE_STORE", database::url_of(Path::new(dir)));
    }
    command
}

fn mandate_in(environment: &Environment, arguments: &[&str]) -> Command {
    let mut command = mandate(arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Hides from a program the environment's variables about other servers, nodes and proxies, and this user's
/// own directory. Also hides the certificate authorities of this machine, which a bare system does not have.
pub(crate) fn apart(command: &mut Command) {
    command.env_clear().env("HOME", "/nonexistent").env("TMPDIR", std::env::temp_dir());
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
}

/// Runs `mandate` to its end.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    run_in(&[], arguments)
}

/// The same, with more in its environment.
pub(crate) fn run_in(environment: &Environment, arguments: &[&str]) -> Ran {
    ran(&mut mandate_in(environment, arguments))
}

/// Runs `mandate` to its end, with this for its standard output.
pub(crate) fn run_into(out: impl Into<Stdio>, arguments: &[&str]) -> Ran {
    ended(mandate(arguments).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn().unwrap())
}

/// Standard outputs that cannot be written: a full disk, and a pipe that nobody reads any more.
pub(crate) fn unwritable() -> [(&'static str, Stdio); 2] {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (nobody, closed) = std::io::pipe().unwrap();
    drop(nobody);
    [("full", full.into()), ("closed", closed.into())]
}

/// Runs a command to its end. One that goes on where it should have ended is killed, and has no exit code.
pub(crate) fn ran(command: &mut Command) -> Ran {
    ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for the end of a process.
pub(crate) fn ended(child: Child) -> Ran {
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, wait) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(LONGEST_RUN) == Err(RecvTimeoutError::Timeout) {
            // It may have ended in this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watch.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A process that has said it is ready.
pub(crate) struct Role {
    child: Child,
    pub(crate) ready: Value,
    pub(crate) log: PathBuf,
}

impl Role {
    /// Starts `mandate ARGUMENTS --json`, feeds it `input`, and waits for its first line. Its log goes beside
    /// `dir`.
    ///
    /// A directory keeps its port, and while its server is down, any connection of this machine may get that
    /// port for a moment: then the start is tried again.
    pub(crate) fn start(dir: &Path, arguments: &[&str], input: &str) -> Self {
        Self::start_in(&[], dir, arguments, input)
    }

    /// The same, with more in its environment.
    pub(crate) fn start_in(environment: &Environment, dir: &Path, arguments: &[&str], input: &str) -> Self {
        Self::start_as(|| mandate_in(environment, arguments), dir, arguments, input)
    }

    fn start_as(command: impl Fn() -> Command, dir: &Path, arguments: &[&str], input: &str) -> Self {
        for _ in 0..20 {
            let role = Self::try_start(dir, command(), input);
            if role.ready["ready"] == true {
                return role;
            }
            let log = role.log();
            assert!(log.contains("in use"), "{arguments:?}: {log}");
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("the port of {} stays in use", dir.display());
    }

    fn try_start(dir: &Path, mut command: Command, input: &str) -> Self {
        let log = dir.with_extension("log");
        command
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        // A program that does not start does not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap_or_default(), log }
    }

    /// Starts `mandate ARGUMENTS`, which may never be ready: its log tells how it fares.
    pub(crate) fn unready(log: &Path, arguments: &[&str]) -> Self {
        let mut command = mandate(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log).unwrap());
        Self { child: command.spawn().unwrap(), ready: Value::Null, log: log.to_owned() }
    }

    /// Starts `mandate` and kills it after that time, wherever it is then.
    pub(crate) fn kill_after(arguments: &[&str], time: Duration) {
        let mut child = mandate(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(time);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn text(&self, member: &str) -> String {
        self.ready[member].as_str().unwrap().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL: no destructor runs, no buffer is flushed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the log says so.
    pub(crate) fn says(&self, what: &str) {
        let begun = Instant::now();
        while !self.log().contains(what) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the log does not say {what:?}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// SIGTERM; gives the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }

    /// How it ended.
    pub(crate) fn end(&mut self) -> String {
        let _ = self.child.kill();
        format!("{:?}: {}", self.child.wait(), self.log())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A control plane with its directory.
pub(crate) struct Server {
    pub(crate) role: Role,
    pub(crate) dir: PathBuf,
    pub(crate) admin: AdminClient,
    pub(crate) app: App,
}

impl Server {
    /// `mandate serve` on loopback.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_as(dir, mandate)
    }

    /// The same, with more in its environment.
    pub(crate) fn start_in(environment: &Environment, dir: &Path) -> Self {
        Self::start_as(dir, |arguments| mandate_in(environment, arguments))
    }

    /// The same, as a process that may have at most this many files open.
    pub(crate) fn start_with_files(dir: &Path, files: usize) -> Self {
        Self::start_as(dir, |arguments| {
            let mut command = Command::new("sh");
            let script = format!("ulimit -n {files}; exec \"$@\"");
            command.args(["-c", &script, "sh", MANDATE]).args(arguments).env_remove("MANDATE_DIR");
            command
        })
    }

    fn start_as(dir: &Path, command: impl Fn(&[&str]) -> Command) -> Self {
        let text = dir.to_string_lossy();
        let arguments =
            [&["serve", "--dir", &text, "--trust-domain", "acme.example"][..], &LOOPBACK].concat();
        let role = Role::start_as(|| command(&arguments), dir, &arguments, "");
        let admin = AdminClient::new(Endpoint::Socket(role.text("admin_socket").into()));
        let app = App::new(&role.text("issuer"));
        Self { role, dir: dir.to_owned(), admin, app }
    }

    /// The registry of the story, and Riley's password.
    pub(crate) async fn tell_the_story(&self) {
        let entries = registry_file::parse(&registry(CRM, rustix::process::getuid().as_raw())).unwrap();
        self.admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
        self.admin.set_password("riley", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    }

    /// A node that has joined, with its things in `dir`.
    pub(crate) async fn node(&self, dir: &Path) -> (Role, PathBuf) {
        self.node_as(dir, mandate).await
    }

    /// The same, of which the command to start is made from its arguments.
    pub(crate) async fn node_as(&self, dir: &Path, command: impl Fn(&[&str]) -> Command) -> (Role, PathBuf) {
        let token = self.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
        let socket = dir.join("agent.sock");
        let server = self.role.text("node_server");
        let (dir_text, socket_text) = (dir.to_string_lossy(), socket.to_string_lossy());
        let arguments = [
            "node",
            "run",
            "--dir",
            &dir_text,
            "--server",
            &server,
            "--join-token-file",
            "-",
            "--socket",
            &socket_text,
        ];
        (Role::start_as(|| command(&arguments), dir, &arguments, &format!("{token}\n")), socket)
    }

    /// An exchange that may be sent any number of times: Riley's token, her agent's SVID. The node runs only
    /// until this is done.
    pub(crate) async fn an_exchange(&self, dir: &Path) -> FormPairs {
        let (_node, socket) = self.node(dir).await;
        let svid =
            fetch_svid(&socket, "spiffe://acme.example/agent/support-agent", &self.app.issuer).await.unwrap();
        let riley = self.app.person_token("riley", None, None).await;
        exchange(&svid, &riley, CRM, "read:cases")
    }

    /// What the command line says about the whole log.
    pub(crate) fn verify_the_log(&self) {
        let verified = run(&["audit", "verify", "--dir", &self.dir.to_string_lossy(), "--json"]);
        assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    }
}
