//! Logouts that an identity provider demands.

use std::time::Duration;

use mandate_audit::{Query, RecordKind};
use mandate_core::registry::Entry;
use mandate_core::{Clock as _, Subject};
use mandate_oauth::OAuthError;
use mandate_testkit::provider_double::{CLIENT_ID, ProviderDouble, change};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{Post, encode, exposed, pairs, with};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::{Login, entry};
use crate::{lives, refused, shown};

const PATH: &str = "/login/backchannel-logout";

impl Login {
    /// Proper claims of a logout token of dana's session `s1`, with changes.
    fn logout(&self, id: &str, changes: &Value) -> Value {
        let now = self.world.clock.now().secs();
        let mut claims = json!({
            "iss": self.provider.issuer.issuer(), "sub": "user-7", "sid": "s1", "aud": CLIENT_ID,
            "iat": now, "exp": now + 120, "jti": id,
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        change(&mut claims, changes);
        claims
    }

    async fn send(&self, token: &str) -> Result<(), OAuthError> {
        let body = encode(&pairs(&[("logout_token", token)]));
        self.world.engine.end_provider_session(Post::form(PATH, None, &body).request()).await
    }

    pub(super) async fn log_out(&self, id: &str, changes: &Value) -> Result<(), OAuthError> {
        self.send(&self.provider.sign(&self.logout(id, changes))).await
    }

    /// A token for the CRM from a login in this session.
    async fn token_of(&self, session: &str) -> String {
        let away = self.leave_for(Some(CRM), Some("read:cases")).await;
        let code = self.code(&away, &json!({"sid": session})).await;
        self.redeem_at_crm(&code).await.unwrap()
    }

    async fn redeem_at_crm(&self, code: &str) -> Result<String, String> {
        let redemption = with(self.world.redemption("support-app", code), "resource", CRM);
        match self.world.token(&redemption, None).await {
            Ok(answer) => Ok(exposed(&answer)),
            refusal => Err(refused(refusal)),
        }
    }

    fn cuts(&self) -> usize {
        let all = self.world.records(&Query::default());
        all.iter().filter(|record| record.kind == RecordKind::Revoke && record.reason == "ok").count()
    }
}

#[tokio::test]
async fn a_logout_of_a_person_ends_everything_that_came_from_the_provider_and_nothing_else() {
    let login = Login::new();
    let (one, two) = (login.token_of("s1").await, login.token_of("s2").await);
    let to_exchange = login.token(&login.code(&login.leave().await, &json!({})).await).await;
    let svid = login.world.svid("support-agent").await;
    let exchange = login.world.agent_exchange(&svid, &to_exchange, CRM, "read:cases");
    let mandate = exposed(&login.world.token(&exchange, None).await.unwrap());
    let away = login.leave_for(Some(CRM), Some("read:cases")).await;
    let code = login.code(&away, &json!({"sid": "s1"})).await;
    let riley = login.world.person_token("riley", Some(CRM), Some("read:cases")).await;

    login.log_out("l1", &json!({})).await.unwrap();
    for dead in [&one, &two, &mandate] {
        assert!(!lives(&login.world, dead).await);
    }
    assert_eq!(refused(login.world.token(&exchange, None).await), "400 invalid_request subject_revoked");
    assert_eq!(login.redeem_at_crm(&code).await, Err("400 invalid_grant subject_revoked".to_owned()));
    assert!(lives(&login.world, &riley).await, "another person");
    let record = login.world.last_record();
    let cut = login.world.records(&Query::default());
    let cut = cut.iter().find(|record| record.kind == RecordKind::Revoke).unwrap();
    assert_eq!(cut.said().sub.unwrap().sub, "user-7");
    assert!(cut.detail.as_deref().unwrap().contains("ended the session"), "{record:?}");

    login.world.clock.advance(Duration::from_secs(1));
    assert!(lives(&login.world, &login.token_of("s3").await).await, "who logs in again is logged in");
}

#[tokio::test]
async fn a_logout_of_a_session_ends_its_codes_and_tokens_and_those_of_no_other() {
    let login = Login::new();
    let (one, two) = (login.token_of("s1").await, login.token_of("s2").await);
    let away = login.leave().await;
    let to_exchange = login.token(&login.code(&away, &json!({"sid": "s1"})).await).await;
    let svid = login.world.svid("support-agent").await;
    let exchange = login.world.agent_exchange(&svid, &to_exchange, CRM, "read:cases");
    let mandate = exposed(&login.world.token(&exchange, None).await.unwrap());
    let away = login.leave_for(Some(CRM), Some("read:cases")).await;
    let code = login.code(&away, &json!({"sid": "s1"})).await;

    login.log_out("l1", &json!({"sub": null})).await.unwrap();
    for dead in [&one, &mandate] {
        assert!(!lives(&login.world, dead).await);
    }
    assert_eq!(refused(login.world.token(&exchange, None).await), "400 invalid_request subject_revoked");
    assert_eq!(login.redeem_at_crm(&code).await, Err("400 invalid_grant code_unknown".to_owned()));
    assert!(lives(&login.world, &two).await, "another session");
    assert_eq!(login.cuts(), 2);
    login.log_out("l2", &json!({"sub": null, "sid": "unknown"})).await.unwrap();
    assert_eq!(login.cuts(), 2, "there was nothing to end");
    assert!(lives(&login.world, &two).await);
}

#[tokio::test]
async fn a_logout_token_counts_once() {
    let login = Login::new();
    let token = login.provider.sign(&login.logout("l1", &json!({})));
    login.send(&token).await.unwrap();
    login.world.clock.advance(Duration::from_secs(1));
    let later = login.token_of("s1").await;
    assert_eq!(shown(&login.send(&token).await.unwrap_err()), "400 invalid_request logout_token_replayed");
    assert!(lives(&login.world, &later).await, "it does not end a login that came after it");
    login.world.clock.advance(Duration::from_mins(10));
    assert_eq!(shown(&login.send(&token).await.unwrap_err()), "400 invalid_request logout_token_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_is_in_force_while_the_database_cannot_be_written() {
    let login = Login::new();
    let token = login.token_of("s1").await;
    let logout = login.provider.sign(&login.logout("l1", &json!({})));
    let session = login.provider.sign(&login.logout("l2", &json!({"sub": null})));
    let held = login.world.hold_database();
    login.send(&logout).await.unwrap();
    assert!(!lives(&login.world, &token).await);
    let error = login.send(&session).await.unwrap_err();
    assert_eq!(error.status, 503, "which tokens came from a session is in the database: {error}");
    held.let_go();
}

#[tokio::test]
async fn nobody_else_logs_a_person_out() {
    let login = Login::new();
    let token = login.token_of("s1").await;
    let refused = "400 invalid_request logout_token_refused";
    let event = "http://schemas.openid.net/event/backchannel-logout";
    for (what, changes) in [
        ("for another client", json!({"aud": "another"})),
        ("for another client too", json!({"aud": [CLIENT_ID, "another"]})),
        ("an ID token", json!({"events": null, "nonce": "n"})),
        ("a nonce", json!({"nonce": "n"})),
        ("no event", json!({"events": {}})),
        ("an event of another type", json!({"events": {event: "x"}})),
        ("neither person nor session", json!({"sub": null, "sid": null})),
        ("no id", json!({"jti": null})),
        ("no end", json!({"exp": null})),
    ] {
        assert_eq!(shown(&login.log_out("l1", &changes).await.unwrap_err()), refused, "{what}");
    }
    let key = login.provider.issuer.key();
    let claims = login.logout("l1", &json!({})).to_string();
    for header in [json!({"alg": "none"}), json!({"alg": "HS256"}), json!({"alg": "ES256", "typ": "at+jwt"})]
    {
        let forged = key.sign_raw(&header.to_string(), &claims);
        assert_eq!(shown(&login.send(&forged).await.unwrap_err()), refused, "{header}");
    }
    let stranger = ProviderDouble::start();
    let header = json!({"alg": "ES256", "kid": key.key_id()}).to_string();
    let forged = stranger.issuer.key().sign_raw(&header, &claims);
    assert_eq!(shown(&login.send(&forged).await.unwrap_err()), refused);

    let other_issuer = json!({"iss": stranger.issuer.issuer()});
    let of_stranger = stranger.sign(&login.logout("l1", &other_issuer));
    let unknown = "400 invalid_request provider_unknown";
    assert_eq!(shown(&login.send(&of_stranger).await.unwrap_err()), unknown, "nobody logs in there");
    for garbage in ["x", "a.b.c", "e30.e30.e30"] {
        assert_eq!(shown(&login.send(garbage).await.unwrap_err()), unknown, "{garbage}");
    }
    login.world.apply(Entry::Issuer(entry(&stranger, None))).await;
    login.world.clock.advance(Duration::from_secs(1));
    login.send(&stranger.sign(&login.logout("l2", &other_issuer))).await.unwrap();
    assert!(lives(&login.world, &token).await, "a provider ends only sessions of its own people");
    assert_eq!(login.cuts(), 0);

    let in_query = format!("{PATH}?logout_token=x");
    let error = login.world.engine.end_provider_session(Post::form(&in_query, None, "").request()).await;
    assert_eq!(shown(&error.unwrap_err()), "400 invalid_request parameter_in_query");
    let error = login.world.engine.end_provider_session(Post::form(PATH, None, "").request()).await;
    assert_eq!(shown(&error.unwrap_err()), "400 invalid_request parameter_missing");
}

#[tokio::test]
async fn a_provider_logs_out_no_person_of_the_embedded_directory_and_no_stranger() {
    let login = Login::new();
    let riley = login.world.person_token("riley", Some(CRM), Some("read:cases")).await;
    let before = login.world.records(&Query::default()).len();
    for (at, sub) in ["riley", "user-8"].into_iter().enumerate() {
        login.log_out(&format!("l{at}"), &json!({"sub": sub})).await.unwrap();
    }
    assert!(lives(&login.world, &riley).await);
    assert_eq!(login.cuts(), 0);
    assert_eq!(login.world.records(&Query::default()).len(), before, "nothing happened");
    let local = Subject { iss: story::ISSUER.parse().unwrap(), sub: "riley".to_owned() };
    let other_issuer = login.log_out("l9", &json!({"iss": local.iss})).await.unwrap_err();
    assert_eq!(shown(&other_issuer), "400 invalid_request provider_unknown");
}
