//! Security events that an identity provider pushes.

use std::time::Duration;

use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_core::names::EventErrorCode;
use mandate_core::registry::{Entry, EntryKind};
use mandate_core::{Clock as _, RequestSource};
use mandate_oauth::{EventError, PushedEvent};
use mandate_testkit::hostile_issuer::{HostileIssuer, Trouble};
use mandate_testkit::provider_double::{CLIENT_ID, ProviderDouble, change};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{exposed, refresh_token, with};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::{Away, Login, entry};
use crate::{lives, refused};

const MEDIA_TYPE: &str = "application/secevent+jwt";

fn event(kind: &str) -> Value {
    json!({ format!("https://schemas.openid.net/secevent/{kind}"): {} })
}

impl Login {
    /// People's applications may go on while they are away, and the provider's events are taken.
    async fn with_events() -> Self {
        let login = Self::with_more(story::away_apps());
        login.take_events().await;
        login
    }

    async fn take_events(&self) {
        let mut on = entry(&self.provider, Some(super::LOGIN_SECRET_FILE));
        on.events_audience = Some(CLIENT_ID.to_owned());
        self.world.apply(Entry::Issuer(on)).await;
        self.world.clock.advance(Duration::from_secs(1));
    }

    /// Proper claims of an event about dana, with changes.
    fn event(&self, id: &str, changes: &Value) -> Value {
        let issuer = self.provider.issuer.issuer();
        let mut claims = json!({
            "iss": issuer, "aud": CLIENT_ID, "iat": self.world.clock.now().secs(), "jti": id,
            "sub_id": {"format": "iss_sub", "iss": issuer, "sub": "user-7"},
            "events": event("risc/event-type/account-disabled"),
        });
        change(&mut claims, changes);
        claims
    }

    fn signed(&self, claims: &Value) -> String {
        let key = self.provider.issuer.key();
        let header = json!({"alg": "ES256", "typ": "secevent+jwt", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    }

    async fn push(&self, token: &str) -> Result<(), EventError> {
        self.push_as(&self.key(), Some(MEDIA_TYPE), token.as_bytes()).await
    }

    async fn push_as(
        &self,
        provider: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<(), EventError> {
        let source = RequestSource::Other;
        self.world.engine.take_security_event(&PushedEvent { provider, content_type, body, source }).await
    }

    async fn says(&self, id: &str, changes: &Value) -> Result<(), EventError> {
        self.push(&self.signed(&self.event(id, changes))).await
    }

    fn is_disabled(&self) -> bool {
        self.world.live.snapshot().registry.person(&"dana".parse().unwrap()).unwrap().disabled
    }

    /// The newest record, and whether it says that an event changed nothing.
    fn newest(&self) -> (Record, bool) {
        let record = self.world.last_record();
        let nothing = record.outcome == Outcome::Refused && record.reason == "no_effect";
        (record, nothing)
    }

    async fn enable(&self) {
        let enable = |entry: &mut Entry| {
            let Entry::Person(person) = entry else { panic!("a person") };
            person.disabled = false;
        };
        self.world.change(EntryKind::Person, "dana", enable).await;
        self.world.clock.advance(Duration::from_secs(1));
    }

    async fn token_of_session(&self, session: &str) -> String {
        let away = self.leave_for(Some(CRM), Some("read:cases")).await;
        let code = self.code(&away, &json!({"sid": session})).await;
        let redemption = with(self.world.redemption("support-app", &code), "resource", CRM);
        exposed(&self.world.token(&redemption, None).await.unwrap())
    }
}

#[track_caller]
fn said(answer: Result<(), EventError>) -> String {
    let error = answer.expect_err("a refusal");
    let code = error.err.map_or("none", EventErrorCode::as_str);
    let text = error.error.description.split(':').next().unwrap_or_default().to_owned();
    format!("{} {code} {text}", error.error.status)
}

#[tokio::test]
async fn an_account_disabled_at_the_provider_suspends_the_person_and_what_they_delegated() {
    let login = Login::with_events().await;
    let header = login.world.desk_app();
    let scope = Some("read:cases write:case_comments offline_access");
    let query = login.world.authorization("desk-app", None, scope);
    let departure = login.try_to_leave(&query).await.unwrap();
    let away = Away { query, location: departure.location, pending: departure.pending };
    let code = login.code(&away, &json!({})).await;
    let first = login.world.token(&login.world.redemption("desk-app", &code), Some(&header)).await.unwrap();
    let own = login.token_of_session("s2").await;
    let svid = login.world.svid("support-agent").await;
    let exchange = login.world.app_exchange(&svid, &exposed(&first), CRM, "read:cases");
    let mandate = exposed(&login.world.token(&exchange, Some(&header)).await.unwrap());
    let riley = login.world.person_token("riley", Some(CRM), Some("read:cases")).await;

    login.says("e1", &json!({})).await.unwrap();
    assert!(login.is_disabled());
    for dead in [&own, &mandate] {
        assert!(!lives(&login.world, dead).await);
        assert!(login.world.speaks_for(dead).is_none());
    }
    assert_eq!(
        refused(login.world.token(&exchange, Some(&header)).await),
        "400 invalid_request subject_revoked"
    );
    let next = login.world.refreshing("desk-app", &refresh_token(&first));
    assert_eq!(
        refused(login.world.token(&next, Some(&header)).await),
        "400 invalid_grant refresh_token_ended"
    );
    assert!(lives(&login.world, &riley).await, "another person");
    let all = login.world.records(&Query::default());
    let record = all.iter().find(|record| record.kind == RecordKind::Registry).unwrap();
    let detail = record.detail.as_deref().unwrap();
    assert!(detail.starts_with("changed person dana (disabled): the identity provider http://"), "{detail}");
    assert!(detail.ends_with("says account-disabled") && record.by.is_none(), "{detail}");
    assert_eq!(record.said().sub.unwrap().sub, "user-7");
    let kept: Vec<_> = record.effects.iter().collect();
    assert!(kept.contains(&"record_stop") && kept.contains(&"halt_entry"), "{kept:?}");

    // A login at the provider, which may not know it yet, gives nothing.
    let away = login.leave().await;
    login.give(&away, &json!({}));
    assert!(login.come_back(&away).await.is_err());
    login.enable().await;
    let next = login.world.refreshing("desk-app", &refresh_token(&first));
    let answer = login.world.token(&next, Some(&header)).await;
    assert_eq!(refused(answer), "400 invalid_grant refresh_token_ended", "what ended stays ended");
    assert!(!lives(&login.world, &mandate).await);
}

#[tokio::test]
async fn an_event_counts_once_and_a_lost_answer_is_given_again() {
    let login = Login::with_events().await;
    let disabled = login.signed(&login.event("e1", &json!({})));
    let revoked = json!({"events": event("caep/event-type/session-revoked")});
    let revoked = login.signed(&login.event("e2", &revoked));
    login.push(&revoked).await.unwrap();
    login.push(&disabled).await.unwrap();
    let before = login.world.records(&Query::default()).len();
    login.push(&disabled).await.unwrap();
    assert_eq!(login.world.records(&Query::default()).len(), before, "nothing happened");
    login.enable().await;
    let token = login.token_of_session("s1").await;
    for again in [&disabled, &revoked] {
        login.push(again).await.unwrap();
        assert!(!login.is_disabled() && lives(&login.world, &token).await);
    }
    login.world.clock.advance(Duration::from_hours(6 * 24));
    login.push(&disabled).await.unwrap();
    assert!(!login.is_disabled(), "it is remembered as long as it counts");
    login.world.clock.advance(Duration::from_hours(24));
    assert_eq!(said(login.push(&disabled).await), "400 invalid_request security_event_refused");
    // Another event is another one.
    login.says("e3", &json!({})).await.unwrap();
    assert!(login.is_disabled());
}

#[tokio::test]
async fn an_operator_alone_enables_who_the_provider_disabled() {
    let login = Login::with_events().await;
    login.says("e1", &json!({"events": event("risc/event-type/account-purged")})).await.unwrap();
    assert!(login.is_disabled());
    login.says("e2", &json!({"events": event("risc/event-type/account-enabled")})).await.unwrap();
    assert!(login.is_disabled() && login.newest().1);
    login.says("e3", &json!({})).await.unwrap();
    let (record, nothing) = login.newest();
    assert!(nothing && record.detail.unwrap().ends_with("the person is disabled already"));
    login.enable().await;
    login.says("e3", &json!({})).await.unwrap();
    assert!(!login.is_disabled(), "it was taken when there was nothing to do");
}

#[tokio::test]
async fn sessions_that_end_at_the_provider_end_here_and_the_person_can_log_in_again() {
    let login = Login::with_events().await;
    for (at, kind) in [
        "caep/event-type/session-revoked",
        "risc/event-type/sessions-revoked",
        "risc/event-type/credential-compromise",
        "risc/event-type/account-credential-change-required",
    ]
    .into_iter()
    .enumerate()
    {
        let token = login.token_of_session("s1").await;
        login.says(&format!("e{at}"), &json!({"events": event(kind)})).await.unwrap();
        assert!(!lives(&login.world, &token).await && !login.is_disabled(), "{kind}");
        let cut = login.world.last_record();
        assert_eq!((cut.kind, cut.outcome), (RecordKind::Revoke, Outcome::Permitted));
        login.world.clock.advance(Duration::from_secs(1));
        assert!(lives(&login.world, &login.token_of_session("s1").await).await, "{kind}");
        login.world.clock.advance(Duration::from_secs(1));
    }
    let (one, two) = (login.token_of_session("s1").await, login.token_of_session("s2").await);
    let of_session =
        |subject: Value| json!({"sub_id": subject, "events": event("caep/event-type/session-revoked")});
    let opaque = json!({"format": "opaque", "id": "s1"});
    login.says("s1", &of_session(opaque)).await.unwrap();
    assert!(!lives(&login.world, &one).await && lives(&login.world, &two).await);
    let complex = json!({"format": "complex", "session": {"format": "opaque", "id": "s2"}});
    login.says("s2", &of_session(complex)).await.unwrap();
    assert!(!lives(&login.world, &two).await);
    login.says("s3", &of_session(json!({"format": "opaque", "id": "s9"}))).await.unwrap();
    assert!(login.newest().1, "nothing came from it");
}

#[tokio::test]
async fn what_changes_nothing_is_recorded_and_acknowledged() {
    let login = Login::with_events().await;
    let token = login.token_of_session("s1").await;
    let issuer = login.provider.issuer.issuer();
    let other = json!({"format": "iss_sub", "iss": issuer, "sub": "user-8"});
    let local = json!({"format": "iss_sub", "iss": issuer, "sub": "riley"});
    let riley = login.world.person_token("riley", Some(CRM), Some("read:cases")).await;
    let stream = json!({"format": "opaque", "id": "the stream"});
    let mail = json!({"format": "email", "email": "dana@example.com"});
    for (at, changes) in [
        json!({"sub_id": other}),
        json!({"sub_id": local}),
        json!({"sub_id": other, "events": event("caep/event-type/session-revoked")}),
        json!({"sub_id": stream, "events": event("ssf/event-type/verification")}),
        json!({"sub_id": mail, "events": event("risc/event-type/identifier-recycled")}),
        json!({"events": event("caep/event-type/assurance-level-change")}),
        json!({"events": event("caep/event-type/of-the-future")}),
        json!({"events": {"https://other.example/event": {}}}),
    ]
    .into_iter()
    .enumerate()
    {
        login.says(&format!("e{at}"), &changes).await.unwrap();
        let (record, nothing) = login.newest();
        assert!(nothing && record.source.is_some(), "{changes}: within the quota of strangers");
        assert!(record.detail.unwrap().starts_with("the identity provider http://"));
    }
    assert!(!login.is_disabled() && lives(&login.world, &token).await && lives(&login.world, &riley).await);
}

#[tokio::test]
async fn an_event_about_nobody_is_not_remembered() {
    let login = Login::with_events().await;
    let issuer = login.provider.issuer.issuer();
    let revoked = event("caep/event-type/session-revoked");
    let user = format!("event\t{issuer}");
    let is_kept = |id: &str| {
        let now = login.world.clock.now();
        let look = |tx: &mandate_store::Tx<'_>| mandate_store::replay::is_remembered(tx, &user, id, now);
        login.world.store.read_blocking("events", look).unwrap()
    };
    let other = json!({"format": "iss_sub", "iss": issuer, "sub": "user-8"});
    for (id, changes) in [
        ("e1", json!({"sub_id": other})),
        ("e2", json!({"sub_id": other, "events": revoked})),
        ("e3", json!({"sub_id": {"format": "opaque", "id": "s9"}, "events": revoked})),
    ] {
        for _ in 0..2 {
            login.says(id, &changes).await.unwrap();
            assert!(login.newest().1 && !is_kept(id), "{changes}");
        }
    }
    login.says("e4", &json!({})).await.unwrap();
    login.says("e5", &json!({})).await.unwrap();
    assert!(login.newest().0.detail.unwrap().ends_with("the person is disabled already"));
    assert!(is_kept("e4") && is_kept("e5"));
}

#[tokio::test]
async fn nobody_else_disables_a_person() {
    let login = Login::with_events().await;
    let token = login.token_of_session("s1").await;
    let refused = |code: &str| format!("400 {code} security_event_refused");
    let issuer = login.provider.issuer.issuer();
    for (what, code, changes) in [
        ("another issuer", "invalid_issuer", json!({"iss": "https://other.example"})),
        ("another receiver", "invalid_audience", json!({"aud": "another"})),
        ("no receiver", "invalid_request", json!({"aud": null})),
        ("sub", "invalid_request", json!({"sub": "user-7"})),
        ("exp", "invalid_request", json!({"exp": 9_999_999_999_u64})),
        ("an ID token", "invalid_request", json!({"events": null, "nonce": "n"})),
        ("no event", "invalid_request", json!({"events": {}})),
        ("no id", "invalid_request", json!({"jti": null})),
        ("no time", "invalid_request", json!({"iat": null})),
        ("the future", "invalid_request", json!({"iat": 9_999_999_999_u64})),
        ("old", "invalid_request", json!({"iat": 1})),
        ("nobody", "invalid_request", json!({"sub_id": null})),
        ("an address", "invalid_request", json!({"sub_id": {"format": "email", "email": "user-7"}})),
        ("a number", "invalid_request", json!({"sub_id": {"format": "phone_number", "phone_number": "+1"}})),
        (
            "a person of another issuer",
            "invalid_request",
            json!({"sub_id": {"format": "iss_sub", "iss": story::ISSUER, "sub": "riley"}}),
        ),
    ] {
        assert_eq!(said(login.says("e1", &changes).await), refused(code), "{what}");
    }
    let claims = login.event("e1", &json!({}));
    let key = login.provider.issuer.key();
    for (typ, alg, kid, code) in [
        ("secevent+jwt", "none", key.key_id(), "invalid_key"),
        ("secevent+jwt", "HS256", key.key_id(), "invalid_key"),
        ("logout+jwt", "ES256", key.key_id(), "invalid_request"),
        ("JWT", "ES256", key.key_id(), "invalid_request"),
    ] {
        let header = json!({"alg": alg, "typ": typ, "kid": kid}).to_string();
        assert_eq!(
            said(login.push(&key.sign_raw(&header, &claims.to_string())).await),
            refused(code),
            "{alg} {typ}"
        );
    }
    let stranger = ProviderDouble::start();
    let header = json!({"alg": "ES256", "typ": "secevent+jwt", "kid": key.key_id()}).to_string();
    let forged = stranger.issuer.key().sign_raw(&header, &claims.to_string());
    assert_eq!(said(login.push(&forged).await), refused("authentication_failed"));
    assert_eq!(said(login.push("x").await), refused("invalid_request"));

    let good = login.signed(&claims);
    let malformed = "400 invalid_request security_event_malformed";
    for media in
        [None, Some("application/jwt"), Some("application/json"), Some("application/x-www-form-urlencoded")]
    {
        assert_eq!(said(login.push_as(&login.key(), media, good.as_bytes()).await), malformed);
    }
    assert_eq!(said(login.push_as(&login.key(), Some(MEDIA_TYPE), b"\xff").await), malformed);
    let off = "400 invalid_issuer security_events_off";
    for key in ["", "0000000000000000", issuer.as_str()] {
        assert_eq!(said(login.push_as(key, Some(MEDIA_TYPE), good.as_bytes()).await), off, "{key}");
    }
    let logout = login.provider.sign(&claims);
    assert!(login.push(&logout).await.is_err(), "typ JWT");
    assert!(!login.is_disabled() && lives(&login.world, &token).await);
    login
        .push_as(&login.key(), Some("Application/SecEvent+JWT; charset=utf-8"), good.as_bytes())
        .await
        .unwrap();
    assert!(login.is_disabled(), "none of those used it up");
}

#[tokio::test]
async fn no_events_are_taken_until_the_entry_says_so() {
    let login = Login::new();
    let off = "400 invalid_issuer security_events_off";
    assert_eq!(said(login.says("e1", &json!({})).await), off);
    login.take_events().await;
    // A provider whose events are taken speaks of its own people, at its own address.
    let other = ProviderDouble::start();
    let mut on = entry(&other, None);
    on.events_audience = Some("us".to_owned());
    login.world.apply(Entry::Issuer(on)).await;
    let issuer = other.issuer.issuer();
    let claims = login.event("e1", &json!({"iss": issuer, "aud": "us"}));
    let key = other.issuer.key();
    let header = json!({"alg": "ES256", "typ": "secevent+jwt", "kid": key.key_id()}).to_string();
    let of_other = key.sign_raw(&header, &claims.to_string());
    let at_other = mandate_core::registry::login_key(&issuer);
    let answer = login.push_as(&at_other, Some(MEDIA_TYPE), of_other.as_bytes()).await;
    assert_eq!(said(answer), "400 invalid_request security_event_refused", "sub_id has the first one's iss");
    assert!(said(login.push(&of_other).await).starts_with("400 invalid_key "), "at the first one's address");
    assert!(!login.is_disabled());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_in_force_while_the_database_cannot_be_written() {
    let login = Login::with_events().await;
    let token = login.token_of_session("s1").await;
    let disabled = login.signed(&login.event("e1", &json!({})));
    let session = json!({
        "sub_id": {"format": "opaque", "id": "s1"}, "events": event("caep/event-type/session-revoked"),
    });
    let session = login.signed(&login.event("e2", &session));
    let nothing = json!({"events": event("ssf/event-type/verification")});
    let nothing = login.signed(&login.event("e3", &nothing));
    let held = login.world.hold_database();
    login.push(&disabled).await.unwrap();
    assert!(login.is_disabled() && !lives(&login.world, &token).await);
    for waits in [&session, &nothing] {
        let error = login.push(waits).await.unwrap_err();
        assert_eq!((error.err, error.error.status), (None, 503), "it is sent again: {error:?}");
    }
    held.let_go();
    login.push(&session).await.unwrap();
    login.push(&nothing).await.unwrap();
}

/// What spoils a provider.
type Spoils<'a> = &'a dyn Fn(&HostileIssuer);

#[tokio::test]
async fn a_hostile_provider_gets_an_answer_and_no_person_is_disabled() {
    let page = "<html>".to_owned() + &" ".repeat(300_000);
    let spoil: [(&str, Spoils<'_>); 6] = [
        ("silent", &|issuer| issuer.fail_at("/keys", Trouble::Silence)),
        ("breaks off", &|issuer| issuer.fail_at("/keys", Trouble::Break)),
        ("fails", &|issuer| issuer.fail_at("/keys", Trouble::Status(500))),
        ("redirects", &|issuer| issuer.redirect_at("/keys", "https://other.example/keys")),
        ("HTML", &|issuer| issuer.serve_at("/keys", "text/html", "<html>")),
        ("huge", &|issuer| issuer.serve_at("/keys", "application/json", &page)),
    ];
    for (what, spoil) in spoil {
        let login = Login::with_events().await;
        let keys = format!("{}/keys", login.provider.issuer.issuer());
        login.provider.publish(&json!({ "jwks_uri": keys }));
        spoil(&login.provider.issuer);
        let event = login.signed(&login.event("e1", &json!({})));
        assert_eq!(said(login.push(&event).await), "503 none provider_unavailable", "{what}");
        assert!(!login.is_disabled(), "{what}");
    }
}
