//! The load generator of `cargo xtask bench exchange`.
//!
//! It starts the program as an operator would, sends it real exchanges over HTTP, and reads from the kernel how
//! much CPU time the server took. The raw cryptography that an exchange cannot do without is measured in this process,
//! before and after every round, so that a slow or busy machine slows both sides of each ratio.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks on stdout and stderr")]

mod crypto;
mod error;
mod figures;
mod http;
mod identity_provider;
mod kernel;
mod load;
mod node_link;
mod processes;
mod profile;
mod registry;
mod run;
mod scale;
mod svid;
mod verification;

use std::path::PathBuf;
use std::process::ExitCode;

use error::BenchError;
use run::Extent;

const USAGE: &str = "usage: mandate-bench PROGRAM [--quick]";

fn arguments() -> Option<(PathBuf, Extent)> {
    let mut program = None;
    let mut extent = Extent::full();
    for argument in std::env::args_os().skip(1) {
        if argument == "--quick" {
            extent = Extent::quick();
        } else if program.is_none() {
            program = Some(PathBuf::from(argument));
        } else {
            return None;
        }
    }
    Some((program?, extent))
}

fn main() -> ExitCode {
    let Some((program, extent)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run::exchange(&program, &extent)) {
        Ok(figures) => {
            print!("{}", figures.table());
            println!("{}", figures.json());
            ExitCode::SUCCESS
        }
        Err(BenchError(why)) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
