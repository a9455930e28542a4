//! Reading the registry from the database: at a start, and when the database has more than what is in force.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::registry::{Entry, Registry, RegistryVersion};
use mandate_core::{Clock as _, Issuer, RecordId};
use mandate_live::{Edition, RegistryClaim};
use mandate_stops::StoredSnapshot;
use mandate_store::{StoreError, Tx, cuts, registry};
use tokio::time::{sleep, timeout};

use crate::administration::Administration;
use crate::error::AdministrationError;
use crate::policies::compile;

/// For how long something that was overtaken waits for a change that is being written.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often the database is asked what became of a change.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The registry of the database with what is built in, and its version.
pub fn load_registry(tx: &Tx<'_>, issuer: &Issuer) -> Result<(RegistryVersion, Registry), StoreError> {
    let mut loaded = Registry::from_entries(registry::load(tx)?);
    if let Some(own) = mandate_planning::administration(issuer) {
        loaded.put(Entry::Resource(own));
    }
    Ok((registry::version(tx)?, loaded))
}

impl Administration {
    /// For something that was overtaken: waits until the edition is no longer `planned`, or no change is
    /// being written. A change may never end, so the wait is at most [`PATIENCE`].
    pub(crate) async fn wait_for_others(&self, planned: Edition) -> Result<(), AdministrationError> {
        if self.snapshot().edition != planned {
            return Ok(());
        }
        timeout(PATIENCE, self.live.moved(planned.version)).await.map_err(|_| AdministrationError::Overtaken)
    }

    /// As [`Administration::wait_for_others`], for something that the database refused because it has a newer
    /// version. If nobody puts that version in force, the answer to a change was lost, and the registry is
    /// read from the database.
    pub(crate) async fn follow_others(&self, planned: Edition) -> Result<(), AdministrationError> {
        self.wait_for_others(planned).await?;
        if self.snapshot().edition == planned { self.catch_up().await } else { Ok(()) }
    }

    /// Puts in force what the database has, if that is newer.
    pub(crate) async fn catch_up(&self) -> Result<(), AdministrationError> {
        let issuer = self.live.issuer().clone();
        let load = async {
            let read = move |tx: &Tx<'_>| Ok((load_registry(tx, &issuer)?, cuts::load(tx)?));
            let ((version, registry), cuts) = self.store.read("read the registry again", read).await?;
            let policies = compile(&registry).map_err(AdministrationError::internal)?;
            Ok::<_, AdministrationError>(StoredSnapshot { version, registry, policies, cuts })
        };
        self.stops.catch_up(load).await.map(drop)
    }

    /// Before something is looked for in the database whose answer was lost: appends a record, unless that
    /// is `recorded` already, and waits for commits that are under way.
    ///
    /// The sequencer goes on with the log as it was before or after a commit without an answer. Once there is
    /// a record behind what was found, it does not: if a standby takes over that lacks it, this process ends.
    pub(crate) async fn settle(&self, recorded: &mut bool) -> Result<(), AdministrationError> {
        if !*recorded {
            let (now, ok) = (self.clock.now(), Outcome::Permitted);
            let id = RecordId::generate(now, self.entropy.as_ref());
            let mut record = Record::new(id, now, RecordKind::Admin, ok, "ok");
            record.detail = Some("looked for a change whose answer was lost".to_owned());
            self.log.append(record, Vec::new()).await?;
            *recorded = true;
        }
        Ok(self.store.settled().await?)
    }

    /// Finds out whether a change became durable when its answer does not say so. Until that is known, its
    /// claim stands.
    pub(crate) fn find_out(self: &Arc<Self>, claim: Arc<RegistryClaim>) {
        async fn found_out(engine: &Weak<Administration>, recorded: &mut bool) -> bool {
            match engine.upgrade() {
                // Its commit may still be under way; a read before its end would not show the change.
                Some(engine) => engine.settle(recorded).await.is_ok() && engine.catch_up().await.is_ok(),
                // The server ends. The next start reads the database.
                None => true,
            }
        }
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut recorded = false;
            while !found_out(&engine, &mut recorded).await {
                sleep(ASK_AGAIN).await;
            }
            drop(claim);
        });
    }
}
