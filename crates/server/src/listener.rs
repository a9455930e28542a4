//! HTTP/1.1 over TCP, TLS or a unix socket, with bounds on everything a peer can make us hold.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::peer::Peer;
use crate::timely_body::TimelyBody;

/// How long a peer may take to send its request head, and to finish a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may take to send the request's body: the largest registry file in a minute needs 13 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// The most connections at once, on each listener.
const MAX_CONNECTIONS: usize = 4096;

/// The largest request head, in bytes: a 16 KiB token in a header, and room.
const MAX_HEAD: usize = 32 * 1024;

/// Becomes true when the process is to stop.
pub(crate) type Shutdown = watch::Receiver<bool>;

async fn stopped(shutdown: &mut Shutdown) {
    // A dropped sender means the same.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// What a listener serves. What holds for every request is done around the router: axum would do it anew for each route,
/// at some allocations a request.
#[derive(Clone)]
pub(crate) struct Site {
    /// The routes.
    pub(crate) router: Router,
    /// Whether handlers are told who is at the other end.
    pub(crate) tells_peer: bool,
    /// The largest request body, in bytes.
    pub(crate) max_body: usize,
    /// Adds the headers that every response has unless its handler said otherwise.
    pub(crate) defaults: fn(&mut HeaderMap),
}

async fn serve_connection<I>(io: I, peer: Peer, site: Site, mut shutdown: Shutdown)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = tower::service_fn(move |mut request: hyper::Request<Incoming>| {
        if site.tells_peer {
            request.extensions_mut().insert(peer);
        }
        let Site { router, max_body, defaults, .. } = site.clone();
        async move {
            let limited = |body| axum::body::Body::new(TimelyBody::new(Limited::new(body, max_body), BODY_TIMEOUT));
            let mut response = router.oneshot(request.map(limited)).await?;
            defaults(response.headers_mut());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // Head and body of an answer are small: one buffer is cheaper to send than two.
        .writev(false)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A peer that breaks off is its own affair.
        _ = connection.as_mut() => {}
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(HEAD_TIMEOUT, connection).await;
        }
    }
}

/// Serves TCP, with TLS if a configuration is given, until shutdown.
pub(crate) async fn serve_tcp(listener: TcpListener, tls: Option<Arc<ServerConfig>>, site: Site, mut shutdown: Shutdown) {
    let acceptor = tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut shutdown) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors: give connections time to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let (site, acceptor, shutdown) = (site.clone(), acceptor.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _slot = slot;
            match acceptor {
                None => serve_connection(stream, Peer::Tcp, site, shutdown).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                        serve_connection(stream, Peer::Tcp, site, shutdown).await;
                    }
                }
            }
        });
    }
}

/// Serves a unix socket until shutdown. Every request knows the uid at the other end.
pub(crate) async fn serve_unix(listener: UnixListener, site: Site, mut shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut shutdown) => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Without credentials there is no peer, and without peer no request.
        let Ok(credentials) = stream.peer_cred() else { continue };
        tokio::spawn(serve_connection(stream, Peer::Unix { uid: credentials.uid() }, site.clone(), shutdown.clone()));
    }
}
