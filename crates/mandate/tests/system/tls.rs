//! TLS with a given certificate, and with its successor.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mandate_api::admin::{ApplyRequest, PasswordRequest, problem_code};
use mandate_api::{AdminClient, Endpoint, registry_file};
use mandate_core::{Clock as _, SystemClock};
use mandate_testkit::app::{App, CRM, PASSWORD, registry};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustix::process::Signal;
use serde_json::Value;

use crate::login::Login;
use crate::processes::{Environment, Role, run, run_in};

/// A certificate for 127.0.0.1 that nobody else has; its PEM, and the same written where `serve` reads it.
pub(crate) fn certificate(dir: &Path) -> String {
    write(dir, &CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap())
}

fn write(dir: &Path, params: &CertificateParams) -> String {
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    write_key(dir, &key.serialize_pem());
    fs::write(dir.join("cert.pem"), &pem).unwrap();
    pem
}

fn write_key(dir: &Path, pem: &str) {
    let file = dir.join("key.pem");
    fs::write(&file, pem).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// One that is valid from so many days from now on, and until so many.
fn certificate_of_days(dir: &Path, from: i64, until: i64) {
    const DAY: i64 = 24 * 60 * 60;
    let now = i64::try_from(SystemClock.now().secs()).unwrap();
    let day = |days: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(now + days * DAY).unwrap())
    };
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (day(from), day(until));
    write(dir, &params);
}

/// `mandate serve` on loopback with the certificate in `root`, and its things there in `server`.
pub(crate) fn serve(environment: &Environment, root: &Path) -> Role {
    let file = |name: &str| root.join(name).to_string_lossy().into_owned();
    let (dir, cert, key) = (file("server"), file("cert.pem"), file("key.pem"));
    let loopback = "127.0.0.1:0";
    let listen = ["--listen", loopback, "--node-listen", loopback, "--admin-listen", loopback];
    let arguments = [&["serve", "--dir", &dir, "--tls-cert", &cert, "--tls-key", &key][..], &listen].concat();
    Role::start_in(environment, Path::new(&dir), &arguments, "")
}

/// A client that trusts this certificate and no other, with no connection from before.
pub(crate) fn client(issuer: &str, pem: &str) -> App {
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

pub(crate) async fn answers(issuer: &str, pem: &str) -> bool {
    let url = format!("{issuer}/.well-known/oauth-authorization-server");
    match client(issuer, pem).http.get(url).send().await {
        Ok(response) => response.text().await.unwrap().contains(&format!("\"issuer\":\"{issuer}\"")),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_the_given_certificate_and_the_one_that_replaces_it() {
    let root = tempfile::tempdir().unwrap();
    let cert = root.path().join("cert.pem");
    let first = certificate(root.path());
    let role = serve(&[], root.path());
    let issuer = role.text("issuer");
    assert!(issuer.starts_with("https://127.0.0.1:"), "{issuer}");
    assert!(answers(&issuer, &first).await);
    assert!(role.text("admin_url").starts_with("https://"), "the admin API too");
    let plain = App::new(&issuer.replace("https:", "http:"));
    assert!(
        plain.http.get(format!("{}/jwks.json", plain.issuer)).send().await.is_err(),
        "no plain HTTP beside it"
    );

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
    let file = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (cert, token) = (file("cert.pem"), file("admin.token"));
    let pem = certificate(root.path());
    let role = serve(&[], root.path());
    let (issuer, admin_url) = (role.text("issuer"), role.text("admin_url"));
    assert!(
        admin_url.starts_with("https://127.0.0.1:"),
        "the certificate is valid for the address: {admin_url}"
    );
    let admin = AdminClient::new(Endpoint::Socket(role.text("admin_socket").into()));
    let entries = registry_file::parse(&registry(CRM, rustix::process::getuid().as_raw())).unwrap();
    admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
    admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();

    fs::write(&token, "eyJhbGciOiJub25lIn0.e30.").unwrap();
    let status = |url: &str, more: &[&str]| {
        run(&[&["status", "--admin-url", url, "--admin-token-file", &token][..], more].concat())
    };
    let unknown = status(&admin_url, &[]);
    assert!(
        unknown.code == Some(4) && unknown.err.contains(" next: the same command with --ca FILE"),
        "{}",
        unknown.err
    );
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
    let (metadata, openapi) =
        (format!("{issuer}/.well-known/oauth-authorization-server"), format!("{admin_url}/openapi.json"));
    let (nowhere, refused) = (format!("{issuer}/nowhere"), format!("{admin_url}/v1/status"));
    for (url, status) in [(metadata, 200), (openapi, 200), (nowhere, 404), (refused, 401)] {
        let answer = app.get(&url).await;
        assert_eq!(answer.status, status, "{url}: {answer:?}");
        assert!(answer.header("strict-transport-security").starts_with("max-age="), "{url}: {answer:?}");
    }
    let elsewhere = status(&issuer, &["--ca", &cert]);
    assert!(
        elsewhere.code == Some(3) && elsewhere.err.contains("The admin API is not served at this address"),
        "{}",
        elsewhere.err
    );
    assert!(elsewhere.err.contains(" next: the same command with --admin-url URL"), "{}", elsewhere.err);
    let done = status(&admin_url, &["--ca", &cert]);
    assert!(done.code == Some(0) && done.out.contains(&issuer), "{}", done.err);
    // One that does not know the authority that it is told is no better than without.
    let other = file("other.pem");
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Another authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(&other, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
    let with_others = [("SSL_CERT_FILE", other.clone())];
    let unknown = run_in(&with_others, &["status", "--admin-url", &admin_url, "--admin-token-file", &token]);
    for unknown in [status(&admin_url, &["--ca", &other]), unknown] {
        assert!(unknown.code == Some(4) && unknown.err.contains("UnknownIssuer"), "{}", unknown.err);
        assert!(unknown.err.contains(" next: the same command with --ca FILE"), "{}", unknown.err);
    }
    fs::write(&other, "no certificate").unwrap();
    assert_eq!(status(&admin_url, &["--ca", &other]).code, Some(2));
    // Nor is one of which others decide what is in it.
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o664)).unwrap();
    let login = ["login", "--issuer", &issuer, "--client-id", "support-app", "--no-browser", "--ca", &ca];
    let by_variable = [("MANDATE_CA_FILE", ca.clone())];
    for refused in [
        status(&admin_url, &["--ca", &ca]),
        run_in(&by_variable, &["status", "--admin-url", &admin_url, "--admin-token-file", &token]),
        run(&login),
        run(&["token", "show", &token, "--issuer", &issuer, "--ca", &ca]),
    ] {
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{}", refused.err);
        assert!(
            refused.err.contains(&format!("cannot read {ca}: ")) && refused.err.contains("run chmod g-w "),
            "{}",
            refused.err
        );
    }
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
    let role = Role::start(
        &dir,
        &[&["serve", "--dir", &dir_text, "--tls-cert", &cert, "--tls-key", &key][..], &listen, &issuer]
            .concat(),
        "",
    );
    assert!(
        role.text("admin_url").starts_with("https://mandate.acme.example:"),
        "{}",
        role.text("admin_url")
    );
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
        let ran =
            run(&["serve", "--dir", &dir, "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]);
        assert_eq!(ran.code, Some(2), "{mode:o}: {}", ran.err);
        assert!(ran.err.contains(&format!("run chmod 600 {key}")), "{mode:o}: {}", ran.err);
    }
    assert!(!Path::new(&dir).exists(), "nothing was written");
}

/// The status of the server in `root`, as far as it is about the certificate: codes and what is next.
fn problems_of_the_certificate(root: &Path) -> Vec<(String, String)> {
    let ran = run(&["status", "--json", "--dir", &root.join("server").to_string_lossy()]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let status: Value = serde_json::from_str(&ran.out).unwrap();
    let text = |problem: &Value, member: &str| problem[member].as_str().unwrap_or_default().to_owned();
    let problems = status["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (text(problem, "code"), text(problem, "next")));
    problems.filter(|(code, _)| code.starts_with("certificate_")).collect()
}

#[test]
fn a_certificate_that_clients_refuse_for_its_time_is_served_and_told_in_the_log_and_the_status() {
    for (from, until, code, level, says) in [
        (
            -20,
            -1,
            problem_code::CERTIFICATE_EXPIRED,
            "ERROR",
            "the TLS certificate has expired, and clients refuse it",
        ),
        (-20, 3, problem_code::CERTIFICATE_EXPIRES, "WARN", "the TLS certificate ends soon"),
        (
            1,
            20,
            problem_code::CERTIFICATE_NOT_YET_VALID,
            "ERROR",
            "the TLS certificate is not valid yet, and clients refuse it",
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        certificate_of_days(root.path(), from, until);
        let role = serve(&[], root.path());
        let log = role.log();
        let line = log.lines().find(|line| line.contains(says)).unwrap_or_else(|| panic!("{says}: {log}"));
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(line["path"], root.path().join("cert.pem").to_string_lossy().as_ref(), "{line}");
        let problems = problems_of_the_certificate(root.path());
        let [(found, next)] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(found, code);
        assert!(next.starts_with("renew it"), "{next}");
        assert_eq!(
            run(&["status", "--check", "--dir", &root.path().join("server").to_string_lossy()]).code,
            Some(5)
        );
        // A renewal ends it, without a restart.
        certificate_of_days(root.path(), -1, 20);
        role.signal(Signal::HUP);
        role.says("was read again and is in use");
        assert_eq!(problems_of_the_certificate(root.path()), []);
    }
}

#[test]
fn of_a_certificate_that_is_good_for_weeks_nothing_is_said() {
    let root = tempfile::tempdir().unwrap();
    certificate_of_days(root.path(), -1, 20);
    let role = serve(&[], root.path());
    assert_eq!(problems_of_the_certificate(root.path()), []);
    assert!(!role.log().contains("the TLS certificate"), "{}", role.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_key_may_begin_with_a_byte_order_mark() {
    // What editors of other systems make of a text file, in the file that is read first and in the one that
    // replaces it.
    let as_edited = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let root = tempfile::tempdir().unwrap();
    let edited = || {
        let pem = certificate(root.path());
        let (cert, key) = (root.path().join("cert.pem"), root.path().join("key.pem"));
        fs::write(&cert, as_edited(&pem)).unwrap();
        write_key(root.path(), &as_edited(&fs::read_to_string(&key).unwrap()));
        pem
    };
    let first = edited();
    let role = serve(&[], root.path());
    let issuer = role.text("issuer");
    assert!(answers(&issuer, &first).await);
    // The address is in the certificate, so that was read for its names, too.
    assert!(role.text("admin_url").starts_with("https://127.0.0.1:"), "{}", role.text("admin_url"));
    assert_eq!(problems_of_the_certificate(root.path()), []);
    let second = edited();
    role.signal(Signal::HUP);
    role.says("was read again and is in use");
    assert!(answers(&issuer, &second).await);
}
