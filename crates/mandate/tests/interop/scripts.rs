//! A program in a foreign language, run by its interpreter.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::Process;

/// An interpreter, and the folder with the programs that it runs.
pub(crate) struct Scripts {
    pub(crate) interpreter: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Scripts {
    /// A script, ready to be started in its folder.
    pub(crate) fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.current_dir(&self.folder).arg(script).args(arguments).stdin(Stdio::piped());
        command
    }

    /// Runs a script to its end with `input` on standard input. What it says on standard error is the
    /// refusal.
    pub(crate) fn run(&self, script: &str, arguments: &[&str], input: &Value) -> Result<String, String> {
        let mut child =
            self.command(script, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
