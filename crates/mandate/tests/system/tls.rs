//! TLS with a given certificate, and with its successor.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mandate_api::admin::{ApplyRequest, PasswordRequest};
use mandate_api::{AdminClient, Endpoint, registry_file};
use mandate_testkit::app::{App, CRM, PASSWORD, registry};

use crate::login::Login;
use crate::processes::{Role, run};

/// A certificate for 127.0.0.1 that nobody else has; its PEM, and the same written where `serve` reads it.
fn certificate(dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = dir.join("key.pem");
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

/// A client that trusts this certificate and no other, with no connection from before.
fn client(issuer: &str, pem: &str) -> App {
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
    let http = reqwest::Client::builder()
        .tls_certs_only([root])
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn each_hint_on_the_way_to_the_admin_api_can_be_followed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let file = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (cert, key, token) = (file("cert.pem"), file("key.pem"), file("admin.token"));
    let pem = certificate(root.path());
    let loopback = "127.0.0.1:0";
    let dir_text = dir.to_string_lossy();
    let listen = ["--listen", loopback, "--node-listen", loopback, "--admin-listen", loopback];
    let role = Role::start(&dir, &[&["serve", "--dir", &dir_text, "--tls-cert", &cert, "--tls-key", &key][..], &listen].concat(), "");
    let (issuer, admin_url) = (role.text("issuer"), role.text("admin_url"));
    assert!(admin_url.starts_with("https://127.0.0.1:"), "the certificate is valid for the address: {admin_url}");
    let admin = AdminClient::new(Endpoint::Socket(role.text("admin_socket").into()));
    let entries = registry_file::parse(&registry(CRM, rustix::process::getuid().as_raw())).unwrap();
    admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
    admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();

    fs::write(&token, "eyJhbGciOiJub25lIn0.e30.").unwrap();
    let status = |url: &str, more: &[&str]| run(&[&["status", "--admin-url", url, "--admin-token-file", &token][..], more].concat());
    let unknown = status(&admin_url, &[]);
    assert!(unknown.code == Some(4) && unknown.err.contains(" next: the same command with --ca FILE"), "{}", unknown.err);
    // As an editor of another system saves it.
    let ca = file("ca.pem");
    fs::write(&ca, format!("\u{feff}{}", pem.replace('\n', "\r\n"))).unwrap();
    let unauthorized = status(&admin_url, &["--ca", &ca]);
    let hint = " next: mandate login --issuer URL --client-id ID --admin --out FILE";
    assert!(unauthorized.code == Some(3) && unauthorized.err.contains(hint), "{}", unauthorized.err);
    let app = client(&issuer, &pem);
    let mut login = Login::start(&app, &["--ca", &ca, "--admin", "--out", &token]);
    let back = login.decide_as("olga", &app, "allow").await;
    login.paste(&back);
    let ran = login.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    // RFC 6797: a browser that has been here once never asks without TLS again, at neither listener.
    for url in [format!("{issuer}/.well-known/oauth-authorization-server"), format!("{admin_url}/openapi.json")] {
        let answer = app.get(&url).await;
        assert!(answer.header("strict-transport-security").starts_with("max-age="), "{url}: {answer:?}");
    }
    let elsewhere = status(&issuer, &["--ca", &cert]);
    assert!(elsewhere.code == Some(3) && elsewhere.err.contains("The admin API is not served at this address"), "{}", elsewhere.err);
    assert!(elsewhere.err.contains(" next: the same command with --admin-url URL"), "{}", elsewhere.err);
    let done = status(&admin_url, &["--ca", &cert]);
    assert!(done.code == Some(0) && done.out.contains(&issuer), "{}", done.err);
    // One that does not know the authority that it is told is no better than without.
    let other = file("other.pem");
    fs::write(&other, rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().cert.pem()).unwrap();
    assert_eq!(status(&admin_url, &["--ca", &other]).code, Some(4));
    fs::write(&other, "no certificate").unwrap();
    assert_eq!(status(&admin_url, &["--ca", &other]).code, Some(2));
}

#[test]
fn the_admin_api_is_named_as_its_certificate_allows() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let made = rcgen::generate_simple_self_signed(vec!["mandate.acme.example".to_owned()]).unwrap();
    let (cert, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (dir_text, cert, key) = (dir.to_string_lossy(), cert.to_string_lossy(), key.to_string_lossy());
    let loopback = "127.0.0.1:0";
    let listen = ["--listen", loopback, "--node-listen", loopback, "--admin-listen", loopback];
    let issuer = ["--issuer", "https://mandate.acme.example"];
    let role =
        Role::start(&dir, &[&["serve", "--dir", &dir_text, "--tls-cert", &cert, "--tls-key", &key][..], &listen, &issuer].concat(), "");
    assert!(role.text("admin_url").starts_with("https://mandate.acme.example:"), "{}", role.text("admin_url"));
    let log = role.log();
    assert!(log.contains("the server has started") && log.contains("https://mandate.acme.example"), "{log}");
    let path = role.log.clone();
    assert_eq!(role.terminate(), Some(0));
    let log = fs::read_to_string(path).unwrap();
    for said in ["SIGTERM", "the server stops: it was asked to", "the server has stopped"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (dir, cert, key) = (file("server"), file("cert.pem"), file("key.pem"));
    certificate(root.path());
    for mode in [0o644, 0o604, 0o660] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let ran = run(&["serve", "--dir", &dir, "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]);
        assert_eq!(ran.code, Some(2), "{mode:o}: {}", ran.err);
        assert!(ran.err.contains(&format!("run chmod 600 {key}")), "{mode:o}: {}", ran.err);
    }
    assert!(!Path::new(&dir).exists(), "nothing was written");
}
