//! What ends a login for a device, before and after the device asked for its token.

use mandate_core::{Clock as _, CutTarget};

use super::*;

#[tokio::test]
async fn what_takes_authority_between_the_answer_and_the_token_keeps_the_token_out() {
    let casey = |disabled: bool, may: bool| {
        let may = if may { vec![story::permission("crm", "read:cases")] } else { Vec::new() };
        Entry::Person(mandate_core::registry::Person { disabled, ..story::person("casey", may) })
    };
    let app = |device: bool, authentication| {
        Entry::Client(Client { device, ..story::client("tv-app", authentication, &[]) })
    };
    let invalid_grant = |reason: &str| format!("400 invalid_grant {reason}");
    for (what, why) in [
        ("disabled", invalid_grant("person_disabled")),
        ("disabled for a moment", invalid_grant("subject_revoked")),
        ("less", "400 invalid_scope scope_beyond_person".to_owned()),
        ("password", invalid_grant("subject_revoked")),
        ("person", invalid_grant("subject_revoked")),
        ("client", invalid_grant("subject_revoked")),
        ("no devices", NOT_ALLOWED.to_owned()),
        ("no devices for a moment", invalid_grant("subject_revoked")),
        ("keys", "401 invalid_client client_authentication_missing".to_owned()),
        ("removed", "401 invalid_client client_authentication_failed".to_owned()),
    ] {
        let world = world();
        world.apply(casey(false, true)).await;
        let waiting = begun(&world).await;
        world.allow_device(&waiting.user_code, "casey").await.unwrap();
        match what {
            "disabled" => world.apply(casey(true, true)).await,
            "disabled for a moment" => {
                world.apply(casey(true, true)).await;
                world.apply(casey(false, true)).await;
            }
            "less" => {
                world.change_without_cuts(EntryKind::Person, "casey", |entry| *entry = casey(false, false));
            }
            "password" => world.operator_sets_password("casey", "another good password").await,
            "person" => world.operator_revokes(CutTarget::Person(story::person("casey", vec![]).id)).await,
            "client" => world.operator_revokes(CutTarget::Client("tv-app".parse().unwrap())).await,
            "no devices" => world.apply(app(false, ClientAuthentication::None)).await,
            "no devices for a moment" => {
                world.apply(app(false, ClientAuthentication::None)).await;
                world.apply(app(true, ClientAuthentication::None)).await;
            }
            "keys" => world.apply(app(true, ClientAuthentication::ClientSecretPost)).await,
            _ => world.remove_without_cuts(EntryKind::Client, "tv-app"),
        }
        assert_eq!(refused(poll(&world, &waiting).await), why, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_was_revoked_after_it_began_is_not_shown_to_anybody() {
    let world = world();
    let waiting = begun(&world).await;
    world.operator_revokes(CutTarget::Client("tv-app".parse().unwrap())).await;
    assert_eq!(shown(&entered(&world, &waiting.user_code).await.unwrap_err()), NO_CODE);
    let next = begun(&world).await;
    assert!(entered(&world, &next.user_code).await.is_ok(), "one that began later");
    world.remove_without_cuts(EntryKind::Client, "tv-app");
    assert_eq!(shown(&entered(&world, &next.user_code).await.unwrap_err()), NO_CODE);
}

#[tokio::test]
async fn a_code_that_is_used_twice_ends_what_it_gave_no_matter_who_presents_it() {
    let world = world();
    let form = asked("tv-app", "read:cases offline_access");
    for second in ["tv-app", "desk-app"] {
        let waiting = device(&world.device_authorization(&form, None).await.unwrap());
        world.allow_device(&waiting.user_code, "riley").await.unwrap();
        let first = poll(&world, &waiting).await.unwrap();
        let refreshed = world.token(&world.refreshing("tv-app", &refresh_token(&first)), None).await.unwrap();
        assert!(lives(&world, &exposed(&first)).await && lives(&world, &exposed(&refreshed)).await);
        world.clock.advance(Duration::from_mins(20));
        let again = world.polling(second, &waiting.code);
        let header = (second == "desk-app").then(|| world.desk_app());
        assert_eq!(refused(world.token(&again, header.as_deref()).await), REUSED, "also after it expired");
        assert!(!lives(&world, &exposed(&first)).await && !lives(&world, &exposed(&refreshed)).await);
        let ended = world.token(&world.refreshing("tv-app", &refresh_token(&refreshed)), None).await;
        assert_eq!(refused(ended), "400 invalid_grant refresh_token_ended");
        let all = Query { kind: Some(RecordKind::Revoke), limit: Some(1), ..Query::default() };
        let record = world.records(&all).pop().unwrap();
        assert_eq!(record.detail.as_deref(), Some("a device code was presented twice"));
    }
}

#[tokio::test]
async fn a_second_use_is_noticed_as_long_as_the_token_of_the_first_lives() {
    let world = world();
    let waiting = begun(&world).await;
    world.allow_device(&waiting.user_code, "riley").await.unwrap();
    world.clock.advance(Duration::from_secs(9 * 60 + 50));
    let token = exposed(&poll(&world, &waiting).await.unwrap());
    world.clock.advance(Duration::from_mins(58));
    mandate_store::sweep_blocking(&world.store, world.clock.now(), &|| false).unwrap();
    assert!(lives(&world, &token).await);
    assert_eq!(refused(poll(&world, &waiting).await), REUSED);
    assert!(!lives(&world, &token).await);
}
