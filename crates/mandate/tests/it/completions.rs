//! What a shell is told while a person types.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::admin_socket::answering;
use crate::{Ran, mandate, mandate_with};

/// The candidates for the last word of a command line, as the script of fish asks for them.
fn candidates(dir: &Path, line: &[&str]) -> Ran {
    mandate_with(dir, &[&["--", "mandate"], line].concat(), "", &[("MANDATE_COMPLETE", "fish")])
}

const AGENTS: &str = r#"[
 {"kind":"agent","name":"support-agent","owner":"riley","purpose":"x","state":"active","selectors":[],"ceiling":[]},
 {"kind":"agent","name":"sales-agent","owner":"riley","purpose":"x","state":"suspended","selectors":[],"ceiling":[]}]"#;

#[test]
fn names_of_agents_come_from_the_server_and_only_those_that_begin_as_typed() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(
        dir.path(),
        &[("200 OK", AGENTS), ("200 OK", AGENTS), ("200 OK", AGENTS), ("200 OK", AGENTS)],
    );
    let ran = candidates(dir.path(), &["agent", "suspend", "s"]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, "support-agent\tactive\nsales-agent\tsuspended\n", "")
    );
    for line in
        [&["get", "agents", "su"][..], &["describe", "agent", "su"], &["audit", "query", "--agent", "su"]]
    {
        let ran = candidates(dir.path(), line);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("support-agent\tactive\n", ""), "{line:?}");
    }
    assert!(server.join().unwrap().iter().all(|request| request.starts_with("GET /v1/registry/agent ")));
}

#[test]
fn nodes_grants_and_people_are_named_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = r#"[{"name":"6f0c1e2d3a4b5c6d7e8f","spiffe_id":"spiffe://acme.example/node/6f0c1e2d3a4b5c6d7e8f","state":"joined","joined":"2026-11-24T09:00:00.000Z","renewed":"2026-11-24T09:30:00.000Z","expires":"2026-11-24T10:30:00.000Z"}]"#;
    let grant = r#"[{"kind":"grant","id":"g-77","person":"riley","agent":"support-agent","resource":"crm","scopes":["read:cases"]}]"#;
    let people = r#"[{"kind":"person","name":"riley","may":[]}]"#;
    let clients = r#"[{"kind":"client","id":"a$(id)"},{"kind":"client","id":"desk-app"}]"#;
    let _server = answering(
        dir.path(),
        &[("200 OK", node), ("200 OK", grant), ("200 OK", people), ("200 OK", clients)],
    );
    for (line, wanted) in [
        (&["node", "ban", ""][..], "6f0c1e2d3a4b5c6d7e8f\trenewed 2026-11-24T09:30:00.000Z"),
        (&["revoke", "grant", ""], "g-77\triley to support-agent on crm"),
        (&["person", "set-password", ""], "riley"),
        (&["client", "set-secret", ""], "desk-app"),
    ] {
        let ran = candidates(dir.path(), line);
        // Options follow the names.
        let names: Vec<&str> = ran.out.lines().filter(|candidate| !candidate.starts_with('-')).collect();
        assert_eq!((names, ran.err.as_str()), (vec![wanted], ""), "{line:?}");
    }
}

#[test]
fn a_server_that_is_away_silent_or_unwilling_leaves_names_out_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let silent = |what: &str| {
        let begun = Instant::now();
        let ran = candidates(dir.path(), &["agent", "suspend", "s"]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""), "{what}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{what}: {:?}", begun.elapsed());
    };
    silent("away");
    let server = answering(dir.path(), &[("403 Forbidden", "{}"), ("200 OK", "no JSON")]);
    silent("unwilling");
    silent("confused");
    server.join().unwrap();
    std::fs::remove_file(dir.path().join("admin.sock")).unwrap();
    let _mute = std::os::unix::net::UnixListener::bind(dir.path().join("admin.sock")).unwrap();
    silent("silent");
}

#[test]
fn commands_and_options_are_completed_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let ran = candidates(dir.path(), &["node", "join-t"]);
    assert!(ran.out.starts_with("join-token\t"), "{}", ran.out);
    let ran = candidates(dir.path(), &["get", "--admin-t"]);
    assert!(ran.out.starts_with("--admin-token-file\t"), "{}", ran.out);
}

#[test]
fn each_shell_has_a_script_that_it_understands() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = mandate(dir.path(), &["completions", shell], "");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.contains("MANDATE_COMPLETE") && ran.out.ends_with('\n'), "{shell}");
        // Where the shell is there, it is asked to read it.
        if ["bash", "zsh", "fish"].contains(&shell) && Command::new(shell).args(["-c", ":"]).output().is_ok()
        {
            let script = dir.path().join(shell);
            std::fs::write(&script, &ran.out).unwrap();
            let read = Command::new(shell).arg("-n").arg(&script).output().unwrap();
            assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }
}

/// Bash itself completes, with the script as it is printed.
#[test]
fn bash_completes_a_name() {
    if Command::new("bash").args(["-c", ":"]).output().is_err() {
        return mandate_testkit::skipped("there is no bash");
    }
    let dir = tempfile::tempdir().unwrap();
    let _server = answering(dir.path(), &[("200 OK", AGENTS)]);
    let script = mandate(dir.path(), &["completions", "bash"], "").out;
    let ask = "\nCOMP_WORDS=(mandate agent suspend su) COMP_CWORD=3 COMP_TYPE=9\n_clap_complete_mandate mandate su suspend\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let program = Path::new(env!("CARGO_BIN_EXE_mandate"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let shell = Command::new("bash")
        .args(["--norc", "-c", &format!("{script}{ask}")])
        .env_clear()
        .envs([
            ("PATH", path.as_str()),
            ("HOME", dir.path().to_str().unwrap()),
            ("MANDATE_DIR", dir.path().to_str().unwrap()),
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&shell.stdout).trim(),
        "support-agent",
        "{}",
        String::from_utf8_lossy(&shell.stderr)
    );
}
