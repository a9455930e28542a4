//! Connections of local processes: who opens them, how many there may be, and for how long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::{Layer, Service};

use crate::activity::{Activity, Patience, RequestBody, ResponseBody, Watch};
use crate::arrivals::Arrivals;
use crate::authority::Rewritten;
use crate::caller::Caller;
use crate::looks::Looks;
use crate::places::{Limits, Place, Places};
use crate::process::NotAttested;
use crate::throttle::Throttle;

/// How long the listener pauses after a connection could not be accepted, mostly because there are no free
/// file descriptors.
const REST: Duration = Duration::from_millis(50);

/// Whether it has been logged that processes are hidden.
static HIDDEN_SAID: AtomicBool = AtomicBool::new(false);

/// The process at the other end of a connection, and what the connection is doing.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) caller: Arc<Caller>,
    activity: Arc<Activity>,
}

/// A connection of a process that has been inspected.
pub(crate) struct Connection<I = UnixStream> {
    io: Rewritten<I>,
    watch: Watch,
    caller: Arc<Caller>,
    _place: Place,
}

/// Why a user's connection is not let in.
#[derive(PartialEq, Eq, Hash)]
enum Crowded {
    TooOften,
    TooMany,
}

/// Decides which arriving connections are accepted.
struct Door {
    places: Places,
    arrivals: Arrivals,
    looks: Looks,
    crowded: Throttle<u32, Crowded>,
    unattested: Throttle<(), NotAttested>,
}

/// The stream of arriving connections. It never ends.
pub(crate) fn connections(
    listener: UnixListener,
    limits: Limits,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Places::new(limits, mandate_files::own_user());
    let door = Door {
        places,
        arrivals: Arrivals::default(),
        looks: Looks::default(),
        crowded: Throttle::default(),
        unattested: Throttle::default(),
    };
    stream::unfold((listener, door), |(listener, mut door)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(connection) = door.admit(stream) {
                        return Some((Ok(connection), (listener, door)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the Workload API was not accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    })
}

impl Door {
    fn admit(&mut self, stream: UnixStream) -> Option<Connection> {
        // First, because this check is cheap: inspecting a process costs many times as much as connecting.
        let uid = stream.peer_cred().ok()?.uid();
        if !self.places.is_operator(uid) && !self.arrivals.admits(uid, Instant::now()) {
            if let Some(left_out) = self.crowded.admits(uid, Crowded::TooOften, Instant::now()) {
                tracing::warn!(uid, left_out, "a user connects to the Workload API too often");
            }
            return None;
        }
        let caller = match Caller::of(&stream, &self.looks) {
            Ok(caller) => Arc::new(caller),
            Err(why) => {
                // A fault of this machine's set-up, which an operator has to see once, not at each
                // connection.
                if why == NotAttested::Hidden && !HIDDEN_SAID.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "processes of other users are hidden from this node (hidepid, ProtectProc), so they are served nothing"
                    );
                }
                if let Some(left_out) = self.unattested.admits((), why, Instant::now()) {
                    tracing::info!(%why, left_out, "a caller of the Workload API cannot be attested");
                }
                return None;
            }
        };
        let activity = Arc::new(Activity::new());
        let Some(place) = self.places.take(caller.uid(), &activity) else {
            if let Some(left_out) = self.crowded.admits(caller.uid(), Crowded::TooMany, Instant::now()) {
                tracing::warn!(
                    uid = caller.uid(),
                    pid = caller.pid(),
                    left_out,
                    "too many connections to the Workload API"
                );
            }
            return None;
        };
        Some(Connection {
            io: Rewritten::new(stream),
            watch: Watch::new(activity, Patience::REAL),
            caller,
            _place: place,
        })
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { caller: Arc::clone(&self.caller), activity: Arc::clone(self.watch.activity()) }
    }
}

impl<I> Connection<I> {
    /// Whether the client's time is over.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.watch.is_over(self.io.has_begun(), cx)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The end of the stream, as if the client had closed it: HTTP/2 then shuts down cleanly.
        if self.is_over(cx) { Poll::Ready(Ok(())) } else { Pin::new(&mut self.io).poll_read(cx, buf) }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Connection<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        // A client that does not read its answers stops HTTP/2 from reading, too. Its time limit still
        // applies.
        if written.is_pending() && self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Counts each call as open from when its request has arrived until its answer has been read.
#[derive(Clone, Copy)]
pub(crate) struct CountCalls;

impl<S> Layer<S> for CountCalls {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting(inner)
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub(crate) struct Counting<S>(S);

impl<S, B> Service<http::Request<Body>> for Counting<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let call = peer.as_ref().map(|peer| peer.activity.call());
        // The service that was polled ready is the one to call.
        let another = self.0.clone();
        let mut ready = std::mem::replace(&mut self.0, another);
        async move {
            let request = match (&peer, &call) {
                (Some(peer), Some(call)) => {
                    let reading = peer.activity.reads().await;
                    request.map(|body| Body::new(RequestBody::new(body, Arc::clone(call), reading)))
                }
                _ => request,
            };
            let answer = ready.call(request).await?;
            Ok(answer.map(|body| match call {
                Some(call) => Body::new(ResponseBody::new(body, call)),
                None => Body::new(body),
            }))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::{CountCalls, Peer};
    use crate::activity::{Activity, Use};
    use crate::caller::Caller;
    use crate::looks::Looks;
    use http_body::Frame;
    use parking_lot::Mutex;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::time::Duration;
    use tokio::net::UnixStream;
    use tokio::sync::{mpsc, oneshot};
    use tonic::body::Body;
    use tower::{Layer as _, Service as _};

    /// A body whose parts come when they are sent, and that ends when their sender is dropped.
    struct Sent(mpsc::UnboundedReceiver<bytes::Bytes>);

    impl http_body::Body for Sent {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
            self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
        }
    }

    /// Reads a request to its end, says so, and then answers.
    async fn read(
        mut request: http::Request<Body>,
        has_read: oneshot::Sender<()>,
    ) -> Result<http::Response<String>, Infallible> {
        while poll_fn(|cx| http_body::Body::poll_frame(Pin::new(request.body_mut()), cx)).await.is_some() {}
        let _ = has_read.send(());
        tokio::task::yield_now().await;
        Ok(http::Response::new("an answer".to_owned()))
    }

    #[tokio::test]
    async fn a_connection_works_for_a_client_once_the_request_is_whole() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let activity = Arc::new(Activity::new());
        let peer = Peer {
            caller: Arc::new(Caller::of(&ours, &Looks::default()).unwrap()),
            activity: Arc::clone(&activity),
        };
        let (send, parts) = mpsc::unbounded_channel();
        let (has_read, mut is_read) = oneshot::channel();
        let mut request = http::Request::new(Body::new(Sent(parts)));
        request.extensions_mut().insert(peer);
        let has_read = Arc::new(Mutex::new(Some(has_read)));
        let mut service = CountCalls
            .layer(tower::service_fn(move |request| read(request, has_read.lock().take().unwrap())));
        let answer = tokio::spawn(service.call(request));
        send.send(bytes::Bytes::from_static(b"half")).unwrap();
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert!(
            is_read.try_recv().is_err() && activity.used().0 == Use::Rests,
            "it waits for the rest of the request"
        );
        drop(send);
        is_read.await.unwrap();
        assert_eq!(activity.used().0, Use::Works);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(activity.used().0, Use::Stalls);
        drop(answer);
        assert_eq!(activity.used().0, Use::Rests);
    }

    #[tokio::test]
    async fn one_request_of_a_connection_is_read_at_a_time() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer {
            caller: Arc::new(Caller::of(&ours, &Looks::default()).unwrap()),
            activity: Arc::new(Activity::new()),
        };
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let mut service = CountCalls.layer(tower::service_fn(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            read(request, oneshot::channel().0)
        }));
        let mut ask = || {
            let (send, parts) = mpsc::unbounded_channel();
            let mut request = http::Request::new(Body::new(Sent(parts)));
            request.extensions_mut().insert(peer.clone());
            (send, tokio::spawn(service.call(request)))
        };
        let (half, first) = ask();
        half.send(bytes::Bytes::from_static(b"half")).unwrap();
        let others: Vec<_> = (0..8).map(|_| ask()).map(|(whole, answer)| (drop(whole), answer).1).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(begun.load(Ordering::SeqCst), 1, "what waits is not read into memory");
        // A client that gives up lets the next go on.
        first.abort();
        for answer in others {
            tokio::time::timeout(Duration::from_secs(20), answer)
                .await
                .expect("it waits without end")
                .unwrap()
                .unwrap();
        }
        drop(half);
    }
}
