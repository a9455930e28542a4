//! Signals that end a command while it has files to remove: what was begun is not left behind.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::connection::runtime;
use crate::failure::{Failure, Fault};
use crate::shutdown;

/// How long work may take to end after it was asked to. A read or write that never returns keeps it from
/// looking.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a terminal, a supervisor or an operator sends to end a command.
pub(crate) struct Signals {
    heard: Vec<(u8, Signal)>,
    /// A limit on the size of files makes writing fail, and does not end the process.
    _file_limit: Option<Signal>,
}

impl Signals {
    /// Listens from now on, inside a runtime. A signal that was ignored when the process was started stays
    /// ignored.
    pub(crate) fn listen() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| !shutdown::is_ignored(*kind));
        let heard = heard
            .filter_map(|kind| Some((u8::try_from(kind.as_raw_value()).ok()?, signal(kind).ok()?)))
            .collect();
        Self { heard, _file_limit: shutdown::file_limit() }
    }

    /// The number of the next signal.
    pub(crate) async fn next(&mut self) -> u8 {
        poll_fn(|context| {
            let came = self
                .heard
                .iter_mut()
                .find_map(|(number, signal)| signal.poll_recv(context).is_ready().then_some(*number));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Lets work on this thread end in good order: a signal sets a flag at which the work looks.
pub(crate) struct Interruption {
    /// Set by the first signal.
    pub(crate) stop: Arc<AtomicBool>,
    number: Arc<AtomicU8>,
}

impl Interruption {
    /// Listens from now on. A second signal ends the process at once, and so does the first one if the work
    /// does not end.
    pub(crate) fn begin() -> Result<Self, Failure> {
        let begun = Self { stop: Arc::default(), number: Arc::default() };
        let (stop, caught) = (Arc::clone(&begun.stop), Arc::clone(&begun.number));
        let runtime = runtime()?;
        let mut signals = {
            let _inside = runtime.enter();
            Signals::listen()
        };
        let wait = move || {
            let number = runtime.block_on(async {
                let number = signals.next().await;
                caught.store(number, Ordering::Relaxed);
                stop.store(true, Ordering::Release);
                // Which of the two it is makes no difference.
                let _ = tokio::time::timeout(PATIENCE, signals.next()).await;
                number
            });
            std::process::exit(Fault::Interrupted(number).number().into())
        };
        let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
        spawned.map_err(|error| Failure::caused(Fault::Failed, "cannot start", &error))?;
        Ok(begun)
    }

    /// Why the work ended, if that was the reason. `what` is how it stands.
    pub(crate) fn failure(&self, what: &str) -> Option<Failure> {
        let was_asked = self.stop.load(Ordering::Acquire);
        was_asked.then(|| failure(self.number.load(Ordering::Relaxed), what))
    }
}

/// The failure of a command that was ended by this signal.
pub(crate) fn failure(number: u8, what: &str) -> Failure {
    Failure::new(Fault::Interrupted(number), format!("{what}: it was stopped by signal {number}"))
}
