//! What decisions read: an immutable snapshot, swapped as a whole, and the meters.
//!
//! The hot path takes no lock for the snapshot. A change that gives authority is swapped in after it is
//! durable. A change that takes authority away is swapped in at once. Both wake the subscribers.
//!
//! A snapshot knows which [`Edition`] of the registry it shows. What is planned from it names that edition,
//! and is planned again if there is a newer one: the database compares the version, and [`RegistryClaim`] and
//! [`Live::narrow`] compare what the database cannot know yet, the stops that are in force and not recorded.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mandate_core::registry::{Entry, EntryKind, Halt, Registry, RegistryVersion};
use mandate_core::{
    Clock as _, Cut, CutTarget, HybridClock, Issuer, MeterId, Reservation, RevocationSet, Timestamp,
};
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
    /// The registry in force, with the stops that are not recorded yet.
    pub registry: Arc<Registry>,
    /// The policies of that registry, compiled.
    pub policies: Arc<Policies>,
    /// The cuts that have not been forgotten.
    pub revocations: Arc<RevocationSet>,
    /// The edition of the registry.
    pub edition: Edition,
}

/// Which registry a snapshot shows: that of a version of the database, with the stops that were in force
/// already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edition {
    /// The version of the database. Every change up to it is shown, and none after it.
    pub version: RegistryVersion,
    /// How many stops have been put in force by this process that narrow entries, or that halt some while a
    /// change is being written. Those that are not recorded yet are not in the version.
    narrowings: u64,
}

impl Edition {
    /// What the database shows at this version, at a start.
    pub fn of(version: RegistryVersion) -> Self {
        Self { version, narrowings: 0 }
    }
}

/// The edition from which a stop was planned is no longer in force, or the stop removes entries while a
/// change is being written, or an entry that is to be removed was stopped further since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry was changed meanwhile")]
pub struct Overtaken;

/// The place of a cut in the feed of this process: a number of the process, and how many cuts the process had
/// sent, including this one.
///
/// A cut is on the feed before it is in the database, so it cannot have the database's number. Another
/// process, as after a restart, has another number: a reader that knows a place of an earlier process does
/// not mistake it for one of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPlace {
    epoch: u64,
    count: u64,
}

impl FeedPlace {
    /// How many cuts this process had sent, including this one.
    pub fn count(self) -> u64 {
        self.count
    }
}

impl fmt::Display for FeedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.count)
    }
}

/// A cut on the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCut {
    /// Its place in the feed.
    pub place: FeedPlace,
    /// The cut, with the time from which it is in force.
    pub cut: Cut,
}

/// A stop of entries that is in force. It changes nothing if it is made again.
type Beside = Arc<dyn Fn(&mut Registry) + Send + Sync>;

/// What only writers of the snapshot need.
struct Writer {
    /// The last place that was given.
    last: FeedPlace,
    /// What the changes need that are being written, one for each.
    claims: Vec<Arc<Pins>>,
    /// The stops of entries that came while changes were being written, with their numbers.
    beside: Vec<(u64, Beside)>,
}

/// The entries that a change needs to be there: those that it mentions, and those that it changes. While it
/// is being written, they are not removed.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    entries: HashSet<(EntryKind, String)>,
    kinds: HashSet<EntryKind>,
}

impl Pins {
    /// Pins the entry of this kind and key.
    pub fn entry(&mut self, kind: EntryKind, key: impl Into<String>) {
        self.entries.insert((kind, key.into()));
    }

    /// Pins every entry of a kind.
    pub fn every(&mut self, kind: EntryKind) {
        self.kinds.insert(kind);
    }

    fn has(&self, Removal { kind, key, .. }: &Removal) -> bool {
        self.kinds.contains(kind) || self.entries.contains(&(*kind, key.clone()))
    }
}

/// An entry that is to be removed, or an agent that is to get another identity.
///
/// Planning asked whether this may be done to an entry in its state. A halt makes no other edition, so the
/// present state is looked at before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// Its key within its kind.
    pub key: String,
    /// How far it was stopped when the removal was planned.
    pub planned_from: Option<Halt>,
}

impl Removal {
    /// The removal of this entry, planned from its present state.
    pub fn of(entry: &Entry) -> Self {
        Self { kind: entry.kind(), key: entry.key().to_owned(), planned_from: entry.halt() }
    }

    /// Whether the entry was stopped further since. An entry that is gone was not.
    fn is_overtaken(&self, registry: &Registry) -> bool {
        registry.get(self.kind, &self.key).and_then(|now| now.halt()) > self.planned_from
    }
}

/// What [`Live::moved`] waits for: a newer version, or no claim.
#[derive(Clone, Copy, Default)]
struct Progress {
    version: RegistryVersion,
    claims: usize,
}

/// The live state: the current [`Snapshot`], the meters, and the subscribers of changes.
pub struct Live {
    issuer: Issuer,
    snapshot: ArcSwap<Snapshot>,
    /// Serializes writers of `snapshot`; readers never take it.
    writer: Mutex<Writer>,
    meters: Mutex<HashMap<MeterId, u64>>,
    generation: watch::Sender<u64>,
    progress: watch::Sender<Progress>,
    cuts: broadcast::Sender<FeedCut>,
}

impl Live {
    /// Starts from the content of the store. `epoch`: random, so that no other process has it.
    pub fn new(issuer: Issuer, snapshot: Snapshot, meters: HashMap<MeterId, u64>, epoch: u64) -> Self {
        let last = FeedPlace { epoch, count: 0 };
        Self {
            issuer,
            progress: watch::Sender::new(Progress { version: snapshot.edition.version, claims: 0 }),
            snapshot: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(Writer { last, claims: Vec::new(), beside: Vec::new() }),
            meters: Mutex::new(meters),
            generation: watch::Sender::new(0),
            cuts: broadcast::Sender::new(FEED_BACKLOG),
        }
    }

    /// The issuer of this server's tokens.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The snapshot in force. A decision reads one snapshot from its beginning to its end.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Asks `question` with the facts of `snapshot`.
    ///
    /// `behind`: see [`Facts::behind`].
    pub fn with_facts<T>(
        &self,
        snapshot: &Snapshot,
        behind: Duration,
        question: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
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

    /// The count of a meter: how much of it is used up.
    pub fn used(&self, meter: &MeterId) -> u64 {
        self.meters.lock().get(meter).copied().unwrap_or(0)
    }

    /// Counts what was reserved. Call it once that is durable; the store itself refuses what is too much.
    pub fn count(&self, reservations: &[Reservation]) {
        if reservations.is_empty() {
            return;
        }
        let mut meters = self.meters.lock();
        for Reservation { meter, amount, limit } in reservations {
            let shown = meters.entry(meter.clone()).or_default();
            // A caller that was refused at the same moment may have corrected the count already.
            *shown = shown.saturating_add(*amount).min(*limit);
        }
    }

    /// Corrects a count that is behind the store: what was recorded for a caller that had disconnected is not
    /// counted here. Call it with the reservation that the store refused.
    pub fn refused(&self, reservation: &Reservation) {
        let mut meters = self.meters.lock();
        let shown = meters.entry(reservation.meter.clone()).or_default();
        *shown = (*shown).max(reservation.used_if_refused());
    }

    /// Changes the registry in force and, if there are new ones, its policies, without another edition.
    pub fn change_registry(&self, policies: Option<Policies>, change: impl FnOnce(&mut Registry)) {
        let _writer = self.writer.lock();
        let edition = self.snapshot.load().edition;
        self.swap(edition, policies, change);
    }

    /// Puts a stop in force that only halts entries. `change` changes nothing if it is made again.
    ///
    /// A change that was planned before keeps it. A change that is being written may lift an earlier halt of
    /// the same entry; this one came after that change, so it is made again on top of it.
    pub fn halt(&self, change: impl Fn(&mut Registry) + Send + Sync + 'static) {
        let mut writer = self.writer.lock();
        let beside = !writer.claims.is_empty();
        let Edition { version, narrowings } = self.snapshot.load().edition;
        let edition = Edition { version, narrowings: narrowings + u64::from(beside) };
        self.swap(edition, None, &change);
        if beside {
            writer.beside.push((edition.narrowings, Arc::new(change)));
        }
    }

    /// Whether a change is being written, or what became of one is not known.
    pub fn is_being_changed(&self) -> bool {
        !self.writer.lock().claims.is_empty()
    }

    /// Puts a stop in force that does more than to halt entries. `change` changes nothing if it is made
    /// again.
    ///
    /// `planned` is the edition from which it was planned, unless it is one that an earlier process left. It
    /// is refused if there is another one by now, or if an entry that it `removes` was stopped further since.
    /// It is refused too if it removes an entry that a change pins which is being written.
    pub fn narrow(
        &self,
        planned: Option<Edition>,
        removes: &[Removal],
        change: impl Fn(&mut Registry) + Send + Sync + 'static,
    ) -> Result<(), Overtaken> {
        let mut writer = self.writer.lock();
        let current = self.snapshot.load_full();
        let Edition { version, narrowings } = current.edition;
        let is_other = |planned| planned != current.edition || any_overtaken(removes, &current.registry);
        if planned.is_some_and(is_other)
            || writer.claims.iter().any(|pins| removes.iter().any(|removed| pins.has(removed)))
        {
            return Err(Overtaken);
        }
        let edition = Edition { version, narrowings: narrowings + 1 };
        self.swap(edition, None, &change);
        if !writer.claims.is_empty() {
            writer.beside.push((edition.narrowings, Arc::new(change)));
        }
        Ok(())
    }

    /// Notes that a narrowing stop is recorded and was the next change of the database after version `from`.
    pub fn narrowing_recorded(&self, from: RegistryVersion) {
        let _writer = self.writer.lock();
        let current = self.snapshot.load_full();
        if current.edition.version == from {
            let edition = Edition { version: from.next(), ..current.edition };
            self.snapshot.store(Arc::new(Snapshot { edition, ..Snapshot::clone(&current) }));
            self.progress.send_modify(|progress| progress.version = edition.version);
        }
    }

    /// Puts in force what the database has, if that is newer: its registry at `version`, with the stops that
    /// are not recorded. Returns whether it was newer.
    ///
    /// The caller ensures that no stop was recorded since the database was read.
    pub fn replace(&self, version: RegistryVersion, registry: Registry, policies: Policies) -> bool {
        let _writer = self.writer.lock();
        let current = self.snapshot.load().edition;
        let newer = current.version < version;
        if newer {
            self.swap(Edition { version, ..current }, Some(policies), |in_force| *in_force = registry);
        }
        newer
    }

    /// For those who hold the lock of writers.
    fn swap(&self, edition: Edition, policies: Option<Policies>, change: impl FnOnce(&mut Registry)) {
        let current = self.snapshot.load_full();
        let mut registry = Registry::clone(&current.registry);
        change(&mut registry);
        let policies = policies.map_or_else(|| Arc::clone(&current.policies), Arc::new);
        let revocations = Arc::clone(&current.revocations);
        self.snapshot.store(Arc::new(Snapshot {
            registry: Arc::new(registry),
            policies,
            revocations,
            edition,
        }));
        self.generation.send_modify(|generation| *generation += 1);
        self.progress.send_modify(|progress| progress.version = edition.version);
    }

    /// Waits until there is a newer version than `than`, or no change is being written.
    pub async fn moved(&self, than: RegistryVersion) {
        // The sender lives as long as this.
        let _ = self
            .progress
            .subscribe()
            .wait_for(|progress| progress.version > than || progress.claims == 0)
            .await;
    }

    /// Puts cuts in force and tells the subscribers.
    ///
    /// Returns the cuts with the time from which they are in force. It is not earlier than the time of any
    /// decision on the previous snapshot: such a decision is below the cut, however late its token leaves.
    pub fn cut(&self, mut cuts: Vec<Cut>, clock: &HybridClock) -> Vec<Cut> {
        if cuts.is_empty() {
            return cuts;
        }
        let mut writer = self.writer.lock();
        // Twice: a decision reads its time before its snapshot. After the first round, no decision gets the
        // previous snapshot any longer, and the time that is then read is not earlier than that of any
        // decision on it.
        for _ in 0..2 {
            let now = clock.now();
            for cut in &mut cuts {
                cut.at = cut.at.max(now);
                // A cut token is refused by its id, for as long as it and its descendants can live. That time
                // is known already.
                if !matches!(cut.target, CutTarget::Token(_)) {
                    cut.forget = cut.forget.max(now.plus(CUT_MEMORY));
                }
            }
            self.insert(&cuts);
        }
        // What is issued from here on is later than the cuts, even while the machine's clock stands still or
        // was set back. A token is refused by its id, no matter when it was issued, so revoking many tokens
        // must not move the clock ahead.
        if cuts.iter().any(|cut| !matches!(cut.target, CutTarget::Token(_))) {
            clock.tick();
        }
        for cut in &cuts {
            writer.last.count += 1;
            // It is not an error if there is no subscriber.
            let _ = self.cuts.send(FeedCut { place: writer.last, cut: cut.clone() });
        }
        cuts
    }

    /// Only for callers that hold the lock of writers.
    fn insert(&self, cuts: &[Cut]) {
        self.change(|revocations| cuts.iter().cloned().for_each(|cut| revocations.insert(cut)));
    }

    /// Forgets the cuts that no valid token is below, by a clock that can be trusted: with a clock that
    /// jumped ahead for a moment, revoked tokens would become valid again.
    pub fn forget(&self, now: Timestamp) {
        let _writer = self.writer.lock();
        if self.snapshot.load().revocations.iter().any(|cut| cut.forget <= now) {
            self.change(|revocations| revocations.forget_before(now));
        }
    }

    /// Only for callers that hold the lock of writers.
    fn change(&self, change: impl FnOnce(&mut RevocationSet)) {
        let current = self.snapshot.load_full();
        let mut revocations = RevocationSet::clone(&current.revocations);
        change(&mut revocations);
        self.snapshot
            .store(Arc::new(Snapshot { revocations: Arc::new(revocations), ..Snapshot::clone(&current) }));
    }

    /// The cuts in force with the place of the last one, and a subscription that continues from there without
    /// a gap. Two subscriptions at the same place have the same cuts, except for cuts that no valid token is
    /// below.
    pub fn subscribe_cuts(&self) -> (FeedPlace, Arc<RevocationSet>, broadcast::Receiver<FeedCut>) {
        let writer = self.writer.lock();
        let receiver = self.cuts.subscribe();
        (writer.last, Arc::clone(&self.snapshot.load().revocations), receiver)
    }

    /// A value that changes with every swap of the registry.
    pub fn subscribe_registry(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

fn any_overtaken(removes: &[Removal], registry: &Registry) -> bool {
    removes.iter().any(|removal| removal.is_overtaken(registry))
}

/// A change that gives authority, on its way into the database. From [`RegistryClaim::take`] until the claim
/// is dropped, it is being written: whether it is durable is not known.
pub struct RegistryClaim {
    live: Arc<Live>,
    planned: Edition,
    pins: Arc<Pins>,
    removes: Vec<Removal>,
    state: Mutex<Claimed>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claimed {
    NotYet,
    Taken,
    Overtaken,
}

impl RegistryClaim {
    /// For a change that was planned from this edition, needs these entries, and removes those.
    pub fn new(live: Arc<Live>, planned: Edition, pins: Pins, removes: Vec<Removal>) -> Self {
        Self { live, planned, pins: Arc::new(pins), removes, state: Mutex::new(Claimed::NotYet) }
    }

    /// Whether the change may be written: there is no other edition by now, and no entry that it removes was
    /// stopped further. The guard of its record asks this in the transaction, possibly more than once. From
    /// here on no entry that it pins is removed beside it.
    pub fn take(&self) -> bool {
        let mut state = self.state.lock();
        let mut writer = self.live.writer.lock();
        let in_force = self.live.snapshot.load_full();
        let current = in_force.edition == self.planned && !any_overtaken(&self.removes, &in_force.registry);
        match (*state, current) {
            (Claimed::NotYet, true) => {
                *state = Claimed::Taken;
                writer.claims.push(Arc::clone(&self.pins));
                self.live.progress.send_modify(|progress| progress.claims = writer.claims.len());
            }
            // It is asked again if the transaction runs again. A stop that came in between is made after the
            // change.
            (Claimed::Taken, _) => {}
            (_, _) => *state = Claimed::Overtaken,
        }
        *state == Claimed::Taken
    }

    /// Whether it was asked and had to refuse.
    pub fn is_overtaken(&self) -> bool {
        *self.state.lock() == Claimed::Overtaken
    }

    /// Whether it was asked and agreed: the change may be durable, whatever the answer was.
    pub fn is_taken(&self) -> bool {
        *self.state.lock() == Claimed::Taken
    }

    /// Puts the change in force, which is durable as the next version after the planned one, and with it its
    /// policies, if they are others. `change` keeps the halts that it finds; the stops that came while it was
    /// written are made again on top.
    ///
    /// If a newer version is in force already, the change is in it.
    pub fn put_in_force(&self, policies: Option<Policies>, change: impl FnOnce(&mut Registry)) {
        let writer = self.live.writer.lock();
        let current = self.live.snapshot.load().edition;
        if current.version != self.planned.version {
            return;
        }
        self.live.swap(Edition { version: current.version.next(), ..current }, policies, |registry| {
            change(registry);
            writer
                .beside
                .iter()
                .filter(|(number, _)| *number > self.planned.narrowings)
                .for_each(|(_, stop)| stop(registry));
        });
    }
}

impl Drop for RegistryClaim {
    fn drop(&mut self) {
        if self.is_taken() {
            let mut writer = self.live.writer.lock();
            writer.claims.retain(|pins| !Arc::ptr_eq(pins, &self.pins));
            if writer.claims.is_empty() {
                writer.beside.clear();
            }
            self.live.progress.send_modify(|progress| progress.claims = writer.claims.len());
        }
    }
}
