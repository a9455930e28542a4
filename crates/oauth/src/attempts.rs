//! Limits on guessing: by name or by known browser, with a growing pause, in bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mandate_core::{Entropy, Timestamp};

use crate::password::digest;

/// How many attempts are free before pauses begin.
const FREE: u32 = 5;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// After this long without an attempt a count starts afresh.
const QUIET: Duration = Duration::from_mins(15);

/// Who attempts. Neither the name nor the browser needs to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Somebody who gives this name, from a browser that nobody knows.
    Name(&'a str),
    /// A browser that has logged the person in before, by its id. Counted apart, so that strangers cannot lock the
    /// person out.
    Browser(&'a str),
}

#[derive(Clone, Copy, Debug)]
struct Count {
    attempts: u32,
    last: Timestamp,
}

impl Count {
    fn until(&self) -> Timestamp {
        self.last.plus(pause_after(self.attempts))
    }
}

/// Attempts by source.
///
/// Sources share 65,536 counts, by a keyed hash: memory is bounded, and no count is ever given up to make room for
/// another, so that made-up names cannot free the one under attack. Unknown names are slowed like known ones, so that
/// nothing tells them apart. Two sources that share a count are slowed together; which ones do cannot be foreseen.
pub struct Attempts {
    key: [u8; 32],
    counts: Mutex<HashMap<u16, Count>>,
}

/// An attempt that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    before: Timestamp,
    at: Timestamp,
}

/// Too many attempts; the next is heard after this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub Duration);

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts").field("counts", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Attempts {
    /// No attempts yet.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut key = [0u8; 32];
        entropy.fill(&mut key);
        Self { key, counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Count>> {
        // A panic elsewhere leaves plain counters behind, which are still valid.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, source: Source<'_>) -> u16 {
        let (kind, text) = match source {
            Source::Name(name) => ("name", name),
            Source::Browser(id) => ("browser", id),
        };
        let [high, low, ..] = digest([self.key.as_slice(), kind.as_bytes(), text.as_bytes()]);
        u16::from_be_bytes([high, low])
    }

    /// Counts one attempt before it is made, so that many at once do not all slip through.
    pub fn begin(&self, source: Source<'_>, now: Timestamp) -> Result<Attempt, TooMany> {
        let slot = self.slot(source);
        let mut counts = self.lock();
        let count = counts.entry(slot).or_insert(Count { attempts: 0, last: now });
        // A clock that was set back must not make a pause longer than it is.
        count.last = count.last.min(now);
        let until = count.until();
        if until > now {
            return Err(TooMany(until.since(now)));
        }
        if now.since(count.last) > QUIET {
            count.attempts = 0;
        }
        let before = count.last;
        count.attempts = count.attempts.saturating_add(1);
        count.last = now;
        Ok(Attempt { before, at: now })
    }

    /// The attempt was not made after all: it does not count.
    pub fn withdrawn(&self, source: Source<'_>, attempt: Attempt) {
        if let Some(count) = self.lock().get_mut(&self.slot(source)) {
            count.attempts = count.attempts.saturating_sub(1);
            // Unless there was another meanwhile, whose pause it is now.
            if count.last == attempt.at {
                count.last = attempt.before;
            }
        }
    }

    /// The attempt succeeded: the source starts afresh.
    pub fn succeeded(&self, source: Source<'_>) {
        self.lock().remove(&self.slot(source));
    }
}

fn pause_after(attempts: u32) -> Duration {
    let Some(over) = attempts.checked_sub(FREE) else { return Duration::ZERO };
    Duration::from_secs(1u64.checked_shl(over).unwrap_or(u64::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::{Entropy, Timestamp};

    use super::{Attempts, FREE, LONGEST_PAUSE, Source, TooMany};

    const RILEY: Source<'static> = Source::Name("riley");

    /// Always the same key, so that no two of the sources below ever share a count by chance.
    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
        }
    }

    fn slowed(source: Source<'_>, now: Timestamp) -> Attempts {
        let attempts = Attempts::new(&Fixed);
        for _ in 0..FREE {
            attempts.begin(source, now).unwrap();
        }
        attempts
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut now = Timestamp::from_secs(1_000);
        let attempts = slowed(RILEY, now);
        assert_eq!(attempts.begin(RILEY, now), Err(TooMany(Duration::from_secs(1))));
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            now = now.plus(LONGEST_PAUSE);
            attempts.begin(RILEY, now).unwrap();
            longest = attempts.begin(RILEY, now).unwrap_err().0;
        }
        assert_eq!(longest, LONGEST_PAUSE);
        attempts.succeeded(RILEY);
        assert!(attempts.begin(RILEY, now).is_ok());
    }

    #[test]
    fn no_flood_of_made_up_names_frees_the_name_under_attack_or_grows_memory() {
        let now = Timestamp::from_secs(1_000);
        let attempts = slowed(RILEY, now);
        for n in 0..100_000 {
            let _ = attempts.begin(Source::Name(&format!("name-{n}")), now);
        }
        assert!(attempts.lock().len() <= 65_536);
        assert!(attempts.begin(RILEY, now).is_err());
    }

    #[test]
    fn strangers_who_guess_at_a_name_do_not_slow_a_browser_the_person_has_used() {
        let now = Timestamp::from_secs(1_000);
        let attempts = slowed(RILEY, now);
        assert!(attempts.begin(RILEY, now).is_err());
        assert!(attempts.begin(Source::Browser("b1"), now).is_ok());
        assert!(attempts.begin(Source::Name("b1"), now).is_ok(), "a name that reads like a browser is not one");
    }

    #[test]
    fn a_browser_that_guesses_is_slowed_like_anybody() {
        let now = Timestamp::from_secs(1_000);
        assert!(slowed(Source::Browser("b1"), now).begin(Source::Browser("b1"), now).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_a_pause() {
        let attempts = slowed(RILEY, Timestamp::from_secs(100_000));
        let TooMany(pause) = attempts.begin(RILEY, Timestamp::from_secs(1_000)).unwrap_err();
        assert_eq!(pause, Duration::from_secs(1));
    }

    #[test]
    fn an_attempt_that_was_never_made_does_not_count() {
        let now = Timestamp::from_secs(1_000);
        let attempts = Attempts::new(&Fixed);
        for _ in 0..50 {
            let attempt = attempts.begin(RILEY, now).unwrap();
            attempts.withdrawn(RILEY, attempt);
        }
        // Nor does it begin a pause that is over anew.
        let attempts = slowed(RILEY, now);
        let over = now.plus(Duration::from_secs(2));
        let attempt = attempts.begin(RILEY, over).unwrap();
        attempts.withdrawn(RILEY, attempt);
        assert!(attempts.begin(RILEY, over).is_ok());
    }
}
