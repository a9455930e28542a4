//! Every order of the steps of changes and stops beside each other: memory and database are the same in the
//! end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, RegistryItem};
use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::registry::{
    Agent, AgentState, Client, ClientAuthentication, Entry, EntryKind, Grant, Group, Halt, Registry,
    SubjectScope, TrustedIssuer,
};
use mandate_core::{Clock as _, CutTarget, RecordId, SystemEntropy};
use mandate_delegation::revocation::cut;
use mandate_files::own_user;
use mandate_live::Snapshot;
use mandate_planning::Plan;
use mandate_stops::{Pending, Stop};
use mandate_store::{Effect, registry};
use mandate_testkit::story::{self, TRUST_DOMAIN};
use mandate_testkit::world::World;

use super::{PlannedChange, Written, effect_of, make};
use crate::administration::{Administration, AdministrationParts};
use crate::authorization::{Permit, act};
use crate::error::AdministrationError;
use crate::operator::Operator;

fn agent(state: AgentState, purpose: &str) -> Entry {
    Entry::Agent(Agent { purpose: purpose.to_owned(), state, ..story::agent("a", Vec::new()) })
}

fn record(world: &World) -> Record {
    let now = world.hybrid.now();
    Record::new(RecordId::generate(now, &SystemEntropy), now, RecordKind::Registry, Outcome::Permitted, "ok")
}

async fn write(world: &World, effect: Effect) {
    world.log.append(record(world), vec![effect]).await.unwrap();
}

#[tokio::test]
async fn a_change_and_a_stop_of_one_entry_have_the_same_result_in_either_order_and_in_the_database() {
    let world = World::story();
    let (before, after) = (agent(AgentState::Active, "one"), agent(AgentState::Active, "two"));
    let change = PlannedChange { before: Some(before.clone()), after: Some(after) };
    let halt = Halt::Agent(AgentState::Suspended);
    let stop = || Effect::HaltEntry { kind: EntryKind::Agent, key: "a".to_owned(), halt };
    for stop_first in [true, false] {
        let mut memory = Registry::from_entries([before.clone()]);
        write(&world, Effect::AddEntry(Box::new(before.clone()))).await;
        let stopped = |memory: &mut Registry| {
            memory.put(memory.get(EntryKind::Agent, "a").unwrap().stopped(Some(halt)));
        };
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
        assert_eq!(memory.get(EntryKind::Agent, "a"), expected, "{stop_first}");
        assert_eq!(
            world.store.read_blocking("result", |tx| registry::get(tx, EntryKind::Agent, "a")).unwrap(),
            expected,
            "{stop_first}"
        );
    }
}

/// The engine under test over the world's parts. The world's own is of the crate as the testkit sees it:
/// other types, without what is private here.
fn engine(world: &World) -> Arc<Administration> {
    Arc::new(Administration::new(AdministrationParts {
        live: Arc::clone(&world.live),
        store: world.store.clone(),
        log: world.log.clone(),
        stops: Arc::clone(&world.stops),
        authority: Arc::clone(&world.authority),
        identity: Arc::clone(&world.identity),
        trust_domain: TRUST_DOMAIN.parse().unwrap(),
        clock: Arc::clone(&world.hybrid),
        entropy: Arc::new(SystemEntropy),
    }))
}

/// Who acts on the agent of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    /// Changes its purpose, and adds a grant that names it.
    Purpose,
    /// Lets it into deeper chains.
    Deeper,
    Halt,
    /// Takes its ceiling.
    Narrow,
    /// Removes it, and what names it.
    Remove,
}

/// How far an actor is.
enum Progress {
    Nothing,
    Planned(Plan, Arc<Snapshot>),
    Durable(Plan, Written),
    Begun(Pending),
    Done,
    Refused,
}

struct Round {
    engine: Arc<Administration>,
    permit: Permit<act::ApplyRegistry>,
    name: String,
}

impl Round {
    fn agent_in(&self, registry: &Registry) -> Option<Agent> {
        registry.agent(&self.name.parse().unwrap()).map(|agent| Agent::clone(agent))
    }

    fn grant(&self) -> Entry {
        Entry::Grant(story::grant("riley", &self.name, "crm", "read:cases"))
    }

    /// One more step.
    async fn step(&self, actor: Actor, progress: Progress) -> Progress {
        match (actor, progress) {
            (Actor::Purpose | Actor::Deeper, Progress::Nothing) => {
                let snapshot = self.engine.snapshot();
                let Some(before) = self.agent_in(&snapshot.registry) else { return Progress::Refused };
                let after = match actor {
                    Actor::Purpose => Agent { purpose: "another".to_owned(), ..before.clone() },
                    _ => Agent { chain_depth: 9, ..before.clone() },
                };
                let mut changes = vec![PlannedChange {
                    before: Some(Entry::Agent(before)),
                    after: Some(Entry::Agent(after)),
                }];
                if actor == Actor::Purpose {
                    changes.push(PlannedChange { before: None, after: Some(self.grant()) });
                }
                Progress::Planned(Plan { changes, ..Plan::default() }, snapshot)
            }
            (_, Progress::Planned(plan, snapshot)) => {
                let record = self.engine.record(RecordKind::Registry, &self.permit, "a change".to_owned());
                match self.engine.write(&self.permit, record, &plan, self.engine.clock.now(), &snapshot).await
                {
                    Ok(written) => Progress::Durable(plan, written),
                    Err(AdministrationError::Overtaken) => Progress::Refused,
                    Err(error) => panic!("{error:?}"),
                }
            }
            (_, Progress::Durable(plan, written)) => {
                self.engine.put_in_force(written, &plan, None);
                Progress::Done
            }
            (_, Progress::Nothing) => self.begin(actor),
            (_, Progress::Begun(pending)) => {
                assert_eq!(pending.recorded().await.recorded, mandate_stops::Recorded::Log);
                Progress::Done
            }
            (_, over) => over,
        }
    }

    fn begin(&self, actor: Actor) -> Progress {
        let snapshot = self.engine.snapshot();
        let Some(before) = self.agent_in(&snapshot.registry) else { return Progress::Refused };
        let after = match actor {
            Actor::Halt => Some(Agent { state: AgentState::Suspended, ..before.clone() }),
            Actor::Narrow => Some(Agent { ceiling: Vec::new(), ..before.clone() }),
            _ => None,
        };
        let mut changes = vec![(Some(Entry::Agent(before)), after.map(Entry::Agent))];
        let grant = self.grant();
        if actor == Actor::Remove && snapshot.registry.get(EntryKind::Grant, grant.key()).is_some() {
            changes.push((Some(grant), None));
        }
        let record = self.engine.record(RecordKind::Registry, &self.permit, "a stop".to_owned());
        let stop = Stop::of_changes(
            record,
            changes.iter().map(|(a, b)| (a.as_ref(), b.as_ref())),
            Vec::new(),
            &snapshot,
        )
        .unwrap();
        match self.engine.begin(stop) {
            Ok(pending) => Progress::Begun(pending),
            Err(AdministrationError::Overtaken) => Progress::Refused,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Every order of the steps of these actors, each of which has three at most.
fn orders(left: &[u32]) -> Vec<Vec<usize>> {
    if left.iter().all(|left| *left == 0) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for actor in (0..left.len()).filter(|actor| left[*actor] > 0) {
        let mut rest = left.to_vec();
        rest[actor] -= 1;
        all.extend(
            orders(&rest).into_iter().map(|rest| std::iter::once(actor).chain(rest).collect::<Vec<_>>()),
        );
    }
    all
}

fn sorted(registry: &Registry) -> Vec<Entry> {
    let mut entries = registry.entries();
    entries.retain(|entry| entry.key() != "mandate");
    entries.sort_by(|a, b| (a.kind(), a.key()).cmp(&(b.kind(), b.key())));
    entries
}

#[tokio::test]
async fn in_every_order_of_their_steps_changes_and_stops_leave_the_same_in_memory_and_in_the_database() {
    use Actor::{Deeper, Halt, Narrow, Purpose, Remove};
    let world = World::story();
    let engine = engine(&world);
    let operator = Operator::of_user(own_user().unwrap()).unwrap();
    let casts: [&[Actor]; 9] = [
        &[Purpose, Deeper],
        &[Purpose, Remove],
        &[Purpose, Narrow],
        &[Narrow, Remove],
        &[Halt, Remove],
        &[Narrow, Narrow],
        &[Purpose, Halt, Narrow],
        &[Purpose, Halt, Remove],
        &[Purpose, Narrow, Remove],
    ];
    let (mut rounds, mut done, mut refused) = (0, 0, 0);
    for cast in casts {
        let steps: Vec<u32> =
            cast.iter().map(|actor| if matches!(actor, Purpose | Deeper) { 3 } else { 2 }).collect();
        for order in orders(&steps) {
            let name = format!("agent-{rounds}");
            rounds += 1;
            world
                .apply(Entry::Agent(story::agent(&name, vec![story::permission("crm", "read:cases")])))
                .await;
            let round =
                Round { engine: Arc::clone(&engine), permit: engine.permit(&operator).await.unwrap(), name };
            let mut progress: Vec<Progress> = cast.iter().map(|_| Progress::Nothing).collect();
            for actor in &order {
                let before = std::mem::replace(&mut progress[*actor], Progress::Done);
                progress[*actor] = round.step(cast[*actor], before).await;
            }
            let what = format!("{cast:?} in {order:?}");
            let stored = world.store.read_blocking("registry", registry::load).unwrap();
            let (memory, database) = (world.live.snapshot(), Registry::from_entries(stored));
            assert_eq!(sorted(&memory.registry), sorted(&database), "{what}");
            let version = world.store.read_blocking("version", registry::version).unwrap();
            assert!(memory.edition.version <= version, "{what}");

            let was_done = |actor: Actor| {
                let mut all = cast.iter().zip(&progress).filter(|(of, _)| **of == actor);
                all.any(|(_, progress)| matches!(progress, Progress::Done))
            };
            let agent = round.agent_in(&database);
            assert_eq!(agent.is_none(), was_done(Remove), "{what}");
            let has_grant = database.get(EntryKind::Grant, round.grant().key()).is_some();
            assert_eq!(
                has_grant,
                was_done(Purpose) && agent.is_some(),
                "{what}: no grant names an agent that is gone"
            );
            if let Some(agent) = agent {
                assert_eq!(agent.purpose == "another", was_done(Purpose), "{what}");
                assert_eq!(agent.chain_depth == 9, was_done(Deeper), "{what}");
                assert_eq!(agent.state == AgentState::Suspended, was_done(Halt), "{what}");
                assert_eq!(agent.ceiling.is_empty(), was_done(Narrow), "{what}");
            }
            done += progress.iter().filter(|progress| matches!(progress, Progress::Done)).count();
            refused += progress.iter().filter(|progress| matches!(progress, Progress::Refused)).count();
        }
    }
    assert_eq!(rounds, 20 + 10 + 10 + 6 + 6 + 6 + 210 + 210 + 210);
    assert!(done > rounds && refused > 100, "{done} done and {refused} refused");
}

/// The file of an operator, without this entry.
fn file_without(snapshot: &Snapshot, gone: &Entry) -> ApplyRequest {
    let own = story::ISSUER.parse().unwrap();
    let kept = sorted(&snapshot.registry);
    let kept = kept.iter().filter(|entry| (entry.kind(), entry.key()) != (gone.kind(), gone.key()));
    let entries = RegistryFile::from_items(kept.map(|entry| RegistryItem::of(entry, &own)));
    ApplyRequest { entries, prune: true, dry_run: false }
}

#[tokio::test]
async fn a_stop_by_file_does_not_remove_what_was_stopped_further_while_it_was_planned() {
    let contained = Halt::Agent(AgentState::Contained);
    let halts = [contained, Halt::Agent(AgentState::Retired), Halt::Grant(true)];
    for halt in halts {
        let world = World::story();
        let (engine, operator) = (engine(&world), Operator::of_user(own_user().unwrap()).unwrap());
        let permit: Permit<act::ApplyRegistry> = engine.permit(&operator).await.unwrap();
        let before = engine.snapshot();
        let gone = match halt {
            Halt::Grant(_) => Entry::Grant(Grant::clone(before.registry.grants().next().unwrap())),
            _ => before.registry.get(EntryKind::Agent, "idle-agent").unwrap(),
        };
        let stopped = gone.clone().stopped(Some(halt));
        let (request, tries) = (file_without(&before, &gone), AtomicUsize::new(0));
        let applied = engine
            .change(&permit, |snapshot, now| {
                let planned = engine.plan(&request, snapshot, now);
                if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                    let changes = [(Some(&gone), Some(&stopped))];
                    let stop = Stop::of_changes(record(&world), changes, Vec::new(), snapshot).unwrap();
                    drop(engine.begin(stop).unwrap());
                }
                planned
            })
            .await;
        match applied {
            Err(AdministrationError::InvalidRegistry(_)) => assert_eq!(halt, contained),
            applied => assert_eq!(applied.unwrap().changes.len(), 0, "it stays: {halt:?}"),
        }
        assert_eq!(tries.load(Ordering::Relaxed), 2, "it is planned again");
        assert_eq!(engine.snapshot().registry.get(gone.kind(), gone.key()), Some(stopped.clone()));
        engine.record_stops().await.unwrap();
        let stored = world.store.read_blocking("entry", |tx| registry::get(tx, gone.kind(), gone.key()));
        assert_eq!(stored.unwrap(), Some(stopped), "{halt:?}");
    }
}

#[tokio::test]
async fn an_operator_who_loses_the_role_while_a_stop_is_planned_stops_nothing() {
    let (own, scope) =
        (mandate_planning::administration(&story::ISSUER.parse().unwrap()).unwrap(), "mandate:admin");
    let app = Client {
        scopes: Some(scope.parse().unwrap()),
        ..story::client("support-app", ClientAuthentication::None, &[])
    };
    let world = World::with_entries(vec![
        Entry::Resource(own),
        Entry::Person(story::person("riley", vec![story::permission("mandate", scope)])),
        Entry::Client(app),
    ]);
    let engine = engine(&world);
    let token = world.person_token("riley", Some(story::ISSUER), Some(scope)).await;
    let permit: Permit<act::ApplyRegistry> = engine.permit(&engine.operator(&token).unwrap()).await.unwrap();
    let before = engine.snapshot();
    let gone = before.registry.get(EntryKind::Agent, "idle-agent").unwrap();
    let request = file_without(&before, &gone);
    let applied = engine.change(&permit, |snapshot, now| {
        let planned = engine.plan(&request, snapshot, now);
        let person = CutTarget::Person(story::person("riley", Vec::new()).id);
        world.live.cut(vec![cut(person, now)], &world.hybrid);
        planned
    });
    let refused = applied.await.unwrap_err();
    assert!(matches!(refused, AdministrationError::NotPermitted(_)), "{refused:?}");
    assert_eq!(engine.snapshot().registry.get(EntryKind::Agent, "idle-agent"), Some(gone));
}

/// The groups are of the first of two issuers, and its tokens name them in this claim.
fn naming_groups(claim: Option<&str>) -> TrustedIssuer {
    TrustedIssuer {
        groups_claim: claim.map(|claim| claim.parse().unwrap()),
        ..story::trusted_issuer("https://one.example".parse().unwrap(), SubjectScope::Token)
    }
}

#[tokio::test]
async fn groups_of_an_issuer_are_cut_when_its_tokens_name_them_in_another_claim_or_in_none() {
    let two = story::trusted_issuer("https://two.example".parse().unwrap(), SubjectScope::Token);
    let group = |name: &str, issuer: &TrustedIssuer| {
        let (id, name) = (name.to_owned(), name.parse().unwrap());
        Entry::Group(Group { id, name, issuer: issuer.url.clone(), may: Vec::new() })
    };
    let named = naming_groups(Some("groups"));
    let required = [("a".to_owned(), "b".to_owned())].into();
    for (before, after, expected) in [
        (Some("groups"), naming_groups(Some("roles")), &["desk", "writers"][..]),
        (Some("groups"), naming_groups(None), &["desk", "writers"]),
        (Some("groups"), TrustedIssuer { required_claims: required, ..named }, &[]),
        (None, naming_groups(Some("roles")), &[]),
    ] {
        let world = World::with_entries(vec![
            Entry::Issuer(naming_groups(before)),
            group("writers", &naming_groups(before)),
            group("desk", &naming_groups(before)),
            Entry::Issuer(two.clone()),
            group("other", &two),
        ]);
        let (engine, operator) = (engine(&world), Operator::of_user(own_user().unwrap()).unwrap());
        let permit: Permit<act::ApplyRegistry> = engine.permit(&operator).await.unwrap();
        let own = story::ISSUER.parse().unwrap();
        let entries = RegistryFile::from_items([RegistryItem::of(&Entry::Issuer(after), &own)]);
        let request = ApplyRequest { entries, prune: false, dry_run: false };
        assert_eq!(engine.apply(permit, request).await.unwrap().changes.len(), 1);
        let revocations = Arc::clone(&engine.snapshot().revocations);
        let cut: Vec<&str> = ["desk", "other", "writers"]
            .into_iter()
            .filter(|name| revocations.contains(&CutTarget::Group(name.parse().unwrap())))
            .collect();
        assert_eq!(cut, expected, "{before:?}");
    }
}
