//! What a connection is doing: its open calls, and since when it has none. Connections that are idle for too
//! long are ended, and so are those that do not read their answers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long the node waits for clients.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// How long a client may take to begin with HTTP/2.
    handshake: Duration,
    /// How long a connection may stay without an open call. Clients connect again when they have something to
    /// ask.
    idle: Duration,
    /// How long a client may leave an answer unread: it answers pings, but gives no room in its window (RFC
    /// 9113 §5.2).
    stalled: Duration,
    /// How often a connection with open calls is checked.
    look: Duration,
}

impl Patience {
    /// The times for a node's clients.
    pub(crate) const REAL: Self = Self {
        handshake: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        stalled: Duration::from_secs(30),
        look: Duration::from_secs(10),
    };
}

struct State {
    /// Open calls, each with the moment since which its answer waits to be read.
    calls: HashMap<u64, Option<Instant>>,
    next: u64,
    connected: Instant,
    /// When the last call ended; at first, when the client connected.
    since: Instant,
    ended: bool,
}

/// How a connection is used. In this order, the first is the first to lose its place to another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// It has no open call.
    Rests,
    /// An answer waits, because its client does not read it.
    Stalls,
    /// It has an open call for which the client waits, or a stream that waits for changes.
    Works,
}

/// What one connection is doing.
pub(crate) struct Activity {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// One permit, which the call has whose request is being read.
    reading: Arc<Semaphore>,
}

/// A call, until the last part of it is dropped. It is open once its whole request has arrived: a client that
/// sends half a request does not keep its place by it.
pub(crate) struct Call {
    activity: Arc<Activity>,
    id: u64,
}

impl Activity {
    /// A connection that has just been made.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let state = State { calls: HashMap::new(), next: 0, connected: now, since: now, ended: false };
        Self { state: Mutex::new(state), waker: AtomicWaker::new(), reading: Arc::new(Semaphore::new(1)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent whenever the lock is free, also after a panic.
        self.state.lock()
    }

    /// A call whose request is arriving.
    pub(crate) fn call(self: &Arc<Self>) -> Arc<Call> {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        Arc::new(Call { activity: Arc::clone(self), id })
    }

    /// Waits until no other request of the connection is being read. `None` cannot happen: the semaphore is
    /// never closed.
    pub(crate) async fn reads(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.reading).acquire_owned().await.ok()
    }

    /// How it is used, and since when. A connection that works counts from when it was connected.
    pub(crate) fn used(&self) -> (Use, Instant) {
        let state = self.state();
        if state.calls.is_empty() {
            return (Use::Rests, state.since);
        }
        state
            .calls
            .values()
            .flatten()
            .min()
            .map_or((Use::Works, state.connected), |since| (Use::Stalls, *since))
    }

    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.waker.wake();
    }

    /// Whether it was ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// When the connection must end if nothing changes. `has_begun`: the client has spoken HTTP/2.
    fn ends(&self, has_begun: bool, patience: Patience) -> Option<Instant> {
        let state = self.state();
        if state.calls.is_empty() {
            return Some(state.since + if has_begun { patience.idle } else { patience.handshake });
        }
        state.calls.values().flatten().min().map(|since| *since + patience.stalled)
    }
}

impl Call {
    /// Its request has arrived.
    pub(crate) fn open(&self) {
        self.activity.state().calls.entry(self.id).or_insert(None);
    }

    /// There is an answer to it. `waits`: since when the client could have taken more of it.
    fn answered(&self, waits: Option<Instant>) {
        self.activity.state().calls.insert(self.id, waits);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        // A call that was never open does not count as a use of the connection.
        if state.calls.remove(&self.id).is_some() {
            state.since = Instant::now();
        }
    }
}

/// Watches the times of one connection.
pub(crate) struct Watch {
    activity: Arc<Activity>,
    patience: Patience,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Watch {
    pub(crate) fn new(activity: Arc<Activity>, patience: Patience) -> Self {
        Self { activity, patience, timer: Box::pin(tokio::time::sleep(patience.handshake)) }
    }

    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Whether the connection must end now; wakes the task when that may have changed.
    pub(crate) fn is_over(&mut self, has_begun: bool, cx: &mut Context<'_>) -> bool {
        self.activity.waker.register(cx.waker());
        if self.activity.is_ended() {
            return true;
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let next = match self.activity.ends(has_begun, self.patience) {
                Some(at) if at <= now => {
                    self.activity.end();
                    return true;
                }
                Some(at) => at.min(now + self.patience.look),
                None => now + self.patience.look,
            };
            self.timer.as_mut().reset(next);
        }
        false
    }
}

/// The body of a request, which opens its call when the whole of it has arrived.
pub(crate) struct RequestBody<B> {
    body: B,
    call: Arc<Call>,
    /// Until the whole of it has arrived.
    reading: Option<OwnedSemaphorePermit>,
}

impl<B: Body> RequestBody<B> {
    /// A body that begins to arrive. No other request of the connection is read while it holds `reading`.
    pub(crate) fn new(body: B, call: Arc<Call>, reading: Option<OwnedSemaphorePermit>) -> Self {
        let mut asked = Self { body, call, reading };
        asked.check_end();
        asked
    }

    fn check_end(&mut self) {
        if self.body.is_end_stream() {
            self.call.open();
            self.reading = None;
        }
    }
}

impl<B: Body + Unpin> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) {
            self.call.open();
            self.reading = None;
        }
        self.check_end();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which keeps its call open until it has been read.
pub(crate) struct ResponseBody<B> {
    body: B,
    call: Arc<Call>,
}

impl<B> ResponseBody<B> {
    /// An answer that the client has not read yet.
    pub(crate) fn new(body: B, call: Arc<Call>) -> Self {
        call.answered(Some(Instant::now()));
        Self { body, call }
    }
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // HTTP/2 asks when the client has room for more, and not before.
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.call.answered(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, Call, Patience, RequestBody, ResponseBody, Use, Watch};
    use http_body::{Body as _, Frame};
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::Poll;
    use std::time::Duration;
    use tokio::time::{Instant, timeout};

    /// Longer than anything here takes; reached only by a failing test.
    const LONG: Duration = Duration::from_secs(20);

    /// Longer than any patience of these tests: a connection that outlives it is not ended.
    const OUTLIVES: Duration = Duration::from_millis(300);

    /// One thing is waited for briefly, everything else longer than any test runs.
    fn patience(set: impl Fn(&mut Patience)) -> Patience {
        let mut patience = Patience {
            handshake: LONG * 9,
            idle: LONG * 9,
            stalled: LONG * 9,
            look: Duration::from_millis(5),
        };
        set(&mut patience);
        patience
    }

    const BRIEF: Duration = Duration::from_millis(40);

    fn watch(activity: &Arc<Activity>, patience: Patience) -> Watch {
        let mut watch = Watch::new(Arc::clone(activity), patience);
        // The first look is soon.
        watch.timer.as_mut().reset(Instant::now());
        watch
    }

    async fn ends(watch: &mut Watch, has_begun: bool, within: Duration) -> bool {
        let over = poll_fn(|cx| if watch.is_over(has_begun, cx) { Poll::Ready(()) } else { Poll::Pending });
        timeout(within, over).await.is_ok()
    }

    fn open(activity: &Arc<Activity>) -> Arc<Call> {
        let call = activity.call();
        call.open();
        call
    }

    #[tokio::test]
    async fn a_client_that_never_begins_and_one_that_is_idle_are_ended() {
        let start = Instant::now();
        let activity = Arc::new(Activity::new());
        assert!(ends(&mut watch(&activity, patience(|p| p.handshake = BRIEF)), false, LONG).await);
        assert!(activity.is_ended() && start.elapsed() >= BRIEF);
        assert!(ends(&mut watch(&Arc::new(Activity::new()), patience(|p| p.idle = BRIEF)), true, LONG).await);
        // Neither limit is the other's.
        assert!(
            !ends(&mut watch(&Arc::new(Activity::new()), patience(|p| p.idle = BRIEF)), false, OUTLIVES)
                .await
        );
        assert!(
            !ends(&mut watch(&Arc::new(Activity::new()), patience(|p| p.handshake = BRIEF)), true, OUTLIVES)
                .await
        );
    }

    #[tokio::test]
    async fn a_connection_with_an_open_call_is_not_idle_however_long_it_lasts() {
        let activity = Arc::new(Activity::new());
        let mut watch = watch(&activity, patience(|p| p.idle = BRIEF));
        let call = open(&activity);
        assert!(!ends(&mut watch, true, OUTLIVES).await);
        let ended = Instant::now();
        drop(call);
        assert!(
            ends(&mut watch, true, LONG).await && ended.elapsed() >= BRIEF,
            "idle time counts from the end of the last call"
        );
    }

    #[tokio::test]
    async fn half_a_request_after_another_does_not_keep_a_connection() {
        let activity = Arc::new(Activity::new());
        let (begun, mut watch) = (activity.used(), watch(&activity, patience(|p| p.idle = BRIEF)));
        let over = async {
            let mut before = None;
            while !ends(&mut watch, true, BRIEF / 8).await {
                let mut half = RequestBody::new(Frames(1), activity.call(), None);
                let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut half).poll_frame(cx).is_ready())).await;
                // The one before is given up only now.
                before = Some(half);
            }
            drop(before);
        };
        assert!(timeout(LONG, over).await.is_ok(), "its idle time counts on");
        assert_eq!(activity.used(), begun, "it can be displaced all the time");
    }

    #[tokio::test]
    async fn a_call_is_open_from_the_end_of_its_request_to_the_end_of_its_answer() {
        let activity = Arc::new(Activity::new());
        let call = activity.call();
        let mut asked = RequestBody::new("x".to_owned(), Arc::clone(&call), None);
        assert_eq!(activity.used().0, Use::Rests);
        let _ = poll_fn(|cx| Pin::new(&mut asked).poll_frame(cx)).await;
        assert_eq!(activity.used().0, Use::Works);
        drop(asked);
        let mut answer = ResponseBody::new(Frames(1), call);
        assert_eq!(activity.used().0, Use::Stalls);
        ask(&mut answer).await;
        ask(&mut answer).await;
        assert_eq!(activity.used().0, Use::Works, "all that there is has been taken");
        drop(answer);
        assert_eq!(activity.used().0, Use::Rests);
        let _without_a_body = RequestBody::new(String::new(), activity.call(), None);
        assert_eq!(activity.used().0, Use::Works);
    }

    struct Frames(u8);

    impl http_body::Body for Frames {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
            if self.0 == 0 {
                return Poll::Pending;
            }
            self.0 -= 1;
            Poll::Ready(Some(Ok(Frame::data(bytes::Bytes::from_static(b"x")))))
        }
    }

    async fn ask(answer: &mut ResponseBody<Frames>) {
        let _ = poll_fn(|cx| Poll::Ready(Pin::new(&mut *answer).poll_frame(cx).is_ready())).await;
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_the_connection_and_a_stream_that_waits_for_news_does_not() {
        // Of so many frames so many are taken.
        for (frames, taken, stalls) in [(2, 0, true), (2, 1, true), (1, 2, false)] {
            let activity = Arc::new(Activity::new());
            let mut watch = watch(&activity, patience(|p| p.stalled = BRIEF));
            let mut answer = ResponseBody::new(Frames(frames), open(&activity));
            for _ in 0..taken {
                ask(&mut answer).await;
            }
            assert_eq!(
                ends(&mut watch, true, if stalls { LONG } else { OUTLIVES }).await,
                stalls,
                "{taken} of {frames}"
            );
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_displaced_ends_at_once() {
        let activity = Arc::new(Activity::new());
        let mut watch = watch(&activity, patience(|_| {}));
        let (ended, ()) = tokio::join!(ends(&mut watch, true, LONG), async {
            tokio::task::yield_now().await;
            activity.end();
        });
        assert!(ended);
    }
}
