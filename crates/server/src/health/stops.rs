//! Stops that are not in the audit log, and the reserve that they wait in.

use std::sync::Arc;

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_stops::reserve::SIZE;
use mandate_stops::{Stops, StopsStanding};

use super::{Health, notice, problem};

pub(crate) fn watch(health: &Health, stops: Arc<Stops>) {
    health.watch(move |_| found(&stops.standing()));
}

/// What an operator does about a log that cannot be written.
const NEXT: &str = "look at the server's log for why the audit log cannot be written: free disk space, or end what locks the database";

fn found(standing: &StopsStanding) -> Vec<StatusProblem> {
    let since = standing.oldest.map(|at| format!(", the oldest from {at}")).unwrap_or_default();
    let mut all = Vec::new();
    if standing.unrecorded > 0 {
        let lasting = "They last only as long as the server's process; it tries to record them every second";
        all.push(problem(
            problem_code::UNRECORDED_STOPS,
            format!(
                "{} revocations or suspensions are in force and not yet recorded{since}. {lasting}",
                standing.unrecorded
            ),
            format!("do not restart the server; {NEXT}"),
        ));
    }
    if standing.reserved > 0 {
        let used = standing.reserve.used.div_ceil(1024);
        all.push(problem(
            problem_code::DISK_RESERVE,
            format!(
                "{} revocations or suspensions wait in the reserve for the audit log{since}; {used} of {} KiB of the reserve are in use",
                standing.reserved,
                SIZE / 1024
            ),
            NEXT.to_owned(),
        ));
    }
    if let Some(why) = &standing.reserve.broken {
        all.push(problem(
            problem_code::DISK_RESERVE,
            format!("there is no reserve on the disk for revocations and suspensions: {why}"),
            "free disk space, or repair the file; the server tries again every second".to_owned(),
        ));
    } else if standing.reserved == 0 && standing.reserve.used > SIZE / 2 {
        all.push(notice(
            problem_code::DISK_RESERVE,
            format!(
                "{} KiB of the reserve for revocations and suspensions are in use",
                standing.reserve.used / 1024
            ),
            None,
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;
    use mandate_stops::{ReserveState, StopsStanding};

    use super::found;

    fn codes(standing: &StopsStanding) -> Vec<String> {
        found(standing).into_iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn a_stop_that_is_nowhere_recorded_comes_first_and_says_not_to_restart() {
        let standing = StopsStanding {
            unrecorded: 1,
            reserved: 2,
            oldest: Some(Timestamp::from_secs(1_700_000_000)),
            reserve: ReserveState { used: 1024, broken: None },
        };
        let problems = found(&standing);
        assert_eq!(codes(&standing), ["unrecorded_stops", "disk_reserve"]);
        let first = problems.first().unwrap();
        assert!(first.detail.contains("the oldest from 2023-11-14T22:13:20.000Z"), "{}", first.detail);
        assert!(first.next.as_ref().unwrap().starts_with("do not restart the server"));
    }

    #[test]
    fn a_reserve_that_is_missing_is_a_problem_before_it_is_needed() {
        assert!(found(&StopsStanding::default()).is_empty());
        let broken = ReserveState { used: 0, broken: Some("no space left".to_owned()) };
        assert_eq!(codes(&StopsStanding { reserve: broken, ..StopsStanding::default() }), ["disk_reserve"]);
    }
}
