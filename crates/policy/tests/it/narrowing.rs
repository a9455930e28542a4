//! Property: the result is the intersection of everything, with any extra policies at most that.

use mandate_core::ScopeSet;
use mandate_policy::Policies;
use proptest::prelude::*;

use crate::world::{World, built_in, scopes};

fn some_scopes() -> impl Strategy<Value = String> {
    proptest::sample::subsequence(vec!["read", "comment", "close", "mail"], 0..=4)
        .prop_map(|all| all.join(" "))
}

const EXTRA: &[(&str, &str)] = &[
    ("everything", "permit (principal, action, resource);"),
    ("for-riley", "permit (principal == Person::\"riley\", action, resource);"),
    ("reads", "permit (principal, action, resource) when { context.scope == \"read\" };"),
    ("no-mail", "forbid (principal, action, resource) when { context.egress };"),
    ("no-delete", "forbid (principal is Agent, action, resource) when { context.destructive };"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_result_is_the_intersection(may in some_scopes(), ceiling in some_scopes(), granted in some_scopes(), asked in some_scopes()) {
        let world = World::new(&may, &ceiling, &granted);
        let expected = scopes(&may).intersection(&scopes(&ceiling)).intersection(&scopes(&granted)).intersection(&scopes(&asked));
        let got = world.ask(&built_in(), &asked).map_or_else(|_| ScopeSet::new(), |permit| permit.scopes().clone());
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_set_of_extra_policies_widens_it(
        may in some_scopes(), ceiling in some_scopes(), granted in some_scopes(), asked in some_scopes(),
        extra in proptest::sample::subsequence(EXTRA, 0..=EXTRA.len()),
    ) {
        let world = World::new(&may, &ceiling, &granted);
        let policies = Policies::compile(extra.iter().copied()).unwrap();
        let alone = world.ask(&built_in(), &asked).map_or_else(|_| ScopeSet::new(), |permit| permit.scopes().clone());
        if let Ok(permit) = world.ask(&policies, &asked) {
            prop_assert!(permit.scopes().is_subset(&alone));
            prop_assert!(!permit.scopes().is_empty());
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(source in "(permit|forbid)? ?[(]?[a-z:=\"{}();.&|!<>?@ \n\u{e4}]{0,60}") {
        if let Err(error) = Policies::compile([("any", source.as_str())]) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
