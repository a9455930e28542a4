//! Remembering what was permitted: the same facts under the same policies have the same answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::evaluate::Permit;
use crate::facts::Fingerprint;

/// How many permits each of the two generations holds, some hundred bytes each.
const PER_GENERATION: usize = 2048;

/// A bounded memo of permits, of one compiled set of policies. Denials are not remembered: they are rare, and a caller
/// that asks for what is denied must not push out what is permitted.
#[derive(Default)]
pub(crate) struct Memo(Mutex<Generations>);

/// A lookup moves an entry that is in use into the young generation. When that is full, the old one is dropped as a whole.
#[derive(Default)]
struct Generations {
    young: HashMap<Fingerprint, Arc<Permit>>,
    old: HashMap<Fingerprint, Arc<Permit>>,
}

impl Generations {
    fn put(&mut self, facts: Fingerprint, permit: Arc<Permit>) {
        if self.young.len() >= PER_GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(facts, permit);
    }
}

impl Memo {
    /// What was permitted for exactly these facts.
    pub(crate) fn get(&self, facts: &Fingerprint) -> Option<Arc<Permit>> {
        let mut both = self.0.lock();
        if let Some(permit) = both.young.get(facts) {
            return Some(Arc::clone(permit));
        }
        let (facts, permit) = both.old.remove_entry(facts)?;
        both.put(facts, Arc::clone(&permit));
        Some(permit)
    }

    pub(crate) fn insert(&self, facts: Fingerprint, permit: Arc<Permit>) {
        self.0.lock().put(facts, permit);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let both = self.0.lock();
        both.young.len() + both.old.len()
    }
}

impl fmt::Debug for Memo {
    /// Nothing of what was asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;
    use mandate_core::registry::{Person, Resource};
    use mandate_core::{ScopeSet, subject};

    use super::PER_GENERATION;
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
                id: subject::Person { iss: iss.clone(), sub: name.to_owned() },
                may,
                disabled: false,
            };
            let now = Timestamp::from_secs(1);
            let question =
                Question { person: &person, agent: None, resource: &resource, scopes: &scopes, grant: None, client: "a", depth: 0, now };
            policies.evaluate(&question).unwrap()
        };
        let first = ask("riley");
        for at in 0..3 * PER_GENERATION {
            ask(&format!("person-{at}"));
            if at % 1000 == 0 {
                assert!(std::sync::Arc::ptr_eq(&first, &ask("riley")), "in use");
            }
        }
        assert!(policies.memo.len() <= 2 * PER_GENERATION);
    }
}
