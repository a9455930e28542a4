//! The login page as a person uses it, in Chromium.

use std::collections::HashMap;

use mandate_testkit::app::{CODE_VERIFIER, PASSWORD, authorization, form};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::server::Server;
use crate::webdriver::Browser;

/// The app's side of the callback: a port of its own, which loopback redirect URIs may have (RFC 8252 §7.3).
pub(crate) async fn callback() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A browser also opens connections on which it asks nothing.
                if stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {
                    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 13\r\n\r\n<h1>Back</h1>";
                    let _ = stream.write_all(page.as_bytes()).await;
                }
            });
        }
    });
    format!("http://{address}/callback")
}

struct Login {
    server: Server,
    browser: Browser,
    callback: String,
}

impl Login {
    /// A browser that shows the login page of `support-app`.
    async fn page() -> Option<Self> {
        let browser = Browser::start().await?;
        let server = Server::start();
        apply(&server, &registry(NO_KEYS, ""));
        let callback = callback().await;
        let mut query = authorization(Some(CRM), Some(SCOPE));
        query.retain(|(name, _)| name != "redirect_uri");
        query.extend(form(&[("redirect_uri", &callback)]));
        browser
            .open(Url::parse_with_params(&format!("{}/authorize", server.issuer()), &query).unwrap().as_str())
            .await;
        Some(Self { server, browser, callback })
    }

    async fn log_in(&self, password: &str) {
        self.browser.fill("#name", "riley").await;
        self.browser.fill("#password", password).await;
        self.browser.click("button[value=allow]").await;
    }

    /// The query with which the browser came back to the app.
    async fn back(&self) -> HashMap<String, String> {
        let address = self.browser.arrival(&format!("{}?", self.callback)).await;
        assert_eq!(self.browser.text("h1").await, "Back", "the app's page is shown");
        address.query_pairs().into_owned().collect()
    }
}

#[tokio::test]
async fn a_person_logs_in_and_lands_at_the_app_with_a_code_that_works() {
    let Some(login) = Login::page().await else { return };
    let browser = &login.browser;
    assert!(browser.text("main").await.contains("support-app asks for access on your behalf."));
    assert_eq!(browser.text("dd code").await, SCOPE);
    assert_eq!(browser.property("#password", "type").await, "password");
    assert_eq!(browser.style("main", "border-radius").await, "12px", "the policy lets our own style through");

    login.log_in(PASSWORD).await;
    let back = login.back().await;
    assert_eq!(back["iss"], login.server.issuer());
    assert_eq!(back["state"], "the state");
    let redemption = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", "support-app"),
        ("code", &back["code"]),
        ("redirect_uri", &login.callback),
        ("code_verifier", CODE_VERIFIER),
    ]);
    let answer = login.server.app().token(&redemption).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_wrong_password_is_said_on_the_page_and_the_next_attempt_works() {
    let Some(login) = Login::page().await else { return };
    login.log_in("a wrong password").await;
    let browser = &login.browser;
    assert!(!browser.text("[role=alert]").await.is_empty());
    assert_eq!(browser.address().await.path(), "/authorize");
    assert_eq!(browser.property("#name", "value").await, "riley", "the name need not be typed again");
    assert_eq!(browser.property("#password", "value").await, "");

    browser.fill("#password", PASSWORD).await;
    browser.click("button[value=allow]").await;
    assert!(login.back().await.contains_key("code"));
}

#[tokio::test]
async fn deny_goes_back_without_a_code() {
    let Some(login) = Login::page().await else { return };
    login.browser.click("button[value=deny]").await;
    let back = login.back().await;
    assert_eq!(back["error"], "access_denied");
    assert_eq!(back["iss"], login.server.issuer());
    assert!(!back.contains_key("code"));
}
