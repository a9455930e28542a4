//! Meters: counts of what mandates use up.

use std::fmt;

use crate::id::GrantId;

/// What is counted. A count never decreases, and is kept when the entry that it belongs to is removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeterId {
    /// The mandates that were issued under a grant.
    GrantUses(GrantId),
}

impl fmt::Display for MeterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GrantUses(grant) => write!(f, "grant_uses {grant}"),
        }
    }
}

/// What is taken from one meter when a record is written. Either all reservations of a record are taken, or
/// none of them is and the record is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The meter that counts it.
    pub meter: MeterId,
    /// How much is added to the count.
    pub amount: u64,
    /// The highest value that the meter may have afterwards.
    pub limit: u64,
}

impl Reservation {
    /// Whether it can be taken from a meter that shows `used`.
    pub fn fits(&self, used: u64) -> bool {
        used.checked_add(self.amount).is_some_and(|sum| sum <= self.limit)
    }

    /// The lowest value that the meter can have if this was refused.
    pub fn used_if_refused(&self) -> u64 {
        self.limit.saturating_sub(self.amount).saturating_add(1).min(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::{MeterId, Reservation};

    fn take(amount: u64, limit: u64) -> Reservation {
        Reservation { meter: MeterId::GrantUses("g1".parse().unwrap()), amount, limit }
    }

    #[test]
    fn what_goes_beyond_the_limit_does_not_fit() {
        assert!(take(1, 1).fits(0) && take(3, 5).fits(2) && take(0, 0).fits(0));
        assert!(!take(1, 1).fits(1) && !take(3, 5).fits(3) && !take(1, 0).fits(0));
        assert!(!take(1, u64::MAX).fits(u64::MAX), "a sum that does not exist");
    }

    #[test]
    fn after_a_refusal_the_same_does_not_fit() {
        for (amount, limit) in [(1, 1), (1, 25), (3, 5), (5, 5), (1, u64::MAX)] {
            let reservation = take(amount, limit);
            assert!(!reservation.fits(reservation.used_if_refused()), "{amount} of {limit}");
            assert!(reservation.fits(reservation.used_if_refused() - 1), "{amount} of {limit}");
        }
    }
}
