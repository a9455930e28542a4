//! Bundles: how an export writes them, and offline verification.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use mandate_audit::offline::BundleWriter;
use mandate_audit::tree::{Frontier, leaf_hash};
use mandate_audit::{CheckpointSigner, Outcome, Record, RecordKind};
use mandate_core::{SystemEntropy, Timestamp};
use serde_json::Value;

use crate::admin_socket::answering;
use crate::mandate;

#[test]
fn a_bundle_is_written_whole_or_not_at_all_and_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("audit.bundle");
    let path = bundle.to_str().unwrap();
    let failed = mandate(dir.path(), &["audit", "export", "--bundle", path], "");
    assert_eq!(failed.code, 4);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    let _server = answering(dir.path(), &[("200 OK", "{}\n")]);
    let ran = mandate(dir.path(), &["audit", "export", "--bundle", path, "--json"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fs::read_to_string(&bundle).unwrap(), "{}\n");
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["bytes"], 3);
}

#[test]
fn offline_verification_asks_nobody_and_accepts_no_other_text() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(mandate(dir.path(), &["audit", "verify", "--offline", "/nonexistent"], "").code, 2);
    let header = |format: &str, checkpoint: &str| {
        let vkey = "log.example+00000000+x";
        format!("{{\"format\":\"{format}\",\"vkey\":\"{vkey}\",\"checkpoint\":{checkpoint},\"size\":0}}\n")
    };
    for (text, code, says) in [
        (String::new(), 2, "is not an audit bundle"),
        ("{}\n".to_owned(), 2, "is not an audit bundle"),
        ("not a bundle".to_owned(), 2, "is not an audit bundle"),
        (header("other/1", "null"), 2, "does not verify"),
        (header("mandate-audit-bundle/1", "1"), 1, "does not verify"),
    ] {
        let file = dir.path().join("bundle");
        fs::write(&file, &text).unwrap();
        let ran =
            mandate(dir.path(), &["audit", "verify", "--offline", file.to_str().unwrap(), "--json"], "");
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{text}: {}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
    }
    let ran = mandate(dir.path(), &["audit", "verify", "--offline", dir.path().to_str().unwrap()], "");
    assert!(ran.code == 2 && ran.err.contains("is a directory"), "{}", ran.err);
}

#[test]
fn a_bundle_whose_reader_goes_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let _server = answering(dir.path(), &[("200 OK", &"a line\n".repeat(100_000))]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mandate"));
    command
        .args(["audit", "export", "--bundle", "-"])
        .env_clear()
        .env("MANDATE_DIR", dir.path())
        .env("HOME", dir.path());
    let ran = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
    assert_eq!((ran.status.code(), String::from_utf8(ran.stderr).unwrap().as_str()), (Some(0), ""));
}

const HEADER: &str = r#"{"format":"mandate-audit-bundle/1","vkey":"k","checkpoint":"c","size":0}"#;

#[test]
fn an_export_takes_no_other_file_s_place() {
    let dir = tempfile::tempdir().unwrap();
    let export = |path: &std::path::Path, more: &[&str]| {
        mandate(dir.path(), &[&["audit", "export", "--bundle", path.to_str().unwrap()], more].concat(), "")
    };
    let letter = dir.path().join("letter");
    fs::write(&letter, "Dear Riley").unwrap();
    let ran = export(&letter, &[]);
    assert!(
        ran.code == 2 && ran.err.contains("exists already") && ran.err.contains("--force"),
        "{}",
        ran.err
    );
    assert_eq!(fs::read_to_string(&letter).unwrap(), "Dear Riley");
    for more in [&[][..], &["--force"]] {
        let ran = export(dir.path(), more);
        assert!(ran.code == 2 && ran.err.contains("is a directory"), "{}", ran.err);
        let ran = export(std::path::Path::new("/dev/null"), more);
        assert!(ran.code == 2 && ran.err.contains("not a regular file"), "{}", ran.err);
    }
    let answer = format!("{HEADER}\n");
    let _server = answering(dir.path(), &[("200 OK", &answer), ("200 OK", &answer)]);
    assert_eq!(export(&letter, &["--force"]).code, 0);
    assert_eq!(fs::read_to_string(&letter).unwrap(), answer);
    let ran = export(&letter, &[]);
    assert!(
        ran.code == 2 && ran.err.contains("--force"),
        "a bundle is evidence; a shorter log must not take its place: {}",
        ran.err
    );
    let ran = mandate(dir.path(), &["audit", "export", "--bundle", "-", "--json"], "");
    assert_eq!((ran.code, ran.out), (0, answer), "{}", ran.err);
}

#[test]
fn an_export_that_cannot_take_its_place_leaves_nothing_behind() {
    use std::io::{Read as _, Write as _};
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("audit.bundle");
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("admin.sock")).unwrap();
    let in_the_way = bundle.clone();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        fs::create_dir(in_the_way).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{{}}\n").unwrap();
    });
    let ran = mandate(dir.path(), &["audit", "export", "--bundle", bundle.to_str().unwrap()], "");
    server.join().unwrap();
    assert_eq!(ran.code, 1, "{}", ran.err);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the socket, and what is in the way: {left:?}");
}

#[test]
fn an_export_writes_through_no_link_and_into_no_folder_that_others_could_change() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, link) = (dir.path().join("victim"), dir.path().join("audit.bundle"));
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join("audit.bundle.partial")).unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let answer = format!("{HEADER}\n");
    let _server = answering(dir.path(), &[("200 OK", &answer)]);
    let export = |path: &std::path::Path, more: &[&str]| {
        mandate(dir.path(), &[&["audit", "export", "--bundle", path.to_str().unwrap()], more].concat(), "")
    };
    let ran = export(&link, &[]);
    assert!(ran.code == 2 && ran.err.contains("symbolic link"), "{}", ran.err);
    let ran = export(&open.join("audit.bundle"), &["--force"]);
    assert!(ran.code == 2 && ran.err.contains(&format!("chmod go-w {}", open.display())), "{}", ran.err);
    assert_eq!(export(&link, &["--force"]).code, 0, "the link itself is replaced");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&link).unwrap(), answer);
}

#[test]
fn a_bundle_a_key_and_a_checkpoint_come_from_standard_input_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bundle");
    let text = format!("{HEADER}\n");
    fs::write(&file, &text).unwrap();
    let from_file = mandate(dir.path(), &["audit", "verify", "--offline", file.to_str().unwrap()], "");
    let from_stdin = mandate(dir.path(), &["audit", "verify", "--offline", "-"], &text);
    assert_eq!(from_stdin.code, from_file.code);
    assert_eq!(from_stdin.err.replace("standard input", file.to_str().unwrap()), from_file.err);
    let ran = mandate(dir.path(), &["audit", "verify", "--offline", "-"], "no bundle\n");
    assert!(ran.code == 2 && ran.err.contains("standard input is not an audit bundle"), "{}", ran.err);
    let ran = mandate(dir.path(), &["audit", "verify", "--since", "-"], "no checkpoint\n");
    assert!(ran.code == 2 && ran.err.contains("standard input holds no checkpoint"), "{}", ran.err);
    let ran = mandate(dir.path(), &["audit", "verify", "--offline", "-", "--since", "-"], &text);
    assert!(ran.code == 2 && ran.err.contains("only once"), "{}", ran.err);
}

/// A bundle of three records, the key of its log, and the log's checkpoint of the first two.
fn small_bundle() -> (String, String, String) {
    let (signer, _) = CheckpointSigner::generate("log.example", &SystemEntropy).unwrap();
    let (mut tree, mut rows, mut notes) = (Frontier::new(), Vec::new(), Vec::new());
    for n in 0..3 {
        let record = Record::new(
            format!("r{n}").parse().unwrap(),
            Timestamp::from_secs(n),
            RecordKind::Exchange,
            Outcome::Permitted,
            "ok",
        );
        let leaf = record.to_leaf().unwrap();
        rows.push((n, tree.append(leaf_hash(&leaf)).unwrap(), leaf));
        notes.push(signer.sign(n + 1, tree.root().unwrap()).unwrap());
    }
    let mut out = BundleWriter::begin(Vec::new(), signer.verifier().vkey(), &notes[2], 3).unwrap();
    for (n, hashes, leaf) in &rows {
        out.record(*n, leaf, hashes).unwrap();
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(out.finish().unwrap()), signer.verifier().vkey().to_owned(), text(notes.swap_remove(1)))
}

#[test]
fn a_bundle_from_standard_input_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, key, _) = small_bundle();
    let ran = mandate(dir.path(), &["audit", "verify", "--offline", "-", "--json"], &bundle);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&said["verified"], &said["size"], &said["key"]),
        (&true.into(), &3.into(), &key.into()),
        "{said}"
    );
}

/// A text as editors of other systems save it.
fn saved(text: &str) -> [String; 3] {
    let windows = text.replace('\n', "\r\n");
    [format!("\u{feff}{text}"), format!("\u{feff}{windows}"), windows]
}

/// Verifies a bundle with what `option` names, which is a file with each of these texts.
fn verifies_with(option: &str, bundle: &str, texts: impl IntoIterator<Item = String>) {
    let dir = tempfile::tempdir().unwrap();
    let (bundle_file, file) = (dir.path().join("bundle"), dir.path().join("file"));
    fs::write(&bundle_file, bundle).unwrap();
    for text in texts {
        fs::write(&file, &text).unwrap();
        let arguments =
            ["audit", "verify", "--offline", bundle_file.to_str().unwrap(), option, file.to_str().unwrap()];
        let ran = mandate(dir.path(), &arguments, "");
        assert!(
            ran.code == 0 && ran.out.starts_with("The bundle verifies: 3 records"),
            "{text:?}: {}",
            ran.err
        );
    }
}

#[test]
fn a_key_file_is_read_as_any_editor_saves_it() {
    let (bundle, key, _) = small_bundle();
    let status = format!("Audit key:  {key}\nAudit log:  3 records\n");
    verifies_with("--key-file", &bundle, saved(&format!("{key}\n")).into_iter().chain(saved(&status)));
}

#[test]
fn a_kept_checkpoint_is_read_as_any_editor_saves_it() {
    let (bundle, _, kept) = small_bundle();
    let json = format!("{}\n", serde_json::json!({ "checkpoint": kept }));
    verifies_with("--since", &bundle, saved(&kept).into_iter().chain(saved(&json)));
}

#[test]
fn a_key_of_a_bad_form_is_a_bad_argument_and_no_verdict_on_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    fs::write(&bundle, format!("{HEADER}\n")).unwrap();
    let bundle = bundle.to_str().unwrap();
    for key in [bundle, "", "k", "log.example+1234+AAAA"] {
        let ran = mandate(dir.path(), &["audit", "verify", "--offline", bundle, "--key", key], "");
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{key}: {}", ran.err);
        assert!(!ran.err.contains("does not verify"), "{}", ran.err);
        assert!(key != bundle || ran.err.contains("use --key-file for it"), "{}", ran.err);
    }
    let ran = mandate(dir.path(), &["audit", "verify", "--offline", bundle, "--key-file", bundle], "");
    assert!(ran.code == 2 && ran.err.contains("holds no verifier key"), "{}", ran.err);
}

#[test]
fn an_export_that_is_stopped_leaves_no_half_bundle_behind() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("admin.sock")).unwrap();
    let bundle = dir.path().join("audit.bundle");
    // The tests may run in the background of a shell, which lets them, and what they start, ignore SIGINT.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_mandate"), "audit", "export", "--bundle"])
        .arg(&bundle);
    command.env_clear().env("MANDATE_DIR", dir.path());
    let export = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it\n").unwrap();
    let hidden =
        || fs::read_dir(dir.path()).unwrap().flatten().find(|entry| entry.file_name() != "admin.sock");
    while !hidden().is_some_and(|entry| entry.metadata().is_ok_and(|about| about.len() > 0)) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&export), rustix::process::Signal::INT)
        .unwrap();
    let output = export.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), said.as_str()),
        (Some(130), "error: no bundle is written: it was stopped by signal 2\n")
    );
    assert!(hidden().is_none(), "{:?}", hidden());
}
