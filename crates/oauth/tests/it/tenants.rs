//! Tenants: what belongs to one never acts with what belongs to another.

use std::time::Duration;

use mandate_audit::Outcome;
use mandate_core::TenantName;
use mandate_core::registry::{Entry, EntryKind};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{World, exposed, payload, with};

use crate::{lives, refused};

fn name(text: &str) -> Option<TenantName> {
    (!text.is_empty()).then(|| text.parse().unwrap())
}

/// Puts an entry into a tenant, or into none.
async fn place(world: &World, kind: EntryKind, key: &str, tenant: &str) {
    let place = |entry: &mut Entry| match entry {
        Entry::Person(x) => x.tenant = name(tenant),
        Entry::Agent(x) => x.tenant = name(tenant),
        Entry::Client(x) => x.tenant = name(tenant),
        Entry::Resource(x) => x.tenant = name(tenant),
        _ => panic!("{entry:?}"),
    };
    world.change(kind, key, place).await;
    world.clock.advance(Duration::from_secs(1));
}

/// Riley, the agent, the client and the CRM are of acme; the other resources are shared.
async fn acme() -> World {
    let mut more = story::away_apps();
    more.push(story::watch_agent());
    let world = World::with_entries(more);
    for (kind, key) in [
        (EntryKind::Person, "riley"),
        (EntryKind::Agent, "support-agent"),
        (EntryKind::Agent, "watch-agent"),
        (EntryKind::Client, "support-app"),
        (EntryKind::Client, "away-app"),
        (EntryKind::Resource, "crm"),
    ] {
        place(&world, kind, key, "acme").await;
    }
    world
}

async fn exchange(world: &World, subject: &str) -> Result<serde_json::Value, String> {
    let form = world.agent_exchange(&world.svid("support-agent").await, subject, CRM, "read:cases");
    match world.token(&form, None).await {
        Ok(response) => Ok(payload(&exposed(&response))),
        refusal => Err(refused(refusal)),
    }
}

const APART: &str = "400 invalid_request parties_apart";

/// The record of the refusal has both tenants.
#[track_caller]
fn recorded(world: &World, parts: &[&str]) {
    let record = world.last_record();
    assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Refused, "parties_apart"));
    let detail = record.detail.unwrap();
    assert!(parts.iter().all(|part| detail.contains(part)), "{detail}");
}

#[tokio::test]
async fn a_mandate_has_the_tenant_of_its_parties_and_those_without_one_are_shared() {
    let world = acme().await;
    let subject = world.person_token("riley", None, None).await;
    assert_eq!(payload(&subject)["tenant"], "acme");
    assert_eq!(exchange(&world, &subject).await.unwrap()["tenant"], "acme");
    assert_eq!(world.last_record().said().tenant.unwrap().as_str(), "acme");
    let form =
        world.agent_exchange(&world.svid("support-agent").await, &subject, story::RESEARCH, "read:cases");
    let shared = payload(&exposed(&world.token(&form, None).await.unwrap()));
    assert_eq!(shared["tenant"], "acme", "a shared resource is told whose request it is");
    let nobody = World::story();
    let subject = nobody.person_token("riley", None, None).await;
    assert_eq!(payload(&subject).get("tenant"), None);
}

#[tokio::test]
async fn a_token_of_one_tenant_is_refused_at_a_resource_of_another_and_both_are_recorded() {
    let world = acme().await;
    let subject = world.person_token("riley", None, None).await;
    place(&world, EntryKind::Resource, "crm", "umbrella").await;
    assert_eq!(exchange(&world, &subject).await.unwrap_err(), APART);
    recorded(&world, &["tenant \"acme\"", "tenant \"umbrella\""]);
    let form = world.agent_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    let said = world.token(&form, None).await.unwrap_err().description;
    assert!(!["acme", "umbrella", "tenant"].iter().any(|word| said.contains(word)), "{said}");
}

#[tokio::test]
async fn a_subject_token_of_one_tenant_is_refused_with_a_client_or_an_agent_of_another() {
    let world = acme().await;
    let subject = world.person_token("riley", None, None).await;
    place(&world, EntryKind::Client, "desk-app", "umbrella").await;
    let form = world.app_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, Some(&world.desk_app())).await), APART);
    recorded(&world, &["tenant \"acme\"", "the client of tenant \"umbrella\""]);
    place(&world, EntryKind::Agent, "support-agent", "umbrella").await;
    assert_eq!(exchange(&world, &subject).await.unwrap_err(), APART);
    recorded(&world, &["tenant \"acme\"", "the agent of tenant \"umbrella\""]);
}

#[tokio::test]
async fn nobody_logs_in_with_a_client_or_for_a_resource_of_another_tenant() {
    let world = acme().await;
    place(&world, EntryKind::Client, "support-app", "").await;
    place(&world, EntryKind::Resource, "crm", "umbrella").await;
    let token = payload(&world.person_token("riley", None, None).await);
    assert_eq!(token["scope"], "read:cases", "what is shared, and nothing of the CRM");
    let code = world.code(&world.authorization("support-app", Some(story::RESEARCH), None), "riley").await;
    place(&world, EntryKind::Resource, "research", "umbrella").await;
    let redemption = with(world.redemption("support-app", &code), "resource", story::RESEARCH);
    assert_eq!(refused(world.token(&redemption, None).await), "400 invalid_grant parties_apart");
    recorded(&world, &["tenant \"acme\"", "tenant \"umbrella\""]);
}

#[tokio::test]
async fn a_login_that_goes_on_and_a_token_at_its_resource_end_where_tenants_part() {
    let world = acme().await;
    let scope = Some("read:cases offline_access");
    let code = world.code(&world.authorization("away-app", Some(CRM), scope), "riley").await;
    let redemption = with(world.redemption("away-app", &code), "resource", CRM);
    let first = world.token(&redemption, None).await.unwrap();
    assert!(lives(&world, &exposed(&first)).await);
    place(&world, EntryKind::Resource, "crm", "umbrella").await;
    assert!(!lives(&world, &exposed(&first)).await);
    let form = world.refreshing("away-app", &mandate_testkit::world::refresh_token(&first));
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_grant parties_apart");
}

#[tokio::test]
async fn an_agent_on_its_own_behalf_stays_in_its_tenant() {
    let world = acme().await;
    let form = world.own_behalf(&world.svid("watch-agent").await, CRM, "read:cases");
    assert_eq!(payload(&exposed(&world.token(&form, None).await.unwrap()))["tenant"], "acme");
    place(&world, EntryKind::Resource, "crm", "umbrella").await;
    assert_eq!(refused(world.token(&form, None).await), "400 unauthorized_client parties_apart");
    recorded(&world, &["the agent is of tenant \"acme\"", "the resource of tenant \"umbrella\""]);
}

#[tokio::test]
async fn a_party_that_moves_to_another_tenant_takes_nothing_along() {
    for (kind, key) in [
        (EntryKind::Person, "riley"),
        (EntryKind::Agent, "support-agent"),
        (EntryKind::Client, "support-app"),
    ] {
        let world = World::story();
        let subject = world.person_token("riley", None, None).await;
        let form = world.agent_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
        let mandate = exposed(&world.token(&form, None).await.unwrap());
        assert!(lives(&world, &mandate).await);
        place(&world, kind, key, "acme").await;
        assert!(!lives(&world, &mandate).await, "{key}");
    }
}

/// An agent's credential proves the agent, and nothing that it says of a person does.
#[tokio::test]
async fn an_agent_that_only_names_a_person_never_acts_for_them() {
    let world = acme().await;
    let svid = world.svid("support-agent").await;
    let subject = world.person_token("riley", None, None).await;
    let good = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for (parameter, value) in [
        ("email", "riley@acme.example"),
        ("username", "riley"),
        ("login_hint", "riley"),
        ("sub", "riley"),
        ("requested_subject", "riley"),
    ] {
        let without = mandate_testkit::world::without(good.clone(), "subject_token");
        let without = with(without, parameter, value);
        let answer = refused(world.token(&without, None).await);
        assert_eq!(answer, "400 invalid_request parameter_missing", "{parameter}");
        // As the subject token, a name is none.
        let named = with(good.clone(), "subject_token", value);
        assert_eq!(refused(world.token(&named, None).await), "400 invalid_request subject_token_refused");
        let form = with(with(good.clone(), "grant_type", "password"), parameter, value);
        assert!(refused(world.token(&form, None).await).starts_with("400 "), "{parameter}");
        // On its own behalf it gets what is its own, for nobody.
        let alone =
            with(world.own_behalf(&world.svid("watch-agent").await, CRM, "read:cases"), parameter, value);
        if let Ok(response) = world.token(&alone, None).await {
            let claims = payload(&exposed(&response));
            assert_eq!(claims["sub"], story::spiffe_id("watch-agent"), "{parameter}");
            assert_eq!(claims["sub_profile"], "ai_agent");
        }
    }
}
