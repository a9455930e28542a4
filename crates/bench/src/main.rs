//! The load generator of `cargo xtask bench`.
//!
//! It starts the program as an operator would, sends it real exchanges over HTTP, and reads from the kernel how much CPU
//! time the server used. The raw cryptography that every exchange needs is measured in this process, before and after every
//! round, so that a slow or busy machine slows both sides of each ratio.

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
mod search;
mod story;
mod strangers;
mod svid;
mod verification;

use std::path::PathBuf;
use std::process::ExitCode;

use error::BenchError;
use run::Extent;

const USAGE: &str = "usage: mandate-bench PROGRAM [--search | --strangers] [--quick]";

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Exchange,
    Search,
    Strangers,
}

/// What to measure, with which program.
struct Arguments {
    program: PathBuf,
    what: What,
    quick: bool,
}

fn arguments() -> Option<Arguments> {
    let (mut program, mut what, mut quick) = (None, What::Exchange, false);
    for argument in std::env::args_os().skip(1) {
        if argument == "--quick" {
            quick = true;
        } else if argument == "--search" {
            what = What::Search;
        } else if argument == "--strangers" {
            what = What::Strangers;
        } else if program.is_none() {
            program = Some(PathBuf::from(argument));
        } else {
            return None;
        }
    }
    Some(Arguments { program: program?, what, quick })
}

/// The table and the last line.
async fn measured(arguments: &Arguments) -> Result<(String, String), BenchError> {
    let Arguments { program, what, quick } = arguments;
    match what {
        What::Exchange => {
            let extent = if *quick { Extent::quick() } else { Extent::full() };
            let figures = run::exchange(program, &extent).await?;
            Ok((figures.table(), figures.json()))
        }
        // Needs no server: the store is in this process.
        What::Search => {
            let root = run::directory("search")?;
            let figures = search::measure(if *quick { search::QUICK } else { search::FULL }, &root)?;
            let _ = std::fs::remove_dir_all(&root);
            Ok((figures.table(), figures.json().to_string()))
        }
        What::Strangers => {
            let extent = if *quick { strangers::Extent::quick() } else { strangers::Extent::full() };
            let root = run::directory("strangers")?;
            let figures = strangers::measure(program, &extent, &root).await?;
            // What was measured is kept if it went wrong: the logs say why.
            let _ = std::fs::remove_dir_all(&root);
            Ok((figures.table(), figures.json().to_string()))
        }
    }
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
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
    match runtime.block_on(measured(&arguments)) {
        Ok((table, json)) => {
            print!("{table}");
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(BenchError(why)) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}
