//! How often strangers did something in a time: of each site, and in all.

use std::collections::HashMap;
use std::time::Duration;

use mandate_core::{RequestSource, Timestamp};
use parking_lot::Mutex;

/// How often it may be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteLimits {
    /// In which time it is counted.
    pub(crate) window: Duration,
    /// The most of one site in that time.
    pub(crate) of_a_site: u32,
    /// The most in that time.
    pub(crate) of_all: u32,
}

/// What was counted since `since`. There are never more sites than counts.
#[derive(Default)]
struct Counts {
    since: Option<Timestamp>,
    all: u32,
    sites: HashMap<RequestSource, u32>,
}

/// What was counted, to be given back if it turns out not to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Counted {
    since: Timestamp,
    source: RequestSource,
}

/// Counts within limits.
pub(crate) struct SiteCounts {
    limits: SiteLimits,
    counts: Mutex<Counts>,
}

impl SiteCounts {
    pub(crate) fn new(limits: SiteLimits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// Counts one more from `source`, if there may be one.
    pub(crate) fn one_more(&self, source: RequestSource, now: Timestamp) -> bool {
        self.take(source, now).is_ok()
    }

    /// Counts one more from `source`, if there may be one; if not, after which time.
    pub(crate) fn take(&self, source: RequestSource, now: Timestamp) -> Result<Counted, Duration> {
        let SiteLimits { window, of_a_site, of_all } = self.limits;
        let mut counts = self.counts.lock();
        let begun = counts.since.filter(|since| *since <= now && now.since(*since) < window);
        let since = begun.unwrap_or(now);
        if begun.is_none() {
            *counts = Counts { since: Some(now), ..Counts::default() };
        }
        let of_site = counts.sites.get(&source.site()).copied().unwrap_or_default();
        if counts.all >= of_all || of_site >= of_a_site {
            return Err(since.plus(window).since(now));
        }
        counts.all += 1;
        counts.sites.insert(source.site(), of_site + 1);
        Ok(Counted { since, source })
    }

    /// It was nothing that counts after all.
    pub(crate) fn give_back(&self, counted: Counted) {
        let mut counts = self.counts.lock();
        // In a later window it does not count any longer.
        if counts.since != Some(counted.since) {
            return;
        }
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_site) = counts.sites.get_mut(&counted.source.site()) {
            *of_site = of_site.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use mandate_core::{RequestSource, Timestamp};

    use super::{SiteCounts, SiteLimits};

    fn site(number: u8) -> RequestSource {
        RequestSource::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    #[test]
    fn a_site_and_all_sites_together_have_a_number_in_a_time() {
        let window = Duration::from_hours(1);
        let counts = SiteCounts::new(SiteLimits { window, of_a_site: 10, of_all: 100 });
        let now = Timestamp::from_secs(10_000);
        for _ in 0..10 {
            counts.give_back(counts.take(site(1), now).unwrap());
            assert!(counts.one_more(site(1), now));
        }
        assert!(!counts.one_more(site(1), now), "one site");
        let later = now.plus(Duration::from_mins(20));
        assert_eq!(counts.take(site(1), later), Err(Duration::from_mins(40)));
        let others = (2..=250).filter(|number| counts.one_more(site(*number), now)).count();
        assert_eq!(others, 90, "all sites");
        assert!(counts.one_more(site(1), now.plus(window)), "the next hour");
        assert!(counts.one_more(site(1), now.minus(window)), "the clock was set back");
    }

    #[test]
    fn what_is_given_back_late_takes_nothing_from_the_next_window() {
        let window = Duration::from_hours(1);
        let counts = SiteCounts::new(SiteLimits { window, of_a_site: 1, of_all: 100 });
        let now = Timestamp::from_secs(10_000);
        let late = counts.take(site(1), now).unwrap();
        let next = now.plus(window);
        assert!(counts.one_more(site(1), next));
        counts.give_back(late);
        assert!(!counts.one_more(site(1), next));
    }
}
