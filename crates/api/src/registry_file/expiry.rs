//! When a grant ends: a point in time, or a span from when it is first applied.

use std::fmt;
use std::str::FromStr;

use mandate_core::time::InvalidTimestamp;
use mandate_core::{Lifetime, Timestamp};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `expires` of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this time: `2027-01-31T00:00:00Z` or `2027-01-31T01:00:00+01:00`, quoted or as a TOML date-time.
    At(Timestamp),
    /// This time after it was first applied: `1h`. If the same span is applied again, the end of a grant in
    /// force does not move; another span counts from the time when it is applied.
    After(Lifetime),
}

/// When a grant ends, and the span from which that was made.
type End = (Timestamp, Option<Lifetime>);

impl Expiry {
    /// The time meant. `before` is the present end of the grant, if the grant exists.
    pub fn resolve(self, now: Timestamp, before: Option<End>) -> End {
        match self {
            // The time that a span has become is what `get` prints.
            Self::At(at) => (at, before.filter(|(end, _)| *end == at).and_then(|(_, span)| span)),
            Self::After(span) => match before {
                Some((end, Some(same))) if same == span && end > now => (end, Some(span)),
                _ => (now.plus(span.0), Some(span)),
            },
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
pub enum InvalidExpiry {
    /// It looks like a time, but is not one.
    #[error("{0:?} is neither a time such as \"2027-01-31T00:00:00Z\" nor a span such as \"1h\", but {1}")]
    Time(String, InvalidTimestamp),
    /// It looks like neither.
    #[error("{0:?} is neither a time such as \"2027-01-31T00:00:00Z\" nor a span such as \"5m\" or \"1h\"")]
    Neither(String),
}

impl FromStr for Expiry {
    type Err = InvalidExpiry;

    fn from_str(text: &str) -> Result<Self, InvalidExpiry> {
        let shown = || text.chars().take(80).collect();
        match text.parse() {
            Ok(at) => Ok(Self::At(at)),
            Err(InvalidTimestamp::Malformed) => {
                text.parse().map(Self::After).map_err(|_| InvalidExpiry::Neither(shown()))
            }
            Err(why) => Err(InvalidExpiry::Time(shown(), why)),
        }
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

            // The toml crate passes a date-time without quotes as a map with one entry.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expiry, A::Error> {
                const DATETIME: &str = "$__toml_private_datetime";
                match map.next_entry::<String, String>()? {
                    Some((key, at)) if key == DATETIME => with_seconds(&at).parse().map_err(A::Error::custom),
                    _ => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
                }
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// TOML 1.1 may leave out the seconds, which RFC 3339 requires.
fn with_seconds(text: &str) -> String {
    match text.parse::<toml::value::Datetime>() {
        Ok(mut at) => {
            at.time = at.time.map(|time| toml::value::Time { second: time.second.or(Some(0)), ..time });
            at.to_string()
        }
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Expiry;
    use mandate_core::{Lifetime, Timestamp};

    #[test]
    fn a_span_counts_from_the_first_time_it_is_applied_and_another_span_from_now() {
        let hour: Expiry = "1h".parse().unwrap();
        let (now, span) = (Timestamp::from_secs(10_000), Some(Lifetime(std::time::Duration::from_hours(1))));
        let running = (Timestamp::from_secs(12_000), span);
        assert_eq!(hour.resolve(now, None), (Timestamp::from_secs(13_600), span));
        assert_eq!(hour.resolve(now, Some(running)), running, "the same again");
        assert_eq!(
            hour.resolve(now, Some((Timestamp::from_secs(9_000), span))).0,
            Timestamp::from_secs(13_600),
            "it had ended"
        );
        let month: Expiry = "30d".parse().unwrap();
        assert_eq!(month.resolve(now, Some(running)).0, Timestamp::from_secs(10_000 + 30 * 86_400), "longer");
        assert_eq!(
            hour.resolve(now, Some(month.resolve(now, None))).0,
            Timestamp::from_secs(13_600),
            "shorter"
        );
    }

    #[test]
    fn the_time_that_a_span_became_is_no_change_and_another_time_is() {
        let now = Timestamp::from_secs(10_000);
        let made = "1h".parse::<Expiry>().unwrap().resolve(now, None);
        assert_eq!(Expiry::At(made.0).resolve(now, Some(made)), made);
        let other = Timestamp::from_secs(20_000);
        assert_eq!(Expiry::At(other).resolve(now, Some(made)), (other, None));
    }

    fn declared(value: &str) -> Result<String, String> {
        let file = format!(
            "[[grant]]\nperson = \"r\"\nagent = \"a\"\nresource = \"c\"\nscopes = [\"s\"]\nexpires = {value}\n"
        );
        let parsed = crate::registry_file::parse(&file).map_err(|error| error.to_string())?;
        Ok(parsed
            .grant
            .first()
            .and_then(|grant| grant.expires)
            .map(|expires| expires.to_string())
            .unwrap_or_default())
    }

    #[test]
    fn a_date_time_of_toml_is_an_instant_quoted_or_not() {
        for value in [
            "2027-01-31T00:00:00Z",
            "2027-01-31T01:00:00+01:00",
            "2027-01-30 16:00:00-08:00",
            "2027-01-31t00:00:00z",
            "2027-01-31T00:00:00.000000Z",
        ] {
            for value in [value.to_owned(), format!("\"{value}\"")] {
                assert_eq!(declared(&value).as_deref(), Ok("2027-01-31T00:00:00.000Z"), "{value}");
            }
        }
        assert_eq!(
            declared("2027-01-31T00:00Z").as_deref(),
            Ok("2027-01-31T00:00:00.000Z"),
            "TOML 1.1 without seconds"
        );
    }

    #[test]
    fn a_time_of_no_known_place_is_refused_with_what_to_add_and_its_place() {
        for (value, hint) in [
            ("2027-01-31T00:00:00", "add Z for UTC, or an offset such as +01:00"),
            ("2027-01-31 00:00:00", "add Z for UTC"),
            ("2027-01-31", "T00:00:00Z after it"),
            ("00:00:00", "neither a time such as"),
        ] {
            for value in [value.to_owned(), format!("\"{value}\"")] {
                let error = declared(&value).unwrap_err();
                assert!(error.starts_with("line 6, column 11: ") && error.contains(hint), "{value}: {error}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "soon", "2027-01-31", "2027-01-31 00:00", "-5m", "5", "1e9"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }
}
