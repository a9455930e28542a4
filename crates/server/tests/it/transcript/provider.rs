//! The authorization endpoint where people log in at an identity provider, and the address to which it answers.

use mandate_core::Clock as _;
use mandate_core::registry::{EVENTS_PATH, LOGOUT_PATH, login_key};
use mandate_testkit::app::{Answer, CRM, FormPairs, authorization, form};
use mandate_testkit::hostile_issuer::Trouble;
use mandate_testkit::provider_double::{CLIENT_ID, ProviderDouble, TOKEN, asked, change};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::stage::{Stage, with, without};

/// A provider, and the server whose people log in there.
struct Login {
    stage: Stage,
    provider: ProviderDouble,
    key: String,
}

/// A browser that is at the provider.
struct Away {
    location: String,
    cookie: String,
}

impl Login {
    async fn new(title: &str) -> Self {
        let mut stage = Stage::new(title).await;
        let provider = ProviderDouble::start();
        let url = provider.issuer.issuer();
        let key = login_key(&url);
        let encoded: String = url::form_urlencoded::byte_serialize(url.as_str().as_bytes()).collect();
        for (value, placeholder) in
            [(url.as_str(), "<provider>"), (encoded.as_str(), "<provider>"), (key.as_str(), "<key>")]
        {
            stage.log.names.fix(value, placeholder);
        }
        let registry = format!(
            "issuer = [{{ url = \"{url}\", login = true, client_id = \"{CLIENT_ID}\" }}]\n\
             person = [{{ name = \"dana\", issuer = \"{url}\", sub = \"user-7\", may = [{{ resource = \"crm\", scopes = [\"read:cases\"] }}] }}]"
        );
        stage.apply("people log in at <provider>, which calls dana user-7", &registry).await;
        Self { stage, provider, key }
    }

    /// A browser leaves, which is not recorded.
    async fn leave(&mut self) -> Away {
        let page = self.stage.server.app.open(&authorization(Some(CRM), Some("read:cases"))).await;
        let fields = form(&[("csrf", &page.csrf), ("provider", &self.key)]);
        let answer = self.stage.server.app.submit(&page, &page.cookie, &fields).await;
        let (_, rest) = answer.text.split_once("<a href=\"").unwrap();
        let location = rest.split_once('"').unwrap().0.replace("&amp;", "&");
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        self.stage.log.names.name("state", &asked(&location, "state"));
        Away { location, cookie }
    }

    /// What the provider would give, with changes.
    fn give(&self, away: &Away, changes: &Value) {
        let now = self.stage.server.clock.now();
        let mut claims = self.provider.claims(&away.location, "user-7", now);
        change(&mut claims, changes);
        self.provider.give(&self.provider.sign(&claims));
    }

    async fn bring(&mut self, what: &str, query: &FormPairs, cookie: &str) -> Answer {
        let callback = self.stage.server.url(&format!("/login/callback/{}", self.key));
        let url = url::Url::parse_with_params(&callback, query).unwrap();
        let mut request = self.stage.server.app.http.get(url);
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        self.stage.log.send(what, request).await
    }
}

fn answer(away: &Away) -> FormPairs {
    form(&[("code", "a code of the provider"), ("state", &asked(&away.location, "state"))])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_at_a_provider() {
    let mut login = Login::new("Authorization endpoint: the login at an identity provider").await;
    let query = authorization(Some(CRM), Some("read:cases"));
    let page = login.stage.server.app.open(&query).await;
    let request = login.stage.server.app.http.get(&page.url).header("cookie", &page.cookie);
    login.stage.log.send("The page with the button of the provider", request).await;
    let unknown = form(&[("csrf", &page.csrf), ("provider", "0000000000000000")]);
    let request = login.stage.server.app.http.post(&page.url).form(&unknown).header("cookie", &page.cookie);
    login.stage.log.send("The button of a provider that does not exist", request).await;

    let away = login.leave().await;
    login.give(&away, &json!({}));
    login.bring("An answer in another browser", &answer(&away), "").await;
    let other = login.leave().await;
    login.bring("An answer for another login of the browser", &answer(&other), &away.cookie).await;
    login.bring("No state", &without(answer(&away), "state"), &away.cookie).await;
    login.bring("Logged in", &answer(&away), &away.cookie).await;
    login.bring("The same answer again", &answer(&away), &away.cookie).await;

    let away = login.leave().await;
    let declined = with(without(answer(&away), "code"), "error", "access_denied");
    login.bring("Declined at the provider", &declined, &away.cookie).await;
    let away = login.leave().await;
    let other = with(answer(&away), "iss", "https://other.example");
    login.bring("The iss of another provider", &other, &away.cookie).await;
    let away = login.leave().await;
    login.give(&away, &json!({"nonce": "that of another login"}));
    login.bring("An ID token of another login", &answer(&away), &away.cookie).await;
    let away = login.leave().await;
    login.give(&away, &json!({"sub": "user-8"}));
    login.bring("A person without an entry", &answer(&away), &away.cookie).await;
    let away = login.leave().await;
    login.provider.issuer.fail_at(TOKEN, Trouble::Break);
    login.bring("A provider that breaks off", &answer(&away), &away.cookie).await;
    login.stage.end("authorize_provider").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logout_by_a_provider() {
    let mut login = Login::new("The address at which an identity provider reports logouts").await;
    let now = login.stage.server.clock.now().secs();
    let claims = |id: &str, changes: &Value| {
        let mut claims = json!({
            "iss": login.provider.issuer.issuer(), "sub": "user-7", "aud": CLIENT_ID, "iat": now,
            "exp": now + 120, "jti": id, "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        change(&mut claims, changes);
        login.provider.sign(&claims)
    };
    let (good, nobody) = (claims("logout-1", &json!({})), claims("logout-2", &json!({"sub": "user-8"})));
    let of_another = claims("logout-3", &json!({"aud": "another client"}));
    let elsewhere = claims("logout-4", &json!({"iss": "https://other.example"}));
    for (what, token) in [
        ("A logout of a person", good.as_str()),
        ("The same token again", &good),
        ("A logout of somebody whom no entry names", &nobody),
        ("A token for another client", &of_another),
        ("A token of an issuer at which nobody logs in", &elsewhere),
    ] {
        let request = login.stage.post(LOGOUT_PATH, &form(&[("logout_token", token)]));
        login.stage.log.send(what, request).await;
    }
    let request = login.stage.post(LOGOUT_PATH, &form(&[]));
    login.stage.log.send("No token", request).await;
    let request = login.stage.server.app.http.get(login.stage.server.url(LOGOUT_PATH));
    login.stage.log.send("Another method", request).await;
    login.stage.end("provider_logout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_security_events_of_a_provider() {
    let mut login = Login::new("The address to which an identity provider pushes security events").await;
    let issuer = login.provider.issuer.issuer();
    let (now, off) = (login.stage.server.clock.now().secs(), login.key.clone());
    let account = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
    let key = login.provider.issuer.key();
    let sign = |id: &str, changes: &Value| {
        let mut claims = json!({
            "iss": issuer, "aud": CLIENT_ID, "iat": now, "jti": id, "events": {account: {"reason": "hijacking"}},
            "sub_id": {"format": "iss_sub", "iss": issuer, "sub": "user-7"},
        });
        change(&mut claims, changes);
        let header = json!({"alg": "ES256", "typ": "secevent+jwt", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    };
    let media = "application/secevent+jwt";
    let push = |login: &Login, path: &str, media: &str, body: &str| {
        let url = login.stage.server.url(&format!("{EVENTS_PATH}/{path}"));
        login.stage.server.app.http.post(url).header("content-type", media).body(body.to_owned())
    };
    let good = sign("event-1", &json!({}));
    let request = push(&login, &off, media, &good);
    login.stage.log.send("An issuer whose entry does not say that its events are taken", request).await;
    let registry = format!(
        "issuer = [{{ url = \"{issuer}\", login = true, client_id = \"{CLIENT_ID}\", security_events = true }}]"
    );
    login.stage.apply("the entry of <provider> has security_events = true", &registry).await;
    let verification = json!({
        "sub_id": {"format": "opaque", "id": "the stream"},
        "events": {"https://schemas.openid.net/secevent/ssf/event-type/verification": {"state": "x"}},
    });
    let mail = json!({"sub_id": {"format": "email", "email": "dana@example.com"}});
    for (what, token) in [
        ("A verification of the stream", sign("event-2", &verification)),
        ("Another receiver", sign("event-3", &json!({"aud": "another"}))),
        ("Another issuer", sign("event-4", &json!({"iss": "https://other.example"}))),
        ("An address names nobody", sign("event-5", &mail)),
        ("Not signed by the provider", {
            let (signed, _) = good.rsplit_once('.').unwrap();
            format!("{signed}.{}", "A".repeat(86))
        }),
        ("An account is disabled", good.clone()),
        ("The same event again", good.clone()),
    ] {
        let request = push(&login, &login.key.clone(), media, &token);
        login.stage.log.send(what, request).await;
    }
    let request = push(&login, &login.key.clone(), "application/json", &good);
    login.stage.log.send("Another media type", request).await;
    let request =
        login.stage.server.app.http.get(login.stage.server.url(&format!("{EVENTS_PATH}/{}", login.key)));
    login.stage.log.send("Another method", request).await;
    login.stage.end("provider_events").await;
}
