//! The key that a token is bound to (RFC 7800).

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The member that names the key of `DPoP` proofs (RFC 9449 §6.1).
const JKT: &str = "jkt";
/// The member that names the client's certificate (RFC 8705 §3.1).
const X5T_S256: &str = "x5t#S256";

/// How long the base64url form of a SHA-256 digest is, without padding.
const THUMBPRINT_LEN: usize = 43;

/// A text is not a thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base64url form of a SHA-256 digest: 43 characters")]
pub struct InvalidThumbprint;

/// A SHA-256 digest in base64url without padding (RFC 7638 §3, RFC 8705 §3.1). Equal digests have equal
/// texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// The 43 characters of base64url.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Thumbprint {
    type Err = InvalidThumbprint;

    fn from_str(text: &str) -> Result<Self, InvalidThumbprint> {
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // 256 bits leave two bits of the last character over. They are zero, or two texts would name one
        // digest (RFC 4648 §3.5).
        let whole = text.ends_with(|last| "AEIMQUYcgkosw048".contains(last));
        let good = text.len() == THUMBPRINT_LEN && text.bytes().all(alphabet) && whole;
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidThumbprint) }
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the `cnf` claim says: one key (RFC 7800 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// `jkt`: the key of the holder's `DPoP` proofs (RFC 9449 §6.1).
    Jkt(Thumbprint),
    /// `x5t#S256`: the certificate of the holder's TLS connection (RFC 8705 §3.1).
    X5tS256(Thumbprint),
    /// Something that is not understood here. The token is still bound, and no key can be proven for it.
    /// Never issued.
    Unknown,
}

impl Confirmation {
    /// What these members of a `cnf` object say: each with its value, if that is a text. What is not exactly
    /// one known member is
    /// [`Confirmation::Unknown`].
    pub fn of_members<'m>(members: impl IntoIterator<Item = (&'m str, Option<&'m str>)>) -> Self {
        let mut members = members.into_iter();
        let (Some((name, Some(text))), None) = (members.next(), members.next()) else { return Self::Unknown };
        match (name, text.parse()) {
            (JKT, Ok(thumbprint)) => Self::Jkt(thumbprint),
            (X5T_S256, Ok(thumbprint)) => Self::X5tS256(thumbprint),
            _ => Self::Unknown,
        }
    }
}

impl Serialize for Confirmation {
    /// As a `cnf` object. It is empty where the binding is not known.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        match self {
            Self::Jkt(thumbprint) => members.serialize_entry(JKT, thumbprint)?,
            Self::X5tS256(thumbprint) => members.serialize_entry(X5T_S256, thumbprint)?,
            Self::Unknown => {}
        }
        members.end()
    }
}

impl<'de> Deserialize<'de> for Confirmation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::<String, Value>::deserialize(deserializer)?;
        Ok(Self::of_members(members.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Confirmation, InvalidThumbprint, Thumbprint};

    /// The `jkt` of RFC 9449 §6.1.
    const DIGEST: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn read(cnf: Value) -> Confirmation {
        serde_json::from_value(cnf).unwrap()
    }

    #[test]
    fn one_known_member_is_a_key_and_is_written_as_it_was_read() {
        let digest: Thumbprint = DIGEST.parse().unwrap();
        for (cnf, means) in [
            (json!({"jkt": DIGEST}), Confirmation::Jkt(digest.clone())),
            (json!({"x5t#S256": DIGEST}), Confirmation::X5tS256(digest)),
            (json!({}), Confirmation::Unknown),
        ] {
            assert_eq!(serde_json::to_value(&means).unwrap(), cnf);
            assert_eq!(read(cnf), means);
        }
    }

    #[test]
    fn anything_else_is_bound_by_something_unknown() {
        for cnf in [
            json!({"jwk": {"kty": "EC"}}),
            json!({"kid": "k1"}),
            json!({"jkt": "short"}),
            json!({"jkt": 7}),
            json!({"jkt": null}),
            json!({"x5t": DIGEST}),
            json!({"jkt": DIGEST, "x5t#S256": DIGEST}),
            json!({"jkt": DIGEST, "kid": "k1"}),
        ] {
            assert_eq!(read(cnf.clone()), Confirmation::Unknown, "{cnf}");
        }
        for cnf in [json!("x"), json!([]), json!(null)] {
            assert!(serde_json::from_value::<Confirmation>(cnf).is_err());
        }
    }

    #[test]
    fn a_digest_has_one_text() {
        let other_bits = DIGEST.replace("A4I", "A4J");
        for bad in [
            "",
            &DIGEST[1..],
            &format!("{DIGEST}A"),
            &DIGEST.replace('-', "+"),
            &format!("{DIGEST}="),
            &other_bits,
        ] {
            assert_eq!(bad.parse::<Thumbprint>(), Err(InvalidThumbprint), "{bad}");
        }
    }
}
