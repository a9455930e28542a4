//! SIGHUP: `serve` reads its certificate again, a node does nothing; neither ends, and both say in the log
//! what they did.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use mandate_testkit::app::fetch_svid;
use rustix::process::Signal;

use crate::processes::{Role, Server};
use crate::tls::{answers, certificate, serve};

/// Ends in good order when it is asked to, which a hangup did not.
fn ends_by_sigterm_alone(mut role: Role) {
    assert!(role.is_running(), "{}", role.log());
    let log = role.log.clone();
    assert_eq!(role.terminate(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("SIGTERM") && log.contains("stopped"), "{log}");
}

/// Gives both files the time of change that they had.
fn looks_unchanged(dir: &Path, at: std::time::SystemTime) {
    for name in ["cert.pem", "key.pem"] {
        File::options().append(true).open(dir.join(name)).unwrap().set_modified(at).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_makes_the_server_read_its_certificate_again_and_ends_nothing() {
    let root = tempfile::tempdir().unwrap();
    let first = certificate(root.path());
    let written = std::fs::metadata(root.path().join("cert.pem")).unwrap().modified().unwrap();
    looks_unchanged(root.path(), written);
    let role = serve(&[], root.path());
    let issuer = role.text("issuer");
    assert!(answers(&issuer, &first).await);
    // Files that look as before are not read by themselves: what follows is the hangup's work.
    let second = certificate(root.path());
    looks_unchanged(root.path(), written);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(answers(&issuer, &first).await);
    role.signal(Signal::HUP);
    role.says("SIGHUP: the TLS certificate is read again");
    role.says("the TLS certificate was read again and is in use");
    assert!(answers(&issuer, &second).await && !answers(&issuer, &first).await);
    ends_by_sigterm_alone(role);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_with_a_certificate_that_cannot_be_used_leaves_the_old_one_in_use() {
    let root = tempfile::tempdir().unwrap();
    let pem = certificate(root.path());
    let role = serve(&[], root.path());
    std::fs::write(root.path().join("cert.pem"), "not a certificate").unwrap();
    role.signal(Signal::HUP);
    role.says("the changed TLS certificate cannot be used; the old one stays in use");
    assert!(answers(&role.text("issuer"), &pem).await);
    ends_by_sigterm_alone(role);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_does_nothing_to_a_server_without_a_certificate_and_to_a_node_and_they_say_so() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let (node, socket) = server.node(&root.path().join("node")).await;
    for _ in 0..2 {
        server.role.signal(Signal::HUP);
        node.signal(Signal::HUP);
    }
    server.role.says("SIGHUP: there is no certificate to read again; the server goes on. SIGTERM ends it");
    node.says("SIGHUP: a node has no files to read again, so it continues. SIGTERM ends it");
    let id = "spiffe://acme.example/agent/support-agent";
    assert!(fetch_svid(&socket, id, &server.app.issuer).await.is_ok(), "both work as before");
    ends_by_sigterm_alone(node);
    ends_by_sigterm_alone(server.role);
}
