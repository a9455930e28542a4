//! The node's side of the communication with the server: join once, then watch, renew, and reconnect after every outage.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::proto::node::node_client::NodeClient;
use mandate_api::proto::node::{JoinRequest, NodeState, RenewRequest, RenewResponse, WatchRequest};
use mandate_core::{Clock, Entropy, Timestamp};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::Ready;
use crate::backoff::Backoff;
use crate::certificate::Certificate;
use crate::credentials::{Credentials, KeyRequest};
use crate::dial::{DialError, Dialer, Dialled};
use crate::error::NodeError;
use crate::join_token::JoinToken;
use crate::refusal::Waiting;
use crate::storage::Storage;
use crate::svids::Svids;
use crate::trust::Anchor;
use crate::view::{Link, Remote, Snapshot, View};

/// The longest that one call may take.
const CALL: Duration = Duration::from_secs(10);

/// The longest sleep until something is due by the clock. The clock may be set, or may stand still while the machine sleeps.
const GLANCE: Duration = Duration::from_secs(30);

/// How long to wait after a renewal, failed or not, before the next one.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// For how long a server must have closed every connection of a node with an expired certificate before that counts as a
/// refusal. A server that refuses says so; one without a free place, or one that ends, does not, and is itself again later.
const SILENCE: Duration = Duration::from_mins(5);

/// How long after the server refused to renew an expired certificate the node asks again.
const REJOIN_PAUSE: Duration = Duration::from_mins(5);

/// The largest state that is accepted: several hundred thousand entries.
const LARGEST_STATE: usize = 128 << 20;

/// What a node starts from.
pub(crate) enum Start {
    /// It has joined before. A given token is kept in case the server no longer knows this node; usually it is the used token
    /// of the command that first started the node.
    Joined(Box<Credentials>, Option<JoinToken>),
    /// It is to join with this token.
    Join(JoinToken),
    /// It has joined before, and its certificate has expired. The server may renew that; if not, there may be a token.
    Expired(Box<Credentials>, Option<JoinToken>),
}

/// Everything that the communication needs.
pub(crate) struct Session {
    pub(crate) dialer: Dialer,
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) views: watch::Sender<View>,
    pub(crate) svids: Arc<Svids>,
    pub(crate) rejoin: String,
}

/// How a connection ended.
enum Ended {
    /// With a new certificate, which the next connection uses.
    Renewed,
    /// It broke, or there was none.
    Broken(String),
    /// The server refuses this node.
    Refused(String),
    /// It is not the server.
    Untrusted(String),
}

enum Unjoined {
    Later(String),
    Never(NodeError),
}

/// Why an expired certificate was not renewed.
enum NotRenewed {
    /// The server could not be asked.
    Later(String),
    /// The server closed the connection and said nothing.
    Closed(String),
    /// The server does not accept this node again.
    Refused(String),
}

/// Since when a server has done nothing but close connections.
#[derive(Default)]
struct Silence(Option<Duration>);

impl Silence {
    /// `outcome` at this moment: a connection that was closed is only "later" until that has lasted.
    fn judge<T>(&mut self, outcome: Result<T, NotRenewed>, clock: &dyn Clock) -> Result<T, NotRenewed> {
        match outcome {
            Err(NotRenewed::Closed(reason)) => {
                let now = clock.steady();
                let since = *self.0.get_or_insert(now);
                Err(if now.saturating_sub(since) < SILENCE { NotRenewed::Later(reason) } else { NotRenewed::Closed(reason) })
            }
            other => {
                self.0 = None;
                other
            }
        }
    }
}

impl Session {
    /// Joins if necessary, then stays connected. Returns only when the node cannot continue without its operator.
    pub(crate) async fn keep<R: FnOnce(Ready) + Send>(&self, start: Start, ready: R) -> NodeError {
        let (mut credentials, mut spare) = match start {
            Start::Joined(credentials, spare) => (*credentials, spare),
            Start::Join(token) => match self.join(&token).await {
                Ok(credentials) => (credentials, None),
                Err(error) => return error,
            },
            Start::Expired(credentials, spare) => match self.come_back(*credentials, spare).await {
                Ok(back) => back,
                Err(error) => return error,
            },
        };
        self.stand(Waiting::Connecting);
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        // A fault that lasts is one line of the log, not one for each attempt.
        let (mut renewed, mut expired, mut attempts, mut said, mut silence) = (false, false, 0_u64, String::new(), Silence::default());
        loop {
            if credentials.is_expired(self.clock.now()) {
                // What it holds is served until that expires too.
                self.stand(Waiting::Expired);
                match silence.judge(self.rejoin(&credentials).await, self.clock.as_ref()) {
                    Ok(new) => {
                        credentials = new;
                        (expired, backoff) = (false, Backoff::new());
                        continue;
                    }
                    Err(NotRenewed::Later(reason)) => {
                        tracing::debug!(reason, "the server cannot be asked to renew this node's expired certificate; trying again");
                        sleep(backoff.wait(self.entropy.as_ref())).await;
                    }
                    Err(NotRenewed::Refused(reason) | NotRenewed::Closed(reason)) => {
                        if !expired {
                            tracing::error!(at = %credentials.expires(), reason, "this node's certificate has expired, and the server does not let it renew that; to join again: stop this node, then {}", self.rejoin);
                        }
                        expired = true;
                        // Only an operator can bring it back, or a clock that was wrong and is right again.
                        sleep(REJOIN_PAUSE).await;
                    }
                }
                continue;
            }
            expired = false;
            let ended = self.connected(&mut credentials, &mut ready, &mut backoff, renewed).await;
            renewed = matches!(ended, Ended::Renewed);
            let was_up = matches!(self.views.borrow().link, Link::Up(_));
            let server = self.dialer.address();
            match ended {
                Ended::Renewed => {
                    tracing::info!(spiffe_id = %credentials.spiffe_id(), expires = %credentials.expires(), "this node's certificate was renewed");
                    continue;
                }
                Ended::Broken(reason) => {
                    self.lost();
                    // A long outage is one line of the log, not one for each attempt.
                    if was_up || attempts == 0 {
                        tracing::warn!(server, reason, "not connected to the server; trying again until it answers");
                    } else {
                        tracing::debug!(server, reason, attempts, "still not connected to the server");
                    }
                    attempts = if was_up { 1 } else { attempts + 1 };
                }
                Ended::Untrusted(reason) => {
                    self.lost();
                    if was_up || said != reason {
                        tracing::error!(server, reason, "what answers at the server's address is not the server; trying again until it is");
                        said = reason;
                    }
                }
                Ended::Refused(reason) => {
                    // The server itself refuses this node, so its earlier state is no longer valid.
                    self.views.send_replace(View { link: Link::Down(Waiting::Refused), snapshot: None });
                    self.svids.clear();
                    if let Some(token) = spare.take() {
                        tracing::warn!(server, reason, "the server refuses this node; joining again");
                        match self.join(&token).await {
                            Ok(joined) => {
                                credentials = joined;
                                continue;
                            }
                            Err(error) => tracing::error!(%error, "this node has not joined again"),
                        }
                    } else if was_up || said != reason {
                        tracing::error!(
                            server,
                            reason,
                            "the server refuses this node; to join again: stop this node, then {}",
                            self.rejoin
                        );
                        said = reason;
                    }
                }
            }
            sleep(backoff.wait(self.entropy.as_ref())).await;
        }
    }

    fn stand(&self, waiting: Waiting) {
        self.views.send_modify(|view| view.link = Link::Down(waiting));
    }

    fn lost(&self) {
        // A node that has never heard from the server has not lost it.
        let known = self.views.borrow().snapshot.is_some();
        self.stand(if known { Waiting::Lost } else { Waiting::Connecting });
    }

    async fn join(&self, token: &JoinToken) -> Result<Credentials, NodeError> {
        // One key for all attempts: an answer may be lost after the token is spent, and the server answers the same token
        // again for the same key only.
        let request = KeyRequest::generate()?;
        let (mut backoff, mut said) = (Backoff::new(), String::new());
        loop {
            match self.try_to_join(token, &request).await {
                Ok(credentials) => {
                    self.storage.save(&credentials, self.entropy.as_ref())?;
                    tracing::info!(spiffe_id = %credentials.spiffe_id(), expires = %credentials.expires(), "this node has joined");
                    return Ok(credentials);
                }
                Err(Unjoined::Never(error)) => return Err(error),
                Err(Unjoined::Later(reason)) => {
                    if said != reason {
                        tracing::warn!(server = self.dialer.address(), reason, "cannot join yet; trying again until it works");
                        said = reason;
                    }
                    sleep(backoff.wait(self.entropy.as_ref())).await;
                }
            }
        }
    }

    /// Reconnects with an expired certificate if the server allows that, or else joins with the token. Without a token, a server that
    /// only closes connections is asked again and again.
    async fn come_back(&self, credentials: Credentials, token: Option<JoinToken>) -> Result<(Credentials, Option<JoinToken>), NodeError> {
        self.stand(Waiting::Expired);
        let (mut backoff, mut said, mut silence, mut is_lasting) = (Backoff::new(), String::new(), Silence::default(), false);
        loop {
            match (silence.judge(self.rejoin(&credentials).await, self.clock.as_ref()), &token) {
                (Ok(new), _) => return Ok((new, token)),
                (Err(NotRenewed::Refused(reason) | NotRenewed::Closed(reason)), Some(token)) => {
                    tracing::info!(reason, "this node's certificate has expired; joining again with the token");
                    return self.join(token).await.map(|joined| (joined, None));
                }
                (Err(NotRenewed::Refused(_)), None) => {
                    return Err(NodeError::CertificateExpired { at: credentials.expires(), rejoin: self.rejoin.clone() });
                }
                (Err(NotRenewed::Closed(reason)), None) => {
                    if !is_lasting {
                        tracing::error!(at = %credentials.expires(), reason, "this node's certificate has expired, and the server has closed each connection without a reason for minutes; look at the server's log, or join again: stop this node, then {}", self.rejoin);
                    }
                    is_lasting = true;
                    sleep(backoff.wait(self.entropy.as_ref())).await;
                }
                (Err(NotRenewed::Later(reason)), _) => {
                    if said != reason {
                        tracing::warn!(
                            server = self.dialer.address(),
                            reason,
                            "this node's certificate has expired, and the server cannot be asked to renew it; trying again until it can"
                        );
                        said = reason;
                    }
                    sleep(backoff.wait(self.entropy.as_ref())).await;
                }
            }
        }
    }

    /// Asks for a new certificate with the expired one. A server that allows that answers this call and no other.
    async fn rejoin(&self, credentials: &Credentials) -> Result<Credentials, NotRenewed> {
        let Dialled { channel, alert, .. } = match self.dialer.connect(credentials.anchor(), Some(credentials)).await {
            Ok(connected) => connected,
            Err(error @ DialError::Refused(_)) => return Err(NotRenewed::Refused(error.to_string())),
            Err(error @ DialError::Closed(_)) => return Err(NotRenewed::Closed(error.to_string())),
            Err(error @ (DialError::Untrusted(_) | DialError::NotTls | DialError::Unreachable(_))) => {
                return Err(NotRenewed::Later(error.to_string()));
            }
        };
        let request = KeyRequest::generate().map_err(|error| NotRenewed::Later(error.to_string()))?;
        let asked = RenewRequest { csr: request.csr.clone() };
        let answer = match timeout(CALL, NodeClient::new(channel).renew(asked)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) if alert.refuses_certificate() => return Err(NotRenewed::Refused(describe(&status))),
            // A failure of the connection carries its cause; an answer of the server does not.
            Ok(Err(status)) if std::error::Error::source(&status).is_some() => return Err(NotRenewed::Closed(describe(&status))),
            Ok(Err(status)) if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) => {
                return Err(NotRenewed::Refused(describe(&status)));
            }
            Ok(Err(status)) => return Err(NotRenewed::Later(describe(&status))),
            Err(_) => return Err(NotRenewed::Later("no answer in time".to_owned())),
        };
        self.take(&request, answer, credentials).map_err(NotRenewed::Later).inspect(|new| {
            tracing::info!(spiffe_id = %new.spiffe_id(), expires = %new.expires(), "this node has joined again with its expired certificate");
        })
    }

    async fn try_to_join(&self, token: &JoinToken, request: &KeyRequest) -> Result<Credentials, Unjoined> {
        let untrusted = |reason: String| Unjoined::Never(NodeError::ServerNotTrusted { server: self.dialer.address().to_owned(), reason });
        let Dialled { channel, server, .. } = match self.dialer.connect(Anchor::Pinned(token.pin()), None).await {
            Ok(connected) => connected,
            Err(DialError::Untrusted(reason)) => return Err(untrusted(reason)),
            Err(DialError::NotTls) => {
                return Err(Unjoined::Never(NodeError::NotForNodes { server: self.dialer.address().to_owned() }));
            }
            Err(error @ (DialError::Unreachable(_) | DialError::Closed(_) | DialError::Refused(_))) => {
                return Err(Unjoined::Later(error.to_string()));
            }
        };
        let asked = JoinRequest { token: token.expose_secret().to_owned(), csr: request.csr.clone() };
        let joined = match timeout(CALL, NodeClient::new(channel).join(asked)).await {
            Ok(Ok(joined)) => joined.into_inner(),
            Ok(Err(status)) if is_passing(&status) => return Err(Unjoined::Later(describe(&status))),
            Ok(Err(status)) => {
                return Err(Unjoined::Never(NodeError::JoinRefused { reason: describe(&status), rejoin: self.rejoin.clone() }));
            }
            Err(_) => return Err(Unjoined::Later("no answer in time".to_owned())),
        };
        let (spiffe_id, trust_domain, ca) = (joined.spiffe_id, joined.trust_domain, joined.ca);
        // The trust domain is the one of the certificate that proved the server, and the CA is the pinned one.
        if !ca.iter().any(|der| Certificate::parse(der).is_ok_and(|certificate| certificate.pin == token.pin())) {
            return Err(untrusted("it hands over other CA certificates than the join token pins".to_owned()));
        }
        let credentials =
            request.complete(joined.chain, ca).map_err(|error| untrusted(format!("it answers with unusable credentials: {error}")))?;
        let as_said = credentials.spiffe_id().as_str() == spiffe_id && server.trust_domain().as_str() == trust_domain;
        if !as_said || credentials.trust_domain() != server.trust_domain() || credentials.is_expired(self.clock.now()) {
            return Err(untrusted("it answers with credentials of another trust domain or name, or expired ones".to_owned()));
        }
        Ok(credentials)
    }

    /// One connection: from dialling to its end.
    async fn connected<R: FnOnce(Ready)>(
        &self,
        credentials: &mut Credentials,
        ready: &mut Option<R>,
        backoff: &mut Backoff,
        renewed: bool,
    ) -> Ended {
        let Dialled { channel, .. } = match self.dialer.connect(credentials.anchor(), Some(credentials)).await {
            Ok(connected) => connected,
            Err(error @ (DialError::Untrusted(_) | DialError::NotTls)) => return Ended::Untrusted(error.to_string()),
            Err(DialError::Unreachable(reason) | DialError::Closed(reason) | DialError::Refused(reason)) => return Ended::Broken(reason),
        };
        let mut remote = NodeClient::new(channel).max_decoding_message_size(LARGEST_STATE);
        let mut pushed = match timeout(CALL, remote.watch(WatchRequest {})).await {
            Ok(Ok(states)) => states.into_inner(),
            Ok(Err(status)) => return ended(&status),
            Err(_) => return Ended::Broken("no answer in time".to_owned()),
        };
        let mut renewal =
            std::pin::pin!(self.due(credentials.renewal(self.entropy.as_ref()), if renewed { RENEWAL_PAUSE } else { Duration::ZERO }));
        let mut expiry = std::pin::pin!(self.due(credentials.expires(), Duration::ZERO));
        loop {
            tokio::select! {
                state = pushed.message() => match state {
                    Ok(Some(state)) => {
                        if let Err(reason) = self.apply(state, credentials, &remote) {
                            return Ended::Broken(reason);
                        }
                        *backoff = Backoff::new();
                        if let Some(ready) = ready.take() {
                            ready(Ready { spiffe_id: credentials.spiffe_id().clone(), trust_domain: credentials.trust_domain() });
                        }
                    }
                    Ok(None) => return Ended::Broken("the server closed the connection".to_owned()),
                    Err(status) => return ended(&status),
                },
                // The server refuses every call from now on, however the connection came about.
                () = &mut expiry => return Ended::Broken("this node's certificate has expired".to_owned()),
                () = &mut renewal => match self.renew(&mut remote, credentials).await {
                    Ok(new) => {
                        *credentials = new;
                        return Ended::Renewed;
                    }
                    Err(reason) => {
                        tracing::warn!(reason, expires = %credentials.expires(), "this node's certificate was not renewed; trying again");
                        renewal.set(self.due(self.clock.now(), RENEWAL_PAUSE));
                    }
                },
            }
        }
    }

    /// Applies a pushed state: publishes it, then drops everything that it no longer covers.
    fn apply(&self, mut state: NodeState, credentials: &mut Credentials, remote: &Remote) -> Result<(), String> {
        let ca: Vec<CertificateDer<'static>> = std::mem::take(&mut state.ca).into_iter().map(CertificateDer::from).collect();
        if !ca.is_empty() && ca != credentials.ca() {
            match credentials.with_ca(ca) {
                Ok(new) => {
                    *credentials = new;
                    if let Err(error) = self.storage.save_ca(credentials, self.entropy.as_ref()) {
                        tracing::error!(%error, "the CA's new certificates are not saved; after a restart this node may not recognize its server");
                    }
                }
                Err(error) => tracing::error!(%error, "the server pushed unusable CA certificates; the old ones stay"),
            }
        }
        let snapshot =
            Snapshot::new(state, credentials.trust_domain()).map_err(|error| format!("the server pushed an unusable bundle: {error}"))?;
        let snapshot = Arc::new(snapshot);
        tracing::debug!(generation = snapshot.generation, entries = snapshot.entitlements.len(), keys = snapshot.keys.len(), "state");
        if !matches!(self.views.borrow().link, Link::Up(_)) {
            tracing::info!(server = self.dialer.address(), entries = snapshot.entitlements.len(), "connected to the server");
        }
        self.views.send_replace(View { link: Link::Up(remote.clone()), snapshot: Some(Arc::clone(&snapshot)) });
        self.svids.purge(&snapshot);
        Ok(())
    }

    async fn renew(&self, remote: &mut Remote, credentials: &Credentials) -> Result<Credentials, String> {
        // A new key each time: a copy of an earlier key is useless after the renewal.
        let request = KeyRequest::generate().map_err(|error| error.to_string())?;
        let asked = RenewRequest { csr: request.csr.clone() };
        let answer = timeout(CALL, remote.renew(asked)).await.map_err(|_| "no answer in time".to_owned())?;
        self.take(&request, answer.map_err(|status| describe(&status))?.into_inner(), credentials)
    }

    /// Uses a new certificate of this node, and stores it.
    fn take(&self, request: &KeyRequest, answer: RenewResponse, credentials: &Credentials) -> Result<Credentials, String> {
        let ca = if answer.ca.is_empty() { credentials.ca().iter().map(|der| der.to_vec()).collect() } else { answer.ca };
        let new = request.complete(answer.chain, ca).map_err(|error| error.to_string())?;
        if new.spiffe_id() != credentials.spiffe_id() || new.is_expired(self.clock.now()) {
            return Err("the new certificate is that of another node, or has expired".to_owned());
        }
        if let Err(error) = self.storage.save(&new, self.entropy.as_ref()) {
            tracing::error!(%error, "this node's new certificate is not saved; it is used until this node stops");
        }
        Ok(new)
    }

    /// Waits for `pause`, and then until the clock shows `at`.
    async fn due(&self, at: Timestamp, pause: Duration) {
        sleep(pause).await;
        loop {
            let left = at.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(GLANCE)).await;
        }
    }
}

fn ended(status: &Status) -> Ended {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => Ended::Refused(describe(status)),
        _ => Ended::Broken(describe(status)),
    }
}

/// Whether the same call may succeed later: the answer says more about the server than about this node.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Aborted
    )
}

/// The text of a status, with its cause if the connection failed. With TLS 1.3, a client learns only at its first read that
/// its certificate was refused.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
