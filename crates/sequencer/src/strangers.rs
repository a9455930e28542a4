//! How much of the log strangers may fill: a quota of bytes by time and source, and sums for what is beyond
//! it.
//!
//! A stranger is a requester that has not proven who they are. A refused request costs a stranger nothing. So
//! if each refusal had its own record, anybody could fill the disk. Within the quota each refusal has its own
//! record. Beyond it, refusals are counted by source, kind and reason, and the counts are recorded later, a
//! bounded number in a bounded time.

use std::collections::HashMap;
use std::time::Duration;

use mandate_audit::{RecordKind, Sum};
use mandate_core::{RequestSource, Timestamp};
use parking_lot::{Mutex, MutexGuard};

/// How many bytes one source may write at once; the same number is added each hour.
pub const SOURCE_BYTES: u64 = 64 * 1024;

/// How many bytes all sources together may write each hour; after a quiet hour, they may write the same
/// number again at once.
pub const ALL_BYTES: u64 = 768 * 1024;

/// The most bytes that a single refusal of a stranger counts for: a longer one is summed.
pub const MAX_STRANGER_LEAF: usize = 4 * 1024;

/// How many bytes a record needs besides its leaf: for its tree hashes and its row.
const OVERHEAD: u64 = 128;

/// How often sums are recorded.
pub const SUM_INTERVAL: Duration = Duration::from_mins(5);

/// How many sums are recorded each time. The others wait for the next time, and are counted further.
pub const MAX_SUMS: usize = 64;

/// The most bytes that strangers can add to the log in a day, in records and sums with their tree hashes: the
/// quota of a day and of the quiet hour before it, and as many of the longest sums as can be recorded in a
/// day.
pub const MAX_BYTES_A_DAY: u64 = 25 * ALL_BYTES + 289 * MAX_SUMS as u64 * (MAX_SUM_LEAF + OVERHEAD);

/// The longest leaf of a sum, in bytes: we choose everything in it, and it is short.
const MAX_SUM_LEAF: u64 = 512;

/// This many sources are distinguished; all further ones share one quota.
const MAX_SOURCES: usize = 4096;

/// This many counts are kept separately; all further refusals are counted without their source.
const MAX_COUNTS: usize = 512;

const HOUR: u64 = 60 * 60 * 1000;

/// A quota that fills up again with time. Counts in byte-milliseconds an hour, so that nothing is lost by
/// rounding.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    spent: u64,
    at: Timestamp,
}

impl Bucket {
    fn full(now: Timestamp) -> Self {
        Self { spent: 0, at: now }
    }

    /// How much is spent at `now` of a bucket of `size` bytes, which takes an hour to fill.
    fn refill(&mut self, size: u64, now: Timestamp) {
        let since = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        self.spent = self.spent.saturating_sub(since.saturating_mul(size));
        self.at = self.at.max(now);
    }

    fn has(&self, size: u64, bytes: u64) -> bool {
        self.spent.saturating_add(bytes.saturating_mul(HOUR)) <= size.saturating_mul(HOUR)
    }

    fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes.saturating_mul(HOUR));
    }
}

/// Refusals that are counted together have the same source, kind and reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counted {
    source: RequestSource,
    kind: RecordKind,
    reason: String,
}

/// Refusals that were counted instead of recorded, ready to become one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// The source of the requests.
    pub source: RequestSource,
    /// The kind of decision.
    pub kind: RecordKind,
    /// Why: the code of the refusal.
    pub reason: String,
    /// How many, and from when to when.
    pub sum: Sum,
}

#[derive(Debug, Default)]
struct State {
    all: Option<Bucket>,
    others: Option<Bucket>,
    sources: HashMap<RequestSource, Bucket>,
    /// When quotas that are full again were last removed.
    looked: Option<Timestamp>,
    counts: HashMap<Counted, Sum>,
    /// Since the start: how many refusals were counted instead of recorded.
    summed: u64,
}

/// The quota of all strangers of one server. It is in memory: a restart begins with full quotas again.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<State>);

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts, each whole after each statement.
        self.0.lock()
    }

    /// Whether a refusal of `leaf` bytes may have its own record. If so, its bytes are spent.
    pub(crate) fn admit(&self, source: RequestSource, leaf: usize, now: Timestamp) -> bool {
        if leaf > MAX_STRANGER_LEAF {
            return false;
        }
        let bytes = leaf as u64 + OVERHEAD;
        let mut state = self.lock();
        let State { all, others, sources, looked, .. } = &mut *state;
        let all = all.get_or_insert_with(|| Bucket::full(now));
        all.refill(ALL_BYTES, now);
        if !all.has(ALL_BYTES, bytes) {
            return false;
        }
        if sources.len() >= MAX_SOURCES
            && !sources.contains_key(&source)
            && looked.is_none_or(|at| now.since(at) > SUM_INTERVAL)
        {
            *looked = Some(now);
            // A source with a full quota is treated like one that was never seen, so it can be forgotten.
            sources.retain(|_, bucket| {
                bucket.refill(SOURCE_BYTES, now);
                bucket.spent > 0
            });
        }
        let own = if sources.len() < MAX_SOURCES || sources.contains_key(&source) {
            sources.entry(source).or_insert_with(|| Bucket::full(now))
        } else {
            others.get_or_insert_with(|| Bucket::full(now))
        };
        own.refill(SOURCE_BYTES, now);
        if !own.has(SOURCE_BYTES, bytes) {
            return false;
        }
        own.spend(bytes);
        all.spend(bytes);
        true
    }

    /// Counts a refusal that has no record of its own.
    pub(crate) fn count(&self, source: RequestSource, kind: RecordKind, reason: &str, now: Timestamp) {
        let once = Sum { count: 1, first: now, last: now };
        let mut state = self.lock();
        state.summed = state.summed.saturating_add(1);
        state.add(Counted { source, kind, reason: reason.to_owned() }, once);
    }

    /// Takes the largest counts, at most [`MAX_SUMS`].
    pub(crate) fn take(&self) -> Vec<Refusals> {
        let mut state = self.lock();
        let mut all: Vec<(Counted, Sum)> = state.counts.drain().collect();
        all.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.count));
        let rest = all.split_off(all.len().min(MAX_SUMS));
        state.counts.extend(rest);
        all.into_iter()
            .map(|(Counted { source, kind, reason }, sum)| Refusals { source, kind, reason, sum })
            .collect()
    }

    /// Adds counts that could not be recorded to those that wait.
    pub(crate) fn put_back(&self, refusals: Refusals) {
        let Refusals { source, kind, reason, sum } = refusals;
        self.lock().add(Counted { source, kind, reason }, sum);
    }

    /// How many refusals were counted instead of recorded, since the start.
    pub fn summed(&self) -> u64 {
        self.lock().summed
    }
}

impl State {
    fn add(&mut self, mut counted: Counted, sum: Sum) {
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&counted) {
            counted.source = RequestSource::Other;
        }
        self.counts.entry(counted).and_modify(|before| before.join(sum)).or_insert(sum);
    }
}

#[cfg(test)]
mod tests;
