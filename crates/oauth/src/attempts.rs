//! Limits on guessing: by name, with a growing pause, in bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mandate_core::Timestamp;

/// How many attempts are free before pauses begin.
const FREE: u32 = 5;
/// The longest pause. Longer would let a stranger lock a person out.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// After this long without an attempt a name starts afresh.
const QUIET: Duration = Duration::from_mins(15);
/// How many names are remembered.
const CAPACITY: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Count {
    attempts: u32,
    last: Timestamp,
    until: Timestamp,
}

/// Attempts by name. The name need not exist: unknown names are slowed like known ones, so that nothing tells them
/// apart.
#[derive(Debug, Default)]
pub struct Attempts {
    counts: Mutex<HashMap<String, Count>>,
}

/// Too many attempts; the next is heard after this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub Duration);

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        // A panic elsewhere leaves plain counters behind, which are still valid.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one attempt before it is made, so that many at once do not all slip through.
    pub fn begin(&self, name: &str, now: Timestamp) -> Result<(), TooMany> {
        let mut counts = self.lock();
        if let Some(count) = counts.get(name)
            && count.until > now
        {
            return Err(TooMany(count.until.since(now)));
        }
        if !counts.contains_key(name) && counts.len() >= CAPACITY {
            make_room(&mut counts, now);
        }
        let count = counts.entry(name.to_owned()).or_insert(Count { attempts: 0, last: now, until: now });
        if now.since(count.last) > QUIET {
            count.attempts = 0;
        }
        count.attempts = count.attempts.saturating_add(1);
        count.last = now;
        count.until = now.plus(pause_after(count.attempts));
        Ok(())
    }

    /// The attempt succeeded: the name starts afresh.
    pub fn succeeded(&self, name: &str) {
        self.lock().remove(name);
    }
}

/// Drops what is forgotten anyway; if that is not enough, the name with the fewest attempts: a flood of made-up names
/// then pushes out itself, not the name under attack.
fn make_room(counts: &mut HashMap<String, Count>, now: Timestamp) {
    counts.retain(|_, count| now.since(count.last) <= QUIET);
    if counts.len() >= CAPACITY {
        let weakest = counts.iter().min_by_key(|(_, count)| (count.attempts, count.last)).map(|(name, _)| name.clone());
        weakest.and_then(|name| counts.remove(&name));
    }
}

fn pause_after(attempts: u32) -> Duration {
    let Some(over) = attempts.checked_sub(FREE) else { return Duration::ZERO };
    Duration::from_secs(1u64.checked_shl(over).unwrap_or(u64::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::Timestamp;

    use super::{Attempts, CAPACITY, FREE, LONGEST_PAUSE, TooMany};

    #[test]
    fn pauses_grow_and_end() {
        let attempts = Attempts::default();
        let mut now = Timestamp::from_secs(1_000);
        for _ in 0..FREE {
            attempts.begin("riley", now).unwrap();
        }
        assert_eq!(attempts.begin("riley", now), Err(TooMany(Duration::from_secs(1))));
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            now = now.plus(LONGEST_PAUSE);
            attempts.begin("riley", now).unwrap();
            longest = attempts.begin("riley", now).unwrap_err().0;
        }
        assert_eq!(longest, LONGEST_PAUSE);
        assert!(attempts.begin("somebody-else", now).is_ok());
        attempts.succeeded("riley");
        assert!(attempts.begin("riley", now).is_ok());
    }

    #[test]
    fn a_flood_of_names_neither_grows_memory_nor_frees_the_name_under_attack() {
        let attempts = Attempts::default();
        let now = Timestamp::from_secs(1_000);
        for _ in 0..FREE {
            attempts.begin("riley", now).unwrap();
        }
        for n in 0..CAPACITY + 10 {
            attempts.begin(&format!("name-{n}"), now).unwrap();
        }
        assert!(attempts.lock().len() <= CAPACITY);
        assert!(attempts.begin("riley", now).is_err());
    }
}
