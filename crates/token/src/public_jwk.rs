//! Building the JWK Sets that we publish.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::algorithm::Algorithm;
use crate::key_set::{KeySetError, KeyUse};

/// A public P-256 key as JWK (RFC 7517, RFC 7518 §6.2). Its `kid` is its RFC 7638 thumbprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicJwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    kid: String,
    #[serde(rename = "use")]
    key_use: &'static str,
    alg: &'static str,
}

impl PublicJwk {
    /// From the uncompressed point: 65 bytes, `04 ‖ x ‖ y`.
    pub fn from_p256_point(point: &[u8], key_use: KeyUse) -> Result<Self, KeySetError> {
        let (x, y) = coordinates(point)?;
        Ok(Self { kty: "EC", crv: "P-256", kid: thumbprint_of(&x, &y), x, y, key_use: key_use.name(), alg: Algorithm::Es256.name() })
    }

    /// The `kid`.
    pub fn key_id(&self) -> &str {
        &self.kid
    }
}

/// The RFC 7638 thumbprint (SHA-256, base64url) of a P-256 key, given its uncompressed point of 65 bytes.
pub fn thumbprint(point: &[u8]) -> Result<String, KeySetError> {
    let (x, y) = coordinates(point)?;
    Ok(thumbprint_of(&x, &y))
}

/// The JWK Set document (RFC 7517 §5).
pub fn jwks_json(keys: &[PublicJwk]) -> String {
    serde_json::json!({ "keys": keys }).to_string()
}

fn coordinates(point: &[u8]) -> Result<(String, String), KeySetError> {
    let (Some((4, xy)), 65) = (point.split_first(), point.len()) else {
        return Err(KeySetError::NotAPoint);
    };
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeySetError::NotAPoint)?;
    let (x, y) = xy.split_at_checked(32).ok_or(KeySetError::NotAPoint)?;
    Ok((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

fn thumbprint_of(x: &str, y: &str) -> String {
    // RFC 7638 §3.1, §3.2: the required members in lexicographic order without white space. Base64url needs no escaping.
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}
