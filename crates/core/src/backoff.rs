//! How long to wait before trying again.

use std::time::Duration;

use crate::time::Entropy;

/// Waits that double up to a limit, at least half of each random: those who lost the same server do not all come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The longest first wait.
    const FIRST: Duration = Duration::from_millis(100);
    /// The longest of all.
    const LONGEST: Duration = Duration::from_secs(5);

    /// Starts over.
    #[expect(clippy::new_without_default, reason = "it is a start")]
    pub fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next wait: between half of the present length and the whole.
    pub fn wait(&mut self, entropy: &dyn Entropy) -> Duration {
        let wait = self.next.mul_f64(0.5 + 0.5 * entropy.fraction());
        self.next = (self.next * 2).min(Self::LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
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
}
