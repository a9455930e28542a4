//! Two requests at once, and writes that fail or whose answer is lost.

use mandate_testkit::faulty_backend::{InjectedFault, Point};

use super::*;

const UNAVAILABLE: &str = "503 temporarily_unavailable audit_unavailable";

#[tokio::test]
async fn of_two_devices_with_one_code_one_wins_and_its_token_is_dead() {
    let world = world();
    let waiting = begun(&world).await;
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    world.faults.hold();
    let release = async {
        tokio::task::yield_now().await;
        world.faults.release();
    };
    let (a, b, ()) = tokio::join!(poll(&world, &waiting), poll(&world, &waiting), release);
    let (answer, error) = match (a, b) {
        (Ok(answer), Err(error)) | (Err(error), Ok(answer)) => (answer, error),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(&error), REUSED);
    assert!(!lives(&world, &exposed(&answer)).await, "which of the two is the thief is not known");
}

#[tokio::test]
async fn of_two_answers_at_once_one_counts() {
    let world = world();
    let waiting = begun(&world).await;
    world.faults.hold();
    let release = async {
        tokio::task::yield_now().await;
        world.faults.release();
    };
    let allow = || world.allow_device(&waiting.user_code, "riley");
    let (a, b, ()) = tokio::join!(allow(), allow(), release);
    let refusals: Vec<_> = [a, b].into_iter().filter_map(Result::err).map(|error| shown(&error)).collect();
    assert_eq!(refusals, [NO_CODE]);
    assert!(poll(&world, &waiting).await.is_ok());
}

#[tokio::test]
async fn a_write_that_was_lost_uses_nothing_up() {
    let world = world();
    for point in Point::WRITES {
        let waiting = begun(&world).await;
        world.faults.fail(point, 0, InjectedFault::Lost);
        let allowed = world.allow_device(&waiting.user_code, "riley").await;
        assert_eq!(shown(&allowed.unwrap_err()), UNAVAILABLE, "{point:?}");
        assert_eq!(refused(poll(&world, &waiting).await), PENDING, "{point:?}");
        world.allow_device(&waiting.user_code, "riley").await.unwrap();
        world.faults.fail(point, 0, InjectedFault::Lost);
        assert_eq!(refused(poll(&world, &waiting).await), UNAVAILABLE, "{point:?}");
        assert!(poll(&world, &waiting).await.is_ok(), "{point:?}");
    }
}

#[tokio::test]
async fn an_answer_of_ours_that_was_lost_counts() {
    let world = world();
    let waiting = begun(&world).await;
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    let allowed = world.allow_device(&waiting.user_code, "riley").await;
    assert_eq!(shown(&allowed.unwrap_err()), UNAVAILABLE);
    assert_eq!(shown(&entered(&world, &waiting.user_code).await.unwrap_err()), NO_CODE, "it was allowed");
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    assert_eq!(refused(poll(&world, &waiting).await), UNAVAILABLE);
    // The device cannot be told from a thief. It begins again.
    assert_eq!(refused(poll(&world, &waiting).await), REUSED);
    let next = begun(&world).await;
    world.allow_device(&next.user_code, "riley").await.unwrap();
    assert!(poll(&world, &next).await.is_ok());
}

#[tokio::test]
async fn a_cut_that_is_in_force_before_the_record_is_written_keeps_the_refresh_token_out() {
    let world = world();
    let form = asked("tv-app", "read:cases offline_access");
    let waiting = device(&world.device_authorization(&form, None).await.unwrap());
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    world.faults.hold();
    let meanwhile = async {
        tokio::task::yield_now().await;
        world.cut(mandate_core::CutTarget::Person(story::person("riley", Vec::new()).id));
        world.faults.release();
    };
    let (answer, ()) = tokio::join!(poll(&world, &waiting), meanwhile);
    assert_eq!(refused(answer), "400 invalid_grant subject_revoked");
}
