//! Entries that move to another tenant.

use mandate_core::TenantName;

use super::*;

fn tenant(name: &str) -> Option<TenantName> {
    (!name.is_empty()).then(|| name.parse().unwrap())
}

#[test]
fn a_party_that_moves_to_a_tenant_is_cut_and_one_that_becomes_shared_is_not() {
    for (from, to, cut) in
        [("", "acme", true), ("acme", "umbrella", true), ("acme", "", false), ("acme", "acme", false)]
    {
        let pairs = [
            [from, to].map(|name| Entry::Person(Person { tenant: tenant(name), ..person() })),
            [from, to].map(|name| Entry::Agent(Agent { tenant: tenant(name), ..agent() })),
            [from, to].map(|name| Entry::Client(Client { tenant: tenant(name), ..client() })),
        ];
        for [old, new] in pairs {
            assert_eq!(cuts_for_change(&old, Some(&new), NOW).len(), usize::from(cut), "{old:?} {to}");
            assert_eq!(takes(&old, &new), from == to, "a move is no mere taking");
        }
    }
}
