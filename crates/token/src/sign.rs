//! Signing, by the holder of the key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::algorithm::Algorithm;
use crate::compact::MAX_TOKEN_LEN;
use crate::ecdsa_scalar;

/// A private key that is held elsewhere.
pub trait Signer: Send + Sync {
    /// The algorithm of its signatures.
    fn algorithm(&self) -> Algorithm;

    /// The `kid` under which its public key is published.
    fn key_id(&self) -> &str;

    /// The JWS signature of `message` (RFC 7518 §3): for ECDSA the fixed-length concatenation of r and s.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key cannot be used; the text says why, without anything secret.
    #[error("the signing key cannot be used: {0}")]
    Key(String),
    /// The signer answered with bytes that are no signature of its algorithm.
    #[error("the signer answered with {0} bytes, which is no signature of its algorithm")]
    Length(usize),
    /// The claims contradict each other: the verifier would refuse such a token.
    #[error("the claims are not fit to be signed: {0}")]
    Claims(&'static str),
    /// The token would be longer than [`crate::MAX_TOKEN_LEN`].
    #[error("the token would be longer than 16384 bytes")]
    TooLarge,
}

/// The longest header that room is kept for, in bytes.
const MAX_HEADER: usize = 256;

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

/// Claims as JSON: the payload of a token that is not yet signed.
#[derive(PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Payload {
    /// Refuses claims for which [`compact`] would make a longer token than our own verifier reads, with any
    /// key's name.
    pub(crate) fn of(claims: &impl Serialize) -> Result<Self, SignError> {
        let json = json(claims, 1024)?;
        // Base64 without padding, and 64 bytes of signature.
        let encoded = |bytes: usize| (bytes * 4).div_ceil(3);
        let longest = encoded(MAX_HEADER) + 1 + encoded(json.len()) + 1 + encoded(64);
        if longest > MAX_TOKEN_LEN { Err(SignError::TooLarge) } else { Ok(Self(json)) }
    }
}

/// Signs a payload as a compact JWS with the header members `alg`, `kid` and `typ`.
pub(crate) fn compact(
    typ: &'static str,
    payload: &Payload,
    signer: &dyn Signer,
) -> Result<String, SignError> {
    let algorithm = signer.algorithm();
    let header = json(&Header { alg: algorithm.name(), kid: signer.key_id(), typ }, 128)?;
    // Base64 is longer by a third; 96 bytes are room for the dots and a signature of ES256.
    let mut token = String::with_capacity((header.len() + payload.0.len()) * 4 / 3 + 96);
    URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload.0, &mut token);
    let mut signature = signer.sign(token.as_bytes())?;
    if signature.is_empty() || algorithm.signature_len().is_some_and(|len| len != signature.len()) {
        return Err(SignError::Length(signature.len()));
    }
    if algorithm == Algorithm::Es256 {
        ecdsa_scalar::make_low(&mut signature);
    }
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
    if token.len() > MAX_TOKEN_LEN { Err(SignError::TooLarge) } else { Ok(token) }
}

/// `room`: how many bytes the text can have before it must be moved in memory.
fn json(value: &impl Serialize, room: usize) -> Result<Vec<u8>, SignError> {
    let mut text = Vec::with_capacity(room);
    serde_json::to_writer(&mut text, value).map_err(|_| SignError::Claims("not representable as JSON"))?;
    Ok(text)
}
