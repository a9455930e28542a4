use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Gate, PATIENCE, STUCK, WriteTrouble};
use crate::StoreError;

#[test]
fn one_at_a_time_and_free_again_afterwards() {
    let gate = Arc::new(Gate::default());
    let inside = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let turn = gate.enter().unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
                    inside.store(false, Ordering::SeqCst);
                    drop(turn);
                }
            });
        }
    });
    assert!(gate.enter().is_ok());
}

#[test]
fn the_first_to_ask_is_the_first_to_enter() {
    let gate = Arc::new(Gate::default());
    let order = Mutex::new(Vec::new());
    let turn = gate.enter().unwrap();
    thread::scope(|scope| {
        for n in 1..=5u64 {
            let (gate, order) = (&gate, &order);
            scope.spawn(move || {
                let _turn = gate.enter().unwrap();
                order.lock().push(n);
            });
            while gate.lock().next < n + 1 {
                thread::yield_now();
            }
        }
        drop(turn);
    });
    assert_eq!(order.into_inner(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_thread_never_waits_for_itself() {
    let gate = Arc::new(Gate::default());
    let turn = gate.enter().unwrap();
    assert!(matches!(gate.enter(), Err(StoreError::Nested)));
    drop(turn);
    assert!(gate.enter().is_ok());
}

#[test]
fn a_process_that_holds_the_database_is_waited_for_once() {
    let gate = Arc::new(Gate::default());
    let busy = || Err::<(), _>(StoreError::Busy("locked".into()));
    let patience = |outcome: Result<(), StoreError>| {
        let turn = gate.enter().unwrap();
        let patience = turn.patience();
        turn.begun(&outcome);
        patience
    };
    assert_eq!(patience(busy()), PATIENCE);
    assert_eq!(patience(busy()), Duration::ZERO, "the next one tries, and does not wait");
    assert_eq!(
        patience(Err(StoreError::Full("no room".into()))),
        Duration::ZERO,
        "that says nothing of the lock"
    );
    assert_eq!(patience(Ok(())), Duration::ZERO);
    assert_eq!(patience(Ok(())), PATIENCE, "it has let go");
    assert!(PATIENCE * 4 < Duration::from_secs(2), "a request waits four times at most");
}

#[test]
fn what_keeps_writers_from_writing_is_told_without_waiting_for_them() {
    let gate = Arc::new(Gate::default());
    assert_eq!(gate.trouble(), None);
    let turn = gate.enter().unwrap();
    turn.begun(&Err::<(), _>(StoreError::Busy("locked".into())));
    assert_eq!(gate.trouble(), Some(WriteTrouble::HeldElsewhere));
    turn.begun(&Ok(()));
    assert_eq!(gate.trouble(), None, "a turn that has just begun is no trouble");
    gate.lock().since = std::time::Instant::now().checked_sub(STUCK * 2);
    assert!(matches!(gate.trouble(), Some(WriteTrouble::Stuck(lasts)) if lasts >= STUCK * 2));
    drop(turn);
    assert_eq!(gate.trouble(), None);
}
