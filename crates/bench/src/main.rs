//! The load generator of `cargo xtask bench`.
//!
//! It starts the program as an operator would, sends it real exchanges over HTTP, and reads from the kernel
//! how much CPU time the server used. The raw cryptography that every exchange needs is measured in this
//! process, before and after every round, so that a slow or busy machine slows both sides of each ratio.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on stdout and stderr"
)]

mod crypto;
mod error;
mod figures;
mod foreign;
mod foreign_hosts;
mod foreign_keys;
mod foreign_login;
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
mod store;
mod story;
mod strangers;
mod svid;
mod verification;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use error::BenchError;
use run::Extent;
use store::StoreKind;

const USAGE: &str = "usage: mandate-bench PROGRAM [--store sqlite|postgres] [--quick]\n       mandate-bench PROGRAM --search|--strangers|--foreign [--quick]   (SQLite)";

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Exchange,
    Search,
    Strangers,
    Foreign,
}

/// What to measure, with which program.
struct Arguments {
    program: PathBuf,
    what: What,
    quick: bool,
    store: StoreKind,
}

/// None if they are not those of the usage.
fn arguments(given: impl IntoIterator<Item = OsString>) -> Option<Arguments> {
    let (mut program, mut what, mut quick, mut store) = (None, What::Exchange, false, None);
    let mut given = given.into_iter();
    while let Some(argument) = given.next() {
        if argument == "--quick" {
            quick = true;
        } else if argument == "--search" {
            what = What::Search;
        } else if argument == "--strangers" {
            what = What::Strangers;
        } else if argument == "--foreign" {
            what = What::Foreign;
        } else if argument == "--store" {
            store = Some(StoreKind::named(given.next()?.to_str()?)?);
        } else if program.is_none() {
            program = Some(PathBuf::from(argument));
        } else {
            return None;
        }
    }
    if what != What::Exchange && store.is_some() {
        return None;
    }
    Some(Arguments { program: program?, what, quick, store: store.unwrap_or(StoreKind::Sqlite) })
}

/// The table and the last line.
async fn measured(arguments: &Arguments) -> Result<(String, String), BenchError> {
    let Arguments { program, what, quick, store } = arguments;
    match what {
        What::Exchange => {
            let extent = if *quick { Extent::quick() } else { Extent::full() };
            let figures = run::exchange(program, &extent, *store).await?;
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
            let extent =
                if *quick { strangers::StrangersExtent::quick() } else { strangers::StrangersExtent::full() };
            let root = run::directory("strangers")?;
            let figures = strangers::measure(program, &extent, &root).await?;
            // What was measured is kept if it went wrong: the logs say why.
            let _ = std::fs::remove_dir_all(&root);
            Ok((figures.table(), figures.json().to_string()))
        }
        What::Foreign => {
            let extent =
                if *quick { foreign::ForeignExtent::quick() } else { foreign::ForeignExtent::full() };
            let root = run::directory("foreign")?;
            let figures = foreign::measure(program, &extent, &root).await?;
            // What was measured is kept if it went wrong: the logs say why.
            let _ = std::fs::remove_dir_all(&root);
            Ok((figures.table(), figures.json().to_string()))
        }
    }
}

fn main() -> ExitCode {
    let Some(arguments) = arguments(std::env::args_os().skip(1)) else {
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

#[cfg(test)]
mod tests {
    use super::arguments;
    use crate::store::StoreKind;

    fn store(given: &[&str]) -> Option<StoreKind> {
        arguments(given.iter().map(Into::into)).map(|arguments| arguments.store)
    }

    #[test]
    fn the_database_is_sqlite_unless_another_is_named() {
        assert_eq!(store(&["mandate", "--quick"]), Some(StoreKind::Sqlite));
        assert_eq!(store(&["mandate", "--store", "sqlite"]), Some(StoreKind::Sqlite));
        assert_eq!(store(&["mandate", "--store", "postgres", "--quick"]), Some(StoreKind::Postgres));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let refused: [&[&str]; 5] = [
            &[],
            &["mandate", "--store"],
            &["mandate", "--store", "mysql"],
            &["mandate", "--strangers", "--store", "postgres"],
            &["a", "b"],
        ];
        for given in refused {
            assert_eq!(store(given), None, "{given:?}");
        }
    }
}
