//! When a grant ends: a point in time, or a span from when it is first applied.

use std::fmt;
use std::str::FromStr;

use mandate_core::{Lifetime, Timestamp};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `expires` of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this time: `2027-01-31T00:00:00Z`, quoted or as a TOML date-time.
    At(Timestamp),
    /// So long after it was first applied: `1h`. Applying it again does not move the end of a grant that still runs.
    After(Lifetime),
}

impl Expiry {
    /// The time meant. `running` is the end of the grant as it stands, if it stands.
    pub(super) fn resolve(self, now: Timestamp, running: Option<Timestamp>) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::After(Lifetime(span)) => {
                let fresh = now.plus(span);
                running.filter(|end| *end > now && *end <= fresh).unwrap_or(fresh)
            }
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => at.fmt(f),
            Self::After(span) => span.fmt(f),
        }
    }
}

/// The text is neither a time nor a span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a time such as \"2027-01-31T00:00:00Z\" nor a span such as \"5m\" or \"1h\"")]
pub struct InvalidExpiry(String);

impl FromStr for Expiry {
    type Err = InvalidExpiry;

    fn from_str(text: &str) -> Result<Self, InvalidExpiry> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        text.parse().map(Self::After).map_err(|_| InvalidExpiry(text.chars().take(80).collect()))
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Expiry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"2027-01-31T00:00:00Z\" or a span such as \"1h\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Expiry, E> {
                text.parse().map_err(E::custom)
            }

            // The toml crate hands a date-time without quotes over as a map of one entry.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expiry, A::Error> {
                const DATETIME: &str = "$__toml_private_datetime";
                match map.next_entry::<String, String>()? {
                    Some((key, at)) if key == DATETIME => at.parse().map_err(A::Error::custom),
                    _ => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
                }
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::Expiry;
    use mandate_core::Timestamp;

    #[test]
    fn a_span_counts_from_the_first_time_and_never_extends_a_running_grant() {
        let hour: Expiry = "1h".parse().unwrap();
        let now = Timestamp::from_secs(10_000);
        assert_eq!(hour.resolve(now, None), Timestamp::from_secs(13_600));
        assert_eq!(hour.resolve(now, Some(Timestamp::from_secs(12_000))), Timestamp::from_secs(12_000));
        assert_eq!(hour.resolve(now, Some(Timestamp::from_secs(9_000))), Timestamp::from_secs(13_600), "it had ended");
        assert_eq!(hour.resolve(now, Some(Timestamp::from_secs(99_000))), Timestamp::from_secs(13_600), "shortened");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "soon", "2027-01-31", "2027-01-31 00:00", "-5m", "5", "1e9"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }
}
