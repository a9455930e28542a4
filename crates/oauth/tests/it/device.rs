//! Logins for a device without a browser (RFC 8628).

mod ends;
mod faults;
mod guessing;

use std::time::Duration;

use mandate_audit::{Outcome, Query, RecordKind};
use mandate_core::registry::{Client, ClientAuthentication, Entry, EntryKind};
use mandate_core::{RequestSource, Secret};
use mandate_oauth::{DeviceRequest, OAuthError, TokenResponse, Visitor};
use mandate_testkit::story::{self, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{Pairs, World, exposed, pairs, payload, refresh_token, with};
use serde_json::Value;

use crate::{lives, refused, shown};

const PENDING: &str = "400 authorization_pending device_pending";
const SLOW_DOWN: &str = "400 slow_down device_slow_down";
const EXPIRED: &str = "400 expired_token device_code_expired";
const REUSED: &str = "400 invalid_grant device_code_reused";
const OTHER_CLIENT: &str = "400 invalid_grant device_code_other_client";
const NO_CODE: &str = "400 access_denied user_code_unknown";
const NOT_ALLOWED: &str = "400 unauthorized_client client_not_allowed";

fn world() -> World {
    World::with_entries(story::device_apps())
}

/// A device that waits.
struct Device {
    code: String,
    user_code: String,
}

fn device(answer: &Value) -> Device {
    let text = |name: &str| answer.get(name).unwrap().as_str().unwrap().to_owned();
    Device { code: text("device_code"), user_code: text("user_code") }
}

fn asked(client: &str, scope: &str) -> Pairs {
    pairs(&[("client_id", client), ("resource", CRM), ("scope", scope)])
}

/// A device of `tv-app` that wants to read cases of the CRM.
async fn begun(world: &World) -> Device {
    device(&world.device_authorization(&asked("tv-app", "read:cases"), None).await.unwrap())
}

async fn poll(world: &World, device: &Device) -> Result<TokenResponse, OAuthError> {
    world.token(&world.polling("tv-app", &device.code), None).await
}

async fn entered(world: &World, user_code: &str) -> Result<DeviceRequest, OAuthError> {
    world.engine.device_request(user_code, false, RequestSource::Other).await
}

#[tokio::test]
async fn a_person_logs_in_elsewhere_and_the_device_gets_the_token() {
    let world = world();
    let answer = world.device_authorization(&asked("tv-app", "read:cases"), None).await.unwrap();
    let user_code = answer["user_code"].as_str().unwrap();
    assert_eq!((user_code.len(), user_code.find('-')), (9, Some(4)), "{user_code}");
    assert_eq!(answer["verification_uri"], format!("{ISSUER}/device"));
    assert_eq!(answer["verification_uri_complete"], format!("{ISSUER}/device?user_code={user_code}"));
    assert_eq!((&answer["expires_in"], &answer["interval"]), (&600.into(), &5.into()));
    assert_eq!(answer["device_code"].as_str().unwrap().len(), 43, "32 bytes");
    let waiting = device(&answer);
    let before = world.records(&Query::default()).len();
    assert_eq!(refused(poll(&world, &waiting).await), PENDING);
    assert_eq!(world.records(&Query::default()).len(), before, "to wait is no outcome");

    let request = entered(&world, &user_code.to_lowercase().replace('-', " ")).await.unwrap();
    assert_eq!((request.user_code().as_str(), request.client_id()), (user_code, "tv-app"));
    assert_eq!(request.resource().unwrap().as_str(), CRM);
    assert_eq!(request.scopes().unwrap().to_string(), "read:cases");
    assert_eq!(
        (world.engine.at_most_for(&request).to_string().as_str(), request.offline_for()),
        ("read:cases", None)
    );
    world.allow_device(user_code, "riley").await.unwrap();
    let allowed = world.last_record();
    assert_eq!((allowed.kind, allowed.outcome), (RecordKind::Authorize, Outcome::Permitted));
    assert_eq!(allowed.detail.as_deref(), Some("for another device"));
    assert_eq!(allowed.said().sub.unwrap().sub, "riley");
    assert_eq!(allowed.said().client, Some("tv-app"));

    let response = poll(&world, &waiting).await.unwrap();
    let claims = payload(&exposed(&response));
    assert_eq!((&claims["sub"], &claims["aud"]), (&"riley".into(), &CRM.into()));
    assert_eq!((&claims["scope"], &claims["client_id"]), (&"read:cases".into(), &"tv-app".into()));
    assert!(claims.get("act").is_none() && response.refresh_token().is_none());
}

#[tokio::test]
async fn a_confidential_client_authenticates_both_times() {
    let world = world();
    let form = asked("desk-app", "read:cases");
    let missing = "401 invalid_client client_authentication_missing";
    assert_eq!(shown(&world.device_authorization(&form, None).await.unwrap_err()), missing);
    let header = world.desk_app();
    let waiting = device(&world.device_authorization(&form, Some(&header)).await.unwrap());
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    let form = world.polling("desk-app", &waiting.code);
    assert_eq!(refused(world.token(&form, None).await), missing);
    assert!(world.token(&form, Some(&header)).await.is_ok());
}

#[tokio::test]
async fn only_a_client_whose_entry_says_so_may_wait() {
    let world = world();
    let begin = async |form: &Pairs| shown(&world.device_authorization(form, None).await.unwrap_err());
    assert_eq!(begin(&asked("support-app", "read:cases")).await, NOT_ALLOWED);
    assert_eq!(
        begin(&asked("nobody", "read:cases")).await,
        "401 invalid_client client_authentication_failed"
    );
    assert_eq!(begin(&pairs(&[])).await, "401 invalid_client client_authentication_missing");
    let svid = world.svid("support-agent").await;
    let by_agent = pairs(&[
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"),
        ("client_assertion", &svid),
    ]);
    assert_eq!(begin(&by_agent).await, NOT_ALLOWED, "an agent exchanges tokens");
    let document = serde_json::json!({
        "redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none",
    });
    let registered = world
        .engine
        .register(Some("application/json"), document.to_string().as_bytes(), RequestSource::Other)
        .await
        .unwrap();
    let registered: Value = serde_json::from_str(&registered).unwrap();
    let id = registered["client_id"].as_str().unwrap();
    assert_eq!(begin(&asked(id, "read:cases")).await, NOT_ALLOWED, "nothing proves who it is");

    // Neither may any of them ask for a token, with the code of another.
    let waiting = begun(&world).await;
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    for client in ["support-app", id] {
        let form = world.polling(client, &waiting.code);
        assert_eq!(refused(world.token(&form, None).await), NOT_ALLOWED, "{client}");
    }
    let mut form = by_agent;
    form.extend(world.polling("", &waiting.code).into_iter().filter(|(name, _)| name != "client_id"));
    assert_eq!(refused(world.token(&form, None).await), NOT_ALLOWED);
    assert!(poll(&world, &waiting).await.is_ok(), "and none of them used it up");
}

#[tokio::test]
async fn what_cannot_be_given_is_refused_before_anybody_sees_a_code() {
    let world = world();
    let form = asked("tv-app", "read:cases");
    for (name, value, why) in [
        ("resource", "https://unknown.acme.example", "400 invalid_target resource_unknown"),
        ("resource", "crm", "400 invalid_target resource_malformed"),
        ("scope", "read:nothing", "400 invalid_scope scope_unknown"),
        ("scope", "a  b", "400 invalid_scope scope_malformed"),
        ("request", "x.y.z", "400 request_not_supported request_object_unsupported"),
        ("request_uri", "urn:x", "400 request_uri_not_supported request_object_unsupported"),
        ("requested_actor", "support-agent", "400 invalid_request parameter_misplaced"),
        (
            "authorization_details",
            "[]",
            "400 invalid_authorization_details authorization_details_unsupported",
        ),
        ("actor_token", "x.y.z", "400 invalid_request parameter_misplaced"),
        ("subject_token", "x.y.z", "400 invalid_request parameter_misplaced"),
    ] {
        let refusal = world.device_authorization(&with(form.clone(), name, value), None).await.unwrap_err();
        assert_eq!(shown(&refusal), why, "{name}={value}");
        assert_eq!(world.last_record().outcome, Outcome::Refused);
    }
    let mut two = form.clone();
    two.push(("resource".to_owned(), RESEARCH.to_owned()));
    let refusal = world.device_authorization(&two, None).await.unwrap_err();
    assert_eq!(shown(&refusal), "400 invalid_target resource_repeated");
    let listed = Client {
        device: true,
        scopes: Some("write:opportunities".parse().unwrap()),
        ..story::client("tv-app", ClientAuthentication::None, &[])
    };
    world.apply(Entry::Client(listed)).await;
    let refusal = world.device_authorization(&form, None).await.unwrap_err();
    assert_eq!(shown(&refusal), "400 invalid_scope scope_beyond_client");
}

#[tokio::test]
async fn a_device_that_asks_too_often_waits_five_seconds_longer_each_time() {
    let world = world();
    let waiting = begun(&world).await;
    let after = async |seconds: u64| {
        world.clock.advance(Duration::from_secs(seconds));
        refused(poll(&world, &waiting).await)
    };
    assert_eq!(after(0).await, PENDING, "the first");
    assert_eq!(after(5).await, PENDING);
    assert_eq!(after(4).await, PENDING, "networks are not even");
    assert_eq!(after(3).await, SLOW_DOWN);
    assert_eq!(after(8).await, SLOW_DOWN, "10 seconds now");
    assert_eq!(after(13).await, SLOW_DOWN, "15 seconds now");
    assert_eq!(after(20).await, PENDING, "20 seconds now");
    let other = begun(&world).await;
    assert_eq!(refused(poll(&world, &other).await), PENDING, "each by itself");
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    assert!(poll(&world, &waiting).await.is_ok(), "an answer is given at once");
}

#[tokio::test]
async fn a_device_that_is_refused_is_told_and_nobody_can_allow_it_any_longer() {
    let world = world();
    let waiting = begun(&world).await;
    let request = entered(&world, &waiting.user_code).await.unwrap();
    world.engine.refuse_device(&request).await.unwrap();
    let record = world.last_record();
    assert_eq!((record.reason.as_str(), record.outcome), ("device_refused", Outcome::Refused));
    assert_eq!(refused(poll(&world, &waiting).await), "400 access_denied device_refused");
    assert_eq!(shown(&entered(&world, &waiting.user_code).await.unwrap_err()), NO_CODE);
    // The page was open in another tab.
    let late = world
        .engine
        .log_in_for_device(Visitor::default(), &request, "riley", Secret::new(story::PASSWORD))
        .await;
    assert!(format!("{late:?}").contains("user_code_unknown"), "{late:?}");
    assert_eq!(world.last_record().reason, "user_code_unknown");
    assert_eq!(shown(&world.engine.refuse_device(&request).await.unwrap_err()), NO_CODE);
    assert_eq!(refused(poll(&world, &waiting).await), "400 access_denied device_refused");
}

#[tokio::test]
async fn a_device_waits_for_ten_minutes_and_the_answer_to_it_too() {
    let world = world();
    let (unanswered, allowed) = (begun(&world).await, begun(&world).await);
    world.allow_device(&allowed.user_code, "riley").await.unwrap();
    world.clock.advance(Duration::from_secs(599));
    assert_eq!(refused(poll(&world, &unanswered).await), PENDING);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(refused(poll(&world, &unanswered).await), EXPIRED);
    assert_eq!(refused(poll(&world, &allowed).await), EXPIRED);
    assert_eq!(shown(&entered(&world, &unanswered.user_code).await.unwrap_err()), NO_CODE);
    let unknown = Device { code: "unknown".to_owned(), user_code: String::new() };
    assert_eq!(refused(poll(&world, &unknown).await), "400 invalid_grant device_code_unknown");
}

#[tokio::test]
async fn another_client_does_not_use_the_code_up() {
    let world = world();
    let waiting = begun(&world).await;
    let by_other = world.polling("desk-app", &waiting.code);
    let other = async || refused(world.token(&by_other, Some(&world.desk_app())).await);
    assert_eq!(other().await, OTHER_CLIENT, "while it waits");
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    assert_eq!(other().await, OTHER_CLIENT);
    assert!(poll(&world, &waiting).await.is_ok());
}

#[tokio::test]
async fn the_token_is_for_the_resource_that_the_person_was_shown() {
    let world = world();
    let waiting = begun(&world).await;
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    let form = world.polling("tv-app", &waiting.code);
    let elsewhere = with(form.clone(), "resource", RESEARCH);
    assert_eq!(refused(world.token(&elsewhere, None).await), "400 invalid_target resource_not_authorized");
    // More scopes are not asked for here (RFC 8628 section 3.4), and not given.
    let more = with(with(form, "resource", CRM), "scope", "read:cases write:case_comments");
    assert_eq!(world.token(&more, None).await.unwrap().scopes().to_string(), "read:cases");
}

#[tokio::test]
async fn a_device_may_go_on_while_the_person_is_away_only_if_they_were_told() {
    let world = world();
    let begin = async || {
        let form = asked("tv-app", "read:cases offline_access");
        device(&world.device_authorization(&form, None).await.unwrap())
    };
    let waiting = begin().await;
    let request = entered(&world, &waiting.user_code).await.unwrap();
    assert!(request.offline_for().is_some(), "the page says so");
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    let token = refresh_token(&poll(&world, &waiting).await.unwrap());
    assert!(world.token(&world.refreshing("tv-app", &token), None).await.is_ok());

    let waiting = begin().await;
    world.change_without_cuts(EntryKind::Client, "tv-app", |entry| {
        if let Entry::Client(client) = entry {
            client.refresh = false;
        }
    });
    assert!(entered(&world, &waiting.user_code).await.unwrap().offline_for().is_none());
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    world.change_without_cuts(EntryKind::Client, "tv-app", |_| {});
    assert!(poll(&world, &waiting).await.unwrap().refresh_token().is_none(), "they were not told");
}

#[tokio::test]
async fn a_person_who_may_not_do_it_cannot_allow_it() {
    let world = world();
    let waiting = begun(&world).await;
    let refusal = world.allow_device(&waiting.user_code, "casey").await.unwrap_err();
    assert_eq!(shown(&refusal), "400 invalid_scope scope_beyond_person");
    assert_eq!(refused(poll(&world, &waiting).await), PENDING, "somebody else may");
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    assert!(poll(&world, &waiting).await.is_ok());
}
