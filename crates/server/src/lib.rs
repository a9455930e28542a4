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
mod login_secrets;
mod nodes;
mod peer;
mod places;
mod public;
mod secret_body;
mod start;
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
use std::time::Duration;

use mandate_administration::Administration;
use mandate_core::{Clock, Entropy, Issuer, TrustDomain};
use mandate_identity::Identity;
use mandate_oauth::{Engine, EngineParts, SelfDescription};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use config::{
    ConfigError, DEFAULT_TRUST_DOMAIN, ServeConfig, StoreAddress, StoreKind, Transport, store_kind,
};
pub use descriptors::TooFewFiles;
pub use error::ServerError;
pub use last_checkpoint::accepting_log_that_went_back;
pub use mandate_oauth::metadata_document::MetadataHost;
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
use start::{Found, Opened};

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

/// Where the admin API can be reached over TCP. Reads the certificate's file.
fn admin_url(transport: &Transport, address: SocketAddr, issuer: &Issuer) -> String {
    match transport {
        Transport::Tls { cert, .. } => format!("https://{}", tls::reachable_as(cert, address, issuer)),
        Transport::LoopbackHttp | Transport::DangerousBehindTlsProxy => format!("http://{address}"),
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
    let (options, at, random) = (config.clone(), Arc::clone(&wall), Arc::clone(&entropy));
    let found = start::on_a_thread("the database", move || Found::of(&options, at.as_ref(), &random)).await?;
    let (tls, certificate) = found.certificate.unzip();
    let (store, known) = (found.store, found.known);
    let before = known.as_ref();
    let (public_listener, public_at) = listen(config.listen, before.map(|r| r.port)).await?;
    let (node_listener, node_at) = listen(config.node_listen, before.map(|r| r.node_port)).await?;
    let (admin_listener, admin_at) = listen(config.admin_listen, before.map(|r| r.admin_port)).await?;
    let (options, of) = (config.clone(), store.clone());
    let (at, random) = (Arc::clone(&wall), Arc::clone(&entropy));
    let opened = start::on_a_thread("the database", move || {
        let now = start::remember(&options, known.as_ref(), public_at, node_at, admin_at, random.as_ref())?;
        Ok((Opened::of(&options, &of, &now.installation(), &at, &random)?, now))
    });
    let (opened, Remembered { issuer, trust_domain, .. }) = opened.await?;
    let Opened { authority, clock, live, log, sequencer, stops, last_checkpoint } = opened;
    let sequencer = tokio::task::spawn_blocking(move || sequencer.join());
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
    let login_secrets = login_secrets::in_dir(&config.dir);
    let engine = Engine::new(EngineParts {
        live: Arc::clone(&live),
        trust_domain: trust_domain.clone(),
        authority: Arc::clone(&authority),
        log: log.clone(),
        stops: Arc::clone(&stops),
        store: store.clone(),
        clock: Arc::clone(&clock),
        self_description: SelfDescription {
            dynamic_registration: config.dynamic_registration,
            metadata_hosts: config.client_metadata_hosts.clone(),
            ..SelfDescription::default()
        },
        entropy: Arc::clone(&entropy),
        login_secrets: Arc::clone(&login_secrets),
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
    health::login::watch(&health, Arc::clone(&live), login_secrets);
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
        login_seal: public::LoginSeal::new(Arc::clone(&entropy)),
        entropy,
        clock: Arc::clone(&wall),
        shutdown: stopping.clone(),
        secure_cookies: over_tls,
        checks_full,
    };
    let public = public::site(Arc::new(public), hosts.clone(), ListenerDefaults { over_tls });
    let admin = admin::site(admin, hosts, ListenerDefaults { over_tls: tls.is_some() });
    let admin_socket = config.admin_socket();
    let (transport, of, path) = (config.transport.clone(), issuer.clone(), admin_socket.clone());
    let bound = start::on_a_thread("the admin socket", move || {
        Ok((listen_unix(&path)?, admin_url(&transport, admin_at, &of)))
    });
    let (admin_listener_unix, admin_url) = bound.await?;
    let mut tasks = JoinSet::new();
    let admin_thread = AdminThread::start()
        .map_err(|error| ServerError::SetUp { what: "the operators' thread", why: error.to_string() })?;
    tasks.spawn(admin_thread.serve(
        admin_listener_unix,
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
        admin_url,
        node_server: node_at,
    };
    announced.log_start(&config.dir);
    ready(&announced);
    tokio::pin!(shutdown);
    let served = supervise(shutdown, &mut tasks, sequencer, stop).await;
    last_checkpoint.keep_at_last().await;
    let _ = tokio::task::spawn_blocking(move || fs::remove_file(&admin_socket)).await;
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
    use std::thread;

    use tokio::sync::watch;
    use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

    use super::{ServerError, supervise};

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
