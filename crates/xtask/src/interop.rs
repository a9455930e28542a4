//! `cargo xtask interop`: the tests that need programs of others, and those programs.
//!
//! What is missing is installed: Debian packages where the user may install them, the clients in JavaScript and in Python
//! in folders of the repository. What cannot be installed makes its tests skip, and each of them is counted.

use std::path::Path;

use crate::setup;
use crate::steps::{Outcome, Steps, run};

/// The programs in JavaScript that are tried against the server.
const JAVASCRIPT: &[&str] = &["crates/testkit/node-clients", "examples/javascript"];

/// The clients in Python.
const PYTHON_CLIENTS: &str = "crates/testkit/python-clients";

/// Where the packages of the clients in Python are installed. Tests look for them here.
const PYTHON_ENVIRONMENT: &str = "target/python-clients";

/// What `cargo xtask interop` may be told.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct InteropArguments {
    /// Install nothing; use what is there
    #[arg(long)]
    no_setup: bool,
    /// Run only the tests whose name contains this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// Takes every step.
pub(crate) fn take(root: &Path, arguments: &InteropArguments, steps: &mut Steps) {
    steps.announce(if arguments.no_setup { 2 } else { 4 });
    if arguments.no_setup {
        steps.take("programs of others", || Outcome::Skipped("--no-setup".to_owned()));
    } else {
        steps.take("programs of others", || setup::install(root, setup::INTEROP));
        steps.take("clients in JavaScript", || node_clients(root));
        steps.take("clients in Python", || python_clients(root));
    }
    let mut cargo = vec!["--workspace", "--test", "interop"];
    if let Some(filter) = &arguments.filter {
        cargo.extend(["--", filter]);
    }
    steps.cargo_test(root, "tests against programs of others", &cargo);
}

fn node_clients(root: &Path) -> Outcome {
    if !setup::present("npm") {
        return Outcome::Skipped("there is no npm".to_owned());
    }
    for folder in JAVASCRIPT {
        let outcome = run(&root.join(folder), "npm", &["ci", "--no-audit", "--no-fund"]);
        if outcome != Outcome::Passed {
            return outcome;
        }
    }
    Outcome::Passed
}

fn python_clients(root: &Path) -> Outcome {
    if !setup::python_makes_environments() {
        return Outcome::Skipped("there is no Python 3 with venv".to_owned());
    }
    let requirements = format!("{PYTHON_CLIENTS}/requirements.txt");
    let pip = format!("{PYTHON_ENVIRONMENT}/bin/pip");
    match run(root, "python3", &["-m", "venv", PYTHON_ENVIRONMENT]) {
        Outcome::Passed => run(root, &pip, &["install", "--quiet", "--disable-pip-version-check", "--requirement", &requirements]),
        other => other,
    }
}
