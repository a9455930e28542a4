//! An act that takes authority away, as data.

use mandate_audit::Record;
use mandate_core::Cut;
use mandate_core::registry::{Entry, Halt, Kind, Registry};
use mandate_delegation::revocation::{only_stops, only_takes};
use mandate_store::Effect;
use serde::{Deserialize, Serialize};

/// One act that takes authority away: its record, and everything that it changes.
///
/// It consists of changes that were checked to give nothing. The reserve stores it as bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    record: Record,
    /// Entries that change in nothing else, and how far each is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    halted: Vec<(Kind, String, Halt)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    put: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<(Kind, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cuts: Vec<Cut>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned_node: Option<String>,
}

impl Stop {
    /// A stop that cuts issued tokens.
    pub fn of_cuts(record: Record, cuts: Vec<Cut>) -> Self {
        Self { record, halted: Vec::new(), put: Vec::new(), removed: Vec::new(), cuts, banned_node: None }
    }

    /// A stop that bans a node.
    pub fn of_node(record: Record, name: String) -> Self {
        Self { record, halted: Vec::new(), put: Vec::new(), removed: Vec::new(), cuts: Vec::new(), banned_node: Some(name) }
    }

    /// A stop that changes entries of the registry, each from its old to its new value, and cuts issued tokens.
    ///
    /// None if one of the changes gives something, or might give something, in this `registry`.
    pub fn of_changes<'e>(
        record: Record,
        changes: impl IntoIterator<Item = (Option<&'e Entry>, Option<&'e Entry>)>,
        cuts: Vec<Cut>,
        registry: &Registry,
    ) -> Option<Self> {
        let mut stop = Self::of_cuts(record, cuts);
        let policies = has_policies(registry);
        for (before, after) in changes {
            let before = before?;
            if !only_takes(before, after, policies) {
                return None;
            }
            match (after, after.and_then(Entry::halt)) {
                (Some(after), Some(halt)) if only_stops(before, after) => {
                    stop.halted.push((before.kind(), before.key().to_owned(), halt));
                }
                (Some(after), _) => stop.put.push(after.clone()),
                (None, _) => stop.removed.push((before.kind(), before.key().to_owned())),
            }
        }
        Some(stop)
    }

    /// Whether its changes only take authority away in this registry: the content of the file is not trusted.
    pub(crate) fn only_takes_from(&self, registry: &Registry) -> bool {
        let policies = has_policies(registry);
        let takes = |new: &Entry| registry.get(new.kind(), new.key()).is_some_and(|old| only_takes(&old, Some(new), policies));
        self.put.iter().all(takes) && self.removed.iter().all(|(kind, _)| *kind != Kind::Policy)
    }

    /// Its record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    pub(crate) fn banned_node(&self) -> Option<&str> {
        self.banned_node.as_deref()
    }

    /// Whether it changes entries, so that no act that gives may be recorded before it.
    pub(crate) fn changes_entries(&self) -> bool {
        !self.halted.is_empty() || !self.put.is_empty() || !self.removed.is_empty()
    }

    /// Makes its changes to a registry.
    pub(crate) fn change(&self, registry: &mut Registry) {
        for (kind, key, halt) in &self.halted {
            if let Some(entry) = registry.get(*kind, key) {
                registry.put(entry.stopped(Some(*halt)));
            }
        }
        for entry in &self.put {
            let halt = registry.get(entry.kind(), entry.key()).and_then(|now| now.halt());
            registry.put(entry.clone().stopped(halt));
        }
        for (kind, key) in &self.removed {
            registry.remove(*kind, key);
        }
    }

    /// Everything that it changes, for the transaction of its record.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        let advanced = (!self.put.is_empty() || !self.removed.is_empty()).then_some(Effect::AdvanceRegistry { planned_from: None });
        let halted = self.halted.iter().map(|(kind, key, halt)| Effect::HaltEntry { kind: *kind, key: key.clone(), halt: *halt });
        let put = self.put.iter().map(|entry| Effect::NarrowEntry(Box::new(entry.clone())));
        let removed = self.removed.iter().map(|(kind, key)| Effect::RemoveEntry { kind: *kind, key: key.clone() });
        let cuts = self.cuts.iter().cloned().map(Effect::Cut);
        let banned = self.banned_node.iter().cloned().map(Effect::BanNode);
        let recorded = Effect::RecordStop(self.record.id.clone());
        std::iter::once(recorded).chain(advanced).chain(halted).chain(put).chain(removed).chain(cuts).chain(banned).collect()
    }
}

fn has_policies(registry: &Registry) -> bool {
    registry.policies().next().is_some()
}
