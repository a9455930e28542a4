//! What the communication needs, and what it tells the rest of the node.

use std::sync::Arc;

use mandate_core::{Clock, Entropy};
use tokio::sync::watch;

use crate::dial::Dialer;
use crate::refusal::Waiting;
use crate::storage::Storage;
use crate::svids::Svids;
use crate::view::{Link, View};

/// Everything that the communication needs.
pub(crate) struct Session {
    pub(crate) dialer: Dialer,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) views: watch::Sender<View>,
    pub(crate) svids: Arc<Svids>,
    pub(crate) rejoin: String,
}

impl Session {
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
