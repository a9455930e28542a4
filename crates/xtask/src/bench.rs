//! `cargo xtask bench`: builds both the program as it is distributed and the load generator, and runs one
//! against the other.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Subcommand, ValueEnum};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Token exchanges: CPU time against raw cryptography, throughput, latency, memory. The last line is one
    /// JSON object
    Exchange {
        /// Measure less of everything: a minute instead of several
        #[arg(long)]
        quick: bool,
        /// The server's database; postgres needs an installed PostgreSQL, and starts a server of its own
        #[arg(long, value_enum, default_value_t = Store::Sqlite)]
        store: Store,
    },
    /// The search index of the audit log: size, time to write, time of queries with it and without it. The
    /// last line is one JSON object
    Search {
        /// A tenth of the records
        #[arg(long)]
        quick: bool,
    },
    /// People and agents of other organizations: exchanges with each kind of foreign token, logins at a
    /// provider, 100,000 clients, 1,000 issuers, documents in caches. The last line is one JSON object
    Foreign {
        /// Measure less of everything
        #[arg(long)]
        quick: bool,
    },
    /// What strangers cost: memory of feed readers that read nothing, CPU time of refusals, `agent suspend`
    /// under a flood
    Strangers {
        /// Measure less of everything
        #[arg(long)]
        quick: bool,
    },
}

/// The database of the server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    /// As the load generator calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Cargo or the load generator could not be run.
    #[error("{program} could not be run: {source}")]
    Run { program: String, source: std::io::Error },
    #[error("the build failed")]
    Build,
}

fn status(command: &mut Command) -> Result<std::process::ExitStatus, BenchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.status().map_err(|source| BenchError::Run { program, source })
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode, BenchError> {
    let (quick, options) = match arguments.what {
        Bench::Exchange { quick, store } => (quick, vec!["--store", store.name()]),
        Bench::Search { quick } => (quick, vec!["--search"]),
        Bench::Foreign { quick } => (quick, vec!["--foreign"]),
        Bench::Strangers { quick } => (quick, vec!["--strangers"]),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--profile", "dist", "--locked", "-p", "mandate", "-p", "mandate-bench"];
    if !status(Command::new(cargo).args(build).current_dir(root))?.success() {
        return Err(BenchError::Build);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = target.join("dist");
    let mut command = Command::new(folder.join("mandate-bench"));
    command.arg(folder.join("mandate")).env("CARGO_TARGET_DIR", &target);
    command.args(options).args(quick.then_some("--quick"));
    Ok(if status(&mut command)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn every_member_of_the_last_line_is_documented() {
        let source = fs::read_to_string(crate::root().join("crates/bench/src/figures.rs")).unwrap();
        let page = fs::read_to_string(crate::root().join("docs/src/benchmarks.md")).unwrap();
        let object = source.split_once("\n        json!({").unwrap().1.split_once("})").unwrap().0;
        let members: Vec<&str> = object
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.split_once('"'))
            .map(|(name, _)| name)
            .collect();
        assert!(members.len() > 30, "{members:?}");
        let (explained, run) = page.split_once("## One run").unwrap();
        for member in members {
            assert!(explained.contains(&format!("`{member}`")), "{member} is not explained");
            assert!(run.contains(&format!("`{member}`")), "{member} is not among the figures of the run");
        }
    }

    #[test]
    fn every_member_of_the_last_line_about_others_is_documented() {
        let source = fs::read_to_string(crate::root().join("crates/bench/src/foreign.rs")).unwrap();
        let page = fs::read_to_string(crate::root().join("docs/src/benchmarks.md")).unwrap();
        let (_, section) = page.split_once("## People and agents from elsewhere").unwrap();
        let (explained, run) = section.split_once("One run").unwrap();
        let object = source.split_once("\n        json!({").unwrap().1.split_once("})").unwrap().0;
        let members = object.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": "));
        let members: Vec<&str> = members.map(|(name, _)| name).collect();
        assert!(members.len() > 10, "{members:?}");
        for member in members {
            assert!(explained.contains(&format!("`{member}`")), "{member} is not explained");
            assert!(member == "kinds" || run.contains(&format!("`{member}`")), "{member} has no figure");
        }
    }
}
