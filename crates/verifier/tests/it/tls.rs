//! An issuer behind TLS with a private CA.

use std::sync::Arc;

use mandate_core::Clock as _;
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_verifier::{Builder, Route, Verifier};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::world::{RESOURCE, code, soon, verify};

fn private_ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Ends TLS in front of `issuer`; returns the https name.
async fn tls_front(issuer: &HostileIssuer, ca: &CertifiedIssuer<'static, KeyPair>) -> String {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let name = format!("https://{}", listener.local_addr().unwrap());
    let behind = issuer.issuer().as_str().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    issuer.serve_metadata(Some(&serde_json::json!({ "issuer": name, "jwks_uri": format!("{name}/jwks") }).to_string()));
    name
}

#[tokio::test]
async fn only_the_configured_root_is_trusted() {
    let (ca, other) = (private_ca(), private_ca());
    let issuer = HostileIssuer::start();
    let name = tls_front(&issuer, &ca).await;
    let clock = Arc::new(SteppedClock::default());
    let build = |root: Option<String>| {
        let builder = Verifier::builder(name.parse().unwrap(), RESOURCE.parse().unwrap()).clock(clock.clone());
        root.into_iter().fold(builder, Builder::trust_root).build().unwrap()
    };
    let mut claims = issuer.claims(RESOURCE, "read:cases", clock.now());
    claims.iss = name.parse().unwrap();
    let token = issuer.sign(&claims);

    let trusting = build(Some(ca.pem()));
    soon(trusting.ready()).await;
    assert_eq!(code(&verify(&trusting, &token, &Route::requires("read:cases").unwrap()).await), "ok");

    let served = issuer.jwks_served();
    for root in [None, Some(other.pem())] {
        let distrusting = build(root);
        assert_eq!(code(&verify(&distrusting, &token, &Route::any_scope()).await), "keys_unavailable");
        assert!(!distrusting.status().borrow().is_ready());
    }
    assert_eq!(issuer.jwks_served(), served);
}
