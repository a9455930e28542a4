//! Changes of the registry: planned against the snapshot in force, recorded, then in force.
//!
//! Changes are made one at a time, except stops: suspending an agent, disabling a person or revoking a grant does not wait for
//! other changes. Such a stop changes nothing else in its entry, and a change that was planned before it does not lift it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, ApplyResponse, RegistryItem};
use mandate_api::registry_file::{Defaults, Finding, Plan, PlannedChange};
use mandate_audit::{Kind, Record, Touch};
use mandate_core::registry::{Entry, Kind as EntryKind, Registry};
use mandate_core::{Clock as _, Cut, Issuer, Timestamp};
use mandate_delegation::Snapshot;
use mandate_delegation::revocation::{cuts_for_change, only_stops};
use mandate_policy::{Policies, PolicyError};
use mandate_stops::Stop;
use mandate_store::Effect;

use super::{ADMINISTRATION, Control, compile, is_administration, recorded, refused_policies, touched, touches, touches_beside, with_cuts};
use crate::error::ControlError;
use crate::operator::Operator;
use crate::usable;

/// The most characters of a summary of changes that a record keeps.
const MAX_SUMMARY: usize = 8 * 1024;

/// The most entries of a request that is planned before it waits for other changes, to see whether it only stops.
const SMALL: usize = 64;

/// A registry file that can be applied.
struct Planned {
    plan: Plan,
    /// The registry after it.
    registry: Registry,
    /// The policies after it, if they are others.
    policies: Option<Policies>,
    response: ApplyResponse,
}

impl Planned {
    /// Whether all that it does is to stop agents, people or grants.
    fn only_stops(&self) -> bool {
        let stops =
            |change: &PlannedChange| change.before.as_ref().zip(change.after.as_ref()).is_some_and(|(old, new)| only_stops(old, new));
        !self.plan.is_empty() && self.plan.changes.iter().all(stops)
    }
}

impl Control {
    /// Applies a registry file: all of it or nothing.
    pub(crate) async fn apply(&self, by: &Operator, request: ApplyRequest) -> Result<ApplyResponse, ControlError> {
        if request.dry_run {
            self.confirm(by, "apply a registry file").await?;
            return self.plan(&request, &self.snapshot(), self.clock.now()).map(|planned| planned.response);
        }
        let small = !request.prune && request.entries.entries() <= SMALL;
        self.change(by, small, |_| Ok(Cow::Borrowed(&request))).await
    }

    /// Changes members of one entry and leaves the rest of it as it is, also if others change it at the same time.
    pub(crate) async fn change_entry(
        &self,
        by: &Operator,
        kind: EntryKind,
        name: &str,
        change: impl Fn(&mut RegistryItem),
    ) -> Result<ApplyResponse, ControlError> {
        let request = |snapshot: &Snapshot| {
            let found = snapshot.registry.get(kind, name);
            let found = found.ok_or_else(|| ControlError::NotFound { kind, name: name.to_owned() })?;
            let mut item = RegistryItem::of(&found, self.live.issuer());
            change(&mut item);
            Ok(Cow::Owned(ApplyRequest { entries: RegistryFile::from_items([item]), prune: false, dry_run: false }))
        };
        self.change(by, true, request).await
    }

    async fn change<'r>(
        &self,
        by: &Operator,
        small: bool,
        request: impl Fn(&Snapshot) -> Result<Cow<'r, ApplyRequest>, ControlError>,
    ) -> Result<ApplyResponse, ControlError> {
        if small {
            self.confirm(by, "change the registry").await?;
            let (now, snapshot) = (self.clock.now(), self.snapshot());
            // What cannot be planned now may be possible after the changes that are on their way.
            if let Ok(planned) = request(&snapshot).and_then(|request| self.plan(&request, &snapshot, now))
                && planned.only_stops()
                && let Some(stop) = self.stop_of(by, &planned, &snapshot, now)
            {
                let taken = self.begin(stop)?.recorded().await;
                return Ok(ApplyResponse { recorded: recorded(taken.recorded), ..planned.response });
            }
        }
        let one_at_a_time = self.changes.lock().await;
        self.confirm(by, "change the registry").await?;
        let (now, snapshot) = (self.clock.now(), self.snapshot());
        let planned = self.plan(&*request(&snapshot)?, &snapshot, now)?;
        if planned.plan.is_empty() {
            return Ok(planned.response);
        }
        if let Some(stop) = self.stop_of(by, &planned, &snapshot, now) {
            let pending = self.begin(stop)?;
            // What comes next need not wait for the record.
            drop(one_at_a_time);
            return Ok(ApplyResponse { recorded: recorded(pending.recorded().await.recorded), ..planned.response });
        }
        let cuts = cuts_of(&planned.plan, now);
        let record = self.record_of_changes(by, &planned);
        let effects = planned.plan.changes.iter().filter_map(effect_of);
        self.append(by, "change the registry", record, with_cuts(effects, &cuts)).await?;
        self.live.change_registry(planned.policies, |registry| make(&planned.plan.changes, registry));
        self.live.cut(cuts, self.clock.as_ref());
        Ok(planned.response)
    }

    /// What a registry file changes, and the policies after it. Computes for as long as the file is large; other requests of
    /// this thread go on meanwhile.
    fn plan(&self, request: &ApplyRequest, snapshot: &Snapshot, now: Timestamp) -> Result<Planned, ControlError> {
        tokio::task::block_in_place(|| {
            let issuer = self.live.issuer().clone();
            let defaults = Defaults { trust_domain: self.trust_domain.clone(), issuer: issuer.clone(), now };
            let (mut plan, mut findings) = request.entries.plan_and_findings(&snapshot.registry, &defaults, request.prune);
            if plan.puts().any(|entry| is_administration(entry, &issuer)) {
                let detail = format!(
                    "the resource name `{ADMINISTRATION}` and the issuer's own URI are reserved for the administration of this server"
                );
                findings.push(Finding { pointer: "/resource".to_owned(), detail });
            }
            findings.extend(usable::findings(&request.entries, &plan));

            let mut registry = Registry::clone(&snapshot.registry);
            make(&plan.changes, &mut registry);
            let others = plan.changes.iter().any(|change| change.kind() == Some(EntryKind::Policy));
            let policies = match others.then(|| compile(&registry)).transpose() {
                Ok(policies) if findings.is_empty() => policies,
                Ok(_) => return Err(ControlError::InvalidRegistry(findings)),
                Err(_) => {
                    findings.extend(refused_policies(&registry).iter().map(|error| of_policy(error, &request.entries)));
                    return Err(ControlError::InvalidRegistry(findings));
                }
            };
            plan.notes.extend(usable::notes(&plan));
            let response = plan.to_response(request.dry_run, &issuer);
            Ok(Planned { plan, registry, policies, response })
        })
    }

    /// The plan as a stop, if it gives nothing.
    fn stop_of(&self, by: &Operator, planned: &Planned, snapshot: &Snapshot, now: Timestamp) -> Option<Stop> {
        let changes = planned.plan.changes.iter().map(|change| (change.before.as_ref(), change.after.as_ref()));
        let cuts = cuts_of(&planned.plan, now);
        Stop::of_changes(self.record_of_changes(by, planned), changes, cuts, &snapshot.registry)
    }

    fn record_of_changes(&self, by: &Operator, Planned { plan, registry, .. }: &Planned) -> Record {
        let mut record = self.record(Kind::Registry, by, summary(&plan.changes, self.live.issuer()));
        let entries = || plan.changes.iter().flat_map(|change| change.after.iter().chain(&change.before));
        let issuers: HashSet<&Issuer> =
            entries().filter_map(|entry| if let Entry::Issuer(x) = entry { Some(&x.url) } else { None }).collect();
        let of_issuers = registry.people().filter(|person| issuers.contains(&person.id.iss)).map(|person| Touch::Person(&person.id));
        // There is not always room for all of them. An issuer may have very many people, so they come last.
        let all = entries().flat_map(|entry| touches(entry, registry));
        let all = all.chain(entries().flat_map(|entry| touches_beside(entry, registry)));
        record.touched = touched(all.chain(of_issuers));
        record
    }
}

/// A policy of the file has a place in it; a policy that was declared before has none.
fn of_policy(error: &PolicyError, file: &RegistryFile) -> Finding {
    let at = file.policy.iter().position(|policy| policy.name.as_str() == error.policy);
    Finding { pointer: at.map(|at| format!("/policy/{at}/source")).unwrap_or_default(), detail: error.to_string() }
}

fn cuts_of(plan: &Plan, now: Timestamp) -> Vec<Cut> {
    let changed = plan.changes.iter().filter_map(|change| Some((change.before.as_ref()?, change.after.as_ref())));
    changed.flat_map(|(old, new)| cuts_for_change(old, new, now)).collect()
}

/// Makes the changes in memory.
fn make(changes: &[PlannedChange], registry: &mut Registry) {
    for change in changes {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                let now = registry.get(before.kind(), before.key());
                registry.put(after.clone().keeping_a_stop(before.halt(), now.as_ref()));
            }
            (None, Some(after)) => registry.put(after.clone()),
            (Some(before), None) => registry.remove(before.kind(), before.key()),
            (None, None) => {}
        }
    }
}

/// The change in the database.
fn effect_of(change: &PlannedChange) -> Option<Effect> {
    Some(match (&change.before, &change.after) {
        (Some(before), Some(after)) => Effect::ChangeEntry { entry: Box::new(after.clone()), planned_from: before.halt() },
        (None, Some(after)) => Effect::AddEntry(Box::new(after.clone())),
        (Some(before), None) => Effect::RemoveEntry { kind: before.kind(), key: before.key().to_owned() },
        (None, None) => return None,
    })
}

/// `created agent support-agent; changed grant … (expires, scopes)`
fn summary(changes: &[PlannedChange], own: &Issuer) -> String {
    // Writing to a String cannot fail.
    let mut text = String::new();
    for (at, change) in changes.iter().enumerate() {
        if text.len() > MAX_SUMMARY {
            let _ = write!(text, "; and {} more", changes.len() - at);
            break;
        }
        if at > 0 {
            text.push_str("; ");
        }
        let what = match (&change.before, &change.after) {
            (None, _) => "created",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
        };
        let kind = change.kind().map_or("entry", mandate_api::admin::kind_name);
        let _ = write!(text, "{what} {kind} {}", change.key());
        let fields = change.fields(own);
        if !fields.is_empty() {
            let _ = write!(text, " ({})", fields.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use mandate_api::registry_file::PlannedChange;
    use mandate_audit::{Kind as RecordKind, Outcome, Record};
    use mandate_core::registry::{Agent, AgentState, Entry, Halt, Kind, Registry};
    use mandate_core::{Clock as _, RecordId, SystemEntropy};
    use mandate_store::{Effect, registry};
    use mandate_testkit::world::World;

    use super::{effect_of, make};

    fn agent(state: AgentState, purpose: &str) -> Entry {
        Entry::Agent(Agent {
            name: "a".parse().unwrap(),
            owner: "olga".parse().unwrap(),
            purpose: purpose.to_owned(),
            spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
            selectors: Vec::new(),
            ceiling: Vec::new(),
            chain_depth: 1,
            state,
        })
    }

    async fn write(world: &World, effect: Effect) {
        let now = world.clock.now();
        let record = Record::new(RecordId::generate(now, &SystemEntropy), now, RecordKind::Registry, Outcome::Permitted, "ok");
        world.log.append(record, vec![effect]).await.unwrap();
    }

    #[tokio::test]
    async fn a_change_and_a_stop_of_one_entry_have_the_same_result_in_either_order_and_in_the_database() {
        let world = World::story();
        let (before, after) = (agent(AgentState::Active, "one"), agent(AgentState::Active, "two"));
        let change = PlannedChange { before: Some(before.clone()), after: Some(after) };
        let halt = Halt::Agent(AgentState::Suspended);
        let stop = || Effect::HaltEntry { kind: Kind::Agent, key: "a".to_owned(), halt };
        for stop_first in [true, false] {
            let mut memory = Registry::from_entries([before.clone()]);
            write(&world, Effect::AddEntry(Box::new(before.clone()))).await;
            let stopped = |memory: &mut Registry| memory.put(memory.get(Kind::Agent, "a").unwrap().stopped(Some(halt)));
            if stop_first {
                stopped(&mut memory);
                write(&world, stop()).await;
            }
            make(std::slice::from_ref(&change), &mut memory);
            write(&world, effect_of(&change).unwrap()).await;
            if !stop_first {
                stopped(&mut memory);
                write(&world, stop()).await;
            }
            let expected = Some(agent(AgentState::Suspended, "two"));
            assert_eq!(memory.get(Kind::Agent, "a"), expected, "{stop_first}");
            assert_eq!(world.store.read_blocking("result", |tx| registry::get(tx, Kind::Agent, "a")).unwrap(), expected, "{stop_first}");
        }
    }
}
