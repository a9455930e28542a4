//! Operators who change the registry at the same time, stops beside changes, and answers that were lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mandate_administration::{Administration, AdministrationError as E, act};
use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, ApplyResponse, RegistryItem};
use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_core::registry::{Agent, Entry, EntryKind, Registry};
use mandate_core::{Clock as _, CutTarget, RecordId, Secret, SystemEntropy, Timestamp};
use mandate_store::{Effect, records, secrets};
use mandate_testkit::database::{self, literal};
use mandate_testkit::faulty_backend::{InjectedFault, Point};
use mandate_testkit::story;
use mandate_testkit::world::World;

const LONG: Duration = Duration::from_secs(30);

/// The entries that a file can declare, in one order.
fn entries(registry: &Registry) -> Vec<Entry> {
    let mut entries = registry.entries();
    entries.retain(|entry| entry.key() != "mandate");
    entries.sort_by(|a, b| (a.kind(), a.key()).cmp(&(b.kind(), b.key())));
    entries
}

#[track_caller]
pub(crate) fn memory_is_the_database(world: &World) {
    assert_eq!(entries(&world.live.snapshot().registry), entries(&world.stored().0));
}

pub(crate) fn agent(world: &World, name: &str) -> Option<Agent> {
    world.live.snapshot().registry.agent(&name.parse().unwrap()).map(|agent| Agent::clone(agent))
}

pub(crate) async fn apply(
    engine: &Arc<Administration>,
    entries: impl IntoIterator<Item = Entry>,
    prune: bool,
) -> Result<ApplyResponse, E> {
    let own = story::ISSUER.parse().unwrap();
    let entries = RegistryFile::from_items(entries.into_iter().map(|entry| RegistryItem::of(&entry, &own)));
    let permit = engine.permit::<act::ApplyRegistry>(&World::operator()).await.unwrap();
    engine.apply(permit, ApplyRequest { entries, prune, dry_run: false }).await
}

/// An operator who applies a file, and goes on by themselves.
pub(crate) fn operator(
    world: &World,
    entries: impl IntoIterator<Item = Entry, IntoIter: Send> + Send + 'static,
    prune: bool,
) -> tokio::task::JoinHandle<Result<ApplyResponse, E>> {
    let engine = Arc::clone(&world.administration);
    tokio::spawn(async move { apply(&engine, entries, prune).await })
}

/// Everything but the agent: applied with `prune`, it removes the agent and gives nothing.
fn without_the_agent(world: &World, name: &'static str) -> impl Iterator<Item = Entry> + Send + 'static {
    entries(&world.live.snapshot().registry)
        .into_iter()
        .filter(move |entry| (entry.kind(), entry.key()) != (EntryKind::Agent, name))
}

pub(crate) fn is_held(world: &World) {
    tokio::task::block_in_place(|| world.faults.wait_until_held());
}

pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Changes the database, and nobody who is told puts it in force: as when an answer is lost.
pub(crate) async fn behind_the_memory(world: &World, effects: Vec<Effect>) {
    let now = world.hybrid.now();
    let record = Record::new(
        RecordId::generate(now, &SystemEntropy),
        now,
        RecordKind::Registry,
        Outcome::Permitted,
        "ok",
    );
    let effects = std::iter::once(Effect::AdvanceRegistry { planned_from: None }).chain(effects).collect();
    world.log.append(record, effects).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_who_apply_different_files_at_the_same_time_neither_undoes_the_other() {
    let world = World::story();
    let (mut both, mut last) = (0, [String::new(), String::new()]);
    let names = ["support-agent", "idle-agent"];
    for round in 0..100 {
        let with =
            |name: &str, purpose: String| Entry::Agent(Agent { purpose, ..agent(&world, name).unwrap() });
        let wanted = [format!("first {round}"), format!("second {round}")];
        let first = operator(&world, [with(names[0], wanted[0].clone())], false);
        let second = operator(&world, [with(names[1], wanted[1].clone())], false);
        let answers = [first.await.unwrap(), second.await.unwrap()];
        for ((answer, wanted), last) in answers.iter().zip(wanted).zip(&mut last) {
            match answer {
                Ok(_) => *last = wanted,
                Err(E::Overtaken) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        both += u32::from(answers.iter().all(Result::is_ok));
        for (name, last) in names.iter().zip(&last) {
            assert_eq!(agent(&world, name).unwrap().purpose, *last, "round {round}");
        }
        memory_is_the_database(&world);
    }
    assert!(both > 50, "they do not keep each other from working: {both} of 100");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_operators_at_the_same_time_are_all_in_or_told_to_try_again() {
    let world = World::story();
    let name = |n: usize| format!("many-{n}");
    let waiting: Vec<_> = (0..40)
        .map(|n| operator(&world, [Entry::Agent(story::agent(&name(n), Vec::new()))], false))
        .collect();
    let mut made = 0;
    for (n, waiting) in waiting.into_iter().enumerate() {
        let answer = waiting.await.unwrap();
        assert!(matches!(answer, Ok(_) | Err(E::Overtaken)), "{answer:?}");
        assert_eq!(agent(&world, &name(n)).is_some(), answer.is_ok(), "{n}");
        made += usize::from(answer.is_ok());
    }
    assert!(made >= 16, "each refusal is another's success: {made}");
    memory_is_the_database(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_planned_before_its_agent_is_removed_is_planned_again_and_refused() {
    let world = World::story();
    world.faults.hold();
    let grant =
        operator(&world, [Entry::Grant(story::grant("riley", "idle-agent", "crm", "read:cases"))], false);
    is_held(&world);
    let removal = operator(&world, without_the_agent(&world, "idle-agent"), true);
    eventually("the removal waits for nothing", || agent(&world, "idle-agent").is_none()).await;
    world.faults.release();
    let refused = grant.await.unwrap();
    assert!(
        matches!(&refused, Err(E::InvalidRegistry(findings)) if findings[0].detail.contains("idle-agent")),
        "{refused:?}"
    );
    removal.await.unwrap().unwrap();
    memory_is_the_database(&world);
    assert!(!world.stored().0.grants().any(|grant| grant.agent.as_str() == "idle-agent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_not_removed_beside_a_change_that_is_being_written_and_may_mention_it() {
    let world = World::story();
    world.faults.hold_at(Point::Commit);
    let grant =
        operator(&world, [Entry::Grant(story::grant("riley", "idle-agent", "crm", "read:cases"))], false);
    is_held(&world);
    let removal = operator(&world, without_the_agent(&world, "idle-agent"), true);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(agent(&world, "idle-agent").is_some(), "nobody knows yet whether it has a grant");
    // What stops an agent waits for nothing.
    let permit = world.administration.permit::<act::SuspendAgent>(&World::operator()).await.unwrap();
    let suspended = tokio::spawn({
        let engine = Arc::clone(&world.administration);
        async move { engine.change_agent(permit, "idle-agent".to_owned()).await }
    });
    eventually("the stop is in force", || {
        agent(&world, "idle-agent").unwrap().state == mandate_core::registry::AgentState::Suspended
    })
    .await;
    world.faults.release();
    grant.await.unwrap().unwrap();
    suspended.await.unwrap().unwrap();
    removal.await.unwrap().unwrap();
    assert!(agent(&world, "idle-agent").is_none());
    memory_is_the_database(&world);
    assert!(
        !world.stored().0.grants().any(|grant| grant.agent.as_str() == "idle-agent"),
        "its file does not have the grant either"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_beside_a_change_that_does_not_end_says_to_try_again() {
    let world = World::story();
    world.faults.hold_at(Point::Commit);
    let change =
        operator(&world, [Entry::Grant(story::grant("riley", "idle-agent", "crm", "read:cases"))], false);
    is_held(&world);
    let refused = apply(&world.administration, without_the_agent(&world, "idle-agent"), true).await;
    assert!(matches!(refused, Err(E::Overtaken)), "{refused:?}");
    assert!(agent(&world, "idle-agent").is_some());
    world.faults.release();
    change.await.unwrap().unwrap();
    memory_is_the_database(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_beside_a_change_that_mentions_something_else_waits_for_nothing() {
    let world = World::story();
    world.faults.hold_at(Point::Commit);
    let change = operator(&world, [Entry::Agent(story::agent("new-agent", Vec::new()))], false);
    is_held(&world);
    let removal = operator(&world, without_the_agent(&world, "idle-agent"), true);
    eventually("the removal is in force", || agent(&world, "idle-agent").is_none()).await;
    assert!(agent(&world, "new-agent").is_none(), "the change is still being written");
    world.faults.release();
    change.await.unwrap().unwrap();
    removal.await.unwrap().unwrap();
    assert!(agent(&world, "new-agent").is_some() && agent(&world, "idle-agent").is_none());
    memory_is_the_database(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowing_beside_a_change_of_the_same_entry_that_is_being_written_is_in_force_at_once_and_stays() {
    for point in [Point::Begin, Point::Commit] {
        let world = World::story();
        let before = agent(&world, "support-agent").unwrap();
        world.faults.hold_at(point);
        let change = operator(
            &world,
            [Entry::Agent(Agent { purpose: "another purpose".to_owned(), ..before.clone() })],
            false,
        );
        is_held(&world);
        let narrowing = operator(&world, [Entry::Agent(Agent { ceiling: Vec::new(), ..before })], false);
        eventually("the narrowing waits for nothing", || {
            agent(&world, "support-agent").unwrap().ceiling.is_empty()
        })
        .await;
        world.faults.release();
        narrowing.await.unwrap().unwrap();
        let changed = change.await.unwrap();
        memory_is_the_database(&world);
        let after = agent(&world, "support-agent").unwrap();
        assert!(after.ceiling.is_empty());
        if point == Point::Commit {
            changed.unwrap();
            assert_eq!(after.purpose, "another purpose");
        } else {
            // It was not being written yet. Its file says that the agent has the ceiling: applied again, it
            // would give that back.
            assert!(matches!(changed, Err(E::Overtaken)), "{changed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_was_lost_comes_into_force_with_its_cuts_as_soon_as_the_database_is_read() {
    let world = World::story();
    let before = agent(&world, "support-agent").unwrap();
    let target = CutTarget::Agent(before.spiffe_id.as_str().to_owned());
    let made = world.hybrid.now();
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    let changed =
        Entry::Agent(Agent { purpose: "another purpose".to_owned(), ceiling: Vec::new(), ..before });
    let answer = apply(&world.administration, [changed], false).await;
    assert!(matches!(answer, Err(E::AuditUnavailable(_))), "{answer:?}");
    eventually("it is in force", || agent(&world, "support-agent").unwrap().ceiling.is_empty()).await;
    eventually("its cut is in force", || world.live.snapshot().revocations.has_cut_since(&target, made))
        .await;
    memory_is_the_database(&world);
    // What really was lost is not in force, and is in nobody's way.
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    let new = || [Entry::Agent(story::agent("new-agent", Vec::new()))];
    assert!(matches!(apply(&world.administration, new(), false).await, Err(E::AuditUnavailable(_))));
    assert!(agent(&world, "new-agent").is_none());
    apply(&world.administration, new(), false).await.unwrap();
    apply(&world.administration, without_the_agent(&world, "new-agent"), true).await.unwrap();
    memory_is_the_database(&world);
}

/// How often a change was looked for whose answer was lost.
fn looks(world: &World) -> usize {
    let records = world.records(&Query { kind: Some(RecordKind::Admin), ..Query::default() });
    let is_look =
        |record: &&Record| record.detail.as_deref().is_some_and(|did| did.starts_with("looked for a change"));
    records.iter().filter(is_look).count()
}

/// The number of records, and the checkpoint of the log.
fn head(world: &World) -> (u64, Vec<u8>) {
    let origin = world.authority.checkpoint_signer().origin().to_owned();
    let head = world.store.read_blocking("head", |tx| {
        Ok((records::size(tx, &origin)?, records::checkpoint(tx, &origin)?.unwrap_or_default()))
    });
    head.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_found_and_is_lost_later_by_a_failover_ends_the_log() {
    for of_a_secret in [false, true] {
        let world = World::story();
        let (size, note) = head(&world);
        world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
        if of_a_secret {
            assert!(matches!(set_password(&world, "riley").await, Err(E::AuditUnavailable(_))));
            let person = CutTarget::Person(story::person("riley", Vec::new()).id);
            let begin = Timestamp::from_millis(0);
            eventually("it cuts", || world.live.snapshot().revocations.has_cut_since(&person, begin)).await;
        } else {
            let new = [Entry::Agent(story::agent("new-agent", Vec::new()))];
            assert!(matches!(apply(&world.administration, new, false).await, Err(E::AuditUnavailable(_))));
            eventually("it is in force", || agent(&world, "new-agent").is_some()).await;
        }
        assert_eq!((looks(&world), head(&world).0), (1, size + 2), "{of_a_secret}");
        // A standby takes over that has nothing of it.
        let sql =
            format!("DELETE FROM records WHERE idx >= {size}; UPDATE logs SET note = {};", literal(&note));
        database::edit(&world.state_dir(), &sql, &sql);
        let append = || {
            let (id, now) = (RecordId::generate(world.hybrid.now(), &SystemEntropy), world.hybrid.now());
            world.log.append(Record::new(id, now, RecordKind::Node, Outcome::Permitted, "ok"), Vec::new())
        };
        append().await.unwrap_err();
        let why = append().await.unwrap_err().to_string();
        assert!(why.contains("is not the one that this server wrote"), "{of_a_secret}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_has_and_nobody_was_told_is_found_before_anything_is_changed() {
    let world = World::story();
    let unseen = story::agent("unseen", Vec::new());
    behind_the_memory(&world, vec![Effect::AddEntry(Box::new(Entry::Agent(unseen)))]).await;
    apply(
        &world.administration,
        [Entry::Grant(story::grant("riley", "idle-agent", "crm", "read:cases"))],
        false,
    )
    .await
    .unwrap();
    assert!(agent(&world, "unseen").is_some());
    memory_is_the_database(&world);
}

async fn set_password(world: &World, name: &str) -> Result<(), E> {
    let permit = world.administration.permit::<act::SetPassword>(&World::operator()).await.unwrap();
    world.administration.set_password(permit, name.to_owned(), Secret::new("a new password")).await
}

async fn set_client_secret(world: &World, id: &str) -> Result<(), E> {
    let permit = world.administration.permit::<act::SetClientSecret>(&World::operator()).await.unwrap();
    world
        .administration
        .set_client_secret(permit, id.to_owned(), Secret::new("a new secret of a client"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_for_an_entry_that_was_removed_meanwhile_is_refused_and_for_one_that_stays_it_is_kept() {
    let world = World::story();
    let remove = |kind, key: &str| Effect::RemoveEntry { kind, key: key.to_owned(), planned_from: None };
    behind_the_memory(
        &world,
        vec![remove(EntryKind::Person, "casey"), remove(EntryKind::Client, "desk-app")],
    )
    .await;
    let refused = set_password(&world, "casey").await;
    assert!(
        matches!(&refused, Err(E::NotFound { kind: EntryKind::Person, name }) if name == "casey"),
        "{refused:?}"
    );
    behind_the_memory(&world, Vec::new()).await;
    let refused = set_client_secret(&world, "desk-app").await;
    assert!(
        matches!(&refused, Err(E::NotFound { kind: EntryKind::Client, name }) if name == "desk-app"),
        "{refused:?}"
    );
    let left = |tx: &mandate_store::Tx<'_>| {
        Ok((
            secrets::password(tx, &"casey".parse().unwrap())?,
            secrets::client_secret(tx, &"desk-app".parse().unwrap())?,
        ))
    };
    assert_eq!(
        world.store.read_blocking("secrets", left).unwrap(),
        (None, None),
        "the next with the name must not get it"
    );
    // Others change something else.
    behind_the_memory(&world, Vec::new()).await;
    set_password(&world, "riley").await.unwrap();
    behind_the_memory(&world, Vec::new()).await;
    set_client_secret(&world, "crm-api").await.unwrap();
    memory_is_the_database(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_first_passwords_at_once_the_later_one_replaces_the_earlier_and_cuts_what_it_issued() {
    let world = Arc::new(World::with_entries(vec![Entry::Person(story::person("new", Vec::new()))]));
    let target = CutTarget::Person(story::person("new", Vec::new()).id);
    let is_cut = || world.live.snapshot().revocations.has_cut_since(&target, Timestamp::from_millis(0));
    world.faults.hold();
    // What holds the log is a record of its own, which changes nothing, so that both wait behind it.
    let before = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            let (now, ok) = (world.hybrid.now(), Outcome::Permitted);
            let id = RecordId::generate(now, &SystemEntropy);
            world.log.append(Record::new(id, now, RecordKind::Node, ok, "ok"), Vec::new()).await.unwrap();
        }
    });
    is_held(&world);
    let both = [(); 2].map(|()| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { set_password(&world, "new").await })
    });
    // Both have found no password by then.
    eventually("both wait for the log", || world.log.waiting() == 2).await;
    world.faults.release();
    before.await.unwrap();
    for set in both {
        set.await.unwrap().unwrap();
    }
    assert!(is_cut(), "what was issued with the earlier one ends");
    let records = world.records(&Query { kind: Some(RecordKind::Admin), ..Query::default() });
    let effects: Vec<Vec<&str>> = records.iter().map(|record| record.effects.iter().collect()).collect();
    assert_eq!(effects, [vec!["set_password", "cut"], vec!["set_password"]], "the newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_that_was_kept_without_an_answer_cuts_what_the_old_one_issued() {
    let world = World::story();
    let person = CutTarget::Person(story::person("riley", Vec::new()).id);
    let client = CutTarget::Client("crm-api".parse().unwrap());
    let is_cut = |target: &CutTarget| {
        world.live.snapshot().revocations.has_cut_since(target, Timestamp::from_millis(0))
    };
    // What really was lost cuts nothing: the old secret is still the one.
    for (fault, before) in [(InjectedFault::Lost, 0), (InjectedFault::Kept, 2)] {
        world.faults.fail(Point::Commit, 0, fault);
        assert!(matches!(set_password(&world, "riley").await, Err(E::AuditUnavailable(_))));
        eventually("it is looked for", || looks(&world) == before + 1).await;
        world.faults.fail(Point::Commit, 0, fault);
        assert!(matches!(set_client_secret(&world, "crm-api").await, Err(E::AuditUnavailable(_))));
        eventually("it is looked for", || looks(&world) == before + 2).await;
        if fault == InjectedFault::Lost {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!is_cut(&person) && !is_cut(&client));
        }
    }
    eventually("the person's tokens are cut", || is_cut(&person)).await;
    eventually("the client's tokens are cut", || is_cut(&client)).await;
}
