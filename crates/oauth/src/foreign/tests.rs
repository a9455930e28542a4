//! What of fetched keys is kept, and for how long.

use std::time::Duration;

use mandate_core::Timestamp;
use mandate_core::registry::{BundleSource, TokenProfile};
use mandate_token::KeySet;

use super::{
    FAILURE_TTL, FetchError, Fetched, ForeignKeys, KeySource, MAX_ISSUERS, REFETCH_PAUSE, State, TTL, Wanted,
    Whose, land, settled,
};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn keys() -> Fetched {
    Fetched::of_issuer(KeySet::from_json(b"{\"keys\":[]}").unwrap())
}

#[test]
fn keys_from_before_the_clock_was_set_back_are_fetched_again() {
    let state = State { keys: Some((keys(), at(10_000))), failed: Some((FetchError::Aborted, at(10_000))) };
    assert!(matches!(settled(&state, Wanted::Cached, at(10_000)), Some(Ok(_))));
    assert!(
        settled(&state, Wanted::Cached, at(9_999)).is_none(),
        "else a key that was rotated out would be used for longer"
    );
    assert!(settled(&state, Wanted::Cached, at(10_000).plus(TTL)).is_none());
}

#[test]
fn what_the_cache_answers_says_when_to_ask_again() {
    let state = State { keys: Some((keys(), at(10_000))), ..State::default() };
    let again = |now| settled(&state, Wanted::Fresh, at(now)).map(|found| found.unwrap().again);
    assert_eq!(again(10_000), Some(Some(REFETCH_PAUSE)));
    assert_eq!(again(10_029), Some(Some(Duration::from_secs(1))));
    assert_eq!(again(10_030), None, "then it is fetched");
    let state = State { failed: Some((FetchError::Aborted, at(10_000))), ..State::default() };
    let retry = |now| settled(&state, Wanted::Cached, at(now)).map(|found| found.unwrap_err().retry_after);
    assert_eq!(
        (retry(10_000), retry(10_009), retry(10_010)),
        (Some(FAILURE_TTL), Some(Duration::from_secs(1)), None)
    );
}

fn put(all: &ForeignKeys, source: &KeySource, now: Timestamp) {
    land(&all.slot(source), source, Ok(keys()), now).unwrap();
}

fn source(host: &str) -> KeySource {
    let issuer = format!("https://{host}.example").parse().unwrap();
    KeySource { whose: Whose::Issuer(issuer, TokenProfile::Rfc9068), ca: None, proxy: None }
}

#[test]
fn of_too_many_issuers_the_one_whose_keys_are_oldest_is_forgotten() {
    let all = ForeignKeys::default();
    let has = |host: &str| all.slots.lock().contains_key(&source(host));
    for n in 0..MAX_ISSUERS {
        // The one in the middle is the oldest.
        let age = u64::try_from(n.abs_diff(MAX_ISSUERS / 2)).unwrap();
        put(&all, &source(&format!("i{n}")), at(age));
    }
    let oldest = format!("i{}", MAX_ISSUERS / 2);
    assert!(has(&oldest) && has("i0"));
    put(&all, &source("another"), at(MAX_ISSUERS as u64));
    assert!(!has(&oldest) && has("i0") && has("another"));
    assert_eq!(all.slots.lock().len(), MAX_ISSUERS);
}

#[test]
fn keys_that_another_authority_vouched_for_are_not_taken_in() {
    let usual = source("login");
    let other = KeySource { ca: Some("new".into()), ..usual.clone() };
    let all = ForeignKeys::default();
    put(&all, &usual, at(1));
    assert!(all.slot(&usual).lock().keys.is_some() && all.slot(&other).lock().keys.is_none());
}

fn bundle_of(source: BundleSource) -> KeySource {
    KeySource { whose: Whose::Domain("example.org".parse().unwrap(), source), ca: None, proxy: None }
}

fn endpoint() -> KeySource {
    bundle_of(BundleSource::HttpsWeb { url: "https://example.org/bundle".parse().unwrap() })
}

fn sequence(sequence: Option<u64>) -> Fetched {
    Fetched { sequence, ttl: Duration::from_mins(2), ..keys() }
}

#[test]
fn a_bundle_is_used_for_as_long_as_it_says() {
    let all = ForeignKeys::default();
    let (source, slot) = (endpoint(), all.slot(&endpoint()));
    land(&slot, &source, Ok(sequence(None)), at(1_000)).unwrap();
    let is_used = |wanted, secs| settled(&slot.lock(), wanted, at(secs)).is_some();
    assert!(is_used(Wanted::Cached, 1_119) && !is_used(Wanted::Cached, 1_120));
    assert!(is_used(Wanted::Fresh, 1_029) && !is_used(Wanted::Fresh, 1_030));
}

#[test]
fn a_bundle_that_is_older_than_the_last_one_is_refused() {
    let all = ForeignKeys::default();
    let (source, slot) = (endpoint(), all.slot(&endpoint()));
    let next = |number| land(&slot, &source, Ok(sequence(number)), at(1_000)).map(|found| found.sequence);
    assert_eq!(next(None), Ok(None));
    assert_eq!(next(Some(7)), Ok(Some(7)));
    assert_eq!(next(Some(7)), Ok(Some(7)), "it did not change");
    assert_eq!(next(Some(6)), Err(FetchError::Sequence { before: 7, now: Some(6) }));
    assert_eq!(next(None), Err(FetchError::Sequence { before: 7, now: None }));
    assert_eq!(next(Some(8)), Ok(Some(8)));
}

#[test]
fn what_was_in_a_file_last_counts_until_the_file_is_put_right_and_an_endpoint_gets_no_such_time() {
    for (source, keeps) in [(bundle_of(BundleSource::File { path: "/b".into() }), true), (endpoint(), false)]
    {
        let all = ForeignKeys::default();
        let slot = all.slot(&source);
        assert!(land(&slot, &source, Err(FetchError::Aborted), at(900)).is_err(), "there is no last one");
        land(&slot, &source, Ok(sequence(Some(3))), at(1_000)).unwrap();
        let after = land(&slot, &source, Err(FetchError::Aborted), at(2_000));
        assert_eq!(after.is_ok(), keeps, "{source}");
        let older = land(&slot, &source, Ok(sequence(Some(2))), at(3_000)).map(|found| found.sequence);
        assert_eq!(older.ok(), keeps.then_some(Some(3)), "{source}");
        let found = settled(&slot.lock(), Wanted::Cached, at(3_001)).unwrap();
        assert_eq!(found.is_ok(), keeps);
    }
}
