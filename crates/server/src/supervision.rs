//! The end of a server: when it was told to stop, or when one of its parts has ended.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::ServerError;

/// Serves until told to stop, or until a part ends by itself: if a part panics, the rest of the server must
/// not continue.
pub(crate) async fn supervise(
    shutdown: impl Future<Output = ()>,
    tasks: &mut JoinSet<()>,
    mut sequencer: JoinHandle<std::thread::Result<()>>,
    stop: watch::Sender<bool>,
) -> Result<(), ServerError> {
    let (served, sequencing) = tokio::select! {
        biased;
        () = shutdown => {
            tracing::info!("the server stops: it was asked to");
            (Ok(()), true)
        }
        _ = tasks.join_next() => (Err(ServerError::Ended("a listener, or the housekeeping,")), true),
        // The sequencer runs as long as there is a handle of the log. It ends earlier only by a panic.
        _ = &mut sequencer => (Err(ServerError::Ended("the audit log")), false),
    };
    let _ = stop.send(true);
    let _ =
        tokio::time::timeout(Duration::from_secs(10), async { while tasks.join_next().await.is_some() {} })
            .await;
    tasks.shutdown().await;
    if sequencing {
        // Every handle of the log is gone now; what was queued is written.
        let _ = sequencer.await;
    }
    served
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::watch;
    use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

    use super::supervise;
    use crate::error::ServerError;

    /// A task that ends when it is told to, as listeners do, and what tells it.
    fn listener() -> (JoinSet<()>, watch::Sender<bool>) {
        let (stop, mut stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(stopping.wait_for(|stop| *stop).await) });
        (tasks, stop)
    }

    fn sequencer(run: impl FnOnce() + Send + 'static) -> JoinHandle<thread::Result<()>> {
        spawn_blocking(|| thread::spawn(run).join())
    }

    #[tokio::test]
    async fn without_its_audit_log_the_server_ends_with_an_error() {
        let (mut tasks, stop) = listener();
        let served = supervise(
            std::future::pending(),
            &mut tasks,
            sequencer(|| panic!("as a fault in an effect would")),
            stop,
        )
        .await;
        assert!(matches!(served, Err(ServerError::Ended("the audit log"))), "{served:?}");
        assert!(tasks.is_empty(), "nothing goes on");
    }

    #[tokio::test]
    async fn without_one_of_its_tasks_the_server_ends_with_an_error() {
        let (mut tasks, stop) = listener();
        tasks.spawn(async {});
        let (queue, jobs) = std::sync::mpsc::channel::<()>();
        let mut stopping = stop.subscribe();
        tasks.spawn(async move {
            let _last_handle = queue;
            drop(stopping.wait_for(|stop| *stop).await);
        });
        let served = supervise(
            std::future::pending(),
            &mut tasks,
            sequencer(move || assert!(jobs.recv().is_err())),
            stop,
        )
        .await;
        assert!(matches!(served, Err(ServerError::Ended(_))), "{served:?}");
    }

    #[tokio::test]
    async fn told_to_stop_it_waits_for_what_was_queued() {
        let (mut tasks, stop) = listener();
        let (written, was_written) = std::sync::mpsc::channel();
        let served =
            supervise(std::future::ready(()), &mut tasks, sequencer(move || written.send(()).unwrap()), stop)
                .await;
        assert!(served.is_ok(), "{served:?}");
        was_written.try_recv().unwrap();
    }
}
