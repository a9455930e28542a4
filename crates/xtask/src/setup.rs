//! What the tests need beyond Rust and a C compiler: installed where it is missing, and said aloud.

use std::path::Path;
use std::process::Command;

use crate::steps::{Outcome, answers, run};
use crate::tree;

/// The folder of the clients in JavaScript that are tried against the server.
const NODE_CLIENTS: &str = "crates/testkit/node-clients";

/// A program, the Debian packages that bring it, and what in the project's tests makes it necessary.
struct Need {
    program: &'static str,
    packages: &'static [&'static str],
    wanted_by: Wanted,
}

enum Wanted {
    /// This folder exists.
    Folder(&'static str),
    /// A test names this.
    Mention(&'static str),
}

const NEEDS: &[Need] = &[
    Need { program: "chromedriver", packages: &["chromium", "chromium-driver"], wanted_by: Wanted::Mention("chromedriver") },
    Need { program: "node", packages: &["nodejs"], wanted_by: Wanted::Folder(NODE_CLIENTS) },
    Need { program: "npm", packages: &["npm"], wanted_by: Wanted::Folder(NODE_CLIENTS) },
];

/// Installs what is missing. Installs nothing that no test of the project uses.
pub(crate) fn install(root: &Path) -> Outcome {
    let missing: Vec<&str> =
        NEEDS.iter().filter(|n| wanted(root, &n.wanted_by) && !present(n.program)).flat_map(|n| n.packages).copied().collect();
    if missing.is_empty() {
        println!("nothing to install");
    } else {
        match packages(root, &missing) {
            Outcome::Passed => {}
            other => return other,
        }
    }
    let clients = root.join(NODE_CLIENTS);
    if clients.join("package-lock.json").is_file() {
        return run(&clients, "npm", &["ci", "--no-audit", "--no-fund"]);
    }
    Outcome::Passed
}

fn wanted(root: &Path, by: &Wanted) -> bool {
    match by {
        Wanted::Folder(path) => root.join(path).is_dir(),
        Wanted::Mention(word) => tree::files(root)
            .is_ok_and(|files| files.iter().any(|f| f.is_rust() && !f.path.starts_with("crates/xtask/") && f.text.contains(word))),
    }
}

fn present(program: &str) -> bool {
    answers(Command::new(program).arg("--version"))
}

fn packages(root: &Path, missing: &[&str]) -> Outcome {
    if !present("apt-get") {
        return Outcome::Failed(format!("install these first, under whatever names your system has them: {}", missing.join(", ")));
    }
    println!("the tests need these Debian packages: {}", missing.join(", "));
    let am_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    for step in [&["update"][..], &[&["install", "--yes", "--no-install-recommends"], missing].concat()] {
        let outcome = if am_root { run(root, "apt-get", step) } else { run(root, "sudo", &[&["apt-get"], step].concat()) };
        if outcome != Outcome::Passed {
            return outcome;
        }
    }
    Outcome::Passed
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Wanted, present, wanted};

    #[test]
    fn only_what_a_test_uses_is_wanted() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("crates/a/tests");
        fs::create_dir_all(&source).unwrap();
        assert!(!wanted(root.path(), &Wanted::Mention("browser-driver")));
        fs::write(source.join("it.rs"), "start(\"browser-driver\")").unwrap();
        assert!(wanted(root.path(), &Wanted::Mention("browser-driver")));
        assert!(wanted(root.path(), &Wanted::Folder("crates/a")));
        assert!(!wanted(root.path(), &Wanted::Folder("crates/b")));
    }

    #[test]
    fn a_missing_program_is_seen() {
        assert!(present("cargo"));
        assert!(!present("no-such-program-anywhere"));
    }
}
