//! The audit log's transactions.

use std::fmt;

use mandate_core::Timestamp;
use mandate_sequencer::{Backend, Leaf, Staged, StagedBy, StoredLog};

use crate::driver::LogSession;
use crate::effect::Effect;
use crate::error::StoreError;
use crate::log_number::LogNumber;
use crate::log_rows::{self, NewRow};
use crate::logs;
use crate::refusal::EffectRefusal;
use crate::seal::Sealer;
use crate::tx::Tx;

const EPOCH: Timestamp = Timestamp::from_millis(0);

/// The database as the sequencer of one audit log sees it: a connection of its own, one transaction per
/// batch.
pub struct AuditBackend {
    log: Box<dyn LogSession>,
    sealer: Sealer,
    /// Which log it writes, and no other.
    origin: String,
    /// The number of that log, once it was read.
    number: Option<LogNumber>,
    /// The records that are staged. They are written with the commit: that takes few statements.
    staged: Vec<NewRow>,
    /// The latest time of a record, also of one that is staged.
    newest: Timestamp,
    /// The checkpoint that was read or written last.
    checkpoint: Vec<u8>,
}

impl fmt::Debug for AuditBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditBackend").field("open", &self.log.is_open()).finish_non_exhaustive()
    }
}

impl AuditBackend {
    pub(crate) fn new(log: Box<dyn LogSession>, sealer: Sealer, origin: String) -> Self {
        Self { log, sealer, origin, number: None, staged: Vec::new(), newest: EPOCH, checkpoint: Vec::new() }
    }

    fn number(&self) -> Result<LogNumber, StoreError> {
        self.number.ok_or_else(|| StoreError::Corrupt(format!("there is no audit log {:?}", self.origin)))
    }

    fn tx(&self) -> Tx<'_> {
        Tx::new(self.log.statements(), &self.sealer)
    }

    /// Makes the effects of one entry, or none of them and says why.
    fn make(&self, leaf: Leaf<'_>, effects: &[Effect]) -> Result<Option<EffectRefusal>, StoreError> {
        if effects.is_empty() {
            return Ok(None);
        }
        self.log.mark()?;
        let tx = self.tx();
        let Err(error) = effects.iter().try_for_each(|effect| effect.apply(&tx)) else {
            self.log.keep()?;
            return Ok(None);
        };
        // If nothing is open any longer, the next entry would be committed by itself, without a checkpoint.
        if error.is_environment() || !self.log.is_open() {
            return Err(error);
        }
        self.log.undo()?;
        if let Some(refusal) = error.refusal() {
            return Ok(Some(refusal));
        }
        // One entry's fault must not refuse its neighbours.
        tracing::error!(record = %leaf.record.id, %error, cause = ?std::error::Error::source(&error), "an effect failed");
        Ok(Some(EffectRefusal::Internal))
    }

    #[cfg(test)]
    pub(crate) fn log(&self) -> &dyn LogSession {
        &*self.log
    }
}

impl Backend for AuditBackend {
    type Effect = Effect;
    type Error = StoreError;

    fn is_conflict(error: &StoreError) -> bool {
        matches!(error, StoreError::Conflict(_))
    }

    fn is_over(error: &StoreError) -> bool {
        matches!(error, StoreError::Superseded)
    }

    fn leaves_nothing(error: &StoreError) -> bool {
        use StoreError as E;
        matches!(
            error,
            E::Full(_)
                | E::Busy(_)
                | E::Conflict(_)
                | E::ReadOnly(_)
                | E::OtherWriter
                | E::LosesCommits(_)
                | E::Sql(_)
        )
    }

    fn load(&mut self) -> Result<StoredLog, StoreError> {
        self.log.begin_reading()?;
        let tx = self.tx();
        let loaded = logs::number(&tx, &self.origin)
            .and_then(|number| Ok((number, log_rows::load(&tx, number)?, logs::newest(&tx)?)));
        self.log.roll_back();
        let (number, loaded, newest) = loaded?;
        (self.number, self.newest) = (number, newest);
        self.checkpoint = loaded.checkpoint.clone().unwrap_or_default();
        Ok(loaded)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.staged.clear();
        self.log.begin()
    }

    fn stage(&mut self, leaf: Leaf<'_>, effects: &[Effect]) -> StagedBy<Self> {
        if let Some(refusal) = self.make(leaf, effects)? {
            return Ok(Staged::Refused(refusal));
        }
        self.newest = self.newest.max(leaf.record.time);
        self.staged.push(leaf.into());
        Ok(Staged::Kept)
    }

    fn commit(&mut self, checkpoint: &[u8]) -> Result<(), StoreError> {
        let (tx, log) = (self.tx(), self.number()?);
        log_rows::insert(&tx, log, &self.staged)?;
        logs::swap_checkpoint(&tx, log, &self.checkpoint, checkpoint, self.newest)?;
        self.log.commit(self.staged.len() as u64)?;
        checkpoint.clone_into(&mut self.checkpoint);
        Ok(())
    }

    fn roll_back(&mut self) {
        self.log.roll_back();
    }
}
