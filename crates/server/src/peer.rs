//! The peer of a connection, as far as the connection itself proves it.

use std::net::IpAddr;

use axum::http::Extensions;
use mandate_core::RequestSource;

/// The peer of a connection. Nothing in a request's headers or body can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A peer over TCP; only a token can identify the caller.
    Tcp {
        /// The address of the other end.
        address: IpAddr,
    },
    /// A local process; the kernel says which user it belongs to.
    Unix {
        /// The user that the process runs as.
        uid: u32,
    },
}

impl Peer {
    /// The source that its requests are counted under.
    pub(crate) fn source(self) -> RequestSource {
        match self {
            Self::Tcp { address } => RequestSource::of(address),
            Self::Unix { uid } => RequestSource::User(uid),
        }
    }
}

/// The source of a request, by what its listener says of the connection.
pub(crate) fn source(extensions: &Extensions) -> RequestSource {
    extensions.get::<Peer>().map_or(RequestSource::Other, |peer| peer.source())
}
