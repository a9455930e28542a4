//! Looks at a disk that may hang: for a bounded time, and by a bounded number of threads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Looks at one disk. Clones share the number of threads.
#[derive(Clone, Debug)]
pub struct Looks(Arc<Semaphore>);

impl Looks {
    /// At most so many threads wait for the disk at the same time.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// The result of `f`, on a thread that may block, or `None` if it takes longer than `patience`. A call
    /// that does not return keeps its thread until it does: a disk that hangs must not take a thread for each
    /// request.
    pub async fn look<T: Send + 'static>(
        &self,
        patience: Duration,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let looking = async {
            // Waits for its turn: more requests at once than places do not mean that the disk hangs.
            let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
            let found = tokio::task::spawn_blocking(move || {
                let found = f();
                drop(place);
                found
            });
            found.await.ok()
        };
        timeout(patience, looking).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Looks;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_disk_that_hangs_is_waited_for_shortly_and_by_few_threads() {
        let looks = Looks::new(2);
        let (first, waits) = mpsc::channel::<()>();
        assert_eq!(looks.look(LONG, || 1).await, Some(1));
        assert_eq!(looks.0.available_permits(), 2, "an answer gives its place back");
        let hung = looks.look(SHORT, move || waits.recv().is_err());
        assert_eq!(hung.await, None);
        assert_eq!(looks.0.available_permits(), 1, "it still waits");
        let (second, waits) = mpsc::channel::<()>();
        assert_eq!(looks.look(SHORT, move || waits.recv().is_err()).await, None);
        assert_eq!(looks.look(SHORT, || 1).await, None, "no third thread waits for the same disk");
        let waiting = looks.look(LONG, || 1);
        drop((first, second));
        assert_eq!(waiting.await, Some(1), "it waits for its turn");
        while looks.0.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(looks.look(LONG, || 1).await, Some(1));
    }
}
