//! The metadata and the keys of another issuer, found as the server finds them.

use std::time::Duration;

use mandate_core::Issuer;
use mandate_core::registry::TokenProfile;
use mandate_token::KeySet;
use mandate_token::discovery::{self, MetadataError, ProviderMetadata, likely_product, metadata_urls_of};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::Url;

use crate::failure::{Failure, Fault, Placed};
use crate::issuer_client::{Document, IssuerClient};

/// The limits of the server's own fetches, so that what works here works there.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_DOCUMENT: usize = 128 * 1024;

/// What an issuer publishes.
pub(crate) struct IssuerDocuments {
    issuer: Issuer,
    /// Where its metadata is.
    pub(crate) metadata_url: String,
    pub(crate) jwks_uri: Url,
    metadata: Document,
    keys: Vec<u8>,
}

impl IssuerDocuments {
    /// Fetches them. `profile` is the issuer's, if it is known.
    pub(crate) async fn fetch(
        client: &IssuerClient,
        issuer: &Issuer,
        profile: Option<TokenProfile>,
    ) -> Result<Self, Failure> {
        let until = Instant::now() + FETCH_TIMEOUT;
        let left = || until.saturating_duration_since(Instant::now()).min(DOCUMENT_TIMEOUT);
        let profile = profile.or_else(|| likely_product(issuer, None)).unwrap_or_default();
        let mut failures = Vec::new();
        for address in metadata_urls_of(issuer, profile) {
            let found = metadata(client, &address, issuer, left()).await;
            match found {
                Ok((jwks_uri, metadata)) => {
                    let keys = client.document(&jwks_uri, left(), MAX_DOCUMENT).await?.body;
                    let issuer = issuer.clone();
                    return Ok(Self { issuer, metadata_url: address, jwks_uri, metadata, keys });
                }
                Err(failure) => failures.push((address, failure)),
            }
        }
        Err(nowhere(issuer, failures))
    }

    /// The endpoints at which people log in.
    pub(crate) fn provider(&self) -> Result<ProviderMetadata, Failure> {
        let Document { content_type, body } = &self.metadata;
        discovery::provider(content_type.as_deref(), body, &self.issuer).map_err(|error| {
            Failure::failed(format!("people cannot log in there, by {}: {error}", self.metadata_url))
        })
    }

    /// The keys, if the issuer uses this product.
    pub(crate) fn keys(&self, profile: TokenProfile) -> Result<KeySet, Failure> {
        discovery::keys(&self.keys, &self.issuer, profile).map_err(|error| {
            Failure::caused(Fault::Failed, &format!("the keys at {} cannot be used", self.jwks_uri), &error)
        })
    }
}

async fn metadata(
    client: &IssuerClient,
    address: &str,
    issuer: &Issuer,
    patience: Duration,
) -> Result<(Url, Document), Failure> {
    let url = Url::parse(address).map_err(|error| Failure::caused(Fault::Usage, "not an address", &error))?;
    let document = client.document(&url, patience, MAX_DOCUMENT).await?;
    let jwks_uri = discovery::jwks_uri(document.content_type.as_deref(), &document.body, issuer);
    let jwks_uri = jwks_uri.map_err(|error| {
        let fault = match error {
            MetadataError::IssuerMismatch(_) => Fault::Refused,
            _ => Fault::Failed,
        };
        let failure = Failure::new(fault, error.to_string());
        let named = serde_json::from_slice::<Map<String, Value>>(&document.body).ok();
        let template = named
            .as_ref()
            .and_then(|members| members.get("issuer")?.as_str())
            .is_some_and(|named| named.contains("{tenantid}"));
        if template { failure.and("This is not one tenant: give the issuer of yours.") } else { failure }
    })?;
    Ok((jwks_uri, document))
}

/// Why no address has the metadata. That another issuer answers says most, that nothing answers says least.
fn nowhere(issuer: &Issuer, failures: Vec<(String, Failure)>) -> Failure {
    let any = |fault: Fault| failures.iter().any(|(_, failure)| failure.fault() == fault);
    let fault = if any(Fault::Refused) {
        Fault::Refused
    } else if failures.iter().all(|(_, failure)| failure.fault() == Fault::Unreachable) {
        Fault::Unreachable
    } else {
        Fault::Failed
    };
    let findings = failures
        .into_iter()
        .map(|(address, failure)| Placed { place: Some(address), detail: failure.message().to_owned() })
        .collect();
    Failure::new(fault, format!("no address has the metadata of the issuer {issuer}")).with_findings(findings)
}
