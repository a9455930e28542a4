//! A first start that fails or is interrupted decides nothing permanently; a lost database is not replaced by
//! an empty one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mandate_testkit::database::OF_FILES;
use mandate_testkit::postgres::Cluster;
use mandate_testkit::skipped;

use crate::processes::{Ran, Role, Server, keeps_files, run, run_in};

fn certificate(dir: &Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&cert, made.cert.pem()).unwrap();
    (cert, key)
}

#[test]
fn a_start_whose_certificate_cannot_be_used_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let text = dir.to_string_lossy();
    let ran = run(&[
        "serve",
        "--dir",
        &text,
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "nosuch.pem",
        "--tls-key",
        "nosuch.pem",
    ]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("nosuch.pem"), "{}", ran.err);
    assert!(!dir.exists());
    let server = Server::start(&dir);
    assert!(server.role.text("issuer").starts_with("http://127.0.0.1:"));
}

#[test]
fn a_directory_of_an_https_issuer_is_not_served_in_clear() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let text = dir.to_string_lossy().into_owned();
    let (cert, key) = certificate(root.path());
    let loopback =
        ["--listen", "127.0.0.1:0", "--node-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let plain = [&["serve", "--dir", &text][..], &loopback].concat();
    let tls = [&plain[..], &["--tls-cert", &cert, "--tls-key", &key]].concat();
    let first = Role::start(&dir, &tls, "");
    let issuer = first.text("issuer");
    assert!(issuer.starts_with("https://127.0.0.1:"));
    assert_eq!(first.terminate(), Some(0));
    let ran = run(&plain);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(
        ran.err.contains(&issuer) && ran.err.contains("--tls-cert") && ran.err.contains("--behind-tls-proxy"),
        "{}",
        ran.err
    );
    let again = Role::start(&dir, &tls, "");
    assert_eq!(again.text("issuer"), issuer);
}

#[test]
fn an_issuer_is_not_made_from_an_address_that_stands_for_all() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let (cert, key) = certificate(root.path());
    let ran = run(&[
        "serve",
        "--dir",
        &dir.to_string_lossy(),
        "--listen",
        "0.0.0.0:0",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("--issuer"), "{}", ran.err);
    assert!(!dir.exists());
}

#[test]
fn a_database_that_is_gone_is_missed_and_not_made_again() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let text = dir.to_string_lossy().into_owned();
    assert_eq!(Server::start(&dir).role.terminate(), Some(0));
    let kept = root.path().join("kept");
    fs::create_dir(&kept).unwrap();
    for file in ["mandate.db", "seal.key"] {
        fs::rename(dir.join(file), kept.join(file)).unwrap();
        let ran = run(&["serve", "--dir", &text]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{file}: {}", ran.err);
        assert!(ran.err.contains("mandate.db") && ran.err.contains("backup"), "{}", ran.err);
        assert!(!dir.join("mandate.db").exists());
    }
    // Without what the server remembers, the sealing key alone says that there was one.
    fs::rename(dir.join("serve.json"), kept.join("serve.json")).unwrap();
    fs::rename(kept.join("seal.key"), dir.join("seal.key")).unwrap();
    let ran = run(&["serve", "--dir", &text]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("mandate.db") && ran.err.contains("backup"), "{}", ran.err);
    for file in ["mandate.db", "serve.json"] {
        fs::rename(kept.join(file), dir.join(file)).unwrap();
    }
    Server::start(&dir).verify_the_log();
}

#[test]
fn a_first_start_that_is_killed_at_any_moment_is_made_good_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..12u64 {
        let dir = root.path().join(format!("server{round}"));
        let text = dir.to_string_lossy().into_owned();
        let first = ["serve", "--dir", &text, "--trust-domain", "acme.example", "--listen", "127.0.0.1:0"];
        Role::kill_after(&first, Duration::from_millis(round * 4));
        let server = Server::start(&dir);
        server.verify_the_log();
        assert_eq!(server.role.terminate(), Some(0));
    }
}

#[test]
fn a_postgresql_database_of_another_issuer_is_refused_and_gets_nothing() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let (database, root) = (cluster.create_database(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (root.path().join("ours"), root.path().join("theirs"));
    let store = [("MANDATE_STORE", cluster.url(&database))];
    let server = Server::start_in(&store, &ours);
    let first = server.role.ready.clone();
    assert_eq!(server.role.terminate(), Some(0));
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(ours.join("seal.key"), theirs.join("seal.key")).unwrap();
    // Who used the database last is written by each start; that is not part of what a server keeps there.
    let content = || {
        let dump = String::from_utf8(cluster.dump(&database)).unwrap();
        let lines = dump.lines().filter(|line| !line.contains("restrict ") && !line.starts_with("server\t"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let before = content();
    let at = theirs.to_string_lossy();
    let serve = |more: &[&str]| run_in(&store, &[&["serve", "--dir", &at], more].concat());
    let refuses = |ran: &Ran, says: &str| {
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
        assert!(content() == before, "nothing is written to the database");
    };
    for (option, value, says) in [
        ("--issuer", "http://127.0.0.1:1", "not http://127.0.0.1:1"),
        ("--trust-domain", "other.example", "belongs to trust domain acme.example, not other.example"),
    ] {
        refuses(&serve(&[option, value]), says);
        assert!(!theirs.join("serve.json").exists(), "nor to the directory");
    }
    // The directory of a server that has another issuer.
    let issuer = first["issuer"].as_str().unwrap();
    let remembered = fs::read_to_string(ours.join("serve.json")).unwrap();
    let others = remembered.replace(issuer, "http://127.0.0.1:1");
    assert_ne!(others, remembered);
    fs::write(theirs.join("serve.json"), &others).unwrap();
    let ran = serve(&[]);
    refuses(&ran, "serve.json names the issuer http://127.0.0.1:1");
    assert!(ran.err.contains(&format!("is of {issuer}")), "{}", ran.err);
    assert_eq!(fs::read_to_string(theirs.join("serve.json")).unwrap(), others);
    let server = Server::start_in(&store, &ours);
    assert_eq!(server.role.ready, first);
    server.verify_the_log();
}
