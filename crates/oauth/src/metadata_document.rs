//! Clients whose id is the URL of their metadata (draft-ietf-oauth-client-id-metadata-document-02), from hosts
//! that the operator listed. Nothing is stored: a document is read when its client asks for a login, and again
//! when its time is over.

mod addresses;
mod document;
mod fetch;
mod hosts;

use std::sync::Arc;

use mandate_core::{ClientId, Issuer, SelfDescribed, Timestamp};
use mandate_single_flight::SingleFlight;
use quick_cache::sync::Cache;
use reqwest::dns::Resolve;
use tokio::sync::Semaphore;
use url::Url;

pub use document::DocumentFault;
pub use fetch::{NotFetched, SystemNames};
pub use hosts::{InvalidMetadataHost, MetadataHost};

use crate::refusal::RequestRefusal;
use fetch::Fetcher;

/// How many documents are kept. Each has at most 5 KiB.
const MOST_KEPT: usize = 1000;
/// How many documents are fetched at a time. Strangers choose which.
const MOST_AT_A_TIME: usize = 16;

/// Why a client's document does not describe a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NotRead {
    #[error(transparent)]
    Fetch(NotFetched),
    #[error(transparent)]
    Document(DocumentFault),
}

type Outcome = Result<Arc<SelfDescribed>, NotRead>;

/// A client and until when its document may be used.
#[derive(Clone)]
struct Kept {
    client: Arc<SelfDescribed>,
    until: Timestamp,
}

/// The documents of clients, each fetched when it is needed and kept for a while. Failures are not kept (§5.2).
pub(crate) struct MetadataDocuments {
    hosts: Vec<MetadataHost>,
    fetcher: Arc<Fetcher>,
    kept: Arc<Cache<ClientId, Kept>>,
    fetches: SingleFlight<ClientId, Outcome>,
    places: Arc<Semaphore>,
}

impl MetadataDocuments {
    pub(crate) fn new(hosts: Vec<MetadataHost>, names: Arc<dyn Resolve>, issuer: &Issuer) -> Self {
        // §8.6: on a loopback host, for development.
        let loopback = Url::parse(issuer.as_str()).is_ok_and(|url| mandate_core::uri::is_loopback(&url));
        Self {
            hosts,
            fetcher: Arc::new(Fetcher::new(names, loopback)),
            kept: Arc::new(Cache::new(MOST_KEPT)),
            fetches: SingleFlight::default(),
            places: Arc::new(Semaphore::new(MOST_AT_A_TIME)),
        }
    }

    /// Whether there can be such clients.
    pub(crate) fn are_on(&self) -> bool {
        !self.hosts.is_empty()
    }

    fn is_listed(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| self.hosts.iter().any(|rule| rule.is(host)))
    }

    /// The client with that id, if it is the URL of a document on a listed host.
    pub(crate) async fn find(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Arc<SelfDescribed>>, RequestRefusal> {
        let Some(url) = id.metadata_url().filter(|url| self.is_listed(url)) else { return Ok(None) };
        let kept = || self.kept.get(id).filter(|kept| now < kept.until).map(|kept| kept.client);
        if let Some(client) = kept() {
            return Ok(Some(client));
        }
        let flight = self.fetches.join(id, || {
            if let Some(client) = kept() {
                return Err(Ok(client));
            }
            let place = Arc::clone(&self.places)
                .try_acquire_owned()
                .map_err(|_| Err(NotRead::Fetch(NotFetched::Crowded)))?;
            let (id, fetcher, kept) = (id.clone(), Arc::clone(&self.fetcher), Arc::clone(&self.kept));
            Ok(async move {
                let outcome = read(&fetcher, &url, &id, now).await;
                drop(place);
                outcome.map(|found| {
                    let client = Arc::clone(&found.client);
                    kept.insert(id, found);
                    client
                })
            })
        });
        let outcome = match flight {
            Ok(flight) => flight.landed().await.unwrap_or(Err(NotRead::Fetch(NotFetched::Timeout))),
            Err(settled) => settled,
        };
        outcome.map(Some).map_err(|error| match error {
            NotRead::Fetch(error) => RequestRefusal::MetadataNotFetched(error),
            NotRead::Document(fault) => RequestRefusal::MetadataDocument(fault),
        })
    }
}

async fn read(fetcher: &Fetcher, url: &Url, id: &ClientId, now: Timestamp) -> Result<Kept, NotRead> {
    let answer = fetcher.fetch(url).await.map_err(NotRead::Fetch)?;
    let client = document::read(id, answer.content_type.as_deref(), &answer.body, now);
    let client = Arc::new(client.map_err(NotRead::Document)?);
    Ok(Kept { client, until: now.plus(answer.lifetime) })
}
