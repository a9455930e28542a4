//! Logins for a device as its program and a browser see them.

use std::time::Duration;

use mandate_testkit::app::{Answer, CALLBACK, CLIENT_SECRET, CRM, FormPairs, PASSWORD, form};

use reqwest::RequestBuilder;

use crate::login::is_a_safe_page;
use crate::world::Server;

pub(crate) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(crate) fn apps() -> String {
    format!(
        r#"client = [
  {{ id = "tv-app", redirect_uris = ["{CALLBACK}"], device = true, refresh = true }},
  {{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["support-agent"], device = true }},
]"#
    )
}

/// The request of `desk-app`, with this secret (RFC 6749 §2.3.1: both halves are form-encoded).
pub(crate) fn by_desk_app(request: RequestBuilder, secret: &str) -> RequestBuilder {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    request.basic_auth(encoded("desk-app"), Some(encoded(secret)))
}

/// A device that waits.
pub(crate) struct Device {
    pub(crate) code: String,
    pub(crate) user_code: String,
}

/// A device of `tv-app` that wants to read cases of the CRM.
pub(crate) async fn begun(server: &Server, scope: &str) -> Device {
    let asked = form(&[("client_id", "tv-app"), ("resource", CRM), ("scope", scope)]);
    let request = server.app.http.post(server.url("/device_authorization")).form(&asked);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "", "devices have no browser");
    Device { code: answer.member("device_code"), user_code: answer.member("user_code") }
}

pub(crate) fn polling(device: &Device) -> FormPairs {
    form(&[("grant_type", DEVICE_CODE), ("client_id", "tv-app"), ("device_code", &device.code)])
}

/// A page as the browser holds it.
pub(crate) struct Page {
    pub(crate) answer: Answer,
    pub(crate) csrf: String,
    pub(crate) cookie: String,
}

fn page(answer: Answer) -> Page {
    let csrf = answer.text.split_once("name=\"csrf\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
    let csrf = csrf.map_or("", |(value, _)| value).to_owned();
    let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    Page { answer, csrf, cookie }
}

pub(crate) async fn open(server: &Server, query: &str) -> Page {
    page(server.app.get(&server.url(&format!("/device{query}"))).await)
}

/// Posts a form of the page for devices, with this cookie.
pub(crate) async fn submit(server: &Server, cookie: &str, fields: &FormPairs) -> Answer {
    let mut request = server.app.http.post(server.url("/device")).form(fields);
    if !cookie.is_empty() {
        request = request.header("cookie", cookie);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// The page of the login, after the code was entered.
pub(crate) async fn entered(server: &Server, user_code: &str) -> Page {
    let first = open(server, "").await;
    let fields = form(&[("csrf", &first.csrf), ("user_code", user_code)]);
    page(submit(server, &first.cookie, &fields).await)
}

pub(crate) fn answer_of(page: &Page, user_code: &str, decision: &str) -> FormPairs {
    form(&[
        ("csrf", &page.csrf),
        ("user_code", user_code),
        ("name", "riley"),
        ("password", PASSWORD),
        ("decision", decision),
    ])
}

/// Riley enters the code of a device and allows it.
pub(crate) async fn allow(server: &Server, device: &Device) {
    let login = entered(server, &device.user_code).await;
    let fields = answer_of(&login, &device.user_code, "allow");
    let answer = submit(server, &login.cookie, &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.contains("Your device may go on"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enters_the_code_logs_in_and_the_device_gets_its_token_also_after_a_restart() {
    let server = Server::story().await;
    server.apply(&apps()).await;
    let device = begun(&server, "read:cases offline_access").await;
    assert_eq!(server.app.token(&polling(&device)).await.error(), "400 authorization_pending");

    let first = open(&server, "").await;
    is_a_safe_page("the page that asks for the code", &first.answer);
    let server = server.restart().await;
    let typed = device.user_code.to_lowercase();
    let fields = form(&[("csrf", &first.csrf), ("user_code", &typed)]);
    let again = page(submit(&server, &first.cookie, &fields).await);
    assert_eq!(again.answer.status, 403, "the form is of before the restart");
    is_a_safe_page("the page again", &again.answer);
    assert!(again.answer.text.contains(&typed), "what was typed is kept");
    let fields = form(&[("csrf", &again.csrf), ("user_code", &typed)]);
    let login = page(submit(&server, &again.cookie, &fields).await);
    assert_eq!(login.answer.status, 200, "{:?}", login.answer);
    is_a_safe_page("the login", &login.answer);
    for shown in ["tv-app", CRM, "read:cases", &device.user_code, "another device", "30 days"] {
        assert!(login.answer.text.contains(shown), "the person sees {shown}: {}", login.answer.text);
    }

    let wrong = form(&[
        ("csrf", &login.csrf),
        ("user_code", &device.user_code),
        ("name", "riley"),
        ("password", "wrong"),
        ("decision", "allow"),
    ]);
    let refused = submit(&server, &login.cookie, &wrong).await;
    assert_eq!(refused.status, 401);
    is_a_safe_page("a wrong password", &refused);
    assert_eq!(server.app.token(&polling(&device)).await.error(), "400 authorization_pending");
    let fields = answer_of(&login, &device.user_code, "allow");
    let allowed = submit(&server, &login.cookie, &fields).await;
    assert_eq!((allowed.status, allowed.header("location")), (200, ""));
    is_a_safe_page("the end", &allowed);
    assert!(allowed.header("set-cookie").starts_with("mandate-browser="), "as after every login");

    let server = server.restart().await;
    server.clock.advance(Duration::from_secs(60));
    let answer = server.app.token(&polling(&device)).await;
    assert_eq!((answer.status, answer.member("scope")), (200, "read:cases".to_owned()), "{answer:?}");
    assert!(!answer.member("refresh_token").is_empty());
    assert_eq!(server.app.token(&polling(&device)).await.error(), "400 invalid_grant", "once");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_with_a_code_only_fills_the_form_in_and_the_page_says_whose_device_it_is() {
    let server = Server::story().await;
    server.apply(&apps()).await;
    let device = begun(&server, "read:cases").await;
    let linked = open(&server, &format!("?user_code={}", device.user_code)).await;
    is_a_safe_page("the link", &linked.answer);
    assert!(linked.answer.text.contains(&format!("value=\"{}\"", device.user_code)));
    assert!(!linked.answer.text.contains("tv-app"), "nothing is said of the device yet");
    let unknown = open(&server, "?user_code=BBBB-BBBB").await;
    let shape = |page: &Page, code: &str| page.answer.text.replace(code, "").replace(&page.csrf, "");
    assert_eq!(shape(&linked, &device.user_code), shape(&unknown, "BBBB-BBBB"));
    let long = open(&server, &format!("?user_code={}", "B".repeat(500))).await;
    assert!(!long.answer.text.contains("BBBB"), "{}", long.answer.text);
    let markup = open(&server, "?user_code=%22%3E%3Cscript%3E").await;
    is_a_safe_page("markup", &markup.answer);

    let login = entered(&server, &device.user_code).await.answer.text;
    for said in ["login is for another device", "If somebody sent you this code", "Check that your device"] {
        assert!(login.contains(said), "{said}: {login}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_refuses_without_a_login_and_the_device_is_told() {
    let server = Server::story().await;
    server.apply(&apps()).await;
    let device = begun(&server, "read:cases").await;
    let login = entered(&server, &device.user_code).await;
    let denied = submit(&server, &login.cookie, &answer_of(&login, &device.user_code, "deny")).await;
    assert_eq!(denied.status, 200);
    is_a_safe_page("refused", &denied);
    assert!(denied.text.contains("The device gets no access"), "{}", denied.text);
    assert_eq!(server.app.token(&polling(&device)).await.error(), "400 access_denied");
    let late = submit(&server, &login.cookie, &answer_of(&login, &device.user_code, "allow")).await;
    assert_eq!(late.status, 400, "{late:?}");
    assert_eq!(server.app.token(&polling(&device)).await.error(), "400 access_denied");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_counts_that_this_browser_was_not_shown_for_this_device() {
    let server = Server::story().await;
    server.apply(&apps()).await;
    let (device, other) = (begun(&server, "read:cases").await, begun(&server, "read:cases").await);
    let login = entered(&server, &device.user_code).await;
    let elsewhere = entered(&server, &other.user_code).await;
    let entry = open(&server, "").await;
    let fields = |csrf: &str| {
        let mut fields = answer_of(&login, &device.user_code, "allow");
        csrf.clone_into(&mut fields[0].1);
        fields
    };
    for (what, cookie, csrf, status) in [
        ("no cookie", "", &*login.csrf, 403),
        ("no token", &*login.cookie, "", 403),
        ("another browser's cookie", &*elsewhere.cookie, &*login.csrf, 403),
        ("the token of another device", &*elsewhere.cookie, &*elsewhere.csrf, 403),
        ("a made-up token", &*login.cookie, "made-up", 403),
        // The first form enters a code; it answers nothing.
        ("the token of the first form", &*entry.cookie, &*entry.csrf, 200),
    ] {
        let answer = submit(&server, cookie, &fields(csrf)).await;
        assert_eq!(answer.status, status, "{what}");
        assert!(!answer.text.contains("may go on") && !answer.text.contains(PASSWORD), "{what}");
        is_a_safe_page(what, &answer);
    }
    for (name, value) in [("scope", "send:mail"), ("client_id", "desk-app"), ("code", "x"), ("state", "x")] {
        let mut fields = fields(&login.csrf);
        fields.push((name.to_owned(), value.to_owned()));
        let answer = submit(&server, &login.cookie, &fields).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text.contains("parameter_in_body"), "{name}: {}", answer.text);
    }
    let mut both = fields(&login.csrf);
    both.push(("provider".to_owned(), "x".to_owned()));
    assert_eq!(submit(&server, &login.cookie, &both).await.status, 400);
    let mut neither = fields(&login.csrf);
    neither.retain(|(name, _)| name != "decision");
    assert_eq!(submit(&server, &login.cookie, &neither).await.status, 400);
    assert_eq!(server.app.token(&polling(&device)).await.error(), "400 authorization_pending");
    let answer = submit(&server, &login.cookie, &fields(&login.csrf)).await;
    assert!(answer.text.contains("may go on"), "the genuine form still works: {answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_answered_with_the_form_and_not_with_why() {
    let server = Server::story().await;
    server.apply(&apps()).await;
    let answered = begun(&server, "read:cases").await;
    allow(&server, &answered).await;
    for typed in [&*answered.user_code, "BBBB-BBBB", "", "ü"] {
        let found = entered(&server, typed).await;
        assert_eq!(found.answer.status, 400, "{typed}");
        is_a_safe_page(typed, &found.answer);
        assert!(found.answer.text.contains("No device waits with this code."), "{}", found.answer.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_device_proves_itself_by_its_secret() {
    let server = Server::story().await;
    server.apply(&apps()).await;
    let post = async |path: &str, fields: &FormPairs, secret: &str| {
        let request = server.app.http.post(server.url(path)).form(fields);
        Answer::of(by_desk_app(request, secret).send().await.unwrap()).await
    };
    let asked = form(&[("resource", CRM)]);
    assert_eq!(post("/device_authorization", &asked, "wrong").await.error(), "401 invalid_client");
    let answer = post("/device_authorization", &asked, CLIENT_SECRET).await;
    let device = Device { code: answer.member("device_code"), user_code: answer.member("user_code") };
    allow(&server, &device).await;
    let fields = form(&[("grant_type", DEVICE_CODE), ("device_code", &device.code)]);
    assert_eq!(post("/token", &fields, "wrong").await.error(), "401 invalid_client");
    assert_eq!(post("/token", &fields, CLIENT_SECRET).await.status, 200);
    server.stop().await;
}
