//! Logins at identity providers, over real HTTP: the browser's way is played, the provider is a double.

mod away;
mod device;
mod events;
mod groups;
mod hostile;
mod logout;
mod upstream;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_audit::{Outcome, RecordKind};
use mandate_core::registry::{
    Entry, EntryKind, Person, Resource, SubjectScope, TrustedIssuer, UpstreamClient, login_key,
};
use mandate_core::{Clock as _, CutTarget, RequestSource, Subject};
use mandate_oauth::{Arrival, Callback, CallbackRefusal, Departure, OAuthError, PendingLogin};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::provider_double::{CLIENT_ID, ProviderDouble, asked, change};
use mandate_testkit::story::{self, CRM, ISSUER};
use mandate_testkit::world::{
    LOGIN_SECRET, LOGIN_SECRET_FILE, Pairs, World, basic, encode, exposed, pairs, parameter, payload, with,
};
use serde_json::{Value, json};

use crate::{lives, refused, shown};

/// `dana`, whom the provider calls `user-7`, and who may read cases and comment on them.
struct Login {
    world: World,
    provider: ProviderDouble,
}

/// A browser that is at the provider.
struct Away {
    query: Pairs,
    location: String,
    pending: PendingLogin,
}

fn entry(provider: &ProviderDouble, secret: Option<&str>) -> TrustedIssuer {
    let mut entry = story::trusted_issuer(provider.issuer.issuer(), SubjectScope::Token);
    let client_secret_file = secret.map(str::to_owned);
    entry.login = Some(UpstreamClient { client_id: CLIENT_ID.to_owned(), client_secret_file });
    entry.audience = String::new();
    entry
}

fn dana(provider: &ProviderDouble) -> Person {
    let mut dana = story::person("dana", vec![story::permission("crm", "read:cases write:case_comments")]);
    dana.id = Subject { iss: provider.issuer.issuer(), sub: "user-7".to_owned() };
    dana
}

impl Login {
    fn new() -> Self {
        Self::with_secret(Some(LOGIN_SECRET_FILE))
    }

    fn with_secret(secret: Option<&str>) -> Self {
        Self::of(secret, Vec::new())
    }

    fn with_more(more: Vec<Entry>) -> Self {
        Self::of(Some(LOGIN_SECRET_FILE), more)
    }

    fn of(secret: Option<&str>, more: Vec<Entry>) -> Self {
        let provider = ProviderDouble::start();
        let mut entries = vec![
            Entry::Issuer(entry(&provider, secret)),
            Entry::Person(dana(&provider)),
            Entry::Grant(story::grant("dana", "support-agent", "crm", "read:cases write:case_comments")),
        ];
        entries.extend(more);
        Self { world: World::with_entries(entries), provider }
    }

    fn key(&self) -> String {
        login_key(&self.provider.issuer.issuer())
    }

    async fn try_to_leave(&self, query: &Pairs) -> Result<Departure, OAuthError> {
        let text = encode(query);
        let request = self.world.engine.authorize(text.as_bytes(), RequestSource::Other).await.unwrap();
        self.world.engine.leave_for_provider(&request, &text, &self.key()).await
    }

    async fn leave_for(&self, resource: Option<&str>, scope: Option<&str>) -> Away {
        let query = self.world.authorization("support-app", resource, scope);
        let Departure { location, pending } = self.try_to_leave(&query).await.unwrap();
        Away { query, location, pending }
    }

    async fn leave(&self) -> Away {
        self.leave_for(None, None).await
    }

    /// What the provider would say of `user-7`, with changes.
    fn claims(&self, away: &Away, changes: &Value) -> Value {
        let mut claims = self.provider.claims(&away.location, "user-7", self.world.clock.now());
        change(&mut claims, changes);
        claims
    }

    fn give(&self, away: &Away, changes: &Value) {
        self.provider.give(&self.provider.sign(&self.claims(away, changes)));
    }

    /// The browser brings an answer, and perhaps a login that it began.
    async fn bring(&self, query: &Pairs, pending: Option<&PendingLogin>) -> Result<Arrival, CallbackRefusal> {
        self.bring_to(&self.key(), query, pending).await
    }

    async fn bring_to(
        &self,
        provider: &str,
        query: &Pairs,
        pending: Option<&PendingLogin>,
    ) -> Result<Arrival, CallbackRefusal> {
        let query = encode(query);
        let callback = Callback { provider, query: query.as_bytes(), pending, source: RequestSource::Other };
        self.world.engine.return_from_provider(&callback).await
    }

    async fn come_back(&self, away: &Away) -> Result<Arrival, CallbackRefusal> {
        self.bring(&answer(away), Some(&away.pending)).await
    }

    /// A login in which nothing goes wrong; returns the code.
    async fn code(&self, away: &Away, changes: &Value) -> String {
        self.give(away, changes);
        let arrival = self.come_back(away).await.unwrap();
        assert_eq!(arrival.person.as_str(), "dana");
        parameter(&arrival.location.unwrap(), "code").unwrap()
    }

    async fn token(&self, code: &str) -> String {
        let redemption = self.world.redemption("support-app", code);
        exposed(&self.world.token(&redemption, None).await.unwrap())
    }

    /// What is wrong with an ID token with these changes.
    async fn id_token(&self, changes: &Value) -> String {
        let away = self.leave().await;
        self.give(&away, changes);
        page(self.come_back(&away).await)
    }
}

fn answer(away: &Away) -> Pairs {
    pairs(&[("code", "the code of the provider"), ("state", &asked(&away.location, "state"))])
}

#[track_caller]
fn page(result: Result<Arrival, CallbackRefusal>) -> String {
    match result {
        Err(CallbackRefusal::Page(error)) => shown(&error),
        other => panic!("no page: {other:?}"),
    }
}

#[track_caller]
fn sent_back(result: Result<Arrival, CallbackRefusal>) -> (String, String) {
    match result {
        Err(CallbackRefusal::Redirect { location, error }) => (location, shown(&error)),
        other => panic!("not sent back: {other:?}"),
    }
}

#[tokio::test]
async fn a_person_logs_in_at_their_provider_and_the_token_says_how() {
    let login = Login::new();
    let away = login.leave().await;
    let issuer = login.provider.issuer.issuer();
    let callback = format!("{ISSUER}/login/callback/{}", login.key());
    assert!(away.location.starts_with(&format!("{issuer}/authorize?")));
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", &callback),
        ("scope", "openid"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked(&away.location, name), value, "{name}");
    }
    let mut fresh = ["state", "nonce", "code_challenge"].map(|name| asked(&away.location, name)).to_vec();
    fresh.push(asked(&login.leave().await.location, "state"));
    assert!(fresh.iter().all(|value| value.len() == 43), "{fresh:?}");
    fresh.sort();
    fresh.dedup();
    assert_eq!(fresh.len(), 4, "no two are the same");

    let now = login.world.clock.now().secs();
    let said = json!({"auth_time": now - 90, "acr": "urn:mfa", "amr": ["pwd", "otp"]});
    login.give(&away, &said);
    let location = login.come_back(&away).await.unwrap().location.unwrap();
    assert_eq!(parameter(&location, "state").as_deref(), Some("the state"));
    assert_eq!(parameter(&location, "iss").as_deref(), Some(ISSUER));
    let record = login.world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Authorize, Outcome::Permitted));
    assert_eq!(record.said().sub.unwrap().sub, "user-7");
    let [redemption] = login.provider.redemptions().try_into().unwrap();
    assert_eq!(redemption.authorization, basic(CLIENT_ID, LOGIN_SECRET));
    let sent = form_urlencoded::parse(redemption.body.as_bytes());
    let sent: Vec<_> = sent.map(|(name, value)| format!("{name}={value}")).collect();
    let expected = ["grant_type=authorization_code", "code=the code of the provider"];
    assert_eq!(sent[..2], expected);
    assert_eq!(sent[2], format!("redirect_uri={callback}"));
    let verifier = sent[3].strip_prefix("code_verifier=").unwrap();
    let digest = mandate_core::digest::sha256(verifier.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(digest), asked(&away.location, "code_challenge"));
    assert_eq!(sent.len(), 4);

    let token = login.token(&parameter(&location, "code").unwrap()).await;
    let claims = payload(&token);
    assert_eq!(claims["sub"], format!("{issuer}#user-7"));
    assert_eq!(claims["auth_time"], now - 90);
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("urn:mfa"), &json!(["pwd", "otp"])));
    assert_eq!(claims["scope"], "read:cases write:case_comments");

    // An agent acts for her, as for a person with a password.
    let agent = login.world.svid("support-agent").await;
    let form = login.world.agent_exchange(&agent, &token, CRM, "read:cases");
    let given = payload(&exposed(&login.world.token(&form, None).await.unwrap()));
    assert_eq!((&given["sub"], &given["acr"]), (&claims["sub"], &json!("urn:mfa")));

    let all = format!("{:?}", login.world.records(&mandate_audit::Query::default()));
    for secret in [LOGIN_SECRET, "the code of the provider", "an access token", verifier] {
        assert!(!all.contains(secret), "no record has {secret}");
    }
}

#[tokio::test]
async fn a_client_that_describes_itself_gets_a_token_also_if_the_provider_says_little() {
    let crm = story::resource("crm", CRM, "read:cases write:case_comments");
    let crm = Resource { unattested: "read:cases".parse().unwrap(), ..crm };
    let login = Login::with_more(vec![Entry::Resource(crm)]);
    let document = json!({ "redirect_uris": [story::CALLBACK], "token_endpoint_auth_method": "none" });
    let body = document.to_string();
    let registered =
        login.world.engine.register(Some("application/json"), body.as_bytes(), RequestSource::Other).await;
    let registered: Value = serde_json::from_str(&registered.unwrap()).unwrap();
    let client = registered["client_id"].as_str().unwrap();
    let query = login.world.authorization(client, Some(CRM), None);
    let Departure { location, pending } = login.try_to_leave(&query).await.unwrap();
    let away = Away { query, location, pending };
    let code = login.code(&away, &json!({"auth_time": null, "acr": null, "amr": null})).await;
    let token = login.world.token(&login.world.redemption(client, &code), None).await.unwrap();
    let claims = payload(&exposed(&token));
    assert_eq!((&claims["act"]["sub"], claims.get("auth_time")), (&json!(client), None));
}

#[tokio::test]
async fn a_pushed_request_leads_through_a_provider_once() {
    let login = Login::new();
    let uri = login.world.push(&login.world.authorization("support-app", None, None), None).await.unwrap();
    let query = pairs(&[("client_id", "support-app"), ("request_uri", &uri)]);
    let leave = async || {
        let Departure { location, pending } = login.try_to_leave(&query).await.unwrap();
        Away { query: query.clone(), location, pending }
    };
    let (first, second) = (leave().await, leave().await);
    login.world.clock.advance(Duration::from_mins(14));
    let code = login.code(&first, &json!({})).await;
    login.give(&second, &json!({}));
    assert_eq!(page(login.come_back(&second).await), "400 invalid_request_uri pushed_request_used");
    assert_eq!(payload(&login.token(&code).await)["client_id"], "support-app", "the first code counts");

    let uri = login.world.push(&login.world.authorization("support-app", None, None), None).await.unwrap();
    let query = pairs(&[("client_id", "support-app"), ("request_uri", &uri)]);
    let request =
        login.world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
    // The page was open for long.
    login.world.clock.advance(Duration::from_mins(14));
    let left = login.world.engine.leave_for_provider(&request, &encode(&query), &login.key()).await.unwrap();
    let late = Away { query, location: left.location, pending: left.pending };
    login.world.clock.advance(Duration::from_mins(3));
    login.give(&late, &json!({}));
    assert_eq!(page(login.come_back(&late).await), "400 invalid_request_uri pushed_request_expired");
}

#[tokio::test]
async fn what_a_provider_does_not_say_is_not_said_in_the_token() {
    let login = Login::new();
    let away = login.leave().await;
    let claims = payload(&login.token(&login.code(&away, &json!({})).await).await);
    for name in ["auth_time", "acr", "amr"] {
        assert_eq!(claims.get(name), None, "{name}: not that of a password here");
    }
}

#[tokio::test]
async fn the_secret_goes_to_the_provider_in_the_way_that_it_offers() {
    let post = json!({"token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"]});
    let login = Login::new();
    login.provider.publish(&post);
    login.code(&login.leave().await, &json!({})).await;
    let [redemption] = login.provider.redemptions().try_into().unwrap();
    assert_eq!(redemption.authorization, "");
    let secret = encode(&pairs(&[("client_id", CLIENT_ID), ("client_secret", LOGIN_SECRET)]));
    assert!(redemption.body.ends_with(&secret), "{}", redemption.body);

    let login = Login::with_secret(None);
    login.code(&login.leave().await, &json!({})).await;
    let [redemption] = login.provider.redemptions().try_into().unwrap();
    assert_eq!(redemption.authorization, "");
    assert!(redemption.body.ends_with(&encode(&pairs(&[("client_id", CLIENT_ID)]))), "PKCE protects it");

    let login = Login::new();
    login.provider.publish(&json!({"token_endpoint_auth_methods_supported": ["private_key_jwt", "none"]}));
    let away = login.leave().await;
    login.give(&away, &json!({}));
    let refusal = page(login.come_back(&away).await);
    assert_eq!(refusal, "503 temporarily_unavailable provider_unavailable", "never without the secret");
    let login = Login::with_secret(Some("missing.secret"));
    let away = login.leave().await;
    let refusal = page(login.come_back(&away).await);
    assert_eq!(refusal, "503 temporarily_unavailable provider_unavailable");
    assert!(login.world.last_record().detail.unwrap().contains("there is no missing.secret"));
    assert!(login.provider.redemptions().is_empty());
}

#[tokio::test]
async fn an_answer_counts_only_in_the_browser_that_began_the_login() {
    let login = Login::new();
    let (ours, theirs) = (login.leave().await, login.leave().await);
    login.give(&ours, &json!({}));
    for (what, query, pending) in [
        ("a browser without a login, as in login CSRF", answer(&ours), None),
        ("the state of another browser", answer(&ours), Some(&theirs.pending)),
        ("a login of another browser", answer(&theirs), Some(&ours.pending)),
        ("no state", pairs(&[("code", "x")]), Some(&ours.pending)),
        ("an empty state", pairs(&[("code", "x"), ("state", "")]), Some(&ours.pending)),
        ("a made-up state", pairs(&[("code", "x"), ("state", "made-up")]), Some(&ours.pending)),
    ] {
        let refusal = page(login.bring(&query, pending).await);
        assert_eq!(refusal, "400 invalid_request login_not_begun", "{what}");
    }
    let twice = [answer(&ours), pairs(&[("state", "x")])].concat();
    assert_eq!(page(login.bring(&twice, Some(&ours.pending)).await), "400 invalid_request malformed_form");
    assert!(login.provider.redemptions().is_empty(), "no code was sent anywhere");
    assert!(login.come_back(&ours).await.is_ok(), "and the genuine answer still counts");
}

#[tokio::test]
async fn an_answer_counts_once_and_not_for_long() {
    let login = Login::new();
    let away = login.leave().await;
    login.code(&away, &json!({})).await;
    let refusal = page(login.come_back(&away).await);
    assert_eq!(refusal, "400 invalid_grant login_replayed");
    assert_eq!(login.provider.redemptions().len(), 1);
    let away = login.leave().await;
    login.world.clock.advance(Duration::from_mins(15));
    login.give(&away, &json!({}));
    assert_eq!(page(login.come_back(&away).await), "400 invalid_request login_not_begun");
    let away = login.leave().await;
    login.world.clock.advance(Duration::from_mins(14));
    login.code(&away, &json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_same_answer_twice_at_once_one_counts() {
    let login = Login::new();
    for _ in 0..5 {
        let away = login.leave().await;
        login.give(&away, &json!({}));
        let (one, two) = tokio::join!(login.come_back(&away), login.come_back(&away));
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
        let refused = if one.is_ok() { two } else { one };
        assert_eq!(page(refused), "400 invalid_grant login_replayed");
    }
    assert_eq!(login.provider.redemptions().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_logs_in_while_the_database_cannot_be_written() {
    let login = Login::new();
    let away = login.leave().await;
    login.give(&away, &json!({}));
    let held = login.world.hold_database();
    assert_eq!(page(login.come_back(&away).await), "503 temporarily_unavailable audit_unavailable");
    held.let_go();
    login.world.clock.advance(Duration::from_secs(5));
    assert_eq!(page(login.come_back(&away).await), "400 invalid_grant login_replayed", "it is begun again");
    let away = login.leave().await;
    login.give(&away, &json!({}));
    login.come_back(&away).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_fails_is_used_up_too() {
    let login = Login::new();
    let away = login.leave().await;
    login.give(&away, &json!({"nonce": "another"}));
    assert_eq!(page(login.come_back(&away).await), "400 invalid_grant id_token_refused");
    login.give(&away, &json!({}));
    assert_eq!(page(login.come_back(&away).await), "400 invalid_grant login_replayed");
}

#[tokio::test]
async fn the_answer_of_another_provider_is_refused() {
    let login = Login::new();
    let other = ProviderDouble::start();
    login.world.apply(Entry::Issuer(entry(&other, None))).await;
    let other_key = login_key(&other.issuer.issuer());
    let away = login.leave().await;
    login.give(&away, &json!({}));
    other.give("x");
    let refusal = page(login.bring_to(&other_key, &answer(&away), Some(&away.pending)).await);
    assert_eq!(refusal, "400 invalid_request login_not_begun", "at the address of the other one");
    for unknown in ["", "x", "../token", "0000000000000000"] {
        let refusal = page(login.bring_to(unknown, &answer(&away), Some(&away.pending)).await);
        assert_eq!(refusal, "400 invalid_request login_not_begun", "{unknown:?}");
    }
    let iss = other.issuer.issuer();
    let refusal = page(login.bring(&with(answer(&away), "iss", iss.as_str()), Some(&away.pending)).await);
    assert_eq!(refusal, "400 invalid_grant provider_answer", "RFC 9207 §2.4");
    assert!(login.provider.redemptions().is_empty() && other.redemptions().is_empty());

    let away = login.leave().await;
    login.give(&away, &json!({}));
    let iss = login.provider.issuer.issuer();
    assert!(login.bring(&with(answer(&away), "iss", iss.as_str()), Some(&away.pending)).await.is_ok());
    let login = Login::new();
    login.provider.publish(&json!({"authorization_response_iss_parameter_supported": true}));
    let away = login.leave().await;
    login.give(&away, &json!({}));
    assert_eq!(page(login.come_back(&away).await), "400 invalid_grant provider_answer", "promised, not sent");
}

#[tokio::test]
async fn only_providers_of_the_registry_at_which_people_log_in_are_offered() {
    let login = Login::new();
    let idp = HostileIssuer::start();
    let mut tokens_only = story::trusted_issuer(idp.issuer(), SubjectScope::Token);
    login.world.apply(Entry::Issuer(tokens_only.clone())).await;
    let offered = login.world.engine.login_providers();
    assert_eq!(offered.len(), 1);
    assert_eq!(offered[0].key, login.key());
    let query = encode(&login.world.authorization("support-app", None, None));
    let request = login.world.engine.authorize(query.as_bytes(), RequestSource::Other).await.unwrap();
    for key in [login_key(&idp.issuer()), String::new(), "x".to_owned()] {
        let error = login.world.engine.leave_for_provider(&request, &query, &key).await.unwrap_err();
        assert_eq!(shown(&error), "400 invalid_request provider_unknown", "{key}");
    }
    tokens_only.login = Some(UpstreamClient { client_id: "x".into(), client_secret_file: None });
    login.world.apply(Entry::Issuer(tokens_only)).await;
    assert_eq!(login.world.engine.login_providers().len(), 2);
}

#[tokio::test]
async fn a_person_without_an_entry_is_refused_and_gets_none() {
    let login = Login::new();
    let before = login.world.stored().0.entries().len();
    for sub in ["user-8", "riley", "USER-7", "user-7 ", "dana"] {
        let away = login.leave().await;
        login.give(&away, &json!({"sub": sub, "email": "dana@acme.example", "preferred_username": "dana"}));
        match login.come_back(&away).await {
            Err(CallbackRefusal::Stranger(person, error)) => {
                assert_eq!(person, Subject { iss: login.provider.issuer.issuer(), sub: sub.to_owned() });
                assert_eq!(shown(&error), "400 access_denied person_not_registered");
            }
            other => panic!("{sub}: {other:?}"),
        }
        let record = login.world.last_record();
        assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Refused, "person_not_registered"));
        assert!(record.said().sub.is_none(), "nobody of ours");
    }
    assert_eq!(login.world.stored().0.entries().len(), before, "no account is made");
}

#[tokio::test]
async fn a_login_never_gives_more_than_the_person_may_do() {
    let login = Login::new();
    for (scope, expected) in [
        (Some("read:cases send:mail"), Some("read:cases")),
        (Some("send:mail"), None),
        (None, Some("read:cases write:case_comments")),
    ] {
        let away = login.leave_for(Some(CRM), scope).await;
        login.give(&away, &json!({"scope": "send:mail", "groups": ["admins"], "roles": ["mandate:admin"]}));
        let came = login.come_back(&away).await;
        let Some(expected) = expected else {
            let (location, error) = sent_back(came);
            assert_eq!(error, "400 invalid_scope scope_beyond_person");
            assert_eq!(parameter(&location, "state").as_deref(), Some("the state"));
            continue;
        };
        let code = parameter(&came.unwrap().location.unwrap(), "code").unwrap();
        let redemption = with(login.world.redemption("support-app", &code), "resource", CRM);
        let token = exposed(&login.world.token(&redemption, None).await.unwrap());
        assert_eq!(payload(&token)["scope"], expected);
    }
}

#[tokio::test]
async fn a_change_while_the_person_is_away_counts() {
    let login = Login::new();
    let key = login.provider.issuer.issuer();
    let away = login.leave().await;
    login.give(&away, &json!({}));
    login
        .world
        .change(EntryKind::Person, "dana", |entry| {
            let Entry::Person(dana) = entry else { panic!() };
            dana.disabled = true;
        })
        .await;
    assert_eq!(sent_back(login.come_back(&away).await).1, "400 invalid_grant person_disabled");

    let login = Login::new();
    let away = login.leave().await;
    login.give(&away, &json!({}));
    let mut tokens_only = entry(&login.provider, None);
    (tokens_only.login, tokens_only.audience) = (None, ISSUER.to_owned());
    login.world.apply(Entry::Issuer(tokens_only)).await;
    assert_eq!(page(login.come_back(&away).await), "400 invalid_request provider_unknown", "{key}");

    let login = Login::new();
    let away = login.leave().await;
    login.give(&away, &json!({}));
    login
        .world
        .change(EntryKind::Client, "support-app", |entry| {
            let Entry::Client(client) = entry else { panic!() };
            client.redirect_uris = vec!["https://elsewhere.example/callback".to_owned()];
        })
        .await;
    assert_eq!(page(login.come_back(&away).await), "400 invalid_request redirect_uri_unregistered");
    assert!(login.provider.redemptions().is_empty());
}

#[tokio::test]
async fn a_code_is_worthless_after_what_it_stands_for_has_changed() {
    let redeemed = async |login: &Login, code: &str| {
        refused(login.world.token(&login.world.redemption("support-app", code), None).await)
    };
    let revoked = "400 invalid_grant subject_revoked";
    let login = Login::new();
    let code = login.code(&login.leave().await, &json!({})).await;
    let mut tokens_only = entry(&login.provider, None);
    (tokens_only.login, tokens_only.audience) = (None, ISSUER.to_owned());
    login.world.apply(Entry::Issuer(tokens_only)).await;
    assert_eq!(redeemed(&login, &code).await, revoked, "nobody logs in there any more");

    let login = Login::new();
    let code = login.code(&login.leave().await, &json!({})).await;
    login.world.cut(CutTarget::Person(dana(&login.provider).id));
    assert_eq!(redeemed(&login, &code).await, revoked, "the person was cut");

    let login = Login::new();
    let code = login.code(&login.leave().await, &json!({})).await;
    login.world.change_without_cuts(EntryKind::Person, "dana", |entry| {
        let Entry::Person(dana) = entry else { panic!() };
        dana.id.sub = "user-9".to_owned();
    });
    assert_eq!(redeemed(&login, &code).await, revoked, "the name belongs to another person");
}

#[tokio::test]
async fn a_code_that_is_used_twice_ends_the_tokens_of_the_person_at_the_provider() {
    let login = Login::new();
    let away = login.leave_for(Some(CRM), Some("read:cases")).await;
    let code = login.code(&away, &json!({})).await;
    let redemption = with(login.world.redemption("support-app", &code), "resource", CRM);
    let token = exposed(&login.world.token(&redemption, None).await.unwrap());
    assert!(lives(&login.world, &token).await);
    assert_eq!(refused(login.world.token(&redemption, None).await), "400 invalid_grant code_reused");
    assert!(!lives(&login.world, &token).await);
    let said = login.world.records(&mandate_audit::Query::default());
    let cut = said.iter().find(|record| record.kind == RecordKind::Revoke).unwrap();
    assert_eq!(cut.said().sub.unwrap().iss, login.provider.issuer.issuer());
    assert_eq!(away.query, login.world.authorization("support-app", Some(CRM), Some("read:cases")));
}

#[tokio::test]
async fn an_issuer_for_logins_alone_gives_no_subject_tokens() {
    let login = Login::new();
    let mut terms = login.provider.issuer.terms(ISSUER, "read:cases", login.world.clock.now());
    terms.subject.as_mut().unwrap().sub = "user-7".into();
    terms.chain = mandate_core::ActorChain::empty();
    terms.lineage = mandate_core::Lineage::default();
    let svid = login.world.svid("support-agent").await;
    let form = login.world.agent_exchange(&svid, &login.provider.issuer.sign(&terms), CRM, "read:cases");
    let form = with(form, "subject_token_type", mandate_testkit::world::JWT);
    assert_eq!(refused(login.world.token(&form, None).await), "400 invalid_request subject_token_provenance");
}
