//! TLS to a database: the certificate is always verified, and the login is bound to it where the server can
//! do that.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{self, Algorithm};
use mandate_files::text;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use x509_parser::oid_registry as oid;
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::error::AddressError;

/// The largest file of certificates or keys that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// PostgreSQL's name in ALPN (RFC 7301): a certificate of the same host that another protocol uses does not
/// serve here.
const PROTOCOL: &[u8] = b"postgresql";

/// The PEM files that TLS uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// The authorities to trust (PEM); those of the machine if there is none.
    pub(super) roots: Option<PathBuf>,
    /// The certificate chain of this client, leaf first, and its key (PEM).
    pub(super) pair: Option<(PathBuf, PathBuf)>,
}

impl Files {
    fn load(&self) -> Result<Arc<ClientConfig>, AddressError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(AddressError::Tls)?;
        let builder = match &self.roots {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder.with_platform_verifier().map_err(AddressError::Tls)?,
        };
        let mut config = match &self.pair {
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(AddressError::Pair)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

fn roots(path: &Path) -> Result<RootCertStore, AddressError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(AddressError::Tls)?;
    }
    Ok(roots)
}

/// A file that others can change is refused: they could choose whom we trust.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AddressError> {
    let none = || AddressError::Pem { path: path.to_owned(), what: "certificate" };
    let pem = mandate_files::read_trusted(path, LARGEST)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(text::without_mark(&pem))
        .collect::<Result<_, _>>()
        .map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, AddressError> {
    let pem = mandate_files::read_private(path, LARGEST)?;
    PrivateKeyDer::from_pem_slice(text::without_mark(pem.expose_secret()))
        .map_err(|_| AddressError::Pem { path: path.to_owned(), what: "private key" })
}

/// Makes the TLS of each connection to one database, with the files as they are then: certificates are
/// renewed while the server runs, and an authority that was removed must not be trusted until a restart.
#[derive(Clone, Debug)]
pub struct PostgresTls {
    /// None where the connection does not leave the machine.
    files: Option<Files>,
}

impl PostgresTls {
    pub(super) fn none() -> Self {
        Self { files: None }
    }

    /// Refuses files that cannot be used now.
    pub(super) fn of(files: &Files) -> Result<Self, AddressError> {
        files.load()?;
        Ok(Self { files: Some(files.clone()) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for PostgresTls {
    type Stream = Protected<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    /// Called for each connection, also for one that then has no TLS. The files are small and local, and the
    /// threads that wait for a connection may block.
    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, io::Error> {
        let config = self.files.as_ref().map(Files::load).transpose().map_err(io::Error::other)?;
        Ok(Handshake { config, host: host.to_owned() })
    }
}

/// The TLS of one connection, before it is made.
pub struct Handshake {
    config: Option<Arc<ClientConfig>>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Protected<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Protected<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("this address has no TLS"))?;
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(Protected(TlsConnector::from(config).connect(name, stream).await?))
        })
    }
}

/// A connection with TLS.
pub struct Protected<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Protected<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point(certificate)) {
            Some(digest) => ChannelBinding::tls_server_end_point(digest),
            None => ChannelBinding::none(),
        }
    }
}

/// The value of `tls-server-end-point` for a certificate (RFC 5929 §4.1). None where it is not defined.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let hash = match SignatureAlgorithm::try_from(algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => of_hash(parameters.hash_algorithm_oid())?,
        _ => of_signature(&algorithm.algorithm)?,
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

fn of_signature(algorithm: &oid::Oid<'_>) -> Option<&'static Algorithm> {
    let is = |list: &[oid::Oid<'static>]| list.contains(algorithm);
    if is(&[oid::OID_PKCS1_SHA256WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA256]) {
        Some(&digest::SHA256)
    } else if is(&[oid::OID_PKCS1_SHA384WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA384]) {
        Some(&digest::SHA384)
    } else if is(&[oid::OID_PKCS1_SHA512WITHRSA, oid::OID_SIG_ECDSA_WITH_SHA512]) {
        Some(&digest::SHA512)
    } else if is(&[oid::OID_PKCS1_MD5WITHRSAENC, oid::OID_PKCS1_SHA1WITHRSA]) {
        // A certificate that signs itself may have these; for them the RFC says SHA-256.
        Some(&digest::SHA256)
    } else {
        None
    }
}

fn of_hash(hash: &oid::Oid<'_>) -> Option<&'static Algorithm> {
    if *hash == oid::OID_NIST_HASH_SHA256 {
        Some(&digest::SHA256)
    } else if *hash == oid::OID_NIST_HASH_SHA384 {
        Some(&digest::SHA384)
    } else if *hash == oid::OID_NIST_HASH_SHA512 {
        Some(&digest::SHA512)
    } else {
        None
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Protected<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Protected<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
