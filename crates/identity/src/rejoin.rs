//! A node that was away for too long: its certificate has expired, and the operator may allow it to renew the
//! certificate nevertheless.

use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::lifetimes::MAX_REJOIN_GRACE;
use mandate_store::nodes::Node;

use crate::Identity;
use crate::error::IdentityError;
use crate::join::PresentedCertificate;
use crate::validity::{Moment, ends};

/// A node that may have a new certificate.
pub(crate) struct Renewable {
    pub(crate) node: Node,
    /// What it does, for the record.
    pub(crate) what: String,
    /// The `notAfter` that the server must still know as the node's newest, if that certificate has expired.
    pub(crate) newest: Option<Timestamp>,
}

impl Identity {
    /// Lets a node renew its newest certificate for this time after the certificate has expired. It can be
    /// used for nothing else.
    #[must_use]
    pub fn with_rejoin_grace(mut self, grace: Duration) -> Self {
        self.rejoin_grace = grace.min(MAX_REJOIN_GRACE);
        self
    }

    /// The node that shows this certificate, if it may have a new one.
    ///
    /// An expired certificate counts only if it is the newest that was issued to the node. An older one is a
    /// copy from a backup or a stolen one. After a node has joined again, its certificate from before is an
    /// older one too.
    pub(crate) async fn renewable(&self, shown: &PresentedCertificate) -> Result<Renewable, IdentityError> {
        match self.joined_node(shown).await {
            Ok(node) => {
                let what = format!("node {} renewed its certificate", node.id);
                return Ok(Renewable { node, what, newest: None });
            }
            Err(IdentityError::NodeExpired) if !self.rejoin_grace.is_zero() => {}
            Err(error) => return Err(error),
        }
        let node = self.known_node(&shown.spiffe_id).await?;
        let Moment { now, wall } = Moment::of(&self.clock);
        // By the clock that says that more time has passed.
        if node.expires != shown.expires
            || wall.since(node.expires).max(now.since(ends(&node))) > self.rejoin_grace
        {
            return Err(IdentityError::NodeExpired);
        }
        let what =
            format!("node {} joined again with its certificate, which expired at {}", node.id, shown.expires);
        Ok(Renewable { node, what, newest: Some(shown.expires) })
    }
}
