//! Programs in JavaScript, in `crates/testkit/node-clients`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::Process;

/// A Node.js that can run them, with their packages beside it.
pub(crate) struct NodeProgram {
    node: PathBuf,
    clients: PathBuf,
}

impl NodeProgram {
    /// Finds it, or says why the test is skipped.
    pub(crate) fn find() -> Option<Self> {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/node-clients");
        if !clients.join("node_modules").is_dir() {
            mandate_testkit::skipped("run `npm ci` in crates/testkit/node-clients first; `cargo xtask test` does");
            return None;
        }
        // The packages bring a Node.js of the version they need, for systems whose own is older.
        let brought = ["x64", "arm64"].map(|cpu| clients.join(format!("node_modules/node-linux-{cpu}/bin/node")));
        let node = brought.into_iter().chain([PathBuf::from("node")]).find(|node| suits(node));
        if node.is_none() {
            mandate_testkit::skipped("there is no Node.js 20 or newer");
        }
        Some(Self { node: node?, clients })
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.node);
        command.current_dir(&self.clients).arg(script).args(arguments).stdin(Stdio::piped());
        command
    }

    /// Runs a script to its end with `input` on standard input. What it says on standard error is the refusal.
    pub(crate) fn run(&self, script: &str, arguments: &[&str], input: &Value) -> Result<String, String> {
        let mut child = self.command(script, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A script that failed at once has closed its standard input; its standard error says why.
        let _ = write!(child.stdin.take().unwrap(), "{input}");
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Runs a script that must succeed and print JSON.
    pub(crate) fn json(&self, script: &str, input: &Value) -> Value {
        let out = self.run(script, &[], input).unwrap_or_else(|said| panic!("{script}: {said}"));
        serde_json::from_str(&out).unwrap()
    }

    /// Starts a script that prints a first line of JSON once it is ready and runs until the value is dropped.
    pub(crate) fn start(&self, script: &str, input: &Value) -> (Process, Value) {
        let mut process = Process::start(&mut self.command(script, &[])).unwrap();
        process.write(input);
        let ready = process.json_line();
        (process, ready)
    }
}

fn suits(node: &Path) -> bool {
    let output = Command::new(node).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 20)
}
