//! What is wrong with a configuration, with what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;

use mandate_core::lifetimes::MAX_REJOIN_GRACE;
use mandate_core::{Issuer, Lifetime};
use mandate_files::FileError;
use mandate_store::{AddressError, StoreError};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Plain HTTP on an address that others can reach.
    #[error(
        "{0} is not a loopback address: give --tls-cert and --tls-key, or --behind-tls-proxy if a proxy ends TLS in front of it"
    )]
    PlainHttp(SocketAddr),
    /// Behind a proxy, our own address is not what clients see.
    #[error("--behind-tls-proxy needs --issuer, the URL under which clients reach the proxy")]
    IssuerNeeded,
    /// The directory belongs to another issuer or trust domain.
    #[error(
        "{dir} belongs to {what} {remembered}, not {given}: tokens and identities would change their issuer. Start with --{flag} {remembered}, or use another --dir"
    )]
    Changed {
        /// The server's directory.
        dir: PathBuf,
        /// `issuer` or `trust domain`.
        what: &'static str,
        /// The flag that gives the remembered value, without `--`.
        flag: &'static str,
        /// The value that the directory has.
        remembered: String,
        /// The value of this start.
        given: String,
    },
    /// The database belongs to another installation than the other files of the directory.
    #[error(
        "{dir}: serve.json names the {what} {remembered}, and {database} is of {found}: they are of two servers. Restore the serve.json that belongs to {database}, or remove it: it is written again from {database}"
    )]
    OtherDatabase {
        /// The server's directory.
        dir: PathBuf,
        /// `mandate.db`, or the address of the database.
        database: String,
        /// `issuer` or `trust domain`.
        what: &'static str,
        /// The value in `serve.json`.
        remembered: String,
        /// The value in the database.
        found: String,
    },
    /// The directory, or a file in it, is not safe from other users, or cannot be used.
    #[error(transparent)]
    Directory(#[from] FileError),
    /// The remembered settings cannot be read.
    #[error("{0} is damaged; restore it from a backup")]
    Damaged(PathBuf),
    /// No valid issuer follows from the listener's address.
    #[error(
        "no issuer identifier follows from {0}: give --issuer, the URL under which clients reach this server"
    )]
    NoIssuer(SocketAddr),
    /// Clients would be sent to a URL whose scheme this start does not serve.
    #[error(
        "the issuer is {0}, but no certificate is given: give --tls-cert and --tls-key, or --behind-tls-proxy and --issuer if a proxy ends TLS in front of it"
    )]
    NoCertificate(Issuer),
    /// Clients would be sent to a plain HTTP URL, and this start serves TLS.
    #[error(
        "the issuer is {0}, but a certificate is given: clients of that issuer speak plain HTTP. Start without --tls-cert and --tls-key"
    )]
    CertificateUnused(Issuer),
    /// Nobody could connect to the admin API's socket.
    #[error("{0} with --dir: the admin API's socket is in that directory")]
    SocketPath(#[from] mandate_core::SocketPathTooLong),
    /// Nodes could come back after too long a time.
    #[error(
        "--node-rejoin-grace is at most {}: a node that is away for longer joins with a new token",
        Lifetime(MAX_REJOIN_GRACE)
    )]
    RejoinGrace,
    /// The URL of the database, or a file that it needs, cannot be used.
    #[error("the address of the database (--store): {0}")]
    Address(#[from] AddressError),
    /// The directory cannot be looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory belongs to a PostgreSQL database, and none is named: an empty store would be made beside
    /// it.
    #[error(
        "{0} belongs to a server with a PostgreSQL database, and this start names none: give --store postgres://USER@HOST:PORT/DATABASE or set MANDATE_STORE, as before; to start without the content of that database, use an empty directory"
    )]
    StoreNotNamed(PathBuf),
    /// The directory has a store of its own, and another one is named.
    #[error(
        "{0} belongs to a server that keeps its data in the mandate.db of that directory, and this start names a PostgreSQL database: start without --store and MANDATE_STORE, or use an empty directory with the database"
    )]
    StoreIsEmbedded(PathBuf),
    /// The database of the directory is missing or empty.
    #[error(
        "{0} belongs to {1}, but its mandate.db is missing or empty: restore it, and seal.key, from a backup; to start without its content, use an empty directory"
    )]
    DatabaseLost(PathBuf, Issuer),
}
