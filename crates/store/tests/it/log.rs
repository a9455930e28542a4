//! What a receipt means, and that many share one commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mandate_core::registry::{AgentState, EntryKind, Halt, RegistryVersion};
use mandate_core::{MeterId, Reservation, Secret, Timestamp};
use mandate_sequencer::MAX_BATCH;
use mandate_store::{
    AppendError, Effect, EffectRefusal, StoreError, codes, meta, meters, records, replay, secrets,
};
use mandate_testkit::database;
use mandate_testkit::faulty_backend::{Faults, InjectedFault, Point};

use crate::world::{ORIGIN, World, record};

fn one_use(grant: &str, limit: u64) -> Reservation {
    Reservation { meter: MeterId::GrantUses(grant.parse().unwrap()), amount: 1, limit }
}

fn exhausted(grant: &str) -> EffectRefusal {
    EffectRefusal::MeterExhausted(MeterId::GrantUses(grant.parse().unwrap()))
}

/// An effect that refuses.
fn refuse() -> Effect {
    Effect::Reserve(vec![one_use("used-up", 0)])
}

/// An effect that can be seen.
fn write(person: &str) -> Effect {
    Effect::SetPassword {
        person: person.parse().unwrap(),
        phc: Secret::new("a hash"),
        replaces: false,
        planned_from: RegistryVersion::default(),
    }
}

fn is_written(world: &World, person: &str) -> bool {
    world
        .store
        .read_blocking("password", |tx| secrets::password(tx, &person.parse().unwrap()))
        .unwrap()
        .is_some()
}

#[test]
fn a_receipt_is_for_a_record_that_a_restart_finds_and_that_is_proven() {
    let world = World::new();
    for n in 0..5 {
        let receipt = world.append(n).unwrap();
        assert_eq!((receipt.index(), receipt.record()), (n, &record(n)));
    }
    let world = world.restart();
    assert_eq!(world.verify().unwrap().size, 5);
    assert_eq!(world.append(5).unwrap().index(), 5);
    let id = record(2).id;
    let found = world.store.search_blocking("get", |tx| records::get(tx, &id)).unwrap().unwrap();
    assert_eq!((found.index, found.record), (2, record(2)));
    let verifier = crate::world::verifier();
    let proof = world
        .store
        .search_blocking("proof", |tx| Ok(records::proof(tx, &id, &verifier).unwrap()))
        .unwrap()
        .unwrap();
    assert_eq!(proof.verify(&verifier).unwrap(), record(2));
    let unknown = "nobody".parse().unwrap();
    assert!(world.store.search_blocking("get", |tx| records::get(tx, &unknown)).unwrap().is_none());
    assert!(
        world
            .store
            .search_blocking("proof", |tx| Ok(records::proof(tx, &unknown, &verifier).unwrap()))
            .unwrap()
            .is_none()
    );
}

#[test]
fn concurrent_appends_share_one_commit_and_each_has_its_own_place() {
    const MANY: u64 = 200;
    let world = World::new();
    let places = world.in_one_batch((1..=MANY).map(|n| (n, Vec::new())).collect());
    let mut places: Vec<u64> = places.into_iter().map(|answer| answer.unwrap().index()).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=MANY).collect::<Vec<_>>());
    assert_eq!(world.faults.calls(Point::Commit), 2, "one for the record before, one for all {MANY}");
    assert_eq!(world.verify().unwrap().size, MANY + 1);
}

#[test]
fn a_batch_has_an_end_and_what_is_beyond_it_is_the_next() {
    let many = MAX_BATCH as u64 + 1;
    let world = World::new();
    let places = world.in_one_batch((1..=many).map(|n| (n, Vec::new())).collect());
    assert!(places.iter().all(Result::is_ok));
    assert_eq!(
        world.faults.calls(Point::Commit),
        3,
        "one for the record before, one for {MAX_BATCH}, one for the last"
    );
    assert_eq!(world.verify().unwrap().size, many + 1);
}

#[test]
fn an_effect_that_refuses_undoes_its_own_entry_alone_in_a_shared_batch() {
    let world = World::new();
    let mut answers = world.in_one_batch(vec![
        (1, vec![write("one")]),
        (2, vec![write("two"), refuse()]),
        (3, vec![write("three")]),
    ]);
    let refused = answers.remove(1);
    assert_eq!(refused.unwrap_err(), AppendError::EffectRefused(exhausted("used-up")));
    let mut places: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().index()).collect();
    places.sort_unstable();
    assert_eq!(places, [1, 2], "no place is left empty");
    assert_eq!(world.faults.calls(Point::Commit), 2, "the three were one batch");
    assert_eq!(["one", "two", "three"].map(|person| is_written(&world, person)), [true, false, true]);
    assert_eq!(world.verify().unwrap().size, 3);
}

#[test]
fn a_batch_in_which_all_is_refused_writes_nothing_and_the_log_goes_on() {
    let world = World::new();
    for n in 0..3 {
        let refused = world.log.append_blocking(record(n), vec![write("x"), refuse()]);
        assert_eq!(refused.unwrap_err(), AppendError::EffectRefused(exhausted("used-up")));
    }
    assert_eq!(world.faults.calls(Point::Commit), 0);
    assert_eq!(world.append(0).unwrap().index(), 0);
    assert_eq!(world.verify().unwrap().size, 1);
}

#[test]
fn a_fault_of_one_entry_is_its_own_and_its_detail_stays_private() {
    let world = World::new();
    world.append(0).unwrap();
    let row = "INSERT INTO registry (kind, key, body) VALUES ('agent', 'a', 'the content of a row')";
    database::edit(world.dir.path(), row, row);
    let broken = Effect::HaltEntry {
        kind: EntryKind::Agent,
        key: "a".to_owned(),
        halt: Halt::Agent(AgentState::Suspended),
    };
    let answer = world.log.append_blocking(record(1), vec![broken]).unwrap_err();
    assert_eq!(answer, AppendError::EffectRefused(EffectRefusal::Internal));
    assert_eq!(world.append(1).unwrap().index(), 1);
    assert_eq!(world.verify().unwrap().size, 2);
}

#[test]
fn an_oversized_record_is_refused_before_it_is_queued() {
    let world = World::new();
    let mut huge = record(0);
    huge.detail = Some("x".repeat(mandate_audit::record::MAX_LEAF_LEN));
    assert!(matches!(world.log.append_blocking(huge, Vec::new()), Err(AppendError::Invalid(_))));
    assert_eq!(world.faults.calls(Point::Begin), 0);
}

#[test]
fn a_grant_yields_no_more_than_its_uses_however_many_ask_at_once() {
    const MAX: u64 = 25;
    let world = World::new();
    let kept = AtomicU64::new(0);
    thread::scope(|scope| {
        for worker in 0..8 {
            let (log, kept) = (world.log.clone(), &kept);
            scope.spawn(move || {
                for n in 0..10 {
                    let effect = Effect::Reserve(vec![one_use("g1", MAX)]);
                    match log.append_blocking(record(worker * 100 + n), vec![effect]) {
                        Ok(_) => drop(kept.fetch_add(1, Ordering::Relaxed)),
                        Err(e) => assert_eq!(e, AppendError::EffectRefused(exhausted("g1"))),
                    }
                }
            });
        }
    });
    assert_eq!(kept.into_inner(), MAX);
    let uses = world.store.read_blocking("uses", meters::load).unwrap();
    assert_eq!(uses.get(&MeterId::GrantUses("g1".parse().unwrap())), Some(&MAX));
    assert_eq!(world.verify().unwrap().size, MAX);
}

#[test]
fn a_code_is_redeemed_once_however_many_try_at_once() {
    let world = World::new();
    let now = Timestamp::from_secs(10);
    let hash = [9; 32];
    world
        .store
        .transact_blocking("code", |tx| {
            codes::insert(tx, &hash, b"payload", now.plus(std::time::Duration::from_mins(1)), now)
        })
        .unwrap();
    let won = thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|n| {
                let log = world.log.clone();
                let token: mandate_core::TokenId = format!("t{n}").parse().unwrap();
                let effect = Effect::RedeemCode { hash, token, at: now };
                scope.spawn(move || log.append_blocking(record(n), vec![effect]))
            })
            .collect();
        tries.into_iter().filter_map(|t| t.join().unwrap().ok()).collect::<Vec<_>>()
    });
    assert_eq!(won.len(), 1);
    let token = won[0].record().said().jti.cloned();
    match world.store.read_blocking("peek", |tx| codes::peek(tx, &hash, now)).unwrap() {
        codes::Redemption::Again { token: found, .. } => {
            assert_eq!(found, token, "what to revoke on the second use");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_assertion_is_accepted_once_however_many_present_it_at_once() {
    let world = World::new();
    let (now, exp) = (Timestamp::from_secs(10), Timestamp::from_secs(70));
    let won = thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|_| {
                let store = world.store.clone();
                scope.spawn(move || {
                    store
                        .transact_blocking("remember", |tx| {
                            replay::remember(tx, "app", "assertion-1", exp, now)
                        })
                        .unwrap()
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).filter(|first| *first).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_record_says_which_effects_it_carried() {
    let world = World::new();
    let effects = vec![write("one"), write("two"), Effect::Reserve(vec![one_use("g1", 1)])];
    let receipt = world.log.append_blocking(record(0), effects).unwrap();
    let names: Vec<&str> = receipt.record().effects.iter().collect();
    assert_eq!(names, ["set_password", "reserve"], "each once");
    let id = record(0).id;
    let found = world.restart().store.search_blocking("get", |tx| records::get(tx, &id)).unwrap().unwrap();
    assert_eq!(&found.record, receipt.record());
}

/// Waits until the backend has paused. A count of waiting records can be zero again before a test looks.
async fn until_held(faults: &Faults) {
    let faults = faults.clone();
    tokio::task::spawn_blocking(move || faults.wait_until_held()).await.unwrap();
}

#[tokio::test]
async fn a_record_whose_guard_no_longer_holds_is_not_written_and_its_neighbours_are() {
    let world = World::new();
    let held = Arc::new(AtomicU64::new(1));
    let guard = |held: &Arc<AtomicU64>| -> mandate_sequencer::Guard {
        let held = Arc::clone(held);
        Box::new(move || held.load(Ordering::SeqCst) == 1)
    };
    world.log.append_while(record(0), vec![write("one")], guard(&held)).await.unwrap();
    world.faults.hold();
    let (log, late) = (world.log.clone(), guard(&held));
    let waiting = tokio::spawn(async move { log.append_while(record(1), vec![write("two")], late).await });
    let log = world.log.clone();
    let neighbour = tokio::spawn(async move { log.append(record(2), vec![write("three")]).await });
    until_held(&world.faults).await;
    held.store(0, Ordering::SeqCst);
    world.faults.release();
    assert_eq!(waiting.await.unwrap().unwrap_err(), AppendError::GuardFailed);
    neighbour.await.unwrap().unwrap();
    assert_eq!(["one", "two", "three"].map(|person| is_written(&world, person)), [true, false, true]);
    assert_eq!(world.verify().unwrap().size, 2);
}

/// The database can keep a statement waiting between the guard and the commit.
#[tokio::test]
async fn a_guard_that_no_longer_holds_when_the_record_is_staged_leaves_nothing_either() {
    let world = World::new();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let once: mandate_sequencer::Guard = Box::new(move || count.fetch_add(1, Ordering::SeqCst) == 0);
    world.faults.hold();
    let log = world.log.clone();
    let late = tokio::spawn(async move { log.append_while(record(0), vec![write("one")], once).await });
    until_held(&world.faults).await;
    let log = world.log.clone();
    let neighbour = tokio::spawn(async move { log.append(record(1), vec![write("two")]).await });
    world.faults.release();
    assert_eq!(late.await.unwrap().unwrap_err(), AppendError::GuardFailed);
    neighbour.await.unwrap().unwrap();
    assert!(asked.load(Ordering::SeqCst) >= 2);
    assert_eq!(["one", "two"].map(|person| is_written(&world, person)), [false, true]);
    assert_eq!(world.verify().unwrap().size, 1);
}

#[test]
fn bookkeeping_and_decisions_take_turns_without_deadlock() {
    let world = World::new();
    let stop = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..4u64 {
            let (log, stop) = (world.log.clone(), Arc::clone(&stop));
            scope.spawn(move || {
                let mut n = 0;
                while stop.load(Ordering::Relaxed) == 0 {
                    log.append_blocking(
                        record(worker * 1_000_000 + n),
                        vec![write(&format!("decision-{worker}-{n}"))],
                    )
                    .unwrap();
                    n += 1;
                }
            });
        }
        for _ in 0..30 {
            world.store.transact_blocking("bookkeeping", |tx| meta::put(tx, "bookkeeping", "x")).unwrap();
        }
        stop.store(1, Ordering::Relaxed);
    });
    world.verify().unwrap();
}

#[test]
fn a_transaction_inside_another_is_an_error_not_a_deadlock() {
    let world = World::new();
    let inner = world.store.clone();
    let result = world
        .store
        .transact_blocking("outer", |_| inner.transact_blocking("inner", |tx| meta::put(tx, "x", "y")));
    assert!(matches!(result, Err(StoreError::Nested)));
    assert_eq!(world.append(0).unwrap().index(), 0);
}

#[test]
fn all_that_was_queued_is_answered_before_the_log_ends() {
    let world = World::new();
    let answers = world.in_one_batch((1..=20).map(|n| (n, Vec::new())).collect());
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.restart().verify().unwrap().size, 21);
}

#[test]
fn of_two_writers_of_one_log_the_one_that_does_not_know_of_the_other_writes_nothing_and_ends() {
    let world = World::new();
    world.append(0).unwrap();
    let (other, thread) = crate::world::start(world.store.audit_backend(ORIGIN).unwrap()).unwrap();
    world.append(1).unwrap();
    let refused = other.append_blocking(record(2), vec![write("two")]);
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(why)) if why.contains("another writer")),
        "{refused:?}"
    );
    assert!(!is_written(&world, "two"));
    assert_eq!(world.verify().unwrap().size, 2);
    // What it finds is not what it wrote: it does not know what else is in force.
    let refused = other.append_blocking(record(3), vec![write("three")]);
    assert!(
        matches!(&refused, Err(AppendError::Unavailable(why)) if why.contains("is not the one that this server wrote")),
        "{refused:?}"
    );
    thread.join().unwrap();
    assert!(matches!(other.append_blocking(record(4), Vec::new()), Err(AppendError::Unavailable(_))));
    assert_eq!(world.append(5).unwrap().index(), 2);
    assert_eq!(world.verify().unwrap().size, 3);
}

#[test]
fn a_batch_that_takes_long_is_answered_in_parts_and_in_its_order() {
    let world = World::new();
    world.faults.hold();
    world.faults.slow_down(Point::Stage, Duration::from_millis(50));
    thread::scope(|scope| {
        let append = |n: u64| {
            scope.spawn({
                let log = &world.log;
                move || (log.append_blocking(record(n), Vec::new()).unwrap().index(), Instant::now())
            })
        };
        let first = append(0);
        world.faults.wait_until_held();
        let batch: Vec<_> = (1..=50usize)
            .map(|n| {
                let waiter = append(n as u64);
                while world.log.waiting() < n {
                    thread::yield_now();
                }
                waiter
            })
            .collect();
        world.faults.release();
        assert_eq!(first.join().unwrap().0, 0);
        let answers: Vec<_> = batch.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        let places: Vec<u64> = answers.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, (1..=50).collect::<Vec<_>>(), "first come, first written");
        let ahead = answers[49].1.duration_since(answers[0].1);
        assert!(ahead > Duration::from_secs(1), "the first does not wait for the last: {ahead:?}");
    });
    assert!(world.faults.calls(Point::Commit) >= 4, "{}", world.faults.calls(Point::Commit));
    assert_eq!(world.verify().unwrap().size, 51);
}

#[test]
fn an_error_in_a_later_part_of_a_batch_refuses_what_is_left_of_it_and_nothing_before() {
    let world = World::new();
    world.faults.slow_down(Point::Stage, Duration::from_millis(250));
    let entries = (1..=9).map(|n| (n, Vec::new())).collect();
    let answers =
        world.in_one_batch_after(entries, || world.faults.fail(Point::Commit, 2, InjectedFault::Lost));
    let kept = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!((1..9).contains(&kept), "{kept}");
    let refused = AppendError::Unavailable("injected at Commit".to_owned());
    assert!(answers.into_iter().filter_map(Result::err).all(|error| error == refused));
    assert_eq!(world.verify().unwrap().size, 1 + kept);
    assert_eq!(world.append(20).unwrap().index(), 1 + kept);
}

#[test]
fn after_a_panic_all_who_wait_hear_at_once_that_the_log_has_stopped_and_nobody_counts_as_waiting() {
    let world = World::new();
    world.append(0).unwrap();
    world.faults.hold();
    thread::scope(|scope| {
        let append = |n: u64| {
            let log = &world.log;
            scope.spawn(move || log.append_blocking(record(n), Vec::new()))
        };
        let first = append(1);
        world.faults.wait_until_held();
        let others: Vec<_> = (2..20).map(append).collect();
        while world.log.waiting() < 18 {
            thread::yield_now();
        }
        world.faults.fail(Point::Begin, 0, InjectedFault::Panic);
        world.faults.release();
        for answer in std::iter::once(first).chain(others) {
            let stopped = AppendError::Unavailable("the sequencer has stopped".to_owned());
            assert_eq!(answer.join().unwrap(), Err(stopped));
        }
    });
    assert_eq!(world.log.waiting(), 0);
    assert!(matches!(world.append(20), Err(AppendError::Unavailable(_))));
    assert_eq!(world.log.waiting(), 0);
    assert_eq!(world.verify().unwrap().size, 1);
}
