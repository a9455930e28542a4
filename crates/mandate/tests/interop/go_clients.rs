//! `go-oidc` and `golang.org/x/oauth2`: a client and a resource server in Go.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD};
use serde_json::json;

use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::server::Server;

#[test]
fn go_oidc_finds_the_issuer_and_verifies_the_tokens_of_every_grant_that_oauth2_drives() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/go-clients/go-clients");
    if !program.is_file() {
        mandate_testkit::skipped(
            "there is no target/go-clients; `cargo xtask interop` builds it if there is Go",
        );
        return;
    }
    let mut server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let socket = server.start_node();
    let (svid, spiffe_id) = server.svid(&socket);
    let world = json!({
        "issuer": server.issuer(),
        "resource": CRM,
        "scope": SCOPE,
        "redirect_uri": CALLBACK,
        "secret": CLIENT_SECRET,
        "person": { "name": "riley", "password": PASSWORD },
        "agent": { "svid": svid, "spiffe_id": spiffe_id },
    });
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stderr(Stdio::piped()).env_clear().spawn().unwrap();
    write!(child.stdin.take().unwrap(), "{world}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
