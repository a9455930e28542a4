//! Every write point fails, twice: once so that nothing was done, once so that it was done and only the
//! answer is lost.

use mandate_core::Secret;
use mandate_core::registry::RegistryVersion;
use mandate_sequencer::LogStartError;
use mandate_store::{AppendError, Effect, secrets};
use mandate_testkit::faulty_backend::{FaultyBackend, InjectedFault, Point};

use crate::world::{ORIGIN, World, open, record, start};

fn unavailable<T: std::fmt::Debug>(answer: Result<T, AppendError>, point: Point) {
    match answer {
        Err(AppendError::Unavailable(why)) => assert_eq!(why, format!("injected at {point:?}")),
        other => panic!("{point:?}: {other:?}"),
    }
}

/// What a failed append leaves: nothing, or, if only the answer of a commit was lost, the record and its
/// effect together.
fn check(point: Point, fault: InjectedFault, at: u64) {
    let world = World::new();
    for n in 0..at {
        world.append(n).unwrap();
    }
    let effect = Effect::SetPassword {
        person: "olga".parse().unwrap(),
        phc: Secret::new("a hash"),
        replaces: false,
        planned_from: RegistryVersion::default(),
    };
    world.faults.fail(point, 0, fault);
    unavailable(world.log.append_blocking(record(at), vec![effect]), point);
    let kept = point == Point::Commit && fault == InjectedFault::Kept;
    let durable = at + u64::from(kept);
    let whole = |world: &World, size: u64| {
        assert_eq!(world.verify().unwrap().size, size, "{point:?} {fault:?} at {at}");
        let happened = world
            .store
            .read_blocking("password", |tx| secrets::password(tx, &"olga".parse().unwrap()))
            .unwrap()
            .is_some();
        assert_eq!(happened, kept, "{point:?} {fault:?} at {at}: record and effect stand or fall together");
    };
    whole(&world, durable);
    // The next append works by itself, and continues what is on disk.
    let receipt = world.append(at + 1).unwrap();
    assert_eq!(receipt.index(), durable, "{point:?} {fault:?} at {at}");
    whole(&world, durable + 1);
    let world = world.restart();
    whole(&world, durable + 1);
    assert_eq!(world.append(at + 2).unwrap().index(), durable + 1);
    whole(&world, durable + 2);
}

#[test]
fn a_fault_at_any_write_point_refuses_and_the_next_append_works() {
    for at in [0, 1, 2, 3, 7] {
        for point in Point::WRITES {
            for fault in [InjectedFault::Lost, InjectedFault::Kept] {
                check(point, fault, at);
            }
        }
    }
}

#[test]
fn a_batch_that_conflicts_with_another_transaction_is_tried_again_a_bounded_number_of_times() {
    for point in Point::WRITES {
        let world = World::new();
        world.faults.fail(point, 0, InjectedFault::Conflict);
        world.faults.fail(point, 1, InjectedFault::Conflict);
        assert_eq!(world.append(0).unwrap().index(), 0, "{point:?}");
        for skip in 0..20 {
            world.faults.fail(point, skip, InjectedFault::Conflict);
        }
        let refused = world.append(1).unwrap_err();
        assert_eq!(refused, AppendError::Unavailable(format!("conflict injected at {point:?}")));
        let tries = world.faults.calls(point) - 3;
        assert!((2..20).contains(&tries), "{tries}");
        // What is left of the faults ends the next tries.
        assert_eq!((0..3).find_map(|_| world.append(2).ok()).unwrap().index(), 1, "{point:?}");
        assert_eq!(world.append(3).unwrap().index(), 2, "{point:?}");
        assert_eq!(world.verify().unwrap().size, 3);
    }
}

#[test]
fn a_fault_amid_a_batch_refuses_every_waiter_of_it() {
    for (point, skip) in
        [(Point::Begin, 0), (Point::Stage, 0), (Point::Stage, 1), (Point::Stage, 2), (Point::Commit, 0)]
    {
        for fault in [InjectedFault::Lost, InjectedFault::Kept] {
            let world = World::new();
            let batch = vec![(1, Vec::new()), (2, Vec::new()), (3, Vec::new())];
            // The record before them has passed its hold, but has not begun: its calls come first.
            for answer in world.in_one_batch_after(batch, || world.faults.fail(point, skip + 1, fault)) {
                unavailable(answer, point);
            }
            let kept = if point == Point::Commit && fault == InjectedFault::Kept { 3 } else { 0 };
            assert_eq!(world.verify().unwrap().size, 1 + kept, "{point:?}+{skip} {fault:?}");
            assert_eq!(world.append(9).unwrap().index(), 1 + kept);
            let world = world.restart();
            assert_eq!(world.verify().unwrap().size, 2 + kept);
        }
    }
}

#[test]
fn when_reading_back_fails_too_the_log_stays_closed_until_it_can_be_read() {
    let world = World::new();
    world.append(0).unwrap();
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    unavailable(world.append(1), Point::Commit);
    for fault in [InjectedFault::Lost, InjectedFault::Kept] {
        world.faults.fail(Point::Load, 0, fault);
        assert!(matches!(world.append(2), Err(AppendError::Unavailable(_))));
    }
    assert_eq!(world.append(2).unwrap().index(), 2, "record 1 was kept after all");
    assert_eq!(world.verify().unwrap().size, 3);
}

#[test]
fn faults_without_end_never_break_the_log() {
    // Every pair of faults on two appends in a row.
    let plans: Vec<_> = Point::WRITES
        .into_iter()
        .flat_map(|p| [(p, InjectedFault::Lost), (p, InjectedFault::Kept)])
        .collect();
    for first in &plans {
        for second in &plans {
            let world = World::new();
            world.append(0).unwrap();
            world.faults.fail(first.0, 0, first.1);
            unavailable(world.append(1), first.0);
            world.faults.fail(second.0, 0, second.1);
            unavailable(world.append(2), second.0);
            world.append(3).unwrap();
            let size = world.verify().unwrap().size;
            assert_eq!(world.restart().verify().unwrap().size, size);
        }
    }
}

#[test]
fn a_log_that_cannot_be_read_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (backend, faults) = FaultyBackend::new(store.audit_backend(ORIGIN).unwrap());
    faults.fail(Point::Load, 0, InjectedFault::Lost);
    assert!(matches!(start(backend), Err(LogStartError::Backend(_))));
}
