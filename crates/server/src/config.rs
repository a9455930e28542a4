//! The options of `mandate serve`, and which of them a directory accepts.

mod error;
mod remembered;
mod store_address;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mandate_core::{Issuer, TrustDomain};
use mandate_oauth::metadata_document::MetadataHost;

pub use error::ConfigError;
pub(crate) use remembered::Remembered;
pub use remembered::store_kind;
pub use store_address::{StoreAddress, StoreKind};

/// The trust domain of a directory for which no other was given.
pub const DEFAULT_TRUST_DOMAIN: &str = "mandate.internal";

/// How the public listener protects its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP; only loopback addresses are accepted.
    LoopbackHttp,
    /// TLS with this certificate chain and key (PEM files), read again when they change.
    Tls {
        /// The certificate chain, leaf first (PEM).
        cert: PathBuf,
        /// Its private key (PEM).
        key: PathBuf,
    },
    /// Plain HTTP on any address, because a TLS proxy is in front. Needs an explicit issuer.
    DangerousBehindTlsProxy,
}

/// The options of `mandate serve`.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The server's directory: everything is there, except what is in another [`ServeConfig::store`].
    pub dir: PathBuf,
    /// Where the database is.
    pub store: StoreAddress,
    /// The public listener; port 0 takes the port the directory remembers, or any.
    pub listen: SocketAddr,
    /// The listener of the nodes; port 0 likewise.
    pub node_listen: SocketAddr,
    /// The listener of the admin API over TCP; port 0 likewise.
    pub admin_listen: SocketAddr,
    /// How the public and the admin listener are protected.
    pub transport: Transport,
    /// The issuer identifier; by default derived from the public listener's address at the first start.
    pub issuer: Option<Issuer>,
    /// The trust domain; by default [`DEFAULT_TRUST_DOMAIN`].
    pub trust_domain: Option<TrustDomain>,
    /// For how long after its certificate has expired a node may renew it. Zero: not at all.
    pub node_rejoin_grace: Duration,
    /// Start with an audit log that is not the one that the server of the directory has written, or has fewer
    /// records.
    pub accept_log_that_went_back: bool,
    /// More host names that the public and the admin listener answer to, without port. They always answer to
    /// the issuer's host and to the address at which they are reached.
    pub allowed_hosts: Vec<String>,
    /// Whether clients may register themselves (RFC 7591). What they can get is the `unattested` of resources.
    pub dynamic_registration: bool,
    /// The hosts on which clients may have their metadata (draft-ietf-oauth-client-id-metadata-document-02).
    pub client_metadata_hosts: Vec<MetadataHost>,
}

impl ServeConfig {
    /// Where the admin API listens besides TCP.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    /// Refuses plain HTTP where others can listen, and options without a clear issuer. `before` is what the
    /// directory remembers.
    pub(crate) fn check(&self, before: Option<&Remembered>) -> Result<(), ConfigError> {
        mandate_core::check_socket_path(&self.admin_socket())?;
        if self.node_rejoin_grace > mandate_core::lifetimes::MAX_REJOIN_GRACE {
            return Err(ConfigError::RejoinGrace);
        }
        match self.transport {
            Transport::LoopbackHttp => {
                for address in [self.listen, self.admin_listen] {
                    if !address.ip().is_loopback() {
                        return Err(ConfigError::PlainHttp(address));
                    }
                }
                Ok(())
            }
            Transport::DangerousBehindTlsProxy if self.issuer.is_none() => Err(ConfigError::IssuerNeeded),
            // "Any address of this machine" is no place where a client could find it.
            Transport::Tls { .. }
                if self.issuer.is_none() && before.is_none() && self.listen.ip().is_unspecified() =>
            {
                Err(ConfigError::NoIssuer(self.listen))
            }
            Transport::Tls { .. } | Transport::DangerousBehindTlsProxy => Ok(()),
        }
    }

    /// Refuses a start with another kind of store than that of the directory, before anything is made. `file`
    /// is what the directory remembers.
    pub(crate) fn same_store(&self, file: Option<&Remembered>) -> Result<(), ConfigError> {
        let before = match file {
            Some(file) => Some(file.store),
            None => store_kind(&self.dir)?,
        };
        match (before, self.store.kind()) {
            (Some(StoreKind::Postgres), StoreKind::Embedded) => {
                Err(ConfigError::StoreNotNamed(self.dir.clone()))
            }
            (Some(StoreKind::Embedded), StoreKind::Postgres) => {
                Err(ConfigError::StoreIsEmbedded(self.dir.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The issuer for a listener that is bound at `bound`.
    pub(crate) fn issuer_at(&self, bound: SocketAddr) -> Result<Issuer, ConfigError> {
        if let Some(issuer) = &self.issuer {
            return Ok(issuer.clone());
        }
        if bound.ip().is_unspecified() {
            return Err(ConfigError::NoIssuer(bound));
        }
        let scheme = if matches!(self.transport, Transport::LoopbackHttp) { "http" } else { "https" };
        format!("{scheme}://{bound}").parse().map_err(|_| ConfigError::NoIssuer(bound))
    }

    /// The issuer of this start, whether or not the directory has one already. The public listener is bound
    /// at `bound`.
    pub(crate) fn issuer_after(
        &self,
        before: Option<&Remembered>,
        bound: SocketAddr,
    ) -> Result<Issuer, ConfigError> {
        match (&self.issuer, before) {
            // Without other options, a directory keeps its issuer, even if the listener's address has changed
            // behind a proxy.
            (None, Some(before)) if self.listen.port() == 0 || self.listen.ip().is_unspecified() => {
                Ok(before.issuer.clone())
            }
            _ => self.issuer_at(bound),
        }
    }

    /// Compares the values that this start would use with those that the directory remembers, and the issuer
    /// with what is served.
    pub(crate) fn reconcile(
        &self,
        remembered: Option<&Remembered>,
        now: &Remembered,
    ) -> Result<(), ConfigError> {
        if let Some(before) = remembered {
            self.unchanged(before, now)?;
        }
        match (&self.transport, now.issuer.as_str().starts_with("https:")) {
            (Transport::LoopbackHttp, true) => Err(ConfigError::NoCertificate(now.issuer.clone())),
            (Transport::Tls { .. }, false) => Err(ConfigError::CertificateUnused(now.issuer.clone())),
            _ => Ok(()),
        }
    }

    pub(crate) fn changed(
        &self,
        what: &'static str,
        flag: &'static str,
        remembered: &str,
        given: &str,
    ) -> ConfigError {
        ConfigError::Changed {
            dir: self.dir.clone(),
            what,
            flag,
            remembered: remembered.to_owned(),
            given: given.to_owned(),
        }
    }

    /// The trust domain of a directory that does not know one yet.
    pub(crate) fn trust_domain_or_default(&self) -> Result<TrustDomain, ConfigError> {
        let default = || DEFAULT_TRUST_DOMAIN.parse().map_err(|_| ConfigError::Damaged(self.dir.clone()));
        self.trust_domain.clone().map_or_else(default, Ok)
    }

    fn unchanged(&self, before: &Remembered, now: &Remembered) -> Result<(), ConfigError> {
        if before.issuer != now.issuer {
            return Err(self.changed("issuer", "issuer", before.issuer.as_str(), now.issuer.as_str()));
        }
        if before.trust_domain != now.trust_domain {
            return Err(self.changed(
                "trust domain",
                "trust-domain",
                before.trust_domain.as_str(),
                now.trust_domain.as_str(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
