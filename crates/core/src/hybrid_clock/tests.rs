use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::{ClockStep, HybridClock, shortened};
use crate::id::TokenId;
use crate::system::SystemEntropy;
use crate::time::{Clock, Timestamp};

const MINUTE: Duration = Duration::from_mins(1);

/// A machine whose clock can be set; its counter continues regardless.
#[derive(Default)]
struct Machine {
    wall: AtomicU64,
    steady: AtomicU64,
}

impl Machine {
    fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.steady.fetch_add(millis, Ordering::SeqCst);
    }

    fn set(&self, at: Timestamp) {
        self.wall.store(at.millis(), Ordering::SeqCst);
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.load(Ordering::SeqCst))
    }
}

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn started(newest: Timestamp) -> (Arc<Machine>, HybridClock) {
    let machine = Arc::new(Machine::default());
    machine.set(START);
    let clock = HybridClock::new(Arc::clone(&machine) as Arc<dyn Clock>, newest);
    (machine, clock)
}

#[test]
fn it_shows_the_machines_time_while_that_goes_on() {
    let (machine, clock) = started(START.minus(MINUTE));
    assert_eq!(clock.now(), START);
    machine.pass(MINUTE);
    assert_eq!((clock.now(), clock.behind(), clock.steps()), (START.plus(MINUTE), Duration::ZERO, (None, 0)));
}

#[test]
fn a_start_with_a_clock_behind_what_is_durable_goes_on_from_there() {
    let (machine, clock) = started(START.plus(MINUTE * 10));
    assert_eq!(clock.now(), START.plus(MINUTE * 10));
    assert_eq!(clock.behind(), MINUTE * 10);
    machine.pass(MINUTE * 4);
    assert_eq!(clock.now(), START.plus(MINUTE * 12), "at half its speed");
}

#[test]
fn after_a_step_back_it_goes_on_at_half_speed_until_the_machine_has_caught_up() {
    let (machine, clock) = started(START);
    clock.now();
    machine.set(START.minus(MINUTE * 10));
    assert_eq!(clock.now(), START);
    assert_eq!(clock.steps(), (Some(ClockStep { millis: -600_000, at: START }), 1));
    machine.pass(MINUTE * 10);
    assert_eq!((clock.now(), clock.behind()), (START.plus(MINUTE * 5), MINUTE * 5));
    machine.pass(MINUTE * 10);
    assert_eq!((clock.now(), clock.behind()), (START.plus(MINUTE * 10), Duration::ZERO));
    machine.pass(MINUTE);
    assert_eq!(clock.now(), machine.now(), "it is not ahead any more");
    assert_eq!(clock.steps().1, 1);
}

#[test]
fn looks_in_quick_succession_do_not_hold_it_up() {
    let (machine, clock) = started(START.plus(MINUTE));
    clock.now();
    for _ in 0..20_000 {
        machine.pass(Duration::from_millis(1));
        clock.now();
    }
    assert_eq!(clock.now(), START.plus(MINUTE + Duration::from_secs(10)));
}

#[test]
fn a_step_forward_is_followed_and_noticed() {
    let (machine, clock) = started(START);
    clock.now();
    machine.set(START.plus(MINUTE));
    assert_eq!(clock.now(), START.plus(MINUTE));
    assert_eq!(clock.steps(), (Some(ClockStep { millis: 60_000, at: START.plus(MINUTE) }), 1));
}

#[test]
fn a_tick_separates_what_was_before_from_what_comes_after_even_while_no_time_goes_by() {
    let (_, clock) = started(START);
    let before = clock.now();
    let after = clock.tick();
    assert!(before < after && clock.now() == after);
}

#[test]
fn what_is_issued_while_the_machine_is_behind_expires_by_the_machines_time() {
    let five = MINUTE * 5;
    assert_eq!(shortened(five, Duration::ZERO), five);
    assert_eq!(shortened(five, MINUTE * 2), MINUTE * 3);
    assert_eq!(shortened(five, MINUTE * 60), MINUTE, "never less than a minute");
    assert_eq!(shortened(MINUTE / 2, MINUTE), MINUTE / 2, "never more than it would have lived");
    let (_, clock) = started(START.plus(MINUTE));
    assert_eq!(clock.now().plus(shortened(five, clock.behind())), START.plus(five));
}

proptest! {
    /// No matter how the machine's clock is set, this clock never goes back and is never behind it.
    #[test]
    fn it_never_goes_back(acts in proptest::collection::vec((any::<bool>(), 0u64..10_000_000, 0u64..100_000), 1..60)) {
        let (machine, clock) = started(START);
        let mut last = clock.now();
        for (set, to, pass) in acts {
            if set {
                machine.set(Timestamp::from_millis(1_799_995_000_000 + to));
            }
            machine.pass(Duration::from_millis(pass));
            let now = clock.now();
            prop_assert!(now >= last && now >= machine.now());
            last = now;
        }
    }
}

proptest! {
    /// Ids are in the order in which they were made, over everything that is done to the machine's clock, and
    /// over restarts that know of the newest id alone. Within a millisecond they are in no order.
    #[test]
    fn ids_keep_their_order(acts in proptest::collection::vec((0u8..4, 0u64..10_000_000, 0u64..100), 1..60)) {
        let (machine, mut clock) = started(START);
        let id = |now| TokenId::generate(now, &SystemEntropy);
        let mut last = (clock.now(), id(clock.now()));
        for (act, to, pass) in acts {
            match act {
                0 => machine.set(Timestamp::from_millis(1_799_995_000_000 + to)),
                1 => clock = HybridClock::new(Arc::clone(&machine) as Arc<dyn Clock>, last.0),
                2 => drop(clock.tick()),
                _ => machine.pass(Duration::from_millis(pass)),
            }
            let now = clock.now();
            let made = id(now);
            prop_assert_eq!(made.made_at(), Some(now));
            prop_assert!(now >= last.0, "{} after {}", made, last.1);
            prop_assert!(now == last.0 || made.as_str() > last.1.as_str(), "{} after {}", made, last.1);
            last = (now, made);
        }
    }
}
