//! Changes of the registry: planned against the snapshot in force, recorded, then in force.
//!
//! A change names the edition of the registry from which it was planned. If others changed the registry
//! meanwhile, it is not made, but planned again from what they left; if they changed an entry that it changes
//! too, the operator must ask again. Suspending an agent, disabling a person or revoking a grant is in
//! conflict with no change of the entry: it changes nothing else in it, and a change that was planned before
//! it does not lift it. A removal that was planned before it is planned again.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, ApplyResponse, kind_name};
use mandate_api::registry_file::Finding;
use mandate_audit::{Record, RecordKind, Touch};
use mandate_core::registry::{Agent, AgentState, Entry, EntryKind, Person, Registry};
use mandate_core::{Clock as _, Cut, CutTarget, Issuer, Timestamp};
use mandate_delegation::revocation::{cut, cuts_for_change};
use mandate_live::{Pins, RegistryClaim, Removal, Snapshot};
use mandate_planning::states::{AgentAct, PersonAct, PersonState, StateMachine as _, StateRefusal};
use mandate_planning::{
    ADMINISTRATION, Defaults, Mention, Plan, PlannedChange, is_administration, may_be_removed, mentions,
    plan_and_findings,
};
use mandate_policy::{Policies, PolicyError, check_annotations};
use mandate_stops::Stop;
use mandate_store::Effect;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::administration::{Administration, recorded, to_the_end, with_cuts};
use crate::authorization::{IsAct, Permit, act};
use crate::error::AdministrationError;
use crate::loading::PATIENCE;
use crate::policies::{compile, refused_policies};
use crate::touches::{touched, touches, touches_beside};
use crate::usable;

/// The most characters of a summary of changes that a record keeps.
const MAX_SUMMARY: usize = 8 * 1024;

/// How often something is planned before the operator is told to try again.
pub(crate) const TRIES: usize = 16;

/// A change that can be made.
struct Planned {
    plan: Plan,
    /// The registry with the change in it.
    registry: Registry,
    /// The policies after it, if they are others.
    policies: Option<Policies>,
    response: ApplyResponse,
}

/// A change that is durable and not yet in force.
struct Written {
    claim: Arc<RegistryClaim>,
    cuts: Vec<Cut>,
}

/// The acts that change the state of an agent.
pub trait OnAgent: IsAct {
    /// What they do to it.
    const ON_AGENT: AgentAct;
}

/// The acts that change the state of a person.
pub trait OnPerson: IsAct {
    /// What they do to them.
    const ON_PERSON: PersonAct;
}

macro_rules! on {
    ($of:ident $constant:ident: $kind:ident; $($name:ident $does:ident),+) => {
        $(impl $of for act::$name {
            const $constant: $kind = $kind::$does;
        })+
    };
}
on!(OnAgent ON_AGENT: AgentAct;
    SuspendAgent Suspend, ContainAgent Contain, ReleaseAgent Release, ActivateAgent Activate, RetireAgent Retire);
on!(OnPerson ON_PERSON: PersonAct; DisablePerson Disable, EnablePerson Enable);

impl Administration {
    /// Applies a registry file: all of it or nothing.
    pub async fn apply(
        self: &Arc<Self>,
        permit: Permit<act::ApplyRegistry>,
        request: ApplyRequest,
    ) -> Result<ApplyResponse, AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move {
            let plan = |snapshot: &Snapshot, now| engine.plan(&request, snapshot, now);
            if request.dry_run {
                engine.confirm(&permit).await?;
                return plan(&engine.snapshot(), engine.clock.now()).map(|planned| planned.response);
            }
            engine.change(&permit, plan).await
        })
        .await
    }

    /// Changes the state of an agent, and nothing else of its entry, also if others change it at the same
    /// time.
    pub async fn change_agent<A: OnAgent>(
        self: &Arc<Self>,
        permit: Permit<A>,
        name: String,
    ) -> Result<ApplyResponse, AdministrationError> {
        let change = |entry: &Entry| match entry {
            Entry::Agent(agent) => {
                let after: Option<AgentState> = agent.state.after(A::ON_AGENT)?;
                Ok(after.map(|state| Entry::Agent(Agent { state, ..agent.clone() })))
            }
            other => Ok(Some(other.clone())),
        };
        self.change_state(permit, EntryKind::Agent, name, change).await
    }

    /// Disables or enables a person, and changes nothing else of their entry, also if others change it at the
    /// same time.
    pub async fn change_person<A: OnPerson>(
        self: &Arc<Self>,
        permit: Permit<A>,
        name: String,
    ) -> Result<ApplyResponse, AdministrationError> {
        let change = |entry: &Entry| match entry {
            Entry::Person(person) => {
                let after = PersonState::of(person).after(A::ON_PERSON)?;
                Ok(after.map(|state| {
                    Entry::Person(Person { disabled: state == PersonState::Disabled, ..person.clone() })
                }))
            }
            other => Ok(Some(other.clone())),
        };
        self.change_state(permit, EntryKind::Person, name, change).await
    }

    async fn change_state<A: IsAct>(
        self: &Arc<Self>,
        permit: Permit<A>,
        kind: EntryKind,
        name: String,
        change: impl Fn(&Entry) -> Result<Option<Entry>, StateRefusal> + Send + Sync + 'static,
    ) -> Result<ApplyResponse, AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move {
            let must_stay = AtomicBool::new(false);
            let plan = |snapshot: &Snapshot, _| {
                let before = snapshot.registry.get(kind, &name);
                let before =
                    before.ok_or_else(|| AdministrationError::NotFound { kind, name: name.clone() })?;
                let after = change(&before).map_err(|refusal| AdministrationError::State {
                    kind,
                    name: name.clone(),
                    refusal,
                })?;
                must_stay.store(!after.as_ref().is_none_or(may_be_removed), Ordering::Relaxed);
                let same = after.as_ref() == Some(&before);
                // A change that is being written may let it act again. So a stop of what is stopped already
                // is needed again, after that change.
                let stops_again = is_stopped(&before) && engine.live.is_being_changed();
                let changes = if same && !stops_again {
                    Vec::new()
                } else {
                    vec![PlannedChange { before: Some(before), after }]
                };
                let plan = Plan { changes, unchanged: usize::from(same && !stops_again), notes: Vec::new() };
                Ok(engine.planned(plan, snapshot, None, false))
            };
            let response = engine.change(&permit, plan).await?;
            // No later removal takes an entry in such a state. One that came between the plan and the act, or
            // was being written, took it before.
            if must_stay.into_inner() && engine.snapshot().registry.get(kind, &name).is_none() {
                return Err(AdministrationError::NotFound { kind, name });
            }
            Ok(response)
        })
        .await
    }

    /// Plans a change from the registry in force and makes it: at once as a stop if it gives nothing,
    /// otherwise recorded first. What was overtaken by others is planned again.
    async fn change<A: IsAct>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        plan: impl Fn(&Snapshot, Timestamp) -> Result<Planned, AdministrationError>,
    ) -> Result<ApplyResponse, AdministrationError> {
        let asked = self.snapshot();
        let mut turn = None;
        for _ in 0..TRIES {
            self.confirm(permit).await?;
            let (now, snapshot) = (self.clock.now(), self.snapshot());
            let planned = plan(&snapshot, now)?;
            if planned.plan.is_empty() {
                return Ok(planned.response);
            }
            if let Some(stop) = self.stop_of(permit, &planned, &snapshot, now) {
                // Planning a large file takes seconds.
                self.confirm(permit).await?;
                match self.begin(stop) {
                    Ok(pending) => {
                        return Ok(ApplyResponse {
                            recorded: recorded(pending.recorded().await.recorded),
                            ..planned.response
                        });
                    }
                    Err(AdministrationError::Overtaken) => self.wait_for_others(snapshot.edition).await?,
                    Err(error) => return Err(error),
                }
                continue;
            }
            if turn.is_none() {
                // If the turn does not come in this time, another change hangs. Then this one continues
                // without a turn.
                turn = tokio::time::timeout(PATIENCE, self.turns.lock()).await.ok();
                if self.snapshot().edition != snapshot.edition {
                    continue;
                }
            }
            // If others took something from an entry since the operator asked, planning again must not give
            // it back.
            let differs = |(kind, key)| asked.registry.get(kind, key) != snapshot.registry.get(kind, key);
            if planned
                .plan
                .changes
                .iter()
                .filter_map(|change| Some((change.kind()?, change.key())))
                .any(differs)
            {
                return Err(AdministrationError::Overtaken);
            }
            let record = self.record_of_changes(permit, &planned);
            match self.write(permit, record, &planned.plan, now, &snapshot).await {
                Ok(written) => {
                    self.put_in_force(written, &planned.plan, planned.policies);
                    return Ok(planned.response);
                }
                Err(AdministrationError::Overtaken) => self.follow_others(snapshot.edition).await?,
                Err(error) => return Err(error),
            }
        }
        Err(AdministrationError::Overtaken)
    }

    /// Records a change and makes it durable, as the next one after the edition that it was planned from.
    async fn write<A: IsAct>(
        self: &Arc<Self>,
        permit: &Permit<A>,
        record: Record,
        plan: &Plan,
        now: Timestamp,
        planned_from: &Snapshot,
    ) -> Result<Written, AdministrationError> {
        let (planned, cuts) = (planned_from.edition, cuts_of(plan, &planned_from.registry, now));
        let advance = Effect::AdvanceRegistry { planned_from: Some(planned.version) };
        let effects = std::iter::once(advance).chain(plan.changes.iter().filter_map(effect_of));
        let claim =
            Arc::new(RegistryClaim::new(Arc::clone(&self.live), planned, pins_of(plan), removals_of(plan)));
        match self.append_claimed(permit, record, with_cuts(effects, &cuts), Some(&claim)).await {
            Ok(_) => Ok(Written { claim, cuts }),
            Err(error) => {
                // A log that answers with an error may have kept the record.
                if matches!(error, AdministrationError::AuditUnavailable(_)) && claim.is_taken() {
                    self.find_out(claim);
                }
                Err(error)
            }
        }
    }

    /// Puts a change in force that is durable.
    fn put_in_force(&self, Written { claim, cuts }: Written, plan: &Plan, policies: Option<Policies>) {
        claim.put_in_force(policies, |registry| make(&plan.changes, registry));
        self.live.cut(cuts, self.clock.as_ref());
    }

    /// What a registry file changes, and the policies after it.
    fn plan(
        &self,
        request: &ApplyRequest,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Planned, AdministrationError> {
        computing(|| {
            let issuer = self.live.issuer().clone();
            let defaults = Defaults { trust_domain: self.trust_domain.clone(), issuer: issuer.clone(), now };
            let (mut plan, mut findings) =
                plan_and_findings(&request.entries, &snapshot.registry, &defaults, request.prune);
            if plan.puts().any(|entry| is_administration(entry, &issuer)) {
                let detail = format!(
                    "the resource name `{ADMINISTRATION}` and the issuer's own URI are reserved for the administration of this server"
                );
                findings.push(Finding::new("/resource", detail));
            }
            findings.extend(usable::findings(&request.entries, &plan));
            plan.notes.extend(usable::notes(&plan));
            let annotated = plan.puts().filter_map(|entry| match entry {
                Entry::Policy(policy) => check_annotations(policy.name.as_str(), &policy.source).err(),
                _ => None,
            });
            findings.extend(annotated.map(|error| of_policy(&error, &request.entries)));

            let others = plan.changes.iter().any(|change| change.kind() == Some(EntryKind::Policy));
            let mut planned = self.planned(plan, snapshot, None, request.dry_run);
            match others.then(|| compile(&planned.registry)).transpose() {
                Ok(policies) if findings.is_empty() => {
                    planned.policies = policies;
                    Ok(planned)
                }
                Ok(_) => Err(AdministrationError::InvalidRegistry(findings)),
                Err(_) => {
                    findings.extend(
                        refused_policies(&planned.registry)
                            .iter()
                            .map(|error| of_policy(error, &request.entries)),
                    );
                    Err(AdministrationError::InvalidRegistry(findings))
                }
            }
        })
    }

    fn planned(&self, plan: Plan, snapshot: &Snapshot, policies: Option<Policies>, dry_run: bool) -> Planned {
        let mut registry = Registry::clone(&snapshot.registry);
        make(&plan.changes, &mut registry);
        let response = plan.to_response(dry_run, self.live.issuer());
        Planned { plan, registry, policies, response }
    }

    /// The plan as a stop, if it gives nothing.
    fn stop_of<A: IsAct>(
        &self,
        permit: &Permit<A>,
        planned: &Planned,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<Stop> {
        let changes =
            planned.plan.changes.iter().map(|change| (change.before.as_ref(), change.after.as_ref()));
        let cuts = cuts_of(&planned.plan, &snapshot.registry, now);
        Stop::of_changes(self.record_of_changes(permit, planned), changes, cuts, snapshot)
    }

    fn record_of_changes<A: IsAct>(
        &self,
        permit: &Permit<A>,
        Planned { plan, registry, .. }: &Planned,
    ) -> Record {
        let mut record =
            self.record(RecordKind::Registry, permit, summary(&plan.changes, self.live.issuer()));
        let entries = || plan.changes.iter().flat_map(|change| change.after.iter().chain(&change.before));
        let issuers: HashSet<&Issuer> = entries()
            .filter_map(|entry| if let Entry::Issuer(x) = entry { Some(&x.url) } else { None })
            .collect();
        let of_issuers = registry
            .people()
            .filter(|person| issuers.contains(&person.id.iss))
            .map(|person| Touch::Person(&person.id));
        // There may be no room for all of them. An issuer may have very many people, so they come last.
        let all = entries().flat_map(|entry| touches(entry, registry));
        let all = all.chain(entries().flat_map(|entry| touches_beside(entry, registry)));
        record.touched = touched(all.chain(of_issuers));
        record
    }
}

/// Computes for as long as a file is large. On a runtime with several threads, the other tasks of this thread
/// move to another one meanwhile.
fn computing<T>(f: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(f),
        _ => f(),
    }
}

/// A policy of the file has a place in it; a policy that was declared before has none.
fn of_policy(error: &PolicyError, file: &RegistryFile) -> Finding {
    let at = file.policy.iter().position(|policy| policy.name.as_str() == error.policy);
    Finding {
        pointer: at.map(|at| format!("/policy/{at}/source")).unwrap_or_default(),
        detail: error.to_string(),
    }
}

fn is_stopped(entry: &Entry) -> bool {
    match entry {
        Entry::Agent(agent) => agent.state != AgentState::Active,
        Entry::Person(person) => person.disabled,
        _ => false,
    }
}

/// `before`: the registry from which the plan was made.
fn cuts_of(plan: &Plan, before: &Registry, now: Timestamp) -> Vec<Cut> {
    let changed =
        plan.changes.iter().filter_map(|change| Some((change.before.as_ref()?, change.after.as_ref())));
    changed
        .flat_map(|(old, new)| {
            cuts_for_change(old, new, now).into_iter().chain(cuts_of_groups(old, new, before, now))
        })
        .collect()
}

/// A token of ours names groups by their names here, and not in which claim of the issuer they were proven.
/// Where that claim is another one, nothing shows that the person is in them.
fn cuts_of_groups(old: &Entry, new: Option<&Entry>, before: &Registry, now: Timestamp) -> Vec<Cut> {
    let (Entry::Issuer(old), Some(Entry::Issuer(new))) = (old, new) else { return Vec::new() };
    if old.groups_claim.is_none() || old.groups_claim == new.groups_claim {
        return Vec::new();
    }
    let of_issuer = before.groups().filter(|group| group.issuer == old.url);
    of_issuer.map(|group| cut(CutTarget::Group(group.name.clone()), now)).collect()
}

/// What the changes need to be there.
fn pins_of(plan: &Plan) -> Pins {
    let mut pins = Pins::default();
    for change in &plan.changes {
        // A grant is removed at once, also beside its own change: no entry mentions it.
        if let Some(kind) = change.kind().filter(|kind| *kind != EntryKind::Grant) {
            pins.entry(kind, change.key());
        }
        for mention in change.after.iter().flat_map(mentions) {
            match mention {
                Mention::Entry(kind, key) => pins.entry(kind, key),
                Mention::AnyResource => pins.every(EntryKind::Resource),
            }
        }
    }
    pins
}

/// What the changes remove: entries, and the identities of agents that get another one.
fn removals_of(plan: &Plan) -> Vec<Removal> {
    let is_gone = |before: &Entry, after: Option<&Entry>| match (before, after) {
        (_, None) => true,
        (Entry::Agent(before), Some(Entry::Agent(after))) => before.spiffe_id != after.spiffe_id,
        (_, Some(_)) => false,
    };
    let before = |change: &PlannedChange| {
        let before = change.before.as_ref()?;
        is_gone(before, change.after.as_ref()).then(|| Removal::of(before))
    };
    plan.changes.iter().filter_map(before).collect()
}

/// Makes the changes in the registry in memory.
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

/// The change as an effect in the database; none if nothing changes.
fn effect_of(change: &PlannedChange) -> Option<Effect> {
    Some(match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            Effect::ChangeEntry { entry: Box::new(after.clone()), planned_from: before.halt() }
        }
        (None, Some(after)) => Effect::AddEntry(Box::new(after.clone())),
        (Some(before), None) => Effect::RemoveEntry {
            kind: before.kind(),
            key: before.key().to_owned(),
            planned_from: before.halt(),
        },
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
        let kind = change.kind().map_or("entry", kind_name);
        let _ = write!(text, "{what} {kind} {}", change.key());
        let fields = change.fields(own);
        if !fields.is_empty() {
            let _ = write!(text, " ({})", fields.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests;
