//! Guessing user codes, and filling the places of devices that wait.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use mandate_testkit::world::{Post, encode};

use super::*;

fn network(number: u8) -> RequestSource {
    RequestSource::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
}

#[tokio::test]
async fn nothing_says_why_no_device_waits_with_a_code() {
    let world = world();
    let (refusing, allowed, old) = (begun(&world).await, begun(&world).await, begun(&world).await);
    world.engine.refuse_device(&entered(&world, &refusing.user_code).await.unwrap()).await.unwrap();
    world.allow_device(&allowed.user_code, "riley").await.unwrap();
    let said = async |typed: &str| entered(&world, typed).await.unwrap_err();
    let never = said("BBBB-BBBB").await;
    for typed in [&refusing.user_code, &allowed.user_code, "", "BBBB", "1234-5678", &refusing.code] {
        assert_eq!(said(typed).await.to_json(), never.to_json(), "{typed}");
    }
    world.clock.advance(Duration::from_mins(10));
    assert_eq!(said(&old.user_code).await.to_json(), never.to_json());
    let record = world.last_record();
    assert_eq!((record.reason.as_str(), record.outcome), ("user_code_unknown", Outcome::Refused));
    assert!(!format!("{record:?}").contains(&old.user_code), "a code in the log would help who reads it");
}

#[tokio::test]
async fn a_network_has_fifty_wrong_codes_in_ten_minutes_and_is_then_told_nothing() {
    let world = world();
    let waiting = begun(&world).await;
    let enter = async |code: &str, shown: bool, number: u8| {
        let found = world.engine.device_request(code, shown, network(number)).await;
        found.err().map(|error| crate::shown(&error))
    };
    for _ in 0..50 {
        assert_eq!(enter("BBBB-BBBB", false, 1).await.as_deref(), Some(NO_CODE));
    }
    let paused = Some("400 access_denied too_many_user_codes");
    assert_eq!(enter("BBBB-BBBB", false, 1).await.as_deref(), paused);
    assert_eq!(enter(&waiting.user_code, false, 1).await.as_deref(), paused, "not even that it was right");
    assert_eq!(enter(&waiting.user_code, true, 1).await, None, "who was shown it goes on");
    assert_eq!(enter(&waiting.user_code, false, 2).await, None, "another network");
    world.clock.advance(Duration::from_mins(10));
    assert_eq!(enter("BBBB-BBBB", false, 1).await.as_deref(), Some(NO_CODE));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_at_the_same_time_are_no_more_than_one_after_the_other() {
    let world = Arc::new(world());
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let world = Arc::clone(&world);
        all.spawn(async move {
            let found = world.engine.device_request("BBBB-BBBB", false, network(1)).await;
            crate::shown(&found.unwrap_err())
        });
    }
    let said = all.join_all().await;
    let read = said.iter().filter(|said| *said == NO_CODE).count();
    assert_eq!((said.len(), read), (200, 50));
}

#[tokio::test]
async fn right_codes_take_no_place() {
    let world = world();
    let waiting = begun(&world).await;
    for _ in 0..60 {
        assert!(world.engine.device_request(&waiting.user_code, false, network(1)).await.is_ok());
    }
}

#[tokio::test]
async fn one_network_does_not_take_all_places_of_a_public_client() {
    let world = world();
    let form = encode(&asked("tv-app", "read:cases"));
    let begin = async |number: u8| {
        let post = Post::form("/device_authorization", None, &form).from(network(number));
        world.engine.device_authorization(post.request()).await.err().map(|error| shown(&error))
    };
    for _ in 0..100 {
        assert_eq!(begin(1).await, None);
    }
    let full = "503 temporarily_unavailable too_many_devices";
    assert_eq!(begin(1).await.as_deref(), Some(full));
    assert_eq!(begin(2).await, None, "another network");
    // A client that has proven who it is has its own share.
    let form = asked("desk-app", "read:cases");
    assert!(world.device_authorization(&form, Some(&world.desk_app())).await.is_ok());
}
