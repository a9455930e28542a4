use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use mandate_core::{Clock, RequestSource};
use mandate_testkit::clock::SteppedClock;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::watch;

use super::{
    Connected, ListenerDefaults, SEND_BUFFER, Site, WRITE_TIMEOUT, bound_send_buffer, serve_connection,
    serve_tcp, serve_unix,
};
use crate::health::Health;
use crate::health::crowd::Crowd;
use crate::host::Hosts;
use crate::peer::Peer;
use crate::places::Places;
use crate::timely_io::TimelyIo;

fn site(router: Router) -> Site {
    Site {
        router,
        max_body: (10, Duration::from_secs(1)),
        hosts: Hosts::Any,
        defaults: ListenerDefaults { over_tls: false },
    }
}

/// Serves one request for an answer of a megabyte, of which the peer takes nothing or hangs up.
async fn told(reads_a_feed: bool, hangs_up: bool) -> String {
    let clock: Arc<dyn Clock> = Arc::new(SteppedClock::default());
    let health = Health::default();
    let places = Places::new(1, 1, 1).watched_by(Crowd::watched(&health, "public", &clock));
    let (guest, ended) = places.admit(RequestSource::User(0)).await.unwrap();
    if reads_a_feed {
        assert!(guest.stays());
    }
    let site = site(Router::new().route("/", get(|| async { "x".repeat(1024 * 1024) })));
    let (io, mut peer) = tokio::io::duplex(1024);
    peer.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    if hangs_up {
        drop(peer);
    }
    let (_stop, shutdown) = watch::channel(false);
    let io = TimelyIo::new(io, Duration::from_millis(20));
    serve_connection(
        Connected { io, peer: Peer::Unix { uid: 0 }, local: None, guest, ended },
        site,
        shutdown,
    )
    .await;
    health.problems(clock.now()).into_iter().map(|problem| problem.code).collect()
}

#[tokio::test]
async fn a_feeds_reader_that_takes_nothing_is_told_of_and_one_that_hangs_up_is_not() {
    assert_eq!(told(true, false).await, "feed_readers_cut_off");
    assert_eq!(told(true, true).await, "");
    assert_eq!(told(false, false).await, "", "others miss no revocation");
}

/// The answer to a request that comes over TLS to the server of `m.example`.
async fn answered_over_tls(request: &str) -> String {
    let (guest, ended) = Places::new(1, 1, 1).admit(RequestSource::User(0)).await.unwrap();
    let plain = site(Router::new().route("/", get(|| async { "x" })));
    let site = Site {
        hosts: Hosts::of("https://m.example", &[]),
        defaults: ListenerDefaults { over_tls: true },
        ..plain
    };
    let (io, mut peer) = tokio::io::duplex(4096);
    peer.write_all(request.as_bytes()).await.unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let connected = Connected { io, peer: Peer::Unix { uid: 0 }, local: None, guest, ended };
    let served =
        tokio::time::timeout(Duration::from_secs(20), serve_connection(connected, site, shutdown)).await;
    served.unwrap_or_else(|_| panic!("it goes on: {request}"));
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    answer
}

const STAY: &str = "strict-transport-security: max-age=63072000\r\n";

#[tokio::test]
async fn over_tls_refusals_too_tell_browsers_to_stay_with_it() {
    for (host, status) in [("host: m.example\r\n", "200"), ("host: evil.example\r\n", "421"), ("", "400")] {
        let answer = answered_over_tls(&format!("GET / HTTP/1.1\r\n{host}connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert_eq!(answer.matches(STAY).count(), 1, "{host}: {answer}");
    }
}

#[tokio::test]
async fn over_tls_what_the_library_answers_by_itself_tells_browsers_to_stay_with_it() {
    let answer = answered_over_tls("no HTTP at all\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches(STAY).count(), 1, "{answer}");
}

/// A connection that brings one request, takes all of the answer, and notes at which addresses that was.
struct Noting {
    request: &'static [u8],
    taken: Arc<Mutex<Vec<Range<usize>>>>,
}

impl Noting {
    fn note(&self, bytes: &[u8]) -> usize {
        let Range { start, end } = bytes.as_ptr_range();
        self.taken.lock().push(start.addr()..end.addr());
        bytes.len()
    }
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let request = std::mem::take(&mut self.request);
        buf.put_slice(request);
        if request.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.note(buf)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bufs.iter().map(|buf| self.note(buf)).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn bytes_that_answers_share_are_sent_from_where_they_are_and_no_copy_is_made_for_a_connection() {
    let places = Places::new(1, 1, 1);
    let (guest, ended) = places.admit(RequestSource::User(0)).await.unwrap();
    let shared: [Bytes; 2] = [vec![b'x'; 1024 * 1024].into(), vec![b'y'; 4 * 1024].into()];
    let pieces = shared.clone();
    let answer = move || {
        let pieces = pieces.clone();
        async move { Body::from_stream(stream::iter(pieces.map(Ok::<Bytes, Infallible>))) }
    };
    let taken = Arc::new(Mutex::new(Vec::new()));
    let io = Noting {
        request: b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        taken: Arc::clone(&taken),
    };
    let io = TimelyIo::new(io, Duration::from_secs(60));
    let (_stop, shutdown) = watch::channel(false);
    let connected = Connected { io, peer: Peer::Unix { uid: 0 }, local: None, guest, ended };
    serve_connection(connected, site(Router::new().route("/", get(answer))), shutdown).await;
    for piece in &shared {
        let (start, end) = (piece.as_ptr_range().start.addr(), piece.as_ptr_range().end.addr());
        let taken = taken.lock();
        let of_it: usize = taken
            .iter()
            .filter(|range| start <= range.start && range.end <= end)
            .map(ExactSizeIterator::len)
            .sum();
        assert_eq!(of_it, piece.len(), "the whole piece, from where it is");
    }
}

/// How many bytes of an answer without end a server gets rid of to a peer that reads nothing.
struct Endless {
    piece: Bytes,
    given: Arc<AtomicUsize>,
}

impl Endless {
    fn new() -> Self {
        Self { piece: vec![b'x'; 16 * 1024].into(), given: Arc::default() }
    }

    fn site(&self) -> Site {
        let (piece, given) = (self.piece.clone(), Arc::clone(&self.given));
        let answer = move || {
            let (piece, given) = (piece.clone(), Arc::clone(&given));
            let pieces = stream::repeat_with(move || {
                given.fetch_add(piece.len(), Ordering::SeqCst);
                Ok::<Bytes, Infallible>(piece.clone())
            });
            async move { Body::from_stream(pieces) }
        };
        site(Router::new().route("/", get(answer)))
    }

    /// Once it has been the same for a while.
    async fn at_last(&self) -> usize {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let given = self.given.load(Ordering::SeqCst);
            if given == before && given > 0 {
                return given;
            }
            before = given;
        }
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// What may be on its way to a peer that reads nothing: the kernel's buffer, which counts twice, the peer's
/// own, and what the HTTP library holds back.
const ON_ITS_WAY: usize = 2 * SEND_BUFFER + 128 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_keeps_little_for_a_peer_that_reads_nothing_over_tcp() {
    let endless = Endless::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, shutdown) = watch::channel(false);
    tokio::spawn(serve_tcp(listener, None, Places::new(4, 1, 1), endless.site(), shutdown));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut peer = socket.connect(address).await.unwrap();
    peer.write_all(GET).await.unwrap();
    let given = endless.at_last().await;
    assert!(given <= ON_ITS_WAY, "{given}");
    // It goes on as soon as the peer reads.
    let mut taken = vec![0; 2 * ON_ITS_WAY];
    peer.read_exact(&mut taken).await.unwrap();
    assert!(endless.at_last().await > given);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_the_unix_socket_that_reads_nothing_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("socket");
    let (endless, listener) = (Endless::new(), UnixListener::bind(&path).unwrap());
    let (_stop, shutdown) = watch::channel(false);
    tokio::spawn(serve_unix(listener, Places::new(1, 1, 1), endless.site(), shutdown));
    let mut peer = UnixStream::connect(&path).await.unwrap();
    peer.write_all(GET).await.unwrap();
    endless.at_last().await;
    // Once the server has closed its end, nothing can be written to it.
    let is_closed =
        |written: io::Result<usize>| written.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
    let ended = async {
        while !is_closed(peer.try_write(b"x")) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WRITE_TIMEOUT * 3, ended).await.expect("it holds the connection");
}

#[tokio::test]
async fn the_send_buffers_of_both_kinds_of_sockets_are_bounded() {
    use rustix::net::sockopt::socket_send_buffer_size;
    // Linux counts twice what it is told, for what it needs itself, and never more than the machine's own
    // bound.
    let within = |socket: std::os::fd::BorrowedFd<'_>| {
        bound_send_buffer(socket);
        let size = socket_send_buffer_size(socket).unwrap();
        assert!(size <= 2 * SEND_BUFFER, "{size}");
        size
    };
    let (one, _other) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&one, 4 * SEND_BUFFER).unwrap();
    assert!(socket_send_buffer_size(&one).unwrap() > 2 * SEND_BUFFER);
    let unix = within(one.as_fd());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(within(listener.as_fd()), unix);
    let _peer = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    assert_eq!(socket_send_buffer_size(&accepted).unwrap(), unix, "a connection has it from its listener");
}
