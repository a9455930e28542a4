//! Clients that describe themselves: those that registered themselves, and those whose id is the URL of their
//! metadata.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256_of_list;
use mandate_core::registry::Registry;
use mandate_core::{ClientId, Issuer, RequestSource, SelfDescribed, Timestamp};
use mandate_store::Store;
use mandate_token::client_assertion::ClientAssertion;
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

/// How many assertions of clients that describe themselves are accepted: each is remembered until it expires, six
/// minutes at most, as a digest. So strangers fill no disk with them.
const ASSERTIONS: SiteLimits = SiteLimits { window: Duration::from_mins(1), of_a_site: 300, of_all: 3_000 };

/// Under which user and id such an assertion is remembered. Both are short, whatever the client wrote. No other user
/// has this name, because no client has an id with a tab in it.
pub(crate) fn remembered_as(assertion: &ClientAssertion) -> (&'static str, String) {
    let digest = sha256_of_list([assertion.client_id.as_str().as_bytes(), assertion.jti.as_bytes()]);
    ("described\t", URL_SAFE_NO_PAD.encode(digest))
}

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

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;
    use mandate_token::client_assertion::ClientAssertion;

    use super::remembered_as;

    #[test]
    fn an_assertion_is_remembered_in_a_few_bytes_and_for_its_client_alone() {
        let assertion = |client: &str, jti: &str| ClientAssertion {
            client_id: client.parse().unwrap(),
            jti: jti.to_owned(),
            exp: Timestamp::from_secs(1_000),
        };
        let long = "j".repeat(2_048);
        let (user, id) = remembered_as(&assertion("https://one.example/client.json", &long));
        assert_eq!((user, id.len()), ("described\t", 43));
        for (client, jti) in [
            ("https://two.example/client.json", &*long),
            ("https://one.example/client.json", "j"),
            ("https://one.example/client.jso", "nj"),
        ] {
            assert_ne!(remembered_as(&assertion(client, jti)).1, id, "{client} {jti}");
        }
        let same = remembered_as(&assertion("https://one.example/client.json", &long));
        assert_eq!(same.1, id);
    }
}
