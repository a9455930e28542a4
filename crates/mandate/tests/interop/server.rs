//! `mandate serve` and `mandate node` as processes, and the commands of an operator.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use mandate_testkit::app::App;
use serde_json::Value;
use tempfile::TempDir;

/// A running server with a directory of its own. Ends with the value.
pub(crate) struct Server {
    dir: TempDir,
    processes: Vec<Process>,
    issuer: String,
    node_address: String,
}

/// A process that does not outlive the test.
pub(crate) struct Process {
    child: Child,
    // Kept open: a program that prints more than it is read would end of that.
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it. Only its standard output is of interest.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        Self::start_logging(command.stderr(Stdio::null()))
    }

    /// The same, with a log that goes where the command says.
    pub(crate) fn start_logging(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().unwrap());
        Ok(Self { child, output })
    }

    /// Writes a line to its standard input.
    pub(crate) fn write(&mut self, line: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap();
        assert!(read > 0, "it ended before it was ready");
        line
    }

    /// The next line that it prints, as JSON.
    pub(crate) fn json_line(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[], &[])
    }

    /// Starts one in a directory, which may be that of an earlier one, with these options, and these
    /// variables in its environment.
    pub(crate) fn start_in(dir: TempDir, options: &[&str], environment: &[(&str, OsString)]) -> Self {
        let mut command = mandate(dir.path(), &["serve", "--json"]);
        command.args(options).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start(&mut command).unwrap();
        let ready = process.json_line();
        Self {
            processes: vec![process],
            issuer: text(&ready, "issuer"),
            node_address: text(&ready, "node_server"),
            dir,
        }
    }

    /// Kills it and everything beside it. Gives its directory.
    pub(crate) fn kill(self) -> TempDir {
        self.dir
    }

    /// Its issuer identifier.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where nodes connect.
    pub(crate) fn node_address(&self) -> &str {
        &self.node_address
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An app that talks to it.
    pub(crate) fn app(&self) -> App {
        App::new(&self.issuer)
    }

    /// Runs an operator's command with this standard input; it must succeed. Gives its standard output.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut command = mandate(self.dir.path(), arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a node beside it. Gives the Workload API's socket.
    pub(crate) fn start_node(&mut self) -> PathBuf {
        let token = self.dir.path().join("join.token");
        let joined: Value = serde_json::from_str(&self.run(&["node", "join-token", "--json"], "")).unwrap();
        std::fs::write(&token, text(&joined, "token")).unwrap();
        let socket = self.dir.path().join("workload.sock");
        let (token, path) = (token.to_str().unwrap(), socket.to_str().unwrap());
        let node_dir = self.dir.path().join("node");
        let arguments =
            ["node", "run", "--json", "--dir", node_dir.to_str().unwrap(), "--server", &self.node_address];
        let mut command = mandate(self.dir.path(), &arguments);
        let mut process =
            Process::start(command.args(["--join-token-file", token, "--socket", path])).unwrap();
        process.json_line();
        self.processes.push(process);
        socket
    }

    /// A JWT-SVID for us, and the SPIFFE ID in it.
    pub(crate) fn svid(&self, socket: &Path) -> (String, String) {
        let arguments =
            ["svid", "fetch", "--json", "--audience", &self.issuer, "--socket", socket.to_str().unwrap()];
        let fetched: Value = serde_json::from_str(&self.run(&arguments, "")).unwrap();
        (text(&fetched, "svid"), text(&fetched, "spiffe_id"))
    }
}

pub(crate) fn mandate(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mandate"));
    command.args(arguments).env_clear().env("MANDATE_DIR", dir).env("HOME", dir).stdin(Stdio::null());
    command
}
