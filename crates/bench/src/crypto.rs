//! The cryptography that an exchange cannot do without: two ES256 verifications and one signature, with the library that
//! the server uses.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey};

use crate::error::BenchError;
use crate::kernel::thread_seconds;

/// How many operations one sample times together: so many that what the caches held before does not matter.
const BATCH: u32 = 50;

/// How long no samples are taken after each, while something else is measured.
const PAUSE: Duration = Duration::from_millis(60);

/// How many samples are taken while nothing else is done.
const IDLE_SAMPLES: usize = 8;

/// A P-256 key of this process.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
}

impl Key {
    /// A new key.
    pub(crate) fn generate() -> Result<Self, BenchError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(|pair| Self { pair }).map_err(BenchError::during("making a key"))
    }

    /// Its public point, uncompressed.
    pub(crate) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// An ES256 signature.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BenchError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(BenchError::during("signing"))?;
        Ok(signature.as_ref().to_vec())
    }
}

/// Microseconds of CPU time of each operation, in samples.
#[derive(Default)]
pub(crate) struct RawCrypto {
    verify: Vec<f64>,
    sign: Vec<f64>,
}

/// The middle value; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Times one operation: microseconds of CPU time each, over a batch.
pub(crate) fn time_each<T>(mut operation: impl FnMut() -> T) -> f64 {
    let before = thread_seconds();
    for _ in 0..BATCH {
        black_box(operation());
    }
    (thread_seconds() - before) * 1e6 / f64::from(BATCH)
}

impl RawCrypto {
    /// One batch of each operation over a message of a token's length.
    fn take(&mut self, key: &Key) -> Result<(), BenchError> {
        let message = [0x61u8; 700];
        let signature = key.sign(&message)?;
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point()).map_err(BenchError::during("reading a key"))?;
        public.verify_sig(&message, &signature).map_err(BenchError::during("verifying"))?;
        let random = SystemRandom::new();
        self.verify.push(time_each(|| public.verify_sig(&message, &signature)));
        self.sign.push(time_each(|| key.pair.sign(&random, &message).is_ok()));
        Ok(())
    }

    /// Some samples while nothing else is done.
    pub(crate) fn idle(key: &Key) -> Result<Self, BenchError> {
        let mut raw = Self::default();
        for _ in 0..IDLE_SAMPLES {
            raw.take(key)?;
        }
        Ok(raw)
    }

    /// Adds the samples of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.verify.extend(other.verify);
        self.sign.extend(other.sign);
    }

    /// One verification.
    pub(crate) fn verify_us(&self) -> f64 {
        median(&self.verify)
    }

    /// One signature.
    pub(crate) fn sign_us(&self) -> f64 {
        median(&self.sign)
    }

    /// What one exchange needs.
    pub(crate) fn exchange_us(&self) -> f64 {
        2.0 * self.verify_us() + self.sign_us()
    }
}

/// Samples taken beside what is measured meanwhile, on a thread of its own. The clock of a core and what the caches are
/// left with change within seconds, and with what the other cores do: only what was measured in the same second compares.
pub(crate) struct Sampling {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<RawCrypto, BenchError>>,
}

impl Sampling {
    /// Begins.
    pub(crate) fn start(key: &Arc<Key>) -> Self {
        let (stop, key) = (Arc::new(AtomicBool::new(false)), Arc::clone(key));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut raw = RawCrypto::default();
            while !stopped.load(Ordering::Relaxed) {
                raw.take(&key)?;
                std::thread::sleep(PAUSE);
            }
            Ok(raw)
        });
        Self { stop, thread }
    }

    /// Ends, with the samples.
    pub(crate) fn finish(self) -> Result<RawCrypto, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| BenchError("the sampling thread panicked".to_owned()))?
    }
}
