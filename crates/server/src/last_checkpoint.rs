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
