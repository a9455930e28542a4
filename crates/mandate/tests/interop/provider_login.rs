//! `oidc-provider` as the identity provider at which people log in, in Chromium.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mandate_core::Clock as _;
use mandate_core::SystemClock;
use mandate_testkit::app::{Answer, CLIENT_SECRET, CODE_VERIFIER, authorization, claims, form};
use serde_json::json;
use url::Url;

use crate::browser::callback;
use crate::node_program::NodeProgram;
use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::server::{Process, Server};
use crate::webdriver::Browser;

/// With characters that must be encoded in `Authorization: Basic` (RFC 6749 §2.3.1).
const CLIENT_ID: &str = "mandate at the company";
const SECRET: &str = "a secret of the company: 0123456789+/%";

struct Company {
    server: Server,
    _provider: Process,
    issuer: String,
    browser: Browser,
    callback: String,
}

impl Company {
    /// A browser that shows the login page; `dana` is `u-4711` at the provider.
    async fn start(method: &str) -> Option<Self> {
        let browser = Browser::start().await?;
        let node = NodeProgram::find()?;
        let server = Server::start();
        let client = json!({ "server": server.issuer(), "client_id": CLIENT_ID, "client_secret": SECRET, "method": method });
        let (provider, ready) =
            node.start("identity-provider.mjs", &json!({ "resources": {}, "login": client }));
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        let folder = server.dir().join("login-secrets");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let file = folder.join("company.secret");
        fs::write(&file, SECRET).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let declared = format!(
            r#"[[issuer]]
url = "{issuer}"
login = true
client_id = "{CLIENT_ID}"
client_secret_file = "company.secret"
[[person]]
name = "dana"
issuer = "{issuer}"
sub = "u-4711"
may = [{{ resource = "crm", scopes = ["read:cases"] }}]
"#
        );
        apply(&server, &registry(NO_KEYS, &declared));
        let company = Self { server, _provider: provider, issuer, browser, callback: callback().await };
        company.open().await;
        Some(company)
    }

    /// Opens the login page of `support-app`.
    async fn open(&self) {
        let mut query = authorization(Some(CRM), Some(SCOPE));
        query.retain(|(name, _)| name != "redirect_uri");
        query.extend(form(&[("redirect_uri", &self.callback)]));
        let page = Url::parse_with_params(&format!("{}/authorize", self.server.issuer()), &query).unwrap();
        self.browser.open(page.as_str()).await;
    }

    /// Presses the button of the provider, and logs in there.
    async fn log_in(&self, login: &str) {
        self.browser.click("button[name=provider]").await;
        self.browser.arrival(&format!("{}/interaction/", self.issuer)).await;
        self.browser.fill("[name=login]", login).await;
        self.browser.fill("[name=password]", "any").await;
        self.browser.click("button[type=submit]").await;
        // The provider asks whether this server may know who the person is.
        self.until_shown("input[value=consent]").await;
        self.browser.click("button[type=submit]").await;
    }

    /// The token that the app gets for `u-4711`.
    async fn token(&self) -> String {
        self.log_in("u-4711").await;
        let address = self.browser.arrival(&format!("{}?", self.callback)).await;
        let back: HashMap<String, String> = address.query_pairs().into_owned().collect();
        assert_eq!(back["iss"], self.server.issuer(), "{back:?}");
        assert_eq!(back["state"], "the state");
        let redemption = form(&[
            ("grant_type", "authorization_code"),
            ("client_id", "support-app"),
            ("code", &back["code"]),
            ("redirect_uri", &self.callback),
            ("code_verifier", CODE_VERIFIER),
            ("resource", CRM),
        ]);
        let answer = self.server.app().token(&redemption).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }

    /// Whether the CRM is told that a token counts.
    async fn counts(&self, token: &str) -> bool {
        let app = self.server.app();
        let request = app.http.post(format!("{}/introspect", self.server.issuer()));
        // RFC 6749 §2.3.1: form-encoded.
        let secret: String = url::form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect();
        let request = request.basic_auth("crm-api", Some(secret)).form(&[("token", token)]);
        let answer = Answer::of(request.send().await.unwrap()).await;
        answer.json()["active"].as_bool().unwrap_or_else(|| panic!("{answer:?}"))
    }

    async fn until_shown(&self, selector: &str) {
        let is_there = format!("return document.querySelector('{selector}') !== null;");
        for _ in 0..500 {
            if self.browser.ask(&is_there).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the browser shows no {selector}: {}", self.browser.address().await);
    }
}

#[tokio::test]
async fn a_person_logs_in_at_the_companys_provider_and_lands_at_the_app() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let Some(company) = Company::start(method).await else { return };
        let begun = SystemClock.now().secs();
        let claims = claims(&company.token().await);
        assert_eq!(claims["sub"], format!("{}#u-4711", company.issuer));
        assert_eq!(claims["scope"], SCOPE);
        assert!(claims["auth_time"].as_u64().unwrap() + 60 >= begun, "what the provider says: {claims}");
        assert_eq!(claims.get("amr"), None, "no password of ours");
    }
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_tokens_of_the_person() {
    let Some(company) = Company::start("client_secret_basic").await else { return };
    let token = company.token().await;
    assert!(company.counts(&token).await);
    company.browser.open(&format!("{}/session/end", company.issuer)).await;
    company.browser.click("[name=logout]").await;
    company.browser.arrival(&format!("{}/session/end/success", company.issuer)).await;
    for _ in 0..500 {
        if !company.counts(&token).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token outlives the logout");
}

#[tokio::test]
async fn a_person_of_the_company_without_an_entry_is_told_what_to_add() {
    let Some(company) = Company::start("client_secret_basic").await else { return };
    company.log_in("u-0815").await;
    company.browser.arrival(&format!("{}/login/callback/", company.server.issuer())).await;
    let text = company.browser.text("main").await;
    assert!(text.contains("u-0815") && text.contains(&company.issuer), "{text}");
}

#[tokio::test]
async fn a_login_that_is_declined_at_the_provider_goes_back_to_the_app() {
    let Some(company) = Company::start("client_secret_basic").await else { return };
    company.browser.click("button[name=provider]").await;
    company.browser.arrival(&format!("{}/interaction/", company.issuer)).await;
    company.browser.click("a[href$=abort]").await;
    let address = company.browser.arrival(&format!("{}?", company.callback)).await;
    assert!(address.query().unwrap().contains("provider_declined"), "{address}");
}
