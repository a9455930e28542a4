//! The nodes' listener: TLS under the authority's own certificate, client certificates verified when they are
//! shown.
//!
//! A connection without client certificate is accepted, because a node that joins has none yet; it can only
//! call `Join`. The number of such strangers and their time are limited; a node never waits for one of them
//! to disconnect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use mandate_authority::{Authority, ServerName};
use mandate_core::{RequestSource, SpiffeId, Timestamp, TrustDomain};
use mandate_identity::PresentedCertificate;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Bounds;
use super::rejoin::WithGrace;
use crate::listener::{HEAD_TIMEOUT, Shutdown, TLS_BUFFER, bound_send_buffer, could_not_accept};
use crate::places::{Ended, Guest};
use crate::timely_io::{TimelyIo, WRITE_TIMEOUT};
use crate::tls::provider;

/// How long a connection without a client certificate may stay: a node that joins makes one call.
const STRANGERS_STAY: Duration = Duration::from_mins(1);

/// How many `Watch` calls a connection may have open. A node needs one, and one more while the first ends.
const MOST_WATCHES: usize = 2;

/// The listener's certificate lives an hour and is replaced long before.
const REPLACE: Duration = Duration::from_mins(20);

/// Who is at the other end of a connection of the nodes' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodePeer {
    /// A client without certificate, at this address.
    Stranger(IpAddr),
    /// The holder of a certificate that our authority signed, and that was valid at the handshake.
    Holder(PresentedCertificate),
    /// The holder of an expired certificate, which the operator lets nodes renew. It counts as a stranger
    /// until it has renewed it.
    Late(PresentedCertificate),
}

/// A connection, as calls see it.
#[derive(Clone)]
pub(crate) struct NodeConnection {
    pub(crate) peer: NodePeer,
    /// For calls that stay open.
    pub(crate) watches: Arc<Semaphore>,
    guest: Weak<Guest>,
}

impl NodeConnection {
    /// One without a place, for tests of calls.
    #[cfg(test)]
    pub(crate) fn of(peer: NodePeer) -> Self {
        Self { peer, watches: Arc::new(Semaphore::new(MOST_WATCHES)), guest: Weak::new() }
    }

    pub(crate) fn must_end(&self) {
        if let Some(guest) = self.guest.upgrade() {
            guest.must_end();
        }
    }
}

/// One connection, over TLS except in tests. It holds its place among the connections until it is dropped.
pub(crate) struct NodeStream<I = TlsStream<TimelyIo<TcpStream>>> {
    io: I,
    connection: NodeConnection,
    /// When a stranger must be disconnected.
    until: Option<Pin<Box<Sleep>>>,
    /// Completes when another connection takes its place.
    ended: Ended,
    /// Whether another connection has taken its place.
    is_over: bool,
    _guest: Arc<Guest>,
}

impl<I> NodeStream<I> {
    /// `None` if there are too many strangers.
    fn new(io: I, peer: NodePeer, (guest, ended): (Guest, Ended), stay: Duration) -> Option<Self> {
        guest.was_served();
        let until = match &peer {
            NodePeer::Stranger(_) | NodePeer::Late(_) if guest.stays() => {
                Some(Box::pin(tokio::time::sleep(stay)))
            }
            NodePeer::Stranger(_) | NodePeer::Late(_) => return None,
            NodePeer::Holder(shown) => {
                guest.is_known(&shown.spiffe_id.shared());
                None
            }
        };
        let guest = Arc::new(guest);
        let connection = NodeConnection {
            peer,
            watches: Arc::new(Semaphore::new(MOST_WATCHES)),
            guest: Arc::downgrade(&guest),
        };
        Some(Self { io, connection, until, ended, is_over: false, _guest: guest })
    }

    /// Whether it may stay. HTTP/2 does not read while it cannot write, so this is asked at both.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_over = self.is_over || Pin::new(&mut self.ended).poll(cx).is_ready();
        if self.is_over {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for NodeStream {
    type ConnectInfo = NodeConnection;

    fn connect_info(&self) -> NodeConnection {
        self.connection.clone()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for NodeStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for NodeStream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Why the listener has no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptorError {
    /// The authority issued no certificate.
    #[error("the authority issued no certificate for the nodes' listener: {0}")]
    Certificate(#[from] mandate_authority::CertificateError),
    /// The TLS library refuses it.
    #[error("the TLS library refuses the certificate of the nodes' listener: {0}")]
    Tls(#[from] rustls::Error),
    /// The TLS library refuses the roots.
    #[error("the TLS library refuses the roots of the nodes' listener: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

fn config(authority: &Authority, address: IpAddr, grace: Duration) -> Result<ServerConfig, AcceptorError> {
    let provider = provider();
    let issued = authority
        .issue_server_certificate(&[ServerName::Ip(address), ServerName::Dns("localhost".to_owned())])?;
    let chain = issued.certificate.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.private_key.expose_secret().to_vec()));
    let mut roots = RootCertStore::empty();
    for ca in authority.ca_certificates_der() {
        roots.add(CertificateDer::from(ca))?;
    }
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let verifier = Arc::new(WithGrace { inner, grace });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The SPIFFE ID in a verified client certificate (exactly one URI name, in our trust domain, with a path:
/// X509-SVID §5.2), and its `notAfter`.
fn identity(der: &CertificateDer<'_>, trust_domain: &TrustDomain) -> Option<PresentedCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return None };
    let spiffe_id =
        uri.parse::<SpiffeId>().ok().filter(|id| id.is_member_of(trust_domain) && !id.path().is_empty())?;
    let expires = Timestamp::from_secs(u64::try_from(certificate.validity().not_after.timestamp()).ok()?);
    Some(PresentedCertificate { spiffe_id, expires })
}

fn peer<I>(io: &TlsStream<I>, address: IpAddr, trust_domain: &TrustDomain) -> Option<NodePeer> {
    let (_, session) = io.get_ref();
    match session.peer_certificates().and_then(<[_]>::first) {
        None => Some(NodePeer::Stranger(address)),
        // A certificate without a usable identity is no stranger and no node: the connection ends.
        Some(leaf) => identity(leaf, trust_domain).map(|shown| of(shown, UnixTime::now())),
    }
}

/// The kind of peer that a certificate gives at this time, which is the time that TLS uses.
fn of(shown: PresentedCertificate, now: UnixTime) -> NodePeer {
    if now.as_secs() < shown.expires.secs() { NodePeer::Holder(shown) } else { NodePeer::Late(shown) }
}

/// Accepts connections into a channel until shutdown.
pub(crate) async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    authority: Arc<Authority>,
    Bounds { places, rejoin_grace: grace }: Bounds,
    out: mpsc::Sender<io::Result<NodeStream>>,
    mut shutdown: Shutdown,
) -> Result<(), AcceptorError> {
    let current = Arc::new(ArcSwap::from_pointee(config(&authority, address.ip(), grace)?));
    let mut keys = authority.subscribe();
    let mut renew = tokio::time::interval(REPLACE);
    renew.tick().await;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = async { tokio::select! { _ = renew.tick() => true, changed = keys.changed() => changed.is_ok() } } => {
                match config(&authority, address.ip(), grace) {
                    Ok(config) if changed => current.store(Arc::new(config)),
                    Ok(_) => return Ok(()),
                    Err(error) => tracing::error!(%error, "the certificate of the nodes' listener could not be replaced"),
                }
                continue;
            }
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        };
        let (stream, peer_address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                could_not_accept(&error, &places).await;
                continue;
            }
        };
        let Some((guest, mut ended)) = places.admit(RequestSource::of(peer_address.ip())).await else {
            continue;
        };
        bound_send_buffer(&stream);
        let _ = stream.set_nodelay(true);
        let (acceptor, out, trust_domain) =
            (TlsAcceptor::from(current.load_full()), out.clone(), authority.trust_domain().clone());
        tokio::spawn(async move {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(TimelyIo::new(stream, WRITE_TIMEOUT))) => shaken,
                _ = &mut ended => return,
            };
            if let Ok(Ok(mut io)) = shaken
                && let Some(peer) = peer(&io, peer_address.ip(), &trust_domain)
            {
                io.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
                if let Some(stream) = NodeStream::new(io, peer, (guest, ended), STRANGERS_STAY) {
                    let _ = out.send(Ok(stream)).await;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::{Entropy, SystemClock, SystemEntropy};
    use mandate_store::Store;
    use rustls::ClientConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::watch;
    use tokio_rustls::TlsConnector;

    use super::{
        Authority, Bounds, CertificateDer, NodePeer, NodeStream, PresentedCertificate, RequestSource,
        RootCertStore, TcpListener, TcpStream, Timestamp, UnixTime, WRITE_TIMEOUT, accept, mpsc, of,
        provider,
    };
    use crate::places::Places;

    /// So long that it does not matter.
    const LONG: Duration = Duration::from_secs(60);

    async fn connect(
        places: &Arc<Places>,
        peer: NodePeer,
        stay: Duration,
    ) -> Option<(NodeStream<DuplexStream>, DuplexStream)> {
        let (io, other_end) = duplex(64);
        let admitted = places.admit(RequestSource::of("192.0.2.1".parse().unwrap())).await?;
        NodeStream::new(io, peer, admitted, stay).map(|stream| (stream, other_end))
    }

    fn stranger() -> NodePeer {
        NodePeer::Stranger([192, 0, 2, 7].into())
    }

    fn holder() -> NodePeer {
        let spiffe_id = "spiffe://acme.example/node/1".parse().unwrap();
        NodePeer::Holder(PresentedCertificate { spiffe_id, expires: Timestamp::from_secs(2_000_000_000) })
    }

    #[tokio::test]
    async fn nodes_and_those_who_are_about_to_join_are_not_kept_out_by_strangers() {
        let places = Places::for_nodes(2, 1, 2);
        let (mut node, mut peer) = connect(&places, holder(), LONG).await.unwrap();
        let mut strangers = Vec::new();
        for _ in 0..20 {
            strangers.push(connect(&places, stranger(), LONG).await.expect("a newcomer gets in"));
        }
        let error = strangers[0].0.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "the oldest has given way");
        peer.write_u8(7).await.unwrap();
        assert_eq!(node.read_u8().await.unwrap(), 7);
        let (newest, other_end) = strangers.last_mut().unwrap();
        other_end.write_u8(8).await.unwrap();
        assert_eq!(newest.read_u8().await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_connection_that_cannot_write_ends_too_when_it_must() {
        let places = Places::for_nodes(2, 1, 1);
        let (mut node, _peer) = connect(&places, holder(), LONG).await.unwrap();
        let connection = node.connection.clone();
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = node.write_all(&[0; 64]).await {
                    return error.kind();
                }
            }
        });
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        connection.must_end();
        let ended = tokio::time::timeout(LONG, writing).await.expect("it waits for the peer").unwrap();
        assert_eq!(ended, io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn a_peer_with_an_expired_certificate_is_no_node_yet() {
        let shown = || PresentedCertificate {
            spiffe_id: "spiffe://acme.example/node/1".parse().unwrap(),
            expires: Timestamp::from_secs(100),
        };
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        assert_eq!(of(shown(), at(99)), NodePeer::Holder(shown()));
        assert_eq!(of(shown(), at(100)), NodePeer::Late(shown()));
    }

    #[tokio::test]
    async fn a_node_that_is_late_has_a_strangers_place() {
        let places = Places::for_nodes(2, 1, 1);
        let spiffe_id = "spiffe://acme.example/node/1".parse().unwrap();
        let late = NodePeer::Late(PresentedCertificate { spiffe_id, expires: Timestamp::from_secs(1) });
        let (mut late, _peer) = connect(&places, late, LONG).await.unwrap();
        let _stranger = connect(&places, stranger(), LONG).await.expect("a newcomer gets in");
        let error = late.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "it gives way as strangers do");
    }

    #[tokio::test]
    async fn a_stranger_does_not_stay_and_a_node_does() {
        let places = Places::for_nodes(2, 1, 1);
        let short = Duration::from_millis(20);
        let (mut stranger, _idle) = connect(&places, stranger(), short).await.unwrap();
        let error = stranger.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut node, mut peer) = connect(&places, holder(), short).await.unwrap();
        tokio::time::sleep(short * 2).await;
        peer.write_u8(7).await.unwrap();
        assert_eq!(node.read_u8().await.unwrap(), 7);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let store = Store::open_blocking(&dir.path().join("state"), Arc::clone(&entropy)).unwrap();
        let (domain, issuer) = ("acme.example".parse().unwrap(), "https://m.example".parse().unwrap());
        let authority =
            Arc::new(Authority::open(store, domain, issuer, Arc::new(SystemClock), entropy).unwrap());
        let mut roots = RootCertStore::empty();
        for ca in authority.ca_certificates_der() {
            roots.add(CertificateDer::from(ca)).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (out, mut accepted) = mpsc::channel(1);
        let (_stop, shutdown) = watch::channel(false);
        let bounds = Bounds { places: Places::for_nodes(2, 1, 1), rejoin_grace: Duration::ZERO };
        tokio::spawn(accept(listener, address, authority, bounds, out, shutdown));

        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let peer = TcpStream::connect(address).await.unwrap();
        let _peer = TlsConnector::from(Arc::new(config)).connect(address.ip().into(), peer).await.unwrap();
        let mut stream = accepted.recv().await.unwrap().unwrap();
        let stuck = async {
            loop {
                if let Err(error) = stream.write_all(&[0; 4096]).await {
                    return error.kind();
                }
            }
        };
        let ended = tokio::time::timeout(WRITE_TIMEOUT * 3, stuck).await.expect("it holds the connection");
        assert_eq!(ended, io::ErrorKind::TimedOut);
    }
}
