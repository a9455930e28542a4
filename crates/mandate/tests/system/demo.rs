//! `mandate demo` as a stranger starts it, and what is left when it ends badly.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::processes::{run, run_into, unwritable};

#[test]
fn the_story_is_told_as_promised_and_its_last_line_says_so() {
    let ran = run(&["demo", "--check"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    for (telling, closed, sent, refused) in [("before", 12, 12, 0), ("after", 0, 0, 24)] {
        let told = &last[telling];
        assert_eq!(
            (&told["opportunities_closed"], &told["mails_sent"]),
            (&closed.into(), &sent.into()),
            "{last}"
        );
        assert_eq!(
            (&told["refused_by_mandate"], &told["refused_by_crm"]),
            (&refused.into(), &refused.into()),
            "{last}"
        );
        assert_eq!(
            (&told["task_done"], told["faults"].as_array().unwrap().len()),
            (&true.into(), 0),
            "{last}"
        );
    }
    let (audit, stopped) = (&last["audit"], &last["stopped"]);
    assert_eq!(
        (&audit["verified"], &audit["refusals_with_both_names"]),
        (&true.into(), &24.into()),
        "{last}"
    );
    assert_eq!(audit["comment_caused_by"]["sub"], "riley", "{last}");
    assert_eq!(stopped["call"], "401 invalid_token revoked", "{last}");
    assert!(stopped["identity"].is_string() && stopped["exchange"].is_string(), "{last}");
    for span in [
        "serve_ready_ms",
        "node_ready_ms",
        "apply_ms",
        "svid_ms",
        "exchange_ms",
        "stop_ms",
        "stop_identity_ms",
    ] {
        assert!(last["timings"][span].as_f64().unwrap() > 0.0, "{span}: {last}");
    }
    assert!(
        ran.out.contains("mandate agent suspend support-agent"),
        "the table names the command: {}",
        ran.out
    );
    let steps: Vec<&str> = ran.err.lines().filter(|line| line.ends_with('…')).collect();
    assert!(steps.len() >= 6 && steps[0].starts_with("1/3 "), "it says what it is doing: {}", ran.err);
    for scope in ["write:opportunities", "send:mail"] {
        assert!(
            ran.out.lines().any(|line| line.starts_with("12 ") && line.contains(scope)),
            "{scope}: {}",
            ran.out
        );
    }
}

#[test]
fn a_check_whose_result_cannot_be_written_fails_and_one_that_nobody_reads_does_not() {
    for (output, out) in unwritable() {
        let ran = run_into(out, &["demo", "--check"]);
        assert_eq!(ran.code, Some(i32::from(output == "full")), "{output}: {}", ran.err);
        assert_eq!(
            ran.err.contains("cannot write to standard output"),
            output == "full",
            "{output}: {}",
            ran.err
        );
    }
}

/// A demo that stays up, with its temporary directory below one of ours.
struct Demo {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    told: String,
}

impl Demo {
    fn start(temporary: &Path) -> Self {
        // Under nohup(1) this process ignores hangups, and so would its children.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_mandate"), "demo"])
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("TMPDIR", temporary);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("svid fetch") {
            assert!(stderr.read_line(&mut told).unwrap() > 0, "it ended: {told}");
        }
        Self { child, stderr, told }
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes whose command line names `path`.
fn processes_of(path: &Path) -> Vec<PathBuf> {
    let named = path.to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    all.filter(|process| {
        std::fs::read(process.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&named))
    })
    .collect()
}

#[test]
fn a_demo_that_is_killed_or_hung_up_leaves_no_process_and_no_password() {
    for signal in [Signal::KILL, Signal::HUP] {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(temporary.path());
        assert!(processes_of(temporary.path()).len() >= 3, "serve, node, and who clears away");
        demo.end(signal);
        let began = Instant::now();
        while !processes_of(temporary.path()).is_empty()
            || std::fs::read_dir(temporary.path()).unwrap().count() > 0
        {
            let left = processes_of(temporary.path());
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{signal:?}: {left:?} and {:?}",
                std::fs::read_dir(temporary.path()).unwrap().count()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_commands_it_prints_work_as_they_are_printed() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(temporary.path());
    let program = env!("CARGO_BIN_EXE_mandate");
    let commands: Vec<&str> = demo
        .told
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/') && line.contains(" --"))
        .collect();
    assert_eq!(commands.len(), 5, "{}", demo.told);
    // The agent is suspended by one of them; then no identity is given.
    for (command, code) in commands.iter().zip([0, 0, 0, 0, 3]) {
        assert!(command.starts_with(program), "{command}");
        let ran = Command::new("/bin/sh").args(["-c", command]).env_clear().output().unwrap();
        assert_eq!(ran.status.code(), Some(code), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    demo.end(Signal::TERM);
    let mut rest = String::new();
    while demo.stderr.read_line(&mut rest).unwrap() > 0 {}
    assert!(!rest.contains("error"), "{rest}");
}
