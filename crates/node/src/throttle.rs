//! Logs the same message once a minute and not at each call: local processes must not fill the log, nor keep
//! the messages about other users out of it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// For how long the same message is not logged again.
const PAUSE: Duration = Duration::from_mins(1);

/// How many different messages are logged within that time, and how many about one owner.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 16;

/// When each message was logged, and how often it was left out since. A message has an owner, mostly a user.
pub(crate) struct Throttle<O, K>(Mutex<LoggedMessages<O, K>>);

struct LoggedMessages<O, K> {
    messages: HashMap<O, HashMap<K, (Instant, u64)>>,
    /// How many messages had no room since that was last logged, and when it was.
    without_room: u64,
    noted: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// Log it, with the number of times that it was left out.
    Say(u64),
    /// Leave it out, because the same message was logged.
    Leave,
    /// Leave it out, because there are too many others. Log that this many had no room.
    NoRoom(u64),
}

impl<O, K> Default for Throttle<O, K> {
    fn default() -> Self {
        Self(Mutex::new(LoggedMessages { messages: HashMap::new(), without_room: 0, noted: None }))
    }
}

impl<O: Copy + Debug + Eq + Hash, K: Eq + Hash> Throttle<O, K> {
    /// Whether the message `key` about `owner` must be logged now: with the number of times that it was left
    /// out since it was last logged. Messages that are left out because there are too many are counted, and
    /// their number is logged.
    pub(crate) fn admits(&self, owner: O, key: K, now: Instant) -> Option<u64> {
        match self.0.lock().judge(owner, key, now) {
            Judged::Say(left_out) => Some(left_out),
            Judged::Leave => None,
            Judged::NoRoom(left_out) => {
                tracing::warn!(left_out, last_about = ?owner, "too many different messages about callers; some are left out");
                None
            }
        }
    }
}

impl<O: Eq + Hash, K: Eq + Hash> LoggedMessages<O, K> {
    fn judge(&mut self, owner: O, key: K, now: Instant) -> Judged {
        if let Some((at, left_out)) = self.messages.get_mut(&owner).and_then(|own| own.get_mut(&key)) {
            if now.duration_since(*at) < PAUSE {
                *left_out += 1;
                return Judged::Leave;
            }
            *at = now;
            return Judged::Say(std::mem::take(left_out));
        }
        if !self.has_room(&owner) {
            self.forget(now);
        }
        if self.has_room(&owner) {
            self.messages.entry(owner).or_default().insert(key, (now, 0));
            return Judged::Say(0);
        }
        self.without_room += 1;
        if self.noted.is_some_and(|noted| now.duration_since(noted) < PAUSE) {
            return Judged::Leave;
        }
        self.noted = Some(now);
        Judged::NoRoom(std::mem::take(&mut self.without_room))
    }

    fn has_room(&self, owner: &O) -> bool {
        let of_one = self.messages.get(owner).map_or(0, HashMap::len);
        of_one < MOST_OF_ONE && self.messages.values().map(HashMap::len).sum::<usize>() < MOST
    }

    fn forget(&mut self, now: Instant) {
        self.messages.retain(|_, own| {
            own.retain(|_, (at, _)| now.duration_since(*at) < PAUSE);
            !own.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Judged, MOST, MOST_OF_ONE, PAUSE, Throttle};
    use std::time::{Duration, Instant};

    #[test]
    fn a_thing_is_said_once_a_minute_with_the_number_of_times_it_was_left_out() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let said = |key, after| throttle.admits(1000, key, start + after);
        let early = Duration::from_secs(59);
        assert_eq!(
            (said("a", Duration::ZERO), said("a", Duration::ZERO), said("a", early), said("b", early)),
            (Some(0), None, None, Some(0))
        );
        assert_eq!((said("a", PAUSE), said("a", PAUSE)), (Some(2), None));
        assert_eq!(throttle.admits(1001, "a", start + PAUSE), Some(0), "of another user it is another");
    }

    #[test]
    fn a_user_with_many_different_messages_keeps_those_about_other_users_out_of_nothing() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(
            (0..10 * MOST).filter(|key| throttle.admits(1000, *key, start).is_some()).count(),
            MOST_OF_ONE
        );
        assert_eq!(throttle.admits(1001, 0, start), Some(0));
    }

    #[test]
    fn messages_of_many_users_are_bounded_and_those_without_room_are_counted() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let judge = |owner, now| throttle.0.lock().judge(owner, (), now);
        let judged: Vec<_> = (0..MOST + 5).map(|owner| judge(owner, start)).collect();
        assert!(judged[..MOST].iter().all(|judged| *judged == Judged::Say(0)));
        assert_eq!(judged[MOST], Judged::NoRoom(1), "which is said at once");
        assert!(judged[MOST + 1..].iter().all(|judged| *judged == Judged::Leave));
        let busy: Vec<_> = (0..MOST).map(|owner| judge(owner, start + PAUSE)).collect();
        assert!(busy.iter().all(|judged| *judged == Judged::Say(0)));
        assert_eq!(judge(MOST, start + PAUSE), Judged::NoRoom(5), "and once a minute from then on");
        assert_eq!(judge(MOST, start + PAUSE * 2), Judged::Say(0));
        assert_eq!(throttle.0.lock().messages.len(), 1, "what is old is forgotten");
    }
}
