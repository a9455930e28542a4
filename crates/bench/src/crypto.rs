//! The cryptography that an exchange cannot do without: two ES256 verifications and one signature, with the library that
//! the server uses.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey};

use crate::error::BenchError;
use crate::kernel::thread_seconds;

/// How many operations one sample times together.
const BATCH: u32 = 50;

/// How many samples are taken at a time.
const SAMPLES: usize = 8;

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
    idle: Vec<f64>,
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

/// Keeps another core busy while `work` runs. Two virtual cores may share one that is real, and exchanges are measured
/// with all of them busy; cryptography must not be measured on a machine that is twice as fast.
fn beside_other_work<T>(work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = [0u8; 64];
            while !over.load(Ordering::Relaxed) {
                value = black_box(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &value).as_ref().try_into().unwrap_or(value));
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

impl RawCrypto {
    /// Takes some samples over a message of a token's length.
    pub(crate) fn sample(&mut self, key: &Key) -> Result<(), BenchError> {
        let message = [0x61u8; 700];
        let signature = key.sign(&message)?;
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point()).map_err(BenchError::during("reading a key"))?;
        public.verify_sig(&message, &signature).map_err(BenchError::during("verifying"))?;
        let random = SystemRandom::new();
        for _ in 0..SAMPLES {
            self.idle.push(time_each(|| public.verify_sig(&message, &signature)));
        }
        beside_other_work(|| {
            for _ in 0..SAMPLES {
                self.verify.push(time_each(|| public.verify_sig(&message, &signature)));
                self.sign.push(time_each(|| key.pair.sign(&random, &message).is_ok()));
            }
        });
        Ok(())
    }

    /// One verification.
    pub(crate) fn verify_us(&self) -> f64 {
        median(&self.verify)
    }

    /// One verification while the other cores are idle.
    pub(crate) fn idle_verify_us(&self) -> f64 {
        median(&self.idle)
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
