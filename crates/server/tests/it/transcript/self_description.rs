//! Clients that describe themselves: at the registration endpoint (RFC 7591), at the authorization endpoint, and
//! at the token endpoint.

use mandate_core::{Clock as _, SystemClock, Timestamp};
use mandate_testkit::app::{CALLBACK, CRM, FormPairs, authorization, redemption};
use mandate_testkit::hostile_issuer::HostileIssuer;
use serde_json::{Value, json};

use super::stage::{Stage, TOKEN, with, without};
use crate::world::Server;

const REGISTER: &str = "/register";

impl Stage {
    /// The server of the story, where clients may register themselves and have their metadata at 127.0.0.1, and
    /// get `read:cases` of the CRM.
    async fn for_all_clients(title: &str) -> Self {
        let start = Timestamp::from_secs(SystemClock.now().secs());
        let server = Server::story_with(start, |config| {
            config.dynamic_registration = true;
            config.client_metadata_hosts = vec!["127.0.0.1".parse().unwrap()];
        })
        .await;
        let crm = format!(
            "resource = [{{ name = \"crm\", uri = \"{CRM}\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"], unattested = [\"read:cases\"] }}]"
        );
        server.apply(&crm).await;
        Self::of(title, start, server)
    }

    async fn register(&mut self, what: &str, document: &Value) -> Value {
        let request = self.server.app.http.post(self.server.url(REGISTER)).json(document);
        let answer = self.log.send(what, request).await;
        serde_json::from_str(&answer.text).unwrap_or_default()
    }

    /// The id and the secret of a new client, which is not recorded.
    async fn registered(&mut self, method: &str) -> (String, String) {
        let document = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": method });
        let answer =
            self.server.app.http.post(self.server.url(REGISTER)).json(&document).send().await.unwrap();
        let text = |found: &Value, name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let found: Value = answer.json().await.unwrap();
        let (id, secret) = (text(&found, "client_id"), text(&found, "client_secret"));
        self.log.names.fix(&id, &format!("<a client with {method}>"));
        if !secret.is_empty() {
            self.log.names.fix(&secret, "<its secret>");
        }
        (id, secret)
    }

    /// A code for such a client, which is not recorded.
    async fn code_for(&self, client: &str) -> String {
        let query = with(authorization(Some(CRM), None), "client_id", client);
        let page = self.server.app.open(&query).await;
        let answer = self.server.app.log_in(&page, "riley", mandate_testkit::app::PASSWORD).await;
        let back = url::Url::parse(answer.header("location")).unwrap();
        back.query_pairs().find(|(key, _)| key == "code").expect("a code").1.into_owned()
    }

    async fn asks(&mut self, what: &str, query: &FormPairs) {
        let url = url::Url::parse_with_params(&self.server.url("/authorize"), query).unwrap();
        let request = self.server.app.http.get(url);
        self.log.send(what, request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_and_login() {
    let mut stage = Stage::for_all_clients("Clients that describe themselves: registration and login").await;
    let good = json!({
        "client_name": "Notes",
        "redirect_uris": ["http://127.0.0.1/callback", "https://notes.example/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "mandate:admin",
        "logo_uri": "http://169.254.169.254/",
    });
    let public = stage.register("A public client", &good).await;
    let changed = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let method = "token_endpoint_auth_method";
    stage.register("A client with a secret", &changed(method, json!("client_secret_basic"))).await;
    for (what, document) in [
        ("A method that needs a key", changed(method, json!("private_key_jwt"))),
        ("Another grant", changed("grant_types", json!(["client_credentials"]))),
        ("Another response type", changed("response_types", json!(["token"]))),
        ("No redirect URI", changed("redirect_uris", json!([]))),
        ("A redirect URI in plain HTTP", changed("redirect_uris", json!(["http://notes.example/callback"]))),
        ("A redirect URI with a scheme of its own", changed("redirect_uris", json!(["notes://callback"]))),
        ("No object", json!("x")),
    ] {
        stage.register(what, &document).await;
    }
    let form = stage.post(REGISTER, &Vec::new());
    stage.log.send("A form", form).await;
    let id = public["client_id"].as_str().unwrap().to_owned();
    let login = with(authorization(Some(CRM), Some("read:cases")), "client_id", &id);
    stage.asks("The login page says that nothing proves it", &login).await;
    let elsewhere = with(login.clone(), "redirect_uri", "https://evil.example/callback");
    stage.asks("A redirect URI that it did not register: a page", &elsewhere).await;
    stage.asks("Without a resource it gets nothing", &without(login.clone(), "resource")).await;
    let more = with(login.clone(), "scope", "send:mail");
    stage.asks("Nor more than its ceiling", &more).await;

    let host = HostileIssuer::start();
    let address = host.issuer().as_str().to_owned();
    stage.log.names.fix(&address, "<a host>");
    let encoded: String = url::form_urlencoded::byte_serialize(address.as_bytes()).collect();
    stage.log.names.fix(&encoded, "<a host>");
    stage.log.names.fix(address.trim_start_matches("http://"), "<a host's address>");
    let at = |path: &str| format!("{address}{path}");
    let described =
        json!({ "client_id": at("/client.json"), "client_name": "Notes", "redirect_uris": [CALLBACK] });
    host.serve_at("/client.json", "application/json", &described.to_string());
    host.serve_at("/other.json", "application/json", &described.to_string());
    host.serve_at("/page", "text/html", "<p>Hello</p>");
    host.redirect_at("/elsewhere.json", "/client.json");
    host.serve_at("/large.json", "application/json", &" ".repeat(6000));
    let of = |path: &str| with(login.clone(), "client_id", &at(path));
    stage.asks("A client whose id is the URL of its metadata", &of("/client.json")).await;
    for (what, path) in [
        ("The document of another client: a page", "/other.json"),
        ("A page and no document: a page", "/page"),
        ("A redirect: a page", "/elsewhere.json"),
        ("Too large a document: a page", "/large.json"),
        ("No document: a page", "/absent.json"),
    ] {
        stage.asks(what, &of(path)).await;
    }
    let unlisted = with(login.clone(), "client_id", "https://notes.example/client.json");
    stage.asks("A host that is not listed: a page", &unlisted).await;

    for _ in 0..8 {
        stage.registered("none").await;
    }
    stage.register("The eleventh from one site in an hour", &good).await;
    stage.end("self_description").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_tokens() {
    let mut stage = Stage::for_all_clients("Token endpoint: clients that describe themselves").await;
    let node = stage.server.node().await;
    let (public, _) = stage.registered("none").await;
    let redeem = |id: &str, code: &str| with(redemption(code), "client_id", id);
    let code = stage.code_for(&public).await;
    let token = stage.token("The code of a public client", &redeem(&public, &code)).await;
    let token = token.member("access_token");

    let (basic, secret) = stage.registered("client_secret_basic").await;
    let code = stage.code_for(&basic).await;
    stage.token("Without its secret", &redeem(&basic, &code)).await;
    let posted = with(redeem(&basic, &code), "client_secret", &secret);
    stage.token("Its secret in the body, which it did not register", &posted).await;
    let wrong = stage.post_as((&basic, "wrong"), TOKEN, &redeem(&basic, &code));
    stage.log.send("A wrong secret", wrong).await;
    stage.token("Another client", &redeem(&public, &code)).await;
    let right = stage.post_as((&basic, &secret), TOKEN, &redeem(&basic, &code));
    stage.log.send("The code of a client with a secret", right).await;

    let host = HostileIssuer::start();
    let id = format!("{}/client.json", host.issuer());
    let described = json!({ "client_id": id, "client_name": "Notes", "redirect_uris": [CALLBACK] });
    host.serve_at("/client.json", "application/json", &described.to_string());
    stage.log.names.fix(&id, "<the URL of a client's metadata>");
    let code = stage.code_for(&id).await;
    stage.token("The code of a client whose id is the URL of its metadata", &redeem(&id, &code)).await;

    let alone = |id: &str| {
        vec![
            ("grant_type".to_owned(), "client_credentials".to_owned()),
            ("client_id".to_owned(), id.to_owned()),
        ]
    };
    stage.token("A token of its own", &alone(&public)).await;
    let svid = {
        let socket = stage.server.node_dir("node").join("run/api.sock");
        let issuer = stage.server.issuer().to_owned();
        let mut found = None;
        crate::world::soon(async || {
            let id = crate::world::spiffe_id("support-agent");
            found = mandate_testkit::app::fetch_svid(&socket, &id, &issuer).await.ok();
            found.is_some()
        })
        .await;
        found.unwrap()
    };
    let exchange = mandate_testkit::app::exchange(&svid, &token, CRM, "read:cases");
    stage.token("An agent that takes its token further", &exchange).await;
    let exchange =
        with(without(without(exchange, "client_assertion"), "client_assertion_type"), "client_id", &public);
    stage.token("An exchange by the client itself", &exchange).await;
    node.stop().await;
    stage.end("token_self_described").await;
}
