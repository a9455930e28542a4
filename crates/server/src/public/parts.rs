//! What the public endpoints share.

use std::sync::Arc;

use mandate_authority::Authority;
use mandate_core::{Clock, Entropy, Secret};
use mandate_live::Live;
use mandate_oauth::{Engine, Fault, OAuthError};

use super::login_seal::LoginSeal;
use crate::health::Counter;
use crate::listener::Shutdown;

/// What the public endpoints work with.
pub(crate) struct Public {
    pub(crate) engine: Engine,
    pub(crate) authority: Arc<Authority>,
    pub(crate) live: Arc<Live>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Makes the tokens of login forms. A restart makes a new one: forms that were open are shown again.
    pub(crate) csrf_key: Secret,
    /// Seals what browsers keep while their people are at identity providers.
    pub(crate) login_seal: LoginSeal,
    pub(crate) shutdown: Shutdown,
    /// Cookies are marked `Secure` when browsers reach us over TLS.
    pub(crate) secure_cookies: bool,
    /// Counts the requests for which the queue of slow checks had no place.
    pub(crate) checks_full: Arc<Counter>,
}

impl Public {
    /// Logs an error of an OAuth request. Only one that is the server's own fault is for operators: the
    /// others can be caused by anybody, and are recorded or counted.
    pub(super) fn note(&self, error: &OAuthError) {
        match error.fault {
            Fault::Server => {
                tracing::error!(error = %error.error, private = %error.private, "an OAuth request failed");
            }
            Fault::Caller => {
                tracing::debug!(error = %error.error, private = %error.private, "an OAuth request was refused");
            }
            Fault::Crowd => {
                self.checks_full.add(1);
                tracing::debug!(error = %error.error, private = %error.private, "an OAuth request was refused");
            }
        }
    }
}
