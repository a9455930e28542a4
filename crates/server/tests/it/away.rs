//! Riley logs in once. A mail arrives while Riley sleeps: the application refreshes its token, and an agent
//! works with it for Riley, until Riley is disabled.

use std::time::Duration;

use mandate_core::{Clock as _, SystemClock};
use mandate_testkit::app::{
    ACCESS_TOKEN, Answer, CALLBACK, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, PASSWORD, authorization,
    redemption,
};
use mandate_verifier::{Route, Verifier};

use crate::world::{LONG, Node, Server, soon};

const SCOPE: &str = "read:cases write:case_comments offline_access";

fn registry(disabled: bool) -> String {
    format!(
        r#"client = [{{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["support-agent"], refresh = true }}]
[[person]]
name = "riley"
disabled = {disabled}
may = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments", "send:mail"] }}]
"#
    )
}

/// A request of the application, which proves itself by its secret.
pub(crate) async fn by_app(server: &Server, mut form: FormPairs) -> Answer {
    form.retain(|(name, _)| name != "client_id");
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let request = server.app.http.post(server.url("/token")).form(&form);
    let request = request.basic_auth(encoded("desk-app"), Some(encoded(CLIENT_SECRET)));
    Answer::of(request.send().await.unwrap()).await
}

pub(crate) fn form(list: &[(&str, &str)]) -> FormPairs {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) async fn refresh(server: &Server, token: &str) -> Answer {
    by_app(server, form(&[("grant_type", "refresh_token"), ("refresh_token", token)])).await
}

async fn exchanged(server: &Server, node: &Node, subject: &str) -> Answer {
    let svid = node.svid("support-agent").await.unwrap();
    let exchange = [
        ("grant_type", EXCHANGE),
        ("actor_token", &svid),
        ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", CRM),
    ];
    by_app(server, form(&exchange)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_works_for_riley_while_riley_sleeps_and_not_after_riley_is_disabled() {
    // TLS has the system's clock: certificates must be valid by it at the end of the night.
    let server = Server::story_at(SystemClock.now().minus(Duration::from_mins(66))).await;
    server.apply(&registry(false)).await;
    let mut query = authorization(Some(CRM), Some(SCOPE));
    query
        .iter_mut()
        .filter(|(name, _)| name == "client_id")
        .for_each(|pair| "desk-app".clone_into(&mut pair.1));
    let page = server.app.open(&query).await;
    assert!(page.answer.text.contains("when you are not there"), "{}", page.answer.text);
    let back = url::Url::parse(server.app.log_in(&page, "riley", PASSWORD).await.header("location")).unwrap();
    let code = back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let day = by_app(&server, redemption(&code)).await;
    assert_eq!(day.status, 200, "{day:?}");

    // Riley sleeps, the token expires, and the server is restarted in the meantime.
    server.clock.advance(Duration::from_mins(61));
    let server = server.restart().await;
    let node = server.node().await;
    let verifier = Verifier::builder(server.ready.issuer.clone(), CRM.parse().unwrap())
        .clock(server.clock.clone())
        .build()
        .unwrap();
    tokio::time::timeout(LONG, verifier.ready()).await.unwrap();
    let route = Route::requires("read:cases").unwrap();
    let accepted = async |token: &str| {
        let bearer = format!("Bearer {token}");
        verifier.verify(Some(bearer.as_str()), &route).await
    };
    assert!(accepted(&day.member("access_token")).await.is_err());
    let answer = exchanged(&server, &node, &day.member("access_token")).await;
    assert_eq!(answer.error(), "400 invalid_request", "{answer:?}");

    // A mail arrives.
    let night = refresh(&server, &day.member("refresh_token")).await;
    assert_eq!(night.status, 200, "{night:?}");
    assert_eq!(night.header("cache-control"), "no-store");
    let mandate = exchanged(&server, &node, &night.member("access_token")).await;
    assert_eq!(mandate.status, 200, "{mandate:?}");
    let mandate = mandate.member("access_token");
    let seen = accepted(&mandate).await.unwrap();
    assert_eq!(seen.lineage().parents.len(), 2, "the token of the night, and the one of the day");

    server.apply(&registry(true)).await;
    let answer = refresh(&server, &night.member("refresh_token")).await;
    assert_eq!(answer.error(), "400 invalid_grant");
    assert!(answer.member("error_description").starts_with("refresh_token_ended:"), "{answer:?}");
    let answer = exchanged(&server, &node, &night.member("access_token")).await;
    assert!(answer.member("error_description").starts_with("subject_revoked:"), "{answer:?}");
    soon(async || accepted(&mandate).await.is_err()).await;

    // Riley comes back, and the login of that day does not.
    server.apply(&registry(false)).await;
    node.stop().await;
    let server = server.restart().await;
    let answer = refresh(&server, &night.member("refresh_token")).await;
    assert!(answer.member("error_description").starts_with("refresh_token_ended:"), "{answer:?}");
    server.stop().await;
}
