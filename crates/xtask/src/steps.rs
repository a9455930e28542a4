//! Steps that run one after the other, and their results.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// The steps taken so far.
#[derive(Debug)]
pub(crate) struct Steps {
    taken: Vec<(String, StepOutcome)>,
    began: Instant,
    /// How many steps were announced, and how many of them were taken.
    announced: usize,
    done: usize,
}

impl Default for Steps {
    fn default() -> Self {
        Self { taken: Vec::new(), began: Instant::now(), announced: 0, done: 0 }
    }
}

impl Steps {
    /// Announces this many more calls of [`Steps::take`], so that each can say how many steps there are.
    pub(crate) fn announce(&mut self, steps: usize) {
        self.announced += steps;
    }

    /// Runs a step and remembers how it ended. After a failure, the later steps run nevertheless.
    pub(crate) fn take(&mut self, name: &str, step: impl FnOnce() -> StepOutcome) {
        self.done += 1;
        println!(
            "\n== step {} of {}, after {}: {name}",
            self.done,
            self.announced.max(self.done),
            elapsed(self.began.elapsed())
        );
        let outcome = step();
        if let StepOutcome::Failed(why) | StepOutcome::Skipped(why) = &outcome {
            println!("{why}");
        }
        self.taken.push((name.to_owned(), outcome));
    }

    /// Remembers something that was skipped or failed within a step.
    fn note(&mut self, name: String, outcome: StepOutcome) {
        if let StepOutcome::Failed(why) | StepOutcome::Skipped(why) = &outcome {
            println!("{name}: {why}");
        }
        self.taken.push((name, outcome));
    }

    fn count(&self, wanted: impl Fn(&StepOutcome) -> bool) -> usize {
        self.taken.iter().filter(|(_, outcome)| wanted(outcome)).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.count(|o| matches!(o, StepOutcome::Failed(_)))
    }

    /// One line for each step, and a last line that counts them.
    pub(crate) fn summary(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (name, outcome) in &self.taken {
            lines.push(match outcome {
                StepOutcome::Passed => format!("passed   {name}"),
                StepOutcome::Failed(why) => format!("FAILED   {name}: {why}"),
                StepOutcome::Skipped(why) => format!("skipped  {name}: {why}"),
            });
        }
        let passed = self.count(|o| *o == StepOutcome::Passed);
        let skipped = self.count(|o| matches!(o, StepOutcome::Skipped(_)));
        lines.push(format!("after {}", elapsed(self.began.elapsed())));
        lines.push(format!("{passed} passed, {} failed, {skipped} skipped", self.failed()));
        lines.join("\n")
    }
}

/// The name of the variable that names the file in which tests write that they could not be run.
/// `mandate-testkit` reads it.
const SKIPPED_TESTS: &str = "MANDATE_SKIPPED_TESTS";

impl Steps {
    /// `cargo test` as a step. Tests that could not be run are counted as skipped, each by its name: a test
    /// harness counts them as passed.
    pub(crate) fn cargo_test(
        &mut self,
        root: &Path,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) {
        let skipped = tempfile::NamedTempFile::new();
        self.take(name, || match &skipped {
            Err(error) => StepOutcome::Failed(format!("a temporary file cannot be made: {error}")),
            Ok(file) => {
                let arguments = [&["test", "--locked", "--no-fail-fast"], arguments].concat();
                run_with(root, "cargo", &arguments, &[&[(SKIPPED_TESTS, file.path())], environment].concat())
            }
        });
        if let Ok(file) = &skipped {
            take_skipped(file.path(), self);
        }
    }
}

/// Each test of the file as a step. A test must not count as run unless it is known that it was not skipped.
fn take_skipped(file: &Path, steps: &mut Steps) {
    match fs::read_to_string(file) {
        Ok(text) => {
            for (test, why) in skips(&text) {
                steps.note(format!("test {test}"), StepOutcome::Skipped(why));
            }
        }
        Err(error) => {
            steps.note(
                "tests that were skipped".to_owned(),
                StepOutcome::Failed(format!("{} cannot be read: {error}", file.display())),
            );
        }
    }
}

/// Each line is a test's name, a tab, and why it was not run.
fn skips(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(test, why)| (test.to_owned(), why.to_owned()))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// As `3 min 7 s`.
fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Whether the command can be run and succeeds.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> StepOutcome {
    run(root, "cargo", arguments)
}

/// Runs a program in `dir`; its output is ours.
pub(crate) fn run(dir: &Path, program: &str, arguments: &[&str]) -> StepOutcome {
    run_with(dir, program, arguments, &[])
}

/// The same, with these variables in its environment.
pub(crate) fn run_with(
    dir: &Path,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &Path)],
) -> StepOutcome {
    println!("$ {program} {}", arguments.join(" "));
    match Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .status()
    {
        Ok(status) if status.success() => StepOutcome::Passed,
        Ok(status) => StepOutcome::Failed(format!("{program}: {status}")),
        Err(error) => StepOutcome::Failed(format!("{program} could not be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{StepOutcome, Steps, answers, elapsed, run, skips, take_skipped};
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn the_last_line_counts_every_step_and_a_failure_stops_nothing() {
        let mut steps = Steps::default();
        steps.take("a", || StepOutcome::Passed);
        steps.take("b", || StepOutcome::Failed("broken".to_owned()));
        steps.take("c", || StepOutcome::Skipped("not here".to_owned()));
        steps.take("d", || StepOutcome::Passed);
        assert_eq!(steps.failed(), 1);
        let summary = steps.summary();
        assert!(
            summary.contains("FAILED   b: broken\n") && summary.contains("skipped  c: not here\n"),
            "{summary}"
        );
        assert_eq!(summary.lines().last(), Some("2 passed, 1 failed, 1 skipped"));
    }

    #[test]
    fn time_is_said_in_minutes_and_seconds() {
        let said = [0, 59, 60, 1507].map(|seconds| elapsed(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "59 s", "1 min 0 s", "25 min 7 s"]);
    }

    #[test]
    fn a_program_that_fails_or_is_missing_is_a_failed_step() {
        assert_eq!(run(Path::new("."), "true", &[]), StepOutcome::Passed);
        assert!(matches!(run(Path::new("."), "false", &[]), StepOutcome::Failed(_)));
        assert!(matches!(run(Path::new("."), "no-such-program-anywhere", &[]), StepOutcome::Failed(_)));
        assert!(!answers(&mut Command::new("no-such-program-anywhere")));
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
