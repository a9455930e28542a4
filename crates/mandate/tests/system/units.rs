//! The unit files: systemd understands them, and what they start is a command of this program.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::processes::run;

fn unit(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd").join(name)
}

const UNITS: [&str; 2] = ["mandate-serve.service", "mandate-node.service"];

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_files() {
    if !Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success())
    {
        mandate_testkit::skipped("systemd-analyze is not installed");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for name in UNITS {
        // The program need not be installed where the unit expects it.
        let text = fs::read_to_string(unit(name))
            .unwrap()
            .replace("/usr/local/bin/mandate", env!("CARGO_BIN_EXE_mandate"));
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        let verified = Command::new("systemd-analyze")
            .arg("verify")
            .args(["--man=no", "--recursive-errors=no"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && !said.contains(name), "{name}: {said}");
    }
}

#[test]
fn every_option_in_a_unit_file_is_one_of_the_command() {
    for (name, command) in UNITS.iter().zip(["serve", "node run"]) {
        let text = fs::read_to_string(unit(name)).unwrap();
        let start =
            text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/mandate ")).unwrap();
        assert!(start.starts_with(command), "{start}");
        // The variable holds the options of the machine. The parser gives the help only if it understands all
        // that is before it.
        let words = start.split_whitespace().filter(|word| !word.starts_with('$')).chain(["--help"]);
        let ran = run(&words.collect::<Vec<_>>());
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.err);
        assert!(ran.out.contains(&format!("Usage: mandate {command} ")), "{name}: {}", ran.out);
    }
}

#[test]
fn the_unit_files_allow_what_they_need_and_no_core_dumps() {
    for name in UNITS {
        let text = fs::read_to_string(unit(name)).unwrap();
        for line in [
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "LimitCORE=0",
            "LimitNOFILE=16384",
            "MemoryDenyWriteExecute=yes",
        ] {
            assert!(text.lines().any(|found| found == line), "{name}: {line}");
        }
    }
}
