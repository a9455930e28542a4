//! A person logs in from the command line; what they get is read and verified there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use mandate_core::{Clock as _, SystemClock};
use mandate_testkit::app::{Answer, App, CRM, FormPairs, PASSWORD, claims, form};
use mandate_testkit::hostile_issuer::{HostileIssuer, Trouble};
use serde_json::{Value, json};

use crate::processes::{Environment, MANDATE, Ran, Server, run, run_into, unwritable};

/// The address that a line names. With `--json` it is in a note.
fn address_in(line: &str) -> Option<url::Url> {
    let note: Option<Value> = serde_json::from_str(line).ok();
    let text = note.as_ref().and_then(|note| note["note"].as_str()).unwrap_or(line);
    text.lines().map(str::trim).find(|line| line.starts_with("http")).map(|address| address.parse().unwrap())
}

/// `mandate login`, waiting for the browser.
pub(crate) struct Login {
    child: Child,
    said: BufReader<ChildStderr>,
    /// The address to open.
    url: url::Url,
}

impl Login {
    pub(crate) fn start(app: &App, more: &[&str]) -> Self {
        Self::start_in(&[], app, more)
    }

    /// The same, with more in its environment.
    pub(crate) fn start_in(environment: &Environment, app: &App, more: &[&str]) -> Self {
        let mut command = Command::new(MANDATE);
        command
            .args(["login", "--issuer", &app.issuer, "--client-id", "support-app", "--no-browser"])
            .args(more);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert!(
                said.read_line(&mut line).unwrap() > 0,
                "it ended without an address: {:?}",
                child.wait()
            );
            if let Some(url) = address_in(&line) {
                break url;
            }
        };
        Self { child, said, url }
    }

    fn parameter(&self, name: &str) -> String {
        self.url
            .query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }

    /// What the issuer's page answers to a person who decides so: the address that the browser is sent to.
    async fn decide(&self, app: &App, decision: &str) -> String {
        self.decide_as("riley", app, decision).await
    }

    pub(crate) async fn decide_as(&self, name: &str, app: &App, decision: &str) -> String {
        let query: FormPairs = self.url.query_pairs().into_owned().collect();
        let page = app.open(&query).await;
        assert_eq!(page.answer.status, 200, "{:?}", page.answer);
        let fields =
            form(&[("csrf", &page.csrf), ("name", name), ("password", PASSWORD), ("decision", decision)]);
        let answer = app.submit(&page, &page.cookie, &fields).await;
        answer.header("location").to_owned()
    }

    pub(crate) fn paste(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    pub(crate) fn end(mut self) -> Ran {
        // The browser's way must do without standard input.
        drop(self.child.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.said.read_to_string(&mut err).unwrap();
        Ran { code: self.child.wait().unwrap().code(), out, err }
    }
}

async fn story(dir: &Path) -> Server {
    let server = Server::start(&dir.join("server"));
    server.tell_the_story().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_brings_the_token_and_a_stranger_on_this_machine_does_not_end_the_wait() {
    let here = tempfile::tempdir().unwrap();
    let server = story(here.path()).await;
    let login = Login::start(&server.app, &[]);
    assert_eq!(login.parameter("code_challenge_method"), "S256");
    let callback = login.parameter("redirect_uri");
    assert!(callback.starts_with("http://127.0.0.1:") && callback.ends_with("/callback"), "{callback}");

    // Neither another page, nor another login's answer, nor one without our state is the answer.
    for (stranger, status) in [
        (callback.replace("/callback", "/"), 404),
        (format!("{callback}?code=x&state=y"), 400),
        (callback.clone(), 400),
    ] {
        let answer = server.app.get(&stranger).await;
        assert_eq!(answer.status, status, "{stranger}");
    }
    let back = login.decide(&server.app, "allow").await;
    let page: Answer = server.app.get(&back).await;
    assert_eq!(
        (page.status, page.header("cache-control"), page.header("referrer-policy")),
        (200, "no-store", "no-referrer")
    );
    assert!(page.text.contains("You are logged in.") && !page.text.contains("code="), "{}", page.text);
    let ran = login.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let claims = claims(ran.out.trim());
    assert_eq!(
        (claims["sub"].as_str(), claims["aud"].as_str()),
        (Some("riley"), Some(server.app.issuer.as_str()))
    );
    assert!(!ran.err.contains(ran.out.trim()), "the token is on standard output alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_browser_the_address_is_pasted_and_the_token_is_the_owners_alone() {
    let here = tempfile::tempdir().unwrap();
    let server = story(here.path()).await;
    let file = here.path().join("riley.token");
    // A link that somebody put there is replaced, not followed.
    let elsewhere = here.path().join("elsewhere");
    std::fs::write(&elsewhere, "untouched").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    let more = ["--resource", CRM, "--scope", "read:cases", "--out", file.to_str().unwrap(), "--json"];
    let mut login = Login::start(&server.app, &more);
    let back = login.decide(&server.app, "allow").await;
    login.paste("not an address");
    login.paste(&back.replace("state=", "state=x"));
    login.paste(&back);
    let ran = login.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((answer["scope"].as_str(), answer.get("access_token")), (Some("read:cases"), None));
    assert!(answer["expires_at"].as_str().unwrap().ends_with('Z'), "{answer}");
    assert!(ran.err.contains("its state is not ours"), "{}", ran.err);
    assert_eq!(std::fs::symlink_metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "untouched");
    let claims = claims(&std::fs::read_to_string(&file).unwrap());
    assert_eq!((claims["aud"].as_str(), claims["scope"].as_str()), (Some(CRM), Some("read:cases")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_declines_is_told_and_nothing_is_written() {
    let here = tempfile::tempdir().unwrap();
    let server = story(here.path()).await;
    let file = here.path().join("none");
    let login = Login::start(&server.app, &["--out", file.to_str().unwrap()]);
    let back = login.decide(&server.app, "deny").await;
    let page = server.app.get(&back).await;
    assert!(page.text.contains("You are not logged in."), "{}", page.text);
    let ran = login.end();
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
    assert!(ran.err.contains("access_denied"), "{}", ran.err);
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_none_or_away_is_told_apart() {
    let here = tempfile::tempdir().unwrap();
    let server = story(here.path()).await;
    let login =
        |issuer: &str| run(&["login", "--issuer", issuer, "--client-id", "support-app", "--no-browser"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(login(&format!("http://127.0.0.1:{port}")).code, Some(4));
    let other_name = server.app.issuer.replace("127.0.0.1", "localhost");
    let ran = login(&other_name);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.contains(&server.app.issuer), "{}", ran.err);
    let ran = run(&[
        "login",
        "--issuer",
        &server.app.issuer,
        "--client-id",
        "support-app",
        "--redirect-uri",
        "http://app.example/cb",
    ]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

#[test]
fn nobody_is_sent_to_a_login_page_that_is_reached_in_clear() {
    let issuer = HostileIssuer::start();
    let name = issuer.issuer();
    for page in ["http://login.example/authorize", "javascript:alert(1)"] {
        let metadata = json!({ "issuer": name.as_str(), "authorization_endpoint": page, "token_endpoint": format!("{name}/token") });
        issuer.serve_metadata(Some(&metadata.to_string()));
        let ran = run(&["login", "--issuer", name.as_str(), "--client-id", "support-app", "--no-browser"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{}", ran.err);
        assert!(ran.err.contains(&format!("names {page}, which is not https")), "{}", ran.err);
        assert!(!ran.err.contains("Log in at this address"), "{}", ran.err);
    }
}

const FIRST: &str = "/.well-known/oauth-authorization-server";
const SECOND: &str = "/.well-known/openid-configuration";

/// Metadata with everything that a login and the verification of a token need.
fn complete(issuer: &HostileIssuer) -> String {
    let name = issuer.issuer();
    let metadata = json!({
        "issuer": name.as_str(),
        "jwks_uri": format!("{name}/jwks"),
        "authorization_endpoint": format!("{name}/login"),
        "token_endpoint": format!("{name}/token"),
    });
    metadata.to_string()
}

#[test]
fn an_issuer_whose_metadata_is_elsewhere_is_found_as_the_server_finds_it() {
    let here = tempfile::tempdir().unwrap();
    let token = here.path().join("token");
    let token_path = token.to_str().unwrap().to_owned();
    let issuer = HostileIssuer::start();
    let name = issuer.issuer();
    std::fs::write(&token, issuer.token(CRM, "read:cases", SystemClock.now())).unwrap();
    let show = || run(&["token", "show", &token_path, "--issuer", name.as_str(), "--json"]);

    issuer.serve_at(FIRST, "application/json", &json!({ "issuer": "https://other.example" }).to_string());
    let ran = show();
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.contains("is the issuer https://other.example; give that one"), "{}", ran.err);

    issuer.serve_at(SECOND, "application/json", &complete(&issuer));
    for (content_type, first) in [
        ("text/html", "<!doctype html><title>Sign in</title>".to_owned()),
        (
            "application/json",
            json!({ "issuer": "https://other.example", "jwks_uri": "https://other.example/jwks" })
                .to_string(),
        ),
        ("application/json", json!({ "issuer": name.as_str() }).to_string()),
    ] {
        issuer.serve_at(FIRST, content_type, &first);
        let ran = show();
        assert_eq!(ran.code, Some(0), "{first}: {}", ran.err);
        assert_eq!(
            serde_json::from_str::<Value>(&ran.out).unwrap()["verified"],
            true,
            "{first}: {}",
            ran.out
        );
        let mut login = Login::start(&App::new(name.as_str()), &[]);
        login.child.kill().unwrap();
        login.child.wait().unwrap();
        assert_eq!(
            (login.url.path(), login.url.port()),
            ("/login", url::Url::parse(name.as_str()).unwrap().port()),
            "{first}"
        );
    }
}

#[test]
fn a_metadata_address_that_does_not_answer_is_passed_over() {
    for trouble in [Trouble::Break, Trouble::Status(503)] {
        let here = tempfile::tempdir().unwrap();
        let token = here.path().join("token");
        let issuer = HostileIssuer::start();
        let name = issuer.issuer();
        std::fs::write(&token, issuer.token(CRM, "read:cases", SystemClock.now())).unwrap();
        issuer.fail_at(FIRST, trouble);
        issuer.serve_at(SECOND, "application/json", &complete(&issuer));
        let ran = run(&["token", "show", token.to_str().unwrap(), "--issuer", name.as_str(), "--json"]);
        assert_eq!(ran.code, Some(0), "{trouble:?}: {}", ran.err);
        assert_eq!(
            serde_json::from_str::<Value>(&ran.out).unwrap()["verified"],
            true,
            "{trouble:?}: {}",
            ran.out
        );
        let mut login = Login::start(&App::new(name.as_str()), &[]);
        login.child.kill().unwrap();
        login.child.wait().unwrap();
        assert_eq!(login.url.path(), "/login", "{trouble:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_and_verified_only_by_its_issuer() {
    let here = tempfile::tempdir().unwrap();
    let server = story(here.path()).await;
    let exchange = server.an_exchange(&here.path().join("node")).await;
    let of = |name: &str| exchange.iter().find(|(key, _)| key == name).unwrap().1.clone();
    let mandate = server.app.token(&exchange).await.member("access_token");
    let file = |name: &str, text: &str| {
        let path = here.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let path = file("mandate", &mandate);
    let issuer = ["--issuer", server.app.issuer.as_str()];

    let shown = run(&["token", "show", &path]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    for part in [
        "ES256",
        "NOT VERIFIED",
        "riley",
        "└─ spiffe://acme.example/agent/support-agent   (acts now)",
        "read:cases",
        "(in ",
    ] {
        assert!(shown.out.contains(part), "{part}\n{}", shown.out);
    }
    assert!(!shown.out.contains(mandate.rsplit('.').next().unwrap()), "the signature is not shown");

    let verified = run(&[&["token", "show", &path][..], &issuer].concat());
    assert_eq!(verified.code, Some(0), "{}", verified.err);
    assert!(
        verified.out.contains("The signature verifies") && !verified.out.contains("NOT VERIFIED"),
        "{}",
        verified.out
    );
    let svid = file("svid", &of("client_assertion"));
    let json = run(&[&["token", "show", &svid, "--json"][..], &issuer].concat());
    let value: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &value["verified"]), (Some(0), &true.into()), "{}{}", json.out, json.err);

    // The payload of one token under the signature of another.
    let riley = of("subject_token");
    let (parts, others): (Vec<&str>, Vec<&str>) = (mandate.split('.').collect(), riley.split('.').collect());
    let forged = file("forged", &format!("{}.{}.{}", parts[0], others[1], parts[2]));
    assert_eq!(run(&["token", "show", &forged]).code, Some(0), "it is shown, no matter what it says");
    let refused = run(&[&["token", "show", &forged, "--json"][..], &issuer].concat());
    let value: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((refused.code, &value["verified"]), (Some(1), &false.into()), "{}", refused.err);
    for (output, out) in unwritable() {
        let refused = run_into(out, &[&["token", "show", &forged][..], &issuer].concat());
        assert_eq!(refused.code, Some(1), "{output}");
        assert!(
            refused.err.contains("does not verify"),
            "also where nobody reads what it says: {output}: {}",
            refused.err
        );
    }
    assert_eq!(run(&["token", "show", &file("opaque", "abc")]).code, Some(2));
}
