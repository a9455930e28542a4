//! TLS for the public and the admin listener: a given certificate, read again when its files change.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::{Clock, Issuer, Timestamp};
use mandate_files::{FileError, text};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;

use crate::health::problem;

/// How often the files are checked. A watcher would need a dependency, and a renewal has hours of overlap.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The largest file that is read. No real certificate file is larger.
const LARGEST: u64 = 1 << 20;

/// How long before the end of a certificate the log begins to warn. Renewals happen a month before, or when a
/// third of a short lifetime is left.
const SOON: Duration = Duration::from_hours(14 * 24);

/// How often the log repeats that warning.
const REPEAT: Duration = Duration::from_hours(12);

/// What is wrong with a certificate or key file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or others could read the key or change either.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no PEM certificate or key.
    #[error("{path} holds no PEM {what}")]
    Pem {
        /// The file that was read.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// Certificate and key do not belong together, or the key is of an unsupported kind.
    #[error(
        "the certificate and the private key do not belong together, or the key is of an unsupported kind"
    )]
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

/// When certificate and key were written.
type Stamps = (Option<SystemTime>, Option<SystemTime>);

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl Files {
    fn stamps(&self) -> Stamps {
        (modified(&self.cert), modified(&self.key))
    }

    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let pem = |path: &Path, what| TlsError::Pem { path: path.to_owned(), what };
        let text = mandate_files::read_trusted(&self.cert, LARGEST)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text::without_mark(&text))
            .collect::<Result<_, _>>()
            .map_err(|_| pem(&self.cert, "certificate"))?;
        if chain.is_empty() {
            return Err(pem(&self.cert, "certificate"));
        }
        let text = mandate_files::read_private(&self.key, LARGEST)?;
        let key = PrivateKeyDer::from_pem_slice(text::without_mark(text.expose_secret()))
            .map_err(|_| pem(&self.key, "private key"))?;
        CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Pair)
    }
}

/// The times between which a certificate is valid (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second in which it is valid.
    pub not_before: Timestamp,
    /// The last second in which it is valid.
    pub not_after: Timestamp,
}

/// What clients will think of a certificate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStanding {
    /// It is valid for two weeks or longer.
    Good,
    /// It ends within two weeks.
    EndsSoon,
    /// It has ended: clients refuse it.
    Expired,
    /// It has not begun: clients refuse it.
    NotYet,
}

impl Validity {
    /// The validity of a certificate in DER. None if it cannot be read.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let time = |seconds: i64| Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0));
        let validity = parsed.validity();
        Some(Self {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// What clients will think of the certificate at `now`.
    pub fn standing(&self, now: Timestamp) -> CertificateStanding {
        if now < self.not_before {
            CertificateStanding::NotYet
        } else if now > self.not_after {
            CertificateStanding::Expired
        } else if self.not_after < now.plus(SOON) {
            CertificateStanding::EndsSoon
        } else {
            CertificateStanding::Good
        }
    }

    fn say(&self, now: Timestamp, path: &Path) {
        let path = path.display();
        match self.standing(now) {
            CertificateStanding::Good => {}
            CertificateStanding::EndsSoon => {
                tracing::warn!(%path, until = %self.not_after, "the TLS certificate ends soon; renew it");
            }
            CertificateStanding::Expired => {
                tracing::error!(%path, since = %self.not_after, "the TLS certificate has expired, and clients refuse it; renew it");
            }
            CertificateStanding::NotYet => {
                tracing::error!(%path, from = %self.not_before, "the TLS certificate is not valid yet, and clients refuse it; check it and this machine's clock");
            }
        }
    }
}

/// The validity of the certificate in a PEM file, leaf first.
fn validity(cert: &Path) -> Result<Validity, TlsError> {
    let unreadable = || TlsError::Pem { path: cert.to_owned(), what: "certificate" };
    let text = mandate_files::read_trusted(cert, LARGEST)?;
    let leaf = CertificateDer::from_pem_slice(text::without_mark(&text)).map_err(|_| unreadable())?;
    Validity::of(&leaf).ok_or_else(unreadable)
}

/// Whether a certificate and a key can be served, and until when.
pub fn check(cert: &Path, key: &Path) -> Result<Validity, TlsError> {
    Files { cert: cert.to_owned(), key: key.to_owned() }.load(&provider())?;
    validity(cert)
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

/// What a listener serves with, and the certificate in it.
pub(crate) type Loaded = (Arc<ServerConfig>, Arc<Served>);

/// A certificate that is being served.
#[derive(Debug)]
pub(crate) struct Served {
    resolver: Arc<Reloading>,
    files: Arc<Files>,
    provider: Arc<CryptoProvider>,
    /// When the files that were read first were written.
    stamps: Stamps,
    /// Notified to check the files at once.
    look: Notify,
}

impl Served {
    /// The validity of the certificate that clients are shown now.
    pub(crate) fn validity(&self) -> Option<Validity> {
        Validity::of(self.resolver.current.load().cert.first()?)
    }

    /// What an operator should know about the certificate.
    pub(crate) fn problem(&self, now: Timestamp) -> Option<StatusProblem> {
        let validity = self.validity()?;
        let path = self.files.cert.display();
        let (code, what) = match validity.standing(now) {
            CertificateStanding::Good => return None,
            CertificateStanding::EndsSoon => (
                problem_code::CERTIFICATE_EXPIRES,
                format!("the TLS certificate {path} ends at {}", validity.not_after),
            ),
            CertificateStanding::Expired => (
                problem_code::CERTIFICATE_EXPIRED,
                format!("the TLS certificate {path} expired at {}: clients refuse it", validity.not_after),
            ),
            CertificateStanding::NotYet => (
                problem_code::CERTIFICATE_NOT_YET_VALID,
                format!(
                    "the TLS certificate {path} is valid only from {}: clients refuse it",
                    validity.not_before
                ),
            ),
        };
        Some(problem(code, what, "renew it: the server reads the files again when they change".to_owned()))
    }

    /// Makes the files be read again at once, changed or not.
    pub(crate) fn reload(&self) {
        self.look.notify_one();
    }

    /// Follows the files for as long as the certificate is served.
    pub(crate) async fn follow(&self, clock: &dyn Clock) {
        let (mut said, mut stamps) = (Instant::now(), self.stamps);
        loop {
            let asked = tokio::time::timeout(LOOK_EVERY, self.look.notified()).await.is_ok();
            let (files, provider) = (Arc::clone(&self.files), Arc::clone(&self.provider));
            // Reading files may block, and this thread has requests to answer.
            let looked = tokio::task::spawn_blocking(move || {
                let seen = files.stamps();
                (asked || seen != stamps).then(|| (seen, files.load(&provider)))
            });
            // The thread ends without an answer only where the server ends.
            if let Ok(Some((seen, pair))) = looked.await {
                match pair {
                    Ok(pair) => {
                        stamps = seen;
                        self.resolver.current.store(Arc::new(pair));
                        tracing::info!("the TLS certificate was read again and is in use");
                        self.say(clock.now());
                        said = Instant::now();
                    }
                    // Certificate and key are replaced one after the other: a mismatch in between is normal.
                    Err(error) => {
                        tracing::warn!(%error, "the changed TLS certificate cannot be used; the old one stays in use");
                    }
                }
            }
            if said.elapsed() >= REPEAT {
                self.say(clock.now());
                said = Instant::now();
            }
        }
    }

    fn say(&self, now: Timestamp) {
        if let Some(validity) = self.validity() {
            validity.say(now, &self.files.cert);
        }
    }
}

/// A server configuration that follows its files. If a pair does not load, that is reported and the old pair
/// is kept. A certificate that clients will refuse because of its time is served and reported: the clock may
/// be wrong, and a renewal is loaded later.
pub(crate) fn reloading(cert: PathBuf, key: PathBuf, clock: &dyn Clock) -> Result<Loaded, TlsError> {
    let provider = provider();
    let files = Files { cert, key };
    let stamps = files.stamps();
    let resolver = Arc::new(Reloading { current: ArcSwap::from_pointee(files.load(&provider)?) });
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Config)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let served = Arc::new(Served { resolver, files: Arc::new(files), provider, stamps, look: Notify::new() });
    served.say(clock.now());
    Ok((Arc::new(config), served))
}

/// How clients reach a listener at `address` over TLS: by the address, if the certificate in `cert` is valid
/// for it, else by the host of the issuer, for which it has to be valid.
pub(crate) fn reachable_as(cert: &Path, address: SocketAddr, issuer: &Issuer) -> String {
    let certificate = mandate_files::read_trusted(cert, LARGEST).ok();
    let certificate =
        certificate.and_then(|pem| CertificateDer::from_pem_slice(text::without_mark(&pem)).ok());
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    use mandate_core::SystemClock;
    use mandate_testkit::busy_threads;
    use rcgen::{CertificateParams, KeyPair};
    use tokio::time::{sleep, timeout};

    use super::reloading;

    /// Writes a new pair. Returns the certificate in DER.
    fn renew(cert: &Path, key: &Path) -> Vec<u8> {
        let pair = KeyPair::generate().unwrap();
        let made = CertificateParams::new(["acme.example".to_owned()]).unwrap().self_signed(&pair).unwrap();
        fs::write(cert, made.pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        made.der().to_vec()
    }

    #[test]
    fn a_changed_certificate_is_read_on_a_thread_that_may_block() {
        let (runtime, busy) = busy_threads::runtime();
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let first = renew(&cert, &key);
        let (_, served) = reloading(cert.clone(), key.clone(), &SystemClock).unwrap();
        let shown = || served.resolver.current.load().cert[0].to_vec();
        assert_eq!(shown(), first);
        let second = renew(&cert, &key);
        served.reload();
        runtime.block_on(async {
            let mut following = Box::pin(served.follow(&SystemClock));
            assert!(timeout(Duration::from_millis(200), &mut following).await.is_err());
            assert_eq!(shown(), first, "there is no such thread yet");
            drop(busy);
            let renewed = async {
                while shown() != second {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::select! {
                () = &mut following => panic!("it goes on as long as the server"),
                renewed = timeout(Duration::from_secs(20), renewed) => renewed.unwrap(),
            }
        });
    }
}
