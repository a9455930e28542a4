//! Tests that need something that this machine does not have.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that is skipped says so, or fails"
)]

use std::fs::OpenOptions;
use std::io::Write as _;

/// The variable that names the file in which `cargo xtask test` looks for tests that were not run.
const FILE: &str = "MANDATE_SKIPPED_TESTS";

/// Reports that the calling test does nothing, and why: in its output, and in the file where `cargo xtask
/// test` counts it. For the test harness alone, the test has passed.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
    let Some(path) = std::env::var_os(FILE) else { return };
    // The harness names its threads after the tests; a line is written at once, so that tests in parallel do
    // not mix.
    let line = format!("{}\t{why}\n", std::thread::current().name().unwrap_or("a test"));
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the file of skipped tests can be written");
}
