//! Sets of public keys (RFC 7517 §5): parsed once, bounded, and limited to keys that can verify signatures
//! here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Issuer;
use mandate_core::digest::sha256_of_list;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::error::{TokenError, shortened};
use crate::strict_json;

/// The largest JWK Set document that is read, in bytes.
const MAX_DOCUMENT: usize = 256 * 1024;
/// The most keys that one set may hold, usable or not.
const MAX_KEYS: usize = 128;
/// The longest `kid`, in bytes.
const MAX_KEY_ID: usize = 512;

/// What a key is for: the `use` of its JWK (RFC 7517 §4.2, SPIFFE JWT-SVID §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// `sig`, or no `use`: access tokens and client assertions.
    Signature,
    /// `jwt-svid`: only JWT-SVIDs of a trust domain.
    JwtSvid,
}

impl KeyUse {
    /// The value of `use`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "sig",
            Self::JwtSvid => "jwt-svid",
        }
    }
}

/// Why a JWK Set is refused as a whole. Single keys that cannot be used here are skipped, not refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// More than 256 KiB.
    #[error("the key set is larger than 262144 bytes")]
    TooLarge,
    /// More than 128 keys.
    #[error("the key set has more than 128 keys")]
    TooManyKeys,
    /// Not a JSON object with an array `keys` of objects; also a duplicate member anywhere.
    #[error("not a JWK Set (RFC 7517 §5): {0}")]
    Malformed(String),
    /// Two different keys have the same `kid` and fit the same algorithm, so that a token could mean either.
    #[error("two keys with the kid {0:?} fit the same algorithm")]
    AmbiguousKeyId(String),
    /// The key at this place has no `kid`, and each algorithm that it fits is fitted by another key too, so
    /// that no token can mean it.
    #[error(
        "keys[{0}] has no `kid` and can never be chosen, because another key fits the same algorithm; give each of them a `kid`"
    )]
    NeverChosen(usize),
    /// No key of the set can verify a signature here; with the reason for each key.
    #[error("none of its keys can be used: {0}")]
    NothingUsable(String),
    /// The bytes are no point of the curve.
    #[error("not a public key on the curve")]
    NotAPoint,
}

/// An immutable set of public keys of one issuer or one trust domain. Cheap to clone.
///
/// Sets of different issuers are never merged: a `kid` has a meaning only within its set.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    fingerprint: [u8; 32],
}

struct Key {
    id: Option<String>,
    purpose: KeyUse,
    algorithm: Option<Algorithm>,
    material: Material,
    /// SHA-256 of key type and key material. Not the thumbprint of RFC 7638.
    thumbprint: [u8; 32],
    /// SHA-256 of everything that decides which tokens it verifies.
    digest: [u8; 32],
}

enum Material {
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    P521(ParsedPublicKey),
    Rsa(PublicKeyComponents<Vec<u8>>),
}

impl KeySet {
    /// A set without keys: it verifies nothing.
    pub fn empty() -> Self {
        Self::of(Vec::new())
    }

    /// Parses a JWK Set document. Keys for encryption, of other key types, with weak or malformed material,
    /// and with an unknown `use` or `alg` are skipped (RFC 7517 §5, SPIFFE bundle §4.2).
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        Self::of_the_keys(json, |_| true)
    }

    /// As [`KeySet::from_json`], without the keys whose member `issuer` names another issuer. Entra publishes
    /// keys of several issuers in one document; `{tenantid}` in the member stands for any tenant.
    pub fn of_issuer(json: &[u8], issuer: &Issuer) -> Result<Self, KeySetError> {
        let is_theirs = |named: &str| match named.split_once("{tenantid}") {
            None => named == issuer.as_str(),
            Some((start, end)) => issuer
                .as_str()
                .strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end))
                .is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('/')),
        };
        Self::of_the_keys(json, |jwk| match jwk.get("issuer") {
            None => true,
            Some(named) => named.as_str().is_some_and(is_theirs),
        })
    }

    fn of_the_keys(
        json: &[u8],
        wanted: impl Fn(&serde_json::Map<String, Value>) -> bool,
    ) -> Result<Self, KeySetError> {
        if json.len() > MAX_DOCUMENT {
            return Err(KeySetError::TooLarge);
        }
        let document =
            strict_json::object(json).map_err(|error| KeySetError::Malformed(error.to_string()))?.to_map();
        let Some(Value::Array(items)) = document.get("keys") else {
            return Err(KeySetError::Malformed("no array \"keys\"".to_owned()));
        };
        if items.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for item in items {
            let Value::Object(jwk) = item else {
                return Err(KeySetError::Malformed("a key is not an object".to_owned()));
            };
            if !wanted(jwk) {
                continue;
            }
            let Ok(key) = Key::from_jwk(jwk) else { continue };
            // The same key twice is one key.
            if keys.iter().all(|other| other.digest != key.digest) {
                keys.push(Arc::new(key));
            }
        }
        Ok(Self::of(keys))
    }

    /// As [`KeySet::from_json`], for keys that an operator registers: a set that could never verify a
    /// signature of `key_use` is refused, with the reason for each of its keys. Two keys with the same `kid`
    /// and algorithm are refused too, and a key without `kid` that is not the only one for any algorithm.
    pub fn usable_from_json(json: &[u8], key_use: KeyUse) -> Result<Self, KeySetError> {
        let set = Self::from_json(json)?.for_use(key_use);
        let clashing = set
            .keys
            .iter()
            .enumerate()
            .find(|(at, key)| set.keys.iter().skip(at + 1).any(|other| key.clashes(other)));
        if let Some((_, key)) = clashing {
            return Err(KeySetError::AmbiguousKeyId(shortened(key.id.as_deref().unwrap_or_default())));
        }
        if let Some(key) = set.keys.iter().find(|key| key.id.is_none() && !set.can_be_chosen_without_kid(key))
        {
            return Err(KeySetError::NeverChosen(index_in(json, key)));
        }
        if set.is_empty() { Err(KeySetError::NothingUsable(why_unusable(json, key_use))) } else { Ok(set) }
    }

    fn of(keys: Vec<Arc<Key>>) -> Self {
        // In sorted order: the same keys in another order are the same set.
        let mut digests: Vec<[u8; 32]> = keys.iter().map(|key| key.digest).collect();
        digests.sort_unstable();
        let fingerprint = sha256_of_list([b"key set", digests.concat().as_slice()]);
        Self { keys, fingerprint }
    }

    /// The keys for one use alone.
    #[must_use]
    pub fn for_use(&self, key_use: KeyUse) -> Self {
        Self::of(self.keys.iter().filter(|key| key.purpose == key_use).cloned().collect())
    }

    /// The keys that have a `kid` alone.
    #[must_use]
    pub(crate) fn named(&self) -> Self {
        Self::of(self.keys.iter().filter(|key| key.id.is_some()).cloned().collect())
    }

    /// How many usable keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key with this `kid` is in it.
    pub fn contains(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(key_id))
    }

    /// The `kid`s of the usable keys that have one.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id.as_deref())
    }

    /// SHA-256 over everything that matters in all usable keys. Two sets with the same fingerprint verify the
    /// same tokens.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Whether this key is the only one of the set for some algorithm.
    fn can_be_chosen_without_kid(&self, key: &Key) -> bool {
        let others = || self.keys.iter().filter(|other| other.thumbprint != key.thumbprint);
        Algorithm::ALL
            .iter()
            .any(|algorithm| key.fits(*algorithm) && others().all(|other| !other.fits(*algorithm)))
    }

    /// The one key that a header means, or why there is none.
    ///
    /// `kid`, algorithm, key type and use choose together: providers publish an EC and an RSA key under one
    /// `kid`, or without any.
    pub(crate) fn select(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        key_use: KeyUse,
    ) -> Result<VerificationKey<'_>, TokenError> {
        let for_use = || self.keys.iter().filter(|key| key.purpose == key_use);
        let unknown = || TokenError::UnknownKey(key_id.map(shortened));
        let has_name = |key: &Key| key_id.is_some() && key.id.as_deref() == key_id;
        let named = for_use().any(|key| has_name(key));
        // RFC 8725 §3.1: the key decides which algorithm is used, not the token.
        let mut fitting = for_use().filter(|key| key.fits(algorithm) && (!named || has_name(key)));
        let Some(key) = fitting.next() else {
            return Err(if named { TokenError::Algorithm(algorithm.name().to_owned()) } else { unknown() });
        };
        let choice = fitting.any(|other| other.thumbprint != key.thumbprint);
        match (named, choice) {
            (true, false) => Ok(VerificationKey { key, algorithm, is_named: true }),
            (true, true) => Err(TokenError::AmbiguousKey(key_id.map(shortened).unwrap_or_default())),
            // `kid` is a hint (RFC 7515 §4.1.4), where there is nothing to choose from and the key has no
            // other name. Trying every key until one fits would let an attacker choose.
            (false, false) if key_id.is_none() || key.id.is_none() => {
                Ok(VerificationKey { key, algorithm, is_named: false })
            }
            (false, _) => Err(unknown()),
        }
    }
}

/// The keys of a document that [`KeySet::from_json`] has read.
fn keys_in(json: &[u8]) -> Vec<Value> {
    let mut document = strict_json::object(json).map(|object| object.to_map()).unwrap_or_default();
    match document.remove("keys") {
        Some(Value::Array(keys)) => keys,
        _ => Vec::new(),
    }
}

/// The index of `key` among the keys of such a document.
fn index_in(json: &[u8], key: &Key) -> usize {
    let is_it = |jwk: &Value| {
        jwk.as_object().is_some_and(|jwk| Key::from_jwk(jwk).is_ok_and(|other| other.digest == key.digest))
    };
    keys_in(json).iter().position(is_it).unwrap_or_default()
}

/// Why each key of a set cannot be used for `key_use`, in one line. Only for sets that [`KeySet::from_json`]
/// has read.
fn why_unusable(json: &[u8], key_use: KeyUse) -> String {
    let keys = keys_in(json);
    if keys.is_empty() {
        return "there is none".to_owned();
    }
    let reason = |at: usize, jwk: &Value| {
        let why = match jwk.as_object().map(Key::from_jwk) {
            Some(Ok(key)) if key.purpose == key_use => return None,
            Some(Ok(key)) => format!("`use` is {}", key.purpose.name()),
            Some(Err(Unusable(why))) => why.to_owned(),
            None => "not an object".to_owned(),
        };
        Some(format!("keys[{at}]: {why}"))
    };
    let reasons: Vec<String> =
        keys.iter().enumerate().filter_map(|(at, jwk)| reason(at, jwk)).take(8).collect();
    reasons.join("; ")
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("kids", &self.key_ids().collect::<Vec<_>>())
            .field("len", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for KeySet {}

/// A key together with the algorithm that it fits.
pub(crate) struct VerificationKey<'a> {
    key: &'a Key,
    algorithm: Algorithm,
    /// Whether the header names it by its `kid`.
    is_named: bool,
}

impl VerificationKey<'_> {
    /// Checks the signature. A key that the header does not name may be an earlier one than the signer's.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let fits = self.verify_signature(message, signature);
        fits.map_err(|error| if self.is_named { error } else { TokenError::SignatureOfUnnamedKey })
    }

    fn verify_signature(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        if self.algorithm.signature_len().is_some_and(|len| len != signature.len()) {
            return Err(TokenError::Signature);
        }
        match &self.key.material {
            Material::P256(key) | Material::P384(key) | Material::P521(key) => {
                key.verify_sig(message, signature)
            }
            Material::Rsa(key) => match rsa_parameters(self.algorithm) {
                Some(parameters) => key.verify(parameters, message, signature),
                None => return Err(TokenError::Signature),
            },
        }
        .map_err(|_| TokenError::Signature)
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => None,
    }
}

impl Key {
    fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let purpose = match optional_text(jwk, "use")? {
            None | Some("sig") => KeyUse::Signature,
            Some("jwt-svid") => KeyUse::JwtSvid,
            Some("enc") => return Err(Unusable("`use` is enc: it is for encryption, not for signatures")),
            Some(_) => return Err(Unusable("`use` is not sig")),
        };
        let id = match optional_text(jwk, "kid")? {
            Some(id) if id.is_empty() || id.len() > MAX_KEY_ID => {
                return Err(Unusable("`kid` has 1 to 512 bytes"));
            }
            // SPIFFE JWT-SVID §6: a key without kid is of no use in a bundle.
            None if purpose == KeyUse::JwtSvid => return Err(Unusable("it has no `kid`")),
            id => id.map(str::to_owned),
        };
        let algorithm = match optional_text(jwk, "alg")? {
            Some(name) => Some(Algorithm::from_name(name).ok_or(Unusable(ALGORITHMS))?),
            None => None,
        };
        match jwk.get("key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
            Some(_) => return Err(Unusable("`key_ops` has no verify")),
        }
        // A published private or symmetric key is no longer secret: any reader of the key set can sign with
        // it.
        if ["d", "p", "q", "k"].iter().any(|private| jwk.contains_key(*private)) {
            return Err(Unusable("it is a private or secret key, which is no longer secret"));
        }
        let (kind, raw, material) = match required_text(jwk, "kty")? {
            "EC" => elliptic(jwk)?,
            "RSA" => rsa(jwk)?,
            _ => return Err(Unusable("`kty` is neither EC nor RSA; EdDSA keys are not supported")),
        };
        let algorithm_name = algorithm.map_or("", Algorithm::name);
        let id_text = id.as_deref().unwrap_or_default();
        let digest = sha256_of_list([
            purpose.name().as_bytes(),
            id_text.as_bytes(),
            algorithm_name.as_bytes(),
            kind.as_bytes(),
            &[u8::from(id.is_some())],
            &raw,
        ]);
        let thumbprint = sha256_of_list([kind.as_bytes(), &raw]);
        let key = Self { id, purpose, algorithm, material, thumbprint, digest };
        if key.algorithm.is_none_or(|declared| key.material_fits(declared)) {
            Ok(key)
        } else {
            Err(Unusable("`alg` does not fit the key type"))
        }
    }

    /// Whether a token could mean either of the two by one `kid`.
    fn clashes(&self, other: &Self) -> bool {
        let same_name = self.id == other.id && self.id.is_some() && self.thumbprint != other.thumbprint;
        same_name && Algorithm::ALL.iter().any(|algorithm| self.fits(*algorithm) && other.fits(*algorithm))
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|declared| declared == algorithm) && self.material_fits(algorithm)
    }

    fn material_fits(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::P521(_) => algorithm == Algorithm::Es512,
            Material::Rsa(_) => rsa_parameters(algorithm).is_some(),
        }
    }
}

/// This key cannot verify anything here, and why.
struct Unusable(&'static str);

const ALGORITHMS: &str = "`alg` is none of ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512";
const FORM: &str = "a member is missing or is not of its required form";

fn optional_text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Unusable> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unusable(FORM)),
    }
}

fn required_text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, Unusable> {
    optional_text(jwk, name)?.ok_or(Unusable(FORM))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unusable> {
    URL_SAFE_NO_PAD.decode(required_text(jwk, name)?).map_err(|_| Unusable(FORM))
}

type Parsed = (&'static str, Vec<u8>, Material);

fn elliptic(jwk: &Map<String, Value>) -> Result<Parsed, Unusable> {
    let curve = required_text(jwk, "crv")?;
    let (kind, len, algorithm, wrap): (
        _,
        _,
        &'static dyn VerificationAlgorithm,
        fn(ParsedPublicKey) -> Material,
    ) = match curve {
        "P-256" => ("P-256", 32, &ECDSA_P256_SHA256_FIXED, Material::P256),
        "P-384" => ("P-384", 48, &ECDSA_P384_SHA384_FIXED, Material::P384),
        "P-521" => ("P-521", 66, &ECDSA_P521_SHA512_FIXED, Material::P521),
        _ => return Err(Unusable("`crv` is none of P-256, P-384, P-521")),
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    // RFC 7518 §6.2.1.2: full-length coordinates.
    if x.len() != len || y.len() != len {
        return Err(Unusable("a coordinate is not of full length"));
    }
    let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
    // Parsing checks that the point is on the curve.
    let key = ParsedPublicKey::new(algorithm, &point).map_err(|_| Unusable("not a point of the curve"))?;
    Ok((kind, point, wrap(key)))
}

fn rsa(jwk: &Map<String, Value>) -> Result<Parsed, Unusable> {
    let (n, e) = (trimmed(bytes(jwk, "n")?), trimmed(bytes(jwk, "e")?));
    // RFC 7518 §3.3: at least 2048 bits. The upper bound keeps one verification cheap.
    let strong =
        (256..=512).contains(&n.len()) && (n.len() > 256 || n.first().is_some_and(|first| *first >= 0x80));
    let odd = n.last().is_some_and(|last| last % 2 == 1) && e.last().is_some_and(|last| last % 2 == 1);
    if !strong || !odd || e.len() > 4 || e.as_slice() == [1] {
        return Err(Unusable("an RSA key has 2048 to 4096 bits and an odd exponent over 1"));
    }
    let raw = [n.as_slice(), &[0], e.as_slice()].concat();
    Ok(("RSA", raw, Material::Rsa(PublicKeyComponents { n, e })))
}

fn trimmed(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
mod tests;
