//! `cargo xtask test`: all checks that need no other authors' programs, one step after the other.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::steps::{StepOutcome, Steps, answers, cargo, run};
use crate::{fuzz_seeds, licenses, setup, tidy};

/// The arguments of `cargo xtask test`.
#[derive(clap::Args, Debug)]
pub(crate) struct TestArguments {
    /// Install nothing; use what is there
    #[arg(long)]
    no_setup: bool,
    /// How long to run each fuzz target
    #[arg(long, value_name = "N", default_value_t = FUZZ_SECONDS)]
    fuzz_seconds: u32,
}

/// Long enough to read every seed and to find obvious faults.
const FUZZ_SECONDS: u32 = 20;

impl Default for TestArguments {
    fn default() -> Self {
        Self { no_setup: false, fuzz_seconds: FUZZ_SECONDS }
    }
}

/// Runs every step: first the steps that could stop the later ones, then the quick ones.
pub(crate) fn take(root: &Path, arguments: &TestArguments, steps: &mut Steps) {
    let targets = fuzz_targets(root);
    steps.announce(9);
    let set_up = |install: &dyn Fn() -> StepOutcome| {
        if arguments.no_setup { StepOutcome::Skipped("--no-setup".to_owned()) } else { install() }
    };
    steps.take("programs that the tests need", || set_up(&|| setup::install(root, setup::TEST)));
    steps.take("components of the toolchain", || set_up(&|| setup::components(root)));
    steps.take("format", || with_component("fmt", || cargo(root, &["fmt", "--all", "--check"])));
    steps.take("tidy", || match tidy::report(root) {
        Ok(report) => {
            print_report(&report);
            match report.errors() {
                0 => StepOutcome::Passed,
                errors => StepOutcome::Failed(tidy::TidyError::Untidy(errors).to_string()),
            }
        }
        Err(error) => StepOutcome::Failed(error.to_string()),
    });
    steps.take("licenses and sources", || match licenses::check(root) {
        Ok(broken) if broken.is_empty() => StepOutcome::Passed,
        Ok(broken) => StepOutcome::Failed(broken.join("; ")),
        Err(error) => StepOutcome::Failed(error.to_string()),
    });
    steps.take("lints", || with_component("clippy", || lints(root)));
    steps.cargo_test(root, "tests", &["--workspace"], &[]);
    fuzz(root, arguments.fuzz_seconds, &targets, steps);
}

/// Takes a step that needs `cargo NAME`.
fn with_component(name: &str, step: impl FnOnce() -> StepOutcome) -> StepOutcome {
    if setup::component(name) {
        step()
    } else {
        StepOutcome::Skipped(format!("there is no cargo {name}: rustup component add rustfmt clippy"))
    }
}

/// The Rust version whose lints the code is known to pass, as `major.minor`.
const JUDGED_WITH: (u32, u32) = (1, 95);

/// A lint that a later Rust brings is shown and fails nothing: a developer who clones the project a year from
/// now has broken no rule that the project knew. Such a lint is enforced once the code passes it and
/// [`JUDGED_WITH`] says so.
fn lints(root: &Path) -> StepOutcome {
    let version = Command::new("rustc")
        .arg("--version")
        .current_dir(root)
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let later = later(&String::from_utf8_lossy(&version));
    // `--all-targets` leaves out what `cargo test` does not run.
    let refusing: &[&str] = if later { &[] } else { &["--", "-D", "warnings"] };
    for targets in [&["--all-targets"][..], &["--test", "interop"]] {
        let clippy = [&["clippy", "--workspace", "--locked"], targets, refusing].concat();
        match cargo(root, &clippy) {
            StepOutcome::Passed => {}
            other => return other,
        }
    }
    if later { only_shown(StepOutcome::Passed) } else { StepOutcome::Passed }
}

/// The result of lints that fail nothing: nothing was enforced, unless the code does not build.
fn only_shown(outcome: StepOutcome) -> StepOutcome {
    match outcome {
        StepOutcome::Passed => StepOutcome::Skipped(format!(
            "Rust later than {}.{}: warnings shown, not refused",
            JUDGED_WITH.0, JUDGED_WITH.1
        )),
        other => other,
    }
}

/// Whether `rustc --version` names a Rust version that the project does not know yet.
fn later(version: &str) -> bool {
    let mut numbers = version
        .split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version > JUDGED_WITH)
}

/// Runs each target by `fuzz/run`, which needs a C++ compiler for libFuzzer's runtime, and no nightly
/// toolchain.
fn fuzz(root: &Path, seconds: u32, targets: &[String], steps: &mut Steps) {
    let script = root.join("fuzz/run");
    let script = script.to_string_lossy();
    let cpp = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let why = "there is no C++ compiler, which libFuzzer's runtime needs";
    let possible = answers(Command::new(cpp).arg("--version"));
    let step = |arguments: &[&str]| {
        if possible { run(root, &script, arguments) } else { StepOutcome::Skipped(why.to_owned()) }
    };
    steps.take("build the fuzzers", || match fuzz_seeds::write(root) {
        Ok(_) => step(&["0"]),
        Err(error) => StepOutcome::Failed(format!("the vectors cannot be written as first inputs: {error}")),
    });
    let seconds = seconds.to_string();
    let arguments: Vec<&str> =
        std::iter::once(seconds.as_str()).chain(targets.iter().map(String::as_str)).collect();
    steps.take(&format!("fuzz {} parsers", targets.len()), || step(&arguments));
}

fn fuzz_targets(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("fuzz/targets")).into_iter().flatten();
    let paths = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let mut targets: Vec<String> =
        paths.filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).collect();
    targets.sort();
    targets
}

pub(crate) fn print_report(report: &tidy::Report) {
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{} names that weaken a check:", report.dangerous.len());
    for name in &report.dangerous {
        println!("  {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::{JUDGED_WITH, later, only_shown};
    use crate::steps::StepOutcome;

    #[test]
    fn a_later_rust_is_seen_and_anything_unreadable_is_none() {
        let (major, minor) = JUDGED_WITH;
        assert!(later(&format!("rustc {major}.{}.0 (abc 2027-01-01)", minor + 1)));
        assert!(later(&format!("rustc {}.0.0-nightly (abc 2027-01-01)", major + 1)));
        for known in [
            format!("rustc {major}.{minor}.3 (abc 2026-04-14)"),
            "rustc 1.91.0".to_owned(),
            "rustc".to_owned(),
            String::new(),
        ] {
            assert!(!later(&known), "{known}");
        }
    }

    #[test]
    fn lints_that_refuse_nothing_have_not_passed() {
        assert!(
            matches!(only_shown(StepOutcome::Passed), StepOutcome::Skipped(why) if why.starts_with("Rust later than "))
        );
        let failed = StepOutcome::Failed("it does not build".to_owned());
        assert_eq!(only_shown(failed.clone()), failed);
    }
}
