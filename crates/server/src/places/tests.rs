use std::sync::Arc;
use std::time::Duration;

use mandate_core::Clock;
use mandate_testkit::clock::SteppedClock;

use super::{Ended, Guest, MOST_LEAVING, MOST_OF_A_NODE, Places, RequestSource};
use crate::health::Health;
use crate::health::crowd::Crowd;

const SMALL: &str = "192.0.2.1";
const LARGE: &str = "198.51.100.7";

/// Places in which a new connection is not spared.
fn places_for(strangers: usize, known: usize, feeds: usize) -> Arc<Places> {
    let mut places = Places::new(strangers, known, feeds);
    Arc::get_mut(&mut places).unwrap().grace = Duration::ZERO;
    places
}

fn network(text: &str) -> RequestSource {
    RequestSource::of(text.parse().unwrap())
}

async fn admit(places: &Arc<Places>, from: &str) -> (Guest, Ended) {
    places.admit(network(from)).await.unwrap()
}

fn has_ended(ended: &mut Ended) -> bool {
    !matches!(ended.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
}

#[tokio::test]
async fn when_strangers_places_are_full_the_longest_idle_gives_way_to_a_newcomer() {
    let places = places_for(2, 1, 1);
    let (first, mut first_ended) = admit(&places, LARGE).await;
    let (second, mut second_ended) = admit(&places, LARGE).await;
    first.was_served();
    let (_third, mut third_ended) = admit(&places, LARGE).await;
    // The second was idle from the beginning; the first has been served meanwhile.
    assert!(!has_ended(&mut first_ended) && has_ended(&mut second_ended) && !has_ended(&mut third_ended));
    drop(second);
    assert_eq!(places.taken().0, 2);
}

#[tokio::test]
async fn a_new_connection_is_spared_as_long_as_another_can_end() {
    let places = Places::new(2, 1, 1);
    let (_new, mut new_ended) = admit(&places, LARGE).await;
    let (answered, mut answered_ended) = admit(&places, LARGE).await;
    answered.is_served();
    answered.was_served();
    let (_newer, mut newer_ended) = admit(&places, LARGE).await;
    assert!(has_ended(&mut answered_ended), "it has had its answer, though later than the new one came");
    assert!(!has_ended(&mut new_ended));
    let _newest = admit(&places, LARGE).await;
    assert!(
        has_ended(&mut new_ended) && !has_ended(&mut newer_ended),
        "where all are new, the oldest of them ends"
    );
}

#[tokio::test]
async fn a_connection_that_is_being_served_keeps_its_place() {
    let places = places_for(2, 1, 1);
    let (one, mut one_ended) = admit(&places, LARGE).await;
    one.is_served();
    let (two, _two_ended) = admit(&places, LARGE).await;
    two.is_served();
    assert!(places.admit(network(LARGE)).await.is_none(), "nobody can be ended");
    two.was_served();
    assert!(places.admit(network(LARGE)).await.is_some());
    assert!(!has_ended(&mut one_ended));
}

#[tokio::test]
async fn the_network_with_the_most_places_gives_way_first() {
    let places = places_for(3, 1, 1);
    let (_old, mut old_ended) = admit(&places, SMALL).await;
    let (_a, mut a_ended) = admit(&places, LARGE).await;
    let (_b, mut b_ended) = admit(&places, LARGE).await;
    let (_c, _c_ended) = admit(&places, LARGE).await;
    assert!(!has_ended(&mut old_ended) && has_ended(&mut a_ended) && !has_ended(&mut b_ended));
}

#[tokio::test]
async fn strangers_never_take_the_places_of_the_known() {
    let places = places_for(2, 2, 1);
    let (known, mut known_ended) = admit(&places, LARGE).await;
    known.is_known(&"app".into());
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(admit(&places, LARGE).await);
    }
    assert!(!has_ended(&mut known_ended) && known.has_known_place());
    assert_eq!(places.taken(), (2, 1, 0));
    let (late, _ended) = admit(&places, LARGE).await;
    late.is_known(&"app".into());
    assert!(late.has_known_place(), "and a known client gets in while strangers' places are full");
}

#[tokio::test]
async fn a_known_client_with_many_places_gives_way_to_one_with_few() {
    let places = places_for(4, 3, 1);
    let mut many = Vec::new();
    for _ in 0..3 {
        let (guest, ended) = admit(&places, LARGE).await;
        guest.is_known(&"many".into());
        many.push((guest, ended));
    }
    let (one_more, _ended) = admit(&places, LARGE).await;
    one_more.is_known(&"many".into());
    assert!(!one_more.has_known_place(), "its own it does not take: it stays a stranger");
    let (few, _few_ended) = admit(&places, LARGE).await;
    few.is_known(&"few".into());
    assert!(few.has_known_place());
    assert_eq!(many.iter_mut().filter_map(|(_, ended)| has_ended(ended).then_some(())).count(), 1);
}

#[tokio::test]
async fn a_node_has_few_connections_and_the_newest_of_them() {
    let mut places = Places::for_nodes(16, 16, 1);
    Arc::get_mut(&mut places).unwrap().grace = Duration::ZERO;
    let mut own = Vec::new();
    for n in 0..MOST_OF_A_NODE + 2 {
        let (guest, ended) = admit(&places, LARGE).await;
        guest.was_served();
        guest.is_known(&"node".into());
        assert!(guest.has_known_place(), "{n}");
        own.push((guest, ended));
    }
    let ended: Vec<bool> = own.iter_mut().map(|(_, ended)| has_ended(ended)).collect();
    assert_eq!(ended, [true, true, false, false, false, false]);
    let (other, _other_ended) = admit(&places, LARGE).await;
    other.is_known(&"other".into());
    assert!(other.has_known_place());
    assert_eq!(places.taken(), (0, MOST_OF_A_NODE + 1, 0));
}

#[tokio::test]
async fn a_connection_that_must_end_leaves_its_place_once() {
    let places = places_for(2, 1, 1);
    let (guest, mut ended) = admit(&places, LARGE).await;
    guest.must_end();
    guest.must_end();
    assert!(has_ended(&mut ended));
    assert_eq!((places.taken().0, places.lock().leaving), (0, 1));
    drop(guest);
    assert_eq!(places.lock().leaving, 0);
}

#[tokio::test]
async fn a_feed_too_many_is_refused_unless_another_network_has_more_of_them() {
    let places = places_for(8, 1, 2);
    let (first, mut first_ended) = admit(&places, LARGE).await;
    let (second, mut second_ended) = admit(&places, LARGE).await;
    assert!(first.stays() && second.stays());
    let (third, _ended) = admit(&places, LARGE).await;
    assert!(!third.stays());
    let (other, _other_ended) = admit(&places, SMALL).await;
    assert!(other.stays());
    assert!(!has_ended(&mut first_ended) && has_ended(&mut second_ended), "the newest of them gives way");
    drop(other);
    assert!(third.stays(), "a feed that ends makes room");
}

/// Networks of one customer, who may have 65,536 of them (RFC 6177).
fn of_one_site(n: usize) -> String {
    format!("2001:db8:1:{n:x}::1")
}

#[tokio::test]
async fn a_site_with_many_networks_keeps_no_other_site_from_reading_feeds() {
    let places = places_for(8, 1, 3);
    let mut many = Vec::new();
    for n in 0..3 {
        let (guest, ended) = admit(&places, &of_one_site(n)).await;
        assert!(guest.stays());
        many.push((guest, ended));
    }
    let (one_more, _one_more_ended) = admit(&places, &of_one_site(9)).await;
    assert!(!one_more.stays(), "none of its networks has more than this one would have");
    let (other, mut other_ended) = admit(&places, SMALL).await;
    assert!(other.stays());
    assert!(has_ended(&mut many[2].1), "the newest gives way");
    let (late, _late_ended) = admit(&places, &of_one_site(10)).await;
    assert!(!late.stays() && !has_ended(&mut other_ended));
}

#[tokio::test]
async fn of_strangers_the_site_with_the_most_places_gives_way_first() {
    let places = places_for(4, 1, 1);
    let (_old, mut old_ended) = admit(&places, SMALL).await;
    let (_second, mut second_ended) = admit(&places, SMALL).await;
    let (_a, mut a_ended) = admit(&places, &of_one_site(1)).await;
    let (_b, mut b_ended) = admit(&places, &of_one_site(2)).await;
    let _newcomer = admit(&places, &of_one_site(3)).await;
    // Two of each site: the longest idle of the network with the most.
    assert!(has_ended(&mut old_ended) && !has_ended(&mut a_ended));
    let _newcomer = admit(&places, LARGE).await;
    assert!(has_ended(&mut a_ended) && !has_ended(&mut second_ended) && !has_ended(&mut b_ended));
}

#[tokio::test]
async fn a_known_holders_feed_is_the_last_of_its_connections_to_give_way() {
    let places = places_for(8, 2, 1);
    let (feed, mut feed_ended) = admit(&places, LARGE).await;
    feed.is_known(&"many".into());
    assert!(feed.stays());
    feed.was_served();
    let (idle, mut idle_ended) = admit(&places, LARGE).await;
    idle.is_known(&"many".into());
    idle.was_served();
    let (few, _few_ended) = admit(&places, LARGE).await;
    few.is_known(&"few".into());
    assert!(few.has_known_place() && has_ended(&mut idle_ended) && !has_ended(&mut feed_ended));
}

#[tokio::test]
async fn a_known_holder_reads_a_feed_in_a_place_of_the_known() {
    let health = Health::default();
    let clock: Arc<dyn Clock> = Arc::new(SteppedClock::default());
    let places = places_for(8, 1, 1).watched_by(Crowd::watched(&health, "public", &clock));
    let (stranger, mut stranger_ended) = admit(&places, SMALL).await;
    assert!(stranger.stays());
    let (known, _known_ended) = admit(&places, SMALL).await;
    known.is_known(&"app".into());
    assert!(known.stays() && !has_ended(&mut stranger_ended));
    assert_eq!(places.taken(), (0, 1, 1));
    known.is_cut_off();
    let told = health.problems(clock.now()).into_iter().map(|problem| problem.detail).collect::<String>();
    assert!(told.contains("disconnected once"), "{told}");
}

#[tokio::test]
async fn strangers_who_are_turned_away_are_counted_and_the_known_who_give_way_are_not() {
    let health = Health::default();
    let clock: Arc<dyn Clock> = Arc::new(SteppedClock::default());
    let told = || health.problems(clock.now()).into_iter().map(|problem| problem.detail).collect::<String>();
    let places = places_for(2, 1, 1).watched_by(Crowd::watched(&health, "public", &clock));
    let (first, _first_ended) = admit(&places, LARGE).await;
    assert!(first.stays());
    let (known, _known_ended) = admit(&places, LARGE).await;
    known.is_known(&"many".into());
    let (other, _other_ended) = admit(&places, LARGE).await;
    let (second, _second_ended) = admit(&places, LARGE).await;
    other.is_known(&"few".into());
    assert_eq!(told(), "");
    assert!(!second.stays());
    assert!(told().contains("once"), "{}", told());
    let (_third, _third_ended) = admit(&places, LARGE).await;
    assert!(told().contains("2 times"), "{}", told());
    second.is_served();
    other.is_served();
    let mut served = Vec::new();
    while let Some((guest, ended)) = places.admit(network(LARGE)).await {
        guest.is_served();
        served.push((guest, ended));
    }
    let refused = told();
    places.end_a_stranger();
    assert_eq!(told(), refused, "there was none that could be ended");
    first.is_cut_off();
    second.is_cut_off();
    assert!(told().contains("disconnected once"), "only a feed's reader is missed: {}", told());
}

#[tokio::test]
async fn nobody_is_let_in_while_many_who_were_told_to_go_are_still_here() {
    let places = places_for(1, 1, 1);
    let mut leaving = Vec::new();
    for _ in 0..=MOST_LEAVING {
        leaving.push(places.admit(network(LARGE)).await.unwrap());
    }
    let waiting = tokio::time::timeout(Duration::from_millis(20), places.admit(network(LARGE))).await;
    assert!(waiting.is_err());
    let waiting = tokio::spawn({
        let places = Arc::clone(&places);
        async move { places.admit(network(LARGE)).await.is_some() }
    });
    tokio::task::yield_now().await;
    leaving.truncate(1);
    assert!(waiting.await.unwrap());
}
