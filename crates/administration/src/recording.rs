//! The record of an act, which names who was permitted it.

use std::sync::Arc;

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::{Clock as _, RecordId};
use mandate_live::RegistryClaim;
use mandate_sequencer::Receipt;
use mandate_store::{AppendError, Effect};

use crate::administration::Administration;
use crate::authorization::{IsAct, Permit};
use crate::error::AdministrationError;

impl Administration {
    pub(crate) fn record<A: IsAct>(&self, kind: RecordKind, permit: &Permit<A>, detail: String) -> Record {
        let now = self.clock.now();
        let mut record =
            Record::new(RecordId::generate(now, self.entropy.as_ref()), now, kind, Outcome::Permitted, "ok");
        record.by = Some(permit.by().to_string());
        record.detail = Some(detail);
        record
    }

    /// Records an act that gives authority, after all earlier stops. The operator's role is checked again
    /// when the record becomes durable, because waiting for the disk can take long.
    pub(crate) async fn append<A: IsAct>(
        &self,
        permit: &Permit<A>,
        record: Record,
        effects: Vec<Effect>,
    ) -> Result<Receipt, AdministrationError> {
        self.append_claimed(permit, record, effects, None).await
    }

    /// As [`Administration::append`], for a change of the registry: only if the edition that it was planned
    /// from is in force.
    pub(crate) async fn append_claimed<A: IsAct>(
        &self,
        permit: &Permit<A>,
        record: Record,
        effects: Vec<Effect>,
        claim: Option<&Arc<RegistryClaim>>,
    ) -> Result<Receipt, AdministrationError> {
        self.record_stops().await?;
        let (by, live, clock) = (permit.by().clone(), Arc::clone(&self.live), Arc::clone(&self.clock));
        let asked = claim.map(Arc::clone);
        let guard = move || {
            by.may(A::ACT.least(), &live, clock.now()).is_ok()
                && asked.as_ref().is_none_or(|claim| claim.take())
        };
        match self.log.append_while(record, effects, Box::new(guard)).await {
            Err(AppendError::GuardFailed) if claim.is_some_and(|claim| claim.is_overtaken()) => {
                Err(AdministrationError::Overtaken)
            }
            Err(AppendError::GuardFailed) => {
                self.confirm(permit).await?;
                Err(AdministrationError::OperatorRevoked)
            }
            appended => Ok(appended?),
        }
    }
}
