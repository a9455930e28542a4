//! What the sequencer asks of a database.

use std::error::Error;
use std::fmt;

use mandate_audit::{Hash, Record};

/// What a backend holds durably.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLog {
    /// How many leaves: one more than the highest index.
    pub size: u64,
    /// The stored hashes at [`mandate_audit::tree::frontier_indexes`] of `size`, in that order.
    pub frontier: Vec<Hash>,
    /// The latest checkpoint, a signed note. None if it is missing.
    pub checkpoint: Option<Vec<u8>>,
}

/// One leaf on its way into the transaction.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// Its index in the tree.
    pub index: u64,
    /// The record whose bytes these are.
    pub record: &'a Record,
    /// The record's bytes, as hashed.
    pub bytes: &'a [u8],
    /// The hashes to store with it, its own first.
    pub hashes: &'a [Hash],
}

/// A change that is written in the transaction of its record, or not at all. It is data: a backend makes it,
/// possibly twice.
pub trait Effect: Send + 'static {
    /// Why it was not made.
    type Refusal: Clone + fmt::Debug + fmt::Display + PartialEq + Send + Sync + 'static;

    /// The name that a record has for it, such as `cut`.
    fn name(&self) -> &'static str;
}

/// Whether an entry is in the open transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staged<R> {
    /// The record and its effects are in the transaction.
    Kept,
    /// An effect refused. Neither the record nor any effect of this entry is in the transaction; the
    /// transaction continues.
    Refused(R),
}

/// What [`Backend::stage`] returns.
pub type StagedBy<B> = Result<Staged<<<B as Backend>::Effect as Effect>::Refusal>, <B as Backend>::Error>;

/// A database that can hold the log. The sequencer owns it and calls it from one thread, in this order:
/// `begin`, any number of `stage`, then `commit`; or `roll_back` after any error, then `load`.
pub trait Backend: Sized + Send + 'static {
    /// What happens in the same transaction as a record.
    type Effect: Effect;
    /// Why the database failed. Its text is private detail for operators.
    type Error: Error + Send + Sync + 'static;

    /// Whether an error says that another transaction came between, nothing was written, and another try may
    /// succeed.
    fn is_conflict(error: &Self::Error) -> bool;

    /// Whether an error says that this process must not write to the log any longer.
    fn is_over(error: &Self::Error) -> bool;

    /// Whether an error of [`Backend::commit`] says that nothing of the transaction is durable, now or later.
    /// If that is not known, the log may be found with it or without it.
    fn leaves_nothing(error: &Self::Error) -> bool;

    /// Reads what is durable.
    fn load(&mut self) -> Result<StoredLog, Self::Error>;

    /// Opens a transaction that no other writer can interrupt.
    fn begin(&mut self) -> Result<(), Self::Error>;

    /// Puts one record and its effects into the transaction: all of them or none. The record itself may be
    /// written only by [`Backend::commit`].
    fn stage(&mut self, leaf: Leaf<'_>, effects: &[Self::Effect]) -> StagedBy<Self>;

    /// Replaces the checkpoint that was loaded or committed last and makes the transaction durable. Fails if
    /// there is another checkpoint, because then there is another writer. Returns once it is on disk.
    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), Self::Error>;

    /// Drops the open transaction, if there is one. Never fails: a failed roll-back shows at the next `load`.
    fn roll_back(&mut self);
}
