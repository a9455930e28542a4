//! Connections that a listener ended or did not accept, because it has few places or the peers are slow.

use std::sync::Arc;

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::Clock;

use super::{Counter, Health, notice, problem};

/// The counts for one listener's connections.
pub(crate) struct Crowd {
    full: Arc<Counter>,
    slow_readers: Arc<Counter>,
}

impl Crowd {
    /// Registers the checks for the listener of that name.
    pub(crate) fn watched(health: &Health, listener: &'static str, clock: &Arc<dyn Clock>) -> Arc<Self> {
        let full = health.count(Arc::clone(clock), move |times| listener_full(listener, times));
        let slow_readers = health.count(Arc::clone(clock), feed_readers_cut_off);
        Arc::new(Self { full, slow_readers })
    }

    /// All places of strangers were taken: `connections` were ended or not accepted.
    pub(crate) fn was_full(&self, connections: u64) {
        self.full.add(connections);
    }

    /// The reader of a feed read too slowly and was disconnected.
    pub(crate) fn cut_off_a_reader(&self) {
        self.slow_readers.add(1);
    }
}

/// Registers the check for passwords and client secrets that were not checked. The counter counts them.
pub(crate) fn checks_full(health: &Health, clock: &Arc<dyn Clock>) -> Arc<Counter> {
    health.count(Arc::clone(clock), |count| {
        notice(
            problem_code::CHECKS_FULL,
            format!(
                "too many passwords or client secrets waited to be checked: {} in the last hour a request was refused for that",
                times(count)
            ),
            "limit the requests of one address in the proxy or firewall".to_owned(),
        )
    })
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn listener_full(listener: &str, count: u64) -> StatusProblem {
    notice(
        problem_code::LISTENER_FULL,
        format!(
            "all places for strangers at the {listener} listener were taken: {} in the last hour a connection was refused, or an idle one ended",
            times(count)
        ),
        "limit the connections of one address in the proxy or firewall, or give the server more open files"
            .to_owned(),
    )
}

fn feed_readers_cut_off(count: u64) -> StatusProblem {
    problem(
        problem_code::FEED_READERS_CUT_OFF,
        format!("an API read the revocation feed too slowly and was disconnected {} in the last hour", times(count)),
        "look at the load and the network of the APIs; until an API has connected again, its routes that fail closed refuse".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::{Clock, Timestamp};
    use mandate_testkit::clock::SteppedClock;

    use super::{Crowd, Health, checks_full};

    #[test]
    fn what_happens_at_a_listener_is_told_for_an_hour() {
        let now = Timestamp::from_secs(1_800_000_000);
        let clock = Arc::new(SteppedClock::at(now));
        let health = Health::default();
        let crowd = Crowd::watched(&health, "public", &(Arc::clone(&clock) as Arc<dyn Clock>));
        let found = || {
            health
                .problems(clock.now())
                .into_iter()
                .map(|problem| (problem.code, problem.detail))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(), []);
        crowd.was_full(3);
        crowd.was_full(2);
        crowd.cut_off_a_reader();
        let [(slow, disconnected), (full, refused)] = found().try_into().unwrap();
        assert_eq!(
            (slow.as_str(), full.as_str()),
            ("feed_readers_cut_off", "listener_full"),
            "the problem before the notice"
        );
        assert!(
            disconnected.contains("once")
                && refused.contains("public listener")
                && refused.contains("5 times"),
            "{refused}"
        );
        clock.advance(Duration::from_hours(1));
        assert_eq!(found(), []);
    }

    #[test]
    fn requests_that_found_no_place_in_the_queue_for_checks_are_told_for_an_hour() {
        let clock = Arc::new(SteppedClock::at(Timestamp::from_secs(1_800_000_000)));
        let health = Health::default();
        let full = checks_full(&health, &(Arc::clone(&clock) as Arc<dyn Clock>));
        assert!(health.problems(clock.now()).is_empty());
        full.add(1);
        full.add(1);
        let [found] = health.problems(clock.now()).try_into().unwrap();
        assert!(found.code == "checks_full" && found.detail.contains("2 times"), "{found:?}");
        clock.advance(Duration::from_hours(1));
        assert!(health.problems(clock.now()).is_empty());
    }
}
