//! TLS for the public and the admin listener: a given certificate, read again when its files change.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use mandate_core::Issuer;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at. A watcher would need a dependency; a renewal has hours of overlap.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is wrong with a certificate or key file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no PEM certificate or key.
    #[error("{path} holds no PEM {what}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// Certificate and key do not belong together, or the key is of an unsupported kind.
    #[error("the certificate and the private key do not belong together, or the key is of an unsupported kind")]
    Pair(#[source] rustls::Error),
    /// The TLS library refuses the configuration.
    #[error("the TLS library refuses the configuration")]
    Config(#[source] rustls::Error),
}

/// A certificate and key on disk.
#[derive(Debug)]
pub(crate) struct Files {
    cert: PathBuf,
    key: PathBuf,
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl Files {
    fn stamps(&self) -> (Option<SystemTime>, Option<SystemTime>) {
        (modified(&self.cert), modified(&self.key))
    }

    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
        let pem = |path: &Path, what| TlsError::Pem { path: path.to_owned(), what };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&read(&self.cert)?).collect::<Result<_, _>>().map_err(|_| pem(&self.cert, "certificate"))?;
        if chain.is_empty() {
            return Err(pem(&self.cert, "certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|_| pem(&self.key, "private key"))?;
        CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Pair)
    }
}

/// Answers every handshake with the newest pair that could be loaded.
#[derive(Debug)]
struct Reloading {
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The cryptography of every TLS connection of this process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server configuration that follows its files. A pair that does not load is reported and the old one kept.
pub(crate) fn reloading(cert: PathBuf, key: PathBuf) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let files = Files { cert, key };
    let mut stamps = files.stamps();
    let resolver = Arc::new(Reloading { current: ArcSwap::from_pointee(files.load(&provider)?) });
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Once the listener is gone, nobody else holds the resolver.
            if Arc::strong_count(&resolver) == 1 {
                return;
            }
            let seen = files.stamps();
            if seen == stamps {
                continue;
            }
            match files.load(&provider) {
                Ok(pair) => {
                    resolver.current.store(Arc::new(pair));
                    stamps = seen;
                    tracing::info!("the TLS certificate has changed and is in use");
                }
                // Certificate and key are replaced one after the other: a mismatch in between is normal.
                Err(error) => tracing::warn!(%error, "the changed TLS certificate cannot be used; the old one stays in use"),
            }
        }
    });
    Ok(Arc::new(config))
}

/// How clients reach a listener at `address` over TLS: by the address, if the certificate in `cert` is valid for it, else
/// by the host of the issuer, for which it has to be valid.
pub(crate) fn reachable_as(cert: &Path, address: SocketAddr, issuer: &Issuer) -> String {
    let certificate = fs::read(cert).ok().and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    let is_valid = |certificate: &CertificateDer<'_>| {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        verify_server_name(&parsed, &ServerName::from(address.ip())).ok()
    };
    if !address.ip().is_unspecified() && certificate.as_ref().and_then(is_valid).is_some() {
        return address.to_string();
    }
    let host = url::Url::parse(issuer.as_str()).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.map_or_else(|| address.to_string(), |host| format!("{host}:{}", address.port()))
}
