//! A decision never crosses tenants.

use mandate_core::TenantName;
use mandate_core::registry::EntryKind;
use proptest::prelude::*;

use super::*;

fn tenant(at: u8) -> Option<TenantName> {
    ["", "acme", "umbrella"]
        .get(usize::from(at))
        .filter(|name| !name.is_empty())
        .map(|name| name.parse().unwrap())
}

/// Who may belong to a tenant: person, issuer of the subject token's client, agent, earlier agent, client,
/// resource, subject token.
fn placed(case: &mut Case, [person, agent, earlier, client, resource, token]: [u8; 6]) {
    case.by_app(&["support-agent"]);
    case.person(|p| p.tenant = tenant(person));
    case.agent("support-agent", |a| a.tenant = tenant(agent));
    case.agent("triage", |a| a.tenant = tenant(earlier));
    case.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
    let app = Client { tenant: tenant(client), ..support_app(&["support-agent"]) };
    case.registry.put(Entry::Client(app));
    let Some(Entry::Resource(crm)) = case.registry.get(EntryKind::Resource, "crm") else { panic!() };
    case.registry.put(Entry::Resource(Resource { tenant: tenant(resource), ..crm }));
    case.subject.terms.tenant = tenant(token);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_mandate_has_the_one_tenant_of_all_that_it_rests_on(at in proptest::array::uniform6(0u8..3)) {
        let mut case = Case::new();
        placed(&mut case, at);
        let mut all: Vec<TenantName> = at.into_iter().filter_map(tenant).collect();
        all.sort();
        all.dedup();
        match (case.run(), all.as_slice()) {
            (Ok(view), []) => prop_assert_eq!(&view.terms.tenant, &None),
            (Ok(view), [one]) => prop_assert_eq!(view.terms.tenant.as_ref(), Some(one)),
            (Err(reason), [_, _, ..]) => prop_assert_eq!(reason, R::PartiesApart),
            (other, all) => prop_assert!(false, "{:?} of {:?}", other, all),
        }
    }
}

#[test]
fn the_refusal_names_both_tenants_and_a_token_between_them_does_not_count() {
    let mut case = Case::new();
    placed(&mut case, [1, 0, 0, 0, 2, 0]);
    let Err(Withheld::Refusal(refused)) = case.decided() else { panic!() };
    let tenants = refused.tenants.unwrap().to_string();
    assert!(tenants.contains("\"acme\"") && tenants.contains("\"umbrella\""), "{tenants}");
    let mut case = Case::new();
    placed(&mut case, [1, 0, 2, 0, 0, 0]);
    let Err(Withheld::Refusal(refused)) = case.decided() else { panic!() };
    let tenants = refused.tenants.unwrap().to_string();
    assert!(tenants.contains("\"acme\"") && tenants.contains("\"umbrella\""), "{tenants}");
}
