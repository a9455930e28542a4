//! Who is at the other end of a connection, as far as the connection itself proves it.

/// The peer of a connection. Nothing in a request's headers or body can change it (Z10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody over TCP; only a token can say who.
    Tcp,
    /// A local process; the kernel says whose.
    Unix {
        /// Its user.
        uid: u32,
    },
}
