//! The login pages as a browser sees them.

use std::time::Duration;

use mandate_testkit::app::{Answer, CALLBACK, CRM, FormPairs, PASSWORD, authorization, form};

use crate::world::Server;

/// A page for people: it cannot be framed, has no script, is not cached, and its address is not sent to other
/// sites.
pub(crate) fn is_a_safe_page(what: &str, answer: &Answer) {
    assert!(answer.header("content-type").starts_with("text/html"), "{what}: {answer:?}");
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{what}: {policy}");
    assert_eq!(answer.header("x-frame-options"), "DENY", "{what}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    assert!(!answer.text.contains("<script"), "{what}");
}

fn with(mut form: FormPairs, name: &str, value: &str) -> FormPairs {
    match form.iter_mut().find(|(n, _)| n == name) {
        Some(pair) => value.clone_into(&mut pair.1),
        None => form.push((name.to_owned(), value.to_owned())),
    }
    form
}

fn parameter(answer: &Answer, name: &str) -> Option<String> {
    let back = url::Url::parse(answer.header("location")).unwrap();
    back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_back_by_303_with_code_state_and_issuer() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(Some(CRM), Some("read:cases"))).await;
    assert_eq!(page.answer.status, 200);
    is_a_safe_page("the login page", &page.answer);
    for shown in ["support-app", CRM, "read:cases", "127.0.0.1"] {
        assert!(page.answer.text.contains(shown), "the person sees {shown}");
    }
    let cookie = page.answer.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let answer = server.app.log_in(&page, "riley", PASSWORD).await;
    assert_eq!(answer.status, 303, "the password is not posted on (RFC 9700 §4.12)");
    assert!(answer.header("location").starts_with(&format!("{CALLBACK}?")));
    assert_eq!(parameter(&answer, "state").as_deref(), Some("the state"));
    assert_eq!(parameter(&answer, "iss").as_deref(), Some(server.issuer()), "RFC 9207 §2");
    assert!(parameter(&answer, "code").is_some());

    let page = server.app.open(&authorization(None, None)).await;
    let denied =
        server.app.submit(&page, &page.cookie, &form(&[("csrf", &page.csrf), ("decision", "deny")])).await;
    assert_eq!((denied.status, parameter(&denied, "error").as_deref()), (303, Some("access_denied")));
    assert_eq!(parameter(&denied, "iss").as_deref(), Some(server.issuer()), "on errors too");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_in_plain_words_that_the_client_can_act_while_the_person_is_away() {
    let server = Server::story().await;
    let app = |refresh: bool| {
        format!(
            "client = [{{ id = \"support-app\", redirect_uris = [\"{CALLBACK}\"], refresh = {refresh} }}]"
        )
    };
    let says = async |scope: &str| {
        let page = server.app.open(&authorization(Some(CRM), Some(scope))).await;
        is_a_safe_page(scope, &page.answer);
        let text = page.answer.text;
        assert!(!text.contains("offline_access") || !text.contains("<code>offline_access"), "{text}");
        text.contains("It can go on acting for you when you are not there") && text.contains("30 days")
    };
    assert!(!says("read:cases offline_access").await, "the client may not");
    server.apply(&app(true)).await;
    assert!(says("read:cases offline_access").await);
    assert!(!says("read:cases").await, "the client does not ask for it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_did_not_come_from_our_page_logs_nobody_in() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(None, None)).await;
    let other = server.app.open(&authorization(None, None)).await;
    let fields = |csrf: &str| {
        form(&[("csrf", csrf), ("name", "riley"), ("password", PASSWORD), ("decision", "allow")])
    };
    let name = page.cookie.split('=').next().unwrap();
    for (what, cookie, csrf) in [
        ("no cookie", String::new(), page.csrf.clone()),
        ("no token", page.cookie.clone(), String::new()),
        ("neither", String::new(), String::new()),
        ("an empty cookie and an empty token", format!("{name}="), String::new()),
        ("another page's token", page.cookie.clone(), other.csrf.clone()),
        ("a made-up token", page.cookie.clone(), "made-up".to_owned()),
        ("the token under another cookie's name", format!("x{}", page.cookie), page.csrf.clone()),
    ] {
        let answer = server.app.submit(&page, &cookie, &fields(&csrf)).await;
        assert_eq!(answer.status, 403, "{what}");
        assert_eq!(answer.header("location"), "", "{what}");
        assert!(!answer.text.contains(PASSWORD), "{what}");
        is_a_safe_page(what, &answer);
    }
    let deny = server.app.submit(&page, "", &form(&[("csrf", &page.csrf), ("decision", "deny")])).await;
    assert_eq!(deny.status, 403, "nobody else declines for a person either");
    assert_eq!(server.app.log_in(&page, "riley", PASSWORD).await.status, 303, "the genuine form still works");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_of_the_request_in_the_login_form_is_refused_not_ignored() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(Some(CRM), Some("read:cases"))).await;
    let fields =
        form(&[("csrf", &page.csrf), ("name", "riley"), ("password", PASSWORD), ("decision", "allow")]);
    for (parameter, value) in [
        ("scope", "send:mail"),
        ("client_id", "support-app"),
        ("redirect_uri", CALLBACK),
        ("resource", CRM),
        ("state", "another"),
        ("response_type", "code"),
        ("response_mode", "query"),
        ("code_challenge", "x"),
        ("request", "e30.e30."),
        ("username", "riley"),
    ] {
        let answer = server.app.submit(&page, &page.cookie, &with(fields.clone(), parameter, value)).await;
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{parameter}");
        is_a_safe_page(parameter, &answer);
        let text = format!("invalid_request: parameter_in_body: The parameter {parameter} is in the body");
        assert!(answer.text.contains(&text), "{parameter}: {}", answer.text);
        let record = server.newest_record().await;
        assert_eq!(
            (record.outcome.as_str(), record.reason.as_str()),
            ("refused", "parameter_in_body"),
            "{parameter}"
        );
    }
    let denied = form(&[("csrf", &page.csrf), ("decision", "deny"), ("scope", "send:mail")]);
    assert_eq!(server.app.submit(&page, &page.cookie, &denied).await.status, 400, "nor beside a refusal");
    let empty = with(with(fields, "scope", ""), "unknown", "x");
    let answer = server.app.submit(&page, &page.cookie, &empty).await;
    assert_eq!(
        answer.status, 303,
        "a parameter without a value counts as omitted, and one that is not of OAuth is ignored"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_refused_before_anybody_types_a_password() {
    let server = Server::story().await;
    for (what, query, error) in [
        ("an unknown resource", authorization(Some("https://other.example"), None), "invalid_target"),
        (
            "a resource with a path more",
            authorization(Some("https://crm.acme.example/api"), None),
            "invalid_target",
        ),
        ("scopes of another resource only", authorization(Some(CRM), Some("mandate:admin")), "invalid_scope"),
        ("an unknown scope", authorization(Some(CRM), Some("delete:everything")), "invalid_scope"),
        ("no PKCE", with(authorization(None, None), "code_challenge", ""), "invalid_request"),
        ("plain PKCE", with(authorization(None, None), "code_challenge_method", "plain"), "invalid_request"),
        (
            "another response type",
            with(authorization(None, None), "response_type", "token"),
            "unsupported_response_type",
        ),
        ("a request object", with(authorization(None, None), "request", "e30.e30."), "request_not_supported"),
    ] {
        let page = server.app.open(&query).await;
        assert_eq!(page.answer.status, 303, "{what}");
        assert!(page.answer.header("location").starts_with(&format!("{CALLBACK}?")), "{what}");
        assert_eq!(parameter(&page.answer, "error").as_deref(), Some(error), "{what}");
        assert!(page.csrf.is_empty(), "{what}: no form");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_uri_that_is_not_registered_gets_a_page_and_no_redirect() {
    let server = Server::story().await;
    for uri in [
        "",
        "https://evil.example/callback",
        "http://127.0.0.1:9200/callback/",
        "http://127.0.0.1:9200/callback/../evil",
        "http://127.0.0.1:9200/callbackevil",
        "http://127.0.0.1:9200/callback?x=1",
        "http://127.0.0.1:9200/callback#x",
        "http://127.0.0.1:9200@evil.example/callback",
        "http://evil.example@127.0.0.1:9200/callback",
        "http://127.0.0.1:9200/%63allback",
        "http://127.0.0.1:9200\\@evil.example/callback",
        "http://localhost:9200/callback",
        "http://[::1]:9200/callback",
        "https://127.0.0.1:9200/callback",
        "HTTP://127.0.0.1:9200/callback",
        "javascript:alert(1)",
        "//evil.example",
        "*",
    ] {
        let page = server.app.open(&with(authorization(None, None), "redirect_uri", uri)).await;
        assert_eq!((page.answer.status, page.answer.header("location")), (400, ""), "{uri}");
        is_a_safe_page(uri, &page.answer);
        assert!(
            page.csrf.is_empty() && !page.answer.text.contains("evil.example"),
            "{uri} is no link on our page"
        );
    }
    for client in ["", "nobody", "desk-app'", "https://evil.example/client.json"] {
        let page = server.app.open(&with(authorization(None, None), "client_id", client)).await;
        assert_eq!((page.answer.status, page.answer.header("location")), (400, ""), "{client}");
    }
    let twice = format!(
        "{}/authorize?client_id=support-app&client_id=support-app&redirect_uri={CALLBACK}",
        server.issuer()
    );
    assert_eq!(server.app.get(&twice).await.status, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_request_are_text_on_the_page() {
    let server = Server::story().await;
    let query = with(authorization(None, None), "state", "\"><script>alert(1)</script>");
    let page = server.app.open(&query).await;
    assert_eq!(page.answer.status, 200);
    assert!(!page.answer.text.contains("<script"), "{}", page.answer.text);
    let fields = form(&[
        ("csrf", &page.csrf),
        ("name", "\"><script>alert(2)</script>"),
        ("password", "x"),
        ("decision", "allow"),
    ]);
    let answer = server.app.submit(&page, &page.cookie, &fields).await;
    assert_eq!(answer.status, 401);
    is_a_safe_page("the form with the name as it was typed", &answer);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_name_that_does_not_exist_look_the_same_and_both_make_wait() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(None, None)).await;
    let strip = |answer: &Answer, name: &str| {
        let text = answer.text.replace(name, "NAME");
        let (before, after) = text.split_once("name=\"csrf\" value=\"").unwrap();
        format!("{before}{}", after.split_once('"').unwrap().1)
    };
    for attempt in 0..5 {
        let known = server.app.log_in(&page, "riley", "a wrong password").await;
        let unknown = server.app.log_in(&page, "robin", "a wrong password").await;
        assert_eq!((known.status, unknown.status), (401, 401), "{attempt}");
        assert_eq!(strip(&known, "riley"), strip(&unknown, "robin"));
        assert!(!known.text.contains("a wrong password"), "a password is not shown again");
    }
    for name in ["riley", "robin"] {
        let answer = server.app.log_in(&page, name, PASSWORD).await;
        assert_eq!(answer.status, 429, "{name}: even the right password waits");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=3).contains(&seconds), "{seconds}");
        is_a_safe_page("a pause", &answer);
    }
    assert_eq!(server.newest_record().await.outcome, "refused");
    server.clock.advance(Duration::from_secs(3));
    assert_eq!(server.app.log_in(&page, "riley", PASSWORD).await.status, 303, "a pause, never a lock-out");
    for odd in ["", "Riley", "riley ", "riley\0", "../riley", &"r".repeat(5000)] {
        let answer = server.app.log_in(&page, odd, PASSWORD).await;
        assert!([400, 401].contains(&answer.status), "{odd:?}: {}", answer.status);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_has_logged_somebody_in_is_not_locked_out_by_strangers() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(None, None)).await;
    let answer = server.app.log_in(&page, "riley", PASSWORD).await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("riley"),
        "{cookie}"
    );
    let browser = cookie.split(';').next().unwrap();
    assert!(browser.starts_with("mandate-browser="), "{browser}");
    for _ in 0..6 {
        server.app.log_in(&page, "riley", "a wrong password").await;
    }
    assert_eq!(server.app.log_in(&page, "riley", PASSWORD).await.status, 429, "a new browser waits");
    let fields =
        form(&[("csrf", &page.csrf), ("name", "riley"), ("password", PASSWORD), ("decision", "allow")]);
    assert_eq!(server.app.submit(&page, &format!("{}; {browser}", page.cookie), &fields).await.status, 303);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_larger_than_any_of_ours_gets_a_page() {
    let server = Server::story().await;
    let page = server.app.open(&authorization(None, None)).await;
    let answer = server.app.log_in(&page, "riley", &"x".repeat(70 * 1024)).await;
    assert_eq!(answer.status, 413);
    is_a_safe_page("too large a form", &answer);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_whether_a_website_or_a_program_gets_the_answer() {
    let server = Server::story().await;
    let places = [
        ("https://app.acme.example/cb", "app.acme.example"),
        ("https://app.acme.example:8443/cb", "app.acme.example:8443"),
        ("evil://app.acme.example/cb", "evil://app.acme.example"),
        ("evil://app.acme.example:8443/cb", "evil://app.acme.example:8443"),
        ("cursor://anysphere.cursor-retrieval/oauth", "cursor://anysphere.cursor-retrieval"),
        ("com.example.app:/oauth", "com.example.app:/oauth"),
        ("http://127.0.0.1:9300/cb", "http://127.0.0.1:9300"),
        ("http://[::1]:9300/cb", "http://[::1]:9300"),
    ];
    let uris = places.map(|(uri, _)| format!("\"{uri}\"")).join(", ");
    server.apply(&format!("[[client]]\nid = \"native\"\nredirect_uris = [{uris}]\n")).await;
    for (uri, shown) in places {
        let query = with(with(authorization(Some(CRM), None), "client_id", "native"), "redirect_uri", uri);
        let page = server.app.open(&query).await;
        let (_, after) = page.answer.text.split_once("You will be sent back to</dt><dd><code>").unwrap();
        assert_eq!(after.split_once("</code>").unwrap().0, shown, "{uri}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_policy_lets_the_browser_go_back_to_where_the_client_is_registered_and_nowhere_else() {
    let server = Server::story().await;
    let places = [
        ("https://app.acme.example:8443/cb", "https://app.acme.example:8443"),
        ("com.example.app:/oauth", "com.example.app:"),
        ("cursor://anysphere/oauth", "cursor:"),
    ];
    let uris = places.map(|(uri, _)| format!("\"{uri}\"")).join(", ");
    server.apply(&format!("[[client]]\nid = \"native\"\nredirect_uris = [{uris}]\n")).await;
    for (uri, target) in places {
        let query = with(with(authorization(Some(CRM), None), "client_id", "native"), "redirect_uri", uri);
        let page = server.app.open(&query).await;
        is_a_safe_page(uri, &page.answer);
        let policy = page.answer.header("content-security-policy");
        let form_action = policy.split("; ").find_map(|part| part.strip_prefix("form-action ")).unwrap();
        assert_eq!(form_action, format!("'self' {target}"), "{uri}");
        let answer = server.app.log_in(&page, "riley", PASSWORD).await;
        assert!(answer.header("location").starts_with(&format!("{uri}?code=")), "{uri}: {answer:?}");
    }
    for uri in ["com.example.app:/other", "cursor://elsewhere/oauth", "com.example:/oauth"] {
        let query = with(with(authorization(Some(CRM), None), "client_id", "native"), "redirect_uri", uri);
        let answer = server.app.open(&query).await.answer;
        is_a_safe_page(uri, &answer);
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{uri}");
        assert!(!answer.header("content-security-policy").contains("com.example"), "{uri}");
    }
    server.stop().await;
}
