//! Programs that tests need and that may be missing: they are installed if the user may do so, and otherwise
//! named in a line to paste.

use std::path::Path;
use std::process::Command;

use crate::steps::{StepOutcome, answers, run};

/// A program that tests need, how to find out whether it is there, and the Debian packages that contain it.
pub(crate) struct Need {
    program: &'static str,
    /// A command that succeeds if and only if the program is there.
    probe: &'static [&'static str],
    packages: &'static [&'static str],
    /// What is skipped without it.
    used_by: &'static str,
}

/// What `cargo xtask test` needs beside Rust and a C compiler, which have built this program.
pub(crate) const TEST: &[Need] = &[
    Need { program: "c++", probe: &["c++", "--version"], packages: &["g++"], used_by: "the fuzzers" },
    Need {
        program: "curl",
        probe: &["curl", "--version"],
        packages: &["curl"],
        used_by: "the test of the tour",
    },
];

/// What `cargo xtask interop` needs.
pub(crate) const INTEROP: &[Need] = &[
    Need {
        program: "chromedriver",
        probe: &["chromedriver", "--version"],
        packages: &["chromium", "chromium-driver"],
        used_by: "the browser",
    },
    Need {
        program: "node",
        probe: &["node", "--version"],
        packages: &["nodejs"],
        used_by: "the clients in JavaScript",
    },
    Need {
        program: "npm",
        probe: &["npm", "--version"],
        packages: &["npm"],
        used_by: "the clients in JavaScript",
    },
    Need {
        program: "python3",
        probe: MAKES_ENVIRONMENTS,
        packages: &["python3", "python3-venv"],
        used_by: "the clients in Python",
    },
    Need {
        program: "faketime",
        probe: &["faketime", "--version"],
        packages: &["faketime"],
        used_by: "the tests of a clock set back",
    },
    Need {
        program: "PostgreSQL's server",
        probe: POSTGRES_SERVER,
        packages: &["postgresql"],
        used_by: "the tests on PostgreSQL",
    },
];

/// Debian's Python comes without the module that puts pip into an environment.
const MAKES_ENVIRONMENTS: &[&str] = &["python3", "-c", "import venv, ensurepip"];

/// Debian keeps the server's programs of each version outside of `PATH`, where the tests look for them too.
const POSTGRES_SERVER: &[&str] = &["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"];

/// Installs what is missing, if the user is root. Otherwise says what to install, and the step is skipped.
pub(crate) fn install(root: &Path, needs: &[Need]) -> StepOutcome {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if missing.is_empty() {
        println!("nothing to install");
        return StepOutcome::Passed;
    }
    if !present("apt-get") {
        return StepOutcome::Skipped(format!(
            "missing, as Debian calls it: {}; {}",
            packages.join(" "),
            without(&missing)
        ));
    }
    if !am_root() {
        return StepOutcome::Skipped(format!(
            "{}\n  to install it: {}",
            without(&missing),
            to_paste(&packages, present("sudo"))
        ));
    }
    println!("installing {}", packages.join(" "));
    for step in [&["update"][..], &[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat()]
    {
        let outcome = run(root, "apt-get", step);
        if outcome != StepOutcome::Passed {
            return outcome;
        }
    }
    StepOutcome::Passed
}

/// What is skipped, each once.
fn without(missing: &[&Need]) -> String {
    let mut programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
    let mut skipped: Vec<&str> = missing.iter().map(|need| need.used_by).collect();
    programs.dedup();
    skipped.dedup();
    format!("without {}, these are skipped: {}", programs.join(", "), skipped.join(", "))
}

/// The line that installs packages, for a user who is not root.
fn to_paste(packages: &[&str], has_sudo: bool) -> String {
    let install = format!("apt-get install --yes {}", packages.join(" "));
    if has_sudo { format!("sudo {install}") } else { format!("su -c '{install}'") }
}

/// The components of the toolchain that check the source. Rustup adds them without root rights.
pub(crate) fn components(root: &Path) -> StepOutcome {
    if component("fmt") && component("clippy") {
        return StepOutcome::Passed;
    }
    let add = ["component", "add", "rustfmt", "clippy"];
    if present("rustup")
        && run(root, "rustup", &add) == StepOutcome::Passed
        && component("fmt")
        && component("clippy")
    {
        return StepOutcome::Passed;
    }
    StepOutcome::Skipped(
        "without rustfmt and clippy, format and lints are skipped\n  to install them: rustup component add rustfmt clippy".to_owned(),
    )
}

/// Whether `cargo NAME` is there.
pub(crate) fn component(name: &str) -> bool {
    answers(Command::new("cargo").args([name, "--version"]))
}

impl Need {
    fn is_met(&self) -> bool {
        probed(self.probe)
    }
}

/// Whether the program can be run.
pub(crate) fn present(program: &str) -> bool {
    answers(Command::new(program).arg("--version"))
}

/// Whether `python3 -m venv` works.
pub(crate) fn python_makes_environments() -> bool {
    probed(MAKES_ENVIRONMENTS)
}

/// Whether a PostgreSQL server can be started.
pub(crate) fn postgres_server_is_there() -> bool {
    probed(POSTGRES_SERVER)
}

fn probed(probe: &[&str]) -> bool {
    probe.split_first().is_some_and(|(program, arguments)| answers(Command::new(program).args(arguments)))
}

fn am_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::{Need, component, present, to_paste, without};

    fn need(program: &'static str, probe: &'static [&'static str]) -> Need {
        Need { program, probe, packages: &["a-package"], used_by: "a test" }
    }

    #[test]
    fn a_missing_program_is_seen() {
        assert!(present("cargo"));
        assert!(!present("no-such-program-anywhere"));
        assert!(need("cargo", &["cargo", "--version"]).is_met());
        assert!(!need("cargo", &["cargo", "no-such-subcommand"]).is_met());
        assert!(!need("cargo", &[]).is_met());
        assert!(!component("no-such-subcommand"));
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_skipped_and_a_line_to_paste() {
        let (one, other) = (need("curl", &[]), need("c++", &[]));
        assert_eq!(without(&[&one, &other]), "without curl, c++, these are skipped: a test");
        assert_eq!(to_paste(&["g++", "curl"], true), "sudo apt-get install --yes g++ curl");
        assert_eq!(to_paste(&["g++", "curl"], false), "su -c 'apt-get install --yes g++ curl'");
    }
}
