//! The agents and APIs under `examples/`, as a newcomer runs them.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD};

use crate::node_program::NodeProgram;
use crate::python_program::PythonProgram;
use crate::scripts::Scripts;
use crate::server::{Process, Server};

/// The scripts of one language.
fn examples(scripts: Scripts, language: &str) -> Scripts {
    Scripts { folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(language), ..scripts }
}

/// An address that is free now.
fn free_url() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn registry(api: &str) -> String {
    let uid = rustix::process::getuid().as_raw();
    format!(
        r#"[[resource]]
name = "notes"
uri = "{api}"
scopes = ["read:notes", "write:notes"]
client = "notes-api"
[[person]]
name = "riley"
may = [{{ resource = "notes", scopes = ["read:notes", "write:notes"] }}]
[[agent]]
name = "note-taker"
owner = "riley"
purpose = "Reads notes"
selectors = ["unix:uid:{uid}"]
ceiling = [{{ resource = "notes", scopes = ["read:notes"] }}]
[[grant]]
person = "riley"
agent = "note-taker"
resource = "notes"
scopes = ["read:notes"]
[[client]]
id = "support-app"
redirect_uris = ["{CALLBACK}"]
[[client]]
id = "notes-api"
authentication = "client_secret_basic"
"#
    )
}

/// Runs a program to its end, as in a terminal where `mandate` is on the path and knows its socket.
fn run(command: &mut Command, socket: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_mandate")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = command
        .env("PATH", path)
        .env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out
}

fn agent_reads_what_it_may_and_a_revoked_person_writes_no_more(scripts: &Scripts, suffix: &str) {
    let own_url = free_url();
    let mut server = Server::start();
    server.run(&["apply", "-f", "-"], &registry(&own_url));
    server.run(&["person", "set-password", "riley"], PASSWORD);
    server.run(&["client", "set-secret", "notes-api"], CLIENT_SECRET);
    let secret = server.dir().join("api.secret");
    // As an editor of another system saves it.
    std::fs::write(&secret, format!("\u{feff}{CLIENT_SECRET}\r\n")).unwrap();
    let issuer = server.issuer().to_owned();
    let mut api = scripts
        .command(&format!("api.{suffix}"), &[&issuer, &own_url, "notes-api", secret.to_str().unwrap()]);
    let mut api = Process::start(&mut api).unwrap();
    assert_eq!(api.line(), format!("The API listens on {own_url}, for tokens of {issuer}.\n"));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let to_exchange = runtime.block_on(server.app().person_token("riley", None, None));
    let token_file = server.dir().join("person.token");
    std::fs::write(&token_file, format!("\u{feff}{to_exchange}\r\n")).unwrap();
    let socket = server.start_node();
    let mut agent =
        scripts.command(&format!("agent.{suffix}"), &[&issuer, &own_url, token_file.to_str().unwrap()]);
    let said = run(&mut agent, &socket);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["may read:notes", "read: 200 []"], "{said}");
    assert!(lines[2].starts_with("write: 403 ") && lines[2].contains("insufficient_scope"), "{said}");
    assert!(
        lines[3].starts_with("asked for more: 400 ") && lines[3].contains("scope_beyond_ceiling"),
        "{said}"
    );

    let hers = runtime.block_on(server.app().person_token("riley", Some(&own_url), None));
    #[expect(clippy::disallowed_methods, reason = "no_proxy comes first")]
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let write = |token: &str| {
        let sent = http.post(format!("{own_url}/notes/new")).bearer_auth(token).body("hers").send();
        let response = runtime.block_on(sent).unwrap();
        let challenge = response
            .headers()
            .get("www-authenticate")
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        (response.status().as_u16(), challenge, runtime.block_on(response.text()).unwrap())
    };
    let (status, _, note) = write(&hers);
    assert_eq!(status, 200, "{note}");
    assert!(note.contains("\"hers\""), "{note}");
    // A token for the issuer opens nothing here, no matter which scopes it has.
    for bad in [&to_exchange[..], "abc.def.ghi", ""] {
        let (status, challenge, _) = write(bad);
        assert_eq!(status, 401, "{bad}");
        assert!(challenge.contains("/.well-known/oauth-protected-resource\""), "{challenge}");
    }
    server.run(&["revoke", "person", "riley"], "");
    let (status, challenge, text) = write(&hers);
    assert_eq!(status, 401, "{text}");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[test]
fn the_examples_in_python_work_as_they_are_printed() {
    let Some(python) = PythonProgram::find() else { return };
    agent_reads_what_it_may_and_a_revoked_person_writes_no_more(&examples(python, "python"), "py");
}

#[test]
fn the_examples_in_javascript_work_as_they_are_printed() {
    let Some(node) = NodeProgram::find() else { return };
    let node = examples(node, "javascript");
    if !node.folder.join("node_modules").is_dir() {
        return mandate_testkit::skipped(
            "run `npm ci` in examples/javascript first; `cargo xtask interop` does",
        );
    }
    agent_reads_what_it_may_and_a_revoked_person_writes_no_more(&node, "mjs");
}
