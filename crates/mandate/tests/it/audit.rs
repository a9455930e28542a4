use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::admin_socket::answering;
use crate::mandate;

const RECORD: &str = r#"{"id":"r1","time":"2026-11-24T00:00:00.000Z","kind":"exchange","outcome":"refused","reason":"scope_exceeds_ceiling","sub":"riley","sub_iss":"https://m.example","act":{"sub":"spiffe://acme.example/agent/b","iss":"https://m.example","act":{"sub":"spiffe://acme.example/agent/a","iss":"https://m.example"}},"aud":"http://127.0.0.1:9100","scope":"","jti":null,"policies":[]}"#;

#[test]
fn a_query_carries_every_filter_and_shows_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", &format!("[{RECORD}]"))]);
    let arguments = ["audit", "query", "--agent", "support-agent", "--person", "riley", "--resource", "crm", "--jti", "j1"];
    let more = ["--since", "2026-11-24T00:00:00Z", "--until", "2026-11-25T00:00:00Z", "--outcome", "refused", "--limit", "7"];
    let ran = mandate(dir.path(), &[&arguments[..], &more].concat(), "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let request = &server.join().unwrap()[0];
    let expected = "GET /v1/audit/records?agent=support-agent&person=riley&resource=crm&jti=j1&since=2026-11-24T00%3A00%3A00.000Z&until=2026-11-25T00%3A00%3A00.000Z&outcome=refused&limit=7 HTTP/1.1\r\n";
    assert!(request.starts_with(expected), "{request}");
    let row = ran.out.lines().nth(1).unwrap();
    for part in ["refused", "scope_exceeds_ceiling", "riley", "spiffe://acme.example/agent/b ← spiffe://acme.example/agent/a", "r1"] {
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
    for bad in [["--since", "yesterday"], ["--outcome", "maybe"], ["--limit", "-1"], ["--jti", "a b"]] {
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
        let ran = mandate(dir.path(), &["audit", "verify", "--offline", file.to_str().unwrap(), "--json"], "");
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{text}: {}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}

#[test]
fn one_record_is_shown_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", RECORD)]);
    let ran = mandate(dir.path(), &["audit", "show", "r1"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("scope_exceeds_ceiling") && ran.out.contains("https://m.example"), "{}", ran.out);
    assert!(server.join().unwrap()[0].starts_with("GET /v1/audit/records/r1 "));
}
