//! A server with few files, and strangers who want all of them: operators, nodes and known clients get in.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mandate_api::admin::ClientSecretRequest;
use mandate_testkit::app::{CLIENT_SECRET, form};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::processes::{MANDATE, Server, ran, run};

/// How many files the server may have open: what shells usually allow.
const FILES: usize = 1024;

/// More than the server may have.
const CROWD: usize = 1100;

/// This process holds the other ends of more connections than a shell usually allows.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// Connections that send `bytes` and then nothing, and read nothing. Those that the server ends count as
/// well.
fn crowd(address: &str, bytes: &str) -> Vec<TcpStream> {
    use std::io::Write as _;
    let mut all = Vec::new();
    for _ in 0..CROWD {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        let _ = stream.write_all(bytes.as_bytes());
        all.push(stream);
    }
    assert!(all.len() > FILES, "the crowd did not come together: {}", all.len());
    all
}

async fn a_known_client_gets_in(server: &Server, what: &str) {
    // A new connection each time, as a client makes that has just started.
    let app = mandate_testkit::app::App::new(&server.app.issuer);
    let asked = app
        .http
        .post(format!("{}/introspect", app.issuer))
        .basic_auth("desk-app", Some(percent(CLIENT_SECRET)));
    let answer =
        tokio::time::timeout(Duration::from_secs(10), asked.form(&form(&[("token", "x")])).send()).await;
    let status = answer
        .unwrap_or_else(|_| panic!("{what}: no answer"))
        .unwrap_or_else(|error| panic!("{what}: {error}"))
        .status();
    assert_eq!(status, 200, "{what}");
}

pub(crate) fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn an_operator_gets_in(dir: &Path, what: &str) {
    let dir = dir.to_string_lossy();
    for command in ["suspend", "activate"] {
        let ran = run(&["agent", command, "support-agent", "--dir", &dir]);
        assert_eq!(ran.code, Some(0), "{what}: {}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_hold_every_connection_they_can_get_keep_nobody_out() {
    allow_many_files();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(&root.path().join("server"), FILES);
    server.tell_the_story().await;
    server
        .admin
        .set_client_secret("desk-app", &ClientSecretRequest { secret: CLIENT_SECRET.to_owned() })
        .await
        .unwrap();
    let issuer = server.role.text("issuer");
    let public = address(&issuer).to_owned();
    let feed = format!("GET /revocations HTTP/1.1\r\nhost: {public}\r\n\r\n");
    let (admin, nodes) = (server.role.text("admin_url"), server.role.text("node_server"));
    let mut crowds = Vec::new();
    for (what, address, bytes) in [
        ("feed readers", public.as_str(), feed.as_str()),
        ("slow heads", &public, "GET / HT"),
        (
            "slow bodies",
            &public,
            &format!("POST /token HTTP/1.1\r\nhost: {public}\r\ncontent-length: 100\r\n\r\ngrant"),
        ),
        ("the admin listener", address(&admin), "GET /"),
        ("the nodes' listener", &nodes, ""),
        ("half a handshake", &nodes, "\x16\x03\x01\x02\x00\x01"),
    ] {
        crowds.push(crowd(address, bytes));
        a_known_client_gets_in(&server, what).await;
        an_operator_gets_in(&server.dir, what);
    }
    let joined = root.path().join("node");
    let (node, _socket) = server.node(&joined).await;
    drop(node);
    assert!(!server.role.log().contains("Too many open files"), "{}", server.role.log());
    drop(crowds);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_own_forgotten_connections_do_not_keep_the_operator_out() {
    allow_many_files();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(&root.path().join("server"), FILES);
    server.tell_the_story().await;
    let socket = server.role.text("admin_socket");
    let forgotten: Vec<_> = (0..CROWD).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    assert!(forgotten.len() > 500, "{}", forgotten.len());
    an_operator_gets_in(&server.dir, "idle connections of the socket");
}

#[test]
fn a_server_that_may_have_too_few_files_does_not_start_and_says_how_many_it_needs() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let program = format!("ulimit -n 200; exec {MANDATE} serve --dir {}", dir.display());
    let ran = ran(Command::new("sh").args(["-c", &program]).env_remove("MANDATE_DIR"));
    assert!(ran.code.is_some_and(|code| code != 0), "it started: {}", ran.err);
    assert!(ran.err.contains("384") && ran.err.contains("ulimit -n"), "{}", ran.err);
    assert!(!dir.exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_have_as_many_files_open_as_its_machine_lets_it() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let (node, _socket) = server
        .node_as(&root.path().join("node"), |arguments| {
            let mut command = Command::new("sh");
            command
                .args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh", MANDATE])
                .args(arguments)
                .env_remove("MANDATE_DIR");
            command
        })
        .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid().as_raw_nonzero())).unwrap();
    let of_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard, ..] = of_files.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{of_files}") };
    assert!(soft == hard && soft != "256", "{of_files}");
}
