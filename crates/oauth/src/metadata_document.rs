//! Clients whose id is the URL of their metadata (draft-ietf-oauth-client-id-metadata-document-02), from hosts
//! that the operator listed. Nothing is stored: a document is read when its client asks for a login, and again
//! when its time is over. So are the keys by which a client authenticates (§8.2), when it does.

mod addresses;
mod document;
mod fetch;
mod held;
mod hosts;
mod places;

use std::sync::Arc;
use std::time::Duration;

use mandate_core::uri::is_loopback;
use mandate_core::{ClientId, Issuer, SelfDescribed, SelfKeys, Timestamp};
use mandate_token::KeySet;
use reqwest::dns::Resolve;
use url::Url;

pub use document::DocumentFault;
pub use fetch::{NotFetched, SystemNames};
pub use hosts::{InvalidMetadataHost, MetadataHost};

use crate::refusal::RequestRefusal;
use fetch::Fetcher;
use held::{Asked, Held, Means, NotRead};
use places::Places;

/// How old keys are at least that are fetched again because they lack the key of an assertion: a client may have
/// changed its keys, and anybody can sign with a key of their own.
const KEYS_AGAIN: Duration = Duration::from_mins(1);

/// The documents of clients, and their keys.
pub(crate) struct MetadataDocuments {
    hosts: Vec<MetadataHost>,
    means: Means,
    clients: Held<Arc<SelfDescribed>>,
    keys: Held<Arc<KeySet>>,
}

impl From<NotRead> for RequestRefusal {
    fn from(error: NotRead) -> Self {
        match error {
            NotRead::Fetch(error) => Self::MetadataNotFetched(error),
            NotRead::Document(fault) => Self::MetadataDocument(fault),
        }
    }
}

impl MetadataDocuments {
    pub(crate) fn new(hosts: Vec<MetadataHost>, names: Arc<dyn Resolve>, issuer: &Issuer) -> Self {
        // §8.6: on a loopback host, for development.
        let loopback = Url::parse(issuer.as_str()).is_ok_and(|url| is_loopback(&url));
        let fetcher = Arc::new(Fetcher::new(names, loopback));
        Self {
            hosts,
            means: Means { fetcher, places: Places::default() },
            clients: Held::new(),
            keys: Held::new(),
        }
    }

    /// Whether there can be such clients.
    pub(crate) fn are_on(&self) -> bool {
        !self.hosts.is_empty()
    }

    fn is_listed(&self, url: &Url) -> bool {
        // Another port than the usual one is for development: it may be closed, and keep a place for long.
        let usual = url.port().is_none() || is_loopback(url);
        usual && url.host_str().is_some_and(|host| self.hosts.iter().any(|rule| rule.is(host)))
    }

    /// The client with that id, if it is the URL of a document on a listed host.
    pub(crate) async fn find(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Arc<SelfDescribed>>, RequestRefusal> {
        let Some(url) = id.metadata_url().filter(|url| self.is_listed(url)) else { return Ok(None) };
        let of = id.clone();
        let read = move |answer: &fetch::Fetched| {
            document::read(&of, answer.content_type.as_deref(), &answer.body, now).map(Arc::new)
        };
        let asked = Asked { now, fetched_since: Timestamp::from_millis(0) };
        Ok(Some(self.clients.get(&self.means, &url, asked, read).await?))
    }

    /// The keys of a client. `lacking`: the newest ones that are kept lack the key of an assertion.
    pub(crate) async fn keys(
        &self,
        keys: &SelfKeys,
        lacking: bool,
        now: Timestamp,
    ) -> Result<Arc<KeySet>, RequestRefusal> {
        let url = match keys {
            SelfKeys::Listed(jwks) => {
                let keys = document::keys(jwks.as_bytes()).map_err(RequestRefusal::MetadataDocument)?;
                return Ok(Arc::new(keys));
            }
            SelfKeys::At(url) => url,
        };
        // The document was read with it, so it is on the document's host.
        let url = Url::parse(url).map_err(|_| RequestRefusal::MetadataDocument(DocumentFault::Keys))?;
        let fetched_since = if lacking { now.minus(KEYS_AGAIN) } else { Timestamp::from_millis(0) };
        let read = |answer: &fetch::Fetched| {
            if !document::is_json(answer.content_type.as_deref()) {
                return Err(DocumentFault::KeySet);
            }
            document::keys(&answer.body).map(Arc::new)
        };
        Ok(self.keys.get(&self.means, &url, Asked { now, fetched_since }, read).await?)
    }
}
