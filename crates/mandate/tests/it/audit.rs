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

const RECORD: &str = r#"{"id":"r1","time":"2026-11-24T00:00:00.000Z","kind":"exchange","outcome":"refused","reason":"scope_exceeds_ceiling","sub":"riley","sub_iss":"https://m.example","act":{"sub":"spiffe://acme.example/agent/b","iss":"https://m.example","act":{"sub":"spiffe://acme.example/agent/a","iss":"https://m.example"}},"aud":"http://127.0.0.1:9100","scope":"","jti":null,"policies":[]}"#;

#[test]
fn a_query_carries_every_filter_and_shows_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", &format!("[{RECORD}]"))]);
    let arguments = [
        "audit",
        "query",
        "--agent",
        "support-agent",
        "--person",
        "riley",
        "--resource",
        "crm",
        "--jti",
        "j1",
    ];
    let more = [
        "--since",
        "2026-11-24T00:00:00Z",
        "--until",
        "2026-11-25T00:00:00Z",
        "--outcome",
        "refused",
        "--limit",
        "7",
    ];
    let ran = mandate(dir.path(), &[&arguments[..], &more].concat(), "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let request = &server.join().unwrap()[0];
    let expected = "GET /v1/audit/records?agent=support-agent&person=riley&resource=crm&jti=j1&since=2026-11-24T00%3A00%3A00.000Z&until=2026-11-25T00%3A00%3A00.000Z&outcome=refused&limit=7 HTTP/1.1\r\n";
    assert!(request.starts_with(expected), "{request}");
    let row = ran.out.lines().nth(1).unwrap();
    for part in [
        "refused",
        "scope_exceeds_ceiling",
        "riley",
        "spiffe://acme.example/agent/b ← spiffe://acme.example/agent/a",
        "r1",
    ] {
        assert!(row.contains(part), "{row}");
    }
}

#[test]
fn json_has_each_member_that_scripts_rely_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", &format!("[{RECORD}]"))]);
    let ran = mandate(dir.path(), &["audit", "query", "--json", "--since", "1h"], "");
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    for member in ["id", "time", "outcome", "reason", "sub", "act", "aud", "scope", "jti"] {
        assert!(value[0].as_object().unwrap().contains_key(member), "{member}");
    }
    assert!(server.join().unwrap()[0].contains("since=20"), "a span becomes a time");
}

#[test]
fn filters_that_make_no_sense_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [
        ["--since", "yesterday"],
        ["--outcome", "maybe"],
        ["--limit", "-1"],
        ["--limit", "0"],
        ["--jti", "a b"],
    ] {
        assert_eq!(mandate(dir.path(), &["audit", "query", bad[0], bad[1]], "").code, 2, "{bad:?}");
    }
}

#[test]
fn a_log_that_does_not_verify_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let problem = r#"{"type":"/problems/audit_broken","title":"The audit log does not verify","status":500,"detail":"record 3","code":"audit_broken"}"#;
    let _server = answering(dir.path(), &[("500 Internal Server Error", problem)]);
    let ran = mandate(dir.path(), &["audit", "verify", "--json"], "");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("record 3"), "{}", ran.err);
}

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
fn one_record_is_shown_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", RECORD)]);
    let ran = mandate(dir.path(), &["audit", "show", "r1"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("scope_exceeds_ceiling") && ran.out.contains("https://m.example"),
        "{}",
        ran.out
    );
    assert!(server.join().unwrap()[0].starts_with("GET /v1/audit/records/r1 "));
}

/// Records `from` down to `to`, as one answer.
fn page(from: u64, to: u64) -> String {
    let record = |index: u64| {
        RECORD.replace("\"r1\"", &format!("\"r{index}\"")).replacen('{', &format!("{{\"index\":{index},"), 1)
    };
    format!("[{}]", (to..=from).rev().map(record).collect::<Vec<_>>().join(","))
}

fn ids(json: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value.as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn json_is_complete_however_many_pages_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(
        dir.path(),
        &[("200 OK", &page(2099, 1100)), ("200 OK", &page(1099, 100)), ("200 OK", &page(99, 0))],
    );
    let ran = mandate(dir.path(), &["audit", "query", "--json", "--agent", "a"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ids(&ran.out), (0..2100).rev().map(|n| format!("r{n}")).collect::<Vec<_>>());
    assert_eq!(ran.out.lines().count(), 1);
    let asked = server.join().unwrap();
    let paths: Vec<&str> = asked.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
    let base = "/v1/audit/records?agent=a&limit=1000";
    assert_eq!(paths, [base.to_owned(), format!("{base}&before=1100"), format!("{base}&before=100")]);
}

#[test]
fn pages_of_several_logs_are_asked_for_as_the_page_before_says() {
    let dir = tempfile::tempdir().unwrap();
    let linked = "200 OK\r\nlink: <?agent=a&limit=1000&before=1%3A7%2C2%3A1100>; rel=\"next\"";
    let server = answering(dir.path(), &[(linked, &page(2099, 1100)), ("200 OK", &page(9, 0))]);
    let ran = mandate(dir.path(), &["audit", "query", "--json", "--agent", "a"], "");
    assert_eq!((ran.code, ids(&ran.out).len()), (0, 1010), "{}", ran.err);
    assert!(
        server.join().unwrap()[1]
            .starts_with("GET /v1/audit/records?agent=a&limit=1000&before=1%3A7%2C2%3A1100 ")
    );
}

#[test]
fn a_record_is_shown_with_the_log_that_it_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let record = RECORD.replacen('{', r#"{"origin":"log.example/1","index":7,"#, 1);
    let _server = answering(dir.path(), &[("200 OK", &record)]);
    let ran = mandate(dir.path(), &["audit", "show", "r1"], "");
    let shown: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        shown.contains(&vec!["Log:", "log.example/1"]) && shown.contains(&vec!["Index:", "7"]),
        "{}",
        ran.out
    );
}

#[test]
fn each_of_several_logs_that_verify_has_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = |origin: &str, size: u64| serde_json::json!({"origin": origin, "size": size, "root": "AAAA", "checkpoint": "c", "key": format!("{origin}+k")});
    let mut answer =
        serde_json::json!({"verified": true, "size": 9, "root": "AAAA", "checkpoint": "c", "key": "a+k"});
    let one = answer.to_string();
    answer["logs"] = serde_json::json!([log("a", 9), log("b", 3)]);
    let _server = answering(dir.path(), &[("200 OK", &one), ("200 OK", &answer.to_string())]);
    let ran = mandate(dir.path(), &["audit", "verify"], "");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "The audit log verifies: 9 records, root AAAA.\nkey: a+k\n")
    );
    let ran = mandate(dir.path(), &["audit", "verify"], "");
    let expected =
        "All 2 audit logs verify.\na: 9 records, root AAAA, key a+k\nb: 3 records, root AAAA, key b+k\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected));
}

#[test]
fn a_limit_beyond_a_page_is_met_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", &page(2099, 1100)), ("200 OK", &page(1099, 1000))]);
    let ran = mandate(dir.path(), &["audit", "query", "--json", "--limit", "1100"], "");
    assert_eq!((ran.code, ids(&ran.out).len()), (0, 1100), "{}", ran.err);
    assert!(server.join().unwrap()[1].starts_with("GET /v1/audit/records?limit=100&before=1100 "));
}

#[test]
fn a_failure_amid_the_pages_is_a_failure_and_leaves_nothing_that_parses() {
    let dir = tempfile::tempdir().unwrap();
    let _server = answering(dir.path(), &[("200 OK", &page(1999, 1000)), ("500 Internal Server Error", "")]);
    let ran = mandate(dir.path(), &["audit", "query", "--json"], "");
    assert_eq!(ran.code, 1);
    assert!(serde_json::from_str::<serde_json::Value>(&ran.out).is_err());
}

#[test]
fn a_table_of_the_newest_says_that_there_are_more() {
    let dir = tempfile::tempdir().unwrap();
    let _server =
        answering(dir.path(), &[("200 OK", &page(100, 0)), ("200 OK", &page(99, 0)), ("200 OK", "[]")]);
    let ran = mandate(dir.path(), &["audit", "query"], "");
    assert_eq!((ran.code, ran.out.lines().count()), (0, 101), "a header and a hundred");
    assert!(ran.err.contains("--limit") && ran.err.contains("--json"), "{}", ran.err);
    let ran = mandate(dir.path(), &["audit", "query"], "");
    assert_eq!((ran.code, ran.out.lines().count(), ran.err.as_str()), (0, 101, ""));
    let ran = mandate(dir.path(), &["audit", "query", "--json"], "");
    assert_eq!((ran.code, ran.out.as_str()), (0, "[]\n"));
}

const CHECKPOINT: &str =
    "log.example\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} log.example AAAAAAAB\n";

#[test]
fn a_checkpoint_is_printed_as_it_is_kept_and_asked_about_later() {
    let dir = tempfile::tempdir().unwrap();
    let answer =
        serde_json::json!({"size": 3, "root": "AAAA", "checkpoint": CHECKPOINT, "key": "k"}).to_string();
    let verified = |since: Option<u64>| {
        let mut answer =
            serde_json::json!({"verified": true, "size": 9, "root": "AAAA", "checkpoint": "c", "key": "k"});
        if let Some(since) = since {
            answer["since"] = since.into();
        }
        answer.to_string()
    };
    let (with, without) = (verified(Some(3)), verified(None));
    let answers = [
        ("200 OK", answer.as_str()),
        ("200 OK", &answer),
        ("200 OK", &with),
        ("200 OK", &with),
        ("200 OK", &without),
    ];
    let server = answering(dir.path(), &answers);
    let run = |arguments: &[&str]| mandate(dir.path(), &[&["audit"], arguments].concat(), "");
    let (kept, kept_json) = (dir.path().join("kept"), dir.path().join("kept.json"));
    let printed = run(&["checkpoint"]);
    assert_eq!((printed.code, printed.out.as_str()), (0, CHECKPOINT));
    fs::write(&kept, printed.out).unwrap();
    fs::write(&kept_json, run(&["checkpoint", "--json"]).out).unwrap();
    for file in [&kept, &kept_json] {
        let ran = run(&["verify", "--since", file.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.contains("continues the checkpoint of 3 records"), "{}", ran.out);
    }
    let ran = run(&["verify", "--since", kept.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "a server that did not look has not verified it");
    let asked = server.join().unwrap();
    let expected = "GET /v1/audit/verify?since=log.example%0A3%0AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D%0A%0A%E2%80%94+log.example+AAAAAAAB%0A ";
    assert!(asked[2].starts_with(expected), "{}", asked[2]);
    assert_eq!(asked[2], asked[3]);
    assert_eq!(run(&["verify", "--since", "/nonexistent"]).code, 2);
    let kept = kept.to_str().unwrap();
    for bad in ["{}", "", "not a checkpoint", r#"{"checkpoint":"c"}"#, CHECKPOINT.trim_end()] {
        fs::write(kept, bad).unwrap();
        for more in [&[][..], &["--offline", "/nonexistent"]] {
            let ran = run(&[&["verify", "--since", kept], more].concat());
            assert_eq!(ran.code, 2, "{bad:?} {more:?}");
            assert!(
                ran.err.contains(&format!("{kept} holds no checkpoint")),
                "{bad:?} {more:?}: {}",
                ran.err
            );
        }
    }
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
fn a_record_of_a_change_shows_who_made_it_and_what_it_was() {
    let record = r#"{"index":7,"id":"r7","time":"2026-11-24T00:00:00.000Z","kind":"registry","outcome":"permitted","reason":"ok","detail":"changed agent a (state)","sub":null,"act":null,"aud":null,"scope":"","jti":null,"by":"uid:0","touched":{"agents":["a","spiffe://acme.example/agent/a"]},"asked":{"scope":"x"}}"#;
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", &format!("[{record}]")), ("200 OK", record)]);
    let ran = mandate(
        dir.path(),
        &["audit", "query", "--agent", "a", "--kind", "registry", "--client", "c", "--grant", "g"],
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (heading, row) = ran.out.split_once('\n').unwrap();
    for title in ["BY", "DETAIL", "ASKED"] {
        assert!(heading.contains(title), "{heading}");
    }
    assert!(
        row.contains("uid:0") && row.contains("changed agent a (state)") && row.contains("scope=x"),
        "{row}"
    );
    let ran = mandate(dir.path(), &["audit", "show", "r7"], "");
    assert!(ran.out.contains("spiffe://acme.example/agent/a"), "{}", ran.out);
    let expected = "GET /v1/audit/records?agent=a&client=c&grant=g&kind=registry&";
    assert!(server.join().unwrap()[0].starts_with(expected));
}

#[test]
fn a_sum_of_strangers_refusals_says_from_where_how_many_and_when() {
    let record = r#"{"index":7,"id":"r7","time":"2026-11-24T00:05:00.000Z","kind":"token","outcome":"refused","reason":"client_authentication_failed","sub":null,"act":null,"aud":null,"scope":"","jti":null,"source":"2001:db8::/64","sum":{"count":1234,"first":"2026-11-24T00:00:00.000Z","last":"2026-11-24T00:04:00.000Z"}}"#;
    let dir = tempfile::tempdir().unwrap();
    let _server =
        answering(dir.path(), &[("200 OK", &format!("[{record}]")), ("200 OK", record), ("200 OK", record)]);
    let query = mandate(dir.path(), &["audit", "query", "--outcome", "refused"], "");
    let show = mandate(dir.path(), &["audit", "show", "r7"], "");
    for ran in [query, show] {
        for part in [
            "client_authentication_failed",
            "2001:db8::/64",
            "1234 refusals from 2026-11-24T00:00:00.000Z to 2026-11-24T00:04:00.000Z",
        ] {
            assert!(ran.out.contains(part), "{part}: {}", ran.out);
        }
    }
    let json: serde_json::Value =
        serde_json::from_str(&mandate(dir.path(), &["audit", "show", "r7", "--json"], "").out).unwrap();
    assert_eq!((&json["source"], &json["sum"]["count"]), (&"2001:db8::/64".into(), &1234.into()));
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
