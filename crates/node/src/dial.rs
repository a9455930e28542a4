//! One connection to the server: TCP, TLS to the server alone, HTTP/2.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mandate_core::{Clock, SpiffeId};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::alert::{Alert, Heard};
use crate::credentials::Credentials;
use crate::error::{NOT_TLS, NodeError};
use crate::trust::{Anchor, ServerVerifier, TlsClock, Untrusted};

/// The longest that connecting may take, each of TCP and TLS.
const CONNECT: Duration = Duration::from_secs(5);

/// How often an idle connection is pinged, and how long the answer may take. If a server disappears without
/// closing the connection, that is noticed after at most the sum of both.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// There is no answer. Another try may succeed.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The server closed the connection after the handshake and said nothing. Another try may succeed.
    #[error("the server closed the connection: {0}")]
    Closed(String),
    /// The server does not accept this node's certificate.
    #[error("the server does not accept this node's certificate: {0}")]
    Refused(String),
    /// The server at the address is not the expected one.
    #[error("{0}")]
    Untrusted(String),
    /// The answer is not TLS: mostly this is the port of another listener of the same server.
    #[error("{NOT_TLS}")]
    NotTls,
}

/// A connection to the server.
pub(crate) struct Dialled {
    /// What calls go through.
    pub(crate) channel: Channel,
    /// Who the server is.
    pub(crate) server: SpiffeId,
    /// The alert of the server if it does not accept our certificate, which may come after this connection is
    /// made.
    pub(crate) alert: Alert,
}

/// The server's address, and what is needed to connect to it.
pub(crate) struct Dialer {
    address: String,
    name: ServerName<'static>,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
}

impl Dialer {
    /// `address` is `host:port`; an IPv6 host is in brackets.
    pub(crate) fn new(address: &str, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let malformed = || NodeError::Address { given: address.chars().take(80).collect() };
        let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let port = port.parse::<u16>().ok().filter(|port| *port != 0);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| malformed())?;
        port.ok_or_else(malformed)?;
        Ok(Self {
            address: address.to_owned(),
            name,
            clock,
            provider: Arc::new(aws_lc_rs::default_provider()),
        })
    }

    /// The address: `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Connects. With `own` credentials both sides are authenticated. Without them, only the server is, which
    /// is enough only for joining.
    pub(crate) async fn connect(
        &self,
        anchor: Anchor,
        own: Option<&Credentials>,
    ) -> Result<Dialled, DialError> {
        let verifier = Arc::new(ServerVerifier::new(anchor, self.provider.signature_verification_algorithms));
        let connector = TlsConnector::from(Arc::new(self.tls(&verifier, own)?));
        let unreachable = |error: &dyn std::fmt::Display| DialError::Unreachable(error.to_string());
        let late = || DialError::Unreachable("no answer in time".to_owned());
        let tcp = timeout(CONNECT, TcpStream::connect(&self.address))
            .await
            .map_err(|_| late())?
            .map_err(|error| unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let tls = timeout(CONNECT, connector.connect(self.name.clone(), tcp))
            .await
            .map_err(|_| late())?
            .map_err(|error| refusal(&error))?;
        let server =
            verifier.server().cloned().ok_or_else(|| DialError::Untrusted("it proved nothing".to_owned()))?;
        // The channel gets this one connection. When it breaks, calls fail and the session above dials again,
        // so that every connection is verified with the present credentials.
        let alert = Alert::default();
        let only = Mutex::new(Some(TokioIo::new(Heard::new(tls, alert.clone()))));
        let once = tower::service_fn(move |_: Uri| {
            let taken = only.lock().take();
            std::future::ready(taken.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)))
        });
        let (interval, patience) = KEEP_ALIVE;
        let endpoint = Endpoint::from_static("http://mandate-server")
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_with_connector(once).await.map_err(|error| {
            let reason = error.to_string();
            if alert.refuses_certificate() { DialError::Refused(reason) } else { DialError::Closed(reason) }
        })?;
        Ok(Dialled { channel, server, alert })
    }

    fn tls(
        &self,
        verifier: &Arc<ServerVerifier>,
        own: Option<&Credentials>,
    ) -> Result<ClientConfig, DialError> {
        let unusable = |error: rustls::Error| DialError::Untrusted(format!("TLS cannot be set up: {error}"));
        let builder = ClientConfig::builder_with_details(
            Arc::clone(&self.provider),
            Arc::new(TlsClock(Arc::clone(&self.clock))),
        )
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<ServerVerifier>::clone(verifier));
        let mut config = match own {
            Some(own) => {
                builder.with_client_auth_cert(own.chain().to_vec(), own.tls_key()).map_err(unusable)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn refusal(error: &io::Error) -> DialError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<Untrusted>() {
                Some(why) => DialError::Untrusted(why.to_string()),
                None => DialError::Untrusted(other.to_string()),
            }
        }
        Some(rustls::Error::InvalidMessage(_)) => DialError::NotTls,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => DialError::Unreachable(
            "its certificate is not valid yet; is this machine's clock behind?".to_owned(),
        ),
        Some(rustls::Error::InvalidCertificate(why)) => {
            DialError::Untrusted(format!("its certificate is not valid: {why}"))
        }
        _ => DialError::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::Dialer;
    use mandate_core::SystemClock;
    use std::sync::Arc;

    #[test]
    fn an_address_is_host_and_port() {
        let dialer = |text: &str| Dialer::new(text, Arc::new(SystemClock));
        for good in ["127.0.0.1:8081", "[::1]:8081", "mandate.acme.example:443", "localhost:1"] {
            assert!(dialer(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            ":8081",
            "https://localhost:8081",
            "a b:1",
            "localhost:http",
        ] {
            assert!(dialer(bad).is_err(), "{bad}");
        }
    }
}
