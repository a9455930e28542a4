//! A time on the command line: itself, or how long ago.

use std::str::FromStr;

use mandate_core::time::InvalidTimestamp;
use mandate_core::{Lifetime, Timestamp};

/// `2026-11-24T09:00:00Z`, the same with another offset, `2026-11-24` for the start of that day in UTC, or
/// `1h` for an hour ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeOrSpan {
    At(Timestamp),
    Ago(Lifetime),
}

impl TimeOrSpan {
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(Lifetime(span)) => now.minus(span),
        }
    }
}

/// The text is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidTimeOrSpan {
    /// It looks like a time, but is not one.
    #[error(transparent)]
    Time(InvalidTimestamp),
    /// It looks like neither.
    #[error("neither a time such as 2026-11-24T09:00:00Z or 2026-11-24 nor a span such as 5m or 1h")]
    Neither,
}

impl FromStr for TimeOrSpan {
    type Err = InvalidTimeOrSpan;

    fn from_str(text: &str) -> Result<Self, InvalidTimeOrSpan> {
        match text.parse() {
            Ok(at) => Ok(Self::At(at)),
            Err(InvalidTimestamp::NoTime) => {
                format!("{text}T00:00:00Z").parse().map(Self::At).map_err(InvalidTimeOrSpan::Time)
            }
            Err(InvalidTimestamp::Malformed) => {
                text.parse().map(Self::Ago).map_err(|_| InvalidTimeOrSpan::Neither)
            }
            Err(why) => Err(InvalidTimeOrSpan::Time(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TimeOrSpan;
    use mandate_core::Timestamp;

    #[test]
    fn a_span_counts_back_from_now() {
        let now = Timestamp::from_secs(10_000);
        assert_eq!("1h".parse::<TimeOrSpan>().unwrap().resolve(now), Timestamp::from_secs(6_400));
        assert_eq!(
            "1970-01-01T00:00:05Z".parse::<TimeOrSpan>().unwrap().resolve(now),
            Timestamp::from_secs(5)
        );
        assert_eq!(
            "1970-01-02".parse::<TimeOrSpan>().unwrap().resolve(now),
            Timestamp::from_secs(86_400),
            "the start of the day"
        );
        assert_eq!(
            "1970-01-01T01:00:05+01:00".parse::<TimeOrSpan>().unwrap().resolve(now),
            Timestamp::from_secs(5),
            "an offset"
        );
        let local = "2026-11-24T09:00:00".parse::<TimeOrSpan>().unwrap_err().to_string();
        assert!(local.contains("add Z for UTC"), "{local}");
        assert!("1970-01".parse::<TimeOrSpan>().is_err());
        assert!("2026-02-30".parse::<TimeOrSpan>().is_err());
        assert!("yesterday".parse::<TimeOrSpan>().is_err());
    }
}
