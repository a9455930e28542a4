//! Clients that describe themselves: those that registered themselves, and those whose id is the URL of their
//! metadata.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::Registry;
use mandate_core::{ClientId, Issuer, RequestSource, SelfDescribed, Timestamp};
use mandate_store::Store;
use reqwest::dns::Resolve;

use crate::metadata_document::{MetadataDocuments, MetadataHost, SystemNames};
use crate::refusal::RequestRefusal;
use crate::self_registered::Registrations;
use crate::site_counts::{SiteCounts, SiteLimits};

/// Which clients may describe themselves. By default none.
pub struct SelfDescription {
    /// Whether clients may register themselves (RFC 7591).
    pub dynamic_registration: bool,
    /// The hosts on which clients may have their metadata.
    pub metadata_hosts: Vec<MetadataHost>,
    /// How names of hosts are resolved.
    pub names: Arc<dyn Resolve>,
}

impl Default for SelfDescription {
    fn default() -> Self {
        Self { dynamic_registration: false, metadata_hosts: Vec::new(), names: Arc::new(SystemNames) }
    }
}

impl std::fmt::Debug for SelfDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfDescription")
            .field("dynamic_registration", &self.dynamic_registration)
            .field("metadata_hosts", &self.metadata_hosts)
            .finish_non_exhaustive()
    }
}

/// How many assertions of clients that describe themselves are accepted: each is remembered until it expires.
const ASSERTIONS: SiteLimits = SiteLimits { window: Duration::from_mins(1), of_a_site: 300, of_all: 3_000 };

/// The clients that describe themselves.
pub(crate) struct SelfDescribedClients {
    assertions: SiteCounts,
    pub(crate) registrations: Registrations,
    pub(crate) documents: MetadataDocuments,
}

impl SelfDescribedClients {
    pub(crate) fn new(which: SelfDescription, store: Store, issuer: &Issuer) -> Self {
        let SelfDescription { dynamic_registration, metadata_hosts, names } = which;
        Self {
            assertions: SiteCounts::new(ASSERTIONS),
            registrations: Registrations::new(store, dynamic_registration),
            documents: MetadataDocuments::new(metadata_hosts, names, issuer),
        }
    }

    /// Counts an assertion from `source`, if there may be one more.
    pub(crate) fn one_more_assertion(&self, source: RequestSource, now: Timestamp) -> bool {
        self.assertions.one_more(source, now)
    }

    /// The client with that id, if it describes itself. An entry of the registry comes before it.
    pub(crate) async fn find(
        &self,
        id: &ClientId,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<Option<Arc<SelfDescribed>>, RequestRefusal> {
        if registry.client(id).is_some() {
            return Ok(None);
        }
        match self.registrations.find(id, now).await? {
            Some(client) => Ok(Some(client)),
            None => self.documents.find(id, now).await,
        }
    }
}
