//! SPIFFE IDs and trust domains (SPIFFE-ID §2).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The longest SPIFFE ID that is accepted, in bytes (SPIFFE-ID §2.3).
const MAX_SPIFFE_ID_LEN: usize = 2048;

/// The longest trust domain name that is accepted, in bytes (SPIFFE-ID §2.3).
const MAX_TRUST_DOMAIN_LEN: usize = 255;

/// Why a text is not a SPIFFE ID or trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It does not start with `spiffe://`. Upper case is refused: two spellings of one identity invite
    /// confusion.
    #[error("a SPIFFE ID starts with spiffe:// in lower case")]
    Scheme,
    /// The trust domain is empty (SPIFFE-ID §2.1).
    #[error("the trust domain is empty")]
    EmptyTrustDomain,
    /// A character outside `a-z 0-9 . - _` in the trust domain (SPIFFE-ID §2.1).
    #[error("a trust domain has only a-z, 0-9, '.', '-' and '_'")]
    TrustDomainCharacter,
    /// Too long (SPIFFE-ID §2.3).
    #[error("longer than SPIFFE allows (255 bytes for a trust domain, 2048 for an ID)")]
    TooLong,
    /// An empty path segment or a trailing slash (SPIFFE-ID §2.2).
    #[error("the path has an empty segment or ends in '/'")]
    EmptySegment,
    /// A `.` or `..` segment (SPIFFE-ID §2.2).
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// A character outside `A-Z a-z 0-9 . - _` in the path (SPIFFE-ID §2.2).
    #[error("a path has only letters, digits, '.', '-', '_' and '/'")]
    PathCharacter,
}

/// The name of a trust domain, such as `acme.example` (SPIFFE-ID §2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, without scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself: `spiffe://<name>`.
    pub fn id(&self) -> SpiffeId {
        SpiffeId { text: format!("spiffe://{}", self.0).into(), path_at: "spiffe://".len() + self.0.len() }
    }

    /// Whether `text` reads like a SPIFFE ID of this trust domain, also where it is none: upper case, or a
    /// path that SPIFFE does not allow.
    pub fn is_named_in(&self, text: &str) -> bool {
        let Some((scheme, rest)) = text.split_once("://") else { return false };
        let name = rest.split_once('/').map_or(rest, |(name, _)| name);
        scheme.eq_ignore_ascii_case("spiffe") && name.eq_ignore_ascii_case(self.as_str())
    }

    /// The SPIFFE ID `spiffe://<name><path>`; `path` starts with `/`.
    pub fn member(&self, path: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        format!("spiffe://{}{path}", self.0).parse()
    }
}

impl Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_trust_domain(text)?;
        Ok(Self(text.into()))
    }
}

fn check_trust_domain(text: &str) -> Result<(), InvalidSpiffeId> {
    if text.is_empty() {
        return Err(InvalidSpiffeId::EmptyTrustDomain);
    }
    if text.len() > MAX_TRUST_DOMAIN_LEN {
        return Err(InvalidSpiffeId::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if text.bytes().all(allowed) { Ok(()) } else { Err(InvalidSpiffeId::TrustDomainCharacter) }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TrustDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A SPIFFE ID, `spiffe://<trust domain>[/<path>]` (SPIFFE-ID §2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    path_at: usize,
}

impl SpiffeId {
    /// The whole ID, with `spiffe://`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole ID, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The trust domain part.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_name().into())
    }

    /// The name of the trust domain.
    pub fn trust_domain_name(&self) -> &str {
        self.text.get("spiffe://".len()..self.path_at).unwrap_or_default()
    }

    /// Whether it belongs to `trust_domain`.
    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain_name() == trust_domain.as_str()
    }

    /// The path with its leading `/`, or an empty text for a trust domain's own ID.
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_SPIFFE_ID_LEN {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        check_trust_domain(domain)?;
        for segment in path.split('/').skip(1) {
            match segment {
                "" => return Err(InvalidSpiffeId::EmptySegment),
                "." | ".." => return Err(InvalidSpiffeId::DotSegment),
                _ if segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => {}
                _ => return Err(InvalidSpiffeId::PathCharacter),
            }
        }
        Ok(Self { text: text.into(), path_at: text.len() - path.len() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
