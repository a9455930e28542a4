//! Refresh tokens: who gets them, what they give, and how they are used up.

mod away;
mod ends;
mod faults;

use std::time::Duration;

use mandate_audit::{Outcome, RecordKind};
use mandate_core::RequestSource;
use mandate_core::registry::{Client, ClientAuthentication, Entry, EntryKind};
use mandate_oauth::TokenResponse;
use mandate_testkit::story::{self, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{Pairs, World, encode, exposed, pairs, payload, refresh_token, with, without};

use crate::{lives, refused};

const DAY: Duration = Duration::from_hours(24);
const BOTH: &str = "read:cases write:case_comments offline_access";

fn world() -> World {
    World::with_entries(story::away_apps())
}

/// Riley logs in at `client` with this scope. Its credential is `header`.
async fn login(
    world: &World,
    (client, header): (&str, Option<&str>),
    resource: Option<&str>,
    scope: &str,
) -> TokenResponse {
    let code = world.code(&world.authorization(client, resource, Some(scope)), "riley").await;
    world.token(&world.redemption(client, &code), header).await.unwrap()
}

/// Riley's login at `away-app` for the CRM.
async fn at_the_crm(world: &World) -> TokenResponse {
    login(world, ("away-app", None), Some(CRM), BOTH).await
}

async fn refreshed(world: &World, token: &str) -> Result<TokenResponse, String> {
    let answer = world.token(&world.refreshing("away-app", token), None).await;
    answer.map_err(|error| crate::shown(&error))
}

/// What is said to `away-app` about a token.
async fn said(world: &World, token: &str) -> String {
    refreshed(world, token).await.map_or_else(|said| said, |_| "ok".to_owned())
}

fn jti(response: &TokenResponse) -> String {
    let claims = payload(&exposed(response));
    claims.get("jti").and_then(serde_json::Value::as_str).unwrap().to_owned()
}

#[tokio::test]
async fn a_login_goes_on_and_each_token_descends_from_the_first() {
    let world = world();
    let first = at_the_crm(&world).await;
    let body: serde_json::Value = serde_json::from_str(&first.to_json()).unwrap();
    assert_eq!(body["refresh_token"], refresh_token(&first).as_str());
    assert_eq!(body["scope"], "read:cases write:case_comments", "offline_access is no scope of a resource");
    let kept: Vec<_> = world.last_record().effects.iter().map(str::to_owned).collect();
    assert_eq!(kept, ["redeem_code", "keep_refresh"]);

    let logged_in = payload(&exposed(&first))["auth_time"].clone();
    let mut response = first;
    let root = jti(&response);
    for days in 1..4 {
        world.clock.advance(DAY);
        let used = refresh_token(&response);
        response = refreshed(&world, &used).await.unwrap();
        assert_ne!(refresh_token(&response), used, "{days}");
        let claims = payload(&exposed(&response));
        assert_eq!(claims["lineage"], serde_json::json!({ "parents": [root] }));
        assert_eq!(claims["auth_time"], logged_in, "when the person was there");
        assert_eq!((&claims["sub"], &claims["aud"]), (&"riley".into(), &CRM.into()));
        assert_eq!((&claims["client_id"], &claims["scope"]), (&"away-app".into(), &body["scope"]));
        assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
        assert!(claims.get("act").is_none());
        assert!(lives(&world, &exposed(&response)).await);
        let record = world.last_record();
        assert_eq!((record.kind, record.outcome), (RecordKind::Token, Outcome::Permitted));
        assert_eq!(record.effects.iter().collect::<Vec<_>>(), ["rotate_refresh"]);
        let leaf = String::from_utf8(record.to_leaf().unwrap()).unwrap();
        assert!(!leaf.contains(&used) && !leaf.contains(&refresh_token(&response)), "no token in a record");
    }
}

#[tokio::test]
async fn a_refresh_token_is_given_only_to_a_client_that_may_and_asks() {
    let world = world();
    let given = async |client: &str, resource: Option<&str>, scope: Option<&str>| {
        let code = world.code(&world.authorization(client, resource, scope), "riley").await;
        let answer = world.token(&world.redemption(client, &code), None).await.unwrap();
        assert!(!payload(&exposed(&answer))["scope"].as_str().unwrap().contains("offline_access"));
        answer.refresh_token().is_some()
    };
    assert!(given("away-app", None, Some("read:cases offline_access")).await);
    assert!(!given("away-app", None, None).await, "not unasked");
    assert!(!given("away-app", Some(CRM), Some("read:cases")).await);
    assert!(!given("support-app", Some(CRM), Some(BOTH)).await, "its entry does not say so");
    let only = world.authorization("away-app", Some(CRM), Some("offline_access"));
    let answer = world.engine.authorize(encode(&only).as_bytes(), RequestSource::Other).await;
    assert_eq!(crate::shown(answer.unwrap_err().error()), "400 invalid_scope scope_unknown");

    // What the entry says when the code is redeemed counts.
    let code = world.code(&world.authorization("away-app", Some(CRM), Some(BOTH)), "riley").await;
    world.change_without_cuts(EntryKind::Client, "away-app", |entry| {
        let Entry::Client(client) = entry else { panic!("a client") };
        client.refresh = false;
    });
    let answer = world.token(&world.redemption("away-app", &code), None).await.unwrap();
    assert!(answer.refresh_token().is_none());
}

#[tokio::test]
async fn nobody_administrates_while_they_are_away() {
    let own = own_administration();
    let listed = Some("mandate:admin read:cases".parse().unwrap());
    let app =
        Client { refresh: true, scopes: listed, ..story::client("ops-app", ClientAuthentication::None, &[]) };
    let riley = story::person("riley", vec![story::permission("mandate", "mandate:admin")]);
    let world = World::with_entries(vec![own, Entry::Client(app), Entry::Person(riley)]);
    let asked = Some("mandate:admin offline_access");
    let query = world.authorization("ops-app", Some(ISSUER), asked);
    let request = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
    assert_eq!(request.offline_for(), None, "the login page does not say so either");
    let answer = login(&world, ("ops-app", None), Some(ISSUER), "mandate:admin offline_access").await;
    assert_eq!(payload(&exposed(&answer))["scope"], "mandate:admin");
    assert!(answer.refresh_token().is_none());
}

fn own_administration() -> Entry {
    Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin"))
}

#[tokio::test]
async fn a_refresh_asks_for_the_same_or_for_less_and_the_next_one_for_all_of_it_again() {
    let world = world();
    let mut token = refresh_token(&at_the_crm(&world).await);
    for (name, value, why) in [
        ("scope", "read:cases write:opportunities", "400 invalid_scope scope_not_granted"),
        ("scope", "openid", "400 invalid_scope scope_not_granted"),
        ("scope", "offline_access", "400 invalid_scope scope_unknown"),
        ("scope", "a  b", "400 invalid_scope scope_malformed"),
        ("resource", RESEARCH, "400 invalid_target resource_not_authorized"),
        ("resource", ISSUER, "400 invalid_target resource_not_authorized"),
        (
            "authorization_details",
            "[]",
            "400 invalid_authorization_details authorization_details_unsupported",
        ),
        ("actor_token", "x", "400 invalid_request parameter_misplaced"),
        ("code", "x", "400 invalid_request parameter_misplaced"),
    ] {
        let form = with(world.refreshing("away-app", &token), name, value);
        assert_eq!(refused(world.token(&form, None).await), why, "{name}={value}");
    }
    for (scope, given) in [
        (Some("read:cases"), "read:cases"),
        (Some("write:case_comments offline_access"), "write:case_comments"),
        (None, "read:cases write:case_comments"),
    ] {
        let mut form = with(world.refreshing("away-app", &token), "resource", CRM);
        if let Some(scope) = scope {
            form = with(form, "scope", scope);
        }
        let answer = world.token(&form, None).await.unwrap();
        assert_eq!(answer.scopes().to_string(), given);
        token = refresh_token(&answer);
    }
    let all = login(&world, ("away-app", None), None, "read:cases offline_access").await;
    for (resource, ok) in [(CRM, false), (ISSUER, true)] {
        let form = with(world.refreshing("away-app", &refresh_token(&all)), "resource", resource);
        assert_eq!(world.token(&form, None).await.is_ok(), ok, "a login without a resource was for us");
    }
}

#[tokio::test]
async fn what_the_person_gains_later_is_in_no_refreshed_token_and_what_they_lose_is_not_either() {
    let world = world();
    let may = |scopes: &str| Entry::Person(story::person("casey", vec![story::permission("crm", scopes)]));
    world.apply(may("read:cases write:case_comments")).await;
    let code = world
        .code(
            &world.authorization(
                "away-app",
                Some(CRM),
                Some("read:cases write:case_comments write:opportunities offline_access"),
            ),
            "casey",
        )
        .await;
    let first = world.token(&world.redemption("away-app", &code), None).await.unwrap();
    world.apply(may("read:cases write:case_comments write:opportunities")).await;
    let next = refreshed(&world, &refresh_token(&first)).await.unwrap();
    assert_eq!(next.scopes().to_string(), "read:cases write:case_comments");
    world.change_without_cuts(EntryKind::Person, "casey", |entry| {
        let Entry::Person(person) = entry else { panic!("a person") };
        person.may = vec![story::permission("crm", "read:cases write:opportunities")];
    });
    let next = refreshed(&world, &refresh_token(&next)).await.unwrap();
    assert_eq!(next.scopes().to_string(), "read:cases");
}

#[tokio::test]
async fn a_refresh_token_is_for_its_client_alone_and_no_attempt_of_others_uses_it_up() {
    let world = world();
    let token = refresh_token(&at_the_crm(&world).await);
    let header = world.desk_app();
    let stolen = world.refreshing("desk-app", &token);
    for _ in 0..2 {
        let answer = world.token(&stolen, Some(&header)).await;
        assert_eq!(refused(answer), "400 invalid_grant refresh_token_other_client");
    }
    let by_support = world.token(&world.refreshing("support-app", &token), None).await;
    assert_eq!(refused(by_support), "400 unauthorized_client client_not_allowed");
    let svid = world.svid("support-agent").await;
    let mut by_agent = without(world.own_behalf(&svid, CRM, "read:cases"), "grant_type");
    by_agent.extend(pairs(&[("grant_type", "refresh_token"), ("refresh_token", &token)]));
    let answer = world.token(&without(by_agent, "resource"), None).await;
    assert_eq!(refused(answer), "400 unauthorized_client client_not_allowed", "no agent refreshes");
    assert_eq!(said(&world, "unknown").await, "400 invalid_grant refresh_token_unknown");
    let missing = without(world.refreshing("away-app", &token), "refresh_token");
    assert_eq!(refused(world.token(&missing, None).await), "400 invalid_request parameter_missing");
    assert_eq!(said(&world, &token).await, "ok");

    // A confidential client proves itself each time.
    let first = login(&world, ("desk-app", Some(&header)), Some(CRM), BOTH).await;
    let form = world.refreshing("desk-app", &refresh_token(&first));
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_authentication_missing");
    assert!(world.token(&form, Some(&header)).await.is_ok());
}

#[tokio::test]
async fn a_refresh_token_works_nowhere_else_and_is_not_used_up_there() {
    let world = world();
    let token = refresh_token(&at_the_crm(&world).await);
    let svid = world.svid("support-agent").await;
    let exchange = world.agent_exchange(&svid, &token, CRM, "read:cases");
    assert_eq!(refused(world.token(&exchange, None).await), "400 invalid_request subject_token_refused");
    let subject = world.person_token("riley", None, None).await;
    let actor = world.app_exchange(&token, &subject, CRM, "read:cases");
    let answer = world.token(&actor, Some(&world.desk_app())).await;
    assert_eq!(refused(answer), "400 invalid_request actor_token_refused");
    let code = world.redemption("away-app", &token);
    assert_eq!(refused(world.token(&code, None).await), "400 invalid_grant code_unknown");
    let forms: [Pairs; 3] = [
        world.agent_exchange(&svid, &subject, CRM, "read:cases"),
        world.own_behalf(&svid, CRM, "read:cases"),
        code,
    ];
    for form in forms {
        let answer = world.token(&with(form, "refresh_token", &token), None).await;
        assert_eq!(refused(answer), "400 invalid_request parameter_misplaced");
    }
    let asked = pairs(&[("token", token.as_str())]);
    let answer = world.introspect(&asked, Some(&world.crm_api())).await.unwrap();
    assert_eq!(answer, serde_json::json!({ "active": false }));
    let query = with(world.authorization("away-app", Some(CRM), None), "refresh_token", &token);
    let _ = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await;
    // A code is no refresh token either.
    let code = world.code(&world.authorization("away-app", Some(CRM), Some(BOTH)), "riley").await;
    assert_eq!(said(&world, &code).await, "400 invalid_grant refresh_token_unknown");
    assert!(world.token(&world.redemption("away-app", &code), None).await.is_ok());
    assert_eq!(said(&world, &token).await, "ok");
}

#[tokio::test]
async fn a_refresh_token_ends_if_it_is_not_used_and_a_login_ends_however_much_it_is() {
    let world = world();
    let mut response = at_the_crm(&world).await;
    let idle = refresh_token(&at_the_crm(&world).await);
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(7 * 24 * 3600 - 1));
        response = refreshed(&world, &refresh_token(&response)).await.unwrap();
    }
    assert_eq!(said(&world, &idle).await, "400 invalid_grant refresh_token_unknown");
    // 28 days and less than two minutes are over. The last token ends with the login.
    world.clock.advance(Duration::from_mins(2 * 24 * 60 - 30));
    response = refreshed(&world, &refresh_token(&response)).await.unwrap();
    let claims = payload(&exposed(&response));
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(exp - iat < 31 * 60, "{claims}");
    assert_eq!(exp, claims["auth_time"].as_u64().unwrap() + 30 * 24 * 3600);
    world.clock.advance(Duration::from_mins(31));
    assert_eq!(said(&world, &refresh_token(&response)).await, "400 invalid_grant refresh_token_unknown");
}

#[tokio::test]
async fn its_own_client_is_told_whether_a_refresh_token_can_be_used() {
    let world = world();
    let header = world.desk_app();
    let first = login(&world, ("desk-app", Some(&header)), Some(CRM), BOTH).await;
    let asked = |token: &str| pairs(&[("token", token), ("token_type_hint", "refresh_token")]);
    let token = refresh_token(&first);
    let answer = world.introspect(&asked(&token), Some(&header)).await.unwrap();
    let login_at = payload(&exposed(&first))["auth_time"].as_u64().unwrap();
    assert_eq!(
        answer,
        serde_json::json!({
            "active": true, "iss": ISSUER, "sub": "riley", "aud": CRM, "client_id": "desk-app",
            "scope": "read:cases write:case_comments", "auth_time": login_at, "exp": login_at + 7 * 24 * 3600,
        })
    );
    let next = world.token(&world.refreshing("desk-app", &token), Some(&header)).await.unwrap();
    let inactive = serde_json::json!({ "active": false });
    assert_eq!(world.introspect(&asked(&token), Some(&header)).await.unwrap(), inactive, "used up");
    let token = refresh_token(&next);
    assert_eq!(world.introspect(&asked(&token), Some(&world.crm_api())).await.unwrap(), inactive);
    world.change_without_cuts(EntryKind::Person, "riley", |entry| {
        let Entry::Person(person) = entry else { panic!("a person") };
        person.disabled = true;
    });
    assert_eq!(world.introspect(&asked(&token), Some(&header)).await.unwrap(), inactive);
}
