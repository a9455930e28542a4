//! `mandate svid fetch` at a real node.

use std::fs;

use mandate_testkit::app::{CRM, claims, registry};

use crate::processes::{Server, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_several_agents_is_told_all_of_them_and_gets_the_one_that_it_names() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let (file, own) = (root.path().join("registry.toml"), rustix::process::getuid().as_raw());
    // Its SPIFFE ID does not say its name: only the node knows both.
    let mailer = format!(
        "[[agent]]\nname = \"mailer\"\nspiffe_id = \"spiffe://acme.example/mail/7\"\nowner = \"riley\"\npurpose = \"Sends mail\"\nselectors = [\"unix:uid:{own}\"]\n"
    );
    fs::write(&file, format!("{}{mailer}", registry(CRM, own))).unwrap();
    let applied = run(&["apply", "-f", &file.to_string_lossy(), "--dir", &server.dir.to_string_lossy()]);
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let (_node, socket) = server.node(&root.path().join("node")).await;
    let socket = socket.to_string_lossy();
    let fetch =
        |more: &[&str]| run(&[&["svid", "fetch", "--socket", &socket, "--audience", CRM][..], more].concat());

    let unnamed = fetch(&[]);
    assert_eq!((unnamed.code, unnamed.out.as_str()), (Some(2), ""), "{}", unnamed.err);
    assert!(unnamed.err.contains("this process has 3 identities"), "{}", unnamed.err);
    for (name, path) in
        [("support-agent", "agent/support-agent"), ("ops-agent", "agent/ops-agent"), ("mailer", "mail/7")]
    {
        let id = format!("spiffe://acme.example/{path}");
        assert!(unnamed.err.contains(&format!("\n  --agent {name}   ({id})\n")), "{name}: {}", unnamed.err);
        for agent in [name, id.as_str()] {
            let ran = fetch(&["--agent", agent]);
            assert_eq!(ran.code, Some(0), "{agent}: {}", ran.err);
            assert_eq!(claims(ran.out.trim())["sub"], id, "{agent}");
        }
    }
    let other = fetch(&["--agent", "7"]);
    assert_eq!((other.code, other.out.as_str()), (Some(3), ""), "{}", other.err);
}
