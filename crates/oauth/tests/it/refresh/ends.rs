//! What ends a login, also after the cut that ended it is forgotten.

use mandate_core::{Clock as _, CutTarget};

use super::*;

/// After the cuts of before are forgotten.
fn later(world: &World) {
    world.clock.advance(3 * Duration::from_hours(1));
    let now = world.hybrid.now();
    world.live.forget(now);
    assert_eq!(world.live.snapshot().revocations.len(), 0);
}

const ENDED: &str = "400 invalid_grant refresh_token_ended";

#[tokio::test]
async fn a_token_that_is_used_twice_ends_the_login_and_everything_that_came_of_it() {
    let world = world();
    let other = at_the_crm(&world).await;
    let first = login(&world, ("away-app", None), None, "read:cases offline_access").await;
    let next = refreshed(&world, &refresh_token(&first)).await.unwrap();
    let last = refreshed(&world, &refresh_token(&next)).await.unwrap();
    let svid = world.svid("support-agent").await;
    let exchange = |token: &TokenResponse| world.agent_exchange(&svid, &exposed(token), CRM, "read:cases");
    let mandate = exposed(&world.token(&exchange(&next), None).await.unwrap());
    assert!(lives(&world, &mandate).await);

    // A used token counts as stolen, no matter which client presents it.
    let stolen = world.refreshing("desk-app", &refresh_token(&first));
    let answer = world.token(&stolen, Some(&world.desk_app())).await;
    assert_eq!(refused(answer), "400 invalid_grant refresh_token_reused");
    assert!(!lives(&world, &mandate).await);
    for token in [&first, &next, &last] {
        assert_eq!(refused(world.token(&exchange(token), None).await), "400 invalid_request subject_revoked");
    }
    let all = mandate_audit::Query { kind: Some(RecordKind::Revoke), ..Default::default() };
    let record = world.records(&all).pop().unwrap();
    assert_eq!(record.detail.as_deref(), Some("a refresh token was presented twice"));
    assert_eq!(record.said().jti.unwrap().as_str(), jti(&first));
    assert_eq!(record.said().sub.unwrap().sub, "riley");
    assert_eq!(said(&world, &refresh_token(&last)).await, ENDED);
    later(&world);
    for token in [&first, &next, &last] {
        assert_eq!(said(&world, &refresh_token(token)).await, ENDED, "for good");
    }
    assert_eq!(said(&world, &refresh_token(&other)).await, "ok", "another login goes on");
}

#[tokio::test]
async fn a_code_that_is_used_twice_ends_the_login_too() {
    let world = world();
    let code = world.code(&world.authorization("away-app", Some(CRM), Some(BOTH)), "riley").await;
    let form = world.redemption("away-app", &code);
    let first = world.token(&form, None).await.unwrap();
    world.clock.advance(Duration::from_mins(50));
    let next = refreshed(&world, &refresh_token(&first)).await.unwrap();
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_grant code_reused");
    world.clock.advance(Duration::from_mins(20));
    world.live.forget(world.hybrid.now());
    assert!(
        !lives(&world, &exposed(&next)).await,
        "the cut is remembered as long as its last descendant lives"
    );
    later(&world);
    assert_eq!(said(&world, &refresh_token(&next)).await, ENDED);
}

#[tokio::test]
async fn what_takes_the_persons_or_the_clients_authority_ends_the_login_for_good() {
    let disabled = |to: bool| {
        let mut person = story::person("casey", vec![story::permission("crm", "read:cases")]);
        person.disabled = to;
        Entry::Person(person)
    };
    let app = |refresh: bool| {
        Entry::Client(Client { refresh, ..story::client("away-app", ClientAuthentication::None, &[]) })
    };
    let keys = || {
        let authentication = ClientAuthentication::ClientSecretPost;
        Entry::Client(Client { refresh: true, ..story::client("away-app", authentication, &[]) })
    };
    for what in ["disabled", "less", "password", "client", "keys", "person", "revoked client", "first token"]
    {
        let world = world();
        world.apply(disabled(false)).await;
        let query = world.authorization("away-app", Some(CRM), Some("read:cases offline_access"));
        let first = world
            .token(&world.redemption("away-app", &world.code(&query, "casey").await), None)
            .await
            .unwrap();
        let next = refreshed(&world, &refresh_token(&first)).await.unwrap();
        match what {
            "disabled" => {
                world.apply(disabled(true)).await;
                assert_eq!(said(&world, &refresh_token(&next)).await, ENDED, "at once");
                world.apply(disabled(false)).await;
            }
            "less" => {
                world.apply(Entry::Person(story::person("casey", Vec::new()))).await;
                world.apply(disabled(false)).await;
            }
            "password" => world.operator_sets_password("casey", "another good password").await,
            "client" => {
                world.apply(app(false)).await;
                let refusal = said(&world, &refresh_token(&next)).await;
                assert_eq!(refusal, "400 unauthorized_client client_not_allowed");
                world.apply(app(true)).await;
            }
            "keys" => {
                world.apply(keys()).await;
                world.apply(app(true)).await;
            }
            "person" => {
                world.operator_revokes(CutTarget::Person(story::person("casey", Vec::new()).id)).await;
            }
            "revoked client" => {
                world.operator_revokes(CutTarget::Client("away-app".parse().unwrap())).await;
            }
            _ => world.operator_revokes(CutTarget::Token(jti(&first).parse().unwrap())).await,
        }
        assert!(!lives(&world, &exposed(&next)).await, "{what}");
        assert_eq!(said(&world, &refresh_token(&next)).await, ENDED, "{what}");
        later(&world);
        assert_eq!(said(&world, &refresh_token(&next)).await, ENDED, "{what}: for good");
    }
}

#[tokio::test]
async fn a_client_revokes_a_refresh_token_and_with_it_the_login() {
    let world = world();
    let (first, other) = (at_the_crm(&world).await, at_the_crm(&world).await);
    let next = refreshed(&world, &refresh_token(&first)).await.unwrap();
    let form = |client: &str, token: &TokenResponse| {
        pairs(&[
            ("client_id", client),
            ("token", &refresh_token(token)),
            ("token_type_hint", "refresh_token"),
        ])
    };
    let stranger = world.revoke(&form("support-app", &next), None).await.unwrap_err();
    assert_eq!(crate::shown(&stranger), "400 invalid_grant token_other_client");
    assert!(lives(&world, &exposed(&next)).await);
    // It need not be the newest one.
    world.revoke(&form("away-app", &first), None).await.unwrap();
    let record = world.last_record();
    assert_eq!((record.kind, record.said().client), (RecordKind::Revoke, Some("away-app")));
    assert_eq!(record.detail.as_deref(), Some("a refresh token was revoked, and with it its login"));
    for token in [&first, &next] {
        assert!(!lives(&world, &exposed(token)).await);
    }
    assert_eq!(said(&world, &refresh_token(&next)).await, ENDED);
    world.revoke(&form("away-app", &next), None).await.unwrap();
    assert!(world.last_record().detail.unwrap().ends_with("is ended already"));
    assert!(world.revoke(&pairs(&[("client_id", "away-app"), ("token", "unknown")]), None).await.is_ok());
    later(&world);
    assert_eq!(said(&world, &refresh_token(&next)).await, ENDED);
    assert_eq!(said(&world, &refresh_token(&other)).await, "ok");
}

#[tokio::test]
async fn a_client_that_revokes_the_first_access_token_ends_the_login_and_a_later_one_only_itself() {
    let world = world();
    let first = at_the_crm(&world).await;
    let next = refreshed(&world, &refresh_token(&first)).await.unwrap();
    let last = refreshed(&world, &refresh_token(&next)).await.unwrap();
    let form = |token: &TokenResponse| pairs(&[("client_id", "away-app"), ("token", &exposed(token))]);
    world.revoke(&form(&next), None).await.unwrap();
    assert!(!lives(&world, &exposed(&next)).await);
    assert!(lives(&world, &exposed(&last)).await);
    world.clock.advance(Duration::from_mins(59));
    let newest = refreshed(&world, &refresh_token(&last)).await.unwrap();
    world.revoke(&form(&first), None).await.unwrap();
    world.clock.advance(Duration::from_mins(50));
    world.live.forget(world.hybrid.now());
    assert!(!lives(&world, &exposed(&newest)).await, "it outlives the first token, and its cut outlives it");
    assert_eq!(said(&world, &refresh_token(&newest)).await, ENDED);
}
