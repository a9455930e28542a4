//! Why a node does not start, or stops.

use std::io;
use std::path::PathBuf;

use mandate_core::Timestamp;

use crate::join_token::InvalidJoinToken;

/// The message for an address at which the nodes' protocol is not spoken.
pub(crate) const NOT_TLS: &str = "this address speaks HTTP or something else, not the nodes' protocol; use the address that `mandate serve` prints as `nodes`";

/// Whose fault it is that a node does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// The command is not valid: a malformed address or join token, or nothing to join with.
    Usage,
    /// The server refused this node, or this node refused the server.
    Refused,
    /// Something on this machine: files, permissions, another node in the same place.
    Local,
}

/// Why a node does not start, or stops. A server that cannot be reached is not an error: the node waits for
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum NodeError {
    /// The join token does not have the form of a join token.
    #[error(transparent)]
    JoinToken(#[from] InvalidJoinToken),
    /// The server's address is not `host:port`.
    #[error(
        "{given:?} is not an address of the form host:port; use the one that `mandate serve` prints as `nodes`, which is no URL"
    )]
    Address { given: String },
    /// There are no credentials in the node's directory, and no join token was given.
    #[error("this node has not joined a server yet; to join: {rejoin}")]
    NotJoined {
        /// The commands with which to join.
        rejoin: String,
    },
    /// The node's own certificate has expired, the server does not renew it, and no join token was given.
    #[error(
        "this node's certificate expired at {at}, and the server does not let it renew that (`mandate serve --node-rejoin-grace` can allow it); to join again: {rejoin}"
    )]
    CertificateExpired {
        at: Timestamp,
        /// The commands by which to join again.
        rejoin: String,
    },
    /// The server refused the join token.
    #[error("the server refuses to let this node join: {reason}; to join with a new token: {rejoin}")]
    JoinRefused {
        /// What the server said.
        reason: String,
        /// The commands with which to join with another token.
        rejoin: String,
    },
    /// The peer at the server's address is not the server that the join token or the stored CA names.
    #[error("{server} is not the server this node may trust: {reason}")]
    ServerNotTrusted {
        server: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// The peer at the server's address does not speak the nodes' protocol.
    #[error("{server}: {NOT_TLS}")]
    NotForNodes { server: String },
    /// A directory or file is not safe from other users, or cannot be used.
    #[error(transparent)]
    Unsafe(#[from] mandate_files::FileError),
    /// A file of the node cannot be read or written.
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stored credential is not usable.
    #[error("{path}: {reason}; to join again: {rejoin}")]
    Credentials {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The commands by which to join again.
        rejoin: String,
    },
    /// Another process uses this directory or this socket.
    #[error("{path} is in use by another node")]
    InUse {
        /// The directory or socket.
        path: PathBuf,
    },
    /// There is something at the socket's path that this node did not make.
    #[error("{path} exists and is not a socket of this user; remove it or choose another path")]
    Occupied { path: PathBuf },
    /// `/proc` is missing, or belongs to another process namespace, so that nothing can be known about a
    /// caller's process.
    #[error(
        "/proc is not that of this node's process namespace, so callers cannot be looked at; mount it for this namespace (mount -t proc proc /proc, or unshare --mount-proc), or run the node in the machine's own namespace"
    )]
    ProcessNamespace,
    /// The socket's path is too long: no client could connect to it.
    #[error("{0} with --socket, such as /run/mandate/workload.sock")]
    SocketPath(#[from] mandate_core::SocketPathTooLong),
    /// A key or certificate request could not be made.
    #[error("cannot make a key: {0}")]
    Key(String),
    /// The thread that opens the node's files ended.
    #[error("the node's directory and socket cannot be opened: {0}")]
    NotOpened(String),
    /// The Workload API's server ended.
    #[error("the Workload API ended: {0}")]
    Listener(String),
}

impl NodeError {
    /// Whose fault it is, for the exit code.
    pub fn fault(&self) -> NodeFault {
        match self {
            Self::JoinToken(_)
            | Self::Address { .. }
            | Self::NotJoined { .. }
            | Self::NotForNodes { .. }
            | Self::SocketPath(_) => NodeFault::Usage,
            // A directory with unsafe owners or modes stays so until an operator acts. An error of the
            // system, such as a full disk, may end by itself.
            Self::Unsafe(error) if error.io().is_none() => NodeFault::Usage,
            Self::CertificateExpired { .. } | Self::JoinRefused { .. } | Self::ServerNotTrusted { .. } => {
                NodeFault::Refused
            }
            Self::File { .. }
            | Self::Unsafe(_)
            | Self::Credentials { .. }
            | Self::InUse { .. }
            | Self::Occupied { .. }
            | Self::ProcessNamespace
            | Self::Key(_)
            | Self::NotOpened(_)
            | Self::Listener(_) => NodeFault::Local,
        }
    }
}
