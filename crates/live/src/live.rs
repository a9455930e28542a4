//! What decisions read: an immutable snapshot, swapped as a whole, and the meters.
//!
//! The hot path takes no lock for the snapshot. A change that gives authority is swapped in after it is durable. A change
//! that takes authority away is swapped in at once. Both wake the subscribers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mandate_core::registry::Registry;
use mandate_core::{Clock as _, Cut, CutTarget, HybridClock, Issuer, MeterId, Reservation, RevocationSet, Timestamp};
use mandate_delegation::Facts;
use mandate_delegation::revocation::CUT_MEMORY;
use mandate_policy::Policies;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

/// How many cuts a slow subscriber may fall behind before it must start over from a snapshot.
const FEED_BACKLOG: usize = 1024;

/// One immutable state of everything that decisions read, except the meters.
#[derive(Clone)]
pub struct Snapshot {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The compiled policies.
    pub policies: Arc<Policies>,
    /// The cuts in force.
    pub revocations: Arc<RevocationSet>,
}

/// A cut with its place in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedCut {
    /// Its number, increasing.
    pub seq: u64,
    /// The cut.
    pub cut: Cut,
}

/// The live state: the current [`Snapshot`], the meters, and the subscribers of changes.
pub struct Live {
    issuer: Issuer,
    snapshot: ArcSwap<Snapshot>,
    /// Serializes writers of `snapshot`; readers never take it. Holds the number of the last cut.
    writer: Mutex<u64>,
    meters: Mutex<HashMap<MeterId, u64>>,
    generation: watch::Sender<u64>,
    cuts: broadcast::Sender<NumberedCut>,
}

impl Live {
    /// Starts from the content of the store.
    pub fn new(issuer: Issuer, snapshot: Snapshot, meters: HashMap<MeterId, u64>, last_cut: u64) -> Self {
        Self {
            issuer,
            snapshot: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(last_cut),
            meters: Mutex::new(meters),
            generation: watch::Sender::new(0),
            cuts: broadcast::Sender::new(FEED_BACKLOG),
        }
    }

    /// Our issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Asks `question` with the facts of `snapshot`.
    ///
    /// `behind`: see [`Facts::behind`].
    pub fn with_facts<T>(&self, snapshot: &Snapshot, behind: Duration, question: impl FnOnce(&Facts<'_>) -> T) -> T {
        let used = |meter: &MeterId| self.used(meter);
        question(&Facts {
            issuer: &self.issuer,
            registry: &snapshot.registry,
            policies: &snapshot.policies,
            revocations: &snapshot.revocations,
            used: &used,
            behind,
        })
    }

    /// How much was taken from a meter.
    pub fn used(&self, meter: &MeterId) -> u64 {
        self.meters.lock().get(meter).copied().unwrap_or(0)
    }

    /// Counts what was reserved. Call it after that is durable; the store itself refuses what is too much.
    pub fn count(&self, reservations: &[Reservation]) {
        if reservations.is_empty() {
            return;
        }
        let mut meters = self.meters.lock();
        for Reservation { meter, amount, limit } in reservations {
            let shown = meters.entry(meter.clone()).or_default();
            // A caller that was refused in the same moment may have corrected the count already.
            *shown = shown.saturating_add(*amount).min(*limit);
        }
    }

    /// Corrects a count that is behind the store: what was recorded for a caller that had disconnected is not counted here. Call
    /// it with the reservation that the store refused.
    pub fn refused(&self, reservation: &Reservation) {
        let mut meters = self.meters.lock();
        let shown = meters.entry(reservation.meter.clone()).or_default();
        *shown = (*shown).max(reservation.used_if_refused());
    }

    /// Changes the registry in force and, if there are new ones, its policies.
    ///
    /// A change that gives authority is made here after it is durable, and one that only takes authority away before. So a
    /// change that gives finds the stops that came after it was planned, and must not lift them.
    pub fn change_registry(&self, policies: Option<Policies>, change: impl FnOnce(&mut Registry)) {
        let _last_cut = self.writer.lock();
        let current = self.snapshot.load_full();
        let mut registry = Registry::clone(&current.registry);
        change(&mut registry);
        let policies = policies.map_or_else(|| Arc::clone(&current.policies), Arc::new);
        let revocations = Arc::clone(&current.revocations);
        self.snapshot.store(Arc::new(Snapshot { registry: Arc::new(registry), policies, revocations }));
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Puts cuts in force and tells the subscribers.
    ///
    /// Returns the cuts with the time from which they are in force. It is not earlier than the time of any decision on the
    /// previous snapshot: such a decision is below the cut, however late its token leaves.
    pub fn cut(&self, mut cuts: Vec<Cut>, clock: &HybridClock) -> Vec<Cut> {
        if cuts.is_empty() {
            return cuts;
        }
        let mut last = self.writer.lock();
        // Twice: a decision reads its time before its snapshot. After the first round, no decision gets the previous
        // snapshot any longer, and the time that is then read is not earlier than that of any decision on it.
        for _ in 0..2 {
            let now = clock.now();
            for cut in &mut cuts {
                cut.at = cut.at.max(now);
                // A token is cut by its id, for as long as it and its descendants can live: that is known already.
                if !matches!(cut.target, CutTarget::Token(_)) {
                    cut.forget = cut.forget.max(now.plus(CUT_MEMORY));
                }
            }
            self.insert(&cuts);
        }
        // What is issued from here on is later than the cuts, even while the machine's clock stands still or was set back. A
        // token is cut by its id, whenever it was issued: revoking many of them must not drive the clock ahead.
        if cuts.iter().any(|cut| !matches!(cut.target, CutTarget::Token(_))) {
            clock.tick();
        }
        for cut in &cuts {
            *last += 1;
            // No subscriber is no error.
            let _ = self.cuts.send(NumberedCut { seq: *last, cut: cut.clone() });
        }
        cuts
    }

    /// For those who hold the lock of writers.
    fn insert(&self, cuts: &[Cut]) {
        self.change(|revocations| cuts.iter().cloned().for_each(|cut| revocations.insert(cut)));
    }

    /// Forgets the cuts that no valid token is below, by a clock that can be trusted: if the clock jumped ahead for a moment,
    /// revoked tokens would become valid again.
    pub fn forget(&self, now: Timestamp) {
        let _last_cut = self.writer.lock();
        if self.snapshot.load().revocations.iter().any(|cut| cut.forget <= now) {
            self.change(|revocations| revocations.forget_before(now));
        }
    }

    /// For those who hold the lock of writers.
    fn change(&self, change: impl FnOnce(&mut RevocationSet)) {
        let current = self.snapshot.load_full();
        let mut revocations = RevocationSet::clone(&current.revocations);
        change(&mut revocations);
        self.snapshot.store(Arc::new(Snapshot { revocations: Arc::new(revocations), ..Snapshot::clone(&current) }));
    }

    /// The cuts in force with the number of the last one, and a subscription that continues from there without a gap.
    /// Two subscriptions with the same number have the same cuts, except for cuts that no valid token is below.
    pub fn subscribe_cuts(&self) -> (u64, Arc<RevocationSet>, broadcast::Receiver<NumberedCut>) {
        let last = self.writer.lock();
        let receiver = self.cuts.subscribe();
        (*last, Arc::clone(&self.snapshot.load().revocations), receiver)
    }

    /// Changes with every swap of the registry.
    pub fn subscribe_registry(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
