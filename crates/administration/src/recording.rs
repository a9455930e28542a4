//! The record of an act, which names who was permitted it.

use std::sync::Arc;

use mandate_audit::{Kind, Outcome, Receipt, Record};
use mandate_core::{Clock as _, RecordId};
use mandate_store::{AppendError, Effect};

use crate::administration::Administration;
use crate::authorization::{IsAct, Permit};
use crate::error::{AdministrationError, OPERATOR_REVOKED};

impl Administration {
    pub(crate) fn record<A: IsAct>(&self, kind: Kind, permit: &Permit<A>, detail: String) -> Record {
        let now = self.clock.now();
        let mut record = Record::new(RecordId::generate(now, self.entropy.as_ref()), now, kind, Outcome::Permitted, "ok");
        record.by = Some(permit.by().to_string());
        record.detail = Some(detail);
        record
    }

    /// Records an act that gives authority, after all earlier stops, and only if the operator may still make it in the moment
    /// in which it becomes durable: to wait for the disk can take long.
    pub(crate) async fn append<A: IsAct>(
        &self,
        permit: &Permit<A>,
        record: Record,
        effects: Vec<Effect>,
    ) -> Result<Receipt, AdministrationError> {
        self.record_stops().await?;
        let (by, live, clock) = (permit.by().clone(), Arc::clone(&self.live), Arc::clone(&self.clock));
        let permitted = Box::new(move || by.may(A::ACT.least(), &live, clock.now()).is_ok());
        match self.log.append_while(record, effects, permitted).await {
            Err(AppendError::GuardFailed) => {
                self.confirm(permit).await?;
                Err(AdministrationError::Conflict(OPERATOR_REVOKED.to_owned()))
            }
            appended => Ok(appended?),
        }
    }
}
