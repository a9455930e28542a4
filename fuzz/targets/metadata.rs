//! What comes from an issuer's servers: metadata and JWK Sets. The first byte chooses.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mandate_core::Issuer;
use mandate_token::discovery::jwks_uri;
use mandate_token::{KeySet, KeyUse};

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| "https://login.example".parse().unwrap());

fuzz_target!(|input: &[u8]| {
    let Some((first, document)) = input.split_first() else { return };
    if first % 2 == 0 {
        if let Ok(uri) = jwks_uri(Some("application/json"), document, &ISSUER) {
            assert_eq!(uri.scheme(), "https");
            assert!(uri.username().is_empty() && uri.password().is_none());
        }
        return;
    }
    match (KeySet::from_json(document), KeySet::usable_from_json(document, KeyUse::Signature)) {
        (Ok(all), Ok(usable)) => assert!(!usable.is_empty() && usable.len() <= all.len()),
        (Err(_), Ok(_)) => panic!("usable but not a key set"),
        (_, Err(_)) => {}
    }
});
