//! The command line as people and scripts use it: texts, exit codes, standard output and standard error.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a test that fails")]

mod admin_socket;
mod apply;
mod audit;
mod completions;
mod issuer;
mod secrets;
mod store;
mod usage;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The result of a run of `mandate`.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs `mandate` with a clean environment, `MANDATE_DIR` as given, and `input` on standard input.
fn mandate(dir: &Path, arguments: &[&str], input: &str) -> Ran {
    mandate_with(dir, arguments, input, &[])
}

fn mandate_with(dir: &Path, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mandate"));
    command
        .args(arguments)
        .env_clear()
        .env("MANDATE_DIR", dir)
        .env("HOME", dir)
        .envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
