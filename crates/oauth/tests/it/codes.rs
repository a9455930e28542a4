//! Authorization requests and codes.

use std::time::Duration;

use mandate_core::registry::{Entry, Kind};
use mandate_core::{CutTarget, Secret};
use mandate_oauth::{AuthorizeRefusal, LoginRefusal};
use mandate_testkit::story::{self, CALLBACK, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{CODE_VERIFIER, JWT, Pairs, World, encode, exposed, parameter, payload, with, without};

use crate::{refused, shown};

async fn page(world: &World, query: &Pairs) -> String {
    match world.engine.authorize(encode(query).as_bytes()).await {
        Err(AuthorizeRefusal::Page(error)) => shown(&error),
        other => panic!("not a page: {other:?}"),
    }
}

async fn sent_back(world: &World, query: &Pairs) -> String {
    match world.engine.authorize(encode(query).as_bytes()).await {
        Err(AuthorizeRefusal::Redirect { location, error }) => {
            assert!(location.starts_with(CALLBACK), "{location}");
            assert_eq!(parameter(&location, "error").as_deref(), Some(error.error));
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
async fn a_confidential_client_redeems_with_its_credential() {
    let world = World::story();
    let code = world.code(&world.authorization("desk-app", None, None), "riley").await;
    let form = world.redemption("desk-app", &code);
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_authentication_missing");
    assert!(world.token(&form, Some(&world.desk_app())).await.is_ok());
}

#[tokio::test]
async fn a18_an_unregistered_redirect_uri_is_never_redirected_to() {
    let world = World::story();
    let query = world.authorization("support-app", None, None);
    for uri in ["http://127.0.0.1:9200/callback/", "http://localhost:9200/callback", "https://evil.example", "javascript:alert(1)"] {
        assert_eq!(page(&world, &with(query.clone(), "redirect_uri", uri)).await, "400 invalid_request redirect_uri_unregistered", "{uri}");
    }
    assert_eq!(page(&world, &without(query.clone(), "redirect_uri")).await, "400 invalid_request parameter_missing");
    assert_eq!(page(&world, &with(query.clone(), "client_id", "nobody")).await, "400 invalid_request parameter_unacceptable");
    assert_eq!(page(&world, &without(query.clone(), "client_id")).await, "400 invalid_request parameter_missing");
    let mut twice = query.clone();
    twice.push(("state".to_owned(), "other".to_owned()));
    assert_eq!(page(&world, &twice).await, "400 invalid_request malformed_form");
    // The port of a loopback literal is the one exemption (RFC 8252 section 7.3).
    let native = with(query, "redirect_uri", "http://127.0.0.1:51234/callback");
    assert!(world.engine.authorize(encode(&native).as_bytes()).await.is_ok());
}

#[tokio::test]
async fn k7_k6_k16_what_can_be_refused_is_refused_before_the_login() {
    let world = World::story();
    let query = world.authorization("support-app", Some(CRM), Some("read:cases"));
    for (name, value, why) in [
        ("resource", "https://unknown.acme.example", "400 invalid_target resource_unknown"),
        ("resource", "crm", "400 invalid_target resource_malformed"),
        ("scope", "read:nothing", "400 invalid_scope scope_unknown"),
        ("scope", "a  b", "400 invalid_scope scope_malformed"),
        ("response_type", "token", "400 unsupported_response_type response_type_unsupported"),
        ("response_mode", "fragment", "400 invalid_request parameter_unacceptable"),
        ("code_challenge_method", "plain", "400 invalid_request code_challenge_method"),
        ("code_challenge", "short", "400 invalid_request code_challenge_malformed"),
        ("request", "x.y.z", "400 request_not_supported request_object_unsupported"),
        ("request_uri", "urn:x", "400 request_uri_not_supported request_object_unsupported"),
    ] {
        assert_eq!(sent_back(&world, &with(query.clone(), name, value)).await, why, "{name}={value}");
    }
    assert_eq!(sent_back(&world, &without(query.clone(), "code_challenge")).await, "400 invalid_request code_challenge_missing");
    assert_eq!(sent_back(&world, &without(query.clone(), "code_challenge_method")).await, "400 invalid_request code_challenge_method");
    let mut two = query;
    two.push(("resource".to_owned(), RESEARCH.to_owned()));
    assert_eq!(sent_back(&world, &two).await, "400 invalid_target resource_repeated");
}

#[tokio::test]
async fn k16_a17_a_code_is_bound_to_verifier_redirect_uri_and_resource() {
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
async fn a4_an_actor_token_has_no_place_at_a_code() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let svid = world.svid("support-agent").await;
    let form = world.redemption("support-app", &code);
    for (name, value) in [("actor_token", svid.as_str()), ("actor_token_type", JWT), ("subject_token", "x")] {
        assert_eq!(refused(world.token(&with(form.clone(), name, value), None).await), "400 invalid_request parameter_misplaced");
    }
}

#[tokio::test]
async fn a16_a_code_used_twice_kills_what_came_of_it() {
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
async fn a16_another_clients_code_is_refused_and_not_used_up() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let stolen = world.redemption("desk-app", &code);
    assert_eq!(refused(world.token(&stolen, Some(&world.desk_app())).await), "400 invalid_grant code_other_client");
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
    assert_eq!(refused(world.token(&exchange, None).await), "400 invalid_request subject_revoked", "and that one is dead");
}

#[tokio::test]
async fn a_code_lives_sixty_seconds_and_everything_is_checked_again_at_redemption() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(refused(world.token(&world.redemption("support-app", &code), None).await), "400 invalid_grant code_unknown");

    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let disable = |entry: &mut Entry| {
        if let Entry::Person(person) = entry {
            person.disabled = true;
        }
    };
    world.change(Kind::Person, "riley", disable).await;
    assert_eq!(refused(world.token(&world.redemption("support-app", &code), None).await), "400 invalid_grant person_disabled");
}

#[tokio::test]
async fn k3_our_own_administration_is_given_only_by_name_and_alone() {
    let mut riley = story::person("riley", vec![story::permission("crm", "read:cases"), story::permission("mandate", "mandate:admin")]);
    let admin = Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin"));
    let world = World::with_entries(vec![admin.clone(), Entry::Person(riley.clone())]);
    for (resource, scope, given) in [
        (Some(ISSUER), Some("mandate:admin"), "mandate:admin"),
        (Some(ISSUER), Some("read:cases"), "read:cases"),
        (Some(ISSUER), None, "read:cases"),
        (None, None, "read:cases"),
    ] {
        let claims = payload(&world.person_token("riley", resource, scope).await);
        assert_eq!((&claims["aud"], &claims["scope"]), (&ISSUER.into(), &given.into()), "{resource:?} {scope:?}");
    }
    assert!(!logs_in(&world, "mandate:admin read:cases").await, "not together with anything else");

    riley.may.pop();
    let world = World::with_entries(vec![admin, Entry::Person(riley)]);
    assert!(!logs_in(&world, "mandate:admin").await, "not without the right");
}

async fn logs_in(world: &World, scope: &str) -> bool {
    let query = world.authorization("support-app", Some(ISSUER), Some(scope));
    let request = world.engine.authorize(encode(&query).as_bytes()).await.unwrap();
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
async fn k3_a_resource_that_declares_our_administration_scope_gives_none_of_ours() {
    let riley = story::person("riley", vec![story::permission("tickets", "read:tickets mandate:admin")]);
    let world = World::with_entries(vec![
        Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin")),
        Entry::Resource(story::resource("tickets", "https://tickets.acme.example", "read:tickets mandate:admin")),
        Entry::Person(riley),
    ]);
    for resource in [None, Some(ISSUER)] {
        let claims = payload(&world.person_token("riley", resource, None).await);
        assert_eq!((&claims["aud"], &claims["scope"]), (&ISSUER.into(), &"read:tickets".into()), "{resource:?}");
    }
    assert!(!logs_in(&world, "mandate:admin").await);
    let theirs = payload(&world.person_token("riley", Some("https://tickets.acme.example"), None).await);
    assert_eq!(theirs["scope"], "mandate:admin read:tickets", "there it is a scope like any other");
}

#[tokio::test]
async fn a_redirect_uri_that_was_taken_off_the_list_gets_no_code_and_its_codes_are_worth_nothing() {
    let world = World::story();
    let query = world.authorization("support-app", None, None);
    let code = world.code(&query, "riley").await;
    let request = world.engine.authorize(encode(&query).as_bytes()).await.unwrap();
    world
        .change(Kind::Client, "support-app", |entry| {
            let Entry::Client(client) = entry else { panic!("a client") };
            client.redirect_uris = vec!["https://desk.acme.example/callback".to_owned()];
        })
        .await;
    assert_eq!(refused(world.token(&world.redemption("support-app", &code), None).await), "400 invalid_grant code_redirect_uri");
    let answer = world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await;
    assert!(matches!(&answer, Err(LoginRefusal::Unavailable(error)) if shown(error) == "400 invalid_request redirect_uri_unregistered"));
}

#[tokio::test]
async fn a_code_is_worth_nothing_once_its_client_authenticates_otherwise() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    world.change_without_cuts(Kind::Client, "support-app", |entry| {
        let Entry::Client(client) = entry else { panic!("a client") };
        client.authentication = mandate_core::registry::ClientAuthentication::ClientSecretBasic;
    });
    let answer = world.token(&world.redemption("support-app", &code), None).await;
    assert_eq!(refused(answer), "401 invalid_client client_authentication_missing");
}
