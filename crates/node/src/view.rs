//! What this node knows at one moment, as one consistent value for every reader: the pushed state and the
//! connection.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::proto::node::ServedState;
use mandate_api::proto::node::node_client::NodeClient;
use mandate_core::{SpiffeId, TrustDomain};
use mandate_token::{KeySet, KeySetError, KeyUse};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::entitlement::Entitlements;
use crate::refusal::{CallRefusal, Waiting};

/// How long a caller may wait for a node that is still getting ready. A client that is told "no" at once may
/// take it as final (the Java client does); a client that is told "not yet" tries again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The client of a server that is connected.
pub(crate) type Remote = NodeClient<Channel>;

/// One state as the server pushed it.
pub(crate) struct PushedState {
    /// Increases with every change.
    pub(crate) generation: u64,
    /// The trust domain of this node.
    pub(crate) trust_domain: TrustDomain,
    /// Which process is entitled to which identity.
    pub(crate) entitlements: Entitlements,
    /// The JWT bundle as it was pushed: a JWK Set as JSON.
    pub(crate) bundle: Arc<[u8]>,
    /// The same, parsed: the keys for JWT-SVIDs.
    pub(crate) keys: KeySet,
}

impl PushedState {
    /// A pushed state, with its entries indexed and its keys parsed.
    pub(crate) fn new(state: ServedState, trust_domain: TrustDomain) -> Result<Self, KeySetError> {
        let keys = KeySet::from_json(&state.jwt_bundle)?.for_use(KeyUse::JwtSvid);
        let entitlements = Entitlements::new(state.entries, &trust_domain);
        Ok(Self {
            generation: state.generation,
            trust_domain,
            entitlements,
            bundle: state.jwt_bundle.into(),
            keys,
        })
    }
}

/// Whether this node is connected to its server.
#[derive(Clone)]
pub(crate) enum Link {
    /// Watching: the known state is the current one.
    Up(Remote),
    /// Not reachable at the moment; the known state may be old.
    Down(Waiting),
}

/// Everything that the answers of the Workload API depend on.
#[derive(Clone)]
pub(crate) struct View {
    /// Whether this node is connected to its server.
    pub(crate) link: Link,
    /// The last state, if there was one.
    pub(crate) state: Option<Arc<PushedState>>,
}

impl View {
    /// A node that has just started.
    pub(crate) fn starting() -> Self {
        Self { link: Link::Down(Waiting::Joining), state: None }
    }

    /// The state, if it is known to be the current one.
    pub(crate) fn current(&self) -> Option<&Arc<PushedState>> {
        match self.link {
            Link::Up(_) => self.state.as_ref(),
            Link::Down(_) => None,
        }
    }

    /// The last known state, current or not.
    pub(crate) fn last_known(&self) -> Result<&Arc<PushedState>, CallRefusal> {
        self.state.as_ref().ok_or(CallRefusal::NotReady(self.waiting()))
    }

    /// Why this node cannot give a final answer.
    pub(crate) fn waiting(&self) -> Waiting {
        match self.link {
            Link::Up(_) => Waiting::Connecting,
            Link::Down(waiting) => waiting,
        }
    }

    /// Whether the last known state entitles any process to this identity.
    pub(crate) fn names(&self, id: &SpiffeId) -> bool {
        self.state.as_ref().is_some_and(|state| state.entitlements.names(id))
    }
}

/// The view as soon as `enough` is true for it, or the view at the end of the waiting time.
pub(crate) async fn settled(views: &watch::Receiver<View>, enough: impl FnMut(&View) -> bool) -> View {
    let mut waiting = views.clone();
    match timeout(PATIENCE, waiting.wait_for(enough)).await {
        Ok(Ok(view)) => view.clone(),
        // The time is over, or the node is stopping: the last view is used.
        Ok(Err(_)) | Err(_) => views.borrow().clone(),
    }
}
