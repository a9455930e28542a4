//! Time and randomness as arguments.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::{friendly, temporal};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
///
/// Serialized as RFC 3339 text with milliseconds (`2026-11-24T09:30:00.000Z`). JWT claims use
/// [`Timestamp::secs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From whole seconds since the epoch, the `NumericDate` of RFC 7519 §2. Saturates.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This time plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This time minus `duration`, saturating at the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long from `earlier` to this time; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// 1970-01-01T00:00:00 in UTC. Times are counted from here by the civil calendar in UTC, so that every time
/// of the year 9999 can be written: people use that year for things that never end.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The last time that RFC 3339 can write, 9999-12-31T23:59:59.999Z, in milliseconds since [`EPOCH`].
const LAST: u64 = 253_402_300_799_999;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Later times come only from adding a span to a time near the end. They are shown as the last one.
        let since = SignedDuration::from_millis(i64::try_from(self.0.min(LAST)).unwrap_or(i64::MAX));
        write!(f, "{:.3}Z", EPOCH.saturating_add(since))
    }
}

/// Why a text is no [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// Not a date and a time as RFC 3339 §5.6 writes them, or one that does not exist.
    #[error("not a time as RFC 3339 writes it, such as 2027-01-31T00:00:00Z or 2027-01-31T01:00:00+01:00")]
    Malformed,
    /// A date and a time without an offset from UTC: different readers would take it for different instants.
    #[error("a time without an offset: add Z for UTC, or an offset such as +01:00")]
    NoOffset,
    /// A day without a time of day.
    #[error("a day without a time: write, for its start in UTC, T00:00:00Z after it")]
    NoTime,
    /// Before 1970, where timestamps begin.
    #[error("a time before 1970-01-01T00:00:00Z")]
    BeforeEpoch,
    /// In the year 10000 in UTC. RFC 3339 §5.6 has four digits for a year, so such a time could not be
    /// written again.
    #[error("a time after 9999-12-31T23:59:59Z")]
    AfterLast,
}

/// RFC 3339 §5.6: any offset, `t` and `z` in lower case, fractions of a second of any length, and second 60
/// (counted as second 59). Only whole milliseconds are kept.
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The parser also accepts other forms of ISO 8601 and names of time zones, which RFC 3339 does not
        // have. So the form of the text is checked, too.
        let text = at_most_nanoseconds(text);
        let pieces = temporal::DateTimeParser::new()
            .parse_pieces(text.as_ref())
            .map_err(|_| InvalidTimestamp::Malformed)?;
        let (date, time, offset) = match (pieces.time(), pieces.to_numeric_offset()) {
            (None, None) if is_date(&text) => return Err(InvalidTimestamp::NoTime),
            (Some(_), None) if is_local(&text).is_some_and(str::is_empty) => {
                return Err(InvalidTimestamp::NoOffset);
            }
            (Some(time), Some(offset)) if is_local(&text).is_some_and(is_offset) => {
                (pieces.date(), time, offset)
            }
            _ => return Err(InvalidTimestamp::Malformed),
        };
        if offset.seconds().unsigned_abs() >= 24 * 60 * 60 {
            return Err(InvalidTimestamp::Malformed);
        }
        let local = DateTime::from_parts(date, time).duration_since(EPOCH);
        let since = local.saturating_sub(SignedDuration::from_secs(i64::from(offset.seconds())));
        let since = u64::try_from(since.as_millis()).map_err(|_| InvalidTimestamp::BeforeEpoch)?;
        if since > LAST { Err(InvalidTimestamp::AfterLast) } else { Ok(Self(since)) }
    }
}

/// The text with at most nine digits for the fraction of a second, because the parser accepts no more (RFC
/// 3339 §5.6 has no limit).
fn at_most_nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((before, after)) = text.split_once('.') else { return Cow::Borrowed(text) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    match (after.get(..9), after.get(digits..)) {
        (Some(kept), Some(rest)) if digits > 9 => Cow::Owned(format!("{before}.{kept}{rest}")),
        _ => Cow::Borrowed(text),
    }
}

/// Whether `text` has digits where `form` has zeros, and is equal to `form` elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(b, f): (u8, u8)| if f == b'0' { b.is_ascii_digit() } else { b == f };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

fn is_date(text: &str) -> bool {
    has_form(text, "0000-00-00")
}

/// What follows `full-date "T" partial-time`, if the text begins with those.
fn is_local(text: &str) -> Option<&str> {
    let (date, rest) = text.split_at_checked(10)?;
    // A space may replace the T (RFC 3339 §5.6, the note).
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (rest.len() < fraction.len()).then_some(rest)?
        }
        None => rest,
    };
    (is_date(date) && has_form(time, "00:00:00")).then_some(rest)
}

fn is_offset(text: &str) -> bool {
    matches!(text, "Z" | "z") || has_form(text, "+00:00") || has_form(text, "-00:00")
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A span of time, written `90s`, `5m`, `1h 30m`, `30d` in files and on the wire of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(pub Duration);

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let (days, rest) =
            (self.0.as_secs() / DAY, Duration::new(self.0.as_secs() % DAY, self.0.subsec_nanos()));
        let printer = friendly::SpanPrinter::new();
        match (days, rest.is_zero()) {
            (0, _) => f.write_str(&printer.unsigned_duration_to_string(&rest)),
            (days, true) => write!(f, "{days}d"),
            (days, false) => write!(f, "{days}d {}", printer.unsigned_duration_to_string(&rest)),
        }
    }
}

impl Lifetime {
    /// The longest span that a text may name: 10,000 years, longer than the calendar of RFC 3339. The parser
    /// accepts longer spans only in small units. Without this limit a span could be read in seconds, but not
    /// in the form in which it is written, in days.
    const LONGEST: Self = Self(Duration::from_secs(10_000 * YEAR));
}

const YEAR: u64 = 31_557_600;

/// The text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a span of time such as 90s, 5m, 1h 30m or 30d, of at most 10000 years")]
pub struct InvalidLifetime;

/// Numbers with units, such as `1h 30m` or `2 weeks`. A day is 24 hours, a month 30.44 days and a year 365.25
/// days. For an exact end, use a date.
impl FromStr for Lifetime {
    type Err = InvalidLifetime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // "1h ago" and "-1h" are spans, but no lifetimes. "01:00:00" is a span that is easily read as a time
        // of day.
        let span = friendly::SpanParser::new()
            .parse_span(text)
            .ok()
            .filter(|span| !span.is_negative() && !text.contains(':'));
        let span = span.ok_or(InvalidLifetime)?;
        let whole: [(u64, i64); 7] = [
            (YEAR, span.get_years().into()),
            (2_630_016, span.get_months().into()),
            (7 * 24 * 60 * 60, span.get_weeks().into()),
            (24 * 60 * 60, span.get_days().into()),
            (60 * 60, span.get_hours().into()),
            (60, span.get_minutes()),
            (1, span.get_seconds()),
        ];
        let mut sum = Some(Duration::ZERO);
        for (seconds, count) in whole {
            let part = u64::try_from(count).ok().and_then(|count| count.checked_mul(seconds));
            sum = sum.and_then(|sum| sum.checked_add(Duration::from_secs(part?)));
        }
        let small = [
            u64::try_from(span.get_milliseconds()).ok().map(Duration::from_millis),
            u64::try_from(span.get_microseconds()).ok().map(Duration::from_micros),
            u64::try_from(span.get_nanoseconds()).ok().map(Duration::from_nanos),
        ];
        let sum = small.into_iter().fold(sum, |sum, part| sum.and_then(|sum| sum.checked_add(part?)));
        sum.map(Self).filter(|span| *span <= Self::LONGEST).ok_or(InvalidLifetime)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where "now" comes from. Engines take a `Timestamp` or a `&dyn Clock`, never the system clock.
pub trait Clock: Send + Sync + 'static {
    /// The current time, to the millisecond.
    fn now(&self) -> Timestamp;

    /// The time since a fixed moment, by a counter that runs evenly and cannot be set.
    fn steady(&self) -> Duration;
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with cryptographically secure random bytes.
    fn fill(&self, out: &mut [u8]);

    /// A random number from 0 to 1.
    fn fraction(&self) -> f64 {
        let mut random = [0; 2];
        self.fill(&mut random);
        f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{InvalidTimestamp, LAST, Lifetime, Timestamp};

    fn millis(text: &str) -> Result<u64, InvalidTimestamp> {
        text.parse().map(Timestamp::millis)
    }

    #[test]
    fn every_form_of_rfc_3339_is_one_instant() {
        // RFC 3339 §5.8, and the same instants in other forms.
        for (text, same) in [
            ("1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520Z"),
            ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57.000Z"),
            ("1990-12-31T23:59:60Z", "1990-12-31T23:59:59.000Z"),
            ("1990-12-31T15:59:60-08:00", "1990-12-31T23:59:59.000Z"),
            ("2027-01-31t01:00:00z", "2027-01-31T01:00:00.000Z"),
            ("2027-01-31 01:00:00+01:00", "2027-01-31T00:00:00.000Z"),
            ("2027-01-31T00:00:00-00:00", "2027-01-31T00:00:00.000Z"),
            ("2027-01-31T05:30:00+05:30", "2027-01-31T00:00:00.000Z"),
            ("2027-01-31T23:59:59+23:59", "2027-01-31T00:00:59.000Z"),
            ("2027-01-31T00:00:00.1234567890123456789Z", "2027-01-31T00:00:00.123Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
            ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), same, "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused_with_what_is_missing() {
        for (text, why) in [
            ("2027-01-31T00:00:00", InvalidTimestamp::NoOffset),
            ("2027-01-31 00:00:00.5", InvalidTimestamp::NoOffset),
            ("2027-01-31", InvalidTimestamp::NoTime),
            ("1969-12-31T23:59:59Z", InvalidTimestamp::BeforeEpoch),
            ("1970-01-01T00:00:00+00:01", InvalidTimestamp::BeforeEpoch),
            ("9999-12-31T23:59:59-00:01", InvalidTimestamp::AfterLast),
            ("9999-12-31T23:09:59.460-23:04", InvalidTimestamp::AfterLast),
        ] {
            assert_eq!(millis(text), Err(why), "{text}");
        }
        for text in [
            "",
            "now",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T00:00:61Z",
            "2027-01-31T00:00:00+25:00",
            "2027-01-31T00:00:00+0100",
            "2027-01-31T00:00:00+01",
            "2027-01-31T00:00Z",
            "20270131T000000Z",
            "2027-01-31T00:00:00,5Z",
            "2027-01-31T00:00:00.Z",
            "2027-01-31T00:00:00Z[Europe/Paris]",
            "2027-01-31T00:00:00+01:00[Europe/Paris]",
            " 2027-01-31T00:00:00Z",
            "2027-01-31T00:00:00Z ",
            "+002027-01-31T00:00:00Z",
            "-2027-01-31T00:00:00Z",
            "2027-1-31T00:00:00Z",
            "2027-031T00:00:00Z",
            "2027-01-31Z",
            "2027-01-31T00:00:00ZZ",
            "2027-01-31T00:00:00\u{2212}01:00",
        ] {
            assert_eq!(millis(text), Err(InvalidTimestamp::Malformed), "{text}");
        }
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("1h 30m", 5_400),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            ("5 minutes", 300),
            ("1y", 31_557_600),
            ("1 month", 2_630_016),
            ("30days", 2_592_000),
            ("0s", 0),
            ("000000000090s", 90),
            ("9999y", 315_544_442_400),
            ("315576000000s", 315_576_000_000),
        ] {
            assert_eq!(text.parse::<Lifetime>().unwrap().0, Duration::from_secs(seconds), "{text}");
        }
        for bad in
            ["", "5", "-5m", "5m ago", "1e9", "soon", "PT5M", "01:00:00", "5x", "m", "999999999999999999999y"]
        {
            assert!(bad.parse::<Lifetime>().is_err(), "{bad}");
        }
        // Longer than 10,000 years. The parser takes the first four, by carrying seconds into milliseconds
        // and smaller units.
        for long in [
            "000704000040000s",
            "704000040000s",
            "315576000001s",
            "5259600001m",
            "87660001h",
            "10001y",
            "120000mo",
        ] {
            assert!(long.parse::<Lifetime>().is_err(), "{long}");
        }
        for (seconds, text) in [
            (0, "0s"),
            (90, "1m 30s"),
            (300, "5m"),
            (3_600, "1h"),
            (2_592_000, "30d"),
            (90_061, "1d 1h 1m 1s"),
        ] {
            assert_eq!(Lifetime(Duration::from_secs(seconds)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 0..=253_402_300_799_999_u64) {
            let at = Timestamp::from_millis(millis);
            let text = at.to_string();
            prop_assert_eq!(text.len(), "2026-11-24T09:30:00.000Z".len());
            prop_assert_eq!(text.parse::<Timestamp>(), Ok(at));
        }

        #[test]
        fn an_offset_moves_the_clock_and_not_the_instant(
            millis in prop_oneof![90_000_000..253_402_200_000_000_u64, (LAST - 90_000_000)..=LAST],
            minutes in -1_439_i64..=1_439,
            lower in any::<bool>(),
        ) {
            prop_assume!(millis.checked_add_signed(minutes * 60_000).unwrap() <= LAST);
            let local = Timestamp::from_millis(millis.checked_add_signed(minutes * 60_000).unwrap()).to_string();
            let sign = if minutes < 0 { '-' } else { '+' };
            let text = format!("{}{sign}{:02}:{:02}", local.trim_end_matches('Z'), minutes.abs() / 60, minutes.abs() % 60);
            let text = if lower { text.to_lowercase() } else { text };
            prop_assert_eq!(text.parse::<Timestamp>(), Ok(Timestamp::from_millis(millis)), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), near in "[0-9TtZz:. +-]{0,40}") {
            let _ = (text.parse::<Timestamp>(), near.parse::<Timestamp>(), text.parse::<Lifetime>(), near.parse::<Lifetime>());
        }

        #[test]
        fn a_span_that_is_read_is_written_so_that_it_is_read_again(
            text in "0{0,4}[0-9]{1,22}(\\.[0-9]{1,12})? ?(y|mo|w|d|h|m|s|ms|us|ns)( [0-9]{1,13}(h|m|s|ms|us|ns)){0,2}",
        ) {
            if let Ok(span) = text.parse::<Lifetime>() {
                prop_assert_eq!(span.to_string().parse::<Lifetime>(), Ok(span), "{}", text);
            }
        }

        #[test]
        fn the_longest_spans_are_read_as_they_are_written(less in 0..=u64::MAX) {
            let span = Lifetime(Lifetime::LONGEST.0.saturating_sub(Duration::from_nanos(less)));
            prop_assert_eq!(span.to_string().parse::<Lifetime>(), Ok(span));
        }

        #[test]
        fn a_span_that_is_written_is_read_again(nanos in 0..=i64::MAX.unsigned_abs()) {
            let span = Lifetime(Duration::from_nanos(nanos));
            prop_assert_eq!(span.to_string().parse::<Lifetime>(), Ok(span));
        }
    }
}
