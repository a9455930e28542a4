//! HTTP/1.1 over TCP, TLS or a unix socket, with bounds on everything that a peer can make us store.

use std::convert::Infallible;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mandate_core::RequestSource;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::host::{Hosts, WrongHost};
use crate::json_line::end_with_newline;
use crate::library_answers::LibraryAnswers;
use crate::peer::Peer;
use crate::places::{Ended, Guest, Places};
use crate::timely_body::TimelyBody;
use crate::timely_io::{TimelyIo, WRITE_TIMEOUT};

/// How long a peer may take to send its request head, and to finish a TLS handshake. A connection may be idle
/// for as long.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest request head, in bytes: a 16 KiB token in a header, and room.
const MAX_HEAD: usize = 32 * 1024;

/// How many bytes for a peer the kernel buffers. The kernel counts twice as much, because it includes its own
/// overhead.
const SEND_BUFFER: usize = 128 * 1024;

/// How many bytes for a peer TLS buffers: one record.
pub(crate) const TLS_BUFFER: usize = 16 * 1024;

/// How long a listener waits if it could not get a file for a connection.
const NO_FILE: Duration = Duration::from_millis(10);

/// Becomes true when the process must stop.
pub(crate) type Shutdown = watch::Receiver<bool>;

/// Completes when the process must stop.
pub(crate) async fn stopped(shutdown: &mut Shutdown) {
    // A dropped sender means the same.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// The headers that every answer of a listener has, unless its handler has set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerDefaults {
    /// Whether peers reach the listener over TLS, ours or a proxy's. Without TLS, browsers ignore HSTS (RFC
    /// 6797 §8.1).
    pub(crate) over_tls: bool,
}

/// Two years, in seconds: the value that browsers' preload lists require.
const HSTS: &str = "max-age=63072000";

impl ListenerDefaults {
    fn add(self, headers: &mut HeaderMap) {
        headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if self.over_tls {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static(HSTS));
        }
    }

    /// The same headers as lines of text.
    fn lines(self) -> &'static str {
        if self.over_tls {
            "x-content-type-options: nosniff\r\ncache-control: no-store\r\nstrict-transport-security: max-age=63072000\r\n"
        } else {
            "x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
        }
    }
}

/// What a listener serves. The work that is the same for every request is done around the router: axum would
/// repeat it for each route, with some allocations for each request.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) router: Router,
    /// The largest request body, in bytes, and how long it may take to arrive.
    pub(crate) max_body: (usize, Duration),
    /// Which hosts it answers to.
    pub(crate) hosts: Hosts,
    /// The headers that every response has.
    pub(crate) defaults: ListenerDefaults,
}

impl Site {
    /// The same on a unix socket: no browser can reach it, and there is no TLS.
    pub(crate) fn for_the_socket(&self) -> Self {
        Self { hosts: Hosts::Any, defaults: ListenerDefaults { over_tls: false }, ..self.clone() }
    }
}

/// A connection that has its place.
struct Connected<I> {
    io: I,
    peer: Peer,
    /// Our own address, as the peer knows it.
    local: Option<IpAddr>,
    guest: Guest,
    ended: Ended,
}

fn misdirected(wrong: WrongHost) -> Response {
    let (status, text) = match wrong {
        WrongHost::Invalid => (
            StatusCode::BAD_REQUEST,
            "The request names no host, or more than one, or one that is malformed.\n",
        ),
        WrongHost::Other => (
            StatusCode::MISDIRECTED_REQUEST,
            "This server does not answer to that host. Use the issuer's URL, or start the server with --allow-host and that name.\n",
        ),
    };
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CONNECTION, "close")], text).into_response()
}

async fn serve_connection<I>(connected: Connected<I>, site: Site, mut shutdown: Shutdown)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Connected { io, peer, local, guest, ended } = connected;
    let (guest, lines) = (Arc::new(guest), site.defaults.lines());
    let served = Arc::clone(&guest);
    let service = tower::service_fn(move |mut request: hyper::Request<Incoming>| {
        let (Site { router, max_body, defaults, hosts }, guest) = (site.clone(), Arc::clone(&guest));
        async move {
            let mut response = if let Err(wrong) = hosts.check(&request, local) {
                misdirected(wrong)
            } else {
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(Arc::clone(&guest));
                let (most, time) = max_body;
                let method = request.method().clone();
                let limited =
                    |body| axum::body::Body::new(TimelyBody::of(&guest, Limited::new(body, most), time));
                end_with_newline(&method, router.oneshot(request.map(limited)).await?)
            };
            defaults.add(response.headers_mut());
            guest.was_served();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // Bytes that many answers share are sent as they are: in one buffer, each connection would have a
        // copy.
        .writev(true)
        .serve_connection(TokioIo::new(LibraryAnswers::new(io, lines)), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // If the peer breaks off, nothing is wrong here. If it took nothing of its answer, we ended the
        // connection.
        outcome = connection.as_mut() => {
            if outcome.is_err_and(|error| took_nothing(&error)) {
                served.is_cut_off();
            }
        }
        _ = ended => {}
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(HEAD_TIMEOUT, connection).await;
        }
    }
}

/// Whether a connection ended because its peer read nothing of what was sent ([`TimelyIo`]).
fn took_nothing(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What to do when the kernel cannot give a connection.
///
/// Most often the peer has disconnected again. If all files are in use despite all bounds, a stranger is
/// disconnected.
pub(crate) async fn could_not_accept(error: &std::io::Error, places: &Places) {
    let no_file = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    if error.raw_os_error().is_some_and(|code| no_file.contains(&code)) {
        places.end_a_stranger();
        tokio::time::sleep(NO_FILE).await;
    }
}

/// Bounds how much the kernel buffers for one peer. Without this bound, it buffers megabytes for a peer that
/// reads nothing. A listener's own bound would miss connections that were made before it was set.
pub(crate) fn bound_send_buffer(socket: impl AsFd) {
    if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER) {
        tracing::warn!(%error, "the kernel's send buffer could not be bounded");
    }
}

async fn serve_tls_connection(
    connected: Connected<TimelyIo<TcpStream>>,
    acceptor: TlsAcceptor,
    site: Site,
    shutdown: Shutdown,
) {
    let Connected { io, peer, local, guest, mut ended } = connected;
    // In a box, because it is larger than all that comes after it, and a connection lasts longer than its
    // handshake.
    let mut handshake = Box::pin(tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(io)));
    let shaken = tokio::select! {
        shaken = &mut handshake => shaken,
        _ = &mut ended => return,
    };
    drop(handshake);
    if let Ok(Ok(mut io)) = shaken {
        io.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        serve_connection(Connected { io, peer, local, guest, ended }, site, shutdown).await;
    }
}

/// Serves TCP, with TLS if a configuration is given, until shutdown.
pub(crate) async fn serve_tcp(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    places: Arc<Places>,
    site: Site,
    mut shutdown: Shutdown,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut shutdown) => return,
        };
        let (io, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                could_not_accept(&error, &places).await;
                continue;
            }
        };
        let admitted = tokio::select! {
            admitted = places.admit(RequestSource::of(address.ip())) => admitted,
            () = stopped(&mut shutdown) => return,
        };
        let Some((guest, ended)) = admitted else { continue };
        bound_send_buffer(&io);
        let _ = io.set_nodelay(true);
        let local = io.local_addr().ok().map(|address| address.ip());
        let io = TimelyIo::new(io, WRITE_TIMEOUT);
        let connected = Connected { io, peer: Peer::Tcp { address: address.ip() }, local, guest, ended };
        let (site, shutdown) = (site.clone(), shutdown.clone());
        match acceptor.clone() {
            Some(acceptor) => tokio::spawn(serve_tls_connection(connected, acceptor, site, shutdown)),
            None => tokio::spawn(serve_connection(connected, site, shutdown)),
        };
    }
}

/// Serves a unix socket until shutdown. Every request knows the uid of its peer. Operators have their own
/// places.
pub(crate) async fn serve_unix(
    listener: UnixListener,
    places: Arc<Places>,
    site: Site,
    mut shutdown: Shutdown,
) {
    let own = mandate_files::own_user();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut shutdown) => return,
        };
        let io = match accepted {
            Ok((io, _)) => io,
            Err(error) => {
                could_not_accept(&error, &places).await;
                continue;
            }
        };
        bound_send_buffer(&io);
        // Without credentials there is no peer, and without peer no request.
        let Ok(credentials) = io.peer_cred() else { continue };
        let uid = credentials.uid();
        let admitted = tokio::select! {
            admitted = places.admit(RequestSource::User(uid)) => admitted,
            () = stopped(&mut shutdown) => return,
        };
        let Some((guest, ended)) = admitted else { continue };
        if uid == 0 || own == Some(uid) {
            guest.is_known(&format!("uid:{uid}").into());
        }
        let io = TimelyIo::new(io, WRITE_TIMEOUT);
        let connected = Connected { io, peer: Peer::Unix { uid }, local: None, guest, ended };
        tokio::spawn(serve_connection(connected, site.clone(), shutdown.clone()));
    }
}

#[cfg(test)]
mod tests;
