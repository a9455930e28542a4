//! `mandate node`: the part of Mandate that runs on each machine.
//!
//! It asks the kernel about a local process (user, group, program and its digest), and gives the process the
//! JWT-SVID of the agent that it is, over the SPIFFE Workload API on a unix socket. It holds its own
//! certificate and the SVIDs that it has given out; it has no signing key and no database. The server
//! believes what a node says about its processes: an attacker who takes a node over can claim any selectors,
//! and with them the identity of any active agent, until the node is banned: the node's certificate can be
//! renewed while it is valid.
//!
//! The server pushes every change of registrations and keys over one connection; nothing is polled. While the
//! server cannot be reached, SVIDs that have not expired are still served.

mod activity;
mod alert;
mod arrivals;
mod attestors;
mod authority;
mod caller;
mod certificate;
mod claims;
mod credentials;
mod dial;
mod entitlement;
mod error;
mod join_token;
mod listener;
mod looks;
mod mismatch;
mod namespace;
mod places;
mod process;
mod program;
mod refusal;
mod session;
mod socket;
mod storage;
mod svid_cache;
mod svids;
mod throttle;
mod trust;
mod view;
mod workload_api;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mandate_api::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use mandate_core::{Clock, Entropy, Secret, SpiffeId, TrustDomain};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;

#[doc(hidden)] // For fuzzing.
pub use authority::Rewriter;
pub use error::{NodeError, NodeFault};
pub use join_token::InvalidJoinToken;

use dial::Dialer;
use join_token::JoinToken;
use listener::CountCalls;
use places::Limits;
use refusal::Waiting;
use session::{Session, Start};
use socket::Socket;
use storage::{Storage, StoredCredentials};
use svids::Svids;
use view::{Link, View};
use workload_api::WorkloadApi;

/// The largest request that is accepted: a token of 16 KiB and an audience, with some reserve.
const LARGEST_REQUEST: usize = 24 << 10;

/// How many calls one connection may have open. Only one request of a connection is read at a time, so
/// connections cannot fill the memory with requests that never end.
const MOST_CALLS: u32 = 64;

/// How many unread bytes a connection may have in all its calls, and in one call. Requests that wait for
/// their turn must not use up the window of the request that is being read.
const CONNECTION_WINDOW: u32 = 64 << 10;
const STREAM_WINDOW: u32 = CONNECTION_WINDOW / MOST_CALLS;

/// How long a call may take until its answer begins.
const CALL: Duration = Duration::from_secs(30);

/// How often a silent client is pinged, and how long the answer may take (RFC 9113 §6.7).
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// How long open calls may take to end when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// The configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where the node keeps its key, its certificate and its server's CA. Made with mode 0711 if it does not
    /// exist; the files are 0600.
    pub dir: PathBuf,
    /// The server's address for nodes: `host:port`.
    pub server: String,
    /// The join token, as `mandate node join-token` printed it. It is not used while `dir` holds a
    /// certificate that the server accepts, so that a node can be restarted with the command that started it.
    pub join_token: Option<Secret>,
    /// Where the Workload API listens.
    pub socket: PathBuf,
}

/// A node that has received a state from its server: from now on it serves SVIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReady {
    /// The node's own SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// The trust domain it has joined.
    pub trust_domain: TrustDomain,
}

/// Runs a node until `shutdown` completes, or until it cannot continue without its operator.
///
/// The socket listens from the start. It answers `Unavailable` until the node has received a state from its
/// server; the first time, `ready` is called. The node waits for a server that cannot be reached.
pub async fn run<R, S>(
    config: NodeConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ready: R,
    shutdown: S,
) -> Result<(), NodeError>
where
    R: FnOnce(NodeReady) + Send,
    S: Future<Output = ()> + Send,
{
    let mut shutdown = pin!(shutdown);
    let dialer = Dialer::new(&config.server, Arc::clone(&clock))?;
    if !namespace::proc_is_ours() {
        return Err(NodeError::ProcessNamespace);
    }
    if mandate_files::has_unmapped_users() {
        tracing::info!(
            "this node runs in a user namespace; callers of users that have no number in it are refused"
        );
    }
    let limits = Limits::within(process::raise_descriptor_limit());
    let rejoin = rejoin(&config);
    let opening = tokio::task::spawn_blocking({
        let (clock, entropy, rejoin) = (Arc::clone(&clock), Arc::clone(&entropy), rejoin.clone());
        move || open(&config, clock.as_ref(), entropy.as_ref(), &rejoin)
    });
    let Opened { storage, start, _socket, listener } = tokio::select! {
        opened = opening => opened.map_err(|error| NodeError::NotOpened(error.to_string()))??,
        () = &mut shutdown => return Ok(()),
    };
    let (views, seen) = watch::channel(View::starting());
    let svids = Arc::new(Svids::new(seen.clone(), Arc::clone(&clock)));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&svids).keep_renewed());
    let api = WorkloadApi::new(seen, Arc::clone(&svids), Arc::clone(&clock));
    let mut served = JoinSet::new();
    served.spawn(serve(api, listener, limits, stopped));

    let session =
        Session { dialer, storage: Arc::new(storage), clock, entropy, views: views.clone(), svids, rejoin };
    let outcome = tokio::select! {
        Err(error) = session.keep(start, ready) => Err(error),
        () = &mut shutdown => Ok(()),
        ended = served.join_next() => Err(NodeError::Listener(format!("{ended:?}"))),
    };
    // A write that was begun holds the directory's lock: the next node of this directory must find it free.
    let _ = tokio::time::timeout(FAREWELL, session.storage.turn()).await;
    // Streams end with the status `UNAVAILABLE`; then the listener has nothing more to wait for.
    views.send_modify(|view| view.link = Link::Down(Waiting::Stopping));
    let _ = stop.send(());
    let _ = tokio::time::timeout(FAREWELL, served.join_next()).await;
    outcome
}

async fn serve(
    api: WorkloadApi,
    listener: tokio::net::UnixListener,
    limits: Limits,
    stopped: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let service = SpiffeWorkloadApiServer::new(api).max_decoding_message_size(LARGEST_REQUEST);
    Server::builder()
        .max_concurrent_streams(MOST_CALLS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(authority::LARGEST_LIST)
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .timeout(CALL)
        .layer(CountCalls)
        .layer(InterceptorLayer::new(workload_api::require_header))
        .add_service(service)
        .serve_with_incoming_shutdown(listener::connections(listener, limits), async {
            // A dropped sender has the same effect as a sent value.
            let _ = stopped.await;
        })
        .await
}

/// What a node holds of this machine.
struct Opened {
    storage: Storage,
    start: Start,
    _socket: Socket,
    listener: tokio::net::UnixListener,
}

/// Blocks, for as long as the file systems of the directory and the socket take to answer.
fn open(
    config: &NodeConfig,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    rejoin: &str,
) -> Result<Opened, NodeError> {
    let storage = Storage::open(&config.dir)?;
    let start = start(&storage, config.join_token.as_ref(), clock, rejoin)?;
    let (socket, listener) = Socket::bind(&config.socket, entropy)?;
    Ok(Opened { storage, start, _socket: socket, listener })
}

fn start(
    storage: &Storage,
    token: Option<&Secret>,
    clock: &dyn Clock,
    rejoin: &str,
) -> Result<Start, NodeError> {
    match (storage.load()?, token) {
        (StoredCredentials::Credentials(credentials), token) if !credentials.is_expired(clock.now()) => {
            Ok(Start::Joined(Box::new(credentials), token.map(JoinToken::parse).transpose()?))
        }
        (StoredCredentials::Unusable(path, error), Some(token)) => {
            tracing::warn!(path = %path.display(), %error, "the stored credentials are not usable; joining again");
            Ok(Start::Join(JoinToken::parse(token)?))
        }
        (StoredCredentials::Nothing, Some(token)) => Ok(Start::Join(JoinToken::parse(token)?)),
        (StoredCredentials::Nothing, None) => Err(NodeError::NotJoined { rejoin: rejoin.to_owned() }),
        (StoredCredentials::Credentials(credentials), token) => {
            Ok(Start::Expired(Box::new(credentials), token.map(JoinToken::parse).transpose()?))
        }
        (StoredCredentials::Unusable(path, error), None) => {
            Err(NodeError::Credentials { path, reason: error.to_string(), rejoin: rejoin.to_owned() })
        }
    }
}

/// The commands with which an operator lets this node join. Everything except the token's file is filled in.
fn rejoin(config: &NodeConfig) -> String {
    let NodeConfig { dir, server, socket, .. } = config;
    format!(
        "run `mandate node join-token` on the server, put the token into a file FILE, then run `mandate node run --dir {} --server {server} --join-token-file FILE --socket {}`",
        quoted(dir),
        quoted(socket)
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_'));
    if plain && !text.is_empty() { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::{NodeConfig, quoted, rejoin};
    use std::path::Path;

    #[test]
    fn the_command_to_join_again_can_be_pasted() {
        let config = NodeConfig {
            dir: "/var/lib/my node".into(),
            server: "mandate.acme.example:8081".into(),
            join_token: None,
            socket: "/run/mandate/api.sock".into(),
        };
        let text = rejoin(&config);
        assert!(text.ends_with("`mandate node run --dir '/var/lib/my node' --server mandate.acme.example:8081 --join-token-file FILE --socket /run/mandate/api.sock`"), "{text}");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
