//! One thread that orders all records, makes them durable in batches, and only then answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mandate_audit::record::LeafError;
use mandate_audit::tree::{Frontier, leaf_hash};
use mandate_audit::{CheckpointSigner, EffectNames, Hash, Outcome, Record, Tampered, check_head};
use mandate_core::{Entropy, RecordId, RequestSource, Timestamp};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::backend::{Backend, Effect, Leaf, Staged};
use crate::pace::Pacer;
use crate::strangers::Strangers;

/// The most records in one transaction.
pub const MAX_BATCH: usize = 512;

/// After this long no more records are put into a transaction. Effects cost round trips to a database on
/// another machine; the records before them must not wait for all of them.
const STAGING: Duration = Duration::from_secs(1);

/// How often a batch is tried that conflicts with other transactions.
const TRIES: usize = 8;

/// The most trees that may be durable, as far as is known: one more for each commit without an answer.
const MOST_HEADS: usize = 64;

/// The most records that may wait. If there are more, callers are refused at once, so that they do not fill
/// the memory.
pub const MAX_WAITING: usize = 16 * 1024;

/// Proof that a record is durable. Only the sequencer makes one, after its transaction is on disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    record: Record,
    index: u64,
}

impl Receipt {
    /// The record, as it is in the log.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its index in the tree.
    pub fn index(&self) -> u64 {
        self.index
    }
}

/// Why a record was not made durable. Then none of its effects happened, unless the database answered with an
/// error although it kept the record. So the log never contains less than its receipts say. At worst it
/// contains more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError<R> {
    /// The log cannot be written now: the disk is full or failing, too many wait, or it is closed. The next
    /// append tries again by itself.
    #[error("the audit log cannot be written: {0}")]
    Unavailable(
        /// The cause, for operators only.
        String,
    ),
    /// An effect refused; nothing of this entry was written.
    #[error("an effect refused: {0}")]
    EffectRefused(R),
    /// The guard of the entry no longer held; nothing of this entry was written.
    #[error("what the record depends on changed while it waited")]
    GuardFailed,
    /// The record cannot be written at all.
    #[error("the record cannot be written: {0}")]
    Invalid(
        /// The cause, for operators only.
        String,
    ),
}

impl<R> From<LeafError> for AppendError<R> {
    fn from(error: LeafError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogStartError {
    /// The database cannot be read.
    #[error("the audit log cannot be read")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was read is not what was written.
    #[error("the audit log is not what was written: {0}")]
    Tampered(#[from] Tampered),
    /// No thread can be started.
    #[error("the sequencer's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Whether a record may still be written. It is asked at the moment in which the record becomes durable; it
/// must be quick, and must not wait for the log.
pub type Guard = Box<dyn Fn() -> bool + Send>;

type Answer<E> = Result<Receipt, AppendError<<E as Effect>::Refusal>>;

enum Waiter<E: Effect> {
    Async(oneshot::Sender<Answer<E>>),
    Blocking(SyncSender<Answer<E>>),
}

impl<E: Effect> Waiter<E> {
    fn answer(self, answer: Answer<E>) {
        // A waiter that has gone away needs no answer. The record stays in the log.
        match self {
            Self::Async(waiter) => drop(waiter.send(answer)),
            Self::Blocking(waiter) => drop(waiter.send(answer)),
        }
    }
}

struct Job<E: Effect> {
    record: Record,
    leaf: Vec<u8>,
    hash: Hash,
    effects: Vec<E>,
    guard: Option<Guard>,
    waiter: Waiter<E>,
}

impl<E: Effect> Job<E> {
    fn guard_fails(&self) -> bool {
        self.guard.as_ref().is_some_and(|holds| !holds())
    }
}

/// The newest checkpoint that is known to be durable. Clones share it; none keeps the sequencer running.
#[derive(Clone, Debug, Default)]
pub struct DurableCheckpoint(Arc<Mutex<Vec<u8>>>);

impl DurableCheckpoint {
    /// The checkpoint, a signed note.
    pub fn note(&self) -> Vec<u8> {
        self.0.lock().clone()
    }

    fn set(&self, note: Vec<u8>) {
        *self.0.lock() = note;
    }
}

/// The handle by which everyone appends. Clones share one sequencer; it ends when the last handle is dropped.
pub struct Log<E: Effect> {
    jobs: Sender<Job<E>>,
    waiting: Arc<AtomicUsize>,
    /// Whether the thread has ended: nothing waits any longer, and what waited was refused.
    ended: Arc<AtomicBool>,
    strangers: Arc<Strangers>,
    durable: DurableCheckpoint,
}

impl<E: Effect> Clone for Log<E> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            waiting: Arc::clone(&self.waiting),
            ended: Arc::clone(&self.ended),
            strangers: Arc::clone(&self.strangers),
            durable: self.durable.clone(),
        }
    }
}

impl<E: Effect> fmt::Debug for Log<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

fn closed<R>() -> AppendError<R> {
    AppendError::Unavailable("the sequencer has stopped".to_owned())
}

impl<E: Effect> Log<E> {
    /// Opens the log: reads the tree's right edge, checks it against the last checkpoint, and starts the
    /// thread. The log's origin is the signer's. A log must have a checkpoint, even without records: the one
    /// that was signed when the key was made ([`CheckpointSigner::first_checkpoint`]). If it has none, it was
    /// tampered with.
    ///
    /// The join handle ends once every clone of the log is dropped and everything in the queue is answered.
    pub fn start<B: Backend<Effect = E>>(
        mut backend: B,
        signer: CheckpointSigner,
    ) -> Result<(Self, JoinHandle<()>), LogStartError> {
        let (tree, note) = open_tree(&mut backend, &signer)?;
        let (jobs, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let root = tree.root().map_err(|e| LogStartError::Tampered(Tampered::from(e)))?;
        let heads = vec![(tree.size(), root)];
        let durable = DurableCheckpoint::default();
        durable.set(note);
        let sequencer = Sequencer {
            backend,
            signer,
            tree: Some(tree),
            waiting: Arc::clone(&waiting),
            heads,
            durable: durable.clone(),
        };
        let ended = Arc::new(AtomicBool::new(false));
        let end = End(Arc::clone(&ended));
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let _end = end;
                sequencer.run(&queue);
            })
            .map_err(LogStartError::Thread)?;
        Ok((Self { jobs, waiting, ended, strangers: Arc::default(), durable }, thread))
    }

    /// How many records wait to be taken into a batch.
    pub fn waiting(&self) -> usize {
        if self.ended.load(Ordering::Relaxed) { 0 } else { self.waiting.load(Ordering::Relaxed) }
    }

    /// The newest checkpoint that is known to be durable.
    pub fn durable_checkpoint(&self) -> DurableCheckpoint {
        self.durable.clone()
    }

    fn enqueue(
        &self,
        mut record: Record,
        effects: Vec<E>,
        guard: Option<Guard>,
        waiter: Waiter<E>,
    ) -> Result<(), AppendError<E::Refusal>> {
        record.effects = EffectNames::of(effects.iter().map(Effect::name));
        let leaf = record.to_leaf()?;
        let hash = leaf_hash(&leaf);
        if self.ended.load(Ordering::Relaxed) {
            return Err(closed());
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(AppendError::Unavailable("too many records wait to be written".to_owned()));
        }
        self.jobs.send(Job { record, leaf, hash, effects, guard, waiter }).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            closed()
        })
    }

    /// Makes a record and its effects durable, all or nothing.
    ///
    /// Cancel-safe: if the future is dropped, the record is written nevertheless.
    pub async fn append(&self, record: Record, effects: Vec<E>) -> Result<Receipt, AppendError<E::Refusal>> {
        self.append_guarded(record, effects, None).await
    }

    /// As [`Log::append`], if the guard still agrees at the moment in which the record becomes durable:
    /// waiting for the disk can take long.
    pub async fn append_while(
        &self,
        record: Record,
        effects: Vec<E>,
        guard: Guard,
    ) -> Result<Receipt, AppendError<E::Refusal>> {
        self.append_guarded(record, effects, Some(guard)).await
    }

    async fn append_guarded(
        &self,
        record: Record,
        effects: Vec<E>,
        guard: Option<Guard>,
    ) -> Result<Receipt, AppendError<E::Refusal>> {
        let (waiter, answer) = oneshot::channel();
        self.enqueue(record, effects, guard, Waiter::Async(waiter))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Makes a refusal durable. The refusal of a stranger from the source `stranger` is recorded within the
    /// quota of that source. Beyond the quota, the refusal is counted, and nothing is written now.
    pub async fn append_refusal(
        &self,
        mut record: Record,
        stranger: Option<RequestSource>,
    ) -> Result<(), AppendError<E::Refusal>> {
        let Some(source) = stranger else { return self.append(record, Vec::new()).await.map(drop) };
        record.shorten_for_stranger(source);
        let (kind, now) = (record.kind, record.time);
        if !self.strangers.admit(source, record.to_leaf()?.len(), now) {
            self.strangers.count(source, kind, &record.reason, now);
            return Ok(());
        }
        self.append(record, Vec::new()).await.map(drop)
    }

    /// Records the counts of strangers' refusals. The caller does this every
    /// [`crate::strangers::SUM_INTERVAL`], and at the end.
    ///
    /// Counts that cannot be recorded are kept.
    pub async fn record_sums(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(), AppendError<E::Refusal>> {
        let mut failed = Ok(());
        for refusals in self.strangers.take() {
            if failed.is_err() {
                self.strangers.put_back(refusals);
                continue;
            }
            let id = RecordId::generate(now, entropy);
            let mut record = Record::new(id, now, refusals.kind, Outcome::Refused, refusals.reason.as_str());
            record.source = Some(refusals.source.to_string());
            record.sum = Some(refusals.sum);
            failed = self
                .append(record, Vec::new())
                .await
                .map(drop)
                .inspect_err(|_| self.strangers.put_back(refusals));
        }
        failed
    }

    /// How much of the log strangers may still fill.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// As [`Log::append`], blocking the calling thread.
    pub fn append_blocking(
        &self,
        record: Record,
        effects: Vec<E>,
    ) -> Result<Receipt, AppendError<E::Refusal>> {
        let (waiter, answer) = mpsc::sync_channel(1);
        self.enqueue(record, effects, None, Waiter::Blocking(waiter))?;
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }
}

/// Notes that the thread has ended, also by a panic.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Sequencer<B: Backend> {
    backend: B,
    signer: CheckpointSigner,
    // None after an error whose result on disk is unknown: it is read again before the next batch.
    tree: Option<Frontier>,
    waiting: Arc<AtomicUsize>,
    /// Size and root of every tree that may be durable: that of the last commit that succeeded or was read,
    /// and of those after it that got no answer.
    heads: Vec<(u64, Hash)>,
    durable: DurableCheckpoint,
}

/// Whether the sequencer can write more batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    Ends,
}

impl<B: Backend> Sequencer<B> {
    fn run(mut self, queue: &Receiver<Job<B::Effect>>) {
        let mut batch = Vec::new();
        let mut pacer = Pacer::new();
        while let Ok(first) = queue.recv() {
            let pause = pacer.pause(Instant::now());
            if !pause.is_zero() {
                // A record that arrives during the sleep need not wake this thread.
                thread::sleep(pause);
            }
            batch.push(first);
            batch.extend(queue.try_iter().take(MAX_BATCH - 1));
            self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            pacer.begin(Instant::now(), batch.len());
            if self.write(&mut batch) == Goes::Ends {
                return;
            }
        }
    }

    /// Writes a batch, in as many transactions as that takes, and answers all its waiters.
    fn write(&mut self, batch: &mut Vec<Job<B::Effect>>) -> Goes {
        while !batch.is_empty() {
            if self.write_first(batch) == Goes::Ends {
                return Goes::Ends;
            }
        }
        Goes::On
    }

    /// Writes the first records of a batch, as many as one transaction has time for, and answers their
    /// waiters. After an error all of the batch are refused.
    fn write_first(&mut self, batch: &mut Vec<Job<B::Effect>>) -> Goes {
        let mut written = self.transaction(batch);
        for _ in 1..TRIES {
            if !matches!(written, Err(Failure { conflict: true, .. })) {
                break;
            }
            self.backend.roll_back();
            self.tree = None;
            written = self.transaction(batch);
        }
        match written {
            Ok((tree, verdicts)) => {
                self.tree = Some(tree);
                let done = verdicts.len().min(batch.len());
                for (job, verdict) in batch.drain(..done).zip(verdicts) {
                    job.waiter.answer(match verdict {
                        Verdict::Kept(index) => Ok(Receipt { record: job.record, index }),
                        Verdict::Refused(refusal) => Err(AppendError::EffectRefused(refusal)),
                        Verdict::GuardFailed => Err(AppendError::GuardFailed),
                    });
                }
                Goes::On
            }
            Err(Failure { why, over, .. }) => {
                self.backend.roll_back();
                // A commit that failed may be on disk all the same. Only reading shows it.
                self.tree = None;
                for job in batch.drain(..) {
                    job.waiter.answer(Err(AppendError::Unavailable(why.clone())));
                }
                if over { Goes::Ends } else { Goes::On }
            }
        }
    }

    fn transaction(&mut self, batch: &[Job<B::Effect>]) -> Result<(Frontier, VerdictsOf<B>), Failure> {
        let mut tree = match &self.tree {
            Some(tree) => tree.clone(),
            None => self.read_again()?,
        };
        self.backend.begin().map_err(Failure::of_backend::<B>)?;
        let before = tree.size();
        let mut verdicts = Vec::with_capacity(batch.len());
        let begun = Instant::now();
        for job in batch {
            if !verdicts.is_empty() && begun.elapsed() >= STAGING {
                break;
            }
            if job.guard_fails() {
                verdicts.push(Verdict::GuardFailed);
                continue;
            }
            let index = tree.size();
            let hashes = tree.hashes_of_next(job.hash).map_err(|e| Failure::of(&e))?;
            let leaf = Leaf { index, record: &job.record, bytes: &job.leaf, hashes: &hashes };
            verdicts.push(
                match self.backend.stage(leaf, &job.effects).map_err(Failure::of_backend::<B>)? {
                    Staged::Kept => {
                        tree.extend(&hashes).map_err(|e| Failure::of(&e))?;
                        Verdict::Kept(index)
                    }
                    Staged::Refused(refusal) => Verdict::Refused(refusal),
                },
            );
        }
        if tree.size() == before {
            // Every entry refused: there is nothing to keep.
            self.backend.roll_back();
            self.confirm(&tree)?;
        } else {
            // Staging may have waited for the database, and what the guards ask about changes meanwhile.
            let outdated =
                |(job, verdict): (&Job<_>, &_)| matches!(verdict, Verdict::Kept(_)) && job.guard_fails();
            if batch.iter().zip(&verdicts).any(outdated) {
                let why = "a guard no longer holds".to_owned();
                return Err(Failure { why, conflict: true, over: false });
            }
            let root = tree.root().map_err(|e| Failure::of(&e))?;
            let note = self.signer.sign(tree.size(), root).map_err(|e| Failure::of(&e))?;
            // The first is known to be durable. Of the others, the oldest can no longer become
            // durable.
            if self.heads.len() >= MOST_HEADS {
                self.heads.remove(1);
            }
            self.heads.push((tree.size(), root));
            if let Err(error) = self.backend.commit(&note) {
                if B::leaves_nothing(&error) {
                    self.heads.pop();
                }
                return Err(Failure::of_backend::<B>(error));
            }
            self.heads = vec![(tree.size(), root)];
            self.durable.set(note);
        }
        Ok((tree, verdicts))
    }

    /// Makes sure that refusals were given on `tree`. A record that has no receipt, because the answer to its
    /// commit was lost, can be the cause of one: its sender then counts on it as if it had one. So the log
    /// must not go back behind it unnoticed.
    fn confirm(&mut self, tree: &Frontier) -> Result<(), Failure> {
        if self.heads.len() == 1 {
            return Ok(());
        }
        let now = self.read_again()?;
        let same = now.size() == tree.size()
            && now.root().map_err(|e| Failure::of(&e))? == tree.root().map_err(|e| Failure::of(&e))?;
        if same {
            return Ok(());
        }
        let why = "a commit became durable after its answer was given up".to_owned();
        Err(Failure { why, conflict: true, over: false })
    }

    /// Reads the log after an error. It must be as this process left it, with or without the commits that got
    /// no answer. Another log lacks records that have receipts, or has those of another writer.
    fn read_again(&mut self) -> Result<Frontier, Failure> {
        let (tree, note) = open_tree(&mut self.backend, &self.signer).map_err(|e| Failure::of(&e))?;
        let head = (tree.size(), tree.root().map_err(|e| Failure::of(&e))?);
        if self.heads.contains(&head) {
            if self.heads.first() != Some(&head) {
                // A commit without an answer is durable. The tree before it is the past now, and the others
                // that were to replace that tree can replace nothing any longer.
                self.heads = vec![head];
                self.durable.set(note);
            }
            return Ok(tree);
        }
        let known: Vec<String> = self.heads.iter().map(|(size, _)| size.to_string()).collect();
        let why = format!(
            "the audit log has {} records and is not the one that this server wrote, with {}",
            tree.size(),
            known.join(" or ")
        );
        Err(Failure { why, conflict: false, over: true })
    }
}

/// Why a batch was not written.
struct Failure {
    /// The cause, for operators only.
    why: String,
    conflict: bool,
    /// This process must not write to the log any longer.
    over: bool,
}

impl Failure {
    fn of(error: &dyn std::error::Error) -> Self {
        Self { why: chain(error), conflict: false, over: false }
    }

    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
    fn of_backend<B: Backend>(error: B::Error) -> Self {
        Self { why: chain(&error), conflict: B::is_conflict(&error), over: B::is_over(&error) }
    }
}

enum Verdict<R> {
    Kept(u64),
    Refused(R),
    GuardFailed,
}

type VerdictsOf<B> = Vec<Verdict<<<B as Backend>::Effect as Effect>::Refusal>>;

/// Reads the right edge and checks it against the last checkpoint, which is returned too. The cost does not
/// depend on the length of the log.
fn open_tree<B: Backend>(
    backend: &mut B,
    signer: &CheckpointSigner,
) -> Result<(Frontier, Vec<u8>), LogStartError> {
    let loaded = backend.load().map_err(|e| LogStartError::Backend(Box::new(e)))?;
    let broken = |e| LogStartError::Tampered(Tampered::from(e));
    let tree = Frontier::from_hashes(loaded.size, &loaded.frontier).map_err(broken)?;
    let note = loaded.checkpoint.ok_or(Tampered::NoCheckpoint { size: tree.size() })?;
    let head = signer.verifier().open(&note).map_err(Tampered::from)?;
    check_head(tree.size(), tree.root().map_err(broken)?, &head)?;
    Ok((tree, note))
}

/// An error and all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
