//! Looks at files that may be on a file system that does not answer, such as an NFS whose server is gone.
//! Such a look holds a thread until the file system answers, so it never runs on a thread of async code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::process::NotAttested;

/// How many looks run at a time, and how many of them for one user: a user whose file system does not answer
/// must leave places for others.
const MOST: usize = 32;
const MOST_OF_ONE: usize = 4;

/// How many users are kept without a look that runs or waits.
const IDLE_USERS: usize = 256;

/// The longest that a caller waits for a look.
const LONGEST: Duration = Duration::from_secs(5);

/// The places for looks, shared by all callers of a node.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    all: Arc<Semaphore>,
    users: Arc<Mutex<HashMap<u32, Arc<Semaphore>>>>,
    longest: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), users: Arc::default(), longest: LONGEST }
    }
}

impl Looks {
    /// What `look` finds, for a process of user `uid`. Refuses when that takes too long.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        uid: u32,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotAttested> {
        self.in_time(self.patient_look(uid, look)).await?
    }

    /// The same, however long it takes.
    pub(crate) async fn patient_look<T: Send + 'static>(
        &self,
        uid: u32,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotAttested> {
        let unanswered = |_| NotAttested::Unanswered;
        let of_user = self.places_of(uid).acquire_owned().await.map_err(unanswered)?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.map_err(unanswered)?;
        // The places are given back when the look has ended, not when the caller leaves. So a caller that
        // asks and leaves gets no more threads than one that waits.
        let look = move || {
            let found = look();
            drop((of_user, of_all));
            found
        };
        spawn_blocking(look).await.map_err(|_| NotAttested::Unanswered)
    }

    /// Waits for what a look will find, as long as a caller waits for a look.
    pub(crate) async fn in_time<T>(&self, found: impl Future<Output = T>) -> Result<T, NotAttested> {
        tokio::time::timeout(self.longest, found).await.map_err(|_| NotAttested::Unanswered)
    }

    fn places_of(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock();
        if users.len() >= IDLE_USERS && !users.contains_key(&uid) {
            // A look that runs or waits holds its user's places.
            users.retain(|_, places| Arc::strong_count(places) > 1);
        }
        Arc::clone(users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_ONE))))
    }

    /// Places for looks for which callers wait no longer than this, for tests.
    #[cfg(test)]
    pub(crate) fn within(longest: Duration) -> Self {
        Self { longest, ..Self::default() }
    }

    /// Takes all places of a user with looks that do not end before what is returned is dropped, for tests.
    #[cfg(test)]
    pub(crate) async fn hang(&self, uid: u32) -> std::sync::mpsc::Sender<()> {
        let (free, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..MOST_OF_ONE {
            let (looks, held) = (self.clone(), Arc::clone(&held));
            tokio::spawn(async move { looks.patient_look(uid, move || held.lock().recv().is_err()).await });
        }
        while self.places_of(uid).available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::{IDLE_USERS, LONGEST, Looks, MOST, MOST_OF_ONE};
    use crate::process::NotAttested;
    use std::time::Duration;

    /// Short, since each test waits that long for what does not end.
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_look_that_hangs_stops_no_other_user() {
        let looks = Looks::within(SHORT);
        let hangs = looks.hang(1000).await;
        assert_eq!(looks.look(1000, || 1).await, Err(NotAttested::Unanswered), "all places are taken");
        assert_eq!(looks.look(1001, || 2).await, Ok(2));
        drop(hangs);
        assert_eq!(Looks { longest: LONGEST, ..looks }.look(1000, || 3).await, Ok(3), "they are free again");
    }

    #[tokio::test]
    async fn the_number_of_looks_that_hang_is_bounded() {
        let looks = Looks::within(SHORT);
        let mut hang = Vec::new();
        for uid in 0..MOST / MOST_OF_ONE {
            hang.push(looks.hang(u32::try_from(uid).unwrap()).await);
        }
        while looks.all.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(looks.look(1000, || 1).await, Err(NotAttested::Unanswered));
        drop(hang);
        assert_eq!(Looks { longest: LONGEST, ..looks }.look(1000, || 2).await, Ok(2));
    }

    #[tokio::test]
    async fn a_caller_that_leaves_keeps_its_place_until_the_look_ends() {
        let looks = Looks::within(SHORT);
        let (free, held) = std::sync::mpsc::channel::<()>();
        let left = looks.look(1000, move || held.recv().is_err()).await;
        assert_eq!(left, Err(NotAttested::Unanswered));
        assert_eq!(looks.all.available_permits(), MOST - 1);
        drop(free);
        while looks.all.available_permits() < MOST {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn users_without_a_look_are_forgotten_and_others_keep_their_places() {
        let looks = Looks::within(SHORT);
        let hangs = looks.hang(0).await;
        for uid in 1..=u32::try_from(IDLE_USERS * 2).unwrap() {
            assert_eq!(looks.look(uid, || ()).await, Ok(()));
        }
        assert!(looks.users.lock().len() <= IDLE_USERS + 1);
        assert_eq!(looks.look(0, || ()).await, Err(NotAttested::Unanswered));
        drop(hangs);
    }
}
