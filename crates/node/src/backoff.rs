//! How long to wait before trying again.

use std::time::Duration;

use mandate_core::Entropy;

/// A random number from 0 to 1.
pub(crate) fn fraction(entropy: &dyn Entropy) -> f64 {
    let mut random = [0; 2];
    entropy.fill(&mut random);
    f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)
}

/// How long to wait before trying again, doubling up to a limit, at least half of it random.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// Starts over.
    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self, entropy: &dyn Entropy) -> Duration {
        let wait = self.next.mul_f64(0.5 + 0.5 * fraction(entropy));
        self.next = (self.next * 2).min(Self::LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use mandate_core::SystemEntropy;
    use std::time::Duration;

    #[test]
    fn waits_grow_to_a_limit() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..20).map(|_| backoff.wait(&SystemEntropy)).collect();
        assert!(waits[0] <= Duration::from_millis(100) && waits[0] >= Duration::from_millis(50));
        assert!(waits[19] <= Duration::from_secs(5) && waits[19] >= Duration::from_millis(2500));
    }
}
