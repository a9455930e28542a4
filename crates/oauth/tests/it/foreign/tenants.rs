//! Tenants that the tokens of another issuer name.

use mandate_core::registry::{Entry, EntryKind, SubjectScope, TrustedIssuer};
use mandate_testkit::story;
use serde_json::{Value, json};

use super::Abroad;

/// An issuer whose tokens name the tenant; dana is of acme.
async fn abroad(own: Option<&str>) -> Abroad {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let issuer = story::trusted_issuer(abroad.idp.issuer(), SubjectScope::Token);
    let (tenant_claim, tenant) = (Some("tid".parse().unwrap()), own.map(|own| own.parse().unwrap()));
    abroad.world.apply(Entry::Issuer(TrustedIssuer { tenant_claim, tenant, ..issuer })).await;
    abroad
}

pub(super) async fn of(abroad: &Abroad, tenant: &str) {
    let change = |entry: &mut Entry| {
        if let Entry::Person(dana) = entry {
            dana.tenant = Some(tenant.parse().unwrap());
        }
    };
    abroad.world.change(EntryKind::Person, "dana", change).await;
    abroad.world.clock.advance(std::time::Duration::from_mins(2));
}

/// The resource of another tenant.
pub(super) fn of_umbrella(entry: &mut Entry) {
    if let Entry::Resource(resource) = entry {
        resource.tenant = Some("umbrella".parse().unwrap());
    }
}

fn saying(abroad: &Abroad, tid: &Value) -> String {
    abroad.raw(|claims| claims["tid"] = tid.clone())
}

pub(super) const APART: &str = "400 invalid_request parties_apart";

#[tokio::test]
async fn the_tenant_in_a_token_must_be_that_of_the_persons_entry() {
    let abroad = abroad(None).await;
    of(&abroad, "acme").await;
    assert_eq!(abroad.ask(&saying(&abroad, &json!("acme"))).await, "ok");
    for (tid, answer) in [
        (json!("umbrella"), APART),
        (json!("ACME"), APART),
        (json!(["acme"]), "400 invalid_request subject_token_refused"),
        (json!(null), "400 invalid_request subject_token_refused"),
        (json!(""), "400 invalid_request subject_token_refused"),
    ] {
        assert_eq!(abroad.ask(&saying(&abroad, &tid)).await, answer, "{tid}");
    }
    assert_eq!(abroad.ask(&saying(&abroad, &json!("umbrella"))).await, APART);
    let detail = abroad.world.last_record().detail.unwrap();
    assert!(detail.contains("\"umbrella\"") && detail.contains("\"acme\""), "{detail}");
    assert_eq!(abroad.ask(&abroad.raw(|_| ())).await, APART, "missing is different");
}

#[tokio::test]
async fn a_person_without_a_tenant_has_that_of_the_issuer_or_none_to_compare_with() {
    let without = abroad(None).await;
    assert_eq!(without.ask(&saying(&without, &json!("acme"))).await, APART);
    let of_issuer = abroad(Some("acme")).await;
    assert_eq!(of_issuer.ask(&saying(&of_issuer, &json!("acme"))).await, "ok");
    assert_eq!(of_issuer.ask(&saying(&of_issuer, &json!("umbrella"))).await, APART);
}
