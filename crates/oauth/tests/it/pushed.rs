//! Pushed authorization requests (RFC 9126).

use std::time::Duration;

use mandate_audit::{Outcome, Query};
use mandate_core::names::Parameter;
use mandate_core::registry::{Client, ClientAuthentication, Entry, EntryKind};
use mandate_core::{RequestSource, Secret};
use mandate_oauth::{AuthorizationRequest, AuthorizeRefusal, LoginRefusal, OAuthError, metadata};
use mandate_testkit::story::{self, CALLBACK, CLIENT_SECRET, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{
    Pairs, Post, World, basic, encode, exposed, pairs, parameter, payload, with, without,
};

use crate::{refused, shown};

const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

fn query(client: &str, request_uri: &str) -> Pairs {
    pairs(&[("client_id", client), ("request_uri", request_uri)])
}

async fn asked(world: &World, query: &Pairs) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    world.engine.authorize(encode(query).as_bytes(), RequestSource::Other).await
}

async fn asked_again(world: &World, query: &Pairs) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    world.engine.authorize_again(encode(query).as_bytes(), RequestSource::Other).await
}

/// The refusal that the browser is shown, and the client is not told.
#[track_caller]
fn page(answer: Result<AuthorizationRequest, AuthorizeRefusal>) -> String {
    match answer {
        Err(AuthorizeRefusal::Page(error)) => shown(&error),
        other => panic!("not a page: {other:?}"),
    }
}

async fn logged_in(world: &World, request: &AuthorizationRequest) -> Result<String, OAuthError> {
    match world.engine.log_in(request, "riley", Secret::new(story::PASSWORD)).await {
        Ok(redirect) => Ok(parameter(redirect.location(), "code").unwrap()),
        Err(LoginRefusal::Unavailable(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

/// That it still gives a code: nothing before has used it up.
async fn is_unused(world: &World, client: &str, request_uri: &str) {
    let request = asked(world, &query(client, request_uri)).await.unwrap();
    logged_in(world, &request).await.unwrap();
}

fn story_request(world: &World) -> Pairs {
    world.authorization("support-app", Some(CRM), Some("read:cases"))
}

fn must_push() -> Entry {
    let client = story::client("strict-app", ClientAuthentication::None, &[]);
    Entry::Client(Client { require_pushed_authorization_requests: true, ..client })
}

#[tokio::test]
async fn a_pushed_request_becomes_a_token_for_what_was_pushed() {
    let world = World::story();
    let before = world.records(&Query::default()).len();
    let uri = world.push(&story_request(&world), None).await.unwrap();
    assert!(uri.starts_with(PREFIX), "{uri}");
    assert_eq!(world.records(&Query::default()).len(), before, "nothing is given yet");
    let request = asked(&world, &query("support-app", &uri)).await.unwrap();
    assert_eq!((request.client_id().as_str(), request.redirect_uri()), ("support-app", CALLBACK));
    let redirect = world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await.unwrap();
    assert_eq!(parameter(redirect.location(), "state").as_deref(), Some("the state"));
    assert_eq!(parameter(redirect.location(), "iss").as_deref(), Some(ISSUER));
    let code = parameter(redirect.location(), "code").unwrap();
    let claims =
        payload(&exposed(&world.token(&world.redemption("support-app", &code), None).await.unwrap()));
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["scope"]),
        (&"riley".into(), &CRM.into(), &"read:cases".into())
    );
}

#[tokio::test]
async fn a_client_pushes_as_it_authenticates_at_the_token_endpoint() {
    let world = World::story();
    let form = world.authorization("desk-app", None, None);
    let by_desk_app = Some(world.desk_app());
    let uri = world.push(&form, by_desk_app.as_deref()).await.unwrap();
    is_unused(&world, "desk-app", &uri).await;
    let portal = world.authorization("batch-app", None, None);
    let assertion = world.assertion(&world.assertion_claims());
    let signed = [portal, world.assertion_pairs(&assertion)].concat();
    assert!(world.push(&signed, None).await.is_ok());
    assert_eq!(
        shown(&world.push(&signed, None).await.unwrap_err()),
        "401 invalid_client client_assertion_replayed"
    );

    for (form, authorization, why) in [
        (form.clone(), None, "401 invalid_client client_authentication_missing"),
        (
            form.clone(),
            Some(basic("desk-app", "a wrong one")),
            "401 invalid_client client_authentication_failed",
        ),
        (
            with(form.clone(), "client_id", "support-app"),
            by_desk_app.clone(),
            "401 invalid_client client_id_mismatch",
        ),
        (with(form.clone(), "client_id", "nobody"), None, "401 invalid_client client_authentication_failed"),
        (with(form.clone(), "client_secret", CLIENT_SECRET), None, "401 invalid_client client_method_other"),
        // RFC 9126 section 2.1: client_id is a parameter of the authorization request too.
        (without(form.clone(), "client_id"), by_desk_app.clone(), "400 invalid_request parameter_missing"),
        (without(form, "client_id"), None, "401 invalid_client client_authentication_missing"),
    ] {
        assert_eq!(shown(&world.push(&form, authorization.as_deref()).await.unwrap_err()), why);
        let record = world.last_record();
        assert_eq!(
            (record.outcome, record.reason.as_str()),
            (Outcome::Refused, why.rsplit(' ').next().unwrap())
        );
    }
}

#[tokio::test]
async fn an_agent_pushes_nothing() {
    let world = World::story();
    let svid = world.svid("support-agent").await;
    let spiffe = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
    let form = with(with(story_request(&world), "client_assertion_type", spiffe), "client_assertion", &svid);
    let named = with(form.clone(), "client_id", &story::spiffe_id("support-agent"));
    for form in [without(form, "client_id"), named] {
        assert_eq!(
            shown(&world.push(&form, None).await.unwrap_err()),
            "400 unauthorized_client client_not_allowed"
        );
    }
}

#[tokio::test]
async fn what_the_authorization_endpoint_refuses_is_not_pushed() {
    let world = World::story();
    let form = story_request(&world);
    let mut refusals = vec![
        (without(form.clone(), "redirect_uri"), "400 invalid_request parameter_missing"),
        (without(form.clone(), "response_type"), "400 invalid_request parameter_missing"),
        (without(form.clone(), "code_challenge"), "400 invalid_request code_challenge_missing"),
        (without(form.clone(), "code_challenge_method"), "400 invalid_request code_challenge_method"),
        ([form.clone(), pairs(&[("resource", RESEARCH)])].concat(), "400 invalid_target resource_repeated"),
        ([form.clone(), pairs(&[("state", "x")])].concat(), "400 invalid_request malformed_form"),
    ];
    for (name, value, why) in [
        ("redirect_uri", "https://evil.example", "400 invalid_request redirect_uri_unregistered"),
        ("response_type", "token", "400 unsupported_response_type response_type_unsupported"),
        ("response_mode", "fragment", "400 invalid_request parameter_unacceptable"),
        ("code_challenge_method", "plain", "400 invalid_request code_challenge_method"),
        ("resource", "https://unknown.acme.example", "400 invalid_target resource_unknown"),
        ("scope", "read:nothing", "400 invalid_scope scope_unknown"),
        ("request", "x.y.z", "400 request_not_supported request_object_unsupported"),
        ("requested_actor", "support-agent", "400 invalid_request parameter_misplaced"),
        ("authorization_details", "[]", "400 invalid_request parameter_misplaced"),
        ("actor_token", "x.y.z", "400 invalid_request parameter_misplaced"),
        // RFC 9126 section 2.1.
        ("request_uri", "https://app.example/request", "400 invalid_request parameter_misplaced"),
    ] {
        refusals.push((with(form.clone(), name, value), why));
    }
    let earlier = world.push(&form, None).await.unwrap();
    refusals.push((with(form.clone(), "request_uri", &earlier), "400 invalid_request parameter_misplaced"));
    for (form, why) in refusals {
        assert_eq!(shown(&world.push(&form, None).await.unwrap_err()), why, "{form:?}");
    }
    is_unused(&world, "support-app", &earlier).await;

    let body = encode(&form);
    let in_query = Post::form(&format!("{}?scope=x", metadata::PAR_PATH), None, &body);
    let error = world.engine.push(in_query.request()).await.unwrap_err();
    assert_eq!(shown(&error), "400 invalid_request parameter_in_query");
    let json = Post::to(metadata::PAR_PATH, vec![("content-type", "application/json")], b"{}");
    assert_eq!(
        shown(&world.engine.push(json.request()).await.unwrap_err()),
        "400 invalid_request malformed_form"
    );
}

#[tokio::test]
async fn the_parameters_of_a_pushed_request_are_bounded() {
    let world = World::story();
    let with_state = |length: usize| with(story_request(&world), "state", &"s".repeat(length));
    let fixed = encode(&with_state(0)).len();
    let uri = world.push(&with_state(8192 - fixed), None).await.unwrap();
    assert!(uri.len() < 12_000, "it fits into an address: {}", uri.len());
    is_unused(&world, "support-app", &uri).await;
    let error = world.push(&with_state(8193 - fixed), None).await.unwrap_err();
    assert_eq!(shown(&error), "413 invalid_request pushed_request_too_large");
}

#[tokio::test]
async fn beside_a_pushed_request_nothing_but_its_client_is_named() {
    let world = World::story();
    let form = story_request(&world);
    let uri = world.push(&form, None).await.unwrap();
    let named = query("support-app", &uri);
    for name in Parameter::ALL {
        if [Parameter::ClientId, Parameter::RequestUri].contains(name) {
            continue;
        }
        // Also with the value that was pushed.
        let same = form.iter().find(|(known, _)| known == name.as_str()).map_or("x", |(_, value)| value);
        let answer = asked(&world, &with(named.clone(), name.as_str(), same)).await;
        assert_eq!(page(answer), "400 invalid_request parameter_misplaced", "{name}");
    }
    assert_eq!(
        page(asked(&world, &without(named.clone(), "client_id")).await),
        "400 invalid_request parameter_missing"
    );
    let twice = [named.clone(), pairs(&[("request_uri", &uri)])].concat();
    assert_eq!(page(asked(&world, &twice).await), "400 invalid_request malformed_form");
    // What no standard defines is ignored (RFC 6749 section 3.1).
    assert!(asked(&world, &with(named, "utm_source", "x")).await.is_ok());
    is_unused(&world, "support-app", &uri).await;
}

#[tokio::test]
async fn a_request_uri_is_its_clients_alone() {
    let world = World::story();
    let uri = world.push(&story_request(&world), None).await.unwrap();
    for other in ["desk-app", "nobody"] {
        assert_eq!(
            page(asked(&world, &query(other, &uri)).await),
            "400 invalid_request_uri pushed_request_other_client"
        );
    }
    is_unused(&world, "support-app", &uri).await;
}

#[tokio::test]
async fn only_what_this_server_has_sealed_is_a_pushed_request() {
    let world = World::story();
    let form = story_request(&world);
    let uri = world.push(&form, None).await.unwrap();
    let of_another = World::story().push(&form, None).await.unwrap();
    let code = world.code(&form, "riley").await;
    let mut changed = uri.clone();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    for forged in [changed, of_another, format!("{PREFIX}{code}"), PREFIX.to_owned(), format!("{uri}=")] {
        assert_eq!(
            page(asked(&world, &query("support-app", &forged)).await),
            "400 invalid_request_uri pushed_request_unknown",
            "{forged}"
        );
    }
    // A reference to a request object, which nobody fetches.
    for elsewhere in [code.as_str(), "https://app.example/request", &uri.to_uppercase()] {
        assert_eq!(
            page(asked(&world, &query("support-app", elsewhere)).await),
            "400 request_uri_not_supported request_object_unsupported"
        );
    }
    assert!(
        world.token(&world.redemption("support-app", &code), None).await.is_ok(),
        "the code is not used up"
    );
}

#[tokio::test]
async fn a_request_uri_is_nothing_at_other_endpoints_and_not_used_up_there() {
    let world = World::with_entries(story::away_apps());
    let uri = world.push(&story_request(&world), None).await.unwrap();
    let code = world.redemption("support-app", &uri);
    assert_eq!(refused(world.token(&code, None).await), "400 invalid_grant code_unknown");
    let refresh = world.refreshing("away-app", &uri);
    assert_eq!(refused(world.token(&refresh, None).await), "400 invalid_grant refresh_token_unknown");
    let svid = world.svid("support-agent").await;
    let exchange = world.agent_exchange(&svid, &uri, CRM, "read:cases");
    assert_eq!(refused(world.token(&exchange, None).await), "400 invalid_request subject_token_refused");
    let token = pairs(&[("token", &uri)]);
    assert_eq!(world.introspect(&token, Some(&world.crm_api())).await.unwrap()["active"], false);
    // RFC 7009 section 2.2: what is no token needs no revocation.
    world.revoke(&token, Some(&world.desk_app())).await.unwrap();
    is_unused(&world, "support-app", &uri).await;
}

#[tokio::test]
async fn a_login_begins_in_time_and_ends_15_minutes_later() {
    let world = World::story();
    let uri = world.push(&story_request(&world), None).await.unwrap();
    let named = query("support-app", &uri);
    world.clock.advance(Duration::from_secs(89));
    assert!(
        asked(&world, &named).await.is_ok() && asked(&world, &named).await.is_ok(),
        "the page may be reloaded"
    );
    world.clock.advance(Duration::from_secs(1));
    let expired = "400 invalid_request_uri pushed_request_expired";
    assert_eq!(page(asked(&world, &named).await), expired);
    world.clock.advance(Duration::from_secs(15 * 60 - 1));
    let request = asked_again(&world, &named).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(page(asked_again(&world, &named).await), expired);
    assert!(logged_in(&world, &request).await.is_ok(), "a password may wait for its turn");
}

#[tokio::test]
async fn a_pushed_request_gives_one_code() {
    let world = World::story();
    let uri = world.push(&story_request(&world), None).await.unwrap();
    let named = query("support-app", &uri);
    let request = asked(&world, &named).await.unwrap();
    // A login that gives no code does not use it up.
    assert!(matches!(
        world.engine.log_in(&request, "riley", Secret::new("a wrong one")).await,
        Err(LoginRefusal::Wrong(_))
    ));
    world.engine.decline(&request).await;
    let code = logged_in(&world, &request).await.unwrap();
    let again = asked(&world, &named).await.unwrap();
    for request in [&request, &again] {
        let error = logged_in(&world, request).await.unwrap_err();
        assert_eq!(shown(&error), "400 invalid_request_uri pushed_request_used");
        let record = world.last_record();
        assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Refused, "pushed_request_used"));
        assert_eq!(record.said().sub.unwrap().sub, "riley");
    }
    assert!(
        world.token(&world.redemption("support-app", &code), None).await.is_ok(),
        "the first code counts"
    );
    is_unused(&world, "support-app", &world.push(&story_request(&world), None).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_logins_at_once_with_one_pushed_request_one_gives_a_code() {
    let world = World::story();
    let uri = world.push(&story_request(&world), None).await.unwrap();
    let request = asked(&world, &query("support-app", &uri)).await.unwrap();
    let (one, other) = tokio::join!(logged_in(&world, &request), logged_in(&world, &request));
    assert_eq!([one.is_ok(), other.is_ok()].into_iter().filter(|is_ok| *is_ok).count(), 1);
}

#[tokio::test]
async fn a_pushed_request_is_validated_again_when_the_browser_brings_it() {
    let world = World::story();
    let uri = world.push(&story_request(&world), None).await.unwrap();
    world
        .change(EntryKind::Client, "support-app", |entry| {
            let Entry::Client(client) = entry else { panic!("{entry:?}") };
            client.redirect_uris = vec!["https://elsewhere.example/callback".to_owned()];
        })
        .await;
    assert_eq!(
        page(asked(&world, &query("support-app", &uri)).await),
        "400 invalid_request redirect_uri_unregistered"
    );
}

#[tokio::test]
async fn a_client_that_must_push_is_not_heard_otherwise() {
    let world = World::with_entries(vec![must_push()]);
    let form = world.authorization("strict-app", Some(CRM), Some("read:cases"));
    match asked(&world, &form).await {
        Err(AuthorizeRefusal::Redirect { location, error }) => {
            assert_eq!(shown(&error), "400 invalid_request pushed_request_required", "RFC 9126 section 4");
            assert_eq!(parameter(&location, "state").as_deref(), Some("the state"));
        }
        other => panic!("{other:?}"),
    }
    let uri = world.push(&form, None).await.unwrap();
    is_unused(&world, "strict-app", &uri).await;
}

#[tokio::test]
async fn the_metadata_name_the_endpoint() {
    let metadata = World::story().engine.metadata();
    assert_eq!(metadata["pushed_authorization_request_endpoint"], format!("{ISSUER}/par"));
    assert_eq!(metadata["request_uri_parameter_supported"], false, "RFC 9126 section 5: of others");
}
