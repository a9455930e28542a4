//! The clients that registered themselves: finding them, and how many there may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::{ClientId, RequestSource, SelfDescribed, Timestamp};
use mandate_store::{Effect, Store, self_registered};
use parking_lot::Mutex;

use crate::refusal::RequestRefusal;

/// The most clients that registered themselves. More than [`MOST_OF_ALL`] an hour make in [`UNUSED`], so that
/// registrations alone do not fill it.
const MAX_CLIENTS: u64 = 10_000;
/// How long a client is kept by which nobody logs in.
const UNUSED: Duration = Duration::from_hours(24);
/// How long a client is kept after a login.
const USED: Duration = Duration::from_hours(90 * 24);
/// In which time registrations are counted.
const WINDOW: Duration = Duration::from_hours(1);
/// The most registrations from one site in [`WINDOW`].
const MOST_OF_A_SITE: u32 = 10;
/// The most registrations in [`WINDOW`].
const MOST_OF_ALL: u32 = 100;

/// The effect of a login by `client`: it is kept for longer.
pub(crate) fn used(client: &ClientId, now: Timestamp) -> Effect {
    Effect::UseClient { client: client.clone(), forget: now.plus(USED) }
}

/// The effect of a registration: the client is kept for a while.
pub(crate) fn keep(client: SelfDescribed, now: Timestamp) -> Effect {
    Effect::KeepClient { client: Box::new(client), forget: now.plus(UNUSED), most: MAX_CLIENTS }
}

/// How many registrations there were since `since`. There are never more sites than registrations.
#[derive(Default)]
struct Counts {
    since: Option<Timestamp>,
    all: u32,
    sites: HashMap<RequestSource, u32>,
}

impl Counts {
    /// Counts a registration, if there may be one more.
    fn one_more(&mut self, source: RequestSource, now: Timestamp) -> bool {
        if self.since.is_none_or(|since| since > now || now.since(since) >= WINDOW) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let of_site = self.sites.get(&source.site()).copied().unwrap_or_default();
        if self.all >= MOST_OF_ALL || of_site >= MOST_OF_A_SITE {
            return false;
        }
        self.all += 1;
        self.sites.insert(source.site(), of_site + 1);
        true
    }
}

/// The clients that registered themselves.
pub(crate) struct Registrations {
    store: Store,
    /// Whether clients may register themselves, and those that did may be used.
    on: bool,
    counts: Mutex<Counts>,
}

impl Registrations {
    pub(crate) fn new(store: Store, on: bool) -> Self {
        Self { store, on, counts: Mutex::default() }
    }

    /// Counts a registration from `source`, if there may be one more.
    pub(crate) fn one_more(&self, source: RequestSource, now: Timestamp) -> bool {
        self.counts.lock().one_more(source, now)
    }

    pub(crate) fn are_on(&self) -> bool {
        self.on
    }

    /// The client with that id, if it registered itself.
    pub(crate) async fn find(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Arc<SelfDescribed>>, RequestRefusal> {
        if !self.on || !id.is_self_registered() {
            return Ok(None);
        }
        let id = id.clone();
        let found = self.store.read("a client", move |tx| self_registered::get(tx, &id, now)).await;
        found.map(|client| client.map(Arc::new)).map_err(|error| RequestRefusal::Internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mandate_core::{RequestSource, Timestamp};

    use super::{Counts, MOST_OF_A_SITE, MOST_OF_ALL, WINDOW};

    fn site(number: u8) -> RequestSource {
        RequestSource::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    #[test]
    fn a_site_and_all_sites_together_have_a_number_of_registrations_in_an_hour() {
        let (mut counts, now) = (Counts::default(), Timestamp::from_secs(10_000));
        for _ in 0..MOST_OF_A_SITE {
            assert!(counts.one_more(site(1), now));
        }
        assert!(!counts.one_more(site(1), now), "one site");
        let others = (2..=250).filter(|number| counts.one_more(site(*number), now)).count();
        assert_eq!(u32::try_from(others).unwrap(), MOST_OF_ALL - MOST_OF_A_SITE, "all sites");
        assert!(counts.one_more(site(1), now.plus(WINDOW)), "the next hour");
    }
}
