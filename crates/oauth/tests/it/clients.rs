//! Who may call, and how they prove it.

use mandate_testkit::hostile_issuer::TestKey;
use mandate_testkit::story::{CLIENT_SECRET, CRM, ISSUER};
use mandate_testkit::world::{Pairs, World, basic, with, without};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use crate::refused;

async fn batch(world: &World) -> Pairs {
    let subject = world.person_token("riley", None, None).await;
    world.app_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases")
}

async fn ask(world: &World, form: &Pairs, claims: &Value) -> String {
    let mut form = form.clone();
    form.extend(world.assertion_pairs(&world.assertion(claims)));
    match world.token(&form, None).await {
        Ok(_) => "ok".to_owned(),
        refusal => refused(refusal),
    }
}

#[tokio::test]
async fn each_method_works_for_the_client_registered_for_it() {
    let world = World::story();
    let form = batch(&world).await;
    assert_eq!(ask(&world, &form, &world.assertion_claims()).await, "ok");
    assert!(world.token(&form, Some(&world.desk_app())).await.is_ok());
    let named = with(form, "client_id", "desk-app");
    assert!(world.token(&named, Some(&world.desk_app())).await.is_ok());
}

#[tokio::test]
async fn a26_an_assertion_is_for_our_issuer_alone_short_and_signed_by_its_client() {
    let world = World::story();
    let form = batch(&world).await;
    let now = mandate_core::Clock::now(&*world.clock).secs();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut claims = world.assertion_claims();
        change(&mut claims);
        claims
    };
    let refused_assertion = "401 invalid_client client_assertion_refused";
    for claims in [
        changed(&|c| c["aud"] = json!(format!("{ISSUER}/token"))),
        changed(&|c| c["aud"] = json!([ISSUER, "https://other.example"])),
        changed(&|c| c["aud"] = json!(format!("{ISSUER}/"))),
        changed(&|c| c["exp"] = json!(now)),
        changed(&|c| c["exp"] = json!(now + 10 * 365 * 86_400)),
        changed(&|c| c["sub"] = json!("desk-app")),
        changed(&|c| c["iss"] = json!("desk-app")),
        changed(&|c| drop(c.as_object_mut().unwrap().remove("jti"))),
        changed(&|c| drop(c.as_object_mut().unwrap().remove("exp"))),
    ] {
        assert_eq!(ask(&world, &form, &claims).await, refused_assertion, "{claims}");
    }
    assert_eq!(ask(&world, &form, &changed(&|c| c["aud"] = json!([ISSUER]))).await, "ok", "a list of one is a sole value");

    // Another client's name over this key, and another key under this name.
    let other = changed(&|c| (c["iss"], c["sub"]) = (json!("desk-app"), json!("desk-app")));
    assert_eq!(ask(&world, &form, &other).await, "401 invalid_client client_authentication_failed");
    let stranger = TestKey::generate();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": stranger.key_id()});
    let mut forged = form.clone();
    forged.extend(world.assertion_pairs(&stranger.sign_raw(&header.to_string(), &world.assertion_claims().to_string())));
    assert_eq!(refused(world.token(&forged, None).await), refused_assertion);
}

#[tokio::test]
async fn k12_a_client_assertion_counts_once_and_a_jwt_svid_until_it_expires() {
    let world = World::story();
    let form = batch(&world).await;
    let claims = world.assertion_claims();
    assert_eq!(ask(&world, &form, &claims).await, "ok");
    assert_eq!(ask(&world, &form, &claims).await, "401 invalid_client client_assertion_replayed");
    // Also when the first use was refused for another reason, and also at another endpoint.
    let claims = world.assertion_claims();
    assert!(ask(&world, &with(form.clone(), "resource", "x"), &claims).await.starts_with("400"));
    assert_eq!(ask(&world, &form, &claims).await, "401 invalid_client client_assertion_replayed");
    let mut form = vec![("token".to_owned(), "x".to_owned())];
    form.extend(world.assertion_pairs(&world.assertion(&claims)));
    assert_eq!(crate::shown(&world.introspect(&form, None).await.unwrap_err()), "401 invalid_client client_assertion_replayed");

    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for _ in 0..3 {
        assert!(world.token(&form, None).await.is_ok());
    }
    world.clock.advance(mandate_authority::JWT_SVID_LIFETIME);
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_assertion_refused");
}

#[tokio::test]
async fn wrong_secrets_unknown_clients_and_other_methods_look_alike() {
    let world = World::story();
    let form = batch(&world).await;
    let failed = "401 invalid_client client_authentication_failed";
    for header in [
        basic("desk-app", "wrong"),
        basic("desk-app", ""),
        basic("nobody", CLIENT_SECRET),
        basic("batch-app", CLIENT_SECRET),
        basic("support-app", CLIENT_SECRET),
    ] {
        let error = world.token(&form, Some(&header)).await.unwrap_err();
        assert_eq!(crate::shown(&error), failed);
        assert!(error.www_authenticate.as_ref().unwrap().starts_with("Basic "));
    }
    // A confidential client cannot come without its credential, nor under another's name.
    assert_eq!(
        refused(world.token(&with(form.clone(), "client_id", "desk-app"), None).await),
        "401 invalid_client client_authentication_missing"
    );
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_authentication_missing");
    let other = with(form, "client_id", "batch-app");
    assert_eq!(refused(world.token(&other, Some(&world.desk_app())).await), "401 invalid_client client_id_mismatch");
}

#[tokio::test]
async fn two_methods_in_one_request_are_refused() {
    let world = World::story();
    let form = batch(&world).await;
    let (svid, app) = (world.svid("support-agent").await, world.desk_app());
    let agent = with(
        with(form.clone(), "client_assertion", &svid),
        "client_assertion_type",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
    );
    assert_eq!(refused(world.token(&agent, Some(&app)).await), "400 invalid_request client_methods");
    let secret = with(form, "client_secret", CLIENT_SECRET);
    assert_eq!(refused(world.token(&secret, Some(&app)).await), "400 invalid_request client_methods");
    assert_eq!(refused(world.token(&with(secret, "client_id", "desk-app"), None).await), "401 invalid_client client_method_unsupported");
}

#[tokio::test]
async fn z5_one_kind_of_assertion_is_not_another() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let svid = world.svid("support-agent").await;
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let answer = refused(world.token(&with(form.clone(), "client_assertion_type", bearer), None).await);
    assert!(answer.starts_with("401 invalid_client"), "{answer}");
    let assertion = world.assertion(&world.assertion_claims());
    assert_eq!(
        refused(world.token(&with(form.clone(), "client_assertion", &assertion), None).await),
        "401 invalid_client client_assertion_refused"
    );
    // A grant type that is not offered does not log an agent in.
    let jwt_bearer = with(without(form, "subject_token"), "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(refused(world.token(&jwt_bearer, None).await), "400 unsupported_grant_type grant_type_unsupported");
}

#[tokio::test]
async fn an_agent_may_not_redeem_codes() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let svid = world.svid("support-agent").await;
    let form = without(world.redemption("support-app", &code), "client_id");
    let form =
        with(with(form, "client_assertion", &svid), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    assert_eq!(refused(world.token(&form, None).await), "400 unauthorized_client client_not_allowed");
}
