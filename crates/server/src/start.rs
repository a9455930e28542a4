//! The start of a server: what it reads and writes before its first request. All of it may block, so it runs
//! on threads that may.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use mandate_administration::load_registry;
use mandate_authority::Authority;
use mandate_core::{Clock, Entropy, HybridClock, Issuer, RevocationSet};
use mandate_files::{Dir, Making};
use mandate_live::{Edition, Live, Snapshot};
use mandate_sequencer::Log;
use mandate_stops::Stops;
use mandate_store::{
    Effect, Installation, Store, check_last_checkpoint, cuts, installation, meters, records,
};

use crate::config::{ConfigError, Remembered, ServeConfig, StoreAddress, Transport};
use crate::error::ServerError;
use crate::last_checkpoint::LastCheckpoint;
use crate::tls;

/// Runs `work` on a thread that may block. `what` says in errors what it is about.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ServerError::SetUp { what, why: error.to_string() })?
}

/// What a start finds before it listens anywhere.
pub(crate) struct Found {
    pub(crate) certificate: Option<tls::Loaded>,
    pub(crate) store: Store,
    /// The values of earlier starts.
    pub(crate) known: Option<Remembered>,
}

impl Found {
    /// Checks the options of this start, and opens the store. Blocks.
    ///
    /// # Errors
    /// The options do not fit each other or what is there, or something cannot be read or written.
    pub(crate) fn of(
        config: &ServeConfig,
        wall: &dyn Clock,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, ServerError> {
        let file = Remembered::load(&config.dir)?;
        if file.is_some() || !Store::is_there(&config.dir)? {
            config.check(file.as_ref())?;
        }
        // Everything that can fail because of the options of this start fails before anything is written: the
        // issuer is kept permanently.
        let certificate = load_certificate(&config.transport, wall)?;
        // The store before the listeners: its lock says that no other server uses this directory.
        let store = open_store(config, file.as_ref(), entropy)?;
        let known = whose(&store, file, config)?;
        config.check(known.as_ref())?;
        Ok(Self { certificate, store, known })
    }
}

/// The installation of the directory, from `serve.json` and from the database.
fn whose(
    store: &Store,
    file: Option<Remembered>,
    config: &ServeConfig,
) -> Result<Option<Remembered>, ServerError> {
    let (database, of_the_log) = store.read_blocking("read whose data it is", |tx| {
        Ok((installation::load(tx)?, installation::trust_domain_of_the_log(tx)?))
    })?;
    let known = Remembered::known(file, database, config)?;
    // Of a database of an older version, the name of its log says the trust domain.
    let Some(found) = of_the_log else { return Ok(known) };
    match &known {
        Some(Remembered { trust_domain, .. }) if *trust_domain != found => Err(ConfigError::OtherDatabase {
            dir: config.dir.clone(),
            database: config.store.name(),
            what: "trust domain",
            remembered: trust_domain.to_string(),
            found: found.to_string(),
        }
        .into()),
        Some(_) => Ok(known),
        None => match config.trust_domain_or_default()? {
            given if given == found => Ok(None),
            given => {
                Err(config.changed("trust domain", "trust-domain", found.as_str(), given.as_str()).into())
            }
        },
    }
}

fn load_certificate(transport: &Transport, clock: &dyn Clock) -> Result<Option<tls::Loaded>, ServerError> {
    Ok(match transport {
        Transport::Tls { cert, key } => Some(tls::reloading(cert.clone(), key.clone(), clock)?),
        Transport::LoopbackHttp | Transport::DangerousBehindTlsProxy => None,
    })
}

/// Opens the store that the options name. Refuses a directory that was used before and whose database is
/// missing.
fn open_store(
    config: &ServeConfig,
    before: Option<&Remembered>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Store, ServerError> {
    config.same_store(before)?;
    Dir::open_or_make(&config.dir, Making::PRIVATE).map_err(ConfigError::from)?;
    match (&config.store, before) {
        (StoreAddress::Embedded, Some(before)) if !Store::is_there(&config.dir)? => {
            Err(ConfigError::DatabaseLost(config.dir.clone(), before.issuer.clone()).into())
        }
        (StoreAddress::Embedded, _) => Ok(Store::open_blocking(&config.dir, Arc::clone(entropy))?),
        (StoreAddress::Postgres(address), _) => {
            Ok(Store::connect_blocking(&config.dir, address, Arc::clone(entropy))?)
        }
    }
}

/// Compares the values of this start with those that the directory remembers, and stores them.
pub(crate) fn remember(
    config: &ServeConfig,
    before: Option<&Remembered>,
    public_at: SocketAddr,
    node_at: SocketAddr,
    admin_at: SocketAddr,
    entropy: &dyn Entropy,
) -> Result<Remembered, ServerError> {
    let issuer = config.issuer_after(before, public_at)?;
    let trust_domain = match (&config.trust_domain, before) {
        (Some(given), _) => given.clone(),
        (None, Some(before)) => before.trust_domain.clone(),
        (None, None) => config.trust_domain_or_default()?,
    };
    let [port, node_port, admin_port] = [public_at, node_at, admin_at].map(|at| at.port());
    let now = Remembered { issuer, trust_domain, store: config.store.kind(), port, node_port, admin_port };
    config.reconcile(before, &now)?;
    // What is known may be known from the database alone.
    if Remembered::load(&config.dir)?.as_ref() != Some(&now) {
        now.save(&config.dir, entropy)?;
    }
    Ok(now)
}

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
    /// Writes what the directory remembers, and reads the database. Blocks.
    ///
    /// # Errors
    /// The values of this start are not those of the directory, or something cannot be read or written.
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
        // From here on records are written, and nothing that this start was given can refuse it any longer.
        store.claim_blocking()?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::{Secret, SystemClock, SystemEntropy, Timestamp};
    use mandate_store::Store;
    use mandate_store::keys::{self, KeyState, StoredKey};
    use mandate_testkit::busy_threads;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::{Remembered, whose};
    use crate::config::{ConfigError, ServeConfig, StoreAddress, StoreKind, Transport};
    use crate::error::ServerError;

    #[test]
    fn a_start_reads_and_writes_on_threads_that_may_block() {
        let (runtime, busy) = busy_threads::runtime();
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("server");
        let any = "127.0.0.1:0".parse().unwrap();
        let config = ServeConfig {
            dir: dir.clone(),
            store: StoreAddress::Embedded,
            listen: any,
            node_listen: any,
            admin_listen: any,
            transport: Transport::LoopbackHttp,
            issuer: None,
            trust_domain: None,
            node_rejoin_grace: Duration::ZERO,
            accept_log_that_went_back: false,
            allowed_hosts: Vec::new(),
            dynamic_registration: false,
            client_metadata_hosts: Vec::new(),
        };
        runtime.block_on(async {
            let (ready, is_ready) = oneshot::channel();
            let mut running = Box::pin(crate::run(
                config,
                Arc::new(SystemClock),
                Arc::new(SystemEntropy),
                |_| ready.send(()).unwrap(),
                async { is_ready.await.unwrap() },
            ));
            assert!(timeout(Duration::from_millis(200), &mut running).await.is_err());
            assert!(!dir.exists(), "there is no such thread yet");
            drop(busy);
            running.await.unwrap();
            assert!(dir.join("mandate.db").exists());
        });
    }

    #[test]
    fn a_database_that_does_not_say_whose_it_is_is_known_by_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_blocking(dir.path(), Arc::new(SystemEntropy)).unwrap();
        let of_the_log = StoredKey {
            purpose: "checkpoint".to_owned(),
            kid: "acme.example/audit/00c0ffee".to_owned(),
            state: KeyState::Active,
            created: Timestamp::from_secs(1),
            until: None,
            public: Vec::new(),
            private: Secret::new("key"),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let config = |trust_domain: Option<&str>| ServeConfig {
            dir: dir.path().to_owned(),
            store: StoreAddress::Embedded,
            listen: any,
            node_listen: any,
            admin_listen: any,
            transport: Transport::LoopbackHttp,
            issuer: None,
            trust_domain: trust_domain.map(|name| name.parse().unwrap()),
            node_rejoin_grace: Duration::ZERO,
            accept_log_that_went_back: false,
            allowed_hosts: Vec::new(),
            dynamic_registration: false,
            client_metadata_hosts: Vec::new(),
        };
        assert_eq!(whose(&store, None, &config(None)).unwrap(), None, "a new directory");
        store.transact_blocking("key", |tx| keys::put(tx, &of_the_log)).unwrap();
        assert_eq!(whose(&store, None, &config(Some("acme.example"))).unwrap(), None);
        for other in [None, Some("other.example")] {
            let refused = whose(&store, None, &config(other)).unwrap_err();
            assert!(refused.to_string().contains("--trust-domain acme.example"), "{refused}");
        }
        let file = |trust_domain: &str| Remembered {
            issuer: "http://127.0.0.1:1".parse().unwrap(),
            trust_domain: trust_domain.parse().unwrap(),
            store: StoreKind::Embedded,
            port: 1,
            node_port: 2,
            admin_port: 3,
        };
        assert!(whose(&store, Some(file("acme.example")), &config(None)).unwrap().is_some());
        let refused = whose(&store, Some(file("other.example")), &config(None)).unwrap_err();
        assert!(
            matches!(refused, ServerError::Config(ConfigError::OtherDatabase { what: "trust domain", .. })),
            "{refused}"
        );
    }
}
