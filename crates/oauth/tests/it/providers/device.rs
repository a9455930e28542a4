//! Logins at an identity provider for a device without a browser.

use std::time::Duration;

use mandate_core::RequestSource;
use mandate_oauth::{Arrival, CallbackRefusal};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{exposed, pairs, payload};
use serde_json::{Value, json};

use super::{Away, Login, answer};
use crate::{refused, shown};

/// A device of `tv-app` that waits, and the browser of dana, who has chosen the provider for it.
struct ForDevice {
    login: Login,
    code: String,
    user_code: String,
    away: Away,
}

impl ForDevice {
    async fn away() -> Self {
        let login = Login::with_more(story::device_apps());
        let asked = pairs(&[("client_id", "tv-app"), ("resource", CRM), ("scope", "read:cases")]);
        let begun = login.world.device_authorization(&asked, None).await.unwrap();
        let text = |name: &str| begun.get(name).unwrap().as_str().unwrap().to_owned();
        let (code, user_code) = (text("device_code"), text("user_code"));
        let request = login.world.engine.device_request(&user_code, false, RequestSource::Other).await;
        let left = login.world.engine.leave_for_device(&request.unwrap(), &login.key()).await.unwrap();
        let away = Away { query: Vec::new(), location: left.location, pending: left.pending };
        Self { login, code, user_code, away }
    }

    async fn back(&self, said: &Value) -> Result<Arrival, CallbackRefusal> {
        self.login.give(&self.away, said);
        self.login.come_back(&self.away).await
    }

    async fn poll(&self) -> Result<Value, String> {
        let answer = self.login.world.token(&self.login.world.polling("tv-app", &self.code), None).await;
        match answer {
            Ok(response) => Ok(payload(&exposed(&response))),
            refusal => Err(refused(refusal)),
        }
    }
}

#[tokio::test]
async fn a_person_of_a_provider_allows_a_device() {
    let device = ForDevice::away().await;
    let arrival = device.back(&json!({"acr": "phr", "amr": ["hwk"]})).await.unwrap();
    assert_eq!((arrival.location, arrival.person.as_str()), (None, "dana"), "the browser goes nowhere");
    let claims = device.poll().await.unwrap();
    let issuer = device.login.provider.issuer.issuer();
    assert_eq!(claims["sub"], format!("{issuer}#user-7"));
    assert_eq!((&claims["acr"], &claims["scope"]), (&json!("phr"), &json!("read:cases")));
    let again = device.login.bring(&answer(&device.away), Some(&device.away.pending)).await;
    let Err(CallbackRefusal::Page(error)) = again else { panic!("{again:?}") };
    assert_eq!(shown(&error), "400 invalid_grant login_replayed");
}

#[tokio::test]
async fn an_answer_of_a_provider_allows_no_device_that_has_its_answer_or_is_too_old() {
    for refuses in [true, false] {
        let device = ForDevice::away().await;
        if refuses {
            let engine = &device.login.world.engine;
            let request = engine.device_request(&device.user_code, true, RequestSource::Other).await;
            engine.refuse_device(&request.unwrap()).await.unwrap();
        } else {
            device.login.world.clock.advance(Duration::from_mins(10));
        }
        let back = device.back(&json!({})).await;
        let Err(CallbackRefusal::Page(error)) = back else { panic!("{back:?}") };
        assert_eq!(shown(&error), "400 access_denied user_code_unknown");
        assert!(device.poll().await.is_err());
    }
}

#[tokio::test]
async fn a_stranger_at_the_provider_allows_nothing() {
    let device = ForDevice::away().await;
    let back = device.back(&json!({"sub": "user-8"})).await;
    assert!(matches!(back, Err(CallbackRefusal::Stranger(..))), "{back:?}");
    assert_eq!(device.poll().await.unwrap_err(), "400 authorization_pending device_pending");
}

#[tokio::test]
async fn a_logout_of_the_session_ends_what_the_device_has_not_asked_for_yet() {
    let device = ForDevice::away().await;
    device.back(&json!({"sid": "s1"})).await.unwrap();
    device.login.log_out("l1", &json!({"sub": null})).await.unwrap();
    assert_eq!(device.poll().await.unwrap_err(), "400 expired_token device_code_expired");
}
