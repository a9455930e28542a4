//! The cryptography that an exchange cannot do without: two ES256 verifications and one signature, with the
//! library that the server uses.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::BenchError;
use crate::kernel::thread_seconds;

/// How many operations one sample times together.
const BATCH: u32 = 50;

/// How many samples are taken at a time.
const SAMPLES: usize = 16;

/// A P-256 key of this process.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
}

impl Key {
    pub(crate) fn generate() -> Result<Self, BenchError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(|pair| Self { pair })
            .map_err(BenchError::during("making a key"))
    }

    /// Its public point, uncompressed.
    pub(crate) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BenchError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(BenchError::during("signing"))?;
        Ok(signature.as_ref().to_vec())
    }
}

/// Microseconds of CPU time of each operation, in samples.
#[derive(Default)]
pub(crate) struct RawCrypto {
    verify: Vec<f64>,
    sign: Vec<f64>,
}

/// The mean; NaN if there are no values. CPU time is added up over fast and slow moments, and so is the time
/// with which it is compared.
fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
    let count = values.len() as f64;
    values.iter().sum::<f64>() / count
}

/// The middle value; NaN if there are no values.
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
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
            .map_err(BenchError::during("reading a key"))?;
        public.verify_sig(&message, &signature).map_err(BenchError::during("verifying"))?;
        let random = SystemRandom::new();
        self.verify.push(time_each(|| public.verify_sig(&message, &signature)));
        self.sign.push(time_each(|| key.pair.sign(&random, &message).is_ok()));
        Ok(())
    }

    /// Some samples on this thread.
    pub(crate) fn here(key: &Key) -> Result<Self, BenchError> {
        let mut raw = Self::default();
        for _ in 0..SAMPLES {
            raw.take(key)?;
        }
        Ok(raw)
    }

    /// Adds the samples of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.verify.extend(other.verify);
        self.sign.extend(other.sign);
    }

    /// The mean CPU time of one verification, in microseconds.
    pub(crate) fn verify_us(&self) -> f64 {
        mean(&self.verify)
    }

    /// The mean CPU time of one signature, in microseconds.
    pub(crate) fn sign_us(&self) -> f64 {
        mean(&self.sign)
    }

    /// Two verifications and one signature, in microseconds.
    pub(crate) fn exchange_us(&self) -> f64 {
        2.0 * self.verify_us() + self.sign_us()
    }
}

/// Samples of all cores at the same time, the same number for each: exchanges are measured with all cores
/// busy. The speed of a core changes within seconds, with its clock and with the work of other tenants of the
/// machine, and not for all cores at once.
pub(crate) fn on_all_cores(key: &Arc<Key>) -> Result<RawCrypto, BenchError> {
    let mut threads = Vec::new();
    for core in cores()? {
        let key = Arc::clone(key);
        threads.push(std::thread::spawn(move || {
            let mut only = CpuSet::new();
            only.set(core);
            sched_setaffinity(None, &only).map_err(BenchError::during("choosing a core"))?;
            RawCrypto::here(&key)
        }));
    }
    let mut all = RawCrypto::default();
    for thread in threads {
        all.extend(thread.join().map_err(|_| BenchError("a sampling thread panicked".to_owned()))??);
    }
    Ok(all)
}

/// The cores that this process may use.
fn cores() -> Result<Vec<usize>, BenchError> {
    let allowed = sched_getaffinity(None).map_err(BenchError::during("reading the cores"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}
