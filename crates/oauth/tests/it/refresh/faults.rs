//! Two uses at once, and writes that fail or whose answer is lost.

use mandate_testkit::faulty_backend::{InjectedFault, Point};

use super::*;

#[tokio::test]
async fn of_two_uses_at_once_one_wins_and_the_login_ends() {
    let world = world();
    let token = refresh_token(&at_the_crm(&world).await);
    let form = world.refreshing("away-app", &token);
    world.faults.hold();
    let release = async {
        tokio::task::yield_now().await;
        world.faults.release();
    };
    let (a, b, ()) = tokio::join!(world.token(&form, None), world.token(&form, None), release);
    let (answer, error) = match (a, b) {
        (Ok(answer), Err(error)) | (Err(error), Ok(answer)) => (answer, error),
        other => panic!("{other:?}"),
    };
    assert_eq!(crate::shown(&error), "400 invalid_grant refresh_token_reused");
    assert!(!lives(&world, &exposed(&answer)).await, "which of the two is the thief is not known");
    assert_eq!(said(&world, &refresh_token(&answer)).await, "400 invalid_grant refresh_token_ended");
}

#[tokio::test]
async fn a_write_that_was_lost_uses_nothing_up() {
    let world = world();
    let code = world.code(&world.authorization("away-app", Some(CRM), Some(BOTH)), "riley").await;
    let redemption = world.redemption("away-app", &code);
    for point in Point::WRITES {
        world.faults.fail(point, 0, InjectedFault::Lost);
        let answer = world.token(&redemption, None).await;
        assert_eq!(refused(answer), "503 temporarily_unavailable audit_unavailable", "{point:?}");
    }
    let mut token = refresh_token(&world.token(&redemption, None).await.unwrap());
    for point in Point::WRITES {
        world.faults.fail(point, 0, InjectedFault::Lost);
        let unavailable = "503 temporarily_unavailable audit_unavailable";
        assert_eq!(said(&world, &token).await, unavailable, "{point:?}");
        token = refresh_token(&refreshed(&world, &token).await.unwrap());
    }
}

#[tokio::test]
async fn a_client_that_never_got_the_answer_must_log_in_again() {
    let world = world();
    let first = at_the_crm(&world).await;
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    let token = refresh_token(&first);
    assert_eq!(said(&world, &token).await, "503 temporarily_unavailable audit_unavailable");
    assert_eq!(said(&world, &token).await, "400 invalid_grant refresh_token_reused");
    assert_eq!(said(&world, &token).await, "400 invalid_grant refresh_token_ended");
    assert!(!lives(&world, &exposed(&first)).await);
    assert!(refreshed(&world, &refresh_token(&at_the_crm(&world).await)).await.is_ok());
}

#[tokio::test]
async fn a_cut_that_is_in_force_before_the_record_is_written_keeps_the_token_out() {
    let world = world();
    let code = world.code(&world.authorization("away-app", Some(CRM), Some(BOTH)), "riley").await;
    let redemption = world.redemption("away-app", &code);
    let token = refresh_token(&at_the_crm(&world).await);
    let riley = story::person("riley", Vec::new()).id;
    for form in [redemption, world.refreshing("away-app", &token)] {
        world.faults.hold();
        let meanwhile = async {
            tokio::task::yield_now().await;
            world.cut(mandate_core::CutTarget::Person(riley.clone()));
            world.faults.release();
        };
        let (answer, ()) = tokio::join!(world.token(&form, None), meanwhile);
        assert_eq!(refused(answer), "400 invalid_grant subject_revoked");
    }
}
