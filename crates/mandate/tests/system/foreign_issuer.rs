//! A company's issuer whose people agents act for: how its keys are reached.

use std::fs;
use std::path::Path;

use mandate_core::{ActorChain, Clock as _, Issuer, Lineage, SystemClock};
use mandate_testkit::app::{Answer, CRM, FormPairs, registry};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::tls_front::PrivateCa;
use serde_json::Value;

use crate::processes::{Server, run};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A trusted issuer that goes by `name`, and the person it names.
pub(crate) struct Company {
    issuer: HostileIssuer,
    name: Issuer,
    /// As `ca` of its entry says.
    ca: Option<String>,
}

impl Company {
    /// Over plain HTTP, on this machine.
    pub(crate) fn in_clear() -> Self {
        let issuer = HostileIssuer::start();
        Self { name: issuer.issuer(), issuer, ca: None }
    }

    /// Over TLS, with an authority of its own that `ca` names.
    pub(crate) async fn with_tls(authority: &PrivateCa, ca: &str) -> Self {
        let issuer = HostileIssuer::start();
        Self { name: authority.in_front_of(&issuer).await, issuer, ca: Some(ca.to_owned()) }
    }

    fn entries(&self, audience: &str) -> String {
        let (name, ca) =
            (&self.name, self.ca.as_ref().map(|ca| format!("ca = \"{ca}\"")).unwrap_or_default());
        // Each company has a person of its own.
        let port = name.as_str().rsplit(':').next().unwrap_or_default();
        format!(
            r#"[[issuer]]
url = "{name}"
audience = "{audience}"
{ca}
[[person]]
name = "dana-{port}"
issuer = "{name}"
sub = "user-7"
may = [{{ resource = "crm", scopes = ["read:cases"] }}]
[[grant]]
person = "dana-{port}"
agent = "support-agent"
resource = "crm"
scopes = ["read:cases"]
"#
        )
    }

    /// Declares it, in a file in `dir`.
    pub(crate) fn declare(&self, server: &Server, dir: &Path) {
        let file = dir.join("registry.toml");
        let story = registry(CRM, rustix::process::getuid().as_raw());
        fs::write(&file, format!("{story}{}", self.entries(&server.app.issuer))).unwrap();
        let ran = run(&["apply", "-f", &file.to_string_lossy(), "--dir", &server.dir.to_string_lossy()]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }

    /// What the agent of `exchange` gets for the token of the company's person.
    pub(crate) async fn exchange(&self, server: &Server, exchange: &FormPairs) -> Answer {
        let mut terms = self.issuer.terms(&server.app.issuer, "read:cases", SystemClock.now());
        terms.issuer = self.name.clone();
        terms.subject.as_mut().unwrap().iss = self.name.clone();
        terms.subject.as_mut().unwrap().sub = "user-7".into();
        terms.client = "portal".parse().unwrap();
        (terms.chain, terms.lineage) = (ActorChain::empty(), Lineage::default());
        let token = self.issuer.sign(&terms);
        let changed = exchange.iter().map(|(name, value)| match name.as_str() {
            "subject_token" => (name.clone(), token.clone()),
            "subject_token_type" => (name.clone(), JWT.to_owned()),
            _ => (name.clone(), value.clone()),
        });
        server.app.token(&changed.collect()).await
    }

    /// How often it was asked for its keys.
    pub(crate) fn keys_served(&self) -> usize {
        self.issuer.jwks_served()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_an_issuers_authority_may_begin_with_a_byte_order_mark() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let exchange = server.an_exchange(&root.path().join("node")).await;
    let authority = PrivateCa::generate();
    let company = Company::with_tls(&authority, "company.pem").await;
    fs::write(root.path().join("company.pem"), format!("\u{feff}{}", authority.pem().replace('\n', "\r\n")))
        .unwrap();
    company.declare(&server, root.path());
    let answer = company.exchange(&server, &exchange).await;
    assert_eq!((answer.status, company.keys_served()), (200, 1), "{answer:?}");

    // And it is this authority that vouches: with another one in the file, nobody does.
    let other = Company::with_tls(&authority, "other.pem").await;
    fs::write(root.path().join("other.pem"), format!("\u{feff}{}", PrivateCa::generate().pem())).unwrap();
    other.declare(&server, root.path());
    let answer = other.exchange(&server, &exchange).await;
    assert_eq!((answer.status, other.keys_served()), (503, 0), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_an_issuer_that_cannot_be_reached_its_address_and_what_is_wrong_with_its_certificate() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let exchange = server.an_exchange(&root.path().join("node")).await;
    let company = Company::with_tls(&PrivateCa::generate(), "other.pem").await;
    fs::write(root.path().join("other.pem"), PrivateCa::generate().pem()).unwrap();
    company.declare(&server, root.path());
    let answer = company.exchange(&server, &exchange).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let log = server.role.log();
    let line = log
        .lines()
        .find(|line| line.contains("what a trusted issuer publishes cannot be fetched"))
        .unwrap_or_else(|| panic!("{log}"));
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["issuer"]), (&"WARN".into(), &company.name.as_str().into()), "{line}");
    let error = line["error"].as_str().unwrap();
    for part in
        [format!("no connection to {}/.well-known/", company.name), "invalid peer certificate".to_owned()]
    {
        assert!(error.contains(&part), "{part}: {error}");
        assert!(!answer.text.contains(&part), "it is for the operator alone: {}", answer.text);
    }
}
