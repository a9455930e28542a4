//! What stands for a log's origin in the other tables.

use crate::value::{FromValue, Value};

/// The number of a log in its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogNumber(pub(crate) u64);

impl From<LogNumber> for Value<'_> {
    fn from(log: LogNumber) -> Self {
        log.0.into()
    }
}

impl FromValue<'_> for LogNumber {
    const TYPE: &'static str = "the number of a log";

    fn from_value(value: Value<'_>) -> Option<Self> {
        u64::from_value(value).map(Self)
    }
}
