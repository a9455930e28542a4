//! An act that takes authority away, as data.

use mandate_audit::Record;
use mandate_core::Cut;
use mandate_core::registry::{Entry, EntryKind, Halt, Registry, RegistryVersion};
use mandate_delegation::revocation::{only_stops, only_takes};
use mandate_live::{Edition, Removal, Snapshot};
use mandate_store::Effect;
use serde::{Deserialize, Serialize};

/// One act that takes authority away: its record, and everything that it changes.
///
/// It consists of changes that were checked to give nothing. The reserve stores it as bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
// A field that is not understood must not be ignored, because the stop takes authority away.
#[serde(deny_unknown_fields)]
pub struct Stop {
    record: Record,
    /// Entries of which only the state changes, and how far each is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    halted: Vec<(EntryKind, String, Halt)>,
    /// Entries that get less, as they were and as they were to be. Whatever they are when this is made, they
    /// get no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    narrowed: Vec<(Entry, Entry)>,
    /// Entries that get less, as an earlier version wrote them: only as they were to be. See
    /// [`Stop::in_this_form`].
    #[serde(default, skip_serializing)]
    put: Vec<Entry>,
    /// Entries that are removed, each with its state when that was planned. The state is not in the reserve:
    /// a stop that is there was in force, so nothing stopped the entry further.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "removed")]
    removed: Vec<Removal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cuts: Vec<Cut>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned_node: Option<String>,
    /// The edition from which it was planned, if it would be another stop in another edition. Has no meaning
    /// for a later process.
    #[serde(skip)]
    planned: Option<Edition>,
}

impl Stop {
    /// A stop that cuts issued tokens.
    pub fn of_cuts(record: Record, cuts: Vec<Cut>) -> Self {
        let (halted, narrowed, put, removed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { record, halted, narrowed, put, removed, cuts, banned_node: None, planned: None }
    }

    /// A stop that bans a node.
    pub fn of_node(record: Record, name: String) -> Self {
        Self { banned_node: Some(name), ..Self::of_cuts(record, Vec::new()) }
    }

    /// A stop that changes entries of the registry, each from its old to its new value, and cuts issued
    /// tokens.
    ///
    /// They were planned from this `snapshot`. `None` if one of the changes gives authority, or might give
    /// it, in its registry.
    pub fn of_changes<'e>(
        record: Record,
        changes: impl IntoIterator<Item = (Option<&'e Entry>, Option<&'e Entry>)>,
        cuts: Vec<Cut>,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        let mut stop = Self::of_cuts(record, cuts);
        let policies = snapshot.registry.policies().next().is_some();
        for (before, after) in changes {
            let before = before?;
            if !only_takes(before, after, policies) {
                return None;
            }
            match (after, after.and_then(Entry::halt)) {
                (Some(after), Some(halt)) if only_stops(before, after) => {
                    stop.halted.push((before.kind(), before.key().to_owned(), halt));
                }
                (Some(after), _) => stop.narrowed.push((before.clone(), after.clone())),
                (None, _) => stop.removed.push(Removal::of(before)),
            }
        }
        stop.planned = stop.narrows().then_some(snapshot.edition);
        Some(stop)
    }

    /// This stop in the form of this version. Where an earlier version wrote only what its entries were to
    /// be, the `registry` in force says what they were; from an entry that is gone, nothing is left to take.
    pub(crate) fn in_this_form(mut self, registry: &Registry) -> Self {
        for to in std::mem::take(&mut self.put) {
            if let Some(from) = registry.get(to.kind(), to.key()) {
                // A later stop may be in the registry already. This one does not lift it.
                let to = to.stopped(from.halt());
                self.narrowed.push((from, to));
            }
        }
        self
    }

    /// Whether its changes only take authority away: the content of the file is not trusted.
    ///
    /// This is true in every registry. So a change that became durable beside it, just before a crash, does
    /// not matter. Neither does a policy of such a change: the stop was in force before it.
    pub(crate) fn only_takes(&self) -> bool {
        self.narrowed.iter().all(|(from, to)| only_takes(from, Some(to), false))
            && self.removed.iter().all(|removal| removal.kind != EntryKind::Policy)
    }

    /// The record that will be in the audit log.
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
        !self.halted.is_empty() || self.narrows()
    }

    /// Whether it does more to entries than to halt them, so that the registry has its next version with it.
    pub(crate) fn narrows(&self) -> bool {
        !self.narrowed.is_empty() || !self.removed.is_empty()
    }

    /// The entries that it removes.
    pub(crate) fn removed(&self) -> &[Removal] {
        &self.removed
    }

    pub(crate) fn planned(&self) -> Option<Edition> {
        self.planned
    }

    /// Makes its changes to a registry. To make them again changes nothing.
    pub(crate) fn change(&self, registry: &mut Registry) {
        for (kind, key, halt) in &self.halted {
            if let Some(entry) = registry.get(*kind, key) {
                registry.put(entry.stopped(Some(*halt)));
            }
        }
        for (from, to) in &self.narrowed {
            if let Some(now) = registry.get(from.kind(), from.key()) {
                registry.put(now.narrowed(from, to));
            }
        }
        for Removal { kind, key, .. } in &self.removed {
            registry.remove(*kind, key);
        }
    }

    /// Everything that it changes, for the transaction of its record. With `planned_from`, the transaction is
    /// refused unless it is the next change after this version.
    pub(crate) fn effects(&self, planned_from: Option<RegistryVersion>) -> Vec<Effect> {
        let advanced = self.narrows().then_some(Effect::AdvanceRegistry { planned_from });
        let halted = self.halted.iter().map(|(kind, key, halt)| Effect::HaltEntry {
            kind: *kind,
            key: key.clone(),
            halt: *halt,
        });
        let narrow = |(from, to): &(Entry, Entry)| Effect::NarrowEntry {
            from: Box::new(from.clone()),
            to: Box::new(to.clone()),
        };
        let narrowed = self.narrowed.iter().map(narrow);
        // In force since it was begun: whatever the database has of the entry is removed.
        let removed = self.removed.iter().map(|Removal { kind, key, .. }| Effect::RemoveEntry {
            kind: *kind,
            key: key.clone(),
            planned_from: None,
        });
        let cuts = self.cuts.iter().cloned().map(Effect::Cut);
        let banned = self.banned_node.iter().cloned().map(Effect::BanNode);
        let recorded = Effect::RecordStop(self.record.id.clone());
        std::iter::once(recorded)
            .chain(advanced)
            .chain(halted)
            .chain(narrowed)
            .chain(removed)
            .chain(cuts)
            .chain(banned)
            .collect()
    }
}

/// The removed entries as the reserve has them: the kind and the key of each.
mod removed {
    use mandate_core::registry::EntryKind;
    use mandate_live::Removal;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(removed: &[Removal], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(removed.iter().map(|Removal { kind, key, .. }| (kind, key)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Removal>, D::Error> {
        let entries = Vec::<(EntryKind, String)>::deserialize(from)?;
        Ok(entries.into_iter().map(|(kind, key)| Removal { kind, key, planned_from: None }).collect())
    }
}
