//! What the communication needs, and what it tells the rest of the node.

use std::sync::Arc;

use mandate_core::{Clock, Entropy};
use tokio::sync::watch;

use crate::dial::Dialer;
use crate::error::NodeError;
use crate::refusal::Waiting;
use crate::storage::Storage;
use crate::svids::Svids;
use crate::view::{Link, View};

/// Everything that the communication needs.
pub(crate) struct Session {
    pub(crate) dialer: Dialer,
    pub(crate) storage: Arc<Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) views: watch::Sender<View>,
    pub(crate) svids: Arc<Svids>,
    pub(crate) rejoin: String,
}

impl Session {
    /// Writes to the node's directory, on a thread that may block.
    pub(super) async fn keep_in_directory(
        &self,
        write: impl FnOnce(&Storage, &dyn Entropy) -> Result<(), NodeError> + Send + 'static,
    ) -> Result<(), NodeError> {
        let (storage, entropy) = (Arc::clone(&self.storage), Arc::clone(&self.entropy));
        let path = storage.path().to_owned();
        let turn = storage.turn().await;
        let work = move || {
            let written = write(&storage, entropy.as_ref());
            // The directory is free for another node before the turn ends.
            drop(storage);
            drop(turn);
            written
        };
        let written = tokio::task::spawn_blocking(work).await;
        written.map_err(|error| NodeError::File { path, source: error.into() })?
    }

    /// Publishes that there is no connection, and why.
    pub(super) fn stand(&self, waiting: Waiting) {
        self.views.send_modify(|view| view.link = Link::Down(waiting));
    }

    /// Publishes that the server cannot be reached or used at the moment.
    pub(super) fn lost(&self) {
        // A node that has never heard from the server has not lost it.
        let known = self.views.borrow().state.is_some();
        self.stand(if known { Waiting::Lost } else { Waiting::Connecting });
    }

    /// The server itself refuses this node, so its earlier state is no longer valid.
    pub(super) fn refused(&self) {
        self.views.send_replace(View { link: Link::Down(Waiting::Refused), state: None });
        self.svids.clear();
    }
}
