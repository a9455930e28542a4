//! The compact serialization of a JWS (RFC 7515 §7.1) and its header, read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Timestamp;

use crate::algorithm::Algorithm;
use crate::ecdsa_scalar;
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::memo::{Mark, SignatureMemo};
use crate::strict_json::{self, Json, Object};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;

/// Which header members besides `alg`, `kid` and `typ` are tolerated. None is ever used.
#[derive(Clone, Copy)]
pub(crate) enum OtherMembers {
    /// No others are accepted: we know what the signer writes (our own tokens; JWT-SVID §2).
    Refuse,
    /// Members without a meaning here, such as `x5t`, are ignored (RFC 7515 §4).
    Ignore,
}

/// Members with which the sender would choose the key, the meaning or the encoding. They are always refused,
/// because a token with such a member was meant for a verifier that obeys it (RFC 8725 §3.10; RFC 7515
/// §4.1.11; RFC 7797).
const DANGEROUS: &[&str] = &["jku", "x5u", "jwk", "x5c", "crit", "b64", ZIP, "cty", "enc"];

/// Compression, which no JWS has (RFC 7516 §4.1.3).
pub(crate) const ZIP: &str = "zip";

pub(crate) struct Compact<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) typ: Option<String>,
    /// The names of the members that are ignored.
    pub(crate) others: Vec<String>,
    token: &'a str,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    pub(crate) fn parse(token: &'a str, others: OtherMembers) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("not three parts"))?;
        if payload.contains('.') {
            return Err(TokenError::Malformed("not three parts"));
        }
        let header = decode(header)?;
        let members = strict_json::object(&header)?;
        let algorithm = text(&members, "alg")?.unwrap_or_default();
        let algorithm =
            Algorithm::from_name(algorithm).ok_or_else(|| TokenError::Algorithm(shortened(algorithm)))?;
        let key_id = text(&members, "kid")?.map(str::to_owned);
        let typ = text(&members, "typ")?.map(str::to_owned);
        let others_refused = |name: &str| match others {
            OtherMembers::Refuse => !matches!(name, "alg" | "kid" | "typ"),
            OtherMembers::Ignore => DANGEROUS.contains(&name),
        };
        // Not a registered value, and without an effect. Only the rules for one product let it pass.
        let zip_none = |name: &str, value: &Json<'_>| name == ZIP && value.as_text() == Some("NONE");
        let refused = |(name, value): &(&str, &Json<'_>)| {
            others_refused(name) && (matches!(others, OtherMembers::Refuse) || !zip_none(name, value))
        };
        if let Some((name, _)) = members.iter().find(refused) {
            return Err(TokenError::Header(shortened(name)));
        }
        let known = |name: &str| matches!(name, "alg" | "kid" | "typ");
        let others = members.iter().map(|(name, _)| name).filter(|name| !known(name));
        let others = others.map(str::to_owned).collect();
        Ok(Self { algorithm, key_id, typ, others, token, signed, payload, signature })
    }

    /// What the signature is of.
    pub(crate) fn signed(&self) -> &str {
        self.signed
    }

    /// The claims as JSON, not yet verified.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.payload)
    }

    /// Checks the signature, or that the memo contains it. The answer says what to remember once every other
    /// check has passed.
    pub(crate) fn verify(&self, check: &SignatureCheck<'_>) -> Result<VerifiedSignature, TokenError> {
        if !check.allowed.contains(&self.algorithm) {
            return Err(TokenError::Algorithm(self.algorithm.name().to_owned()));
        }
        let key = check.keys.select(self.key_id.as_deref(), self.algorithm, check.key_use)?;
        let signature = decode(self.signature)?;
        if check.form == EcdsaForm::LowOnly
            && self.algorithm == Algorithm::Es256
            && !ecdsa_scalar::is_low(&signature)
        {
            return Err(TokenError::Signature);
        }
        let mark = check.memo.map(|memo| (memo, Mark::of(check.keys.fingerprint(), self.token)));
        if let Some((memo, mark)) = &mark
            && memo.contains(mark, check.now)
        {
            return Ok(VerifiedSignature { fresh: None });
        }
        key.verify(self.signed.as_bytes(), &signature)?;
        Ok(VerifiedSignature { fresh: mark.map(|(_, mark)| mark) })
    }
}

/// Which of the two spellings of an ECDSA signature is accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EcdsaForm {
    /// The one with the smaller s, which [`crate::sign`] writes.
    LowOnly,
    /// Either: other issuers do not normalize.
    Either,
}

pub(crate) struct SignatureCheck<'a> {
    pub(crate) keys: &'a KeySet,
    pub(crate) key_use: KeyUse,
    pub(crate) allowed: &'a [Algorithm],
    pub(crate) form: EcdsaForm,
    pub(crate) memo: Option<&'a SignatureMemo>,
    pub(crate) now: Timestamp,
}

/// Proof that the signature was checked.
pub(crate) struct VerifiedSignature {
    fresh: Option<Mark>,
}

impl VerifiedSignature {
    /// Remembers the signature until the token ends. Called only after every claim has been accepted.
    pub(crate) fn remember(self, memo: Option<&SignatureMemo>, until: Timestamp) {
        if let (Some(memo), Some(mark)) = (memo, self.fresh) {
            memo.insert(mark, until);
        }
    }
}

/// Base64url without padding, white space or stray trailing bits: each byte string has one spelling (RFC 7515
/// §2).
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed("not base64url without padding"))
}

fn text<'m>(members: &'m Object<'_>, name: &'static str) -> Result<Option<&'m str>, TokenError> {
    match members.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Header(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
