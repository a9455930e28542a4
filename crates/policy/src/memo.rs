//! Remembering what was permitted: the same facts under the same policies have the same answer.

use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter};

use crate::evaluate::ruling::Ruling;
use crate::facts::Fingerprint;

/// How many permits are remembered, some hundred bytes each.
const CAPACITY: usize = 4096;

/// How many locks the memo has. By default it would ask the machine for the number of its processors.
const SHARDS: usize = 16;

/// A bounded memo of permits, of one compiled set of policies. Permits that are used again are kept. Denials
/// are not remembered: they are rare, and a caller that asks for what is denied must not push out what is
/// permitted.
pub(crate) struct Memo(Cache<Fingerprint, Arc<Ruling>, UnitWeighter, RandomState>);

impl Default for Memo {
    #[expect(clippy::expect_used, reason = "options with both capacities are complete")]
    fn default() -> Self {
        let mut options = OptionsBuilder::new();
        // Half of the memo is for entries that were used again. In the other half, a new entry is dropped
        // only after as many newer entries have been added as fit there.
        options.hot_allocation(0.5);
        options.shards(SHARDS).estimated_items_capacity(CAPACITY).weight_capacity(CAPACITY as u64);
        let options = options.build().expect("both capacities");
        Self(Cache::with_options(options, UnitWeighter, RandomState::new(), DefaultLifecycle::default()))
    }
}

impl Memo {
    /// What was permitted for exactly these facts.
    pub(crate) fn get(&self, facts: &Fingerprint) -> Option<Arc<Ruling>> {
        self.0.get(facts)
    }

    pub(crate) fn insert(&self, facts: Fingerprint, permit: Arc<Ruling>) {
        self.0.insert(facts, permit);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Memo {
    /// Prints no questions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;
    use mandate_core::registry::{Person, Resource};
    use mandate_core::{ScopeSet, subject};

    use super::CAPACITY;
    use crate::{Policies, Question};

    #[test]
    fn stays_within_its_bound_and_keeps_what_is_in_use() {
        let scopes: ScopeSet = "read".parse().unwrap();
        let iss: mandate_core::Issuer = "https://mandate.example".parse().unwrap();
        let resource = Resource {
            name: "crm".parse().unwrap(),
            uri: "https://crm.example".parse().unwrap(),
            scopes: scopes.clone(),
            tools: vec![],
            agent: None,
            client: None,
            unattested: ScopeSet::new(),
            tenant: None,
        };
        let policies = Policies::compile([("all", "permit (principal, action, resource);")]).unwrap();
        let ask = |name: &str| {
            let may = vec![mandate_core::registry::Permission {
                resource: "crm".parse().unwrap(),
                scopes: scopes.clone(),
                constraints: mandate_core::constraint::Constraints::default(),
            }];
            let person = Person {
                name: name.parse().unwrap(),
                id: subject::Subject { iss: iss.clone(), sub: name.to_owned() },
                may,
                disabled: false,
                tenant: None,
            };
            let now = Timestamp::from_secs(1);
            let question = Question {
                person: &person,
                groups: &[],
                agent: None,
                resource: &resource,
                scopes: &scopes,
                grant: None,
                client: "a",
                depth: 0,
                now,
            };
            policies.evaluate(&question).unwrap()
        };
        let first = ask("riley");
        for at in 0..2 * CAPACITY {
            ask(&format!("person-{at}"));
            if at % 1000 == 0 {
                assert!(std::sync::Arc::ptr_eq(&first, &ask("riley")), "in use");
            }
        }
        assert!(policies.memo.len() <= CAPACITY);
    }
}
