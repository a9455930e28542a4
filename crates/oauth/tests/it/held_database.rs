//! Another program holds the database: every way to a token is refused in time, with when to try again, and
//! works again afterwards by itself.

use std::time::{Duration, Instant};

use mandate_core::RequestSource;
use mandate_oauth::OAuthError;
use mandate_testkit::story::CRM;
use mandate_testkit::world::{Pairs, World, with};

use crate::shown;

/// The longest time that a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

fn in_time(begun: Instant, what: &str) {
    assert!(begun.elapsed() < PATIENCE, "{what} took {:?}", begun.elapsed());
}

fn unavailable<T>(answer: Result<T, OAuthError>, what: &str) {
    let Err(error) = answer else { panic!("{what} was permitted without a record") };
    assert_eq!(shown(&error), "503 temporarily_unavailable audit_unavailable", "{what}");
    assert!(error.retry_after.is_some(), "{what}");
}

/// A client's exchange that is authenticated by an assertion of its own.
fn by_assertion(world: &World, svid: &str, subject: &str) -> Pairs {
    let mut form = world.app_exchange(svid, subject, CRM, "read:cases");
    form.extend(world.assertion_pairs(&world.assertion(&world.assertion_claims())));
    form
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_refused_in_time_and_works_again_when_the_database_is_free() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let exchange = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let denied = with(exchange.clone(), "scope", "send:mail");
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let redemption = world.redemption("support-app", &code);
    let asserted = by_assertion(&world, &svid, &subject);
    let revocation = vec![("token".to_owned(), world.mandate().await)];

    // Each first in line once, when nobody knows yet that the database is held.
    for first in 0..5 {
        let held = world.hold_database();
        for step in 0..5 {
            let begun = Instant::now();
            let what = ["an exchange", "a refused exchange", "a code", "a client assertion", "a revocation"]
                [(first + step) % 5];
            match what {
                "an exchange" => unavailable(world.token(&exchange, None).await, what),
                "a refused exchange" => unavailable(world.token(&denied, None).await, what),
                "a code" => unavailable(world.token(&redemption, None).await, what),
                "a client assertion" => unavailable(world.token(&asserted, None).await, what),
                _ => unavailable(world.revoke(&revocation, Some(&world.desk_app())).await, what),
            }
            in_time(begun, what);
        }
        held.let_go();
        assert!(world.token(&exchange, None).await.is_ok(), "it goes on by itself");
    }
    assert!(world.token(&redemption, None).await.is_ok(), "the code was not used up");
    assert!(world.token(&asserted, None).await.is_ok(), "the assertion was not used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_refused_in_time_too() {
    let world = std::sync::Arc::new(World::story());
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let held = world.hold_database();
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..40 {
        let world = std::sync::Arc::clone(&world);
        let form = if n % 2 == 0 {
            world.agent_exchange(&svid, &subject, CRM, "read:cases")
        } else {
            by_assertion(&world, &svid, &subject)
        };
        asking.spawn(async move {
            let begun = Instant::now();
            unavailable(world.token(&form, None).await, "one of many");
            in_time(begun, "one of many");
        });
    }
    let begun = Instant::now();
    let page = world.engine.authorize(b"client_id=nobody", RequestSource::Other).await;
    assert_eq!(shown(page.unwrap_err().error()), "503 temporarily_unavailable audit_unavailable");
    in_time(begun, "a login page");
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    held.let_go();
    assert!(world.token(&world.agent_exchange(&svid, &subject, CRM, "read:cases"), None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_it_for_a_moment_only_refuses_nobody() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let held = world.hold_database();
    let form = by_assertion(&world, &svid, &subject);
    let asked = world.token(&form, None);
    let (answer, ()) = tokio::join!(asked, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.let_go();
    });
    assert!(answer.is_ok());
}
