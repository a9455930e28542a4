//! Getting JWT-SVIDs: from the cache while they are fresh, from the server otherwise, one request at a time
//! for each.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use mandate_api::proto::node::IssueJwtSvidRequest;
use mandate_core::{Clock, Selector, Timestamp};
use mandate_single_flight::{Flight, SingleFlight};
use parking_lot::{Mutex, MutexGuard};
use std::convert::Infallible;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::caller::AttestedProcess;
use crate::refusal::{CallRefusal, Waiting};
use crate::svid_cache::{Svid, SvidCache, WantedSvid};
use crate::view::{Link, PushedState, Remote, View, settled};

/// The longest that the server may take to issue.
const ISSUE: Duration = Duration::from_secs(5);

/// The shortest and the longest sleep between renewals.
const ROUND: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How many SVIDs are renewed at a time.
const RENEWALS: usize = 8;

type Issued = Result<Arc<Svid>, CallRefusal>;

/// The content of a request to the server. Processes with different selectors do not share a request: the
/// server may find one of them entitled and not the other.
type Asked = (WantedSvid, Vec<Selector>);

/// The SVIDs of this node's workloads.
pub(crate) struct Svids {
    views: watch::Receiver<View>,
    clock: Arc<dyn Clock>,
    cache: Mutex<SvidCache>,
    requests: SingleFlight<Asked, Issued>,
}

impl Svids {
    pub(crate) fn new(views: watch::Receiver<View>, clock: Arc<dyn Clock>) -> Self {
        Self { views, clock, cache: Mutex::default(), requests: SingleFlight::default() }
    }

    fn cache(&self) -> MutexGuard<'_, SvidCache> {
        // The cache is consistent whenever the lock is free, also after a panic.
        self.cache.lock()
    }

    /// The SVID for `holder`, which is entitled to it.
    ///
    /// In the second half of its lifetime a cached SVID is replaced. If the server cannot issue a new one,
    /// the cached one is used until it expires.
    pub(crate) async fn get(
        self: &Arc<Self>,
        wanted: WantedSvid,
        holder: &AttestedProcess,
    ) -> Result<Arc<Svid>, CallRefusal> {
        let now = self.clock.now();
        let held = self.cache().get(&wanted, holder, now);
        let view = match held {
            Some(svid) if svid.is_fresh(now) => return Ok(svid),
            Some(_) => self.views.borrow().clone(),
            None => settled(&self.views, |view| matches!(view.link, Link::Up(_))).await,
        };
        let issued = match view.link {
            Link::Up(remote) => landed(self.request(wanted, holder, remote)).await,
            Link::Down(waiting) => Err(CallRefusal::NotReady(waiting)),
        };
        match (issued, held) {
            (Err(CallRefusal::NotReady(_) | CallRefusal::NotIssued), Some(held))
                if held.is_good(self.clock.now()) =>
            {
                Ok(held)
            }
            (issued, _) => issued,
        }
    }

    /// Joins the pending request of such a process for `wanted`, or starts one.
    fn request(
        self: &Arc<Self>,
        wanted: WantedSvid,
        holder: &AttestedProcess,
        remote: Remote,
    ) -> Flight<Issued> {
        let asked = (wanted, holder.selectors().to_vec());
        let Ok(flight) = self.requests.join(&asked, || {
            let (this, wanted, holder) = (Arc::clone(self), asked.0.clone(), holder.clone());
            Ok::<_, Infallible>(async move {
                let issued = this.ask(remote, &wanted, &holder).await;
                this.keep(wanted, holder, &issued);
                issued
            })
        });
        flight
    }

    fn keep(&self, wanted: WantedSvid, holder: AttestedProcess, issued: &Issued) {
        let mut cache = self.cache();
        // A state that withdraws the identity may have been pushed meanwhile. It is published before the
        // cache is purged under this lock, so that one of the two sees the other.
        if let Ok(svid) = issued
            && self.views.borrow().names(&wanted.spiffe_id)
        {
            cache.put(wanted, Arc::clone(svid), holder, self.clock.now());
        }
    }

    async fn ask(
        &self,
        mut remote: Remote,
        wanted: &WantedSvid,
        holder: &AttestedProcess,
    ) -> Result<Arc<Svid>, CallRefusal> {
        let request = IssueJwtSvidRequest {
            spiffe_id: wanted.spiffe_id.to_string(),
            audience: wanted.audiences().to_vec(),
            selectors: holder.texts(),
        };
        let asked = self.clock.now();
        let response = match timeout(ISSUE, remote.issue_jwt_svid(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                tracing::warn!(spiffe_id = %wanted.spiffe_id, code = ?status.code(), reason = status.message(), "the server did not issue a JWT-SVID");
                return Err(refusal(&status));
            }
            Err(_) => return Err(CallRefusal::NotReady(Waiting::Lost)),
        };
        let expires = u64::try_from(response.expires_at).map_or(asked, Timestamp::from_secs);
        // A workload must never be handed something that its own client library then refuses as empty or
        // expired.
        if response.svid.is_empty() || expires <= self.clock.now() {
            tracing::warn!(spiffe_id = %wanted.spiffe_id, %expires, "the server issued a JWT-SVID that is empty or has expired; do the clocks of this machine and the server differ?");
            return Err(CallRefusal::NotIssued);
        }
        Ok(Arc::new(Svid::new(wanted.spiffe_id.clone(), response.svid, asked, expires)))
    }

    /// Drops what a newly published state no longer covers.
    pub(crate) fn purge(&self, state: &PushedState) {
        self.cache().retain(|id| state.entitlements.names(id), |key_id| state.keys.contains(key_id));
    }

    pub(crate) fn clear(&self) {
        self.cache().clear();
    }

    /// Renews for as long as it is polled.
    pub(crate) async fn keep_renewed(self: Arc<Self>) {
        let (shortest, longest) = ROUND;
        loop {
            let next = self.cache().next_due(self.clock.now());
            sleep(next.unwrap_or(longest).clamp(shortest, longest)).await;
            self.renew_due().await;
        }
    }

    /// Renews the SVIDs that are due now, for processes that still exist.
    pub(crate) async fn renew_due(self: &Arc<Self>) {
        let due = self.cache().due(self.clock.now());
        stream::iter(due)
            .for_each_concurrent(RENEWALS, |(wanted, holder)| async move {
                // No matter how it ends, the renewal is not tried again until a process asks: a fetch does
                // the same, and at once.
                self.cache().settle(&wanted);
                let remote = match &self.views.borrow().link {
                    Link::Up(remote) => remote.clone(),
                    Link::Down(_) => return,
                };
                // Nothing is issued for a process that could not fetch it now.
                if holder.check().await.is_err() {
                    return;
                }
                let spiffe_id = wanted.spiffe_id.clone();
                if let Err(refusal) = landed(self.request(wanted, &holder, remote)).await {
                    tracing::debug!(%spiffe_id, ?refusal, "a JWT-SVID was not renewed");
                }
            })
            .await;
    }
}

async fn landed(request: Flight<Issued>) -> Issued {
    request.landed().await.unwrap_or(Err(CallRefusal::NotIssued))
}

fn refusal(status: &Status) -> CallRefusal {
    match status.code() {
        Code::PermissionDenied | Code::NotFound => CallRefusal::NoIdentity,
        Code::InvalidArgument => CallRefusal::Argument("the server refuses this audience or SPIFFE ID"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => {
            // A failure of the connection carries its cause; an answer of the server does not.
            let is_lost = std::error::Error::source(status).is_some();
            if is_lost { CallRefusal::NotReady(Waiting::Lost) } else { CallRefusal::NotIssued }
        }
    }
}

#[cfg(test)]
mod tests;
