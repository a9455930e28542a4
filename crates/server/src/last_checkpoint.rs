//! Keeps the last checkpoint of the audit log beside the database, so that the next start notices a log that
//! went back.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::Entropy;
use mandate_files::Dir;
use mandate_sequencer::DurableCheckpoint;
use mandate_store::keep_last_checkpoint;
use parking_lot::Mutex;

use crate::listener::{Shutdown, stopped};

/// How often it is written, if there is another one: no record waits for that.
const EVERY: Duration = Duration::from_secs(1);

/// How long it may take when the server ends.
const AT_LAST: Duration = Duration::from_secs(2);

/// The command that starts a server with a log that went back. `dir`: as a command takes it; `elsewhere`: the
/// database is not in it.
pub fn accepting_log_that_went_back(dir: &str, elsewhere: bool) -> String {
    let store = if elsewhere { " --store URL" } else { "" };
    format!(
        "mandate serve --dir {dir}{store} --accept-log-that-went-back   (once, if there is no newer database)"
    )
}

/// What was written last.
#[derive(Default)]
struct Kept {
    note: Vec<u8>,
    failing: bool,
}

/// The file, and what goes into it.
pub(crate) struct LastCheckpoint {
    dir: Dir,
    durable: DurableCheckpoint,
    entropy: Arc<dyn Entropy>,
    kept: Mutex<Kept>,
}

impl LastCheckpoint {
    pub(crate) fn new(dir: Dir, durable: DurableCheckpoint, entropy: Arc<dyn Entropy>) -> Self {
        Self { dir, durable, entropy, kept: Mutex::default() }
    }

    /// Writes it, if it is another one than the last time. On a full disk the older one stays, which the log
    /// must still contain. Blocks.
    pub(crate) fn keep(&self) {
        let mut kept = self.kept.lock();
        let note = self.durable.note();
        if note == kept.note {
            return;
        }
        match keep_last_checkpoint(&self.dir, &note, self.entropy.as_ref()) {
            Ok(()) => *kept = Kept { note, failing: false },
            Err(error) => {
                if !std::mem::replace(&mut kept.failing, true) {
                    tracing::warn!(
                        %error,
                        "the last checkpoint of the audit log cannot be kept beside the database; it is tried again"
                    );
                }
            }
        }
    }

    /// Writes it when the server ends. A disk that does not answer does not keep the server from its end: the
    /// older one stays, which the log must still contain.
    pub(crate) async fn keep_at_last(self: Arc<Self>) {
        let keep = tokio::task::spawn_blocking(move || self.keep());
        if tokio::time::timeout(AT_LAST, keep).await.is_err() {
            tracing::warn!(
                "the last checkpoint of the audit log could not be kept in time beside the database"
            );
        }
    }

    /// Writes it regularly until shutdown.
    pub(crate) async fn follow(self: Arc<Self>, mut stop: Shutdown) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {
                    let own = Arc::clone(&self);
                    // It fails only if the runtime ends.
                    let _ = tokio::task::spawn_blocking(move || own.keep()).await;
                }
                () = stopped(&mut stop) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use mandate_core::SystemEntropy;
    use mandate_files::Dir;
    use mandate_sequencer::DurableCheckpoint;

    use super::LastCheckpoint;

    #[test]
    fn a_log_that_went_back_is_accepted_by_a_start_that_names_its_database() {
        for (elsewhere, command) in
            [(false, "serve --dir /srv/m --accept"), (true, "serve --dir /srv/m --store URL --accept")]
        {
            let said = super::accepting_log_that_went_back("/srv/m", elsewhere);
            assert!(said.contains(command), "{said}");
        }
    }

    #[expect(clippy::await_holding_lock, reason = "as a write that does not end")]
    #[tokio::test]
    async fn a_disk_that_does_not_answer_does_not_keep_the_server_from_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Dir::open(dir.path()).unwrap();
        let last =
            Arc::new(LastCheckpoint::new(opened, DurableCheckpoint::default(), Arc::new(SystemEntropy)));
        let written = last.kept.lock();
        let begun = Instant::now();
        Arc::clone(&last).keep_at_last().await;
        assert!(begun.elapsed() >= super::AT_LAST && begun.elapsed() < Duration::from_secs(10));
        drop(written);
    }
}
