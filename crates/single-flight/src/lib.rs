//! Work that is done once for all who ask for it at the same time.
//!
//! The work is a task of its own. So it runs to its end, and leaves its result where it belongs, even if
//! every caller stops waiting: a caller that disconnects causes no more work than one that waits, and does
//! not end the work for others. Failures are shared like results. Nothing is remembered here once the work
//! has ended.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

type Landing<T> = watch::Receiver<Option<T>>;

/// The work in progress, at most one for each key.
pub struct SingleFlight<K, T> {
    in_the_air: Arc<Mutex<HashMap<K, Landing<T>>>>,
}

/// Work that runs, and continues if nobody waits for it.
#[derive(Clone, Debug)]
pub struct Flight<T> {
    landing: Landing<T>,
    /// Whether the call that returned it has started the work.
    pub is_new: bool,
}

impl<T: Clone> Flight<T> {
    /// The result, once it is there. `None` if the work panicked or was cut off by the end of the runtime.
    pub async fn landed(mut self) -> Option<T> {
        let result = self.landing.wait_for(Option::is_some).await;
        result.ok().and_then(|result| result.clone())
    }
}

/// What the task holds while it works.
struct InTheAir<K: Eq + Hash, T> {
    all: Arc<Mutex<HashMap<K, Landing<T>>>>,
    key: K,
    result: Option<T>,
    sender: watch::Sender<Option<T>>,
}

impl<K: Eq + Hash, T> InTheAir<K, T> {
    fn land(mut self, result: T) {
        self.result = Some(result);
    }
}

impl<K: Eq + Hash, T> Drop for InTheAir<K, T> {
    /// Runs also if the work panicked. A caller that has seen the end of the work finds no work in progress.
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
        // It is not an error if no caller waits for it any longer.
        self.sender.send_replace(self.result.take());
    }
}

impl<K: Clone + Eq + Hash + Send + 'static, T: Send + Sync + 'static> SingleFlight<K, T> {
    /// The work in progress for `key`.
    pub fn in_the_air(&self, key: &K) -> Option<Flight<T>> {
        self.in_the_air.lock().get(key).map(|landing| Flight { landing: landing.clone(), is_new: false })
    }

    /// Joins the work in progress for `key`, or starts the work that `start` returns, on the runtime of the
    /// caller.
    ///
    /// `start` looks once more at where the work leaves its result: work that has ended since the caller
    /// looked has left it there. It may answer with that, or with the reason why nothing can be started. It
    /// runs under a lock.
    ///
    /// # Errors
    /// What `start` answered.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join<W: Future<Output = T> + Send + 'static, A>(
        &self,
        key: &K,
        start: impl FnOnce() -> Result<W, A>,
    ) -> Result<Flight<T>, A> {
        let mut all = self.in_the_air.lock();
        if let Some(landing) = all.get(key) {
            return Ok(Flight { landing: landing.clone(), is_new: false });
        }
        let work = start()?;
        let (sender, landing) = watch::channel(None);
        all.insert(key.clone(), landing.clone());
        let task = InTheAir { all: Arc::clone(&self.in_the_air), key: key.clone(), result: None, sender };
        drop(all);
        tokio::spawn(async move {
            let task = task;
            let result = work.await;
            task.land(result);
        });
        Ok(Flight { landing, is_new: true })
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self { in_the_air: Arc::default() }
    }
}

impl<K, T> Clone for SingleFlight<K, T> {
    /// A handle for the same work.
    fn clone(&self) -> Self {
        Self { in_the_air: Arc::clone(&self.in_the_air) }
    }
}

impl<K, T> fmt::Debug for SingleFlight<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, pending};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::{Flight, SingleFlight};

    /// Counts how often it is done, and ends when it may.
    #[derive(Clone, Default)]
    struct Work {
        begun: Arc<AtomicUsize>,
        may_end: Arc<Notify>,
    }

    impl Work {
        async fn run(self) -> usize {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            self.may_end.notified().await;
            number
        }

        fn join(&self, flights: &SingleFlight<&'static str, usize>, key: &'static str) -> Flight<usize> {
            let Ok(flight) = flights.join(&key, || Ok::<_, Infallible>(self.clone().run()));
            flight
        }
    }

    #[tokio::test]
    async fn all_who_ask_meanwhile_get_the_result_of_one() {
        let (flights, work) = (SingleFlight::default(), Work::default());
        let first = work.join(&flights, "a");
        let second = work.join(&flights, "a");
        let other = work.join(&flights, "b");
        assert!(first.is_new && !second.is_new && other.is_new);
        work.may_end.notify_one();
        assert_eq!((first.landed().await, second.landed().await), (Some(1), Some(1)));
        assert!(flights.in_the_air(&"a").is_none() && flights.in_the_air(&"b").is_some());
        let third = work.join(&flights, "a");
        assert!(third.is_new, "what has ended is not joined");
    }

    #[tokio::test]
    async fn the_work_ends_without_anybody_who_waits() {
        let (flights, work) = (SingleFlight::default(), Work::default());
        let flight = work.join(&flights, "a");
        drop(flight);
        while work.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        work.may_end.notify_one();
        while flights.in_the_air(&"a").is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_panics_has_no_result_and_stands_in_nobodys_way() {
        let (flights, work) = (SingleFlight::default(), Work::default());
        let Ok(crash) = flights.join(&"a", || Ok::<_, Infallible>(async { panic!("as the test wants it") }));
        assert_eq!(crash.landed().await, None::<usize>);
        let next = work.join(&flights, "a");
        work.may_end.notify_one();
        assert_eq!((next.is_new, next.landed().await), (true, Some(1)));
    }

    #[tokio::test]
    async fn a_start_that_answers_starts_nothing() {
        let flights = SingleFlight::<_, ()>::default();
        assert_eq!(flights.join(&(), || Err::<Ready<()>, _>("known")).unwrap_err(), "known");
        assert!(flights.in_the_air(&()).is_none());
    }

    #[test]
    fn the_end_of_the_runtime_ends_the_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flights = SingleFlight::<_, ()>::default();
        let flight = runtime.block_on(async {
            let Ok(flight) = flights.join(&(), || Ok::<_, Infallible>(pending()));
            flight
        });
        drop(runtime);
        assert!(flights.in_the_air(&()).is_none());
        let waiter = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(waiter.block_on(flight.landed()), None);
    }
}
