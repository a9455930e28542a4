//! How long to wait before trying again.

use std::time::Duration;

use crate::time::Entropy;

/// Waiting times that double up to a limit. Half of each is random, so that clients that lost the same server
/// at the same time do not all return at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// The upper bound of the first wait for a server.
    const FIRST: Duration = Duration::from_millis(100);
    /// The upper bound of every wait for a server.
    const LONGEST: Duration = Duration::from_secs(5);

    /// A backoff at its beginning: the next wait is a first wait. The waits are those for a server that does
    /// not answer, between 50 ms and 5 s.
    #[expect(clippy::new_without_default, reason = "it is a start")]
    pub fn new() -> Self {
        Self::between(Self::FIRST, Self::LONGEST)
    }

    /// A backoff at its beginning, with the upper bounds of its first wait and of every wait.
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self { next: first.min(longest), longest }
    }

    /// The next wait: between half of its upper bound and all of it.
    pub fn wait(&mut self, entropy: &dyn Entropy) -> Duration {
        let wait = self.next.mul_f64(0.5 + 0.5 * entropy.fraction());
        self.next = (self.next * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;
    use crate::time::Entropy;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    #[test]
    fn waits_grow_to_a_limit_and_are_never_zero() {
        for (random, divisor) in [(0, 2), (255, 1)] {
            let mut backoff = Backoff::new();
            let waits: Vec<_> = (0..20).map(|_| backoff.wait(&Fixed(random))).collect();
            assert_eq!(waits[..2], [Backoff::FIRST / divisor, Backoff::FIRST * 2 / divisor]);
            assert_eq!(waits[19], Backoff::LONGEST / divisor);
        }
    }

    #[test]
    fn waits_are_between_the_bounds_that_are_given() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::between(millis(2), millis(5));
        let waits: Vec<_> = (0..4).map(|_| backoff.wait(&Fixed(255))).collect();
        assert_eq!(waits, [millis(2), millis(4), millis(5), millis(5)]);
        assert_eq!(Backoff::between(millis(9), millis(5)).wait(&Fixed(255)), millis(5));
    }
}
