//! Logins that go on, whose provider is asked whether they go on there.

use std::time::Duration;

use mandate_audit::{Query, RecordKind};
use mandate_core::registry::{Entry, EntryKind, login_key};
use mandate_core::{Clock as _, RequestSource};
use mandate_oauth::{CallbackRefusal, TokenResponse};
use mandate_testkit::hostile_issuer::Trouble;
use mandate_testkit::provider_double::{ProviderDouble, TOKEN, asked, change};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{encode, exposed, parameter, refresh_token, with};
use serde_json::{Value, json};

use super::{Away, Login, answer, entry};
use crate::{lives, refused};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const UNAVAILABLE: &str = "503 temporarily_unavailable provider_unavailable";

impl Login {
    async fn leave_by(&self, client: &str, scope: &str) -> Away {
        let query = self.world.authorization(client, Some(CRM), Some(scope));
        let departure = self.try_to_leave(&query).await.unwrap();
        Away { query, location: departure.location, pending: departure.pending }
    }

    /// What the provider gives from now on, with this refresh token.
    fn gives(&self, refresh_token: &str, more: &Value) {
        let mut answer = json!({
            "access_token": "an access token", "token_type": "Bearer", "refresh_token": refresh_token,
        });
        change(&mut answer, more);
        self.provider.answer(&answer);
    }

    /// Another login of dana.
    async fn another(&self) -> TokenResponse {
        let away = self.leave_by("away-app", "read:cases offline_access").await;
        let id_token = self.provider.sign(&self.claims(&away, &json!({"sid": "s1"})));
        self.gives("u1", &json!({"id_token": id_token}));
        let code = parameter(&self.come_back(&away).await.unwrap().location.unwrap(), "code").unwrap();
        let redemption = with(self.world.redemption("away-app", &code), "resource", CRM);
        self.world.token(&redemption, None).await.unwrap()
    }

    /// A login of dana through `away-app`, at a provider that gave the refresh token `u1`.
    async fn with_upstream() -> (Self, TokenResponse) {
        let login = Self::with_more(story::away_apps());
        login.provider.publish(&json!({"scopes_supported": ["openid", "offline_access"]}));
        let first = login.another().await;
        login.gives("u2", &json!({}));
        (login, first)
    }

    async fn refreshed(&self, token: &str) -> Result<TokenResponse, String> {
        match self.world.token(&self.world.refreshing("away-app", token), None).await {
            Ok(response) => Ok(response),
            refusal => Err(refused(refusal)),
        }
    }

    /// The refresh tokens that the provider was sent.
    fn sent(&self) -> Vec<String> {
        let of = |body: &str| {
            let mut pairs = url::form_urlencoded::parse(body.as_bytes());
            pairs.find(|(name, _)| name == "refresh_token").map(|(_, value)| value.into_owned())
        };
        self.provider.redemptions().iter().filter_map(|form| of(&form.body)).collect()
    }

    /// An ID token that comes for a refresh token, with changes.
    fn renewed(&self, changes: &Value) -> String {
        let now = self.world.clock.now().secs();
        let mut claims = json!({
            "iss": self.provider.issuer.issuer(), "sub": "user-7",
            "aud": mandate_testkit::provider_double::CLIENT_ID, "iat": now, "exp": now + 300,
        });
        change(&mut claims, changes);
        self.provider.sign(&claims)
    }
}

#[tokio::test]
async fn a_refresh_token_is_asked_for_where_a_login_may_go_on_and_the_provider_has_them() {
    let login = Login::with_more(story::away_apps());
    let scope = |away: Away| (asked(&away.location, "scope"), asked(&away.location, "prompt"));
    let plain = ("openid".to_owned(), String::new());
    assert_eq!(scope(login.leave_by("away-app", "read:cases offline_access").await), plain);
    let login = Login::with_more(story::away_apps());
    login.provider.publish(&json!({"scopes_supported": ["openid", "offline_access"]}));
    assert_eq!(scope(login.leave_by("away-app", "read:cases").await), plain, "the client did not ask");
    let whole = ("openid offline_access".to_owned(), "consent".to_owned());
    assert_eq!(scope(login.leave_by("away-app", "read:cases offline_access").await), whole);
    for odd in [json!("offline_access"), json!({}), json!([7])] {
        let login = Login::with_more(story::away_apps());
        login.provider.publish(&json!({"scopes_supported": odd}));
        assert_eq!(scope(login.leave_by("away-app", "read:cases offline_access").await), plain);
    }
}

#[tokio::test]
async fn the_provider_is_asked_now_and_then_and_its_newest_refresh_token_is_used() {
    let (login, first) = Login::with_upstream().await;
    login.world.clock.advance(Duration::from_mins(14));
    let next = login.refreshed(&refresh_token(&first)).await.unwrap();
    assert!(login.sent().is_empty(), "the login was a moment ago");
    login.world.clock.advance(Duration::from_mins(1));
    let next = login.refreshed(&refresh_token(&next)).await.unwrap();
    assert_eq!(login.sent(), ["u1"]);
    let form = login.provider.redemptions().pop().unwrap();
    assert!(form.body.contains("grant_type=refresh_token"), "{}", form.body);
    assert!(form.authorization.starts_with("Basic "), "this server authenticates");
    let next = login.refreshed(&refresh_token(&next)).await.unwrap();
    assert_eq!(login.sent(), ["u1"]);
    login.world.clock.advance(5 * HOUR);
    login
        .provider
        .answer(&json!({"access_token": "a", "token_type": "Bearer", "id_token": login.renewed(&json!({}))}));
    let next = login.refreshed(&refresh_token(&next)).await.unwrap();
    login.world.clock.advance(HOUR);
    login.gives("u3", &json!({}));
    login.refreshed(&refresh_token(&next)).await.unwrap();
    assert_eq!(login.sent(), ["u1", "u2", "u2"], "a provider need not give another one");
}

#[tokio::test]
async fn a_provider_that_no_longer_takes_its_refresh_token_ends_the_login_for_good() {
    let (login, first) = Login::with_upstream().await;
    login.world.clock.advance(Duration::from_mins(20));
    let next = login.refreshed(&refresh_token(&first)).await.unwrap();
    let token = exposed(&next);
    login.world.clock.advance(Duration::from_mins(20));
    assert!(lives(&login.world, &token).await);
    login.provider.issuer.fail_at(TOKEN, Trouble::Status(400));
    assert!(login.refreshed(&refresh_token(&next)).await.is_ok(), "a 400 that says nothing, within the hour");
    let (login, first) = Login::with_upstream().await;
    login.world.clock.advance(Duration::from_mins(20));
    let token = exposed(&first);
    refuse(&login.provider, "invalid_grant");
    assert_eq!(
        login.refreshed(&refresh_token(&first)).await.unwrap_err(),
        "400 invalid_grant refresh_token_ended"
    );
    assert!(!lives(&login.world, &token).await);
    let all = login.world.records(&Query::default());
    let cut = all.iter().find(|record| record.kind == RecordKind::Revoke).unwrap();
    assert!(cut.detail.as_deref().unwrap().ends_with("no longer takes the refresh token of the login"));
    assert_eq!(cut.said().sub.unwrap().sub, "user-7");
    login.gives("u2", &json!({}));
    let again = login.refreshed(&refresh_token(&first)).await;
    assert_eq!(again.unwrap_err(), "400 invalid_grant refresh_token_ended", "for good");
    assert_eq!(login.sent(), ["u1"]);
}

/// The provider refuses with this code.
fn refuse(provider: &ProviderDouble, code: &str) {
    provider.issuer.refuse_at(TOKEN, 400, &json!({ "error": code }).to_string());
}

#[tokio::test]
async fn a_provider_that_does_not_say_stops_a_login_after_an_hour_and_not_for_good() {
    for trouble in [Trouble::Break, Trouble::Status(500), Trouble::Status(302)] {
        let (login, first) = Login::with_upstream().await;
        login.provider.issuer.fail_at(TOKEN, trouble);
        login.world.clock.advance(Duration::from_mins(59));
        let next = login.refreshed(&refresh_token(&first)).await.unwrap();
        login.world.clock.advance(Duration::from_mins(1));
        let stopped = "503 temporarily_unavailable provider_unavailable";
        assert_eq!(login.refreshed(&refresh_token(&next)).await.unwrap_err(), stopped, "{trouble:?}");
        login.provider.issuer.recover_at(TOKEN);
        login.world.clock.advance(MINUTE);
        assert!(login.refreshed(&refresh_token(&next)).await.is_ok(), "nothing was used up: {trouble:?}");
    }
    let (login, first) = Login::with_upstream().await;
    login.world.clock.advance(2 * HOUR);
    for odd in [
        json!({"access_token": 7}),
        json!({"token_type": "DPoP"}),
        json!({"refresh_token": ["u2"]}),
        json!({"id_token": "x"}),
        json!({"id_token": login.renewed(&json!({"aud": "another"}))}),
        json!({"id_token": login.renewed(&json!({"exp": 1}))}),
    ] {
        login.gives("u2", &odd);
        login.world.clock.advance(MINUTE);
        let answer = login.refreshed(&refresh_token(&first)).await;
        assert_eq!(answer.unwrap_err(), "503 temporarily_unavailable provider_unavailable", "{odd}");
    }
    login.provider.issuer.serve_at(TOKEN, "text/html", "<html>invalid_grant");
    login.world.clock.advance(MINUTE);
    let answer = login.refreshed(&refresh_token(&first)).await;
    assert_eq!(answer.unwrap_err(), "503 temporarily_unavailable provider_unavailable");
    for code in ["invalid_client", "temporarily_unavailable"] {
        refuse(&login.provider, code);
        login.world.clock.advance(MINUTE);
        let answer = login.refreshed(&refresh_token(&first)).await;
        assert_eq!(answer.unwrap_err(), "503 temporarily_unavailable provider_unavailable", "{code}");
    }
}

#[tokio::test]
async fn the_next_refresh_token_is_kept_also_if_its_id_token_cannot_be_verified() {
    for what in ["another key", "no keys", "a false audience"] {
        let (login, first) = Login::with_upstream().await;
        login.world.clock.advance(Duration::from_mins(20));
        let id_token = match what {
            "another key" => ProviderDouble::start().sign(&json!({"sub": "user-7"})),
            "no keys" => {
                login.provider.issuer.fail_at("/jwks", Trouble::Status(500));
                ProviderDouble::start().sign(&json!({"sub": "user-7"}))
            }
            _ => login.renewed(&json!({"aud": "another"})),
        };
        login.gives("u2", &json!({ "id_token": id_token }));
        let next = login.refreshed(&refresh_token(&first)).await.unwrap();
        assert_eq!(login.sent(), ["u1"], "{what}");
        login.provider.issuer.recover_at("/jwks");
        login.gives("u3", &json!({}));
        login.world.clock.advance(Duration::from_mins(10));
        login.refreshed(&refresh_token(&next)).await.unwrap();
        assert_eq!(login.sent(), ["u1", "u2"], "{what}: asked again, with the token that counts");
    }
}

#[tokio::test]
async fn a_person_without_what_the_entry_requires_has_no_login_any_longer() {
    let (login, first) = Login::with_upstream().await;
    login.world.change_without_cuts(EntryKind::Issuer, login.provider.issuer.issuer().as_str(), |entry| {
        let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
        issuer.required_claims = [("hd".to_owned(), "acme.example".to_owned())].into();
    });
    login.world.clock.advance(Duration::from_mins(20));
    login.gives("u2", &json!({"id_token": login.renewed(&json!({"hd": "acme.example"}))}));
    let next = login.refreshed(&refresh_token(&first)).await.unwrap();
    login.world.clock.advance(Duration::from_mins(20));
    login.gives("u3", &json!({"id_token": login.renewed(&json!({"hd": "other.example"}))}));
    let answer = login.refreshed(&refresh_token(&next)).await;
    assert_eq!(answer.unwrap_err(), "400 invalid_grant refresh_token_ended");
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_not_asked_again_for_a_minute() {
    for (trouble, of_all) in
        [(Trouble::Status(500), true), (Trouble::Break, true), (Trouble::Status(400), false)]
    {
        let (login, first) = Login::with_upstream().await;
        let other = login.another().await;
        login.provider.issuer.fail_at(TOKEN, trouble);
        login.world.clock.advance(Duration::from_mins(20));
        let next = login.refreshed(&refresh_token(&first)).await.unwrap();
        let next = login.refreshed(&refresh_token(&next)).await.unwrap();
        assert_eq!(login.sent().len(), 1, "{trouble:?}");
        login.refreshed(&refresh_token(&other)).await.unwrap();
        assert_eq!(login.sent().len(), if of_all { 1 } else { 2 }, "{trouble:?}: another login");
        login.provider.issuer.recover_at(TOKEN);
        let asked = login.sent().len();
        login.world.clock.advance(Duration::from_secs(59));
        let next = login.refreshed(&refresh_token(&next)).await.unwrap();
        assert_eq!(login.sent().len(), asked, "{trouble:?}: 59 seconds");
        login.world.clock.advance(Duration::from_secs(1));
        login.refreshed(&refresh_token(&next)).await.unwrap();
        assert_eq!(login.sent().len(), asked + 1, "{trouble:?}: a minute");
    }
}

#[tokio::test]
async fn the_wait_for_a_provider_is_in_the_answer() {
    let (login, first) = Login::with_upstream().await;
    login.provider.issuer.fail_at(TOKEN, Trouble::Status(500));
    login.world.clock.advance(2 * HOUR);
    for (later, wait) in [(0, 60), (20, 40)] {
        login.world.clock.advance(Duration::from_secs(later));
        let form = login.world.refreshing("away-app", &refresh_token(&first));
        let error = login.world.token(&form, None).await.unwrap_err();
        assert_eq!(crate::shown(&error), UNAVAILABLE);
        assert_eq!(error.retry_after, Some(wait));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_go_on_take_no_places_of_people_who_log_in() {
    let (login, first) = Login::with_upstream().await;
    let mut all = vec![first];
    for _ in 1..32 {
        all.push(login.another().await);
    }
    let other = ProviderDouble::start();
    login.world.apply(Entry::Issuer(entry(&other, None))).await;
    login.world.clock.advance(Duration::from_mins(20));
    login.provider.issuer.fail_at(TOKEN, Trouble::Silence);
    for first in &all {
        // The question goes on without its caller.
        let token = refresh_token(first);
        let _ = tokio::time::timeout(Duration::from_millis(30), login.refreshed(&token)).await;
    }
    let query = login.world.authorization("support-app", None, None);
    let text = encode(&query);
    let request = login.world.engine.authorize(text.as_bytes(), RequestSource::Other).await.unwrap();
    let key = login_key(&other.issuer.issuer());
    let left = login.world.engine.leave_for_provider(&request, &text, &key).await.unwrap();
    let away = Away { query, location: left.location, pending: left.pending };
    other.give(&other.sign(&other.claims(&away.location, "user-9", login.world.clock.now())));
    let came = login.bring_to(&key, &answer(&away), Some(&away.pending)).await;
    assert!(matches!(came, Err(CallbackRefusal::Stranger(..))), "the other provider was asked: {came:?}");
}

#[tokio::test]
async fn another_person_in_the_answer_ends_the_login() {
    for changes in [json!({"sub": "user-8"}), json!({"iss": "https://other.example"})] {
        let (login, first) = Login::with_upstream().await;
        login.world.clock.advance(HOUR);
        login.gives("u2", &json!({"id_token": login.renewed(&changes)}));
        let answer = login.refreshed(&refresh_token(&first)).await;
        assert_eq!(answer.unwrap_err(), "400 invalid_grant refresh_token_ended", "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_could_not_be_stored_is_not_lost() {
    let (login, first) = Login::with_upstream().await;
    login.world.clock.advance(HOUR);
    let held = login.world.hold_database();
    assert!(login.refreshed(&refresh_token(&first)).await.unwrap_err().starts_with("503 "));
    held.let_go();
    login.gives("u3", &json!({}));
    let next = login.refreshed(&refresh_token(&first)).await.unwrap();
    login.world.clock.advance(HOUR);
    login.refreshed(&refresh_token(&next)).await.unwrap();
    assert_eq!(login.sent(), ["u1", "u2", "u3"]);
}

#[tokio::test]
async fn a_login_at_a_provider_without_refresh_tokens_goes_on_as_it_did() {
    let login = Login::with_more(story::away_apps());
    let away = login.leave_by("away-app", "read:cases offline_access").await;
    let code = login.code(&away, &json!({})).await;
    let redemption = with(login.world.redemption("away-app", &code), "resource", CRM);
    let first = login.world.token(&redemption, None).await.unwrap();
    let before = login.provider.redemptions().len();
    login.world.clock.advance(30 * HOUR);
    refuse(&login.provider, "invalid_grant");
    login.refreshed(&refresh_token(&first)).await.unwrap();
    assert_eq!(login.provider.redemptions().len(), before);
}

#[tokio::test]
async fn a_provider_that_is_silent_makes_nobody_else_wait() {
    let (login, first) = Login::with_upstream().await;
    login.world.clock.advance(HOUR);
    login.provider.issuer.fail_at(TOKEN, Trouble::Silence);
    let token = refresh_token(&first);
    tokio::select! {
        answer = login.refreshed(&token) => panic!("the provider is silent: {answer:?}"),
        other = login.world.person_token("riley", Some(CRM), Some("read:cases")) => {
            assert!(lives(&login.world, &other).await);
        }
    }
    assert_eq!(
        login.refreshed(&token).await.unwrap_err(),
        "503 temporarily_unavailable provider_unavailable"
    );
}
