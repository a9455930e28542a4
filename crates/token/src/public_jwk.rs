//! Building the JWK Sets that we publish.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
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
        Ok(Self {
            kty: "EC",
            crv: "P-256",
            kid: thumbprint_of(&x, &y),
            x,
            y,
            key_use: key_use.name(),
            alg: Algorithm::Es256.name(),
        })
    }

    /// The `kid`: the RFC 7638 thumbprint.
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
    // RFC 7638 §3, §3.2: the required members in lexicographic order without white space. Base64url needs
    // no escaping.
    digest_of(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#))
}

fn digest_of(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{PublicJwk, digest_of, jwks_json, thumbprint, thumbprint_of};
    use crate::test_keys::Es256;
    use crate::{KeySet, KeySetError, KeyUse};
    use aws_lc_rs::signature::KeyPair as _;

    #[test]
    fn matches_the_published_thumbprints() {
        // The P-256 key of RFC 9449 §4.2 and its thumbprint of §6.1.
        let (x, y) =
            ("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA");
        assert_eq!(thumbprint_of(x, y), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        // RFC 7638 §3.1: the members of an RSA key, already in their canonical form.
        let members = concat!(
            r#"{"e":"AQAB","kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX"#,
            "jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6",
            r#"qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#
        );
        assert_eq!(digest_of(members), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn what_is_published_is_read_back_for_its_one_use() {
        let (a, b) = (Es256::new(KeyUse::Signature), Es256::new(KeyUse::JwtSvid));
        let set = KeySet::from_json(jwks_json(&[a.jwk.clone(), b.jwk.clone()]).as_bytes()).unwrap();
        assert_eq!(set.len(), 2);
        assert_eq!(set.for_use(KeyUse::Signature).key_ids().collect::<Vec<_>>(), [a.kid()]);
        assert_eq!(set.for_use(KeyUse::JwtSvid), b.key_set());
        assert_eq!(thumbprint(a.pair.public_key().as_ref()).unwrap(), a.kid());
        assert_eq!(jwks_json(&[]), r#"{"keys":[]}"#);
    }

    #[test]
    fn refuses_what_is_no_point_of_the_curve() {
        let good = Es256::new(KeyUse::Signature).pair.public_key().as_ref().to_vec();
        let mut off_curve = good.clone();
        off_curve[64] ^= 1;
        let mut compressed = good[..33].to_vec();
        compressed[0] = 2;
        for bytes in [&[][..], &[0], &good[1..], &good[..64], &off_curve, &compressed, &[4; 65], &[0; 65]] {
            assert_eq!(PublicJwk::from_p256_point(bytes, KeyUse::Signature), Err(KeySetError::NotAPoint));
            assert_eq!(thumbprint(bytes), Err(KeySetError::NotAPoint));
        }
    }
}
