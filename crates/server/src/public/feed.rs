//! The revocation feed as server-sent events: all cuts in force, then `ready`, then each new cut as it
//! happens.
//!
//! The ids of its events are places in the feed of this process, and differ from those of every other
//! process. A feed always begins with all cuts in force, so a reader never has to say which it knows: a
//! `Last-Event-ID` is ignored.
//!
//! It holds ids, no secrets: everybody who may read our keys may know what is revoked. A feed stays open for
//! as long as its reader wants, so fewer feeds than connections are allowed. The cuts in force are written
//! once, and all feeds share the bytes: a reader that does not read costs only its connection, until the
//! server ends that.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use mandate_core::{Cut, RevocationSet};
use mandate_live::{FeedPlace, Live};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::listener::Shutdown;
use crate::places::Guest;

/// How often a silent feed sends a sign of life. Verifiers fail closed after several of these are missing.
const BEAT: Duration = Duration::from_secs(5);

/// How many pieces the cuts in force may have before the later pieces are joined.
const MAX_PIECES: usize = 256;

/// The added bytes are written again together with the rest if they are more than this, and more than the
/// rest.
const SMALL: usize = 64 * 1024;

/// Tells nginx, and proxies that follow it, to pass each event on at once.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// What the feeds have in common.
pub(super) struct Feeds {
    live: Arc<Live>,
    shutdown: Shutdown,
    in_force: Mutex<InForce>,
}

/// The events of all cuts in force: a first piece and later pieces, so that feeds which begin at different
/// cuts share all bytes that they have in common.
#[derive(Default)]
struct InForce {
    /// How many cuts were told up to the last of them, and all of them.
    last: u64,
    cuts: Arc<RevocationSet>,
    pieces: Arc<[Bytes]>,
}

impl InForce {
    /// Continues to the cuts in force at place `last`. None: one of them cannot be written.
    fn follow(&mut self, last: FeedPlace, cuts: Arc<RevocationSet>) -> Option<()> {
        // Another reader has come this far or further. That does no harm: a cut that is sent twice counts
        // once.
        if last.count() <= self.last && !self.pieces.is_empty() {
            return Some(());
        }
        let new = cuts.iter().filter(|cut| self.cuts.get(&cut.target) != Some(*cut));
        let added = events(last, new)?;
        let (first, later) =
            self.pieces.split_first().map_or((0, &[][..]), |(first, later)| (first.len(), later));
        let added_before: usize = later.iter().map(Bytes::len).sum();
        self.pieces = if first == 0 || added_before + added.len() > first.max(SMALL) {
            [events(last, cuts.iter())?].into()
        } else if added.is_empty() {
            Arc::clone(&self.pieces)
        } else if self.pieces.len() < MAX_PIECES {
            self.pieces.iter().cloned().chain([added]).collect()
        } else {
            let later = later.iter().chain([&added]).flat_map(|piece| piece.iter().copied()).collect();
            self.pieces.iter().take(1).cloned().chain([later]).collect()
        };
        (self.last, self.cuts) = (last.count(), cuts);
        Some(())
    }
}

impl Feeds {
    pub(super) fn new(live: Arc<Live>, shutdown: Shutdown) -> Self {
        Self { live, shutdown, in_force: Mutex::default() }
    }

    /// The events of `cuts`, which are the cuts in force at place `last`, and possibly of later ones.
    fn written(&self, last: FeedPlace, cuts: Arc<RevocationSet>) -> Option<Arc<[Bytes]>> {
        let mut in_force = self.in_force.lock();
        in_force.follow(last, cuts)?;
        Some(Arc::clone(&in_force.pieces))
    }
}

fn events<'c>(place: FeedPlace, cuts: impl Iterator<Item = &'c Cut>) -> Option<Bytes> {
    let mut text = String::new();
    for cut in cuts {
        // Its JSON has no line breaks.
        let json = serde_json::to_string(cut).ok()?;
        write!(text, "event: cut\nid: {place}\ndata: {json}\n\n").ok()?;
    }
    // Without this, up to half of the string's memory would be kept unused.
    Some(Bytes::from(text.into_boxed_str().into_boxed_bytes()))
}

fn come_back(seconds: u32) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds.to_string())]).into_response()
}

/// `GET /revocations`
pub(super) async fn revocations(
    State(feeds): State<Arc<Feeds>>,
    Extension(guest): Extension<Arc<Guest>>,
) -> Response {
    if !guest.stays() {
        return come_back(5);
    }
    let (last, cuts, live) = feeds.live.subscribe_cuts();
    // A cut that cannot be written must not be left out.
    let Some(in_force) = feeds.written(last, cuts) else { return come_back(1) };
    let ready = Bytes::from(format!("event: ready\nid: {last}\ndata: {last}\n\n"));
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = (live, feeds.shutdown.clone(), beat, guest);
    let then = stream::unfold(state, |(mut live, mut shutdown, mut beat, guest)| async move {
        let received = tokio::select! {
            received = live.recv() => Some(received),
            _ = shutdown.wait_for(|stop| *stop) => return None,
            _ = beat.tick() => None,
        };
        let bytes = match received {
            None => Bytes::from_static(b": beat\n\n"),
            // A cut that could not be written must not be left out: the verifier starts again.
            Some(Ok(told)) => events(told.place, std::iter::once(&told.cut))?,
            // The reader was too slow to get every cut. The feed ends, so that the reader starts again from
            // all cuts in force.
            Some(Err(RecvError::Lagged(_))) => {
                guest.is_cut_off();
                return None;
            }
            Some(Err(RecvError::Closed)) => return None,
        };
        Some((bytes, (live, shutdown, beat, guest)))
    });
    let pieces = stream::iter((0..in_force.len()).filter_map(move |at| in_force.get(at).cloned()));
    let events =
        pieces.chain(stream::iter([ready])).filter(|bytes| std::future::ready(!bytes.is_empty())).chain(then);
    let body = Body::from_stream(events.map(Ok::<Bytes, Infallible>));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), UNBUFFERED];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use axum::Extension;
    use axum::body::{Body, Bytes};
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::Response;
    use futures_util::StreamExt as _;
    use mandate_core::registry::Registry;
    use mandate_core::{Clock, CutTarget, HybridClock, RequestSource, RevocationSet, Timestamp};
    use mandate_delegation::revocation::cut;
    use mandate_live::{Edition, Live, Snapshot};
    use mandate_testkit::clock::SteppedClock;
    use tokio::sync::watch;

    use super::{Feeds, MAX_PIECES, SMALL, revocations};
    use crate::health::Health;
    use crate::health::crowd::Crowd;
    use crate::places::{Ended, Guest, Places};

    struct World {
        feeds: Arc<Feeds>,
        places: Arc<Places>,
        /// Their connections are open for as long as they are here.
        guests: Vec<(Arc<Guest>, Ended)>,
        _stop: watch::Sender<bool>,
    }

    impl World {
        fn new(at_most: usize) -> Self {
            let registry = Registry::from_entries(Vec::new());
            let policies = mandate_administration::compile(&registry).unwrap();
            let revocations = Arc::new(RevocationSet::new());
            let snapshot = Snapshot {
                registry: Arc::new(registry),
                policies: Arc::new(policies),
                revocations,
                edition: Edition::default(),
            };
            let live = Arc::new(Live::new("https://m.example".parse().unwrap(), snapshot, HashMap::new(), 0));
            let (stop, shutdown) = watch::channel(false);
            let places = Places::new(100, 1, at_most);
            Self { feeds: Arc::new(Feeds::new(live, shutdown)), places, guests: Vec::new(), _stop: stop }
        }

        async fn open(&mut self) -> Response {
            let (guest, ended) =
                self.places.admit(RequestSource::of("192.0.2.1".parse().unwrap())).await.unwrap();
            let guest = Arc::new(guest);
            self.guests.push((Arc::clone(&guest), ended));
            revocations(State(Arc::clone(&self.feeds)), Extension(guest)).await
        }

        fn put(&self, id: &str) {
            let now = Timestamp::from_secs(1000);
            self.feeds.live.cut(
                vec![cut(CutTarget::Token(id.parse().unwrap()), now)],
                &HybridClock::new(Arc::new(SteppedClock::at(now)), now),
            );
        }
    }

    /// All pieces up to `ready`.
    async fn in_force(body: Body) -> Vec<Bytes> {
        let mut stream = body.into_data_stream();
        let mut pieces = Vec::new();
        loop {
            let piece = stream.next().await.unwrap().unwrap();
            if piece.starts_with(b"event: ready") {
                return pieces;
            }
            pieces.push(piece);
        }
    }

    fn cuts(pieces: &[Bytes]) -> usize {
        pieces.iter().map(|piece| String::from_utf8_lossy(piece).matches("event: cut").count()).sum()
    }

    #[tokio::test]
    async fn a_feed_too_many_is_told_to_come_back_and_a_closed_one_makes_room() {
        let mut world = World::new(2);
        let (first, second) = (world.open().await, world.open().await);
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
        let third = world.open().await;
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(third.headers().contains_key("retry-after"));
        drop(first);
        world.guests.remove(0);
        assert_eq!(world.open().await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn feeds_share_the_bytes_of_all_that_they_have_in_common() {
        let mut world = World::new(3);
        world.put("t1");
        let one = in_force(world.open().await.into_body()).await;
        let same = in_force(world.open().await.into_body()).await;
        assert_eq!(one[0].as_ptr(), same[0].as_ptr());
        assert!(String::from_utf8_lossy(&one[0]).starts_with(
            "event: cut\nid: 0000000000000000-1\ndata: {\"target\":{\"kind\":\"token\",\"id\":\"t1\"}"
        ));
        world.put("t2");
        let later = in_force(world.open().await.into_body()).await;
        assert_eq!((cuts(&one), cuts(&later)), (1, 2));
        assert_eq!(
            one[0].as_ptr(),
            later[0].as_ptr(),
            "a feed that begins later has the first piece in common"
        );
    }

    #[tokio::test]
    async fn a_feed_goes_on_where_what_was_in_force_ends() {
        let mut world = World::new(1);
        world.put("t1");
        let mut feed = world.open().await.into_body().into_data_stream();
        world.put("t2");
        for (n, part) in ["t1", "event: ready\nid: 0000000000000000-1\ndata: 0000000000000000-1\n\n", "t2"]
            .into_iter()
            .enumerate()
        {
            let piece = feed.next().await.unwrap().unwrap();
            assert!(String::from_utf8_lossy(&piece).contains(part), "{n}: {piece:?}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_cut_off_and_told_of() {
        let mut world = World::new(1);
        let clock: Arc<dyn Clock> = Arc::new(SteppedClock::default());
        let health = Health::default();
        world.places = world.places.watched_by(Crowd::watched(&health, "public", &clock));
        let mut feed = world.open().await.into_body().into_data_stream();
        for n in 0..5_000 {
            world.put(&format!("t{n}"));
        }
        while let Some(piece) = feed.next().await {
            assert!(
                piece.unwrap().starts_with(b"event: ready"),
                "it starts over from all cuts, and is told no later one alone"
            );
        }
        assert_eq!(
            health.problems(clock.now()).into_iter().map(|problem| problem.code).collect::<String>(),
            "feed_readers_cut_off"
        );
    }

    #[tokio::test]
    async fn every_cut_is_told_however_many_came_one_by_one_and_their_pieces_stay_few() {
        let feeds = World::new(0).feeds;
        for n in 0..2 * MAX_PIECES {
            let id = format!("token-{n}");
            let now = Timestamp::from_secs(1000);
            feeds.live.cut(
                vec![cut(CutTarget::Token(id.parse().unwrap()), now)],
                &HybridClock::new(Arc::new(SteppedClock::at(now)), now),
            );
            let (last, set, _) = feeds.live.subscribe_cuts();
            let pieces = feeds.written(last, set).unwrap();
            assert!(
                pieces.len() <= MAX_PIECES && cuts(&pieces) > n,
                "{n}: {} cuts in {} pieces",
                cuts(&pieces),
                pieces.len()
            );
            let later: usize = pieces[1..].iter().map(Bytes::len).sum();
            assert!(later <= pieces[0].len().max(SMALL), "{n}");
        }
    }

    #[tokio::test]
    async fn a_proxy_is_told_neither_to_keep_nor_to_hold_back_the_feed() {
        let mut world = World::new(1);
        let response = world.open().await;
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(
            (header("x-accel-buffering"), header("cache-control"), header("content-type")),
            ("no", "no-store", "text/event-stream")
        );
    }
}
