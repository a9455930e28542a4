//! The project's own tasks: `cargo xtask <command>`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks on stdout and stderr")]

mod bench;
mod codegen;
mod dependencies;
mod documents;
mod licenses;
mod setup;
mod sources;
mod steps;
mod tidy;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::TestArguments;
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
    /// Hold the tree against the rules that no lint knows, and list what weakens a check
    Tidy,
    /// Measure speed and memory of the release build
    Bench(bench::Arguments),
    /// Set up what the tests need and run everything that must hold
    Test(TestArguments),
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
        Task::Codegen { check: true } => codegen::check(root())?,
        Task::Codegen { check: false } => println!("wrote {}", codegen::write(root())?.join(", ")),
        Task::Tidy => {
            let report = tidy::report(root())?;
            steps::print_report(&report);
            if report.errors() > 0 {
                return Err(TidyError::Untidy(report.errors()).into());
            }
        }
        Task::Bench(arguments) => return Ok(bench::run(root(), &arguments)?),
        Task::Test(arguments) => {
            let steps = steps::test(root(), &arguments);
            println!("\n{}", steps.summary());
            if steps.failed() > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
