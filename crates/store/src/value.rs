//! The values of statements: what is bound to a parameter, and what a column holds.

use mandate_core::Timestamp;

/// A value of a type that every database of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'v> {
    Null,
    Integer(i64),
    Text(&'v str),
    Bytes(&'v [u8]),
}

impl Value<'_> {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => i64::TYPE,
            Self::Text(_) => <&str>::TYPE,
            Self::Bytes(_) => <&[u8]>::TYPE,
        }
    }

    /// Whether it is a text that `PostgreSQL` cannot have: it refuses the whole statement (22021). So neither
    /// database of ours gets one.
    pub(crate) fn is_unstorable(self) -> bool {
        matches!(self, Self::Text(text) if text.contains('\0'))
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u64> for Value<'_> {
    /// A count. Counts above `i64::MAX` are stored as that.
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for Value<'_> {
    /// Milliseconds. Times past the year 292 million are stored as the last one.
    fn from(value: Timestamp) -> Self {
        value.millis().into()
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(value: &'v str) -> Self {
        Self::Text(value)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(value: &'v String) -> Self {
        Self::Text(value)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(value: &'v [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'v, const N: usize> From<&'v [u8; N]> for Value<'v> {
    fn from(value: &'v [u8; N]) -> Self {
        Self::Bytes(value)
    }
}

impl<'v> From<&'v Vec<u8>> for Value<'v> {
    fn from(value: &'v Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement, `$1` first.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::value::Value::from($value)),*] };
}
pub(crate) use values;

/// What a column is read as.
pub(crate) trait FromValue<'v>: Sized {
    /// The type that the column must have, for errors.
    const TYPE: &'static str;

    /// None if the value is of another type, or out of range.
    fn from_value(value: Value<'v>) -> Option<Self>;
}

impl FromValue<'_> for i64 {
    const TYPE: &'static str = "an integer";

    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Integer(value) = value { Some(value) } else { None }
    }
}

impl FromValue<'_> for u64 {
    const TYPE: &'static str = "a count";

    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value).and_then(|value| value.try_into().ok())
    }
}

impl FromValue<'_> for Timestamp {
    const TYPE: &'static str = "a time";

    fn from_value(value: Value<'_>) -> Option<Self> {
        u64::from_value(value).map(Self::from_millis)
    }
}

impl<'v> FromValue<'v> for &'v str {
    const TYPE: &'static str = "text";

    fn from_value(value: Value<'v>) -> Option<Self> {
        if let Value::Text(value) = value { Some(value) } else { None }
    }
}

impl FromValue<'_> for String {
    const TYPE: &'static str = <&str>::TYPE;

    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Text(value) = value { Some(value.to_owned()) } else { None }
    }
}

impl<'v> FromValue<'v> for &'v [u8] {
    const TYPE: &'static str = "bytes";

    fn from_value(value: Value<'v>) -> Option<Self> {
        if let Value::Bytes(value) = value { Some(value) } else { None }
    }
}

impl FromValue<'_> for Vec<u8> {
    const TYPE: &'static str = <&[u8]>::TYPE;

    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Bytes(value) = value { Some(value.to_owned()) } else { None }
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    const TYPE: &'static str = T::TYPE;

    fn from_value(value: Value<'v>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}
