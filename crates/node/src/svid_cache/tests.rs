use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Timestamp;

use super::{CAPACITY, PER_IDENTITY, Svid, SvidCache, WantedSvid, key_id};
use crate::caller::AttestedProcess;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn at(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

fn wanted(name: &str, audiences: &[&str]) -> WantedSvid {
    let audiences: Vec<String> = audiences.iter().map(|&text| text.to_owned()).collect();
    WantedSvid::new(format!("spiffe://acme.example/agent/{name}").parse().unwrap(), &audiences)
}

fn token(kid: &str) -> String {
    format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#)))
}

/// An SVID that lives from `NOW` for 300 s.
fn svid(wanted: &WantedSvid) -> Arc<Svid> {
    Arc::new(Svid::new(wanted.spiffe_id.clone(), token("k1"), NOW, at(300)))
}

fn holder() -> AttestedProcess {
    AttestedProcess::of_this_process(1000)
}

fn put(cache: &mut SvidCache, name: &str, audiences: &[&str]) {
    let wanted = wanted(name, audiences);
    cache.put(wanted.clone(), svid(&wanted), holder(), NOW);
}

fn has(cache: &mut SvidCache, name: &str, audiences: &[&str], now: Timestamp) -> bool {
    cache.get(&wanted(name, audiences), &holder(), now).is_some()
}

#[test]
fn the_audience_set_is_the_key() {
    let mut cache = SvidCache::default();
    put(&mut cache, "a", &["x", "y"]);
    assert!(has(&mut cache, "a", &["y", "x", "y"], NOW));
    assert!(!has(&mut cache, "a", &["x"], NOW));
    assert!(!has(&mut cache, "b", &["x", "y"], NOW));
}

#[test]
fn nothing_expired_is_handed_out() {
    let mut cache = SvidCache::default();
    put(&mut cache, "a", &["x"]);
    assert!(has(&mut cache, "a", &["x"], at(299)));
    assert!(!has(&mut cache, "a", &["x"], at(300)), "exp is the first moment at which it is dead");
}

#[test]
fn half_of_the_life_is_fresh() {
    let svid = svid(&wanted("a", &["x"]));
    assert!(svid.is_fresh(at(149)) && !svid.is_fresh(at(150)) && svid.is_good(at(150)));
}

#[test]
fn what_is_used_is_due_at_half_of_its_life() {
    let mut cache = SvidCache::default();
    put(&mut cache, "a", &["x"]);
    put(&mut cache, "unused", &["x"]);
    assert_eq!(cache.next_due(NOW), None, "nothing has been used yet");
    assert!(has(&mut cache, "a", &["x"], at(10)));
    assert_eq!(cache.next_due(at(10)), Some(Duration::from_secs(140)));
    assert!(cache.due(at(149)).is_empty());
    let due: Vec<WantedSvid> = cache.due(at(150)).into_iter().map(|(wanted, _)| wanted).collect();
    assert_eq!(due, [wanted("a", &["x"])]);
    assert!(cache.due(at(300)).is_empty(), "what has expired is not renewed");
    cache.settle(&due[0]);
    assert!(cache.due(at(150)).is_empty(), "looked after until it is used again");
}

#[test]
fn a_withdrawn_identity_or_key_takes_its_svids_along() {
    let mut cache = SvidCache::default();
    put(&mut cache, "a", &["x"]);
    put(&mut cache, "b", &["x"]);
    cache.retain(|id| id.path() != "/agent/a", |_| true);
    assert!(!has(&mut cache, "a", &["x"], NOW) && has(&mut cache, "b", &["x"], NOW));
    cache.retain(|_| true, |kid| kid == "k1");
    assert!(has(&mut cache, "b", &["x"], NOW));
    cache.retain(|_| true, |kid| kid == "k2");
    assert!(!has(&mut cache, "b", &["x"], NOW));
}

#[test]
fn one_identity_cannot_crowd_out_another() {
    let mut cache = SvidCache::default();
    put(&mut cache, "quiet", &["x"]);
    for n in 0..2 * PER_IDENTITY {
        put(&mut cache, "greedy", &[&n.to_string()]);
    }
    assert!(has(&mut cache, "quiet", &["x"], NOW));
    assert_eq!(cache.len(), PER_IDENTITY + 1);
    assert!(has(&mut cache, "greedy", &[&(2 * PER_IDENTITY - 1).to_string()], NOW), "the newest stays");
    assert!(!has(&mut cache, "greedy", &["0"], NOW));
}

#[test]
fn it_is_bounded_and_the_least_recently_used_goes_first() {
    let mut cache = SvidCache::default();
    for n in 0..CAPACITY {
        put(&mut cache, &n.to_string(), &["x"]);
    }
    assert!(has(&mut cache, "0", &["x"], NOW));
    put(&mut cache, "one-more", &["x"]);
    assert_eq!(cache.len(), CAPACITY);
    assert!(has(&mut cache, "0", &["x"], NOW) && !has(&mut cache, "1", &["x"], NOW));
}

#[test]
fn a_key_id_is_read_from_the_header_alone() {
    assert_eq!(key_id(&token("abc")).as_deref(), Some("abc"));
    for text in ["", "a", "!!.x.y", "e30.e30.AA"] {
        assert_eq!(key_id(text), None, "{text:?}");
    }
}

#[test]
fn an_svid_does_not_print_its_token() {
    let svid = svid(&wanted("a", &["x"]));
    assert!(!format!("{svid:?}").contains(svid.expose_token()));
}
