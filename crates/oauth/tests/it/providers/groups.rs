//! Groups and tenants of people who log in at an identity provider.

use std::time::Duration;

use mandate_core::registry::{Entry, EntryKind, Group};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{exposed, payload, with};
use serde_json::{Value, json};

use super::{Away, Login};

/// As [`Login::new`]; the provider's tokens name groups, and dana may only read by herself.
async fn login() -> Login {
    let login = Login::with_more(story::away_apps());
    let issuer = login.provider.issuer.issuer();
    let named = |entry: &mut Entry| {
        if let Entry::Issuer(issuer) = entry {
            issuer.groups_claim = Some("groups".parse().unwrap());
        }
    };
    login.world.change(EntryKind::Issuer, issuer.as_str(), named).await;
    let reads = |entry: &mut Entry| {
        if let Entry::Person(dana) = entry {
            dana.may = vec![story::permission("crm", "read:cases")];
        }
    };
    login.world.change(EntryKind::Person, "dana", reads).await;
    login.world.apply(group(&login, "writers", "crm", "write:case_comments")).await;
    login.world.apply(group(&login, "readers", "research", "read:cases")).await;
    login.world.clock.advance(Duration::from_secs(1));
    login
}

fn group(login: &Login, name: &str, resource: &str, scope: &str) -> Entry {
    let (name, issuer) = (name.parse().unwrap(), login.provider.issuer.issuer());
    let may = vec![story::permission(resource, scope)];
    Entry::Group(Group { id: format!("{name}@idp"), name, issuer, may })
}

#[tokio::test]
async fn a_person_has_the_groups_of_their_login_and_an_agent_what_they_give() {
    let login = login().await;
    let away = login.leave().await;
    let code = login.code(&away, &json!({"groups": ["writers@idp", "readers@idp", "others"]})).await;
    let token = login.token(&code).await;
    let claims = payload(&token);
    assert_eq!(claims["scope"], "read:cases write:case_comments");
    assert_eq!(claims["groups"], json!(["readers", "writers"]), "all that are known here");
    let svid = login.world.svid("support-agent").await;
    let form = login.world.agent_exchange(&svid, &token, CRM, "read:cases write:case_comments");
    let given = payload(&exposed(&login.world.token(&form, None).await.unwrap()));
    assert_eq!(given["scope"], "read:cases write:case_comments");
    assert_eq!(given["groups"], json!(["writers"]), "the CRM is told what concerns it");

    let away = login.leave().await;
    let code = login.code(&away, &json!({})).await;
    let claims = payload(&login.token(&code).await);
    assert_eq!((&claims["scope"], claims.get("groups")), (&json!("read:cases"), None));
}

#[tokio::test]
async fn an_id_token_with_groups_of_another_form_is_refused() {
    let login = login().await;
    for bad in [json!("writers@idp"), json!([7]), json!({}), json!(["a".repeat(129)])] {
        let refused = login.id_token(&json!({ "groups": bad })).await;
        assert_eq!(refused, "400 invalid_grant id_token_refused", "{bad}");
    }
}

#[tokio::test]
async fn a_login_that_goes_on_keeps_its_groups_with_the_rights_that_they_have_now() {
    let login = login().await;
    let scope = Some("read:cases write:case_comments offline_access");
    let query = login.world.authorization("away-app", Some(CRM), scope);
    let departure = login.try_to_leave(&query).await.unwrap();
    let away = Away { query, location: departure.location, pending: departure.pending };
    let code = login.code(&away, &json!({"groups": ["writers@idp"]})).await;
    let redemption = with(login.world.redemption("away-app", &code), "resource", CRM);
    let first = login.world.token(&redemption, None).await.unwrap();
    let scope_of = |claims: &Value| claims["scope"].clone();
    assert_eq!(scope_of(&payload(&exposed(&first))), "read:cases write:case_comments");
    let next = login.goes_on(&first).await.unwrap();
    assert_eq!(payload(&exposed(&next))["groups"], json!(["writers"]));
    login.world.apply(group(&login, "writers", "research", "read:cases")).await;
    let after = login.goes_on(&next).await.unwrap();
    let claims = payload(&exposed(&after));
    assert_eq!((scope_of(&claims), claims.get("groups")), (json!("read:cases"), None));
    // A code that was given before the group was removed is redeemed without it.
    let away = login.leave_for(Some(CRM), Some("write:case_comments")).await;
    login.give(&away, &json!({"groups": ["writers@idp"]}));
    assert_eq!(refused_at(&login, &away).await, "scope_beyond_person");
}

async fn refused_at(login: &Login, away: &Away) -> String {
    let (_, shown) = super::sent_back(login.come_back(away).await);
    shown.split(' ').next_back().unwrap().to_owned()
}

#[tokio::test]
async fn a_login_that_goes_on_has_no_tenant_once_the_entry_reads_it_in_another_claim() {
    let login = Login::with_more(story::away_apps());
    let issuer = login.provider.issuer.issuer();
    let reads = async |claim: &str| {
        let named = |entry: &mut Entry| {
            if let Entry::Issuer(issuer) = entry {
                issuer.tenant_claim = Some(claim.parse().unwrap());
            }
        };
        login.world.change(EntryKind::Issuer, issuer.as_str(), named).await;
    };
    reads("tid").await;
    let of_acme = |entry: &mut Entry| {
        if let Entry::Person(dana) = entry {
            dana.tenant = Some("acme".parse().unwrap());
        }
    };
    login.world.change(EntryKind::Person, "dana", of_acme).await;
    login.world.clock.advance(Duration::from_secs(1));
    let query = login.world.authorization("away-app", Some(CRM), Some("read:cases offline_access"));
    let departure = login.try_to_leave(&query).await.unwrap();
    let away = Away { query, location: departure.location, pending: departure.pending };
    let code = login.code(&away, &json!({"tid": "acme", "org": "umbrella"})).await;
    let redemption = with(login.world.redemption("away-app", &code), "resource", CRM);
    let first = login.world.token(&redemption, None).await.unwrap();
    assert_eq!(payload(&exposed(&first))["tenant"], "acme");
    let next = login.goes_on(&first).await.unwrap();
    reads("org").await;
    assert_eq!(login.goes_on(&next).await.unwrap_err(), "400 invalid_grant parties_apart");
}
