//! TLS with a given certificate, and with its successor.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mandate_testkit::app::App;

use crate::processes::{Role, run};

/// A certificate for 127.0.0.1 that nobody else has; its PEM, and the same written where `serve` reads it.
fn certificate(dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

/// A client that trusts this certificate and no other, with no connection from before.
fn client(issuer: &str, pem: &str) -> App {
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([root]).https_only(true).no_proxy().build().unwrap();
    App { http, issuer: issuer.to_owned() }
}

async fn answers(issuer: &str, pem: &str) -> bool {
    let url = format!("{issuer}/.well-known/oauth-authorization-server");
    match client(issuer, pem).http.get(url).send().await {
        Ok(response) => response.text().await.unwrap().contains(&format!("\"issuer\":\"{issuer}\"")),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_the_given_certificate_and_the_one_that_replaces_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let file = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let first = certificate(root.path());
    let loopback = "127.0.0.1:0";
    let dir_text = dir.to_string_lossy();
    let arguments = [
        "serve",
        "--dir",
        &dir_text,
        "--listen",
        loopback,
        "--node-listen",
        loopback,
        "--admin-listen",
        loopback,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let role = Role::start(&dir, &arguments, "");
    let issuer = role.text("issuer");
    assert!(issuer.starts_with("https://127.0.0.1:"), "{issuer}");
    assert!(answers(&issuer, &first).await);
    assert!(role.text("admin_url").starts_with("https://"), "the admin API too");
    let plain = App::new(&issuer.replace("https:", "http:"));
    assert!(plain.http.get(format!("{}/jwks.json", plain.issuer)).send().await.is_err(), "no plain HTTP beside it");

    // Half of a pair is a moment that every renewal goes through: the old pair stays.
    fs::write(&cert, "not a certificate").unwrap();
    let second = certificate(root.path());
    assert!(!answers(&issuer, &second).await || !answers(&issuer, &first).await);
    let reloaded = tokio::time::timeout(Duration::from_secs(20), async {
        while !answers(&issuer, &second).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    reloaded.await.expect("the new certificate is not in use");
    assert!(!answers(&issuer, &first).await, "the old one is no longer shown");
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (dir, cert, key) = (file("server"), file("cert.pem"), file("key.pem"));
    let serve = |cert: &str, key: &str| run(&["serve", "--dir", &dir, "--tls-cert", cert, "--tls-key", key]);
    certificate(root.path());
    let other = fs::read_to_string(&key).unwrap();
    certificate(root.path());

    let ran = serve(&file("missing.pem"), &key);
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("missing.pem"), "{}", ran.err);
    let ran = serve(&key, &key);
    assert!(ran.err.contains("no PEM certificate"), "{}", ran.err);
    fs::write(&key, other).unwrap();
    let ran = serve(&cert, &key);
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("do not belong together"), "{}", ran.err);
    assert!(!ran.err.contains("BEGIN"), "no key material in an error");
}
