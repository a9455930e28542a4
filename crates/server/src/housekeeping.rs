//! Regular work: replacing keys, removing expired data, recording sums, watching the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mandate_authority::Authority;
use mandate_core::{Clock as _, ClockStep, Entropy, HybridClock};
use mandate_live::Live;
use mandate_sequencer::strangers;
use mandate_stops::{Stops, StopsStanding};
use mandate_store::{Log, Store, StoreError, sweep_blocking};
use tokio::task::JoinHandle;

use crate::listener::{Shutdown, stopped};
use crate::sweep::Steady;

/// How often keys are checked and expired data is removed.
const SWEEP: Duration = Duration::from_mins(1);

/// How often the machine's clock is checked, and whether the database is still ours.
const WATCH: Duration = Duration::from_secs(1);

/// How long the last sums may take to be recorded when the server ends.
const LAST_SUMS: Duration = Duration::from_secs(2);

/// The parts that this work needs.
pub(crate) struct Housekeeping {
    store: Store,
    authority: Arc<Authority>,
    live: Arc<Live>,
    log: Log,
    stops: Arc<Stops>,
    clock: Arc<HybridClock>,
    entropy: Arc<dyn Entropy>,
}

impl Housekeeping {
    /// Uses the same parts as the identity engine.
    pub(crate) fn of(parts: &mandate_identity::IdentityParts) -> Self {
        Self {
            store: parts.store.clone(),
            authority: Arc::clone(&parts.authority),
            live: Arc::clone(&parts.live),
            log: parts.log.clone(),
            stops: Arc::clone(&parts.stops),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
        }
    }

    /// Does the regular work until shutdown; or until another server uses the database, and then ends at
    /// once: what that one has revoked is still answered as active here.
    pub(crate) async fn run(self, mut stop: Shutdown) {
        let mut steady = Steady::from(self.clock.now(), Instant::now());
        let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP, SWEEP);
        let mut sums = tokio::time::interval_at(
            tokio::time::Instant::now() + strangers::SUM_INTERVAL,
            strangers::SUM_INTERVAL,
        );
        let mut watch = tokio::time::interval(WATCH);
        let mut retry = tokio::time::interval(mandate_stops::RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut superseded = std::pin::pin!(self.superseded());
        let (mut steps, mut sweeping) = (0, None::<JoinHandle<()>>);
        loop {
            tokio::select! {
                // What comes after a time of many requests may take a while. Stops do not wait for it.
                _ = sweep.tick() => if sweeping.as_ref().is_none_or(JoinHandle::is_finished) {
                    sweeping = Some(self.sweep(&mut steady, stop.clone()));
                },
                _ = sums.tick() => self.record_sums().await,
                _ = retry.tick() => self.stops.retry().await,
                _ = watch.tick() => steps = self.watch_clock(steps),
                () = &mut superseded => {
                    tracing::error!("another server has used this database meanwhile: this one ends, and must be started again");
                    self.report_waiting_stops();
                    return;
                }
                () = stopped(&mut stop) => break,
            }
        }
        let _ = tokio::time::timeout(LAST_SUMS, self.stops.retry()).await;
        self.report_waiting_stops();
        if tokio::time::timeout(LAST_SUMS, self.record_sums()).await.is_err() {
            tracing::warn!("the last sums of strangers' refusals could not be recorded in time");
        }
    }

    /// Ends when another server has used the database.
    async fn superseded(&self) {
        let mut watch = tokio::time::interval(WATCH);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            watch.tick().await;
            if matches!(self.store.still_ours().await, Err(StoreError::Superseded)) {
                return;
            }
        }
    }

    /// Logs the stops that wait, and end with this process or are in the reserve.
    fn report_waiting_stops(&self) {
        let StopsStanding { unrecorded, reserved, .. } = self.stops.standing();
        if unrecorded > 0 {
            tracing::error!(
                unrecorded,
                "revocations or suspensions that could not be recorded end with this process: repeat them after the start"
            );
        }
        if reserved > 0 {
            tracing::warn!(
                reserved,
                "revocations or suspensions wait in the reserve; the next start puts them in force before it serves"
            );
        }
    }

    async fn record_sums(&self) {
        if let Err(error) = self.log.record_sums(self.clock.now(), self.entropy.as_ref()).await {
            tracing::warn!(%error, "sums of strangers' refusals could not be recorded; it is tried again");
        }
    }

    /// Logs once that the clock was set. Returns how many times it was set.
    fn watch_clock(&self, seen: u64) -> u64 {
        let (last, steps) = self.clock.steps();
        if steps > seen
            && let Some(ClockStep { millis, .. }) = last
        {
            let (seconds, behind) = (millis.unsigned_abs() / 1000, self.clock.behind().as_secs());
            if millis < 0 {
                tracing::warn!(
                    seconds,
                    behind,
                    "the machine's clock was set back; records, tokens and revocations keep their order"
                );
            } else {
                tracing::warn!(seconds, "the machine's clock was set forward, or the machine slept");
            }
        }
        steps
    }

    /// Replaces keys that are due, and removes data that can no longer match anything.
    fn sweep(&self, steady: &mut Steady, stop: Shutdown) -> JoinHandle<()> {
        let (store, authority, now) = (self.store.clone(), Arc::clone(&self.authority), self.clock.now());
        if steady.leapt(now, Instant::now()) {
            tracing::warn!(
                "the clock jumped ahead; what has expired by it is kept until the clock has been right for long enough"
            );
        }
        let sweep = steady.is_steady();
        if sweep {
            self.live.forget(now);
        }
        tokio::task::spawn_blocking(move || {
            if let Err(error) = authority.maintain(now) {
                tracing::error!(%error, "signing keys could not be checked and replaced");
            }
            let ends = || *stop.borrow() || stop.has_changed().is_err();
            if sweep && let Err(error) = sweep_blocking(&store, now, &ends) {
                tracing::warn!(%error, "sweeping expired entries failed; it is tried again");
            }
        })
    }
}
