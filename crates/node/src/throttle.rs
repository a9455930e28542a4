//! Logs the same message once a minute and not at each call: local processes must not fill the log.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long the same message is not logged again.
const PAUSE: Duration = Duration::from_mins(1);

/// How many different messages are logged within that time.
const MOST: usize = 256;

/// When each message was logged, and how often it was left out since.
pub(crate) struct Throttle<K>(Mutex<HashMap<K, (Instant, u64)>>);

impl<K> Default for Throttle<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Throttle<K> {
    /// Whether `key` must be logged now: with the number of times that it was left out since it was last logged.
    pub(crate) fn admits(&self, key: K, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, left_out)) = said.get_mut(&key) {
            if now.duration_since(*at) < PAUSE {
                *left_out += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(left_out));
        }
        if said.len() >= MOST {
            said.retain(|_, (at, _)| now.duration_since(*at) < PAUSE);
        }
        if said.len() >= MOST {
            return None;
        }
        said.insert(key, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, PAUSE, Throttle};
    use std::time::{Duration, Instant};

    #[test]
    fn a_thing_is_said_once_a_minute_with_the_number_of_times_it_was_left_out() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let said = |key, after| throttle.admits(key, start + after);
        let early = Duration::from_secs(59);
        assert_eq!(
            (said("a", Duration::ZERO), said("a", Duration::ZERO), said("a", early), said("b", early)),
            (Some(0), None, None, Some(0))
        );
        assert_eq!((said("a", PAUSE), said("a", PAUSE)), (Some(2), None));
    }

    #[test]
    fn many_different_things_are_bounded_too() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!((0..10 * MOST).filter(|key| throttle.admits(*key, start).is_some()).count(), MOST);
        assert_eq!(throttle.admits(10 * MOST, start + PAUSE), Some(0));
        assert_eq!(throttle.0.lock().unwrap().len(), 1, "what is old is forgotten");
    }
}
