//! The parts of a server that read the database when it starts.

use std::sync::Arc;
use std::thread;

use mandate_administration::load_registry;
use mandate_authority::Authority;
use mandate_core::{Clock, Entropy, HybridClock, Issuer, RevocationSet};
use mandate_files::Dir;
use mandate_live::{Edition, Live, Snapshot};
use mandate_sequencer::Log;
use mandate_stops::Stops;
use mandate_store::{
    Effect, Installation, Store, check_last_checkpoint, cuts, installation, meters, records,
};

use crate::config::{ConfigError, ServeConfig};
use crate::error::ServerError;
use crate::last_checkpoint::LastCheckpoint;

/// The parts of a server that read the database when it starts.
pub(crate) struct Opened {
    pub(crate) authority: Arc<Authority>,
    pub(crate) clock: Arc<HybridClock>,
    pub(crate) live: Arc<Live>,
    pub(crate) log: Log<Effect>,
    pub(crate) sequencer: thread::JoinHandle<()>,
    pub(crate) stops: Arc<Stops>,
    pub(crate) last_checkpoint: Arc<LastCheckpoint>,
}

impl Opened {
    /// Blocks.
    pub(crate) fn of(
        config: &ServeConfig,
        store: &Store,
        installation: &Installation,
        wall: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, ServerError> {
        // On a full disk, what is written there already need not be written again.
        if store.read_blocking("whose data is it", installation::load)?.as_ref() != Some(installation) {
            store.transact_blocking("say whose data it is", |tx| installation::put(tx, installation))?;
        }
        let Installation { issuer, trust_domain, .. } = installation;
        let authority = Authority::open(
            store.clone(),
            trust_domain.clone(),
            issuer.clone(),
            Arc::clone(wall),
            Arc::clone(entropy),
        )?;
        let dir = Dir::open(&config.dir).map_err(ConfigError::from)?;
        let signer = authority.checkpoint_signer();
        match check_last_checkpoint(&dir, store, signer.verifier()) {
            Err(error) if config.accept_log_that_went_back && error.is_of_the_log() => {
                tracing::warn!(
                    %error,
                    "the audit log is accepted as it is, because --accept-log-that-went-back was given"
                );
            }
            checked => checked?,
        }
        let found = Stops::look(dir.clone(), authority.checkpoint_vkey())?;
        let newest = store.read_blocking("read the newest time", records::newest)?;
        let newest = newest.max(found.newest(newest.max(wall.now()))?);
        let clock = Arc::new(HybridClock::new(Arc::clone(wall), newest));
        let (log, sequencer) = Log::start(store.audit_backend(signer.origin())?, signer)?;
        let live = Arc::new(load_live(store, issuer, &clock, entropy.as_ref())?);
        let parts = mandate_stops::StopsParts {
            live: Arc::clone(&live),
            log: log.clone(),
            store: store.clone(),
            clock: Arc::clone(&clock),
        };
        let stops = Arc::new(Stops::start(parts, found)?);
        let last_checkpoint = LastCheckpoint::new(dir, log.durable_checkpoint(), Arc::clone(entropy));
        last_checkpoint.keep();
        let last_checkpoint = Arc::new(last_checkpoint);
        Ok(Self { authority: Arc::new(authority), clock, live, log, sequencer, stops, last_checkpoint })
    }
}

/// Reads everything decisions need from the store.
fn load_live(
    store: &Store,
    issuer: &Issuer,
    clock: &HybridClock,
    entropy: &dyn Entropy,
) -> Result<Live, ServerError> {
    let now = clock.now();
    let ((version, registry), meters, cuts) = store.read_blocking("load the registry", |tx| {
        Ok((load_registry(tx, issuer)?, meters::load(tx)?, cuts::load(tx)?))
    })?;
    let policies = mandate_administration::compile(&registry)?;
    let revocations = RevocationSet::restored(cuts, now);
    // What is issued from here on is later than the cuts.
    clock.tick();
    let snapshot = Snapshot {
        registry: Arc::new(registry),
        policies: Arc::new(policies),
        revocations: Arc::new(revocations),
        edition: Edition::of(version),
    };
    let mut epoch = [0; 8];
    entropy.fill(&mut epoch);
    Ok(Live::new(issuer.clone(), snapshot, meters, u64::from_le_bytes(epoch)))
}
