//! What would change if a file is applied: every change, or every reason against it.

use std::collections::{HashMap, HashSet};

use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyResponse, Change, ChangeItem, Difference, Recorded, RegistryItem, kind_name};
use mandate_api::registry_file::Finding;
use mandate_core::Issuer;
use mandate_core::registry::{Entry, EntryKind, Registry};

use crate::built_in::is_administration;
use crate::entries::{self, Defaults};
use crate::proofs;
use crate::references;
use crate::removal::{is_history, removal};

/// One entry before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedChange {
    /// As it is; `None` for a new entry.
    pub before: Option<Entry>,
    /// As it will be; `None` for a removed entry.
    pub after: Option<Entry>,
}

impl PlannedChange {
    /// The kind of the entry. None if there is neither an old nor a new entry.
    pub fn kind(&self) -> Option<EntryKind> {
        self.after.as_ref().or(self.before.as_ref()).map(Entry::kind)
    }

    /// The key of the entry.
    pub fn key(&self) -> &str {
        self.after.as_ref().or(self.before.as_ref()).map_or("", Entry::key)
    }

    /// Whether it is created, changed or removed.
    pub fn change(&self) -> Change {
        match (&self.before, &self.after) {
            (None, _) => Change::Created,
            (Some(_), None) => Change::Removed,
            (Some(_), Some(_)) => Change::Changed,
        }
    }

    /// The members that differ, in alphabetical order, by their names in the registry file. Empty unless the
    /// entry exists before and after. `own` is the issuer of the embedded directory.
    pub(crate) fn differences(&self, own: &Issuer) -> Vec<Difference> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Vec::new() };
        let (before, mut after) = (members(before, own), members(after, own));
        let mut all: Vec<Difference> = Vec::new();
        for (field, before) in before {
            let after = after.remove(&field);
            if after.as_ref() != Some(&before) {
                all.push(Difference { field, before: Some(before), after });
            }
        }
        all.extend(after.into_iter().map(|(field, after)| Difference {
            field,
            before: None,
            after: Some(after),
        }));
        all.sort_by(|a, b| a.field.cmp(&b.field));
        all
    }

    /// The names of the members that differ.
    pub fn fields(&self, own: &Issuer) -> Vec<String> {
        self.differences(own).into_iter().map(|difference| difference.field).collect()
    }

    /// For a grant: its person, agent and resource. For other kinds: none.
    fn about(&self) -> Option<String> {
        match self.after.as_ref().or(self.before.as_ref()) {
            Some(Entry::Grant(grant)) => {
                Some(format!("{} → {} on {}", grant.person, grant.agent, grant.resource))
            }
            _ => None,
        }
    }

    fn to_item(&self, own: &Issuer) -> Option<ChangeItem> {
        let differences = self.differences(own);
        Some(ChangeItem {
            kind: kind_name(self.kind()?).to_owned(),
            name: self.key().to_owned(),
            about: self.about(),
            change: self.change(),
            fields: differences.iter().map(|difference| difference.field.clone()).collect(),
            differences,
        })
    }
}

/// The members of an entry by their names in the registry file.
fn members(entry: &Entry, own: &Issuer) -> serde_json::Map<String, serde_json::Value> {
    // An item is always an object in JSON. If it were not, no member would be reported.
    match serde_json::to_value(RegistryItem::of(entry, own)) {
        Ok(serde_json::Value::Object(mut members)) => {
            members.remove("kind");
            members
        }
        _ => serde_json::Map::new(),
    }
}

/// Everything that changes when a file is applied. Unchanged entries are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes: what is created or changed in an order in which every reference points backwards, then
    /// removals.
    pub changes: Vec<PlannedChange>,
    /// How many entries of the file already match.
    pub unchanged: usize,
    /// Sentences about what the file does that may not be intended. They are not errors.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The new values of entries that are created or changed.
    pub fn puts(&self) -> impl Iterator<Item = &Entry> {
        self.changes.iter().filter_map(|change| change.after.as_ref())
    }

    /// The answer of the admin API. `own` is the issuer of the embedded directory.
    pub fn to_response(&self, dry_run: bool, own: &Issuer) -> ApplyResponse {
        let changes = self.changes.iter().filter_map(|change| change.to_item(own)).collect();
        ApplyResponse {
            dry_run,
            changes,
            unchanged: self.unchanged as u64,
            notes: self.notes.clone(),
            recorded: Recorded::Log,
        }
    }
}

/// Compares a file with the registry.
///
/// Entries outside the file stay, or with `prune` are removed; retired agents and revoked grants always stay,
/// as history, and so does what is built in. On error nothing may be applied; all findings are given at once.
pub fn plan(
    file: &RegistryFile,
    current: &Registry,
    defaults: &Defaults,
    prune: bool,
) -> Result<Plan, Vec<Finding>> {
    let (plan, findings) = plan_and_findings(file, current, defaults, prune);
    if findings.is_empty() { Ok(plan) } else { Err(findings) }
}

/// As [`plan`], for a caller that checks more. If there are findings, the plan must not be applied: entries
/// with mistakes are missing from it, or were corrected.
pub fn plan_and_findings(
    file: &RegistryFile,
    current: &Registry,
    defaults: &Defaults,
    prune: bool,
) -> (Plan, Vec<Finding>) {
    let mut findings = file.duplicates();
    let (declared, mut notes) = entries::declare(file, current, defaults, &mut findings);
    let mut removals = Vec::new();
    if prune {
        let kept: HashSet<(EntryKind, &str)> =
            declared.iter().map(|d| (d.entry.kind(), d.entry.key())).collect();
        for entry in current.entries() {
            if kept.contains(&(entry.kind(), entry.key())) || is_administration(&entry, &defaults.issuer) {
                continue;
            }
            match removal(&entry) {
                Ok(()) => removals.push(entry),
                Err(_) if is_history(&entry) => {}
                Err(refusal) => {
                    let who = format!("{} `{}`", kind_name(entry.kind()), entry.key());
                    findings.push(Finding::new(
                        "",
                        format!("{who} cannot be removed, because it {refusal}; keep it in the file"),
                    ));
                }
            }
        }
    }
    findings.extend(references::check(&declared, current, &removals, defaults));
    findings.extend(proofs::collisions(&declared, current, &removals));
    notes.extend(references::notes(&declared, defaults));

    let mut plan = Plan { notes, ..Plan::default() };
    let mut puts = Vec::new();
    let existing: HashMap<(EntryKind, String), Entry> = declared
        .iter()
        .filter_map(|d| find(current, &d.entry))
        .map(|e| ((e.kind(), e.key().to_owned()), e))
        .collect();
    for item in declared {
        let before = existing.get(&(item.entry.kind(), item.entry.key().to_owned())).cloned();
        if before.as_ref() == Some(&item.entry) {
            plan.unchanged += 1;
        } else {
            puts.push(PlannedChange { before, after: Some(item.entry) });
        }
    }
    // Kinds are ordered so that what is referred to comes first: resources and people, then agents, then
    // grants.
    puts.sort_by(|a, b| (a.kind(), a.key()).cmp(&(b.kind(), b.key())));
    removals.sort_by(|a, b| (b.kind(), b.key()).cmp(&(a.kind(), a.key())));
    plan.changes = puts;
    plan.changes.extend(removals.into_iter().map(|entry| PlannedChange { before: Some(entry), after: None }));
    (plan, findings)
}

/// The file alone as entries, as if nothing were declared yet.
pub fn entries_of(file: &RegistryFile, defaults: &Defaults) -> Result<Vec<Entry>, Vec<Finding>> {
    let plan = plan(file, &Registry::default(), defaults, false)?;
    Ok(plan.changes.into_iter().filter_map(|change| change.after).collect())
}

/// The registry's entry of the same kind and key.
fn find(registry: &Registry, like: &Entry) -> Option<Entry> {
    match like {
        Entry::Resource(x) => registry.resource(&x.name).map(|x| Entry::Resource((**x).clone())),
        Entry::Person(x) => registry.person(&x.name).map(|x| Entry::Person((**x).clone())),
        Entry::Agent(x) => registry.agent(&x.name).map(|x| Entry::Agent((**x).clone())),
        Entry::Client(x) => registry.client(&x.id).map(|x| Entry::Client((**x).clone())),
        Entry::Issuer(x) => registry.issuer(&x.url).map(|x| Entry::Issuer((**x).clone())),
        Entry::Group(x) => registry.group(&x.name).map(|x| Entry::Group((**x).clone())),
        Entry::TrustDomain(x) => registry.trust_domain(&x.name).map(|x| Entry::TrustDomain((**x).clone())),
        Entry::Grant(x) => registry.grant(&x.id).map(|x| Entry::Grant((**x).clone())),
        Entry::Policy(x) => {
            registry.policies().find(|p| p.name == x.name).map(|x| Entry::Policy((**x).clone()))
        }
    }
}
