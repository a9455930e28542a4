//! Stops of entries beside changes that would give back what they take, and changes that take turns.

use std::sync::Arc;

use mandate_administration::{AdministrationError as E, act};
use mandate_api::admin::{ApplyResponse, RevocationTarget};
use mandate_core::registry::{Agent, AgentState, Entry, EntryKind, Grant, Registry};
use mandate_testkit::faulty_backend::Point;
use mandate_testkit::story;
use mandate_testkit::world::World;
use tokio::task::JoinHandle;

use crate::beside::{agent, apply, eventually, is_held, memory_is_the_database, operator};

/// An operator who suspends an agent.
async fn suspension(world: &World, name: &'static str) -> JoinHandle<Result<ApplyResponse, E>> {
    let permit = world.administration.permit::<act::SuspendAgent>(&World::operator()).await.unwrap();
    let engine = Arc::clone(&world.administration);
    tokio::spawn(async move { engine.change_agent(permit, name.to_owned()).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_of_a_suspended_agent_beside_its_activation_that_is_being_written_holds() {
    let world = World::story();
    suspension(&world, "idle-agent").await.await.unwrap().unwrap();
    world.faults.hold_at(Point::Commit);
    let permit = world.administration.permit::<act::ActivateAgent>(&World::operator()).await.unwrap();
    let engine = Arc::clone(&world.administration);
    let activation = tokio::spawn(async move { engine.change_agent(permit, "idle-agent".to_owned()).await });
    is_held(&world);
    let answer = suspension(&world, "idle-agent").await.await.unwrap().unwrap();
    assert_eq!(
        (answer.unchanged, answer.changes.len()),
        (0, 1),
        "it is a stop of its own, after the activation"
    );
    world.faults.release();
    activation.await.unwrap().unwrap();
    // What gives authority is written after the stops that came before it.
    apply(&world.administration, [Entry::Agent(story::agent("other", Vec::new()))], false).await.unwrap();
    assert_eq!(agent(&world, "idle-agent").unwrap().state, AgentState::Suspended);
    memory_is_the_database(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_that_came_after_a_file_was_sent_is_not_lifted_by_the_file_when_it_is_planned_again() {
    for narrowed_beside in [false, true] {
        let world = World::story();
        let before = agent(&world, "support-agent").unwrap();
        let other = agent(&world, "idle-agent").unwrap();
        world.faults.hold();
        let change = operator(
            &world,
            [Entry::Agent(Agent { purpose: "another purpose".to_owned(), ..before })],
            false,
        );
        is_held(&world);
        let halt = suspension(&world, "support-agent").await;
        eventually("halted", || agent(&world, "support-agent").unwrap().state == AgentState::Suspended).await;
        let mut narrowing = None;
        if narrowed_beside {
            // It makes another edition, from which the file is planned again.
            let narrower = Agent { chain_depth: other.chain_depth - 1, ..other.clone() };
            narrowing = Some(operator(&world, [Entry::Agent(narrower)], false));
            eventually("narrowed", || agent(&world, "idle-agent").unwrap().chain_depth < other.chain_depth)
                .await;
        }
        world.faults.release();
        let changed = change.await.unwrap();
        assert!(
            matches!((narrowed_beside, &changed), (false, Ok(_)) | (true, Err(E::Overtaken))),
            "{narrowed_beside}: {changed:?}"
        );
        halt.await.unwrap().unwrap();
        if let Some(narrowing) = narrowing {
            narrowing.await.unwrap().unwrap();
        }
        assert_eq!(agent(&world, "support-agent").unwrap().state, AgentState::Suspended, "{narrowed_beside}");
        memory_is_the_database(&world);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_file_is_applied_beside_operators_who_make_small_changes_all_the_time() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let world = Arc::new(World::story());
    let (end, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let small = ["support-agent", "idle-agent"].map(|name| {
        let (world, end, made) = (Arc::clone(&world), Arc::clone(&end), Arc::clone(&made));
        tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let purpose = format!("purpose {}", made.load(Ordering::Relaxed));
                let changed = Agent { purpose, ..agent(&world, name).unwrap() };
                if apply(&world.administration, [Entry::Agent(changed)], false).await.is_ok() {
                    made.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    eventually("they are at work", || made.load(Ordering::Relaxed) > 10).await;
    let large = (0..1000).map(|n| Entry::Agent(story::agent(&format!("of-a-large-file-{n}"), Vec::new())));
    let answer = operator(&world, large.collect::<Vec<_>>(), false).await.unwrap().unwrap();
    assert_eq!(answer.changes.len(), 1000);
    let so_far = made.load(Ordering::Relaxed);
    eventually("they go on", || made.load(Ordering::Relaxed) > so_far).await;
    end.store(true, Ordering::Relaxed);
    for operator in small {
        operator.await.unwrap();
    }
    memory_is_the_database(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_removed_beside_a_change_that_is_being_written() {
    let world = World::story();
    let entries = world.live.snapshot().registry.entries();
    let gone = entries.iter().find(|entry| matches!(entry, Entry::Grant(_))).unwrap().clone();
    world.faults.hold_at(Point::Commit);
    let change = operator(&world, [Entry::Agent(story::agent("new-agent", Vec::new()))], false);
    is_held(&world);
    let kept: Vec<Entry> =
        entries.into_iter().filter(|entry| entry.key() != "mandate" && *entry != gone).collect();
    let removal = operator(&world, kept, true);
    let is_there = |world: &World| world.live.snapshot().registry.get(gone.kind(), gone.key()).is_some();
    eventually("no entry mentions a grant: it waits for nothing", || !is_there(&world)).await;
    world.faults.release();
    change.await.unwrap().unwrap();
    removal.await.unwrap().unwrap();
    assert!(!is_there(&world));
    memory_is_the_database(&world);
}

/// An act that stops an agent or a grant, of those which then must stay in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    Contain,
    Retire,
    Revoke,
}

const STOPPING: [Stopping; 3] = [Stopping::Contain, Stopping::Retire, Stopping::Revoke];

impl Stopping {
    /// The entry that is stopped, and removed by a file of an operator who does not know that.
    fn entry(self, registry: &Registry) -> Entry {
        match self {
            Self::Contain | Self::Retire => registry.get(EntryKind::Agent, "idle-agent").unwrap(),
            Self::Revoke => Entry::Grant(Grant::clone(registry.grants().next().unwrap())),
        }
    }

    async fn stop(self, world: &World) -> Result<(), E> {
        let (engine, by) = (&world.administration, World::operator());
        match self {
            Self::Contain => {
                let permit = engine.permit::<act::ContainAgent>(&by).await?;
                engine.change_agent(permit, "idle-agent".to_owned()).await.map(drop)
            }
            Self::Retire => {
                let permit = engine.permit::<act::RetireAgent>(&by).await?;
                engine.change_agent(permit, "idle-agent".to_owned()).await.map(drop)
            }
            Self::Revoke => {
                let id = world.live.snapshot().registry.grants().next().unwrap().id.clone();
                let permit = engine.permit::<act::Revoke>(&by).await?;
                engine.revoke(permit, RevocationTarget::Grant(id)).await.map(drop)
            }
        }
    }

    fn has_stopped(self, entry: &Entry) -> bool {
        match (self, entry) {
            (Self::Contain, Entry::Agent(agent)) => agent.state == AgentState::Contained,
            (Self::Retire, Entry::Agent(agent)) => agent.state == AgentState::Retired,
            (Self::Revoke, Entry::Grant(grant)) => grant.revoked,
            _ => false,
        }
    }
}

/// A file with a new agent and without this entry: applied with `prune`, it also gives something.
fn with_another_agent_and_without(registry: &Registry, gone: &Entry) -> Vec<Entry> {
    let mut entries = registry.entries();
    entries
        .retain(|entry| entry.key() != "mandate" && (entry.kind(), entry.key()) != (gone.kind(), gone.key()));
    entries.push(Entry::Agent(story::agent("new-agent", Vec::new())));
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_for_good_after_its_removal_was_planned_is_not_removed_by_a_file_that_waits() {
    for stopping in STOPPING {
        let world = World::story();
        let registry = Arc::clone(&world.live.snapshot().registry);
        let gone = stopping.entry(&registry);
        let now = |world: &World| world.live.snapshot().registry.get(gone.kind(), gone.key());
        world.faults.hold();
        let file = operator(&world, with_another_agent_and_without(&registry, &gone), true);
        is_held(&world);
        let stop = stopping.stop(&world);
        let released = async {
            eventually("in force", || now(&world).is_some_and(|entry| stopping.has_stopped(&entry))).await;
            world.faults.release();
        };
        let (stopped, ()) = tokio::join!(stop, released);
        stopped.unwrap();
        let applied = file.await.unwrap();
        match stopping {
            // An agent is removed when it is released.
            Stopping::Contain => assert!(
                matches!(&applied, Err(E::InvalidRegistry(of)) if of[0].detail.contains("is contained")),
                "{applied:?}"
            ),
            // It stays, as in every file that does not have it.
            Stopping::Retire | Stopping::Revoke => {
                applied.unwrap();
                assert!(agent(&world, "new-agent").is_some());
            }
        }
        assert!(stopping.has_stopped(&now(&world).unwrap()), "{stopping:?}");
        memory_is_the_database(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_an_entry_whose_removal_is_being_written_says_that_it_is_gone() {
    for stopping in STOPPING {
        let world = World::story();
        let registry = Arc::clone(&world.live.snapshot().registry);
        let gone = stopping.entry(&registry);
        world.faults.hold_at(Point::Commit);
        let file = operator(&world, with_another_agent_and_without(&registry, &gone), true);
        is_held(&world);
        let now = |world: &World| world.live.snapshot().registry.get(gone.kind(), gone.key());
        let stop = stopping.stop(&world);
        let released = async {
            eventually("in force", || now(&world).is_some_and(|entry| stopping.has_stopped(&entry))).await;
            world.faults.release();
        };
        let (stopped, ()) = tokio::join!(stop, released);
        assert!(
            matches!(&stopped, Err(E::NotFound { kind, name }) if (*kind, &**name) == (gone.kind(), gone.key())),
            "{stopping:?}: {stopped:?}"
        );
        file.await.unwrap().unwrap();
        assert_eq!(now(&world), None);
        memory_is_the_database(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_retired_after_its_new_identity_was_planned_keeps_the_old_one() {
    let world = World::story();
    let before = agent(&world, "idle-agent").unwrap();
    let spiffe_id = format!("{}-2", before.spiffe_id).parse().unwrap();
    world.faults.hold();
    let file = operator(&world, [Entry::Agent(Agent { spiffe_id, ..before.clone() })], false);
    is_held(&world);
    let stop = Stopping::Retire.stop(&world);
    let released = async {
        let is_retired = || agent(&world, "idle-agent").unwrap().state == AgentState::Retired;
        eventually("in force", is_retired).await;
        world.faults.release();
    };
    let (stopped, ()) = tokio::join!(stop, released);
    stopped.unwrap();
    let refused = file.await.unwrap();
    assert!(
        matches!(&refused, Err(E::InvalidRegistry(findings)) if findings[0].pointer.ends_with("/spiffe_id")),
        "{refused:?}"
    );
    assert_eq!(agent(&world, "idle-agent"), Some(Agent { state: AgentState::Retired, ..before }));
    memory_is_the_database(&world);
}
