//! OAuth scopes (RFC 6749 §3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most scopes that a `scope` parameter or claim may list: a client may ask for all that the metadata
/// names, of every resource. A bound for untrusted input.
pub const MAX_SCOPES: usize = 512;
/// By this scope a client asks for refresh tokens (`OpenID` Connect Core 1.0 §11). It is a scope of no resource.
pub const OFFLINE_ACCESS: &str = "offline_access";
/// The longest scope token, in bytes.
const MAX_SCOPE_LEN: usize = 128;

/// Why a text is not a scope or scope list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// Empty, or two spaces in a row (RFC 6749 §3.3 separates tokens by one space).
    #[error("an empty scope; separate scopes by one space")]
    Empty,
    /// A character outside %x21 / %x23-5B / %x5D-7E (RFC 6749 §3.3).
    #[error("a scope is printable ASCII without spaces, quotation marks and backslashes")]
    Character,
    /// A scope token of over 128 characters.
    #[error("a scope of more than 128 characters")]
    TooLong,
    /// Over [`MAX_SCOPES`].
    #[error("more than 512 scopes")]
    TooMany,
}

/// A `scope-token` (RFC 6749 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope token (RFC 6749 §3.3) as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        if text.is_empty() {
            return Err(InvalidScope::Empty);
        }
        if text.len() > MAX_SCOPE_LEN {
            return Err(InvalidScope::TooLong);
        }
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.bytes().all(allowed) { Ok(Self(text.into())) } else { Err(InvalidScope::Character) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of scopes. Prints in bytewise order, separated by one space; serializes as an array, and by
/// [`ScopeSet::as_text`] as one text.
///
/// Cloning is cheap: a decision intersects the same sets again and again, and usually one contains the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Arc<BTreeSet<Scope>>);

impl ScopeSet {
    /// The empty set, which permits nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.is_subset(other) {
            return self.clone();
        }
        if other.is_subset(self) {
            return other.clone();
        }
        self.0.intersection(&other.0).cloned().collect()
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_subset(self) {
            return self.clone();
        }
        self.0.union(&other.0).cloned().collect()
    }

    /// Whether every scope of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.is_subset(&other.0)
    }

    /// Whether it holds `scope`.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The scopes, in bytewise order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// The set as the `scope` parameter and claim have it, to be serialized.
    pub fn as_text(&self) -> ScopeText<'_> {
        ScopeText(self)
    }

    /// The scopes for which `keep` answers true.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&Scope) -> bool) -> Self {
        self.0.iter().filter(|s| keep(s)).cloned().collect()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(Arc::new(scopes.into_iter().collect()))
    }
}

impl FromStr for ScopeSet {
    type Err = InvalidScope;

    /// Parses the `scope` parameter or claim: tokens separated by one space; an empty text is an error.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut set = BTreeSet::new();
        for token in text.split(' ') {
            set.insert(token.parse()?);
            if set.len() > MAX_SCOPES {
                return Err(InvalidScope::TooMany);
            }
        }
        Ok(Self(Arc::new(set)))
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// A set of scopes that serializes as one text (RFC 6749 §3.3), without making that text first.
#[derive(Clone, Copy, Debug)]
pub struct ScopeText<'a>(&'a ScopeSet);

impl Serialize for ScopeText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<Scope>::deserialize(deserializer)?;
        if list.len() > MAX_SCOPES {
            return Err(serde::de::Error::custom(InvalidScope::TooMany));
        }
        Ok(list.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidScope, Scope, ScopeSet};
    use proptest::prelude::*;

    #[test]
    fn follows_rfc_6749_section_3_3() {
        let set: ScopeSet = "write:b read:a".parse().unwrap();
        assert_eq!(set.to_string(), "read:a write:b");
        assert_eq!(serde_json::to_string(&set.as_text()).unwrap(), r#""read:a write:b""#);
        for (text, why) in [
            ("", InvalidScope::Empty),
            ("a  b", InvalidScope::Empty),
            (" a", InvalidScope::Empty),
            ("a\tb", InvalidScope::Character),
            ("a\"b", InvalidScope::Character),
            ("a\\b", InvalidScope::Character),
            ("é", InvalidScope::Character),
        ] {
            assert_eq!(text.parse::<ScopeSet>(), Err(why), "{text:?}");
        }
        let many: Vec<String> = (0..=super::MAX_SCOPES).map(|n| format!("s{n}")).collect();
        assert_eq!(many.join(" ").parse::<ScopeSet>(), Err(InvalidScope::TooMany));
        assert_eq!("a".repeat(129).parse::<Scope>(), Err(InvalidScope::TooLong));
    }

    proptest! {
        #[test]
        fn an_intersection_is_within_both(a in proptest::collection::btree_set("[a-e]", 0..5), b in proptest::collection::btree_set("[a-e]", 0..5)) {
            let a: ScopeSet = a.iter().map(|s| s.parse().unwrap()).collect();
            let b: ScopeSet = b.iter().map(|s| s.parse().unwrap()).collect();
            let both = a.intersection(&b);
            prop_assert!(both.is_subset(&a) && both.is_subset(&b));
            prop_assert!(a.iter().filter(|scope| b.contains(scope)).eq(both.iter()), "and nothing is missing");
        }
    }
}
