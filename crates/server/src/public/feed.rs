//! The revocation feed as server-sent events: all cuts in force, then `ready`, then each new cut as it happens.
//!
//! It holds ids, no secrets: whoever may ask for our keys may know what is revoked.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use mandate_core::Cut;
use tokio::sync::broadcast::error::RecvError;

use super::Public;

/// How often a silent feed shows that it lives. Verifiers that fail closed wait for some of these.
const BEAT: Duration = Duration::from_secs(5);

fn event(seq: u64, cut: &Cut) -> Option<Event> {
    Event::default().event("cut").id(seq.to_string()).json_data(cut).ok()
}

/// `GET /revocations`
pub(super) async fn revocations(State(public): State<Arc<Public>>) -> Response {
    let (last, cuts, live) = public.live.subscribe_cuts();
    let mut first: Vec<Event> = cuts.iter().filter_map(|cut| event(last, cut)).collect();
    first.push(Event::default().event("ready").id(last.to_string()).data(last.to_string()));
    let shutdown = public.shutdown.clone();
    let then = stream::unfold((live, shutdown), |(mut live, mut shutdown)| async move {
        let received = tokio::select! {
            received = live.recv() => received,
            _ = shutdown.wait_for(|stop| *stop) => return None,
        };
        match received {
            // A cut that could not be written must not be passed over: the verifier starts over.
            Ok(numbered) => event(numbered.seq, &numbered.cut).map(|event| (event, (live, shutdown))),
            // Too slow to be told everything: end, so that it starts over from all cuts in force.
            Err(RecvError::Lagged(_) | RecvError::Closed) => None,
        }
    });
    let events = stream::iter(first).chain(then).map(Ok::<Event, Infallible>);
    let beat = KeepAlive::new().interval(BEAT).text("beat");
    ([(CACHE_CONTROL, "no-store")], Sse::new(events).keep_alive(beat)).into_response()
}
