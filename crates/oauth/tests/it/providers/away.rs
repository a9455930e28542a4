//! Logins at an identity provider that go on while the person is away.

use std::time::Duration;

use mandate_audit::{Query, RecordKind};
use mandate_core::registry::{Entry, EntryKind};
use mandate_oauth::TokenResponse;
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{exposed, payload, refresh_token, with};
use serde_json::json;

use super::{Away, Login};
use crate::{lives, refused};

impl Login {
    /// A login of dana through `away-app` in the session `s1`, which goes on.
    async fn that_goes_on() -> (Self, TokenResponse) {
        let login = Self::with_more(story::away_apps());
        let scope = Some("read:cases offline_access");
        let query = login.world.authorization("away-app", Some(CRM), scope);
        let departure = login.try_to_leave(&query).await.unwrap();
        let away = Away { query, location: departure.location, pending: departure.pending };
        let code = login.code(&away, &json!({"acr": "phr", "amr": ["hwk"], "sid": "s1"})).await;
        let redemption = with(login.world.redemption("away-app", &code), "resource", CRM);
        let first = login.world.token(&redemption, None).await.unwrap();
        (login, first)
    }

    pub(super) async fn goes_on(&self, response: &TokenResponse) -> Result<TokenResponse, String> {
        let form = self.world.refreshing("away-app", &refresh_token(response));
        match self.world.token(&form, None).await {
            Ok(response) => Ok(response),
            refusal => Err(refused(refusal)),
        }
    }
}

#[tokio::test]
async fn a_refreshed_token_says_what_the_provider_said_at_the_login() {
    let (login, first) = Login::that_goes_on().await;
    login.world.clock.advance(Duration::from_hours(20));
    let next = login.goes_on(&first).await.unwrap();
    let (was, is) = (payload(&exposed(&first)), payload(&exposed(&next)));
    for claim in ["sub", "sub_id", "auth_time", "acr", "amr", "scope", "aud"] {
        assert_eq!(was[claim], is[claim], "{claim}");
    }
    assert_eq!((&is["acr"], &is["amr"]), (&json!("phr"), &json!(["hwk"])));
    assert_eq!(is["lineage"]["parents"], json!([was["jti"]]));
}

#[tokio::test]
async fn a_logout_of_the_session_ends_it_also_hours_later() {
    let (login, first) = Login::that_goes_on().await;
    login.world.clock.advance(Duration::from_hours(20));
    let next = login.goes_on(&first).await.unwrap();
    assert!(lives(&login.world, &exposed(&next)).await);
    login.log_out("l1", &json!({"sub": null, "sid": "another"})).await.unwrap();
    assert!(lives(&login.world, &exposed(&next)).await, "another session");
    login.log_out("l2", &json!({"sub": null})).await.unwrap();
    assert!(!lives(&login.world, &exposed(&next)).await);
    assert_eq!(login.goes_on(&next).await.unwrap_err(), "400 invalid_grant refresh_token_ended");
}

#[tokio::test]
async fn a_logout_of_the_person_ends_it() {
    let (login, first) = Login::that_goes_on().await;
    login.world.clock.advance(Duration::from_hours(20));
    login.log_out("l1", &json!({})).await.unwrap();
    assert_eq!(login.goes_on(&first).await.unwrap_err(), "400 invalid_grant refresh_token_ended");
}

#[tokio::test]
async fn it_ends_with_the_entry_of_the_provider_and_with_that_of_the_person() {
    let (login, first) = Login::that_goes_on().await;
    let issuer = login.provider.issuer.issuer();
    let without_login = |entry: &mut Entry| {
        if let Entry::Issuer(issuer) = entry {
            issuer.login = None;
            "urn:test".clone_into(&mut issuer.audience);
        }
    };
    login.world.change_without_cuts(EntryKind::Issuer, issuer.as_str(), without_login);
    assert_eq!(login.goes_on(&first).await.unwrap_err(), "400 invalid_grant subject_revoked");

    let (login, first) = Login::that_goes_on().await;
    login.world.remove_without_cuts(EntryKind::Person, "dana");
    assert_eq!(login.goes_on(&first).await.unwrap_err(), "400 invalid_grant person_unknown");
}

#[tokio::test]
async fn a_used_refresh_token_ends_what_the_person_of_the_provider_has_from_the_login() {
    let (login, first) = Login::that_goes_on().await;
    let next = login.goes_on(&first).await.unwrap();
    assert_eq!(login.goes_on(&first).await.unwrap_err(), "400 invalid_grant refresh_token_reused");
    assert!(!lives(&login.world, &exposed(&next)).await);
    let all = login.world.records(&Query::default());
    let record = all.iter().find(|record| record.kind == RecordKind::Revoke).unwrap();
    assert_eq!(record.about.said().sub.map(|person| person.sub.as_str()), Some("user-7"));
}
