//! Whether the machine's clock can be trusted.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::{ClockStep, HybridClock, Lifetime, Timestamp};

use super::{Health, notice, problem};

/// A clock that is behind by less will catch up soon, and no verifier notices it.
const SOON_CAUGHT_UP: Duration = Duration::from_secs(2);

/// For how long a step of the clock is worth mentioning.
const RECENT: Duration = Duration::from_hours(24);

pub(crate) fn watch(health: &Health, clock: Arc<HybridClock>) {
    let stepped = Arc::clone(&clock);
    health.watch(move |_| behind(clock.behind()));
    health.watch(move |now| recent(stepped.steps(), now));
}

fn behind(behind: Duration) -> Option<StatusProblem> {
    (behind > SOON_CAUGHT_UP).then(|| {
        let by = Lifetime(Duration::from_secs(behind.as_secs()));
        problem(
            problem_code::CLOCK_BEHIND,
            format!(
                "the machine's clock is {by} behind the newest record; revocations stay in force, but new tokens are dated ahead of the \
                 clock and expire sooner, and APIs with the right time may refuse them until it has caught up"
            ),
            "timedatectl   (is the clock right, and synchronized?)".to_owned(),
        )
    })
}

fn recent((last, steps): (Option<ClockStep>, u64), now: Timestamp) -> Option<StatusProblem> {
    let step = last.filter(|step| now.since(step.at) < RECENT)?;
    let by = Lifetime(Duration::from_secs(step.millis.unsigned_abs() / 1000));
    let what = if step.millis < 0 {
        format!("set back by {by}")
    } else {
        format!("set forward by {by}, or the machine slept")
    };
    let times = if steps > 1 { format!("; {steps} times since the start") } else { String::new() };
    Some(notice(
        problem_code::CLOCK_STEPPED,
        format!("the machine's clock was {what} at {}{times}", step.at),
        "timedatectl".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_api::admin::Severity;
    use mandate_core::{ClockStep, Timestamp};

    use super::{RECENT, behind, recent};

    #[test]
    fn a_clock_behind_the_newest_record_is_a_problem() {
        assert_eq!(behind(Duration::from_millis(1500)), None);
        let found = behind(Duration::from_mins(10)).unwrap();
        assert_eq!(found.severity, Severity::Problem);
        assert!(found.detail.contains("10m behind"), "{}", found.detail);
    }

    #[test]
    fn a_step_is_mentioned_for_a_day_with_its_direction() {
        let at = Timestamp::from_secs(1_800_000_000);
        let step = |millis| (Some(ClockStep { millis, at }), 2);
        assert!(recent(step(-40_000), at).unwrap().detail.contains("set back by 40s"));
        let forward = recent(step(3_600_000), at).unwrap();
        assert!(
            forward.detail.contains("set forward by 1h")
                && forward.detail.ends_with("2 times since the start"),
            "{}",
            forward.detail
        );
        assert_eq!(recent(step(-40_000), at.plus(RECENT)), None);
        assert_eq!(recent((None, 0), at), None);
    }
}
