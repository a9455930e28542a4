//! When to commit: at once, or a little later together with the next records.

use std::time::{Duration, Instant};

/// Under load a commit begins no sooner than this after the one before it began.
///
/// A commit costs about as much CPU time as an exchange, whether it makes one record durable or fifty.
pub(crate) const PACE: Duration = Duration::from_millis(1);

/// A pause that gathers fewer records than this is not worth its cost.
const WORTH_A_PAUSE: usize = 4;

/// This many useless pauses in a row mean that there are few callers at a time, each of which waits for its
/// answer.
const PATIENCE: u32 = 3;

/// For how long no pause is tried then, unless many records arrive at once.
const REST: Duration = Duration::from_millis(500);

/// Decides when a commit begins. It pauses only while records come so fast that a pause gathers several, and
/// only while pauses do gather several: a lone caller does not wait, no matter how often it asks.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// When the last commit began, and how many records it took.
    last: Option<(Instant, usize)>,
    paused: bool,
    /// Useless pauses in a row.
    wasted: u32,
    rest_until: Option<Instant>,
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Self { last: None, paused: false, wasted: 0, rest_until: None }
    }

    /// A record waits at `now`: how long until the commit is to begin.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        self.paused = false;
        let Some((began, count)) = self.last else { return Duration::ZERO };
        if self.rest_until.is_some_and(|until| now < until) {
            return Duration::ZERO;
        }
        let since = now.saturating_duration_since(began);
        // How many records come in a pause, if they come as fast as those since the last commit began?
        let expected = (count + 1) as u128 * PACE.as_micros() / since.as_micros().max(1);
        let pause = PACE.saturating_sub(since);
        self.paused = !pause.is_zero() && expected > WORTH_A_PAUSE as u128;
        if self.paused { pause } else { Duration::ZERO }
    }

    /// A commit of `count` records begins.
    pub(crate) fn begin(&mut self, now: Instant, count: usize) {
        if count >= WORTH_A_PAUSE {
            (self.wasted, self.rest_until) = (0, None);
        } else if self.paused {
            self.wasted += 1;
            if self.wasted >= PATIENCE {
                self.rest_until = Some(now + REST);
            }
        }
        self.last = Some((now, count));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{PACE, Pacer, REST};

    /// Plays commits: each entry is how long after the last commit began a record waits, and how many the
    /// commit takes.
    fn pauses(pacer: &mut Pacer, now: &mut Instant, commits: &[(u64, usize)]) -> Vec<Duration> {
        let play = commits.iter().map(|(after, count)| {
            *now += Duration::from_micros(*after);
            let pause = pacer.pause(*now);
            *now += pause;
            pacer.begin(*now, *count);
            pause
        });
        play.collect()
    }

    #[test]
    fn a_record_that_comes_alone_never_waits() {
        let (mut pacer, mut now) = (Pacer::new(), Instant::now());
        assert_eq!(
            pauses(&mut pacer, &mut now, &[(0, 1), (5_000, 1), (1_500, 1), (100_000, 1)]),
            [Duration::ZERO; 4]
        );
    }

    #[test]
    fn while_records_come_fast_a_commit_waits_for_more_of_them() {
        let (mut pacer, mut now) = (Pacer::new(), Instant::now());
        let waited = pauses(&mut pacer, &mut now, &[(0, 1), (300, 10), (300, 12)]);
        let rest = PACE.saturating_sub(Duration::from_micros(300));
        assert_eq!(waited, [Duration::ZERO, rest, rest]);
    }

    #[test]
    fn pauses_that_gather_nobody_end_for_a_while() {
        let (mut pacer, mut now) = (Pacer::new(), Instant::now());
        let alone: Vec<_> = std::iter::repeat_n((300, 1), 100).collect();
        let waited = pauses(&mut pacer, &mut now, &alone);
        assert_eq!(waited.iter().filter(|pause| !pause.is_zero()).count(), 3);
        now += REST;
        assert!(
            !pauses(&mut pacer, &mut now, &[(0, 1), (300, 10)])[1].is_zero(),
            "a crowd may have come meanwhile"
        );
    }

    #[test]
    fn a_crowd_that_shows_ends_the_rest() {
        let (mut pacer, mut now) = (Pacer::new(), Instant::now());
        let alone: Vec<_> = std::iter::repeat_n((300, 1), 100).collect();
        pauses(&mut pacer, &mut now, &alone);
        assert_eq!(
            pauses(&mut pacer, &mut now, &[(300, 3), (300, 3)]),
            [Duration::ZERO; 2],
            "three are none"
        );
        assert!(!pauses(&mut pacer, &mut now, &[(300, 4), (300, 10)])[1].is_zero());
    }
}
