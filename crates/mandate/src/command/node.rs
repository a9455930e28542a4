//! `mandate node …`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_api::admin::{JoinTokenRequest, NodeItem, NodeState};
use mandate_core::{SystemClock, SystemEntropy};
use mandate_node::{NodeConfig, NodeError};
use serde::Serialize;

use super::recorded;
use crate::arguments::{JoinTokenArguments, NodeBan, NodeList, NodeRun};
use crate::failure::{Failure, Fault};
use crate::screen::Screen;
use crate::shutdown::Hangup;
use crate::table::table;
use crate::{core_dumps, logging, secret_input, shutdown};

/// The Workload API's socket in a node's directory, unless told otherwise.
const SOCKET_NAME: &str = "workload.sock";

/// Where root's node listens unless told otherwise: root's own folders are closed to all other users.
const SYSTEM_SOCKET: &str = "/run/mandate/workload.sock";

pub(crate) fn join_token(arguments: &JoinTokenArguments, screen: &Screen) -> Result<(), Failure> {
    let request = JoinTokenRequest { ttl: arguments.ttl };
    let made = arguments.connection.open()?.call(async |client| client.join_token(&request).await)?;
    if !screen.wants_json() {
        screen.remark(&format!("It joins one node, once, until {}.", made.expires_at));
    }
    screen.show(&made, || made.token.clone())
}

pub(crate) fn list(arguments: &NodeList, screen: &Screen) -> Result<(), Failure> {
    let nodes = arguments.connection.open()?.call(async |client| client.nodes().await)?;
    screen.show(&nodes, || {
        if nodes.is_empty() {
            return "No node has joined.".to_owned();
        }
        let row = |node: &NodeItem| {
            let state = match node.state {
                NodeState::Joined => "joined",
                NodeState::Banned => "banned",
            };
            vec![
                node.name.clone(),
                state.to_owned(),
                node.joined.clone(),
                node.expires.clone(),
                node.spiffe_id.clone(),
            ]
        };
        table(
            screen,
            &["NAME", "STATE", "JOINED", "CERTIFICATE UNTIL", "SPIFFE ID"],
            nodes.iter().map(row).collect(),
        )
    })
}

pub(crate) fn ban(arguments: &NodeBan, screen: &Screen) -> Result<(), Failure> {
    let name = &arguments.name;
    let banned = arguments.connection.open()?.call(async |client| client.ban_node(name).await)?;
    let shown = screen.show(&banned, || {
        format!("{name} is banned. Identities that it got before are valid for up to 5 minutes, unless their agents are suspended.")
    });
    recorded::report(banned.recorded, screen, shown)
}

/// The default directory of a node: beside the server's directory, never the same one.
pub(crate) fn default_dir() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("MANDATE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".mandate")));
    base.map(|base| base.join("node"))
        .ok_or_else(|| Failure::usage("there is no home directory; use --dir DIR or set MANDATE_DIR"))
}

/// Where a node listens by default: in its directory if that was given, otherwise at the default place of its
/// user.
fn socket(is_root: bool, dir_is_chosen: bool, dir: &Path) -> PathBuf {
    if is_root && !dir_is_chosen { PathBuf::from(SYSTEM_SOCKET) } else { dir.join(SOCKET_NAME) }
}

/// The socket of a node that this user runs, or else of the machine's node.
pub(crate) fn nearest_socket() -> Result<PathBuf, Failure> {
    Ok(nearest(default_dir()?.join(SOCKET_NAME), PathBuf::from(SYSTEM_SOCKET)))
}

fn nearest(own: PathBuf, system: PathBuf) -> PathBuf {
    if !own.exists() && system.exists() { system } else { own }
}

#[derive(Serialize)]
struct Started<'a> {
    ready: bool,
    spiffe_id: &'a str,
    trust_domain: &'a str,
    socket: String,
}

pub(crate) fn run(arguments: NodeRun, screen: &Screen) -> Result<(), Failure> {
    logging::start(screen.wants_json());
    core_dumps::off();
    let dir = arguments.dir.clone().map_or_else(default_dir, Ok)?;
    let dir_is_chosen =
        arguments.dir.is_some() || std::env::var_os("MANDATE_DIR").is_some_and(|dir| !dir.is_empty());
    let is_root = rustix::process::geteuid().is_root();
    let socket = arguments.socket.unwrap_or_else(|| socket(is_root, dir_is_chosen, &dir));
    let socket = std::path::absolute(&socket).unwrap_or(socket);
    let join_token = arguments
        .join_token_file
        .as_deref()
        .map(|file| secret_input::from_file(file, "join token"))
        .transpose()?;
    let config = NodeConfig { dir, server: arguments.server, join_token, socket: socket.clone() };
    let ready = |ready: mandate_node::NodeReady| {
        let started = Started {
            ready: true,
            spiffe_id: ready.spiffe_id.as_str(),
            trust_domain: ready.trust_domain.as_str(),
            socket: socket.display().to_string(),
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            spiffe_id = started.spiffe_id,
            trust_domain = started.trust_domain,
            socket = started.socket,
            "the node has started"
        );
        let text = || {
            let (id, socket) = (started.spiffe_id, &started.socket);
            format!(
                "The node is ready.\n  identity  {id}\n  socket    {socket}\n\nnext: mandate svid fetch --socket {socket} --audience ISSUER"
            )
        };
        if let Err(failure) = screen.show(&started, text) {
            // The node is running. Only the process that started it has closed its output.
            tracing::warn!(reason = %failure.text().trim(), "the address could not be printed");
        }
    };
    // Two threads carry hundreds of processes; a node shares its machine with the work itself.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::caused(Fault::Failed, "cannot start", &error))?;
    let ran = runtime.block_on(async {
        mandate_node::run(
            config,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            ready,
            shutdown::requested(Hangup::Means(
                "a node has no files to read again, so it continues. SIGTERM ends it",
            )),
        )
        .await
    });
    // What the node has written is on disk by now. A thread that waits for a file system that does not answer
    // is not waited for.
    runtime.shutdown_background();
    if ran.is_ok() {
        tracing::info!("the node has stopped");
    }
    ran.map_err(|error| failure(&error))
}

fn failure(error: &NodeError) -> Failure {
    let fault = match error.fault() {
        mandate_node::NodeFault::Usage => Fault::Usage,
        mandate_node::NodeFault::Refused => Fault::Refused,
        mandate_node::NodeFault::Local => Fault::Failed,
    };
    Failure::caused(fault, "the node cannot run", error)
}

#[cfg(test)]
mod tests {
    use super::{nearest, socket};
    use std::path::Path;

    #[test]
    fn the_machines_node_is_asked_where_this_user_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let (own, system) = (dir.path().join("own.sock"), dir.path().join("system.sock"));
        assert_eq!(nearest(own.clone(), system.clone()), own, "neither: the error names the user's own");
        std::fs::write(&system, "").unwrap();
        assert_eq!(nearest(own.clone(), system.clone()), system);
        std::fs::write(&own, "").unwrap();
        assert_eq!(nearest(own.clone(), system), own);
    }

    #[test]
    fn a_node_of_root_listens_where_everybody_can_reach_it_unless_a_directory_was_chosen() {
        let dir = Path::new("/home/admin/.mandate/node");
        assert_eq!(socket(true, false, dir), Path::new("/run/mandate/workload.sock"));
        for (is_root, dir_is_chosen) in [(true, true), (false, true), (false, false)] {
            assert_eq!(socket(is_root, dir_is_chosen, dir), dir.join("workload.sock"));
        }
    }
}
