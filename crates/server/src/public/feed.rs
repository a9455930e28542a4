//! The revocation feed as server-sent events: all cuts in force, then `ready`, then each new cut as it happens.
//!
//! It holds ids, no secrets: whoever may ask for our keys may know what is revoked. A feed stays open for as long as its
//! reader likes, so there are fewer of them than connections, and all that begin between two cuts share the bytes of
//! what is in force.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use mandate_core::Cut;
use mandate_delegation::Live;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::listener::Shutdown;

/// How often a silent feed shows that it lives. Verifiers that fail closed wait for some of these.
const BEAT: Duration = Duration::from_secs(5);

/// The most feeds at once: a quarter of the listener's connections, so that feeds never keep everybody else out.
const MAX_FEEDS: usize = 1024;

/// Tells nginx, and proxies that follow it, to pass each event on at once.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// What the feeds have in common.
pub(super) struct Feeds {
    live: Arc<Live>,
    shutdown: Shutdown,
    slots: Arc<Semaphore>,
    /// The events of all cuts in force, and the number of the last of them.
    in_force: Mutex<Option<(u64, Bytes)>>,
}

impl Feeds {
    pub(super) fn new(live: Arc<Live>, shutdown: Shutdown) -> Self {
        Self::at_most(MAX_FEEDS, live, shutdown)
    }

    fn at_most(feeds: usize, live: Arc<Live>, shutdown: Shutdown) -> Self {
        Self { live, shutdown, slots: Arc::new(Semaphore::new(feeds)), in_force: Mutex::default() }
    }

    /// The events of `cuts`, which are those in force at number `last`. Written once for all who begin there.
    fn written<'c>(&self, last: u64, cuts: impl Iterator<Item = &'c Cut>) -> Option<Bytes> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = in_force.as_ref().filter(|(number, _)| *number == last) {
            return Some(bytes.clone());
        }
        let mut text = String::new();
        for cut in cuts {
            text.push_str(&event(last, cut)?);
        }
        let bytes = Bytes::from(text);
        *in_force = Some((last, bytes.clone()));
        Some(bytes)
    }
}

/// One cut. Its JSON has no line breaks.
fn event(seq: u64, cut: &Cut) -> Option<String> {
    serde_json::to_string(cut).ok().map(|json| format!("event: cut\nid: {seq}\ndata: {json}\n\n"))
}

fn come_back(seconds: u32) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds.to_string())]).into_response()
}

/// `GET /revocations`
pub(super) async fn revocations(State(feeds): State<Arc<Feeds>>) -> Response {
    let Ok(slot) = Arc::clone(&feeds.slots).try_acquire_owned() else { return come_back(5) };
    let (last, cuts, live) = feeds.live.subscribe_cuts();
    // What cannot be written must not be passed over.
    let Some(in_force) = feeds.written(last, cuts.iter()) else { return come_back(1) };
    let ready = Bytes::from(format!("event: ready\nid: {last}\ndata: {last}\n\n"));
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = (slot, live, feeds.shutdown.clone(), beat);
    let then = stream::unfold(state, |(slot, mut live, mut shutdown, mut beat)| async move {
        let received = tokio::select! {
            received = live.recv() => Some(received),
            _ = shutdown.wait_for(|stop| *stop) => return None,
            _ = beat.tick() => None,
        };
        let text = match received {
            None => ": beat\n\n".to_owned(),
            // A cut that could not be written must not be passed over: the verifier starts over.
            Some(Ok(numbered)) => event(numbered.seq, &numbered.cut)?,
            // Too slow to be told everything: end, so that it starts over from all cuts in force.
            Some(Err(RecvError::Lagged(_) | RecvError::Closed)) => return None,
        };
        Some((Bytes::from(text), (slot, live, shutdown, beat)))
    });
    let events = stream::iter([in_force, ready]).filter(|bytes| std::future::ready(!bytes.is_empty())).chain(then);
    let body = Body::from_stream(events.map(Ok::<Bytes, Infallible>));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), UNBUFFERED];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::Response;
    use futures_util::StreamExt as _;
    use mandate_core::registry::Registry;
    use mandate_core::{CutTarget, RevocationSet, Timestamp};
    use mandate_delegation::revocation::cut;
    use mandate_delegation::{Live, Snapshot};
    use mandate_testkit::clock::SteppedClock;
    use tokio::sync::watch;

    use super::{Feeds, revocations};

    fn feeds(at_most: usize) -> (Arc<Feeds>, watch::Sender<bool>) {
        let registry = Registry::from_entries(Vec::new());
        let policies = crate::control::compile(&registry).unwrap();
        let snapshot = Snapshot { registry: Arc::new(registry), policies: Arc::new(policies), revocations: Arc::new(RevocationSet::new()) };
        let live = Arc::new(Live::new("https://m.example".parse().unwrap(), snapshot, HashMap::new(), 0));
        let (stop, shutdown) = watch::channel(false);
        (Arc::new(Feeds::at_most(at_most, live, shutdown)), stop)
    }

    async fn open(feeds: &Arc<Feeds>) -> Response {
        revocations(State(Arc::clone(feeds))).await
    }

    #[tokio::test]
    async fn a_feed_too_many_is_told_to_come_back_and_a_closed_one_makes_room() {
        let (feeds, _stop) = feeds(2);
        let (first, second) = (open(&feeds).await, open(&feeds).await);
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
        let third = open(&feeds).await;
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(third.headers().contains_key("retry-after"));
        drop(first);
        assert_eq!(open(&feeds).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn feeds_that_begin_at_the_same_cut_share_the_bytes_of_what_is_in_force() {
        let (feeds, _stop) = feeds(3);
        let now = Timestamp::from_secs(1000);
        let put = |id: &str| feeds.live.cut(vec![cut(CutTarget::Token(id.parse().unwrap()), now)], &SteppedClock::at(now));
        put("t1");
        let (one, other) = (open(&feeds).await, open(&feeds).await);
        let mut one = one.into_body().into_data_stream();
        let first = one.next().await.unwrap().unwrap();
        let same = other.into_body().into_data_stream().next().await.unwrap().unwrap();
        assert_eq!(first.as_ptr(), same.as_ptr());
        assert!(String::from_utf8_lossy(&first).starts_with("event: cut\nid: 1\ndata: {\"target\":{\"kind\":\"token\",\"id\":\"t1\"}"));
        assert_eq!(one.next().await.unwrap().unwrap(), "event: ready\nid: 1\ndata: 1\n\n");
        put("t2");
        assert!(String::from_utf8_lossy(&one.next().await.unwrap().unwrap()).contains("t2"));
        let later = open(&feeds).await.into_body().into_data_stream().next().await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&later).matches("event: cut").count(), 2);
    }

    #[tokio::test]
    async fn a_proxy_is_told_neither_to_keep_nor_to_hold_back_the_feed() {
        let (feeds, _stop) = feeds(1);
        let response = open(&feeds).await;
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!((header("x-accel-buffering"), header("cache-control"), header("content-type")), ("no", "no-store", "text/event-stream"));
    }
}
