//! `cargo xtask test`: everything that must hold, one step after the other, and a summary.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{codegen, licenses, setup, tidy};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// The steps taken so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    taken: Vec<(String, Outcome)>,
}

impl Steps {
    /// Takes a step and remembers how it ended. A failure does not keep the later steps from being taken.
    pub(crate) fn take(&mut self, name: &str, step: impl FnOnce() -> Outcome) {
        println!("\n== {name}");
        let outcome = step();
        if let Outcome::Failed(why) | Outcome::Skipped(why) = &outcome {
            println!("{why}");
        }
        self.taken.push((name.to_owned(), outcome));
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.taken.iter().filter(|(_, outcome)| wanted(outcome)).count()
    }

    /// How many steps failed.
    pub(crate) fn failed(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Failed(_)))
    }

    /// One line for each step, and a last line that counts them.
    pub(crate) fn summary(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (name, outcome) in &self.taken {
            lines.push(match outcome {
                Outcome::Passed => format!("passed   {name}"),
                Outcome::Failed(why) => format!("FAILED   {name}: {why}"),
                Outcome::Skipped(why) => format!("skipped  {name}: {why}"),
            });
        }
        let passed = self.count(|o| *o == Outcome::Passed);
        let skipped = self.count(|o| matches!(o, Outcome::Skipped(_)));
        lines.push(format!("{passed} passed, {} failed, {skipped} skipped", self.failed()));
        lines.join("\n")
    }
}

/// What `cargo xtask test` may be told.
#[derive(clap::Args, Debug)]
pub(crate) struct TestArguments {
    /// Install nothing; use what is there
    #[arg(long)]
    no_setup: bool,
    /// How long to run each fuzz target
    #[arg(long, value_name = "N", default_value_t = 60)]
    fuzz_seconds: u32,
}

/// Takes every step.
pub(crate) fn test(root: &Path, arguments: &TestArguments) -> Steps {
    let mut steps = Steps::default();
    if arguments.no_setup {
        steps.take("set up", || Outcome::Skipped("--no-setup".to_owned()));
    } else {
        steps.take("set up", || setup::install(root));
    }
    steps.take("format", || cargo(root, &["fmt", "--all", "--check"]));
    steps.take("lints", || lints(root));
    tests(root, &mut steps);
    steps.take("tidy", || match tidy::report(root) {
        Ok(report) => {
            print_report(&report);
            match report.errors() {
                0 => Outcome::Passed,
                errors => Outcome::Failed(tidy::TidyError::Untidy(errors).to_string()),
            }
        }
        Err(error) => Outcome::Failed(error.to_string()),
    });
    steps.take("generated code", || codegen::check(root).map_or_else(|e| Outcome::Failed(e.to_string()), |()| Outcome::Passed));
    steps.take("licenses and sources", || match licenses::check(root) {
        Ok(broken) if broken.is_empty() => Outcome::Passed,
        Ok(broken) => Outcome::Failed(broken.join("; ")),
        Err(error) => Outcome::Failed(error.to_string()),
    });
    fuzz(root, arguments.fuzz_seconds, &mut steps);
    steps
}

/// The Rust whose lints the code has been held against, as `major.minor`.
const JUDGED_WITH: (u32, u32) = (1, 95);

/// A lint that a later Rust brings is shown and refuses nothing: whoever clones the project a year from now has broken no
/// rule that it knew. It is held once the project has been made to keep it and [`JUDGED_WITH`] says so.
fn lints(root: &Path) -> Outcome {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked"];
    let version = Command::new("rustc").arg("--version").current_dir(root).output().map(|output| output.stdout).unwrap_or_default();
    if later(&String::from_utf8_lossy(&version)) {
        return only_shown(cargo(root, &clippy));
    }
    cargo(root, &[&clippy[..], &["--", "-D", "warnings"]].concat())
}

/// What lints that refused nothing come to: nothing was held, unless the code does not build.
fn only_shown(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Passed => Outcome::Skipped(format!("Rust later than {}.{}: warnings shown, not refused", JUDGED_WITH.0, JUDGED_WITH.1)),
        other => other,
    }
}

/// Whether `rustc --version` names a Rust of which the project knows nothing yet.
fn later(version: &str) -> bool {
    let mut numbers = version.split_whitespace().nth(1).unwrap_or_default().split('.').map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version > JUDGED_WITH)
}

/// The name of the variable that names the file in which tests write that they could not be run. `mandate-testkit` reads it.
const SKIPPED_TESTS: &str = "MANDATE_SKIPPED_TESTS";

/// All tests. Those that could not be run are counted as skipped, each by its name: a test harness counts them as passed.
fn tests(root: &Path, steps: &mut Steps) {
    let skipped = tempfile::NamedTempFile::new();
    steps.take("tests", || match &skipped {
        Err(error) => Outcome::Failed(format!("a temporary file cannot be made: {error}")),
        Ok(file) => run_with(root, "cargo", &["test", "--workspace", "--locked", "--no-fail-fast"], &[(SKIPPED_TESTS, file.path())]),
    });
    if let Ok(file) = &skipped {
        take_skipped(file.path(), steps);
    }
}

/// Each test of the file as a step. What is not known to have been skipped must not pass for run.
fn take_skipped(file: &Path, steps: &mut Steps) {
    match fs::read_to_string(file) {
        Ok(text) => {
            for (test, why) in skips(&text) {
                steps.take(&format!("test {test}"), || Outcome::Skipped(why));
            }
        }
        Err(error) => {
            steps.take("tests that were skipped", || Outcome::Failed(format!("{} cannot be read: {error}", file.display())));
        }
    }
}

/// Each line is a test's name, a tab, and why it was not run.
fn skips(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        text.lines().filter_map(|line| line.split_once('\t')).map(|(test, why)| (test.to_owned(), why.to_owned())).collect();
    all.sort();
    all.dedup();
    all
}

/// Prints what `tidy` found.
pub(crate) fn print_report(report: &tidy::Report) {
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{} names that weaken a check:", report.dangerous.len());
    for name in &report.dangerous {
        println!("  {name}");
    }
}

/// Each target by `fuzz/run`, which needs a C++ compiler for libFuzzer's runtime, and no nightly toolchain.
fn fuzz(root: &Path, seconds: u32, steps: &mut Steps) {
    let targets = match fuzz_targets(root) {
        Ok(targets) => targets,
        Err(why) => return steps.take("fuzz", || Outcome::Skipped(why)),
    };
    let script = root.join("fuzz/run");
    for target in targets {
        steps.take(&format!("fuzz {target}"), || run(root, &script.to_string_lossy(), &[&seconds.to_string(), &target]));
    }
}

fn fuzz_targets(root: &Path) -> Result<Vec<String>, String> {
    let Ok(entries) = fs::read_dir(root.join("fuzz/targets")) else {
        return Err("there are no fuzz targets".to_owned());
    };
    if !answers(Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into())).arg("--version")) {
        return Err("there is no C++ compiler, which libFuzzer's runtime needs".to_owned());
    }
    let paths = entries.filter_map(|entry| entry.ok().map(|e| e.path())).filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let mut targets: Vec<String> = paths.filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).collect();
    targets.sort();
    Ok(targets)
}

/// Whether the command can be run and succeeds.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn cargo(root: &Path, arguments: &[&str]) -> Outcome {
    run(root, "cargo", arguments)
}

/// Runs a program in `dir`; its output is ours.
pub(crate) fn run(dir: &Path, program: &str, arguments: &[&str]) -> Outcome {
    run_with(dir, program, arguments, &[])
}

fn run_with(dir: &Path, program: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> Outcome {
    println!("$ {program} {}", arguments.join(" "));
    match Command::new(program).args(arguments).envs(environment.iter().copied()).current_dir(dir).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("{program}: {status}")),
        Err(error) => Outcome::Failed(format!("{program} could not be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{JUDGED_WITH, Outcome, Steps, answers, later, only_shown, run, skips, take_skipped};
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn the_last_line_counts_every_step_and_a_failure_stops_nothing() {
        let mut steps = Steps::default();
        steps.take("a", || Outcome::Passed);
        steps.take("b", || Outcome::Failed("broken".to_owned()));
        steps.take("c", || Outcome::Skipped("not here".to_owned()));
        steps.take("d", || Outcome::Passed);
        assert_eq!(steps.failed(), 1);
        let summary = steps.summary();
        assert!(summary.contains("FAILED   b: broken\n") && summary.contains("skipped  c: not here\n"), "{summary}");
        assert_eq!(summary.lines().last(), Some("2 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn a_program_that_fails_or_is_missing_is_a_failed_step() {
        assert_eq!(run(Path::new("."), "true", &[]), Outcome::Passed);
        assert!(matches!(run(Path::new("."), "false", &[]), Outcome::Failed(_)));
        assert!(matches!(run(Path::new("."), "no-such-program-anywhere", &[]), Outcome::Failed(_)));
        assert!(!answers(&mut Command::new("no-such-program-anywhere")));
    }

    #[test]
    fn a_later_rust_is_seen_and_anything_unreadable_is_none() {
        let (major, minor) = JUDGED_WITH;
        assert!(later(&format!("rustc {major}.{}.0 (abc 2027-01-01)", minor + 1)));
        assert!(later(&format!("rustc {}.0.0-nightly (abc 2027-01-01)", major + 1)));
        for known in [format!("rustc {major}.{minor}.3 (abc 2026-04-14)"), "rustc 1.91.0".to_owned(), "rustc".to_owned(), String::new()] {
            assert!(!later(&known), "{known}");
        }
    }

    #[test]
    fn lints_that_refuse_nothing_have_not_passed() {
        assert!(matches!(only_shown(Outcome::Passed), Outcome::Skipped(why) if why.starts_with("Rust later than ")));
        let failed = Outcome::Failed("it does not build".to_owned());
        assert_eq!(only_shown(failed.clone()), failed);
    }

    #[test]
    fn skipped_tests_are_counted_and_a_list_that_cannot_be_read_is_a_failed_step() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skipped");
        let mut steps = Steps::default();
        take_skipped(&file, &mut steps);
        assert_eq!(steps.failed(), 1);
        std::fs::write(&file, "browser::a\tthere is no chromedriver\n").unwrap();
        take_skipped(&file, &mut steps);
        assert_eq!(steps.summary().lines().last(), Some("0 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn a_test_that_could_not_be_run_is_counted_once_by_its_name() {
        let text = "browser::a\tthere is no chromedriver\nstrict::b\tno Node.js\nbrowser::a\tthere is no chromedriver\nnonsense\n";
        let expected = [("browser::a", "there is no chromedriver"), ("strict::b", "no Node.js")];
        assert_eq!(skips(text), expected.map(|(test, why)| (test.to_owned(), why.to_owned())));
    }
}
