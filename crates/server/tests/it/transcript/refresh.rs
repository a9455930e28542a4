//! The refresh token grant (RFC 6749 §6), and what the other endpoints say of a refresh token.

use mandate_testkit::app::{CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, redemption};

use super::stage::{Stage, TOKEN, with, without};

const APPS: &str = r#"client = [
  { id = "support-app", redirect_uris = ["http://127.0.0.1:9200/callback"], refresh = true },
  { id = "desk-app", redirect_uris = ["http://127.0.0.1:9200/callback"], authentication = "client_secret_basic", agents = ["support-agent"], refresh = true },
  { id = "other-app", redirect_uris = ["http://127.0.0.1:9200/callback"] },
]"#;

const SCOPE: &str = "read:cases write:case_comments offline_access";

fn refreshing(token: &str) -> FormPairs {
    [("grant_type", "refresh_token"), ("client_id", "support-app"), ("refresh_token", token)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_goes_on() {
    let mut stage = Stage::with_node("Token endpoint: refresh tokens").await;
    stage.apply("the apps may act while people are away", APPS).await;
    let code = stage.code("riley", Some(CRM), Some(SCOPE)).await;
    let first = stage.token("A code of a login with offline_access", &redemption(&code)).await;
    let used = first.member("refresh_token");
    stage.pass(60);
    let good = refreshing(&used);
    let refused: [(&str, FormPairs); 8] = [
        ("No refresh_token", without(good.clone(), "refresh_token")),
        ("A refresh token that was never issued", with(good.clone(), "refresh_token", "made-up")),
        ("More scope than the login gave", with(good.clone(), "scope", "read:cases send:mail")),
        ("Another resource", with(good.clone(), "resource", "https://other.acme.example")),
        ("A code", with(good.clone(), "code", "x")),
        ("An actor token", with(good.clone(), "actor_token", "x")),
        ("A client whose entry does not let it", with(good.clone(), "client_id", "other-app")),
        ("At the grant of codes", with(redemption("x"), "refresh_token", &used)),
    ];
    for (what, form) in refused {
        stage.token(what, &form).await;
    }
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &without(good.clone(), "client_id"));
    stage.log.send("Another client", request).await;
    let svid = stage.svid("support-agent").await;
    let agent = with(
        with(without(good.clone(), "client_id"), "client_assertion_type", JWT_SPIFFE),
        "client_assertion",
        &svid,
    );
    stage.token("An agent", &agent).await;
    let less = with(with(good.clone(), "scope", "read:cases"), "resource", CRM);
    let second =
        stage.token("After all that, the right client still gets a token, of less scope", &less).await;
    let token = second.member("refresh_token");
    let third = stage.token("And one of everything again", &refreshing(&token)).await;
    let token = third.member("refresh_token");
    let fourth = stage.token("And another one", &with(refreshing(&token), "resource", CRM)).await;
    stage.token("The first refresh token again", &good).await;
    let token = fourth.member("refresh_token");
    stage.token("The newest one after that", &refreshing(&token)).await;

    stage.end("token_refresh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_at_the_other_endpoints() {
    let mut stage = Stage::new("Introspection and revocation: refresh tokens").await;
    stage.apply("the apps may act while people are away", APPS).await;
    let code = stage.code("riley", Some(CRM), Some(SCOPE)).await;
    let token = stage.server.app.token(&redemption(&code)).await.member("refresh_token");
    stage.log.names.name("refresh token", &token);
    let form: FormPairs = [("client_id", "support-app"), ("token", token.as_str())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let request = stage.post("/introspect", &form);
    stage.log.send("A public client introspects nothing", request).await;
    let request =
        stage.post_as(("desk-app", CLIENT_SECRET), "/introspect", &without(form.clone(), "client_id"));
    stage.log.send("Another client is told nothing", request).await;
    let request = stage.post("/revoke", &with(form.clone(), "client_id", "other-app"));
    stage.log.send("Another client revokes it", request).await;
    let request = stage.post("/revoke", &form);
    stage.log.send("Its client revokes it", request).await;
    let answer = stage.server.app.token(&refreshing(&token)).await;
    assert!(answer.member("error_description").starts_with("refresh_token_ended:"), "{answer:?}");
    stage.end("refresh_elsewhere").await;
}
