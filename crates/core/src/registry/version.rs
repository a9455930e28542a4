//! How often the registry was changed.

/// How often the registry was changed. A change is planned from one version, and is refused if there is a
/// newer one when it is written: it was checked against entries that may be others now. The default is that
/// of a registry that was never changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryVersion(u64);

impl RegistryVersion {
    /// The version with this number, as the database counts.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, as the database counts.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
