//! Following the issuer's revocation feed.
//!
//! Every connection starts with all cuts in force, then `ready`, then each new cut; a comment every few
//! seconds shows that the connection works. The feed is always read from its beginning, never resumed by
//! `Last-Event-ID`. There are few cuts in force, because cuts are kept no longer than tokens are valid. A
//! resumed feed would miss cuts if the issuer was restored from a backup and uses numbers a second time.

use std::time::Duration;

use mandate_core::{Backoff, Cut};

use crate::issuer::FetchError;
use crate::revocations::TooManyCuts;
use crate::shared::Shared;
use crate::sse::{Item, Parser, SseError};

/// Why the feed has to be opened again.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Open(#[from] FetchError),
    #[error("the issuer closed the feed")]
    Closed,
    #[error("the feed has been silent for {0:?}")]
    Silent(Duration),
    #[error("the connection broke: {0}")]
    Broken(reqwest::Error),
    #[error("the feed is not an event stream: {0}")]
    Stream(#[from] SseError),
    // A cut that is not understood cannot be enforced, so it must not count as known.
    #[error("a cut that is not understood: {0}")]
    Cut(serde_json::Error),
    #[error(transparent)]
    TooMany(#[from] TooManyCuts),
    #[error("the clock was set back")]
    ClockSetBack,
}

/// Follows the feed until the verifier is dropped.
pub(crate) async fn follow(shared: &Shared) {
    let mut backoff = Backoff::new();
    loop {
        let Err(error) = follow_once(shared).await;
        let was_synced = shared.status.borrow().feed_synced;
        shared.update(|status| status.feed_synced = false);
        if was_synced {
            backoff = Backoff::new();
        }
        let wait = backoff.wait(&*shared.entropy);
        tracing::warn!(issuer = %shared.client.issuer(), %error, retry_ms = wait.as_millis(), "the revocation feed is lost");
        tokio::time::sleep(wait).await;
    }
}

async fn follow_once(shared: &Shared) -> Result<std::convert::Infallible, FeedError> {
    let mut response = shared.client.open_feed().await?;
    let silence = shared.intervals.feed_silence;
    let (mut parser, mut items, mut ready) = (Parser::default(), Vec::new(), false);
    loop {
        let chunk = match tokio::time::timeout(silence, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(FeedError::Closed),
            Ok(Err(error)) => return Err(FeedError::Broken(error)),
            Err(_) => return Err(FeedError::Silent(silence)),
        };
        // All cuts are fetched again: cuts that were forgotten while the clock was ahead may refuse tokens
        // that are valid.
        if shared.revocations.clock_was_set_back(shared.clock.now()) {
            return Err(FeedError::ClockSetBack);
        }
        parser.push(&chunk, &mut items)?;
        for item in items.drain(..) {
            let Item::Event { kind, data } = item else { continue };
            match kind.as_str() {
                "cut" => {
                    let cut: Cut = serde_json::from_str(&data).map_err(FeedError::Cut)?;
                    let count = shared.revocations.insert(cut, shared.clock.now())?;
                    shared.update(|status| status.cuts = count);
                }
                "ready" => ready = true,
                // A newer server may send other events. They revoke nothing.
                _ => {}
            }
        }
        // Only now, when everything that came with this chunk is in force.
        if ready {
            shared.revocations.in_contact(shared.clock.now());
            shared.update(|status| status.feed_synced = true);
        }
    }
}
