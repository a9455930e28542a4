use std::fs;

use crate::admin_socket::{answering, body};
use crate::mandate;

const FILE: &str =
    "[[person]]\nname = \"riley\"\n\n[[agent]]\nname = \"a\"\nowner = \"rileh\"\npurpose = \"x\"\n";

#[test]
fn a_slip_in_the_file_is_shown_at_its_place_and_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("registry.toml");
    fs::write(&file, FILE.replace("purpose", "pupose")).unwrap();
    let ran = mandate(dir.path(), &["apply", "-f", file.to_str().unwrap()], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let expected = format!(
        "error: {}:7:1: unknown key `pupose`; did you mean `purpose`?; nothing was changed\n",
        file.display()
    );
    assert_eq!(ran.err, expected);
}

#[test]
fn what_the_server_finds_is_shown_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let problem = r#"{"type":"/problems/invalid_registry","title":"The registry file cannot be applied","status":422,"detail":"person `rileh` is not declared","code":"invalid_registry","errors":[{"pointer":"/agent/0/owner","detail":"person `rileh` is not declared; did you mean `riley`?"}]}"#;
    let _server = answering(dir.path(), &[("422 Unprocessable Entity", problem)]);
    let ran = mandate(dir.path(), &["apply", "-f", "-"], FILE);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(
        ran.err.contains("standard input:6:9: person `rileh` is not declared; did you mean `riley`?"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
}

#[test]
fn the_flags_reach_the_server_and_its_answer_the_reader() {
    let answer = r#"{"dry_run":true,"changes":[{"kind":"agent","name":"a","change":"created","fields":[]},{"kind":"grant","name":"g-1","change":"changed","fields":["scopes"]}],"unchanged":1,"notes":[],"recorded":"log"}"#;
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", answer), ("200 OK", answer)]);
    let ran = mandate(dir.path(), &["apply", "-f", "-", "--dry-run", "--prune"], FILE);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with("+ agent a\n~ grant g-1\n    scopes\n2 would change, 1 unchanged."),
        "{}",
        ran.out
    );
    let ran = mandate(dir.path(), &["--json", "apply", "-f", "-"], FILE);
    assert_eq!(ran.out.trim_end(), answer);
    let requests = server.join().unwrap();
    assert!(requests[0].starts_with("POST /v1/apply HTTP/1.1\r\n"));
    let (first, second) = (body(&requests[0]), body(&requests[1]));
    assert_eq!((&first["prune"], &first["dry_run"]), (&true.into(), &true.into()));
    assert_eq!((&second["prune"], &second["dry_run"]), (&false.into(), &false.into()));
    assert_eq!(first["entries"]["agent"][0]["owner"], "rileh");
}

#[test]
fn an_empty_file_prunes_nothing_unless_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &["apply", "-f", "-", "--prune"], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "no server was asked: {}", ran.err);
    assert!(
        ran.err.contains("standard input declares nothing") && ran.err.contains("--yes-remove-everything"),
        "{}",
        ran.err
    );
    let answer = r#"{"dry_run":false,"changes":[],"unchanged":0,"notes":[]}"#;
    let server = answering(dir.path(), &[("200 OK", answer), ("200 OK", answer)]);
    for flag in ["--dry-run", "--yes-remove-everything"] {
        let ran = mandate(dir.path(), &["apply", "-f", "-", "--prune", flag], "# nothing\n");
        assert_eq!(ran.code, 0, "{flag}: {}", ran.err);
    }
    assert!(server.join().unwrap().iter().all(|request| body(request)["prune"] == true));
    assert_eq!(
        mandate(dir.path(), &["apply", "-f", "-", "--yes-remove-everything"], "").code,
        2,
        "without --prune it says nothing"
    );
}

#[test]
fn the_file_may_be_named_without_the_option() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.toml");
    fs::write(&file, FILE).unwrap();
    let server =
        answering(dir.path(), &[("200 OK", r#"{"dry_run":false,"changes":[],"unchanged":2,"notes":[]}"#)]);
    let ran = mandate(dir.path(), &["apply", file.to_str().unwrap()], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(body(&server.join().unwrap()[0])["entries"]["agent"][0]["name"], "a");
    assert_eq!(mandate(dir.path(), &["apply"], "").code, 2);
    assert_eq!(mandate(dir.path(), &["apply", "a.toml", "-f", "b.toml"], "").code, 2);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = mandate(dir.path(), &["apply", "-f", "/nonexistent.toml"], "");
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains(" next: mandate apply -f FILE"), "{}", missing.err);
    let binary = dir.path().join("binary");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(mandate(dir.path(), &["apply", "-f", binary.to_str().unwrap()], "").code, 2);
}

#[test]
fn stopping_and_starting_sends_the_state_alone() {
    let changed = r#"{"dry_run":false,"changes":[{"kind":"agent","name":"a","change":"changed","fields":["state"]}],"unchanged":0,"notes":[]}"#;
    let acts: [(&[&str], &str, &str, &str); 4] = [
        (
            &["agent", "suspend", "a"],
            "/v1/agents/a/state",
            r#"{"state":"suspended"}"#,
            "a is now suspended.\n",
        ),
        (&["agent", "activate", "a"], "/v1/agents/a/state", r#"{"state":"active"}"#, "a is now active.\n"),
        (&["person", "disable", "a"], "/v1/people/a/state", r#"{"disabled":true}"#, "a is now disabled.\n"),
        (&["person", "enable", "a"], "/v1/people/a/state", r#"{"disabled":false}"#, "a is now enabled.\n"),
    ];
    for (arguments, path, sent, said) in acts {
        let dir = tempfile::tempdir().unwrap();
        let server = answering(dir.path(), &[("200 OK", changed)]);
        let ran = mandate(dir.path(), arguments, "");
        assert_eq!((ran.code, ran.out.as_str()), (0, said), "{}", ran.err);
        let request = &server.join().unwrap()[0];
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
        assert_eq!(body(request), serde_json::from_str::<serde_json::Value>(sent).unwrap());
    }
}

#[test]
fn an_authority_named_by_path_is_read_beside_the_file_and_sent() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("declared");
    fs::create_dir(&folder).unwrap();
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(folder.join("ca.pem"), pem).unwrap();
    let file = folder.join("registry.toml");
    let text = "[[issuer]]\nurl = \"https://login.acme.example\"\naudience = \"x\"\nca = \"ca.pem\"\n";
    fs::write(&file, text).unwrap();
    let server =
        answering(dir.path(), &[("200 OK", r#"{"dry_run":false,"changes":[],"unchanged":1,"notes":[]}"#)]);
    let ran = mandate(dir.path(), &["apply", "-f", file.to_str().unwrap()], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(body(&server.join().unwrap()[0])["entries"]["issuer"][0]["ca"], pem);

    fs::write(&file, text.replace("ca.pem", "other.pem")).unwrap();
    let ran = mandate(dir.path(), &["apply", "-f", file.to_str().unwrap()], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let place = format!("{}:4:6", file.display());
    assert!(
        ran.err.contains(&place)
            && ran.err.contains("other.pem")
            && ran.err.contains("https://login.acme.example"),
        "{}",
        ran.err
    );
}
