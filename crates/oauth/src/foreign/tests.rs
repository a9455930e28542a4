//! What of a trust domain's bundle is kept, and for how long.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::registry::BundleSource;
use mandate_token::KeySet;

use super::cache::{Cache, Found, Outcome, Wanted};
use super::fetched::Fetched;
use super::{FAILURE_TTL, FetchError, KeySource, REFETCH_PAUSE, Unavailable, Whose};

/// How long the bundles of these tests say that they are used.
const SAID: Duration = Duration::from_mins(2);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn bundle_of(source: BundleSource) -> KeySource {
    KeySource { whose: Whose::Domain("example.org".parse().unwrap(), source), ca: None, proxy: None }
}

fn endpoint() -> KeySource {
    bundle_of(BundleSource::HttpsWeb { url: "https://example.org/bundle".parse().unwrap() })
}

fn file() -> KeySource {
    bundle_of(BundleSource::File { path: "/b".into() })
}

fn sequence(sequence: Option<u64>) -> Fetched<KeySet> {
    let keys = KeySet::from_json(b"{\"keys\":[]}").unwrap();
    Fetched { value: Arc::new(keys), ttl: SAID, sequence }
}

/// A trust domain, and what is kept of it.
struct Domain {
    source: KeySource,
    cache: Cache<KeySet>,
}

impl Domain {
    fn new(source: KeySource) -> Self {
        Self { source, cache: Cache::default() }
    }

    /// A token needs the bundle; if it is fetched, then with this outcome.
    async fn needed(&self, outcome: Outcome<KeySet>, now: Timestamp) -> Result<Found<KeySet>, Unavailable> {
        self.cache.obtain(&self.source, Wanted::Cached, now, || Ok(ready(outcome))).await
    }

    /// What is answered without a fetch.
    async fn kept(&self, wanted: Wanted, now: Timestamp) -> Option<Arc<KeySet>> {
        let none = || Err::<Ready<Outcome<KeySet>>, _>(FetchError::Aborted);
        self.cache.obtain(&self.source, wanted, now, none).await.ok().map(|found| found.value)
    }
}

#[tokio::test]
async fn a_bundle_is_used_for_as_long_as_it_says() {
    let domain = Domain::new(endpoint());
    domain.needed(Ok(sequence(None)), at(1_000)).await.unwrap();
    let is_used = async |wanted, secs| domain.kept(wanted, at(secs)).await.is_some();
    assert!(is_used(Wanted::Cached, 1_119).await && !is_used(Wanted::Cached, 1_120).await);
    assert!(is_used(Wanted::Fresh, 1_029).await && !is_used(Wanted::Fresh, 1_030).await);
    assert_eq!(REFETCH_PAUSE, Duration::from_secs(30));
}

#[tokio::test]
async fn a_bundle_that_is_older_than_the_last_one_is_refused() {
    let domain = Domain::new(endpoint());
    let mut now = at(1_000);
    let mut next = async |number| {
        // Each is fetched: the last one is not used any more, and a failure is forgotten.
        now = now.plus(SAID.max(FAILURE_TTL));
        let bundle = sequence(number);
        let taken = domain.needed(Ok(bundle.clone()), now).await.map_err(|found| found.error)?;
        assert!(Arc::ptr_eq(&taken.value, &bundle.value), "no other one is answered");
        Ok(())
    };
    assert_eq!(next(None).await, Ok(()));
    assert_eq!(next(Some(7)).await, Ok(()));
    assert_eq!(next(Some(7)).await, Ok(()), "it did not change");
    assert_eq!(next(Some(6)).await, Err(FetchError::Sequence { before: 7, now: Some(6) }));
    assert_eq!(next(None).await, Err(FetchError::Sequence { before: 7, now: None }));
    assert_eq!(next(Some(8)).await, Ok(()));
}

#[tokio::test]
async fn what_was_in_a_file_last_counts_until_the_file_is_put_right_and_an_endpoint_gets_no_such_time() {
    for (source, keeps) in [(file(), true), (endpoint(), false)] {
        let domain = Domain::new(source);
        let missing = domain.needed(Err(FetchError::Aborted), at(900)).await;
        assert!(missing.is_err(), "there is no last one");
        let last = sequence(Some(3));
        domain.needed(Ok(last.clone()), at(1_000)).await.unwrap();
        for (outcome, secs) in [(Err(FetchError::Aborted), 2_000), (Ok(sequence(Some(2))), 3_000)] {
            let found = domain.needed(outcome, at(secs)).await;
            assert_eq!(found.is_ok(), keeps, "{}", domain.source);
            assert!(found.is_ok_and(|found| Arc::ptr_eq(&found.value, &last.value)) == keeps);
        }
        let kept = domain.kept(Wanted::Cached, at(3_001)).await;
        assert_eq!(kept.is_some_and(|kept| Arc::ptr_eq(&kept, &last.value)), keeps);
    }
}
