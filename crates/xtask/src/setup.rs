//! Programs of others that tests need: installed where they are missing and the user may, and said aloud.

use std::path::Path;
use std::process::Command;

use crate::steps::{Outcome, answers, run};

/// What tests need, how it is seen to be there, and the Debian packages that bring it.
pub(crate) struct Need {
    program: &'static str,
    arguments: &'static [&'static str],
    packages: &'static [&'static str],
}

/// What `cargo xtask interop` needs.
pub(crate) const INTEROP: &[Need] = &[
    Need { program: "chromedriver", arguments: &["--version"], packages: &["chromium", "chromium-driver"] },
    Need { program: "node", arguments: &["--version"], packages: &["nodejs"] },
    Need { program: "npm", arguments: &["--version"], packages: &["npm"] },
    Need { program: "python3", arguments: MAKES_ENVIRONMENTS, packages: &["python3", "python3-venv"] },
    Need { program: "faketime", arguments: &["--version"], packages: &["faketime"] },
];

/// Debian's Python comes without the module that puts pip into an environment.
const MAKES_ENVIRONMENTS: &[&str] = &["-c", "import venv, ensurepip"];

/// Installs what is missing, if the user is root. Otherwise says what to install, and the step is skipped.
pub(crate) fn install(root: &Path, needs: &[Need]) -> Outcome {
    let missing: Vec<&str> = needs.iter().filter(|need| !need.is_met()).flat_map(|need| need.packages).copied().collect();
    if missing.is_empty() {
        println!("nothing to install");
        return Outcome::Passed;
    }
    if !present("apt-get") {
        return Outcome::Skipped(format!("missing, as Debian calls them: {}", missing.join(" ")));
    }
    if !am_root() {
        return Outcome::Skipped(format!("to install what is missing: sudo apt-get install {}", missing.join(" ")));
    }
    println!("Debian packages to install: {}", missing.join(" "));
    for step in [&["update"][..], &[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat()] {
        let outcome = run(root, "apt-get", step);
        if outcome != Outcome::Passed {
            return outcome;
        }
    }
    Outcome::Passed
}

impl Need {
    fn is_met(&self) -> bool {
        answers(Command::new(self.program).args(self.arguments))
    }
}

/// Whether the program can be run.
pub(crate) fn present(program: &str) -> bool {
    answers(Command::new(program).arg("--version"))
}

/// Whether `python3 -m venv` works.
pub(crate) fn python_makes_environments() -> bool {
    answers(Command::new("python3").args(MAKES_ENVIRONMENTS))
}

fn am_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::{Need, present};

    #[test]
    fn a_missing_program_is_seen() {
        assert!(present("cargo"));
        assert!(!present("no-such-program-anywhere"));
        let need = |arguments| Need { program: "cargo", arguments, packages: &[] };
        assert!(need(&["--version"]).is_met());
        assert!(!need(&["no-such-subcommand"]).is_met());
    }
}
