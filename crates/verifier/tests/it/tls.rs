//! An issuer behind TLS with a private CA.

use std::sync::Arc;

use mandate_core::Clock as _;
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::tls_front::PrivateCa;
use mandate_verifier::{BuildError, Builder, Route, Verifier};

use crate::world::{RESOURCE, code, soon, verify};

#[tokio::test]
async fn only_the_configured_root_is_trusted() {
    let (ca, other) = (PrivateCa::generate(), PrivateCa::generate());
    let issuer = HostileIssuer::start();
    let name = ca.in_front_of(&issuer).await;
    let clock = Arc::new(SteppedClock::default());
    let build = |root: Option<String>| {
        let builder = Verifier::builder(name.clone(), RESOURCE.parse().unwrap()).clock(clock.clone());
        root.into_iter().fold(builder, Builder::trust_root).build()
    };
    let mut terms = issuer.terms(RESOURCE, "read:cases", clock.now());
    terms.issuer = name.clone();
    let token = issuer.sign(&terms);

    // Also as an editor of another system saves it.
    for pem in [ca.pem(), format!("\u{feff}{}", ca.pem().replace('\n', "\r\n"))] {
        let trusting = build(Some(pem)).unwrap();
        soon(trusting.ready()).await;
        assert_eq!(code(&verify(&trusting, &token, &Route::requires("read:cases").unwrap()).await), "ok");
    }

    let served = issuer.jwks_served();
    for root in [None, Some(other.pem())] {
        let with_root = root.is_some();
        let distrusting = match build(root) {
            Ok(verifier) => verifier,
            // Without a root the machine's own certificate authorities count, and a bare system has none.
            Err(BuildError::Tls(_)) if !with_root => continue,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(code(&verify(&distrusting, &token, &Route::any_scope()).await), "keys_unavailable");
        assert!(!distrusting.status().borrow().is_ready());
    }
    assert_eq!(issuer.jwks_served(), served);
}
