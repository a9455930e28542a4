//! Proof Key for Code Exchange (RFC 7636), method S256 only: `plain` does not protect against an attacker who
//! sees the request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::names::{ChallengeMethod, Parameter};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// Why a challenge or verifier is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// No `code_challenge`.
    #[error("{} is missing", Parameter::CodeChallenge)]
    ChallengeMissing,
    /// The method is not `S256`. Without the parameter it would be `plain` (RFC 7636 §4.3).
    #[error("{} must be {}", Parameter::CodeChallengeMethod, ChallengeMethod::S256)]
    Method,
    /// Not the base64url form of 32 bytes.
    #[error("{} is not 43 characters of base64url", Parameter::CodeChallenge)]
    ChallengeForm,
    /// No `code_verifier`.
    #[error("{} is missing", Parameter::CodeVerifier)]
    VerifierMissing,
    /// Not 43 to 128 unreserved characters (RFC 7636 §4.1).
    #[error("{} is not 43 to 128 unreserved characters", Parameter::CodeVerifier)]
    VerifierForm,
    /// The verifier does not belong to the challenge.
    #[error("{} does not match the challenge", Parameter::CodeVerifier)]
    Mismatch,
}

/// An S256 challenge: the SHA-256 of a verifier that only the client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge([u8; 32]);

impl Challenge {
    /// Reads `code_challenge` and `code_challenge_method` of an authorization request.
    pub fn from_parameters(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let challenge = challenge.ok_or(PkceError::ChallengeMissing)?;
        if method.and_then(ChallengeMethod::named) != Some(ChallengeMethod::S256) {
            return Err(PkceError::Method);
        }
        let bytes = URL_SAFE_NO_PAD.decode(challenge).map_err(|_| PkceError::ChallengeForm)?;
        bytes.try_into().map(Self).map_err(|_| PkceError::ChallengeForm)
    }

    /// Checks the `code_verifier` of a token request.
    pub fn check(&self, verifier: Option<&str>) -> Result<(), PkceError> {
        let verifier = verifier.ok_or(PkceError::VerifierMissing)?;
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
            return Err(PkceError::VerifierForm);
        }
        if bool::from(sha256(verifier.as_bytes()).ct_eq(&self.0)) { Ok(()) } else { Err(PkceError::Mismatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Challenge, PkceError};

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn agrees_with_rfc_7636_appendix_b() {
        Challenge::from_parameters(Some(CHALLENGE), Some("S256")).unwrap().check(Some(VERIFIER)).unwrap();
    }

    #[test]
    fn only_s256_and_always() {
        for (challenge, method, why) in [
            (None, None, PkceError::ChallengeMissing),
            (None, Some("S256"), PkceError::ChallengeMissing),
            (Some(CHALLENGE), None, PkceError::Method),
            (Some(CHALLENGE), Some("plain"), PkceError::Method),
            (Some(CHALLENGE), Some("s256"), PkceError::Method),
            (Some(VERIFIER), Some("plain"), PkceError::Method),
            (Some("short"), Some("S256"), PkceError::ChallengeForm),
            (Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="), Some("S256"), PkceError::ChallengeForm),
            (Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"), Some("S256"), PkceError::ChallengeForm),
        ] {
            assert_eq!(Challenge::from_parameters(challenge, method), Err(why), "{challenge:?} {method:?}");
        }
    }

    #[test]
    fn a_wrong_short_or_missing_verifier_is_refused() {
        let challenge = Challenge::from_parameters(Some(CHALLENGE), Some("S256")).unwrap();
        let other = format!("{}X", &VERIFIER[..42]);
        for (verifier, why) in [
            (None, PkceError::VerifierMissing),
            (Some(&VERIFIER[..42]), PkceError::VerifierForm),
            (Some(CHALLENGE), PkceError::Mismatch),
            (Some(other.as_str()), PkceError::Mismatch),
            (Some("dBjftJeZ4CVP mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), PkceError::VerifierForm),
        ] {
            assert_eq!(challenge.check(verifier), Err(why), "{verifier:?}");
        }
        assert_eq!(challenge.check(Some(&"a".repeat(129))), Err(PkceError::VerifierForm));
    }
}
