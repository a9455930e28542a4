//! Stops on their way: in force, into the reserve, into the audit log.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::lifetimes::RESERVE_CLOCK_SKEW;
use mandate_core::registry::{Registry, RegistryVersion};
use mandate_core::{Clock as _, Cut, HybridClock, RecordId, Timestamp};
use mandate_delegation::revocation::CUT_MEMORY;
use mandate_files::{Dir, Exposure};
use mandate_live::{Live, Overtaken};
use mandate_policy::Policies;
use mandate_store::{AppendError, EffectRefusal, Log, Store, StoreError, stops};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::keeper::{By, Kept, ReserveKeeper, ReserveState};
use crate::queue::{Queue, QueuePlace, State, Waiting};
use crate::reserve::{self, FILE, Frame, Reserve, ReserveError};
use crate::stop::Stop;

/// How long a stop waits for the reserve before it continues to the audit log: a disk may neither write nor
/// fail.
const RESERVE_PATIENCE: Duration = Duration::from_millis(500);

/// How long the caller of a stop waits for the log. The stop is in force and in the reserve by then.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How long the caller waits if the stop is not in the reserve: without the wait, the answer would be worse.
const LONGEST_PATIENCE: Duration = Duration::from_millis(1_800);

/// How often the engine tries to record stops that are not recorded.
pub const RETRY: Duration = Duration::from_secs(1);

/// How long a stop may be on its way to the log before it counts as waiting.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// The most stops of clients that wait to be recorded. A client's own token ends by itself within the hour.
const MAX_WAITING_OF_CLIENTS: usize = 4_096;

/// The most stops that are put into the reserve later, in one try.
const BELATED: usize = 64;

/// What the engine is made of.
pub struct StopsParts {
    /// The snapshot in force, which decisions read.
    pub live: Arc<Live>,
    /// The audit log, in which every stop is recorded in the end.
    pub log: Log,
    /// The database that the log is in.
    pub store: Store,
    /// The time, which never goes back.
    pub clock: Arc<HybridClock>,
}

/// Where the record of a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the audit log.
    Log,
    /// It is in the reserve: durable, and in the audit log as soon as that can be written.
    Reserve,
    /// Nowhere yet. The stop lasts as long as this process, which tries again to record it.
    NotYet,
}

/// A stop that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Its cuts, with the time from which they are in force.
    pub cuts: Vec<Cut>,
    /// Where its record is now.
    pub recorded: Recorded,
}

/// Why a stop was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Its record cannot be encoded.
    #[error("the record cannot be written: {0}")]
    Record(#[from] mandate_audit::record::LeafError),
    /// It cannot be encoded for the reserve.
    #[error("the stop cannot be written")]
    Form(#[source] serde_json::Error),
    /// Clients revoked more tokens than can wait to be recorded.
    #[error("the audit log cannot be written, and too many revocations of clients wait for it")]
    TooManyWait,
    /// The registry was changed since the stop was planned, or it removes entries that others can mention and
    /// a change is being written: plan it again.
    #[error(transparent)]
    Overtaken(#[from] Overtaken),
}

/// What the database has of the registry, read in one transaction.
pub struct StoredSnapshot {
    /// The version of the registry in the database.
    pub version: RegistryVersion,
    /// Its entries, and those that are built in.
    pub registry: Registry,
    /// The policies of that registry, compiled.
    pub policies: Policies,
    /// Every cut that was not forgotten.
    pub cuts: Vec<Cut>,
}

/// The state of stops and of the reserve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopsStanding {
    /// How many stops are in force and recorded nowhere.
    pub unrecorded: usize,
    /// How many stops are in the reserve and not in the audit log.
    pub reserved: usize,
    /// When the oldest of all these was made.
    pub oldest: Option<Timestamp>,
    /// How full the reserve is, and whether it can be used.
    pub reserve: ReserveState,
}

/// The content of a frame in the reserve, as JSON.
#[derive(Serialize, Deserialize)]
struct Content<S> {
    /// The verifier key of the audit log that it waits for.
    log: Arc<str>,
    by: By,
    stop: S,
}

/// The reserve of a directory, before the engine exists.
pub struct FoundReserve {
    dir: Dir,
    log: Arc<str>,
    reserve: Option<Reserve>,
    broken: Option<String>,
    stops: Vec<(Stop, By, Kept)>,
}

impl FoundReserve {
    /// The latest time of a stop that was found: the clock must not show an earlier time. `known` is the
    /// latest time of the audit log and of the machine's clock.
    pub fn newest(&self, known: Timestamp) -> Result<Timestamp, ReserveError> {
        let path = self.dir.entry(FILE);
        self.stops.iter().try_fold(Timestamp::from_millis(0), |newest, (stop, ..)| {
            is_not_ahead(stop, known, &path)?;
            Ok(newest.max(stop.record().time))
        })
    }
}

/// Refuses a stop with an impossible time: the clock would start there and never go back, and every later
/// record would have a time after it.
///
/// Everything that was issued has a record in the log, and cuts of earlier processes count from the start. So
/// a stop can be later than both the log and the clock only if the clock was set in between.
fn is_not_ahead(stop: &Stop, known: Timestamp, path: &Path) -> Result<(), ReserveError> {
    let of_cut = |cut: &Cut| cut.at.max(cut.forget.minus(CUT_MEMORY));
    let time = stop.cuts().iter().map(of_cut).fold(stop.record().time, Timestamp::max);
    if time <= known.plus(RESERVE_CLOCK_SKEW) {
        return Ok(());
    }
    Err(ReserveError::Ahead { path: path.to_owned(), record: stop.record().id.clone(), time, known })
}

/// The engine: everything that takes authority away goes through it.
pub struct Stops {
    live: Arc<Live>,
    log: Log,
    clock: Arc<HybridClock>,
    origin: Arc<str>,
    keeper: ReserveKeeper,
    waiting: Mutex<Queue>,
    /// Only one task at a time records stops that change entries, in the order in which they were made.
    recording: tokio::sync::Mutex<()>,
    banned: RwLock<HashSet<String>>,
    bans: watch::Sender<u64>,
}

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stops").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}

impl Stops {
    /// Reads the reserve of `dir`. `log` is the verifier key of the directory's audit log.
    ///
    /// If there is no reserve and none can be made, as on a full disk, the server starts anyway, and
    /// [`StopsStanding`] says so. If there is a reserve that cannot be read, it may hold stops, so this is an
    /// error.
    pub fn look(dir: Dir, log: &str) -> Result<FoundReserve, ReserveError> {
        let log: Arc<str> = log.into();
        let (reserve, frames) = match Reserve::open(&dir) {
            Ok((reserve, frames)) => (reserve.allocate(&dir).map(|()| reserve), frames),
            Err(error) if matches!(dir.open_file(FILE, Exposure::Private), Ok(None)) => {
                (Err(error), Vec::new())
            }
            Err(error) => return Err(error),
        };
        let path = dir.entry(FILE);
        let stops =
            frames.into_iter().map(|frame| understood(&frame, &log, &path)).collect::<Result<_, _>>()?;
        let broken = reserve.as_ref().err().map(|error| {
            tracing::error!(%error, "there is no reserve for stops; one that cannot be recorded lasts only as long as this process");
            error.to_string()
        });
        Ok(FoundReserve { dir, log, reserve: reserve.ok(), broken, stops })
    }

    /// The engine. Stops that an earlier process left in the reserve are in force again, except those that
    /// the database knows as recorded: these may have been lifted since.
    pub fn start(parts: StopsParts, found: FoundReserve) -> Result<Self, StopsStartError> {
        let StopsParts { live, log, store, clock } = parts;
        let ids: Vec<RecordId> = found.stops.iter().map(|(stop, ..)| stop.record().id.clone()).collect();
        let recorded: Vec<bool> = store.read_blocking("which stops are recorded", |tx| {
            ids.iter().map(|id| stops::is_recorded(tx, id)).collect()
        })?;
        let keeper =
            ReserveKeeper::start(found.dir, found.reserve, found.broken).map_err(StopsStartError::Thread)?;
        let engine = Self {
            live,
            log,
            clock,
            origin: found.log,
            keeper,
            waiting: Mutex::default(),
            recording: tokio::sync::Mutex::default(),
            banned: RwLock::default(),
            bans: watch::Sender::new(0),
        };
        for ((stop, by, kept), recorded) in found.stops.into_iter().zip(recorded) {
            engine.keeper.know(kept);
            if recorded {
                engine.keeper.free(kept);
                continue;
            }
            let stop = stop.in_this_form(&engine.live.snapshot().registry);
            if !stop.only_takes() {
                return Err(StopsStartError::Gives(stop.record().id.clone()));
            }
            tracing::warn!(record = %stop.record().id, detail = stop.record().detail, "a stop from before the start is in force again and not yet in the audit log");
            let stop = Arc::new(stop);
            // It is planned from no edition, and nothing is being written yet.
            let _ = engine.put_in_force(&stop);
            let waiting = Waiting {
                stop,
                by,
                kept: Some(kept),
                keeping: false,
                state: State::Failed,
                since: Instant::now(),
            };
            engine.waiting().push(waiting);
        }
        Ok(engine)
    }

    fn waiting(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent after each statement, also if a thread panics while it holds the lock.
        self.waiting.lock()
    }

    /// Takes authority away: in force on return. Its record is on its way, whether or not the caller waits
    /// for it.
    ///
    /// A stop that only halts entries can be planned at any time. One that does more is refused with
    /// [`StopError::Overtaken`] if the registry in force is not the one from which it was planned.
    pub fn begin(self: &Arc<Self>, stop: Stop, by: By) -> Result<Pending, StopError> {
        // A stop that can never be recorded must not be in force.
        stop.record().to_leaf()?;
        let content = self.content(&stop, by).map_err(StopError::Form)?;
        let stop = Arc::new(stop);
        let mut waiting = self.waiting();
        if by == By::Client && waiting.of_clients() >= MAX_WAITING_OF_CLIENTS {
            return Err(StopError::TooManyWait);
        }
        // In force and in the queue in one step: no change that gives authority comes between.
        let cuts = self.put_in_force(&stop)?;
        let place = waiting.push(Waiting {
            stop: Arc::clone(&stop),
            by,
            kept: None,
            keeping: true,
            state: State::OnItsWay,
            since: Instant::now(),
        });
        drop(waiting);
        let recording = tokio::spawn(Arc::clone(self).record(place, stop, content, by));
        Ok(Pending { engine: Arc::clone(self), place, cuts, recording })
    }

    /// As [`Stops::begin`], and waits a moment for the record.
    pub async fn take(self: &Arc<Self>, stop: Stop, by: By) -> Result<Taken, StopError> {
        Ok(self.begin(stop, by)?.recorded().await)
    }

    fn content(&self, stop: &Stop, by: By) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Content { log: Arc::clone(&self.origin), by, stop })
    }

    fn put_in_force(&self, stop: &Arc<Stop>) -> Result<Vec<Cut>, Overtaken> {
        if let Some(node) = stop.banned_node() {
            self.banned.write().insert(node.to_owned());
            self.bans.send_modify(|bans| *bans += 1);
        }
        if stop.narrows() {
            let narrowing = Arc::clone(stop);
            self.live.narrow(stop.planned(), stop.removed(), move |registry| narrowing.change(registry))?;
        } else if stop.changes_entries() {
            let halt = Arc::clone(stop);
            self.live.halt(move |registry| halt.change(registry));
        }
        Ok(self.live.cut(stop.cuts().to_vec(), self.clock.as_ref()))
    }

    /// Writes the record of a stop: into the reserve, then into the log.
    async fn record(self: Arc<Self>, place: QueuePlace, stop: Arc<Stop>, content: Vec<u8>, by: By) {
        let _ = timeout(RESERVE_PATIENCE, self.begin_keeping(place, Arc::clone(&stop), content, by)).await;
        let recorded = if stop.changes_entries() {
            self.record_changes().await
        } else {
            self.append(place, &stop).await
        };
        if let Err(error) = recorded {
            tracing::error!(%error, record = %stop.record().id, "a stop is in force and not in the audit log; it is tried again");
        }
    }

    /// Runs in a task of its own, because it may take longer than the caller waits, and must learn which
    /// blocks of the reserve are to be freed later.
    fn begin_keeping(
        self: &Arc<Self>,
        place: QueuePlace,
        stop: Arc<Stop>,
        content: Vec<u8>,
        by: By,
    ) -> JoinHandle<()> {
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.keep(place, &stop, content, by).await })
    }

    async fn keep(&self, place: QueuePlace, stop: &Stop, content: Vec<u8>, by: By) {
        let kept = self.keeper.keep(content, by).await.inspect_err(|error| {
            tracing::error!(%error, record = %stop.record().id, "a stop is in force and could not be put into the reserve");
        });
        let mut waiting = self.waiting();
        let unkept = waiting.get_mut(place).and_then(|waiting| {
            waiting.keeping = false;
            waiting.kept.is_none().then_some(&mut waiting.kept)
        });
        match (unkept, kept) {
            (Some(unkept), kept) => *unkept = kept.ok(),
            // The log has it already: its place in the reserve is not needed.
            (None, Ok(kept)) => self.keeper.free(kept),
            (None, Err(_)) => {}
        }
    }

    /// Appends one stop. A stop that the log has already counts as appended: an answer may have been lost.
    async fn append(&self, place: QueuePlace, stop: &Stop) -> Result<(), AppendError> {
        match self.append_in_order(stop).await {
            Ok(()) | Err(AppendError::EffectRefused(EffectRefusal::StopRecorded)) => {}
            Err(error) => {
                if let Some(waiting) = self.waiting().get_mut(place) {
                    waiting.state = State::Failed;
                }
                return Err(error);
            }
        }
        let recorded = self.waiting().remove(place);
        if let Some(kept) = recorded.and_then(|recorded| recorded.kept) {
            self.keeper.free(kept);
        }
        Ok(())
    }

    /// Appends one stop with its effects. It is written whatever came between. If nothing did, the version in
    /// force is known afterwards; otherwise [`Stops::catch_up`] finds it.
    async fn append_in_order(&self, stop: &Stop) -> Result<(), AppendError> {
        let append = |planned_from| self.log.append(stop.record().clone(), stop.effects(planned_from));
        if stop.narrows() {
            let from = self.live.snapshot().edition.version;
            match append(Some(from)).await {
                Err(AppendError::EffectRefused(EffectRefusal::RegistryChanged)) => {}
                appended => {
                    appended?;
                    self.live.narrowing_recorded(from);
                    return Ok(());
                }
            }
        }
        append(None).await.map(drop)
    }

    /// Puts in force what the database has, if that is newer than what is in force, and on top the stops that
    /// are not recorded. That is so when the answer to a change was lost. Returns whether it was newer.
    ///
    /// `load` reads the database; it is polled when no stop of entries is being recorded.
    pub async fn catch_up<E>(
        &self,
        load: impl Future<Output = Result<StoredSnapshot, E>>,
    ) -> Result<bool, E> {
        let _none_is_recorded = self.recording.lock().await;
        let StoredSnapshot { version, mut registry, policies, cuts } = load.await?;
        let waiting = self.waiting();
        waiting.iter().for_each(|(_, waiting)| waiting.stop.change(&mut registry));
        let newer = self.live.replace(version, registry, policies);
        drop(waiting);
        if newer {
            let (now, in_force) = (self.clock.now(), self.live.snapshot());
            let is_missing =
                |cut: &Cut| cut.forget > now && !in_force.revocations.has_cut_since(&cut.target, cut.at);
            self.live.cut(cuts.into_iter().filter(is_missing).collect(), self.clock.as_ref());
        }
        Ok(newer)
    }

    /// Records the stops that change entries, in the order in which they were made. An act that gives
    /// authority calls this first: it must not be written before an earlier stop, or it could restore an
    /// entry to its state before that stop.
    pub async fn record_changes(&self) -> Result<(), AppendError> {
        let changes = || -> Vec<(QueuePlace, Arc<Stop>)> {
            let waiting = self.waiting();
            let changes = waiting.iter().filter(|(_, waiting)| waiting.stop.changes_entries());
            changes.map(|(place, waiting)| (place, Arc::clone(&waiting.stop))).collect()
        };
        if changes().is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.recording.lock().await;
        for (place, stop) in changes() {
            // If one cannot be recorded, the later ones wait, so that the order is kept.
            self.append(place, &stop).await?;
        }
        Ok(())
    }

    /// Tries again to record waiting stops and to make a missing reserve. Call it every [`RETRY`].
    pub async fn retry(self: &Arc<Self>) {
        if self.keeper.state().broken.is_some() {
            self.keeper.make_again();
        }
        let (outside, failed) = {
            let mut waiting = self.waiting();
            let outside: Vec<_> = waiting.begin_keeping(BELATED).collect();
            let failed = waiting
                .iter()
                .filter(|(_, waiting)| waiting.state == State::Failed && !waiting.stop.changes_entries());
            (
                outside,
                failed.map(|(place, waiting)| (place, Arc::clone(&waiting.stop))).collect::<VecDeque<_>>(),
            )
        };
        let waited = !failed.is_empty() || !outside.is_empty();
        // A reserve that was full or broken may have room again. The reserve and the log do not wait for each
        // other.
        let contents = outside.into_iter().filter_map(|(place, stop, by)| {
            self.content(&stop, by).ok().map(|content| (place, stop, content, by))
        });
        let keeping: Vec<_> =
            contents.map(|(place, stop, content, by)| self.begin_keeping(place, stop, content, by)).collect();
        let changes = self.record_changes().await;
        let others = match &changes {
            // Each of the others would only wait, too.
            Err(error @ AppendError::Unavailable(_)) => Err(error.clone()),
            _ => self.append_all(failed).await,
        };
        if changes.is_ok() && others.is_ok() && waited {
            tracing::info!("every stop is in the audit log");
        }
        let _ = timeout(RESERVE_PATIENCE, async {
            for kept in keeping {
                let _ = kept.await;
            }
        })
        .await;
    }

    /// Appends stops whose order does not matter: together, after one has shown that the log can be written.
    /// One that is refused by itself keeps none of the others waiting.
    async fn append_all(
        self: &Arc<Self>,
        mut stops: VecDeque<(QueuePlace, Arc<Stop>)>,
    ) -> Result<(), AppendError> {
        let mut refused = Ok(());
        while let Some((place, first)) = stops.pop_front() {
            match self.append(place, &first).await {
                Ok(()) => break,
                Err(error @ AppendError::Unavailable(_)) => return Err(error),
                Err(error) => refused = Err(error),
            }
        }
        let mut appending = JoinSet::new();
        for (place, stop) in stops {
            let engine = Arc::clone(self);
            appending.spawn(async move { engine.append(place, &stop).await });
        }
        appending.join_all().await.into_iter().fold(refused, Result::and)
    }

    fn where_is(&self, place: QueuePlace) -> Recorded {
        match self.waiting().get(place) {
            None => Recorded::Log,
            Some(Waiting { kept: Some(_), .. }) => Recorded::Reserve,
            Some(Waiting { kept: None, .. }) => Recorded::NotYet,
        }
    }

    /// The present state. A stop that has just been started does not count.
    pub fn standing(&self) -> StopsStanding {
        let waiting = self.waiting();
        let late = waiting
            .iter()
            .map(|(_, waiting)| waiting)
            .filter(|w| w.state == State::Failed || w.since.elapsed() > ON_ITS_WAY);
        let late: Vec<&Waiting> = late.collect();
        let reserved = late.iter().filter(|waiting| waiting.kept.is_some()).count();
        StopsStanding {
            unrecorded: late.len() - reserved,
            reserved,
            oldest: late.iter().map(|waiting| waiting.stop.record().time).min(),
            reserve: self.keeper.state(),
        }
    }

    /// Whether a node was banned since the start, even if the database does not say so.
    pub fn has_banned(&self, node: &str) -> bool {
        self.banned.read().contains(node)
    }

    /// A number that changes with every ban.
    pub fn subscribe_bans(&self) -> watch::Receiver<u64> {
        self.bans.subscribe()
    }
}

/// A stop that is in force, and whose record is on its way.
#[must_use]
pub struct Pending {
    engine: Arc<Stops>,
    place: QueuePlace,
    cuts: Vec<Cut>,
    recording: JoinHandle<()>,
}

impl Pending {
    /// Waits a moment for the record, and says where it is.
    pub async fn recorded(self) -> Taken {
        let Self { engine, place, cuts, mut recording } = self;
        let begun = Instant::now();
        // The recording continues even if its caller has stopped waiting.
        let in_time = timeout(LOG_PATIENCE, &mut recording).await;
        if in_time.is_err() && engine.where_is(place) == Recorded::NotYet {
            let _ = timeout(LONGEST_PATIENCE.saturating_sub(begun.elapsed()), recording).await;
        }
        Taken { cuts, recorded: engine.where_is(place) }
    }
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StopsStartError {
    /// The database does not answer which stops are recorded.
    #[error("the list of recorded stops cannot be read")]
    Store(#[from] StoreError),
    /// No thread can be started.
    #[error("the thread of the reserve cannot be started")]
    Thread(#[source] std::io::Error),
    /// The reserve holds something that would give authority: the file was manipulated, or the database is an
    /// older one.
    #[error(
        "{FILE} does not fit the database: what it holds as {0} would give authority. Put back the database and the {FILE} of one moment; or move {FILE} away, start, and repeat the stops that must stay in force"
    )]
    Gives(
        /// The id of its record.
        RecordId,
    ),
}

/// How many stops the bytes of a reserve hold for the audit log with that verifier key. `known`: as for
/// [`FoundReserve::newest`].
pub fn held(bytes: &[u8], log: &str, known: Timestamp, path: &Path) -> Result<usize, ReserveError> {
    let frames = reserve::frames(bytes);
    frames.iter().try_for_each(|frame| {
        understood(frame, log, path).and_then(|(stop, ..)| is_not_ahead(&stop, known, path))
    })?;
    Ok(frames.len())
}

fn understood(frame: &Frame, log: &str, path: &Path) -> Result<(Stop, By, Kept), ReserveError> {
    let content: Content<Stop> = serde_json::from_slice(&frame.content)
        .map_err(|source| ReserveError::Unreadable { path: path.to_owned(), source })?;
    if *content.log != *log {
        return Err(ReserveError::Foreign { path: path.to_owned() });
    }
    Ok((content.stop, content.by, Kept::found(frame.slot, content.by)))
}
