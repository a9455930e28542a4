//! `mandate serve`: the composition root of the control plane.
//!
//! It opens the store, the keys and the audit log, builds the engines on them, and binds them to listeners:
//! the public one (OAuth, login, keys, revocation feed), the nodes' (gRPC over mutually authenticated TLS),
//! and the administration (a unix socket, and its own TCP listener). Wire formats end here; no crate below
//! uses HTTP.

mod admin;
mod admin_thread;
mod config;
mod database_place;
mod descriptors;
pub mod doctor;
mod error;
mod hangup;
mod health;
mod host;
mod housekeeping;
mod json_line;
mod last_checkpoint;
mod library_answers;
mod listener;
mod nodes;
mod peer;
mod places;
mod public;
mod secret_body;
mod sweep;
mod timely_body;
mod timely_io;
mod tls;

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mandate_administration::{Administration, load_registry};
use mandate_audit::Log;
use mandate_authority::Authority;
use mandate_core::{Clock, Entropy, HybridClock, Issuer, RevocationSet, TrustDomain};
use mandate_files::{Dir, Making};
use mandate_identity::Identity;
use mandate_live::{Edition, Live, Snapshot};
use mandate_oauth::{Engine, EngineParts};
use mandate_stops::Stops;
use mandate_store::{
    Effect, Installation, Store, check_last_checkpoint, cuts, installation, meters, records,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use config::{
    ConfigError, DEFAULT_TRUST_DOMAIN, ServeConfig, StoreAddress, StoreKind, Transport, store_kind,
};
pub use descriptors::TooFewFiles;
pub use error::ServerError;
pub use last_checkpoint::accepting_log_that_went_back;
pub use tls::{CertificateStanding, TlsError, Validity, check as check_tls};

use admin::Admin;
use admin_thread::AdminThread;
use config::Remembered;
use database_place::Place;
use descriptors::Budget;
use health::Disk;
use health::crowd::Crowd;
use housekeeping::Housekeeping;
use last_checkpoint::LastCheckpoint;
use listener::ListenerDefaults;

/// Where a server that accepts requests can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReady {
    /// The issuer of the server's tokens.
    pub issuer: Issuer,
    /// The trust domain of the server's identities.
    pub trust_domain: TrustDomain,
    /// The address of the public listener.
    pub public: SocketAddr,
    /// The unix socket of the admin API.
    pub admin_socket: PathBuf,
    /// The URL of the admin API over TCP.
    pub admin_url: String,
    /// The address of the nodes' listener.
    pub node_server: SocketAddr,
}

impl ServerReady {
    fn log_start(&self, dir: &Path) {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            issuer = %self.issuer,
            trust_domain = %self.trust_domain,
            public = %self.public,
            nodes = %self.node_server,
            admin = self.admin_url,
            admin_socket = %self.admin_socket.display(),
            dir = %dir.display(),
            "the server has started"
        );
    }
}

fn log_end(served: &Result<(), ServerError>) {
    match served {
        Ok(()) => tracing::info!("the server has stopped"),
        Err(error) => tracing::error!(%error, "the server has stopped"),
    }
}

async fn listen(
    address: SocketAddr,
    remembered: Option<u16>,
) -> Result<(TcpListener, SocketAddr), ServerError> {
    let fail =
        |address: SocketAddr| move |source| ServerError::Listen { address: address.to_string(), source };
    let bind = |address| async move {
        let listener = TcpListener::bind(address).await.map_err(fail(address))?;
        let bound = listener.local_addr().map_err(fail(address))?;
        Ok::<_, ServerError>((listener, bound))
    };
    match remembered {
        // The port is part of the issuer that tokens name: no other port can be used.
        Some(port) if address.port() == 0 => bind(SocketAddr::new(address.ip(), port)).await,
        _ => bind(address).await,
    }
}

/// A unix socket for the owner alone. A socket that a killed process left behind is replaced: the store's
/// lock has already shown that no other server uses this directory.
fn listen_unix(path: &Path) -> Result<UnixListener, ServerError> {
    let fail = |source| ServerError::Listen { address: path.display().to_string(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    // The directory is 0700 already; this holds even if somebody opens the directory.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    Ok(listener)
}

/// The parts of a server that read the database when it starts.
struct Opened {
    authority: Arc<Authority>,
    clock: Arc<HybridClock>,
    live: Arc<Live>,
    log: Log<Effect>,
    sequencer: thread::JoinHandle<()>,
    stops: Arc<Stops>,
    last_checkpoint: Arc<LastCheckpoint>,
}

impl Opened {
    /// Blocks.
    fn of(
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

/// Compares the values of this start with those that the directory remembers, and stores them.
fn remember(
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

/// The installation of the directory, from `serve.json` and from the database.
async fn whose(
    store: &Store,
    file: Option<Remembered>,
    config: &ServeConfig,
) -> Result<Option<Remembered>, ServerError> {
    let said = store.read("read whose data it is", |tx| {
        Ok((installation::load(tx)?, installation::trust_domain_of_the_log(tx)?))
    });
    let (database, of_the_log) = said.await?;
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
async fn open_store(
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
        (StoreAddress::Embedded, _) => Ok(Store::open(&config.dir, Arc::clone(entropy)).await?),
        (StoreAddress::Postgres(address), _) => {
            Ok(Store::connect(&config.dir, address, Arc::clone(entropy)).await?)
        }
    }
}

/// Runs the server until `shutdown` completes. `ready` is called once requests are accepted.
///
/// # Errors
/// Everything that prevents the start, with what to do about it.
#[expect(
    clippy::too_many_lines,
    reason = "the composition root: a few lines for each part, in the order in which they need each other"
)]
pub async fn run(
    config: ServeConfig,
    wall: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ready: impl FnOnce(&ServerReady),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let budget = Budget::of(descriptors::raise())?;
    let file = Remembered::load(&config.dir)?;
    if file.is_some() || !Store::is_there(&config.dir)? {
        config.check(file.as_ref())?;
    }
    // Everything that can fail because of the options of this start fails before anything is written: the
    // issuer is kept permanently.
    let (tls, certificate) = load_certificate(&config.transport, wall.as_ref())?.unzip();
    // The store before the listeners: its lock says that no other server uses this directory.
    let store = open_store(&config, file.as_ref(), &entropy).await?;
    let known = whose(&store, file, &config).await?;
    let before = known.as_ref();
    config.check(before)?;
    let (public_listener, public_at) = listen(config.listen, before.map(|r| r.port)).await?;
    let (node_listener, node_at) = listen(config.node_listen, before.map(|r| r.node_port)).await?;
    let (admin_listener, admin_at) = listen(config.admin_listen, before.map(|r| r.admin_port)).await?;
    let now = remember(&config, before, public_at, node_at, admin_at, entropy.as_ref())?;
    let (options, of, its) = (config.clone(), store.clone(), now.installation());
    let (at, random) = (Arc::clone(&wall), Arc::clone(&entropy));
    let opened = tokio::task::spawn_blocking(move || Opened::of(&options, &of, &its, &at, &random)).await;
    let opened =
        opened.map_err(|error| ServerError::SetUp { what: "the database", why: error.to_string() })?;
    let Opened { authority, clock, live, log, sequencer, stops, last_checkpoint } = opened?;
    let sequencer = tokio::task::spawn_blocking(move || sequencer.join());
    let Remembered { issuer, trust_domain, .. } = now;
    stops.retry().await;
    let parts = mandate_identity::IdentityParts {
        authority: Arc::clone(&authority),
        log: log.clone(),
        stops: Arc::clone(&stops),
        live: Arc::clone(&live),
        store: store.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    };
    let upkeep = Housekeeping::of(&parts);
    let identity = Arc::new(Identity::new(parts).with_rejoin_grace(config.node_rejoin_grace));
    let engine = Engine::new(EngineParts {
        live: Arc::clone(&live),
        trust_domain: trust_domain.clone(),
        authority: Arc::clone(&authority),
        log: log.clone(),
        stops: Arc::clone(&stops),
        store: store.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    })
    .map_err(|error| ServerError::SetUp { what: "the authorization server", why: error.to_string() })?;

    let disk = Disk::of(config.dir.clone());
    let database = Place::of(&config.store);
    let health = health::of_own_parts(
        disk.clone(),
        database.clone(),
        Arc::clone(&authority),
        log.clone(),
        Arc::clone(&clock),
    );

    health::stops::watch(&health, Arc::clone(&stops));
    health::database::watch(&health, store.clone(), database.clone());
    if let Some(certificate) = &certificate {
        let certificate = Arc::clone(certificate);
        health.watch(move |now| certificate.problem(now));
    }
    let counting: Arc<dyn Clock> = clock.clone();
    let [at_public, at_admin, at_nodes] =
        ["public", "admin", "nodes'"].map(|listener| Crowd::watched(&health, listener, &counting));
    let checks_full = health::crowd::checks_full(&health, &counting);
    let (stop, stopping) = watch::channel(false);
    let administration = Arc::new(Administration::new(mandate_administration::AdministrationParts {
        live: Arc::clone(&live),
        store,
        log,
        stops,
        authority: Arc::clone(&authority),
        identity: Arc::clone(&identity),
        trust_domain: trust_domain.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    }));
    let admin = Arc::new(Admin {
        administration,
        health,
        disk,
        database,
        node_server: node_at.to_string(),
        started: clock.now(),
    });
    let hosts = host::Hosts::of(issuer.as_str(), &config.allowed_hosts);
    let over_tls = issuer.as_str().starts_with("https:");
    let public = public::Public {
        engine,
        authority: Arc::clone(&authority),
        live: Arc::clone(&live),
        csrf_key: public::csrf_key(entropy.as_ref()),
        entropy,
        clock: Arc::clone(&wall),
        shutdown: stopping.clone(),
        secure_cookies: over_tls,
        checks_full,
    };
    let public = public::site(Arc::new(public), hosts.clone(), ListenerDefaults { over_tls });
    let admin = admin::site(admin, hosts, ListenerDefaults { over_tls: tls.is_some() });
    let admin_socket = config.admin_socket();
    let (admin_scheme, admin_host) = match &config.transport {
        Transport::Tls { cert, .. } => ("https", tls::reachable_as(cert, admin_at, &issuer)),
        Transport::LoopbackHttp | Transport::DangerousBehindTlsProxy => ("http", admin_at.to_string()),
    };
    let mut tasks = JoinSet::new();
    let admin_thread = AdminThread::start()
        .map_err(|error| ServerError::SetUp { what: "the operators' thread", why: error.to_string() })?;
    tasks.spawn(admin_thread.serve(
        listen_unix(&admin_socket)?,
        budget.operators,
        admin.for_the_socket(),
        stopping.clone(),
    ));
    tasks.spawn(listener::serve_tcp(
        admin_listener,
        tls.clone(),
        budget.admin_places().watched_by(at_admin),
        admin,
        stopping.clone(),
    ));
    tasks.spawn(listener::serve_tcp(
        public_listener,
        tls,
        budget.public_places().watched_by(at_public),
        public,
        stopping.clone(),
    ));
    let bounds = nodes::Bounds {
        places: budget.node_places().watched_by(at_nodes),
        rejoin_grace: config.node_rejoin_grace,
    };
    tasks.spawn(nodes::serve(
        node_listener,
        node_at,
        identity,
        Arc::clone(&authority),
        bounds,
        stopping.clone(),
    ));
    tasks.spawn(hangup::heed(certificate, wall, stopping.clone()));
    tasks.spawn(Arc::clone(&last_checkpoint).follow(stopping.clone()));
    tasks.spawn(upkeep.run(stopping));

    let announced = ServerReady {
        issuer,
        trust_domain,
        public: public_at,
        admin_socket: admin_socket.clone(),
        admin_url: format!("{admin_scheme}://{admin_host}"),
        node_server: node_at,
    };
    announced.log_start(&config.dir);
    ready(&announced);
    tokio::pin!(shutdown);
    let served = supervise(shutdown, &mut tasks, sequencer, stop).await;
    last_checkpoint.keep_at_last().await;
    let _ = fs::remove_file(&admin_socket);
    log_end(&served);
    served
}

/// Serves until told to stop, or until a part ends by itself: if a part panics, the rest of the server must
/// not continue.
async fn supervise(
    shutdown: impl Future<Output = ()>,
    tasks: &mut JoinSet<()>,
    mut sequencer: JoinHandle<std::thread::Result<()>>,
    stop: watch::Sender<bool>,
) -> Result<(), ServerError> {
    let (served, sequencing) = tokio::select! {
        biased;
        () = shutdown => {
            tracing::info!("the server stops: it was asked to");
            (Ok(()), true)
        }
        _ = tasks.join_next() => (Err(ServerError::Ended("a listener, or the housekeeping,")), true),
        // The sequencer runs as long as there is a handle of the log. It ends earlier only by a panic.
        _ = &mut sequencer => (Err(ServerError::Ended("the audit log")), false),
    };
    let _ = stop.send(true);
    let _ =
        tokio::time::timeout(Duration::from_secs(10), async { while tasks.join_next().await.is_some() {} })
            .await;
    tasks.shutdown().await;
    if sequencing {
        // Every handle of the log is gone now; what was queued is written.
        let _ = sequencer.await;
    }
    served
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use mandate_core::{Secret, SystemEntropy, Timestamp};
    use mandate_store::Store;
    use mandate_store::keys::{self, KeyState, StoredKey};
    use tokio::sync::watch;
    use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

    use super::{
        ConfigError, Remembered, ServeConfig, ServerError, StoreAddress, StoreKind, Transport, supervise,
        whose,
    };

    /// A task that ends when it is told to, as listeners do, and what tells it.
    fn listener() -> (JoinSet<()>, watch::Sender<bool>) {
        let (stop, mut stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(stopping.wait_for(|stop| *stop).await) });
        (tasks, stop)
    }

    fn sequencer(run: impl FnOnce() + Send + 'static) -> JoinHandle<thread::Result<()>> {
        spawn_blocking(|| thread::spawn(run).join())
    }

    #[tokio::test]
    async fn a_database_that_does_not_say_whose_it_is_is_known_by_its_log() {
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
        };
        assert_eq!(whose(&store, None, &config(None)).await.unwrap(), None, "a new directory");
        store.transact_blocking("key", |tx| keys::put(tx, &of_the_log)).unwrap();
        assert_eq!(whose(&store, None, &config(Some("acme.example"))).await.unwrap(), None);
        for other in [None, Some("other.example")] {
            let refused = whose(&store, None, &config(other)).await.unwrap_err();
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
        assert!(whose(&store, Some(file("acme.example")), &config(None)).await.unwrap().is_some());
        let refused = whose(&store, Some(file("other.example")), &config(None)).await.unwrap_err();
        assert!(
            matches!(refused, ServerError::Config(ConfigError::OtherDatabase { what: "trust domain", .. })),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn without_its_audit_log_the_server_ends_with_an_error() {
        let (mut tasks, stop) = listener();
        let served = supervise(
            std::future::pending(),
            &mut tasks,
            sequencer(|| panic!("as a fault in an effect would")),
            stop,
        )
        .await;
        assert!(matches!(served, Err(ServerError::Ended("the audit log"))), "{served:?}");
        assert!(tasks.is_empty(), "nothing goes on");
    }

    #[tokio::test]
    async fn without_one_of_its_tasks_the_server_ends_with_an_error() {
        let (mut tasks, stop) = listener();
        tasks.spawn(async {});
        let (queue, jobs) = std::sync::mpsc::channel::<()>();
        let mut stopping = stop.subscribe();
        tasks.spawn(async move {
            let _last_handle = queue;
            drop(stopping.wait_for(|stop| *stop).await);
        });
        let served = supervise(
            std::future::pending(),
            &mut tasks,
            sequencer(move || assert!(jobs.recv().is_err())),
            stop,
        )
        .await;
        assert!(matches!(served, Err(ServerError::Ended(_))), "{served:?}");
    }

    #[tokio::test]
    async fn told_to_stop_it_waits_for_what_was_queued() {
        let (mut tasks, stop) = listener();
        let (written, was_written) = std::sync::mpsc::channel();
        let served =
            supervise(std::future::ready(()), &mut tasks, sequencer(move || written.send(()).unwrap()), stop)
                .await;
        assert!(served.is_ok(), "{served:?}");
        was_written.try_recv().unwrap();
    }
}
