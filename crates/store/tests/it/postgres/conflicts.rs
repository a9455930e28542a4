//! Transactions and batches that another one overtakes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use mandate_core::registry::{AgentState, EntryKind, Halt};
use mandate_sequencer::{Backend, Leaf, StagedBy};
use mandate_store::{Effect, StoreError, meta};

use crate::world::{ORIGIN, record, start, verify};

use super::World;

#[test]
fn a_transaction_that_conflicts_with_another_runs_again() {
    let Some(world) = World::new(&[]) else { return };
    world.store.transact_blocking("put", |tx| meta::put(tx, "count", "0")).unwrap();
    let runs = AtomicU32::new(0);
    let read = world.store.transact_blocking("count", |tx| {
        let before = meta::get(tx, "count")?;
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            world.sql("UPDATE meta SET value = '7' WHERE name = 'count'");
        }
        meta::put(tx, "count", "8")?;
        Ok(before)
    });
    assert_eq!(
        (read.unwrap().as_deref(), runs.into_inner()),
        (Some("7"), 2),
        "it saw what the other one wrote"
    );
    assert_eq!(world.store.read_blocking("read", |tx| meta::get(tx, "count")).unwrap().as_deref(), Some("8"));
}

#[test]
fn a_transaction_that_always_conflicts_ends_with_an_error() {
    let Some(world) = World::new(&[]) else { return };
    world.store.transact_blocking("put", |tx| meta::put(tx, "count", "0")).unwrap();
    let refused = world.store.transact_blocking("count", |tx| {
        meta::get(tx, "count")?;
        world.sql("UPDATE meta SET value = value || '1'::bytea WHERE name = 'count'");
        meta::put(tx, "count", "8")
    });
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
}

/// Lets another transaction run after the first entry of the second batch. The first batch begins when it
/// may.
struct Overtaken<B> {
    inner: B,
    begins: mpsc::Sender<()>,
    may_begin: mpsc::Receiver<()>,
    staged: u32,
    other: Option<Box<dyn FnOnce() + Send>>,
}

impl<B: Backend> Backend for Overtaken<B> {
    type Effect = B::Effect;
    type Error = B::Error;

    fn is_conflict(error: &B::Error) -> bool {
        B::is_conflict(error)
    }

    fn is_over(error: &B::Error) -> bool {
        B::is_over(error)
    }

    fn leaves_nothing(error: &B::Error) -> bool {
        B::leaves_nothing(error)
    }

    fn load(&mut self) -> Result<mandate_sequencer::StoredLog, B::Error> {
        self.inner.load()
    }

    fn begin(&mut self) -> Result<(), B::Error> {
        if self.staged == 0 {
            self.begins.send(()).unwrap();
            self.may_begin.recv().unwrap();
        }
        self.inner.begin()
    }

    fn stage(&mut self, leaf: Leaf<'_>, effects: &[B::Effect]) -> StagedBy<Self> {
        let staged = self.inner.stage(leaf, effects)?;
        self.staged += 1;
        if self.staged == 2 {
            self.other.take().into_iter().for_each(|other| other());
        }
        Ok(staged)
    }

    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), B::Error> {
        self.inner.commit(checkpoint)
    }

    fn roll_back(&mut self) {
        self.inner.roll_back();
    }
}

#[test]
fn a_batch_that_another_transaction_overtakes_is_written_again() {
    let Some(World { cluster, database, store, log, dir: _dir, .. }) = World::new(&[]) else { return };
    drop(log);
    let uses = |n: u64| {
        format!("INSERT INTO grant_uses VALUES ('g', {n}) ON CONFLICT (grant_id) DO UPDATE SET uses = {n}")
    };
    cluster.sql(&database, &uses(1));
    let cluster = Arc::new(cluster);
    let other = {
        let (cluster, uses) = (Arc::clone(&cluster), uses(2));
        move || drop(cluster.sql(&database, &uses))
    };
    let halts = Effect::HaltEntry {
        kind: EntryKind::Agent,
        key: "a".to_owned(),
        halt: Halt::Agent(AgentState::Suspended),
    };
    let grant = mandate_core::MeterId::GrantUses("g".parse().unwrap());
    let reserve =
        Effect::Reserve(vec![mandate_core::Reservation { meter: grant.clone(), amount: 1, limit: 10 }]);
    let ((begins, has_begun), (let_begin, may_begin)) = (mpsc::channel(), mpsc::channel());
    let backend = Overtaken {
        inner: store.audit_backend(ORIGIN).unwrap(),
        begins,
        may_begin,
        staged: 0,
        other: Some(Box::new(other)),
    };
    let (log, _thread) = start(backend).unwrap();
    thread::scope(|scope| {
        let append = |n: u64, effects: Vec<Effect>| {
            scope.spawn({
                let log = &log;
                move || log.append_blocking(record(n), effects).unwrap()
            })
        };
        let wait_for = |waiting: usize| {
            while log.waiting() != waiting {
                thread::yield_now();
            }
        };
        let alone = append(0, Vec::new());
        has_begun.recv().unwrap();
        let reads = append(1, vec![halts]);
        wait_for(1);
        let writes = append(2, vec![reserve]);
        wait_for(2);
        let_begin.send(()).unwrap();
        [alone, reads, writes].map(|waiter| waiter.join().unwrap())
    });
    let all = store.read_blocking("meters", mandate_store::meters::load).unwrap();
    assert_eq!(all.get(&grant), Some(&3), "nothing of the other one is lost");
    assert_eq!(verify(&store).unwrap().size, 3);
}
