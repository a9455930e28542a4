//! `cargo xtask interop`: the tests that need other authors' programs, and those programs.
//!
//! Missing programs are installed: Debian packages if the user may install them, the clients in JavaScript and in Python in
//! folders of the repository. If a program cannot be installed, its tests are skipped, and each of them is counted.

use std::path::Path;

use crate::setup;
use crate::steps::{Outcome, Steps, run};

/// The programs in JavaScript that are tried against the server.
const JAVASCRIPT: &[&str] = &["crates/testkit/node-clients", "examples/javascript"];

/// The clients in Python.
const PYTHON_CLIENTS: &str = "crates/testkit/python-clients";

/// Where the packages of the clients in Python are installed. Tests look for them here.
const PYTHON_ENVIRONMENT: &str = "target/python-clients";

/// The arguments of `cargo xtask interop`.
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

#[cfg(test)]
mod tests {
    use std::fs;

    /// A row of the page claims that a version was tried by tests: both must be there.
    #[test]
    fn every_program_that_the_book_names_is_pinned_and_has_a_test() {
        let read = |path: &str| fs::read_to_string(crate::root().join(path)).unwrap();
        let page = read("docs/src/tried-with.md");
        let pinned = ["crates/testkit/node-clients/package.json", "crates/testkit/python-clients/requirements.txt"].map(read).concat();
        let rows: Vec<Vec<&str>> = page.lines().filter(|line| line.starts_with('|')).skip(2).map(|row| row.split('|').collect()).collect();
        assert!(rows.len() > 3);
        for row in rows {
            let (program, version, tests) = (row[1].trim().trim_matches('`'), row[2].trim(), row[4]);
            let forms = [format!("\"{program}\": \"{version}\""), format!("{program}=={version}"), format!("{program}[crypto]=={version}")];
            assert!(version == "Debian's" || forms.iter().any(|form| pinned.contains(form)), "{program} {version} is pinned nowhere");
            for file in tests.split(',').map(|name| name.trim().trim_matches('`')) {
                let text = read(&format!("crates/mandate/tests/interop/{file}"));
                assert!(text.contains("#[test]") || text.contains("#[tokio::test"), "{file} has no test");
            }
        }
    }
}
