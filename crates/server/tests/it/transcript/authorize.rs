//! The authorization endpoint: the login page, its answers, and the redirects and pages of every refusal.

use mandate_testkit::app::{CALLBACK, CRM, FormPairs, LoginPage, PASSWORD, authorization, form};

use super::registry::uri;
use super::stage::{Stage, with, without};

pub(super) const AUTHORIZE: &str = "/authorize";

impl Stage {
    pub(super) async fn authorize(&mut self, what: &str, query: &FormPairs) -> LoginPage {
        let url = url::Url::parse_with_params(&self.server.url(AUTHORIZE), query).unwrap().to_string();
        let request = self.server.app.http.get(&url);
        let answer = self.log.send(what, request).await;
        let csrf =
            answer.text.split_once("name=\"csrf\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let csrf = csrf.map_or("", |(value, _)| value).to_owned();
        let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        LoginPage { answer, url, csrf, cookie }
    }

    pub(super) async fn submit(&mut self, what: &str, page: &LoginPage, cookie: &str, fields: &FormPairs) {
        let mut request = self.server.app.http.post(&page.url).form(fields);
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        self.log.send(what, request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusals_of_an_authorization_request() {
    let mut stage = Stage::new("Authorization endpoint: requests that are refused").await;
    let more = format!(
        "client = [{{ id = \"narrow-app\", redirect_uris = [\"{CALLBACK}\"], scopes = [\"read:cases\"] }}]\nresource = [{{ name = \"archive\", uri = \"{}\", scopes = [\"read:archive\"] }}]",
        uri("archive")
    );
    stage.apply("narrow-app may ask for read:cases only, and there is an archive", &more).await;
    let good = authorization(Some(CRM), Some("read:cases"));
    let two = [good.clone(), form(&[("resource", &uri("archive"))])].concat();
    let twice = [good.clone(), form(&[("state", "another")])].concat();
    let refused: [(&str, FormPairs); 23] = [
        ("Nothing: a page", Vec::new()),
        ("A parameter twice: a page", twice),
        ("No client: a page", without(good.clone(), "client_id")),
        ("A client that is not registered: a page", with(good.clone(), "client_id", "nobody")),
        ("No redirect_uri: a page", without(good.clone(), "redirect_uri")),
        (
            "A redirect_uri that is not registered: a page",
            with(good.clone(), "redirect_uri", "https://evil.example/callback"),
        ),
        ("No response_type: the client is told", without(good.clone(), "response_type")),
        ("Without state", without(without(good.clone(), "response_type"), "state")),
        ("Another response_type", with(good.clone(), "response_type", "token")),
        ("Another response_mode", with(good.clone(), "response_mode", "fragment")),
        ("A request object", with(good.clone(), "request", "e30.e30.")),
        ("A request_uri", with(good.clone(), "request_uri", "https://app.example/request")),
        ("No code_challenge", without(good.clone(), "code_challenge")),
        ("The plain method", with(good.clone(), "code_challenge_method", "plain")),
        ("No method", without(good.clone(), "code_challenge_method")),
        ("A code_challenge that is none", with(good.clone(), "code_challenge", "short")),
        ("A scope that cannot be read", with(good.clone(), "scope", "\"")),
        ("A scope that does not exist", with(good.clone(), "scope", "read:nothing")),
        (
            "A scope that the client may not ask for",
            with(
                with(authorization(Some(&uri("archive")), Some("read:archive")), "client_id", "narrow-app"),
                "state",
                "x",
            ),
        ),
        ("A resource that is no URI", with(good.clone(), "resource", "crm")),
        ("A resource that is not registered", with(good.clone(), "resource", "https://elsewhere.example")),
        ("Two resources", two),
        (
            "Another port of the loopback address is the same redirect_uri",
            with(without(good.clone(), "response_type"), "redirect_uri", "http://127.0.0.1:9299/callback"),
        ),
    ];
    for (what, query) in refused {
        stage.authorize(what, &query).await;
    }
    let url = url::Url::parse_with_params(&stage.server.url(AUTHORIZE), &good).unwrap();
    let request = stage.server.app.http.delete(url);
    stage.log.send("Another method", request).await;
    stage.end("authorize_refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login() {
    let mut stage = Stage::new("Authorization endpoint: the login").await;
    let page =
        stage.authorize("The page for one resource", &authorization(Some(CRM), Some("read:cases"))).await;
    let fields = |csrf: &str, name: &str, password: &str| {
        form(&[("csrf", csrf), ("name", name), ("password", password), ("decision", "allow")])
    };
    let right = fields(&page.csrf, "riley", PASSWORD);
    stage.submit("Without the cookie", &page, "", &right).await;
    stage.submit("Without the token of the form", &page, &page.cookie, &without(right.clone(), "csrf")).await;
    stage
        .submit(
            "A parameter of the request in the form",
            &page,
            &page.cookie,
            &with(right.clone(), "scope", "send:mail"),
        )
        .await;
    stage
        .submit("Neither allowed nor denied", &page, &page.cookie, &with(right.clone(), "decision", "maybe"))
        .await;
    stage
        .submit("A wrong password", &page, &page.cookie, &fields(&page.csrf, "riley", "a wrong password"))
        .await;
    stage
        .submit("A person who does not exist", &page, &page.cookie, &fields(&page.csrf, "nobody", PASSWORD))
        .await;
    stage.submit("Denied", &page, &page.cookie, &form(&[("csrf", &page.csrf), ("decision", "deny")])).await;
    stage.submit("Logged in and allowed", &page, &page.cookie, &right).await;
    let large = stage
        .server
        .app
        .http
        .post(&page.url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(vec![b'a'; 64 * 1024 + 1]);
    stage.log.send("A form that is too large", large).await;
    let malformed = stage
        .server
        .app
        .http
        .post(&page.url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("name=%ZZ");
    stage.log.send("A form that cannot be read", malformed).await;

    let page = stage
        .authorize("The page for everything that the person may delegate", &authorization(None, None))
        .await;
    stage
        .submit(
            "Logged in and allowed, for everything",
            &page,
            &page.cookie,
            &fields(&page.csrf, "olga", PASSWORD),
        )
        .await;
    let page = stage
        .authorize("The page for what the person does not have", &authorization(Some(CRM), Some("send:mail")))
        .await;
    stage
        .submit("Logged in, and not permitted", &page, &page.cookie, &fields(&page.csrf, "olga", PASSWORD))
        .await;
    let wrong = fields(&page.csrf, "olga", "a wrong password");
    for _ in 0..5 {
        stage.server.app.submit(&page, &page.cookie, &wrong).await;
    }
    stage.log.note("five wrong passwords");
    stage.submit("One too many", &page, &page.cookie, &wrong).await;
    stage.end("authorize_login").await;
}
