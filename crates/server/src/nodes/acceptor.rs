//! The nodes' listener: TLS under the authority's own certificate, client certificates verified when they are shown.
//!
//! A connection without client certificate is let in, because a node that joins has none yet; all it can call is `Join`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use mandate_authority::{Authority, ServerName};
use mandate_core::{SpiffeId, TrustDomain};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::listener::Shutdown;
use crate::tls::provider;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The most connections at once.
const MAX_CONNECTIONS: usize = 4096;

/// The listener's certificate lives an hour and is replaced long before.
const REPLACE: Duration = Duration::from_mins(20);

/// Who is at the other end of a connection of the nodes' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodePeer {
    /// A client without certificate.
    Stranger,
    /// The holder of a certificate that our authority signed.
    Holder(SpiffeId),
}

/// One TLS connection.
pub(crate) struct NodeStream {
    io: TlsStream<TcpStream>,
    peer: NodePeer,
}

impl Connected for NodeStream {
    type ConnectInfo = NodePeer;

    fn connect_info(&self) -> NodePeer {
        self.peer.clone()
    }
}

impl AsyncRead for NodeStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

fn config(authority: &Authority, address: IpAddr) -> Result<ServerConfig, AcceptorError> {
    let provider = provider();
    let issued = authority.issue_server_certificate(&[ServerName::Ip(address), ServerName::Dns("localhost".to_owned())])?;
    let chain = issued.certificate.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.private_key.expose_secret().to_vec()));
    let mut roots = RootCertStore::empty();
    for ca in authority.ca_certificates_der() {
        roots.add(CertificateDer::from(ca))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The SPIFFE ID in a verified client certificate: exactly one URI name, in our trust domain, with a path
/// (X509-SVID §5.2).
fn identity(der: &CertificateDer<'_>, trust_domain: &TrustDomain) -> Option<SpiffeId> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return None };
    uri.parse::<SpiffeId>().ok().filter(|id| id.is_member_of(trust_domain) && !id.path().is_empty())
}

fn peer(io: &TlsStream<TcpStream>, trust_domain: &TrustDomain) -> Option<NodePeer> {
    let (_, session) = io.get_ref();
    match session.peer_certificates().and_then(<[_]>::first) {
        None => Some(NodePeer::Stranger),
        // A certificate without a usable identity is no stranger and no node: the connection ends.
        Some(leaf) => identity(leaf, trust_domain).map(NodePeer::Holder),
    }
}

/// Accepts connections into a channel until shutdown.
pub(crate) async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    authority: Arc<Authority>,
    out: mpsc::Sender<io::Result<NodeStream>>,
    mut shutdown: Shutdown,
) -> Result<(), AcceptorError> {
    let current = Arc::new(ArcSwap::from_pointee(config(&authority, address.ip())?));
    let mut keys = authority.subscribe();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut renew = tokio::time::interval(REPLACE);
    renew.tick().await;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = async { tokio::select! { _ = renew.tick() => true, changed = keys.changed() => changed.is_ok() } } => {
                match config(&authority, address.ip()) {
                    Ok(config) if changed => current.store(Arc::new(config)),
                    Ok(_) => return Ok(()),
                    Err(error) => tracing::error!(%error, "the certificate of the nodes' listener could not be replaced"),
                }
                continue;
            }
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let (acceptor, out, trust_domain) = (TlsAcceptor::from(current.load_full()), out.clone(), authority.trust_domain().clone());
        tokio::spawn(async move {
            // The slot bounds handshakes; established connections are bounded by HTTP/2 keep-alive below.
            let _slot = slot;
            if let Ok(Ok(io)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await
                && let Some(peer) = peer(&io, &trust_domain)
            {
                let _ = out.send(Ok(NodeStream { io, peer })).await;
            }
        });
    }
}
