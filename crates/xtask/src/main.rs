//! The project's own tasks: `cargo xtask <command>`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on stdout and stderr"
)]

mod architecture;
mod attacks;
mod bench;
mod circles;
mod dependencies;
mod doc_comments;
mod documents;
mod finding;
mod fuzz_seeds;
mod interop;
mod licenses;
mod modules;
mod on_demand;
mod protocol_names;
mod purity;
mod setup;
mod sources;
mod steps;
mod test;
mod tidy;
mod tokens;
mod tree;
mod type_names;
mod versions;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::interop::InteropArguments;
use crate::steps::Steps;
use crate::test::TestArguments;
use crate::tidy::TidyError;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Generate Rust from the .proto files
    Codegen {
        /// Change nothing; fail if what is checked in is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Check the rules that no lint knows, and list the code that weakens a check
    Tidy,
    /// Measure speed and memory of the build that is distributed
    Bench(bench::Arguments),
    /// Run all checks that need no other authors' programs
    Test(TestArguments),
    /// Install browsers and other authors' clients, and run the tests that need them
    Interop(InteropArguments),
    /// Run `test` and `interop`; the last line counts both
    Ci,
}

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match task {
        Task::Codegen { check } => {
            let arguments = ["run", "--quiet", "--locked", "--package", "mandate-codegen", "--"];
            let outcome =
                steps::cargo(root(), &[&arguments[..], if check { &["--check"] } else { &[] }].concat());
            return Ok(if outcome == steps::StepOutcome::Passed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Tidy => {
            let report = tidy::report(root())?;
            test::print_report(&report);
            if report.errors() > 0 {
                return Err(TidyError::Untidy(report.errors()).into());
            }
        }
        Task::Bench(arguments) => return Ok(bench::run(root(), &arguments)?),
        Task::Test(arguments) => return Ok(counted(|steps| test::take(root(), &arguments, steps))),
        Task::Interop(arguments) => return Ok(counted(|steps| interop::take(root(), &arguments, steps))),
        Task::Ci => {
            return Ok(counted(|steps| {
                test::take(root(), &TestArguments::default(), steps);
                interop::take(root(), &InteropArguments::default(), steps);
            }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs steps and prints their results.
fn counted(take: impl FnOnce(&mut Steps)) -> ExitCode {
    let mut steps = Steps::default();
    take(&mut steps);
    println!("\n{}", steps.summary());
    if steps.failed() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
