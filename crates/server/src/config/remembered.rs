//! What a directory remembers between starts: `serve.json`, and what the database says of it.

use std::path::Path;

use mandate_core::{Entropy, Issuer, TrustDomain};
use mandate_files::{Dir, text};
use mandate_store::{Installation, Store};
use serde::{Deserialize, Serialize};

use super::ServeConfig;
use super::error::ConfigError;
use super::store_address::StoreKind;

/// The kind of store that a directory belongs to. None if no server has used it.
///
/// # Errors
/// The directory or a file in it cannot be read or trusted.
pub fn store_kind(dir: &Path) -> Result<Option<StoreKind>, ConfigError> {
    match Remembered::load(dir)? {
        Some(remembered) => Ok(Some(remembered.store)),
        // serve.json was lost: the next start writes it again.
        None => Ok(Store::is_there(dir)?.then_some(StoreKind::Embedded)),
    }
}

/// What the directory remembers: the values that must never change, because tokens contain them, and the
/// ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remembered {
    pub(crate) issuer: Issuer,
    pub(crate) trust_domain: TrustDomain,
    /// Left out for the embedded store, as by versions that had no other.
    #[serde(default, skip_serializing_if = "StoreKind::is_embedded")]
    pub(crate) store: StoreKind,
    pub(crate) port: u16,
    pub(crate) node_port: u16,
    pub(crate) admin_port: u16,
}

const FILE: &str = "serve.json";

/// A larger file was not written by this program.
const MAX_FILE: u64 = 64 * 1024;

impl Remembered {
    /// As the database keeps it.
    pub(crate) fn installation(&self) -> Installation {
        let Self { issuer, trust_domain, .. } = self.clone();
        Installation { issuer, trust_domain, ports: [self.port, self.node_port, self.admin_port] }
    }

    /// What a database of this kind says about the installation.
    fn of(installation: Installation, store: StoreKind) -> Self {
        let [port, node_port, admin_port] = installation.ports;
        Self {
            issuer: installation.issuer,
            trust_domain: installation.trust_domain,
            store,
            port,
            node_port,
            admin_port,
        }
    }

    /// What is known from `serve.json` and from the database, either of which may be missing.
    pub(crate) fn known(
        file: Option<Self>,
        database: Option<Installation>,
        config: &ServeConfig,
    ) -> Result<Option<Self>, ConfigError> {
        let (Some(file), Some(database)) = (&file, &database) else {
            return Ok(file.or(database.map(|database| Self::of(database, config.store.kind()))));
        };
        let other = |what, remembered: &str, found: &str| ConfigError::OtherDatabase {
            dir: config.dir.clone(),
            what,
            database: config.store.name(),
            remembered: remembered.to_owned(),
            found: found.to_owned(),
        };
        if file.issuer != database.issuer {
            return Err(other("issuer", file.issuer.as_str(), database.issuer.as_str()));
        }
        if file.trust_domain != database.trust_domain {
            return Err(other("trust domain", file.trust_domain.as_str(), database.trust_domain.as_str()));
        }
        Ok(Some(file.clone()))
    }

    /// What the directory remembers; nothing, if there is no such directory.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, ConfigError> {
        let dir = match Dir::open(dir) {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(bytes) = dir.read(FILE, MAX_FILE)? else { return Ok(None) };
        serde_json::from_slice(text::without_mark(&bytes))
            .map(Some)
            .map_err(|_| ConfigError::Damaged(dir.entry(FILE)))
    }

    /// Replaces the file in one step.
    pub(crate) fn save(&self, dir: &Path, entropy: &dyn Entropy) -> Result<(), ConfigError> {
        let text = serde_json::to_vec_pretty(self).map_err(|_| ConfigError::Damaged(dir.join(FILE)))?;
        Ok(Dir::open(dir)?.replace(FILE, 0o600, &text, entropy)?)
    }
}
