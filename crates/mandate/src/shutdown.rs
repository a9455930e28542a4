//! When to stop: SIGTERM, or Ctrl-C.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

async fn one(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends the process at once, which is what is asked for.
        None => std::future::pending().await,
    }
}

/// Completes when the process is asked to stop. Signals count from this call on, not from the first poll: whoever reads
/// that we are ready may ask us to stop in the next moment. Call it inside a runtime.
pub(crate) fn requested() -> impl Future<Output = ()> + Send {
    let listen = |kind| signal(kind).ok();
    let (terminate, interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = one(terminate) => {}
            () = one(interrupt) => {}
        }
    }
}
