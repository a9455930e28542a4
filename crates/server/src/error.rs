//! Errors of the server itself.

/// Why the server does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The options cannot be used, or do not fit the directory.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The process may have too few files open.
    #[error(transparent)]
    Files(#[from] crate::descriptors::TooFewFiles),
    /// The database cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] mandate_store::StoreError),
    /// The signing keys cannot be opened.
    #[error("the signing keys cannot be opened: {0}")]
    Authority(#[from] mandate_authority::OpenError),
    /// The audit log cannot be opened, or is not what was written.
    #[error("the audit log cannot be opened: {0}")]
    Audit(#[from] mandate_sequencer::LogStartError),
    /// The audit log is not the one that the server of the directory has written.
    #[error(
        "{0}. Put back the newest database; or, if there is none, start once with \
         --accept-log-that-went-back, and revoke and suspend again what must stay so"
    )]
    WentBack(#[from] mandate_store::WentBack),
    /// The content of the reserve for stops cannot be read or trusted.
    #[error("the reserve for revocations and suspensions cannot be used: {0}")]
    Reserve(#[from] mandate_stops::ReserveError),
    /// The stops in the reserve cannot be put in force.
    #[error("earlier revocations and suspensions cannot be put in force: {0}")]
    Stops(#[from] mandate_stops::StopsStartError),
    /// A policy in the store does not compile.
    #[error("a policy of the registry does not compile: {0}")]
    Policy(#[from] mandate_policy::PolicyError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address, or the path of the socket.
        address: String,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// A part has ended without a request to end, which is a fault of the program.
    #[error("{0} has failed and ended; the server stops, so that a supervisor can start it again")]
    Ended(&'static str),
    /// A part could not be set up.
    #[error("{what} cannot be set up: {why}")]
    SetUp {
        /// The part, as it is called in the sentence.
        what: &'static str,
        /// The cause, for operators.
        why: String,
    },
}
