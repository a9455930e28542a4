//! An audit backend that makes each transaction twice, as a database does that finds two transactions in
//! conflict.

#![expect(clippy::panic_in_result_fn, reason = "helpers of tests end the test")]

use std::fmt;

use mandate_audit::{Hash, Record};
use mandate_sequencer::{Backend, Effect, Leaf, Staged, StagedBy, StoredLog};

/// A backend around another one. Its transactions are rolled back when they should end, made again, and kept
/// then.
///
/// # Panics
/// An entry has another outcome the second time.
pub struct RepeatingBackend<B: Backend> {
    inner: B,
    staged: Vec<Entry<B::Effect>>,
}

struct Entry<E: Effect> {
    index: u64,
    record: Record,
    bytes: Vec<u8>,
    hashes: Vec<Hash>,
    effects: Vec<E>,
    outcome: Staged<E::Refusal>,
}

impl<B: Backend> fmt::Debug for RepeatingBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatingBackend").field("staged", &self.staged.len()).finish_non_exhaustive()
    }
}

impl<B: Backend> RepeatingBackend<B> {
    /// Makes each transaction of `inner` twice.
    pub fn new(inner: B) -> Self {
        Self { inner, staged: Vec::new() }
    }
}

impl<B: Backend<Effect: Clone>> Backend for RepeatingBackend<B> {
    type Effect = B::Effect;
    type Error = B::Error;

    fn is_conflict(error: &Self::Error) -> bool {
        B::is_conflict(error)
    }

    fn is_over(error: &Self::Error) -> bool {
        B::is_over(error)
    }

    fn leaves_nothing(error: &Self::Error) -> bool {
        B::leaves_nothing(error)
    }

    fn load(&mut self) -> Result<StoredLog, Self::Error> {
        self.inner.load()
    }

    fn begin(&mut self) -> Result<(), Self::Error> {
        self.staged.clear();
        self.inner.begin()
    }

    fn stage(&mut self, leaf: Leaf<'_>, effects: &[Self::Effect]) -> StagedBy<Self> {
        let outcome = self.inner.stage(leaf, effects)?;
        let Leaf { index, record, bytes, hashes } = leaf;
        let (record, bytes, hashes, effects) =
            (record.clone(), bytes.to_vec(), hashes.to_vec(), effects.to_vec());
        self.staged.push(Entry { index, record, bytes, hashes, effects, outcome: outcome.clone() });
        Ok(outcome)
    }

    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), Self::Error> {
        self.inner.roll_back();
        self.inner.begin()?;
        for Entry { index, record, bytes, hashes, effects, outcome } in self.staged.drain(..) {
            let again = self
                .inner
                .stage(Leaf { index, record: &record, bytes: &bytes, hashes: &hashes }, &effects)?;
            assert_eq!(again, outcome, "an entry that is made twice has one outcome: {}", record.id);
        }
        self.inner.commit(checkpoint)
    }

    fn roll_back(&mut self) {
        self.staged.clear();
        self.inner.roll_back();
    }
}
