//! Pushed authorization requests (RFC 9126): the endpoint, and what becomes of its `request_uri` in a
//! browser.

use mandate_testkit::app::{
    Answer, CALLBACK, CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, PASSWORD, authorization, form,
};
use reqwest::Method;

use super::authorize::AUTHORIZE;
use super::stage::{Stage, with, without};
use crate::world::spiffe_id;

const PAR: &str = "/par";

impl Stage {
    async fn push(&mut self, what: &str, form: &FormPairs) -> Answer {
        let request = self.post(PAR, form);
        self.log.send(what, request).await
    }

    /// A pushed request of `support-app`, as the browser brings it.
    async fn pushed(&mut self, what: &str) -> FormPairs {
        let answer = self.push(what, &authorization(Some(CRM), Some("read:cases"))).await;
        form(&[("client_id", "support-app"), ("request_uri", &answer.member("request_uri"))])
    }
}

fn allowed(csrf: &str) -> FormPairs {
    form(&[("csrf", csrf), ("name", "riley"), ("password", PASSWORD), ("decision", "allow")])
}

async fn the_endpoint(stage: &mut Stage) {
    let good = authorization(Some(CRM), Some("read:cases"));
    let by_desk_app = with(good.clone(), "client_id", "desk-app");
    let desk_app = ("desk-app", CLIENT_SECRET);
    let request = stage.post_as(desk_app, PAR, &by_desk_app);
    stage.log.send("A client with a secret pushes", request).await;
    let request = stage.post_as(("desk-app", "a wrong secret of a client"), PAR, &by_desk_app);
    stage.log.send("A wrong secret", request).await;
    let request = stage.post_as(desk_app, PAR, &good);
    stage.log.send("Another client_id beside the credential", request).await;
    let request = stage.post_as(desk_app, PAR, &without(by_desk_app.clone(), "client_id"));
    stage.log.send("No client_id", request).await;
    stage.push("A confidential client that only names itself", &by_desk_app).await;
    let svid = stage.svid("support-agent").await;
    let by_agent = with(good.clone(), "client_assertion_type", JWT_SPIFFE);
    let by_agent = with(with(by_agent, "client_assertion", &svid), "client_id", &spiffe_id("support-agent"));
    stage.push("An agent", &by_agent).await;

    let two = [good.clone(), form(&[("resource", "https://elsewhere.example")])].concat();
    let refused: [(&str, FormPairs); 13] = [
        ("Nothing", Vec::new()),
        (
            "A redirect_uri that is not registered",
            with(good.clone(), "redirect_uri", "https://evil.example/cb"),
        ),
        ("No redirect_uri", without(good.clone(), "redirect_uri")),
        ("Another response_type", with(good.clone(), "response_type", "token")),
        ("Another response_mode", with(good.clone(), "response_mode", "fragment")),
        ("No code_challenge", without(good.clone(), "code_challenge")),
        ("A scope that does not exist", with(good.clone(), "scope", "read:nothing")),
        ("A resource that is not registered", with(good.clone(), "resource", "https://elsewhere.example")),
        ("Two resources", two),
        ("A request object", with(good.clone(), "request", "e30.e30.")),
        ("A request_uri (RFC 9126 section 2.1)", with(good.clone(), "request_uri", "urn:x")),
        ("Another actor", with(good.clone(), "requested_actor", "support-agent")),
        ("More than 8 KiB", with(good.clone(), "state", &"s".repeat(8192))),
    ];
    for (what, form) in refused {
        stage.push(what, &form).await;
    }
    let request = stage.post("/par?scope=send%3Amail", &good);
    stage.log.send("A parameter in the query", request).await;
    let url = stage.server.url(PAR);
    for method in [Method::GET, Method::PUT] {
        let request = stage.server.app.http.request(method.clone(), &url);
        stage.log.send(&format!("The method {method}"), request).await;
    }
    let large = stage.server.app.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
    stage.log.send("More than is read", large.body(vec![b'a'; 64 * 1024 + 1])).await;
    let preflight = stage.server.app.http.request(Method::OPTIONS, &url);
    let preflight =
        preflight.header("origin", "https://spa.example").header("access-control-request-method", "POST");
    stage.log.send("What a browser asks before a script's request", preflight).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_authorization_requests() {
    let mut stage = Stage::with_node("Pushed authorization requests").await;
    let strict = format!(
        "client = [{{ id = \"strict-app\", redirect_uris = [\"{CALLBACK}\"], require_pushed_authorization_requests = true }}]"
    );
    stage.apply("strict-app must push its requests", &strict).await;
    the_endpoint(&mut stage).await;

    let named = stage.pushed("A public client pushes").await;
    for (what, query) in [
        ("Another client brings it: a page", with(named.clone(), "client_id", "desk-app")),
        ("No client: a page", without(named.clone(), "client_id")),
        ("A parameter beside it: a page", with(named.clone(), "scope", "read:cases")),
        (
            "One that was made up: a page",
            with(named.clone(), "request_uri", "urn:ietf:params:oauth:request_uri:x"),
        ),
        ("One of somebody else's: a page", with(named.clone(), "request_uri", "https://app.example/request")),
    ] {
        stage.authorize(what, &query).await;
    }
    let page = stage.authorize("The page", &named).await;
    let open = stage.authorize("The page is reloaded", &named).await;
    stage.submit("Logged in and allowed", &page, &page.cookie, &allowed(&page.csrf)).await;
    stage.submit("A second login", &open, &open.cookie, &allowed(&open.csrf)).await;

    let named = stage.pushed("Another one").await;
    let page = stage.authorize("Its page", &named).await;
    stage.pass(91);
    stage.authorize("It has expired", &named).await;
    stage.submit("No login begins without the token of the form", &page, &page.cookie, &allowed("x")).await;
    stage.submit("The login that had begun ends", &page, &page.cookie, &allowed(&page.csrf)).await;

    let by_strict_app = with(authorization(Some(CRM), Some("read:cases")), "client_id", "strict-app");
    stage.authorize("A client that must push does not: the client is told", &by_strict_app).await;
    let answer = stage.push("It pushes", &by_strict_app).await;
    let named = form(&[("client_id", "strict-app"), ("request_uri", &answer.member("request_uri"))]);
    let url = url::Url::parse_with_params(&stage.server.url(AUTHORIZE), &named).unwrap();
    let page = stage.server.app.http.get(url).send().await.unwrap();
    assert_eq!(page.status(), 200);
    stage.end("authorize_pushed").await;
}
