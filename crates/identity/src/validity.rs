//! Until when a node's certificate counts, however the machine's clock is set.
//!
//! Others judge certificates by their own clocks, so a certificate is written by the machine's clock, and is
//! judged by it here as well. While the machine's clock is far behind the server's own, which never goes
//! back, even a new certificate ends before the server's time. So the server's clock decides too, but by the
//! time of issue: an hour after that, the certificate has expired. It stays expired, also when the machine's
//! clock is set back.

use mandate_core::lifetimes::X509_SVID_LIFETIME;
use mandate_core::{Clock as _, HybridClock, Timestamp};
use mandate_store::nodes::Node;

/// What both clocks show at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The server's own clock.
    pub now: Timestamp,
    /// The machine's clock, which may have been set back.
    pub wall: Timestamp,
}

impl Moment {
    /// Both clocks, read one after the other.
    pub fn of(clock: &HybridClock) -> Self {
        Self { now: clock.now(), wall: clock.wall() }
    }
}

/// Until when the node's newest certificate counts by the server's own clock.
pub(crate) fn ends(node: &Node) -> Timestamp {
    node.expires.max(node.renewed.plus(X509_SVID_LIFETIME))
}

/// Whether the node's newest certificate has expired.
pub fn has_expired(node: &Node, at: Moment) -> bool {
    at.wall >= node.expires || at.now >= ends(node)
}
