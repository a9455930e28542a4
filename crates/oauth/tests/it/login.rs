//! The embedded directory.

use std::time::Duration;

use mandate_audit::{Outcome, Query, RecordKind};
use mandate_core::registry::{Entry, EntryKind, SubjectScope};
use mandate_core::{RequestSource, Secret};
use mandate_oauth::{AuthorizationRequest, LoginRefusal, Visitor};
use mandate_testkit::story::{self, CRM, ISSUER, PASSWORD};
use mandate_testkit::world::{World, encode, parameter};

async fn request(world: &World) -> AuthorizationRequest {
    world
        .engine
        .authorize(
            encode(&world.authorization("support-app", Some(CRM), None)).as_bytes(),
            RequestSource::Other,
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn a_login_sends_the_browser_back_with_code_state_and_issuer() {
    let world = World::story();
    let request = request(&world).await;
    assert_eq!(request.client_id().as_str(), "support-app");
    assert_eq!(request.resource().unwrap().as_str(), CRM);
    let redirect = world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await.unwrap();
    assert_eq!(parameter(redirect.location(), "state").as_deref(), Some("the state"));
    assert_eq!(parameter(redirect.location(), "iss").as_deref(), Some(ISSUER));
    let code = parameter(redirect.location(), "code").unwrap();
    assert_eq!(code.len(), 43);
    assert!(!format!("{redirect:?}").contains(&code), "a code is not printed");
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Authorize, Outcome::Permitted));
    assert_eq!(record.said().sub.unwrap().sub, "riley");
}

#[tokio::test]
async fn unknown_disabled_foreign_and_wrong_all_answer_the_same() {
    let world = World::story();
    let mut gone = story::person("gone", Vec::new());
    gone.disabled = true;
    world.apply(Entry::Person(gone)).await;
    let mut foreign = story::person("foreign", Vec::new());
    foreign.id.iss = "https://login.example".parse().unwrap();
    world.apply(Entry::Issuer(story::trusted_issuer(foreign.id.iss.clone(), SubjectScope::Token))).await;
    world.apply(Entry::Person(foreign)).await;
    // Even with a password in the store, from when they were of the directory.
    let phc = Secret::new(
        mandate_oauth::password::hash(&Secret::new(PASSWORD), &mandate_core::SystemEntropy).unwrap(),
    );
    let set = |tx: &mandate_store::Tx<'_>| {
        ["gone", "foreign"]
            .iter()
            .try_for_each(|name| mandate_store::secrets::set_password(tx, &name.parse().unwrap(), &phc))
    };
    world.store.transact_blocking("passwords", set).unwrap();
    let request = request(&world).await;
    let mut answers = Vec::new();
    for (name, password, exists) in [
        ("riley", "wrong", true),
        ("nobody", PASSWORD, false),
        ("gone", PASSWORD, true),
        ("foreign", PASSWORD, true),
        ("RILEY", PASSWORD, false),
        ("", "", false),
        ("../x", PASSWORD, false),
    ] {
        match world.engine.log_in(&request, name, Secret::new(password)).await {
            Err(LoginRefusal::Wrong(error)) => answers.push(error.to_json()),
            other => panic!("{name}: {other:?}"),
        }
        let record = world.last_record();
        assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Refused, "login_failed"));
        let on = record.said().sub.map(|person| person.sub.as_str());
        assert_eq!(on, exists.then_some(name), "on whom it was tried, if there is such a person");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn guessing_is_slowed_by_name_known_or_not() {
    let world = World::story();
    let request = request(&world).await;
    for name in ["riley", "nobody"] {
        let mut paused = None;
        for _ in 0..7 {
            if let Err(LoginRefusal::Paused(pause, _)) =
                world.engine.log_in(&request, name, Secret::new("wrong")).await
            {
                paused = Some(pause);
                break;
            }
        }
        assert!(paused.is_some(), "{name}");
    }
    // The right password is not heard during the pause, and is afterwards.
    assert!(matches!(
        world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await,
        Err(LoginRefusal::Paused(..))
    ));
    assert!(world.engine.log_in(&request, "casey", Secret::new("wrong")).await.is_err());
    world.clock.advance(Duration::from_secs(2));
    assert!(world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await.is_ok());
}

#[tokio::test]
async fn what_was_typed_as_a_name_goes_into_the_log_only_if_it_is_one() {
    let world = World::story();
    let request = request(&world).await;
    assert!(world.engine.log_in(&request, "my-secret-password", Secret::new("riley")).await.is_err());
    let all = world.records(&Query::default());
    assert!(
        all.iter().all(|record| !format!("{record:?}").contains("my-secret-password")),
        "people type passwords there"
    );
    assert!(world.engine.log_in(&request, "riley", Secret::new("wrong")).await.is_err());
    let on_riley =
        Query { person: Some("riley".into()), outcome: Some(Outcome::Refused), ..Query::default() };
    assert_eq!(
        world.records(&on_riley).len(),
        1,
        "a query for a person shows the refused logins under their name"
    );
}

#[tokio::test]
async fn strangers_who_guess_at_a_name_never_lock_out_a_browser_the_person_has_used() {
    let world = World::story();
    let request = request(&world).await;
    let first = world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await.unwrap();
    let guess = async |browser: Option<&str>, name: &str| {
        let mut paused = false;
        for _ in 0..10 {
            let outcome =
                world.engine.log_in_from(Visitor { browser }, &request, name, Secret::new("wrong")).await;
            paused |= matches!(outcome, Err(LoginRefusal::Paused(..)));
        }
        paused
    };
    assert!(guess(None, "riley").await && guess(Some("made.up"), "riley").await, "strangers are slowed");
    let known = Visitor { browser: Some(first.browser()) };
    let again = world.engine.log_in_from(known, &request, "riley", Secret::new(PASSWORD)).await.unwrap();
    assert_eq!(again.browser(), first.browser(), "the same browser stays one");
    let elsewhere = world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await;
    assert!(
        matches!(elsewhere, Err(LoginRefusal::Paused(..))),
        "a success at home does not free the name for strangers"
    );
    assert!(guess(known.browser, "riley").await, "guesses from the known browser are slowed as well");
    assert!(
        guess(known.browser, "casey").await
            && matches!(
                world.engine.log_in(&request, "casey", Secret::new(PASSWORD)).await,
                Err(LoginRefusal::Paused(..))
            ),
        "for another name the browser is a stranger's"
    );
}

#[tokio::test]
async fn a_person_without_the_right_gets_no_code() {
    let world = World::story();
    let request = request(&world).await;
    match world.engine.log_in(&request, "casey", Secret::new(PASSWORD)).await {
        Err(LoginRefusal::Redirect { location, error }) => {
            assert_eq!(error.error.as_str(), "invalid_scope");
            assert!(parameter(&location, "code").is_none());
            assert_eq!(parameter(&location, "iss").as_deref(), Some(ISSUER));
        }
        other => panic!("{other:?}"),
    }
    let refused = Query { outcome: Some(Outcome::Refused), limit: Some(1), ..Query::default() };
    let record = world.records(&refused).pop().unwrap();
    assert_eq!(record.said().sub.unwrap().sub, "casey", "a refusal after the login names who it was");

    let disable = |entry: &mut Entry| {
        if let Entry::Person(person) = entry {
            person.disabled = true;
        }
    };
    world.change(EntryKind::Person, "riley", disable).await;
    assert!(matches!(
        world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await,
        Err(LoginRefusal::Wrong(_))
    ));
}

#[tokio::test]
async fn declining_is_recorded_and_sent_back() {
    let world = World::story();
    let location = world.engine.decline(&request(&world).await).await;
    assert_eq!(parameter(&location, "error").as_deref(), Some("access_denied"));
    assert_eq!(world.last_record().reason, "declined");
}
