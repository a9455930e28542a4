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
mod opened;
mod ownership;
mod peer;
mod places;
mod public;
mod secret_body;
mod sockets;
mod supervision;
mod sweep;
mod timely_body;
mod timely_io;
mod tls;

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_administration::Administration;
use mandate_core::{Clock, Entropy, Issuer, TrustDomain};
use mandate_files::{Dir, Making};
use mandate_identity::Identity;
use mandate_oauth::{Engine, EngineParts};
use mandate_store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use config::{
    ConfigError, DEFAULT_TRUST_DOMAIN, ServeConfig, StoreAddress, StoreKind, Transport, store_kind,
};
pub use descriptors::TooFewFiles;
pub use error::ServerError;
pub use tls::{CertificateStanding, TlsError, Validity, check as check_tls};

use admin::Admin;
use admin_thread::AdminThread;
use config::Remembered;
use database_place::Place;
use descriptors::Budget;
use health::Disk;
use health::crowd::Crowd;
use housekeeping::Housekeeping;
use listener::ListenerDefaults;
use opened::Opened;
use ownership::{remember, whose};
use sockets::{listen, listen_unix};
use supervision::supervise;

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
    tasks.spawn(hangup::follow_certificate(certificate, wall, stopping.clone()));
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
    let _ = tokio::task::spawn_blocking(move || last_checkpoint.keep()).await;
    let _ = fs::remove_file(&admin_socket);
    log_end(&served);
    served
}
