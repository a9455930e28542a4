//! The arguments of `mandate node` and of `mandate svid`, which asks a node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mandate_core::Lifetime;

use crate::connection::Connection;
use crate::name_completion;

#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// Make a token with which one node joins, once
    #[command(after_help = "Example:\n  mandate node join-token > join.token")]
    JoinToken(JoinTokenArguments),
    /// Run a node: attest local processes and serve them the SPIFFE Workload API
    #[command(
        after_help = "Examples:\n  mandate node run --server mandate.acme.example:8443 --join-token-file join.token\n  mandate node join-token | mandate node run --dir ./node --server 127.0.0.1:8443 --join-token-file - --socket ./agent.sock"
    )]
    Run(NodeRun),
    /// Show which nodes have joined, and until when their certificates are valid
    #[command(after_help = "Examples:\n  mandate node list\n  mandate node list --json")]
    List(NodeList),
    /// Ban a node permanently: it gets no information and no identities, with any certificate
    #[command(
        after_help = "Example:\n  mandate node ban 6f0c1e2d3a4b5c6d7e8f\n\nIdentities that it was issued are valid for 5 minutes more: to end them too, suspend the agents.\nA node that was banned by mistake joins again with a new token."
    )]
    Ban(NodeBan),
}

#[derive(Args, Debug)]
pub(crate) struct NodeList {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Args, Debug)]
pub(crate) struct NodeBan {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Its name, as `mandate node list` prints it
    #[arg(value_name = "NAME", add = name_completion::of_nodes())]
    pub(crate) name: String,
}

#[derive(Args, Debug)]
pub(crate) struct JoinTokenArguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How long it can be used, such as 10m; 24h at most [default: 10m]
    #[arg(long, value_name = "SPAN")]
    pub(crate) ttl: Option<Lifetime>,
}

#[derive(Args, Debug)]
pub(crate) struct NodeRun {
    /// The node's directory [default: `node` in `MANDATE_DIR`, or ~/.mandate/node]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The server's address for nodes, as `mandate serve` printed it
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// The file with the join token; `-` is standard input. Not needed once the node has joined
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Where the Workload API listens [default: workload.sock in the node's directory; for root without --dir
    /// and `MANDATE_DIR` /run/mandate/workload.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Svid {
    /// Fetch a JWT-SVID for this process
    #[command(
        after_help = "Examples:\n  mandate svid fetch --audience https://mandate.acme.example\n  mandate svid fetch --agent support-agent --audience X\n  mandate svid fetch --socket /run/mandate/agent.sock --audience X --json\n\nThe node looks at this command, not at the program that started it: an agent with unix:path asks with a SPIFFE library."
    )]
    Fetch(SvidFetch),
}

#[derive(Args, Debug)]
pub(crate) struct SvidFetch {
    /// The Workload API's socket, as a path or a unix: URI
    #[arg(long, value_name = "PATH", env = "SPIFFE_ENDPOINT_SOCKET", hide_env_values = true)]
    pub(crate) socket: Option<String>,
    /// Who accepts it, such as the issuer; can be given several times
    #[arg(long, value_name = "AUDIENCE", required = true)]
    pub(crate) audience: Vec<String>,
    /// Which identity, if this process has several: an agent's name or SPIFFE ID
    #[arg(long, value_name = "NAME|ID")]
    pub(crate) agent: Option<String>,
    /// The same, by SPIFFE ID only
    #[arg(long, value_name = "ID", conflicts_with = "agent", hide = true)]
    pub(crate) spiffe_id: Option<mandate_core::SpiffeId>,
}
