use crate::admin_socket::{answering, body};
use crate::{mandate, mandate_with};

#[test]
fn a_password_is_one_line_of_standard_input_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("204 No Content", "")]);
    let ran =
        mandate(dir.path(), &["person", "set-password", "riley"], "correct horse battery\nsecond line\n");
    assert_eq!((ran.code, ran.out.as_str()), (0, "The password of riley is set.\n"), "{}", ran.err);
    assert!(!ran.err.contains("horse"));
    let request = &server.join().unwrap()[0];
    assert!(request.starts_with("POST /v1/people/riley/password HTTP/1.1\r\n"), "{request}");
    assert_eq!(body(request)["password"], "correct horse battery");
}

#[test]
fn an_empty_password_and_one_as_an_argument_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &["person", "set-password", "riley"], "");
    assert_eq!((ran.code, ran.err.as_str()), (2, "error: the password is empty\n"));
    let ran = mandate(dir.path(), &["person", "set-password", "riley", "hunter2"], "");
    assert_eq!(ran.code, 2);
    assert_eq!(mandate(dir.path(), &["person", "set-password", "Riley O'Neil"], "x\n").code, 2);
}

#[test]
fn a_clients_secret_goes_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("204 No Content", "")]);
    let ran = mandate(dir.path(), &["client", "set-secret", "https://app.example/x", "--json"], "s3cret\n");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "{\"set\":true,\"name\":\"https://app.example/x\"}\n"),
        "{}",
        ran.err
    );
    let request = &server.join().unwrap()[0];
    assert!(
        request.starts_with("POST /v1/clients/https%3A%2F%2Fapp.example%2Fx/secret HTTP/1.1\r\n"),
        "{request}"
    );
}

#[test]
fn a_join_token_is_the_only_thing_on_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let answer = r#"{"token":"abc.def","expires_at":"2026-11-24T00:10:00.000Z"}"#;
    let server = answering(dir.path(), &[("200 OK", answer), ("200 OK", answer)]);
    let ran = mandate(dir.path(), &["node", "join-token", "--ttl", "5m"], "");
    assert_eq!((ran.code, ran.out.as_str()), (0, "abc.def\n"));
    assert!(ran.err.contains("one node, once"), "{}", ran.err);
    let ran = mandate(dir.path(), &["node", "join-token", "--json"], "");
    assert_eq!((ran.out.trim_end(), ran.err.as_str()), (answer, ""));
    assert_eq!(body(&server.join().unwrap()[0])["ttl"], "5m");
}

#[test]
fn a_node_does_not_start_on_a_join_token_that_cannot_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = ["node", "run", "--server", "127.0.0.1:1", "--join-token-file"];
    let ran = mandate(dir.path(), &[&run[..], &["/nonexistent"]].concat(), "");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("join token") && ran.err.contains("/nonexistent"), "{}", ran.err);
    let ran = mandate(dir.path(), &[&run[..], &["-"]].concat(), "s3cret-that-is-none\n");
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(!ran.err.contains("s3cret"), "{}", ran.err);
}

#[test]
fn an_access_token_is_read_from_its_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "abc.def.ghi\n").unwrap();
    let environment =
        [("MANDATE_ADMIN_URL", "http://127.0.0.1:1"), ("MANDATE_ADMIN_TOKEN_FILE", file.to_str().unwrap())];
    let ran = mandate_with(dir.path(), &["status"], "", &environment);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("127.0.0.1:1") && !ran.err.contains("abc.def"), "{}", ran.err);
    let ran = mandate(
        dir.path(),
        &["status", "--admin-url", "http://mandate.example", "--admin-token-file", "token"],
        "",
    );
    assert_eq!(ran.code, 2, "a token does not cross a network in clear");
}

#[test]
fn with_json_a_warning_is_a_json_line_and_without_it_a_sentence() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "abc.def.ghi\n").unwrap();
    for (path, mode) in [(dir.path(), 0o755), (file.as_path(), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let status =
        ["status", "--admin-url", "http://127.0.0.1:1", "--admin-token-file", file.to_str().unwrap()];
    let ran = mandate(dir.path(), &status, "");
    assert!(ran.err.starts_with("warning: the access token is a secret; "), "{}", ran.err);
    let ran = mandate(dir.path(), &[&status[..], &["--json"]].concat(), "");
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
    let lines: Vec<serde_json::Value> =
        ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [warning, error] = &lines[..] else { panic!("{}", ran.err) };
    assert!(warning["warning"].as_str().unwrap().starts_with("the access token is a secret; "), "{warning}");
    assert_eq!(error["error"]["kind"], "unreachable", "{error}");
}

#[test]
fn with_json_a_note_is_a_json_line() {
    let dir = tempfile::tempdir().unwrap();
    let answer = r#"{"dry_run":false,"changes":[],"unchanged":1,"notes":[],"recorded":"reserve"}"#;
    let _server = answering(dir.path(), &[("200 OK", answer)]);
    let ran = mandate(dir.path(), &["apply", "-f", "-", "--json"], "[[person]]\nname = \"x\"\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let note: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert!(note["note"].as_str().unwrap().starts_with("it is in force. "), "{note}");
}
