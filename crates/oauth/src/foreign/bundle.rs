//! Bundles of other trust domains: from their endpoint, or from a file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::BundleUrl;
use mandate_core::lifetimes::{BUNDLE_REFRESH, BUNDLE_REFRESH_BOUNDS};
use mandate_token::{KeySet, SpiffeBundle};
use url::Url;

use super::fetch::{self, FetchError};
use super::fetched::Fetched;

/// How often a file is read again while it is needed.
const FILE_TTL: Duration = Duration::from_secs(5);
/// The largest file, in bytes.
const MAX_FILE: u64 = 128 * 1024;

/// The bundle that an endpoint with the profile `https_web` serves (SPIFFE Federation §5.2.1). Redirects are
/// not followed.
pub(super) async fn fetched(http: &reqwest::Client, url: &BundleUrl) -> Result<Fetched<KeySet>, FetchError> {
    let place = url.as_str();
    let address = Url::parse(place)
        .map_err(|error| FetchError::Bundle { place: place.to_owned(), why: error.to_string() })?;
    let bundle = parsed(place, &fetch::document(http, &address).await?)?;
    let (shortest, longest) = BUNDLE_REFRESH_BOUNDS;
    let ttl = bundle.refresh_hint.unwrap_or(BUNDLE_REFRESH).clamp(shortest, longest);
    Ok(Fetched { value: Arc::new(bundle.keys), ttl, sequence: bundle.sequence })
}

/// The bundle in a file that only this server's user or root can write.
pub(super) async fn read(path: String) -> Result<Fetched<KeySet>, FetchError> {
    let reading = tokio::task::spawn_blocking(move || {
        let bytes = mandate_files::read_trusted(Path::new(&path), MAX_FILE)
            .map_err(|error| FetchError::File(error.to_string()))?;
        let bundle = parsed(&path, mandate_files::text::without_mark(&bytes))?;
        Ok(Fetched { value: Arc::new(bundle.keys), ttl: FILE_TTL, sequence: bundle.sequence })
    });
    reading.await.unwrap_or(Err(FetchError::Aborted))
}

fn parsed(place: &str, document: &[u8]) -> Result<SpiffeBundle, FetchError> {
    SpiffeBundle::from_json(document)
        .map_err(|error| FetchError::Bundle { place: place.to_owned(), why: error.to_string() })
}
