//! What can go wrong while the demo plays.

use std::io;
use std::path::{Path, PathBuf};

use super::http::Reply;

/// The demo cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// A file or directory.
    #[error("cannot use {path}: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A process that the demo starts.
    #[error("{what} did not start: {why}")]
    Start { what: &'static str, why: String },
    #[error("a call failed: {0}")]
    Http(#[source] reqwest::Error),
    /// An answer of more than a megabyte.
    #[error("an answer was too large")]
    TooLarge,
    /// A credential that no header can carry.
    #[error("a credential has characters that are not allowed in an HTTP header")]
    Credential,
    /// An answer that the story does not expect.
    #[error("unexpected answer to {what}: {got}")]
    Unexpected {
        what: &'static str,
        /// What the answer was.
        got: String,
    },
    #[error("the admin API: {0}")]
    Admin(#[from] mandate_api::ClientError),
    #[error("the Workload API: {0}")]
    Workload(String),
    #[error("the CRM: {0}")]
    Crm(#[from] mandate_crm::CrmError),
    /// The registry of the story.
    #[error("the story's registry: {0}")]
    Registry(String),
}

impl DemoError {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    pub(super) fn unexpected(what: &'static str, reply: &Reply) -> Self {
        Self::Unexpected { what, got: reply.summary() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it takes errors as `map_err` hands them over")]
    pub(super) fn start(what: &'static str, why: impl ToString) -> Self {
        Self::Start { what, why: why.to_string() }
    }
}
