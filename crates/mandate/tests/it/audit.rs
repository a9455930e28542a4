//! `mandate audit`: what it asks the server for, and what it prints.

mod bundles;

use std::fs;

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
