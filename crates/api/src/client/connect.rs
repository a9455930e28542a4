//! One connection to the admin API.

use std::io;

use mandate_core::Issuer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{Endpoint, NoCertificate};

/// Which certificate authorities to trust over TLS: the platform's, or these alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    #[cfg(feature = "https")]
    only: Option<std::sync::Arc<tokio_rustls::rustls::RootCertStore>>,
}

#[cfg(feature = "https")]
impl Trust {
    pub(super) fn only(pem: &[u8]) -> Result<Self, NoCertificate> {
        use tokio_rustls::rustls::RootCertStore;
        use tokio_rustls::rustls::pki_types::CertificateDer;
        use tokio_rustls::rustls::pki_types::pem::PemObject as _;

        let mut only = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            only.add(certificate.map_err(|_| NoCertificate)?).map_err(|_| NoCertificate)?;
        }
        if only.is_empty() { Err(NoCertificate) } else { Ok(Self { only: Some(std::sync::Arc::new(only)) }) }
    }
}

#[cfg(not(feature = "https"))]
impl Trust {
    pub(super) fn only(_pem: &[u8]) -> Result<Self, NoCertificate> {
        Err(NoCertificate)
    }
}

/// A connection, over any transport.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// `host[:port]` of an issuer, for the `Host` header.
pub(super) fn authority(server: &Issuer) -> String {
    let rest = server.as_str().split_once("://").map_or("", |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

fn host_and_port(authority: &str, default: u16) -> (&str, u16) {
    // The colons of an IPv6 address are inside its brackets.
    let after_address = authority.rfind(']').map_or(0, |at| at + 1);
    let colon = authority.get(after_address..).and_then(|rest| rest.rfind(':')).map(|at| after_address + at);
    let (host, port) = match colon {
        Some(at) => (
            authority.get(..at).unwrap_or_default(),
            authority.get(at + 1..).and_then(|port| port.parse().ok()).unwrap_or(default),
        ),
        None => (authority, default),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Connects. Every error means that there was no answer from a trusted server.
pub(super) async fn connect(endpoint: &Endpoint, trust: &Trust) -> io::Result<Box<dyn Connection>> {
    match endpoint {
        Endpoint::Socket(path) => {
            mandate_core::check_socket_path(path)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Ok(Box::new(UnixStream::connect(path).await?))
        }
        Endpoint::Tcp { server, .. } => {
            let authority = authority(server);
            // An `Issuer` has http on loopback only, so a token is never sent over a network unencrypted.
            if server.as_str().starts_with("http://") {
                let (host, port) = host_and_port(&authority, 80);
                return Ok(Box::new(TcpStream::connect((host, port)).await?));
            }
            let (host, port) = host_and_port(&authority, 443);
            tls(host, TcpStream::connect((host, port)).await?, trust).await
        }
    }
}

#[cfg(feature = "https")]
async fn tls(host: &str, stream: TcpStream, trust: &Trust) -> io::Result<Box<dyn Connection>> {
    use std::sync::Arc;

    use rustls_platform_verifier::BuilderVerifierExt;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::ClientConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::ServerName;

    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let builder = match &trust.only {
        Some(only) => builder.with_root_certificates(Arc::clone(only)),
        None => builder.with_platform_verifier().map_err(io::Error::other)?,
    };
    let config = builder.with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

#[cfg(not(feature = "https"))]
#[expect(clippy::unused_async, reason = "the same signature as with TLS")]
async fn tls(_host: &str, _stream: TcpStream, _trust: &Trust) -> io::Result<Box<dyn Connection>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this client was built without https"))
}

#[cfg(test)]
mod tests {
    use super::{authority, host_and_port};

    #[test]
    fn finds_host_and_port() {
        for (issuer, host, port) in [
            ("https://m.example", "m.example", 443),
            ("https://m.example:8443/tenant", "m.example", 8443),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
            ("http://[::1]:8080", "::1", 8080),
        ] {
            let authority = authority(&issuer.parse().unwrap());
            assert_eq!(host_and_port(&authority, 443), (host, port), "{issuer}");
        }
    }
}
