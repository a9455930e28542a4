//! Stops on their way: in force, into the reserve, into the audit log.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use mandate_audit::{AppendError, Log};
use mandate_core::{Cut, HybridClock, Timestamp};
use mandate_delegation::Live;
use mandate_files::Dir;
use mandate_store::{Effect, Store, StoreError, records};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::keeper::{By, Keeper, Kept, ReserveState};
use crate::reserve::{FILE, Frame, Reserve, ReserveError};
use crate::stop::Stop;

/// How long somebody who takes authority away waits for the audit log. The stop is in force and in the reserve by then.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is tried to record what is not recorded.
pub const RETRY: Duration = Duration::from_secs(1);

/// The most stops of clients that wait to be recorded. A client's own token ends by itself within the hour.
const MAX_WAITING_OF_CLIENTS: usize = 4_096;

/// What the engine is made of.
pub struct Parts {
    /// What decisions read.
    pub live: Arc<Live>,
    /// Where every stop is recorded in the end.
    pub log: Log<Effect>,
    /// The database of the log.
    pub store: Store,
    /// The time, which never goes back.
    pub clock: Arc<HybridClock>,
}

/// Where the record of a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// In the audit log.
    Log,
    /// In the reserve: durable, and in the audit log as soon as that can be written.
    Reserve,
    /// Nowhere yet. The stop lasts as long as this process, and it is tried again to record it.
    NotYet,
}

/// A stop that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Its cuts, with the time from which they are in force.
    pub cuts: Vec<Cut>,
    /// Where its record is.
    pub recorded: Recorded,
}

/// Why nothing was stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Its record has no form in which it could be kept.
    #[error("the record cannot be written: {0}")]
    Record(#[from] mandate_audit::record::LeafError),
    /// It has no form in which the reserve could keep it.
    #[error("the stop cannot be written")]
    Form(#[source] serde_json::Error),
    /// Clients gave up more tokens than can wait to be recorded.
    #[error("the audit log cannot be written, and too many revocations of clients wait for it")]
    TooManyWait,
}

/// How it stands with stops and the reserve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many stops are in force and recorded nowhere.
    pub unrecorded: usize,
    /// How many stops are in the reserve and not in the audit log.
    pub reserved: usize,
    /// When the oldest of all these was made.
    pub oldest: Option<Timestamp>,
    /// How the reserve is.
    pub reserve: ReserveState,
}

/// A stop in the reserve, as bytes.
#[derive(Serialize, Deserialize)]
struct Content<S> {
    /// The verifier key of the audit log that it waits for.
    log: Arc<str>,
    stop: S,
}

/// A stop that is in force and not in the audit log.
struct Waiting {
    stop: Arc<Stop>,
    /// It was appended, and failed: it may be in the log all the same.
    tried: bool,
    kept: Option<Kept>,
    by: By,
}

/// The reserve of a directory, before the engine exists.
pub struct Found {
    dir: Dir,
    log: Arc<str>,
    reserve: Option<Reserve>,
    broken: Option<String>,
    stops: Vec<(Stop, Kept)>,
}

impl Found {
    /// The latest time of a stop that is found: what the clock must not go behind.
    pub fn newest(&self) -> Timestamp {
        self.stops.iter().map(|(stop, _)| stop.record().time).max().unwrap_or(Timestamp::from_millis(0))
    }
}

/// The engine: everything that takes authority away goes through it.
pub struct Stops {
    live: Arc<Live>,
    log: Log<Effect>,
    store: Store,
    clock: Arc<HybridClock>,
    origin: Arc<str>,
    keeper: Keeper,
    waiting: Mutex<VecDeque<Waiting>>,
    /// One at a time records what waits, in the order in which it came.
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
    /// Looks into the reserve of `dir`. `log` is the verifier key of the directory's audit log.
    ///
    /// A reserve that cannot be made or opened, as on a full disk, is no reason not to start: what is in it is not known to
    /// be there, and [`Standing`] says so. One that holds what cannot be understood is.
    pub fn look(dir: Dir, log: &str) -> Result<Found, ReserveError> {
        let log: Arc<str> = log.into();
        let (reserve, frames) = match Reserve::open(&dir) {
            Ok((reserve, frames)) => (reserve.allocate(&dir).map(|()| reserve), frames),
            // A file that others could have changed.
            Err(ReserveError::File(error)) if error.io().is_none() => return Err(error.into()),
            Err(error) => (Err(error), Vec::new()),
        };
        let path = dir.entry(FILE);
        let stops = frames.into_iter().map(|frame| understood(&frame, &log, &path)).collect::<Result<_, _>>()?;
        let broken = reserve.as_ref().err().map(|error| {
            tracing::error!(%error, "there is no reserve for stops; one that cannot be recorded lasts only as long as this process");
            error.to_string()
        });
        Ok(Found { dir, log, reserve: reserve.ok(), broken, stops })
    }

    /// The engine, with what an earlier process left in the reserve in force again. Asks the database what of it is recorded
    /// already.
    pub fn start(parts: Parts, found: Found) -> Result<Self, StartError> {
        let Parts { live, log, store, clock } = parts;
        let keeper = Keeper::start(found.dir, found.reserve, found.broken).map_err(StartError::Thread)?;
        let engine = Self {
            live,
            log,
            store,
            clock,
            origin: found.log,
            keeper,
            waiting: Mutex::default(),
            recording: tokio::sync::Mutex::default(),
            banned: RwLock::default(),
            bans: watch::Sender::new(0),
        };
        for (stop, kept) in found.stops {
            if is_recorded(&engine.store, &stop)? {
                engine.keeper.free(kept);
                continue;
            }
            tracing::warn!(record = %stop.record().id, detail = stop.record().detail, "a stop of before the start is in force again and not yet in the audit log");
            engine.put_in_force(&stop);
            engine.waiting().push_back(Waiting { stop: Arc::new(stop), tried: false, kept: Some(kept), by: By::Operator });
        }
        Ok(engine)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // A queue, whole after each statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes authority away: in force at once, then in the reserve, then in the audit log.
    ///
    /// Runs to its end even if the caller goes away.
    pub async fn take(self: &Arc<Self>, stop: Stop, by: By) -> Result<Taken, StopError> {
        // What could never be recorded must not be in force.
        stop.record().to_leaf()?;
        let content = serde_json::to_vec(&Content { log: Arc::clone(&self.origin), stop: &stop }).map_err(StopError::Form)?;
        if by == By::Client && self.waiting().iter().filter(|waiting| waiting.by == By::Client).count() >= MAX_WAITING_OF_CLIENTS {
            return Err(StopError::TooManyWait);
        }
        let cuts = self.put_in_force(&stop);
        let (engine, stop) = (Arc::clone(self), Arc::new(stop));
        let recorded = tokio::spawn(async move { engine.record(stop, content, by).await });
        // It ends without an answer only by a fault of the program; then nothing is known of the record.
        Ok(Taken { cuts, recorded: recorded.await.unwrap_or(Recorded::NotYet) })
    }

    fn put_in_force(&self, stop: &Stop) -> Vec<Cut> {
        if let Some(node) = stop.banned_node() {
            self.banned.write().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned());
            self.bans.send_modify(|bans| *bans += 1);
        }
        if stop.changes_entries() {
            self.live.update_registry(|registry| stop.change(registry));
        }
        self.live.cut(stop.cuts().to_vec(), self.clock.as_ref())
    }

    async fn record(self: Arc<Self>, stop: Arc<Stop>, content: Vec<u8>, by: By) -> Recorded {
        let kept = match self.keeper.keep(content, by).await {
            Ok(kept) => Some(kept),
            Err(error) => {
                tracing::error!(%error, record = %stop.record().id, "a stop is in force and could not be put into the reserve");
                None
            }
        };
        let otherwise = if kept.is_some() { Recorded::Reserve } else { Recorded::NotYet };
        let waiting = Waiting { stop: Arc::clone(&stop), tried: false, kept, by };
        let engine = Arc::clone(&self);
        let appended = tokio::spawn(async move {
            if waiting.stop.changes_entries() {
                // Behind what waits already: an older state of an entry must not be written over a newer one.
                engine.waiting().push_back(waiting);
                let _ = engine.record_waiting().await;
                return !engine.waiting().iter().any(|other| other.stop.record().id == stop.record().id);
            }
            engine.append(waiting).await
        });
        match tokio::time::timeout(LOG_PATIENCE, appended).await {
            Ok(Ok(true)) => Recorded::Log,
            _ => otherwise,
        }
    }

    /// Appends a stop that no other can overtake. One that could not be appended waits. Whether it is in the log.
    async fn append(&self, waiting: Waiting) -> bool {
        match self.log.append(waiting.stop.record().clone(), waiting.stop.effects()).await {
            Ok(_) => {
                self.done(&waiting);
                true
            }
            Err(error) => {
                say_unrecorded(&waiting.stop, &error);
                self.waiting().push_back(Waiting { tried: true, ..waiting });
                false
            }
        }
    }

    fn done(&self, waiting: &Waiting) {
        if let Some(kept) = waiting.kept {
            self.keeper.free(kept);
        }
    }

    /// Records what waits, in the order in which it came. What gives authority calls this first: it must not be written
    /// before a stop that it comes after.
    pub async fn record_waiting(&self) -> Result<(), AppendError> {
        if self.waiting().is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.recording.lock().await;
        let all: Vec<_> = self.waiting().iter().map(|waiting| (Arc::clone(&waiting.stop), waiting.tried)).collect();
        let mut failed = Ok(());
        for (stop, tried) in all {
            match self.record_again(&stop, tried).await {
                Ok(()) => self.forget(&stop),
                Err(error) => {
                    say_unrecorded(&stop, &error);
                    self.note_tried(&stop);
                    failed = Err(error);
                    // What comes after it would fail alike, or overtake it.
                    if matches!(failed, Err(AppendError::Unavailable(_))) {
                        break;
                    }
                }
            }
        }
        failed
    }

    async fn record_again(&self, stop: &Arc<Stop>, tried: bool) -> Result<(), AppendError> {
        let unreadable = |why: String| AppendError::Unavailable(format!("it cannot be read whether it is recorded: {why}"));
        // An append that failed may yet be on disk.
        if tried {
            let (store, stop) = (self.store.clone(), Arc::clone(stop));
            let looked = tokio::task::spawn_blocking(move || is_recorded(&store, &stop)).await;
            if looked.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))? {
                return Ok(());
            }
        }
        self.log.append(stop.record().clone(), stop.effects()).await.map(drop)
    }

    fn note_tried(&self, stop: &Stop) {
        let mut waiting = self.waiting();
        waiting.iter_mut().filter(|waiting| waiting.stop.record().id == stop.record().id).for_each(|waiting| waiting.tried = true);
    }

    /// Takes a stop that is recorded from those that wait.
    fn forget(&self, stop: &Stop) {
        let mut waiting = self.waiting();
        let at = waiting.iter().position(|waiting| waiting.stop.record().id == stop.record().id);
        let recorded = at.and_then(|at| waiting.remove(at));
        drop(waiting);
        if let Some(recorded) = recorded {
            self.done(&recorded);
        }
    }

    /// Tries again to record what waits and to make a reserve that is missing. To be called every [`RETRY`].
    pub async fn retry(&self) {
        if self.keeper.state().broken.is_some() {
            self.keeper.mend();
        }
        if !self.waiting().is_empty() && self.record_waiting().await.is_ok() {
            tracing::info!("every stop is in the audit log now");
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let waiting = self.waiting();
        let reserved = waiting.iter().filter(|waiting| waiting.kept.is_some()).count();
        Standing {
            unrecorded: waiting.len() - reserved,
            reserved,
            oldest: waiting.iter().map(|waiting| waiting.stop.record().time).min(),
            reserve: self.keeper.state(),
        }
    }

    /// Whether a node was banned since the start, whatever the database says.
    pub fn has_banned(&self, node: &str) -> bool {
        self.banned.read().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    /// Changes with every ban.
    pub fn subscribe_bans(&self) -> watch::Receiver<u64> {
        self.bans.subscribe()
    }
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot say what is recorded.
    #[error("it cannot be read which stops are recorded")]
    Store(#[from] StoreError),
    /// No thread can be started.
    #[error("the thread of the reserve cannot be started")]
    Thread(#[source] std::io::Error),
}

fn say_unrecorded(stop: &Stop, error: &AppendError) {
    tracing::error!(%error, record = %stop.record().id, "a stop is in force and not in the audit log; it is tried again");
}

fn is_recorded(store: &Store, stop: &Stop) -> Result<bool, StoreError> {
    store.search("is a stop recorded", |tx| records::get(tx, &stop.record().id)).map(|found| found.is_some())
}

fn understood(frame: &Frame, log: &str, path: &std::path::Path) -> Result<(Stop, Kept), ReserveError> {
    let owned = || -> PathBuf { path.to_owned() };
    let content: Content<Stop> =
        serde_json::from_slice(&frame.content).map_err(|source| ReserveError::Unreadable { path: owned(), source })?;
    if *content.log != *log {
        return Err(ReserveError::Foreign { path: owned() });
    }
    Ok((content.stop, Kept::found(frame.slot)))
}
