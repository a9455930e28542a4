//! Keys of other organizations, and the tokens that they sign.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_token::{KeyUse, PublicJwk, jwks_json};
use serde_json::{Value, json};

use crate::crypto::{Key, median, time_each};
use crate::error::BenchError;

/// The name of every RSA key.
const RSA_KID: &str = "rsa-of-the-benchmark";

/// How many batches time an RSA verification.
const SAMPLES: usize = 16;

/// A key that signs tokens, with its public half.
pub(crate) struct TokenKey {
    key: Private,
    kid: String,
    jwks: String,
}

enum Private {
    Es256(Key),
    Rs256(Box<RsaKeyPair>),
}

impl TokenKey {
    /// A P-256 key, for tokens or for JWT-SVIDs.
    pub(crate) fn es256(key_use: KeyUse) -> Result<Self, BenchError> {
        let key = Key::generate()?;
        let jwk =
            PublicJwk::from_p256_point(key.point(), key_use).map_err(BenchError::during("a public key"))?;
        let jwks = jwks_json(std::slice::from_ref(&jwk));
        Ok(Self { key: Private::Es256(key), kid: jwk.key_id().to_owned(), jwks })
    }

    /// An RSA key of 2048 bits, as most products have.
    pub(crate) fn rs256() -> Result<Self, BenchError> {
        let failed = || BenchError::during("making an RSA key");
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed())?;
        let [n, e] =
            integers(pair.public_key().as_ref()).ok_or_else(|| BenchError("an RSA key".to_owned()))?;
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({ "kty": "RSA", "n": encoded(n), "e": encoded(e), "kid": RSA_KID, "alg": "RS256", "use": "sig" });
        let jwks = json!({ "keys": [jwk] }).to_string();
        Ok(Self { key: Private::Rs256(Box::new(pair)), kid: RSA_KID.to_owned(), jwks })
    }

    /// The JWK Set with the public key.
    pub(crate) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// A token with this `typ` and these claims.
    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> Result<String, BenchError> {
        let alg = match &self.key {
            Private::Es256(_) => "ES256",
            Private::Rs256(_) => "RS256",
        };
        let header = json!({ "alg": alg, "kid": self.kid, "typ": typ });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = match &self.key {
            Private::Es256(key) => key.sign(signed.as_bytes())?,
            Private::Rs256(pair) => rsa_signature(pair, signed.as_bytes())?,
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn rsa_signature(pair: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, BenchError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(BenchError::during("signing"))?;
    Ok(signature)
}

/// CPU time of one RS256 verification with the server's library, in microseconds: the median.
pub(crate) fn rs256_verify_us() -> Result<f64, BenchError> {
    let failed = || BenchError::during("verifying");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed())?;
    let message = [0x61u8; 700];
    let signature = rsa_signature(&pair, &message)?;
    let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
        .map_err(BenchError::during("reading a key"))?;
    public.verify_sig(&message, &signature).map_err(failed())?;
    let samples: Vec<f64> =
        (0..SAMPLES).map(|_| time_each(|| public.verify_sig(&message, &signature))).collect();
    Ok(median(&samples))
}

/// Modulus and exponent of a public key (RFC 8017 §A.1.1), without the zero that keeps each positive.
fn integers(der: &[u8]) -> Option<[&[u8]; 2]> {
    let (n, after) = element(element(der, 0x30)?.0, 0x02)?;
    let (e, _) = element(after, 0x02)?;
    Some([n, e].map(|integer| integer.strip_prefix(&[0]).unwrap_or(integer)))
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    // X.690 §8.1.3: a length of one byte, or the number of bytes that have it.
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use mandate_token::KeyUse;
    use serde_json::{Value, json};

    use super::{TokenKey, integers};

    #[test]
    fn the_numbers_of_a_public_key_are_found() {
        let key = [0x30, 9, 0x02, 2, 0, 0xc1, 0x02, 3, 1, 0, 1];
        assert_eq!(integers(&key), Some([&[0xc1][..], &[1, 0, 1][..]]));
        assert_eq!(integers(&key[..8]), None);
    }

    #[test]
    fn keys_have_a_public_half_and_sign() {
        for (key, length) in
            [(TokenKey::es256(KeyUse::JwtSvid).unwrap(), 86), (TokenKey::rs256().unwrap(), 342)]
        {
            let jwks: Value = serde_json::from_str(key.jwks()).unwrap();
            assert_eq!(jwks["keys"][0]["kid"], key.kid.as_str());
            let token = key.sign("JWT", &json!({})).unwrap();
            assert_eq!(token.rsplit('.').next().map(str::len), Some(length));
        }
    }
}
