//! Issued JWT-SVIDs that are still valid, by identity and audiences. Bounded, in memory only.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{SpiffeId, Timestamp};

use crate::caller::AttestedProcess;

/// How many SVIDs are held in all.
const CAPACITY: usize = 1024;

/// How many SVIDs are kept for one identity, so that a process that always asks for new audiences does not
/// push out the SVIDs of others.
const PER_IDENTITY: usize = 128;

/// What is asked for: an identity, for a set of audiences.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WantedSvid {
    pub(crate) spiffe_id: SpiffeId,
    audiences: Arc<[String]>,
}

impl WantedSvid {
    /// The order of audiences, and how often each is named, make no difference.
    pub(crate) fn new(spiffe_id: SpiffeId, audiences: &[String]) -> Self {
        let mut audiences = audiences.to_vec();
        audiences.sort_unstable();
        audiences.dedup();
        Self { spiffe_id, audiences: audiences.into() }
    }

    /// Its audiences, sorted, each once.
    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }
}

#[derive(PartialEq, Eq)]
pub(crate) struct Svid {
    /// The identity that it proves.
    pub(crate) spiffe_id: SpiffeId,
    token: String,
    key_id: Option<String>,
    obtained: Timestamp,
    expires: Timestamp,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Svid {
    /// A token as the server issued it at `obtained`.
    pub(crate) fn new(spiffe_id: SpiffeId, token: String, obtained: Timestamp, expires: Timestamp) -> Self {
        let key_id = key_id(&token);
        Self { spiffe_id, token, key_id, obtained, expires }
    }

    pub(crate) fn expose_token(&self) -> &str {
        &self.token
    }

    /// Whether it can still be used (RFC 7519 §4.1.4: `exp` is the first moment at which it cannot).
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// When to get another one: at half of its lifetime.
    fn renewal(&self) -> Timestamp {
        self.obtained.plus(self.expires.since(self.obtained) / 2)
    }

    /// Whether it is in the first half of its lifetime.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.is_good(now) && now < self.renewal()
    }
}

/// The `kid` in a token's header. It only decides which SVIDs are dropped when a key leaves the bundle.
fn key_id(token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(token.split_once('.')?.0).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    header.get("kid")?.as_str().map(str::to_owned)
}

struct Slot {
    svid: Arc<Svid>,
    last_used: u64,
    used_since_issued: bool,
    holder: AttestedProcess,
}

#[derive(Default)]
pub(crate) struct SvidCache {
    slots: HashMap<WantedSvid, Slot>,
    uses: u64,
}

impl SvidCache {
    /// The SVID for `wanted`, fresh or not. `holder` is the process that will get it; this process is checked
    /// again before the SVID is renewed.
    pub(crate) fn get(
        &mut self,
        wanted: &WantedSvid,
        holder: &AttestedProcess,
        now: Timestamp,
    ) -> Option<Arc<Svid>> {
        let slot = self.slots.get_mut(wanted).filter(|slot| slot.svid.is_good(now))?;
        self.uses += 1;
        slot.last_used = self.uses;
        slot.used_since_issued = true;
        slot.holder = holder.clone();
        Some(Arc::clone(&slot.svid))
    }

    /// Keeps a new SVID.
    pub(crate) fn put(
        &mut self,
        wanted: WantedSvid,
        svid: Arc<Svid>,
        holder: AttestedProcess,
        now: Timestamp,
    ) {
        if !self.slots.contains_key(&wanted) {
            self.slots.retain(|_, slot| slot.svid.is_good(now));
            let of_identity = self.slots.keys().filter(|other| other.spiffe_id == wanted.spiffe_id).count();
            if of_identity >= PER_IDENTITY {
                self.forget_oldest(|other| other.spiffe_id == wanted.spiffe_id);
            } else if self.slots.len() >= CAPACITY {
                self.forget_oldest(|_| true);
            }
        }
        self.uses += 1;
        self.slots.insert(wanted, Slot { svid, last_used: self.uses, used_since_issued: false, holder });
    }

    fn forget_oldest(&mut self, among: impl Fn(&WantedSvid) -> bool) {
        let oldest = self
            .slots
            .iter()
            .filter(|(wanted, _)| among(wanted))
            .min_by_key(|(_, slot)| slot.last_used)
            .map(|(wanted, _)| wanted.clone());
        if let Some(oldest) = oldest {
            self.slots.remove(&oldest);
        }
    }

    /// Drops everything that is no longer covered: identities to which no process is entitled, and tokens
    /// whose key is no longer in the bundle.
    pub(crate) fn retain(&mut self, is_named: impl Fn(&SpiffeId) -> bool, is_trusted: impl Fn(&str) -> bool) {
        self.slots.retain(|wanted, slot| {
            is_named(&wanted.spiffe_id) && slot.svid.key_id.as_deref().is_none_or(&is_trusted)
        });
    }

    pub(crate) fn clear(&mut self) {
        self.slots.clear();
    }

    /// The SVIDs that should be renewed now: they are past half of their lifetime and were used since they
    /// were issued. Unused SVIDs simply expire.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<(WantedSvid, AttestedProcess)> {
        let due = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.used_since_issued && slot.svid.is_good(now) && !slot.svid.is_fresh(now));
        due.map(|(wanted, slot)| (wanted.clone(), slot.holder.clone())).collect()
    }

    /// How long until a renewal is due, if an SVID is in use.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Duration> {
        self.slots
            .values()
            .filter(|slot| slot.used_since_issued && slot.svid.is_good(now))
            .map(|slot| slot.svid.renewal().since(now))
            .min()
    }

    /// Marks `wanted` as done for now: it is due again only after it has been used again.
    pub(crate) fn settle(&mut self, wanted: &WantedSvid) {
        if let Some(slot) = self.slots.get_mut(wanted) {
            slot.used_since_issued = false;
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests;
