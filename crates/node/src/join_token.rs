//! The join token: a secret that is used once, and the pin of the CA by which the server proves itself before
//! that.

use std::str::FromStr;

use mandate_core::Secret;
use mandate_core::digest::{sha256, sha256_from_hex};

/// The SHA-256 of a certificate's `SubjectPublicKeyInfo` in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpkiPin([u8; 32]);

impl SpkiPin {
    /// The pin of these `SubjectPublicKeyInfo` bytes.
    pub(crate) fn of(spki_der: &[u8]) -> Self {
        Self(sha256(spki_der))
    }
}

/// The text is not a join token. The error does not contain the text: it may be a mistyped secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the join token is not of the form <random>.<64 hex digits>; use the output of `mandate node join-token` as it is"
)]
pub struct InvalidJoinToken;

/// A join token, `<random>.<hex SHA-256 of the CA's SubjectPublicKeyInfo>`.
#[derive(Clone, Debug)]
pub(crate) struct JoinToken {
    text: Secret,
    pin: SpkiPin,
}

impl JoinToken {
    /// Reads it from a file's or prompt's bytes; white space around it is ignored.
    pub(crate) fn parse(bytes: &Secret) -> Result<Self, InvalidJoinToken> {
        let text = bytes.expose_secret_str().ok_or(InvalidJoinToken)?.trim();
        let (random, pin) = text.rsplit_once('.').ok_or(InvalidJoinToken)?;
        let printable = random.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if random.is_empty() || random.len() > 256 || !printable {
            return Err(InvalidJoinToken);
        }
        Ok(Self { text: Secret::new(text), pin: pin.parse()? })
    }

    /// The whole text, as the server printed it.
    pub(crate) fn expose_secret(&self) -> &str {
        self.text.expose_secret_str().unwrap_or_default()
    }

    /// Which CA the server must present.
    pub(crate) fn pin(&self) -> SpkiPin {
        self.pin
    }
}

impl FromStr for SpkiPin {
    type Err = InvalidJoinToken;

    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        sha256_from_hex(text).map(Self).ok_or(InvalidJoinToken)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidJoinToken, JoinToken, SpkiPin};
    use mandate_core::Secret;

    const PIN: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn carries_the_pin_of_the_ca() {
        let token = JoinToken::parse(&Secret::new(format!(" abc_-9.{PIN}\n"))).unwrap();
        assert_eq!(token.expose_secret(), format!("abc_-9.{PIN}"));
        assert_eq!(token.pin(), SpkiPin::of(b""));
    }

    #[test]
    fn refuses_any_other_form_without_repeating_it() {
        for text in [
            "",
            "abc",
            &format!(".{PIN}"),
            &format!("abc.{PIN}0"),
            "abc.e3b0",
            &format!("abc.{}", PIN.to_uppercase()),
            &format!("a b.{PIN}"),
            &format!("{}.{PIN}", "a".repeat(257)),
        ] {
            let refused = JoinToken::parse(&Secret::new(text)).unwrap_err();
            assert_eq!(refused, InvalidJoinToken);
            assert!(!refused.to_string().contains("abc"));
        }
        assert!(JoinToken::parse(&Secret::new(vec![0xff, 0xfe])).is_err());
    }

    #[test]
    fn does_not_print_its_secret() {
        let token = JoinToken::parse(&Secret::new(format!("topsecret.{PIN}"))).unwrap();
        assert!(!format!("{token:?}").contains("topsecret"));
    }
}
