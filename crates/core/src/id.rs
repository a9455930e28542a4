//! Typed names and identifiers. They compare bytewise and never convert into one another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::time::{Entropy, Timestamp};
use crate::uri::is_loopback;

/// A name or identifier is not of its required form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {rule}")]
pub struct InvalidName {
    /// What kind of name it was meant to be.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub given: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

fn reject(what: &'static str, given: &str, rule: &'static str) -> InvalidName {
    InvalidName { what, given: given.chars().take(80).collect(), rule }
}

const NAME_RULE: &str = "use 1 to 64 of a-z, 0-9, '-', '_', '.', starting with a letter or digit";

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    // `..` would make a dot segment where a name becomes part of a path.
    if first && rest && text.len() <= 64 && !text.contains("..") {
        Ok(())
    } else {
        Err(reject(what, text, NAME_RULE))
    }
}

const CLIENT_RULE: &str = "use 1 to 2048 printable ASCII characters without spaces";

fn check_client(what: &'static str, text: &str) -> Result<(), InvalidName> {
    // RFC 6749 Appendix A.1: VSCHAR. Spaces are excluded because ids are written in space-separated logs.
    let ok = (1..=2048).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if ok { Ok(()) } else { Err(reject(what, text, CLIENT_RULE)) }
}

const ID_RULE: &str = "expected 1 to 128 of A-Z, a-z, 0-9, '-', '_', '.'";

fn check_id(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let ok = (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if ok { Ok(()) } else { Err(reject(what, text, ID_RULE)) }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name or identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text without a copy.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                $check($what, &text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<Arc<str>> for $name {
            type Error = InvalidName;

            fn try_from(text: Arc<str>) -> Result<Self, InvalidName> {
                $check($what, &text)?;
                Ok(Self(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type!(
    /// The name of an agent, unique in the registry; by default also the last segment of its SPIFFE ID.
    AgentName, "agent name", check_name
);
text_type!(
    /// The name of a resource, unique in the registry.
    ResourceName, "resource name", check_name
);
text_type!(
    /// The name of a person in the registry; for people of the embedded directory also their `sub`.
    PersonName, "person name", check_name
);
text_type!(
    /// The name of a group, unique in the registry; our tokens name groups so.
    GroupName, "group name", check_name
);
text_type!(
    /// The name of a tenant: people, agents, clients and resources of one never act with those of another.
    TenantName, "tenant", check_id
);
text_type!(
    /// The name of a policy, unique in the registry; records name the policies that decided.
    PolicyName, "policy name", check_name
);
text_type!(
    /// An OAuth client identifier (RFC 6749 §2.2).
    ClientId, "client id", check_client
);
text_type!(
    /// The id of a grant. It stays the same when the grant is applied again.
    GrantId, "grant id", check_id
);
text_type!(
    /// The id of an audit record: a UUID version 7.
    RecordId, "record id", check_id
);
text_type!(
    /// A token's `jti` (RFC 7519 §4.1.7).
    TokenId, "token id", check_id
);

/// How the ids of clients that registered themselves begin.
const SELF_REGISTERED: &str = "self-registered-";

impl ClientId {
    /// A new id for a client that registers itself (RFC 7591 §3.2.1): nobody chooses it, and it is no secret.
    pub fn of_self_registered(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(format!("{SELF_REGISTERED}{}", time_ordered(now, entropy)).into())
    }

    /// Whether it is the id of a client that registered itself.
    pub fn is_self_registered(&self) -> bool {
        let plain = |id: &&str| id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let id = self.0.strip_prefix(SELF_REGISTERED).filter(plain).filter(|id| id.len() == 36);
        id.is_some_and(|id| made_at(id).is_some())
    }

    /// The URL where the client's metadata are, if the id can be one
    /// (draft-ietf-oauth-client-id-metadata-document-02 §3): https, or http on a loopback host for development;
    /// with a path, without user, fragment and dot segments, and in the one form that a URL parser gives it.
    pub fn metadata_url(&self) -> Option<Url> {
        let url = Url::parse(&self.0).ok()?;
        let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        (secure && plain && url.path().len() > 1 && url.as_str() == &*self.0).then_some(url)
    }

    /// Whether the client may be one that describes itself, so that nothing proves who it is. An entry of the
    /// registry with this id comes before it.
    pub fn may_describe_itself(&self) -> bool {
        self.is_self_registered() || self.metadata_url().is_some()
    }
}

fn time_ordered(now: Timestamp, entropy: &dyn Entropy) -> Arc<str> {
    let mut random = [0u8; 10];
    entropy.fill(&mut random);
    let id = uuid::Builder::from_unix_timestamp_millis(now.millis(), &random).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    Arc::from(&*id.hyphenated().encode_lower(&mut text))
}

impl RecordId {
    /// A new, time-ordered id (UUID version 7, RFC 9562 §5.7).
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(time_ordered(now, entropy))
    }
}

impl TokenId {
    /// A new, time-ordered id with 74 random bits (UUID version 7, RFC 9562 §5.7). Not a secret.
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(time_ordered(now, entropy))
    }

    /// The millisecond in which [`TokenId::generate`] made it. `None` for an id of any other form, such as
    /// that of a token of another issuer.
    pub fn made_at(&self) -> Option<Timestamp> {
        made_at(&self.0)
    }
}

/// The millisecond that a time-ordered id says it was made in (RFC 9562 §5.7). `None` for a text of any other
/// form.
pub fn made_at(id: &str) -> Option<Timestamp> {
    let id = uuid::Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7)?;
    let millis = u64::try_from(id.as_u128() >> 80).ok()?;
    Some(Timestamp::from_millis(millis))
}

impl GrantId {
    /// A new, time-ordered id (UUID version 7, RFC 9562 §5.7).
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(time_ordered(now, entropy))
    }
}
