//! TLS with a private certificate authority in front of a [`HostileIssuer`].

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test double that cannot do its part ends the test"
)]

use std::sync::Arc;

use mandate_core::Issuer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::hostile_issuer::HostileIssuer;

/// A certificate authority of its own.
pub struct PrivateCa(CertifiedIssuer<'static, KeyPair>);

impl PrivateCa {
    /// An authority with a new key.
    pub fn generate() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"),
        )
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Terminates TLS in front of `issuer`. From now on the issuer has the https name that this returns.
    pub async fn in_front_of(&self, issuer: &HostileIssuer) -> Issuer {
        let key = KeyPair::generate().expect("a key");
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".into()]).expect("parameters").signed_by(&key, &self.0);
        let certificate = certificate.expect("a certificate").der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let name = format!("https://{}", listener.local_addr().expect("an address"));
        let behind = issuer.issuer().as_str().trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let Ok(mut inside) = TcpStream::connect(behind).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        issuer.serve_metadata(Some(
            &serde_json::json!({ "issuer": name, "jwks_uri": format!("{name}/jwks") }).to_string(),
        ));
        name.parse().expect("an issuer")
    }
}
