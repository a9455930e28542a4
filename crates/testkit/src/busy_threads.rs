//! A runtime that has no thread for what may block. What async code does there meanwhile, it does on the
//! thread on which it would keep others waiting.

#![expect(clippy::expect_used, reason = "helpers of tests end the test")]

use std::sync::mpsc::{Sender, channel};

use tokio::runtime::{Builder, Runtime};

/// All threads of a runtime that may block.
const THREADS: usize = 8;

/// Keeps all these threads busy until it is dropped.
#[derive(Debug)]
pub struct BusyThreads(
    #[expect(dead_code, reason = "the threads wait until these are dropped")] Vec<Sender<()>>,
);

/// A runtime with one thread for async code, and with others for what may block, which are busy.
///
/// # Panics
/// The system starts no thread.
#[must_use]
pub fn runtime() -> (Runtime, BusyThreads) {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build();
    let runtime = runtime.expect("a runtime");
    let senders = (0..THREADS).map(|_| {
        let (sender, waits) = channel();
        runtime.spawn_blocking(move || {
            let _ = waits.recv();
        });
        sender
    });
    let busy = BusyThreads(senders.collect());
    (runtime, busy)
}
