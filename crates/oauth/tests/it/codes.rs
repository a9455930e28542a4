//! Authorization requests and codes.

mod scopes;

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Query, RecordKind};
use mandate_core::registry::{Client, ClientAuthentication, Entry, EntryKind};
use mandate_core::{CutTarget, RequestSource, Secret};
use mandate_oauth::{AuthorizeRefusal, LoginRefusal};
use mandate_testkit::story::{self, CALLBACK, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{
    CODE_VERIFIER, Pairs, World, encode, exposed, parameter, payload, with, without,
};

use crate::{refused, shown};

async fn page(world: &World, query: &Pairs) -> String {
    match world.engine.authorize(encode(query).as_bytes(), RequestSource::Other).await {
        Err(AuthorizeRefusal::Page(error)) => shown(&error),
        other => panic!("not a page: {other:?}"),
    }
}

async fn sent_back(world: &World, query: &Pairs) -> String {
    match world.engine.authorize(encode(query).as_bytes(), RequestSource::Other).await {
        Err(AuthorizeRefusal::Redirect { location, error }) => {
            assert!(location.starts_with(CALLBACK), "{location}");
            assert_eq!(parameter(&location, "error").as_deref(), Some(error.error.as_str()));
            assert_eq!(parameter(&location, "state").as_deref(), Some("the state"));
            assert_eq!(parameter(&location, "iss").as_deref(), Some(ISSUER), "RFC 9207: on errors too");
            shown(&error)
        }
        other => panic!("not a redirect: {other:?}"),
    }
}

#[tokio::test]
async fn a_code_becomes_a_token_for_the_resource_and_scope_that_were_asked() {
    let world = World::story();
    let token = world.person_token("riley", Some(CRM), Some("read:cases")).await;
    let claims = payload(&token);
    assert_eq!(claims["sub"], "riley");
    assert_eq!(claims["aud"], CRM);
    assert_eq!(claims["scope"], "read:cases");
    assert_eq!(claims["client_id"], "support-app");
    assert!(claims.get("act").is_none());
    let ours = payload(&world.person_token("riley", None, None).await);
    assert_eq!(ours["aud"], ISSUER);
    assert_eq!(ours["scope"], "read:cases write:case_comments write:opportunities");
}

#[tokio::test]
async fn every_answer_that_goes_back_to_the_client_names_the_issuer() {
    let world = World::story();
    let query = world.authorization("support-app", Some(CRM), Some("read:cases"));
    let asked = async |query: &Pairs| {
        world.engine.authorize(encode(query).as_bytes(), RequestSource::Other).await.unwrap()
    };
    let request = asked(&query).await;
    let success = world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await.unwrap();
    let declined = world.engine.decline(&request).await;
    // The person is authenticated, and has not the right.
    let beyond = asked(&world.authorization("support-app", Some(CRM), Some("send:mail"))).await;
    let refused = world.engine.log_in(&beyond, "riley", Secret::new(story::PASSWORD)).await;
    let Err(LoginRefusal::Redirect { location: refused, .. }) = refused else { panic!("{refused:?}") };
    for location in [success.location(), &declined, &refused] {
        assert_eq!(parameter(location, "iss").as_deref(), Some(ISSUER), "RFC 9207 section 2: {location}");
        assert_eq!(parameter(location, "code").is_some(), location == success.location());
        assert_eq!(location.matches("iss=").count(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_confidential_client_redeems_with_its_credential() {
    let world = World::story();
    let code = world.code(&world.authorization("desk-app", None, None), "riley").await;
    let form = world.redemption("desk-app", &code);
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_authentication_missing");
    assert!(world.token(&form, Some(&world.desk_app())).await.is_ok());
}

#[tokio::test]
async fn an_unregistered_redirect_uri_is_never_redirected_to() {
    let world = World::story();
    let query = world.authorization("support-app", None, None);
    for uri in [
        "http://127.0.0.1:9200/callback/",
        "http://localhost:9200/callback",
        "https://evil.example",
        "javascript:alert(1)",
    ] {
        assert_eq!(
            page(&world, &with(query.clone(), "redirect_uri", uri)).await,
            "400 invalid_request redirect_uri_unregistered",
            "{uri}"
        );
    }
    assert_eq!(
        page(&world, &without(query.clone(), "redirect_uri")).await,
        "400 invalid_request parameter_missing"
    );
    assert_eq!(
        page(&world, &with(query.clone(), "client_id", "nobody")).await,
        "400 invalid_request parameter_unacceptable"
    );
    assert_eq!(
        page(&world, &without(query.clone(), "client_id")).await,
        "400 invalid_request parameter_missing"
    );
    let mut twice = query.clone();
    twice.push(("state".to_owned(), "other".to_owned()));
    assert_eq!(page(&world, &twice).await, "400 invalid_request malformed_form");
    // The port of a loopback literal is the one exemption (RFC 8252 section 7.3).
    let native = with(query, "redirect_uri", "http://127.0.0.1:51234/callback");
    assert!(world.engine.authorize(encode(&native).as_bytes(), RequestSource::Other).await.is_ok());
}

#[tokio::test]
async fn what_can_be_refused_is_refused_before_the_login() {
    let world = World::story();
    let query = world.authorization("support-app", Some(CRM), Some("read:cases"));
    for (name, value, why) in [
        ("resource", "https://unknown.acme.example", "400 invalid_target resource_unknown"),
        ("resource", "crm", "400 invalid_target resource_malformed"),
        ("resource", "urn:crm", "400 invalid_target resource_malformed"),
        ("scope", "read:nothing", "400 invalid_scope scope_unknown"),
        ("scope", "openid profile", "400 invalid_scope scope_unknown"),
        ("scope", "a  b", "400 invalid_scope scope_malformed"),
        ("response_type", "token", "400 unsupported_response_type response_type_unsupported"),
        ("response_mode", "fragment", "400 invalid_request parameter_unacceptable"),
        ("code_challenge_method", "plain", "400 invalid_request code_challenge_method"),
        ("code_challenge", "short", "400 invalid_request code_challenge_malformed"),
        ("request", "x.y.z", "400 request_not_supported request_object_unsupported"),
        ("request_uri", "urn:x", "400 request_uri_not_supported request_object_unsupported"),
        ("requested_actor", "support-agent", "400 invalid_request requested_actor_not_pushed"),
        ("actor_token", "x.y.z", "400 invalid_request parameter_misplaced"),
        ("actor_token_type", "urn:x", "400 invalid_request parameter_misplaced"),
        ("subject_token", "x.y.z", "400 invalid_request parameter_misplaced"),
        (
            "authorization_details",
            "[]",
            "400 invalid_authorization_details authorization_details_unsupported",
        ),
    ] {
        assert_eq!(sent_back(&world, &with(query.clone(), name, value)).await, why, "{name}={value}");
    }
    assert_eq!(
        sent_back(&world, &without(query.clone(), "code_challenge")).await,
        "400 invalid_request code_challenge_missing"
    );
    assert_eq!(
        sent_back(&world, &without(query.clone(), "code_challenge_method")).await,
        "400 invalid_request code_challenge_method"
    );
    let mut two = query;
    two.push(("resource".to_owned(), RESEARCH.to_owned()));
    assert_eq!(sent_back(&world, &two).await, "400 invalid_target resource_repeated");
}

#[tokio::test]
async fn a_code_is_bound_to_verifier_redirect_uri_and_resource() {
    let world = World::story();
    let query = world.authorization("support-app", Some(CRM), None);
    let code = world.code(&query, "riley").await;
    let form = world.redemption("support-app", &code);
    for (name, value, why) in [
        ("code_verifier", CODE_VERIFIER.replace('k', "l"), "400 invalid_grant code_verifier_mismatch"),
        ("code_verifier", "short".to_owned(), "400 invalid_grant code_verifier_malformed"),
        ("redirect_uri", format!("{CALLBACK}?x"), "400 invalid_grant code_redirect_uri"),
        ("resource", RESEARCH.to_owned(), "400 invalid_target resource_not_authorized"),
        ("code", "unknown".to_owned(), "400 invalid_grant code_unknown"),
    ] {
        assert_eq!(refused(world.token(&with(form.clone(), name, &value), None).await), why);
    }
    for (name, why) in [
        ("code_verifier", "400 invalid_request code_verifier_missing"),
        ("redirect_uri", "400 invalid_request parameter_missing"),
        ("code", "400 invalid_request parameter_missing"),
    ] {
        assert_eq!(refused(world.token(&without(form.clone(), name), None).await), why);
    }
    // None of these attempts used the code up.
    assert!(world.token(&with(form.clone(), "resource", CRM), None).await.is_ok());

    let code = world.code(&world.authorization("support-app", Some(ISSUER), None), "riley").await;
    let form = with(world.redemption("support-app", &code), "resource", ISSUER);
    assert!(world.token(&form, None).await.is_ok());
}

#[tokio::test]
async fn a_subject_token_has_no_place_at_a_code() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let form = with(world.redemption("support-app", &code), "subject_token", "x");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request parameter_misplaced");
}

#[tokio::test]
async fn a_code_used_twice_kills_what_came_of_it() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let form = world.redemption("support-app", &code);
    let subject = exposed(&world.token(&form, None).await.unwrap());
    let exchange = world.agent_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    assert!(world.token(&exchange, None).await.is_ok());

    assert_eq!(refused(world.token(&form, None).await), "400 invalid_grant code_reused");
    assert_eq!(refused(world.token(&exchange, None).await), "400 invalid_request subject_revoked");
}

#[tokio::test]
async fn a_person_who_uses_codes_twice_again_and_again_makes_few_cuts_and_every_token_is_dead() {
    let world = World::with_entries(vec![Entry::Person(story::person(
        "casey",
        vec![story::permission("crm", "read:cases")],
    ))]);
    let casey = world.person_token("casey", None, None).await;
    let query = world.authorization("support-app", None, None);
    let mut tokens = Vec::new();
    for _ in 0..40 {
        let form = world.redemption("support-app", &world.code(&query, "riley").await);
        tokens.push(exposed(&world.token(&form, None).await.unwrap()));
        for _ in 0..2 {
            assert_eq!(refused(world.token(&form, None).await), "400 invalid_grant code_reused");
        }
        world.clock.advance(Duration::from_millis(1));
    }
    let cuts = Arc::clone(&world.live.snapshot().revocations);
    assert_eq!(cuts.len(), 33, "32 of tokens, and one of the person for all others");
    let person = story::person("riley", Vec::new()).id;
    assert!(cuts.contains(&CutTarget::Person(person.clone())));
    for token in &tokens {
        assert!(world.speaks_for(token).is_none());
    }
    assert!(world.speaks_for(&casey).is_some(), "nobody else is affected");
    let next = world.person_token("riley", None, None).await;
    assert!(world.speaks_for(&next).is_some(), "a new login works");
    let record = world
        .records(&Query { kind: Some(RecordKind::Revoke), limit: Some(1), ..Query::default() })
        .pop()
        .unwrap();
    assert_eq!(record.said().sub, Some(&person));
    assert!(record.detail.unwrap().contains("every token of the person is revoked"));
}

#[tokio::test]
async fn the_cut_of_a_code_that_was_used_twice_ends_soon_after_its_token() {
    let world = World::story();
    let form = world.redemption(
        "support-app",
        &world.code(&world.authorization("support-app", None, None), "riley").await,
    );
    let token = payload(&exposed(&world.token(&form, None).await.unwrap()));
    world.clock.advance(Duration::from_mins(50));
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_grant code_reused");
    let cuts = Arc::clone(&world.live.snapshot().revocations);
    let forget = cuts.iter().next().unwrap().forget;
    assert_eq!(forget.secs(), token["exp"].as_u64().unwrap() + 5 * 60);
}

#[tokio::test]
async fn another_clients_code_is_refused_and_not_used_up() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let stolen = world.redemption("desk-app", &code);
    assert_eq!(
        refused(world.token(&stolen, Some(&world.desk_app())).await),
        "400 invalid_grant code_other_client"
    );
    assert!(world.token(&world.redemption("support-app", &code), None).await.is_ok());
}

#[tokio::test]
async fn two_redemptions_at_once_yield_one_token() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let form = world.redemption("support-app", &code);
    world.faults.hold();
    let release = async {
        tokio::task::yield_now().await;
        world.faults.release();
    };
    let (a, b, ()) = tokio::join!(world.token(&form, None), world.token(&form, None), release);
    let (token, error) = match (a, b) {
        (Ok(token), Err(error)) | (Err(error), Ok(token)) => (exposed(&token), error),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(&error), "400 invalid_grant code_reused");
    let exchange = world.agent_exchange(&world.svid("support-agent").await, &token, CRM, "read:cases");
    assert_eq!(
        refused(world.token(&exchange, None).await),
        "400 invalid_request subject_revoked",
        "and that one is dead"
    );
}

#[tokio::test]
async fn a_code_lives_sixty_seconds_and_everything_is_checked_again_at_redemption() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(
        refused(world.token(&world.redemption("support-app", &code), None).await),
        "400 invalid_grant code_unknown"
    );

    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let disable = |entry: &mut Entry| {
        if let Entry::Person(person) = entry {
            person.disabled = true;
        }
    };
    world.change(EntryKind::Person, "riley", disable).await;
    assert_eq!(
        refused(world.token(&world.redemption("support-app", &code), None).await),
        "400 invalid_grant person_disabled"
    );
}

#[tokio::test]
async fn a_bare_origin_with_a_slash_is_the_resource_that_is_registered_without() {
    let world = World::story();
    let slash = format!("{CRM}/");
    assert_eq!(payload(&world.person_token("riley", Some(&slash), None).await)["aud"], CRM);
    let ours = format!("{ISSUER}/");
    assert_eq!(payload(&world.person_token("riley", Some(&ours), None).await)["aud"], ISSUER);
    // The token endpoint accepts either spelling, no matter which one the code was requested with.
    for (asked, redeemed) in [(CRM, slash.as_str()), (slash.as_str(), CRM), (slash.as_str(), slash.as_str())]
    {
        let code = world.code(&world.authorization("support-app", Some(asked), None), "riley").await;
        let form = with(world.redemption("support-app", &code), "resource", redeemed);
        assert!(world.token(&form, None).await.is_ok(), "{asked} {redeemed}");
    }
    let path = world.authorization("support-app", Some(&format!("{CRM}/api/")), None);
    assert_eq!(
        sent_back(&world, &path).await,
        "400 invalid_target resource_unknown",
        "and no hint for strangers"
    );
}

#[tokio::test]
async fn native_apps_come_back_by_a_scheme_of_their_own_or_by_any_port_of_a_loopback_host() {
    let native = Client {
        redirect_uris: [
            "com.example.app:/oauth",
            "cursor://anysphere.cursor-retrieval/oauth",
            "http://localhost:3334/cb",
        ]
        .map(String::from)
        .to_vec(),
        ..story::client("native", ClientAuthentication::None, &[])
    };
    let world = World::with_entries(vec![Entry::Client(native)]);
    for uri in
        ["com.example.app:/oauth", "cursor://anysphere.cursor-retrieval/oauth", "http://localhost:51234/cb"]
    {
        let query = with(world.authorization("native", Some(CRM), None), "redirect_uri", uri);
        let request = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
        let redirect =
            world.engine.log_in(&request, "riley", mandate_core::Secret::new(story::PASSWORD)).await.unwrap();
        assert!(redirect.location().starts_with(&format!("{uri}?code=")), "{}", redirect.location());
        let code = parameter(redirect.location(), "code").unwrap();
        let form = with(world.redemption("native", &code), "redirect_uri", uri);
        assert!(world.token(&form, None).await.is_ok(), "{uri}");
    }
    for uri in [
        "com.example.app:/other",
        "com.example.evil:/oauth",
        "cursor://evil/oauth",
        "http://localhost:51234/other",
    ] {
        let query = with(world.authorization("native", Some(CRM), None), "redirect_uri", uri);
        assert_eq!(page(&world, &query).await, "400 invalid_request redirect_uri_unregistered", "{uri}");
    }
}

async fn logs_in(world: &World, scope: &str) -> bool {
    let query = world.authorization("support-app", Some(ISSUER), Some(scope));
    let request = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
    match world.engine.log_in(&request, "riley", mandate_core::Secret::new(story::PASSWORD)).await {
        Ok(_) => true,
        Err(mandate_oauth::LoginRefusal::Redirect { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_code_from_before_a_cut_on_its_person_or_client_is_worth_nothing() {
    let world = World::story();
    let riley = story::person("riley", Vec::new()).id;
    for target in [CutTarget::Person(riley), CutTarget::Client("support-app".parse().unwrap())] {
        // A new password and `mandate revoke` put the same cut in force.
        let query = world.authorization("support-app", None, None);
        let code = world.code(&query, "riley").await;
        world.cut(target.clone());
        world.clock.advance(Duration::from_millis(1));
        let redeemed = world.token(&world.redemption("support-app", &code), None).await;
        assert_eq!(refused(redeemed), "400 invalid_grant subject_revoked", "{target:?}");

        let token = world.person_token("riley", None, None).await;
        let exchange = world.agent_exchange(&world.svid("support-agent").await, &token, CRM, "read:cases");
        assert!(world.token(&exchange, None).await.is_ok(), "{target:?}: a login right after it works");
    }
}

#[tokio::test]
async fn a_redirect_uri_that_was_taken_off_the_list_gets_no_code_and_its_codes_are_worth_nothing() {
    let world = World::story();
    let query = world.authorization("support-app", None, None);
    let code = world.code(&query, "riley").await;
    let request = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
    world
        .change(EntryKind::Client, "support-app", |entry| {
            let Entry::Client(client) = entry else { panic!("a client") };
            client.redirect_uris = vec!["https://desk.acme.example/callback".to_owned()];
        })
        .await;
    assert_eq!(
        refused(world.token(&world.redemption("support-app", &code), None).await),
        "400 invalid_grant code_redirect_uri"
    );
    let answer = world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await;
    assert!(
        matches!(&answer, Err(LoginRefusal::Unavailable(error)) if shown(error) == "400 invalid_request redirect_uri_unregistered")
    );
}

#[tokio::test]
async fn a_code_is_worth_nothing_once_its_client_authenticates_otherwise() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    world.change_without_cuts(EntryKind::Client, "support-app", |entry| {
        let Entry::Client(client) = entry else { panic!("a client") };
        client.authentication = mandate_core::registry::ClientAuthentication::ClientSecretBasic;
    });
    let answer = world.token(&world.redemption("support-app", &code), None).await;
    assert_eq!(refused(answer), "401 invalid_client client_authentication_missing");
}
