//! While the person sleeps: an application goes on, and an agent works for the person.

use super::*;

#[tokio::test]
async fn an_agent_works_for_a_person_who_sleeps_until_the_person_is_disabled() {
    let world = world();
    let header = world.desk_app();
    let first = login(&world, ("desk-app", Some(&header)), None, BOTH).await;
    // A mail arrives at night.
    world.clock.advance(Duration::from_hours(9));
    assert!(!lives(&world, &exposed(&first)).await, "the token of the day has expired");
    let night =
        world.token(&world.refreshing("desk-app", &refresh_token(&first)), Some(&header)).await.unwrap();
    let svid = world.svid("support-agent").await;
    let exchange = world.app_exchange(&svid, &exposed(&night), CRM, "read:cases write:case_comments");
    let mandate = exposed(&world.token(&exchange, Some(&header)).await.unwrap());
    let claims = payload(&mandate);
    assert_eq!((&claims["sub"], &claims["aud"]), (&"riley".into(), &CRM.into()));
    assert_eq!(claims["act"]["sub"], story::spiffe_id("support-agent"));
    assert_eq!(claims["lineage"]["parents"], serde_json::json!([jti(&night), jti(&first)]));
    assert!(lives(&world, &mandate).await);

    world
        .change(EntryKind::Person, "riley", |entry| {
            let Entry::Person(person) = entry else { panic!("a person") };
            person.disabled = true;
        })
        .await;
    assert!(!lives(&world, &mandate).await);
    let next = world.refreshing("desk-app", &refresh_token(&night));
    let answer = world.token(&next, Some(&header)).await;
    assert_eq!(refused(answer), "400 invalid_grant refresh_token_ended");
    let answer = world.token(&exchange, Some(&header)).await;
    assert_eq!(refused(answer), "400 invalid_request subject_revoked");
}
