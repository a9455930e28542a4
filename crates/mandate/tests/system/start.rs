//! Starting, starting again, and what is refused to start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::processes::{Server, run};

#[test]
fn plain_http_is_refused_where_others_could_listen() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let dir = dir.to_string_lossy();
    for flag in ["--listen", "--admin-listen"] {
        let ran = run(&["serve", "--dir", &dir, flag, "0.0.0.0:0"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{flag}");
        for part in ["0.0.0.0:0", "--tls-cert", "--tls-key", "--behind-tls-proxy"] {
            assert!(ran.err.contains(part), "{flag}: {}", ran.err);
        }
    }
    assert!(!root.path().join("server").exists(), "nothing was made");
    let ran = run(&["serve", "--dir", &dir, "--issuer", "http://mandate.example"]);
    assert_eq!(ran.code, Some(2), "an issuer that clients would reach in clear");
}

#[test]
fn a_directory_keeps_its_issuer_and_ports_and_gives_them_to_no_other() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let mut server = Server::start(&dir);
    let first = server.role.ready.clone();
    let text = dir.to_string_lossy().into_owned();

    let second = run(&["serve", "--dir", &text]);
    assert_eq!((second.code, second.out.as_str()), (Some(1), ""));
    assert!(second.err.contains("another") && second.err.contains(&text), "{}", second.err);
    assert!(server.role.is_running(), "the first does not notice");

    server.role.kill();
    assert!(dir.join("admin.sock").exists(), "a killed server leaves its socket");
    let server = Server::start(&dir);
    assert_eq!(server.role.ready, first, "issuer, ports and socket are the same");
    assert_eq!(server.role.terminate(), Some(0), "SIGTERM shuts it down cleanly");
    assert!(!dir.join("admin.sock").exists());

    for (flag, value) in [("--issuer", "https://other.example"), ("--trust-domain", "other.example")] {
        let ran = run(&["serve", "--dir", &text, flag, value]);
        assert_eq!(ran.code, Some(2), "{flag}: {}", ran.err);
        assert!(ran.err.contains(flag) && ran.err.contains("belongs to"), "{}", ran.err);
    }
    let server = Server::start(&dir);
    assert_eq!(server.role.ready, first, "the refused starts changed nothing");
}

#[test]
fn what_is_secret_is_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let server = Server::start(&dir);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in ["seal.key", "serve.json", "admin.sock"] {
        assert_eq!(mode(&dir.join(file)) & 0o077, 0, "{file}");
    }
    assert!(server.role.log().lines().all(|line| !line.contains("PRIVATE KEY")));
}

#[test]
fn damaged_files_are_named_and_nothing_is_made_up_in_their_place() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let text = dir.to_string_lossy().into_owned();
    assert_eq!(Server::start(&dir).role.terminate(), Some(0));

    let settings = fs::read(dir.join("serve.json")).unwrap();
    fs::write(dir.join("serve.json"), "{").unwrap();
    let ran = run(&["serve", "--dir", &text]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("serve.json") && ran.err.contains("backup"), "{}", ran.err);
    fs::write(dir.join("serve.json"), &settings).unwrap();

    let seal = fs::read(dir.join("seal.key")).unwrap();
    fs::remove_file(dir.join("seal.key")).unwrap();
    let ran = run(&["serve", "--dir", &text]);
    assert_eq!(ran.code, Some(1), "keys that cannot be unsealed are no reason to make others: {}", ran.err);
    assert!(ran.err.contains("seal"), "{}", ran.err);
    fs::write(dir.join("seal.key"), &seal).unwrap();
    fs::set_permissions(dir.join("seal.key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Server::start(&dir).role.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_log_says_what_it_saw_of_a_process_that_is_no_agent_and_what_agents_want() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let file = root.path().join("registry.toml");
    let own = rustix::process::getuid().as_raw();
    let agent = format!(
        "person = [{{ name = \"riley\" }}]\nagent = [{{ name = \"other\", owner = \"riley\", purpose = \"Is another program\", selectors = [\"unix:uid:{own}\", \"unix:path:/opt/other/agent\"] }}]\n"
    );
    fs::write(&file, agent).unwrap();
    let applied = run(&["apply", "-f", &file.to_string_lossy(), "--dir", &server.dir.to_string_lossy()]);
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let (node, socket) = server.node(&root.path().join("node")).await;
    let ran = run(&[
        "svid",
        "fetch",
        "--socket",
        &socket.to_string_lossy(),
        "--audience",
        "https://crm.acme.example",
    ]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    let log = node.log();
    let seen = [
        format!("unix:uid:{own}"),
        format!("unix:path:{}", fs::canonicalize(env!("CARGO_BIN_EXE_mandate")).unwrap().display()),
    ];
    for part in seen
        .iter()
        .map(String::as_str)
        .chain(["/agent/other also wants unix:path:/opt/other/agent", "the `mandate` command"])
    {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_log_says_when_it_starts_and_when_it_stops() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let (node, _) = server.node(&root.path().join("node")).await;
    let (id, socket, file) = (node.text("spiffe_id"), node.text("socket"), node.log.clone());
    let line = |says: &str| -> Value {
        let log = fs::read_to_string(&file).unwrap();
        let line = log.lines().find(|line| line.contains(says)).unwrap_or_else(|| panic!("{says}: {log}"));
        serde_json::from_str(line).unwrap()
    };
    let started = line("the node has started");
    assert_eq!((&started["level"], &started["spiffe_id"]), (&"INFO".into(), &id.into()), "{started}");
    assert_eq!(
        (&started["socket"], &started["version"]),
        (&socket.into(), &env!("CARGO_PKG_VERSION").into()),
        "{started}"
    );
    assert_eq!(node.terminate(), Some(0));
    assert_eq!(line("the node has stopped")["level"], "INFO");
}
