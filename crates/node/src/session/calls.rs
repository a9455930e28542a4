//! What a node asks its server, and how answers and faults are classified.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::proto::node::node_client::NodeClient;
use mandate_api::proto::node::{JoinRequest, RenewRequest, RenewResponse, ServedState, WatchRequest};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::parts::Session;
use super::state::{ConnectionEnd, NotRenewed, Unjoined};
use crate::certificate::Certificate;
use crate::credentials::{Credentials, KeyRequest};
use crate::dial::{DialError, Dialled};
use crate::error::NodeError;
use crate::join_token::JoinToken;
use crate::trust::Anchor;
use crate::view::{Link, PushedState, Remote, View};

/// The longest that one call may take.
const CALL: Duration = Duration::from_secs(10);

/// The largest state that is accepted: several hundred thousand entries.
const LARGEST_STATE: usize = 128 << 20;

/// A connection of a joined node, on which the server pushes states.
pub(super) struct Connection {
    pub(super) remote: Remote,
    pub(super) pushed: Streaming<ServedState>,
}

impl Session {
    /// Asks to join, and stores what the server answers.
    pub(super) async fn ask_to_join(
        &self,
        token: &JoinToken,
        request: &KeyRequest,
    ) -> Result<Credentials, Unjoined> {
        let credentials = self.try_to_join(token, request).await?;
        self.save(&credentials).await.map_err(Unjoined::Never)?;
        tracing::info!(spiffe_id = %credentials.spiffe_id(), expires = %credentials.expires(), "this node has joined");
        Ok(credentials)
    }

    async fn save(&self, credentials: &Credentials) -> Result<(), NodeError> {
        let credentials = credentials.clone();
        self.keep_in_directory(move |storage, entropy| storage.save(&credentials, entropy)).await
    }

    async fn try_to_join(&self, token: &JoinToken, request: &KeyRequest) -> Result<Credentials, Unjoined> {
        let untrusted = |reason: String| {
            Unjoined::Never(NodeError::ServerNotTrusted { server: self.dialer.address().to_owned(), reason })
        };
        let Dialled { channel, server, .. } =
            match self.dialer.connect(Anchor::Pinned(token.pin()), None).await {
                Ok(connected) => connected,
                Err(DialError::Untrusted(reason)) => return Err(untrusted(reason)),
                Err(DialError::NotTls) => {
                    return Err(Unjoined::Never(NodeError::NotForNodes {
                        server: self.dialer.address().to_owned(),
                    }));
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
                return Err(Unjoined::Never(NodeError::JoinRefused {
                    reason: describe(&status),
                    rejoin: self.rejoin.clone(),
                }));
            }
            Err(_) => return Err(Unjoined::Later("no answer in time".to_owned())),
        };
        let (spiffe_id, trust_domain, ca) = (joined.spiffe_id, joined.trust_domain, joined.ca);
        // The trust domain is the one of the certificate that proved the server, and the CA is the pinned
        // one.
        if !ca
            .iter()
            .any(|der| Certificate::parse(der).is_ok_and(|certificate| certificate.pin == token.pin()))
        {
            return Err(untrusted("it hands over other CA certificates than the join token pins".to_owned()));
        }
        let credentials = request
            .complete(joined.chain, ca)
            .map_err(|error| untrusted(format!("it answers with unusable credentials: {error}")))?;
        let as_said =
            credentials.spiffe_id().as_str() == spiffe_id && server.trust_domain().as_str() == trust_domain;
        if !as_said
            || credentials.trust_domain() != server.trust_domain()
            || credentials.is_expired(self.clock.now())
        {
            return Err(untrusted(
                "it answers with credentials of another trust domain or name, or expired ones".to_owned(),
            ));
        }
        Ok(credentials)
    }

    /// Asks for a new certificate with the expired one. A server that allows that answers this call and no
    /// other.
    pub(super) async fn ask_with_expired(
        &self,
        credentials: &Credentials,
    ) -> Result<Credentials, NotRenewed> {
        let Dialled { channel, alert, .. } =
            match self.dialer.connect(credentials.anchor(), Some(credentials)).await {
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
            Ok(Err(status)) if alert.refuses_certificate() => {
                return Err(NotRenewed::Refused(describe(&status)));
            }
            // A failure of the connection carries its cause; an answer of the server does not.
            Ok(Err(status)) if std::error::Error::source(&status).is_some() => {
                return Err(NotRenewed::Closed(describe(&status)));
            }
            Ok(Err(status)) if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) => {
                return Err(NotRenewed::Refused(describe(&status)));
            }
            Ok(Err(status)) => return Err(NotRenewed::Later(describe(&status))),
            Err(_) => return Err(NotRenewed::Later("no answer in time".to_owned())),
        };
        self.take(&request, answer, credentials).await.map_err(NotRenewed::Later).inspect(|new| {
            tracing::info!(spiffe_id = %new.spiffe_id(), expires = %new.expires(), "this node has joined again with its expired certificate");
        })
    }

    /// Connects, and asks the server to push its state.
    pub(super) async fn open(&self, credentials: &Credentials) -> Result<Connection, ConnectionEnd> {
        let Dialled { channel, .. } = match self.dialer.connect(credentials.anchor(), Some(credentials)).await
        {
            Ok(connected) => connected,
            Err(error @ (DialError::Untrusted(_) | DialError::NotTls)) => {
                return Err(ConnectionEnd::Untrusted(error.to_string()));
            }
            Err(DialError::Unreachable(reason) | DialError::Closed(reason) | DialError::Refused(reason)) => {
                return Err(ConnectionEnd::Broken(reason));
            }
        };
        let mut remote = NodeClient::new(channel).max_decoding_message_size(LARGEST_STATE);
        match timeout(CALL, remote.watch(WatchRequest {})).await {
            Ok(Ok(states)) => Ok(Connection { remote, pushed: states.into_inner() }),
            Ok(Err(status)) => Err(ended(&status)),
            Err(_) => Err(ConnectionEnd::Broken("no answer in time".to_owned())),
        }
    }

    /// Applies a pushed state: publishes it, then drops everything that it no longer covers.
    pub(super) async fn apply(
        &self,
        mut state: ServedState,
        credentials: &mut Credentials,
        remote: &Remote,
    ) -> Result<(), String> {
        let ca: Vec<CertificateDer<'static>> =
            std::mem::take(&mut state.ca).into_iter().map(CertificateDer::from).collect();
        if !ca.is_empty() && ca != credentials.ca() {
            match credentials.with_ca(ca) {
                Ok(new) => {
                    *credentials = new.clone();
                    let saved =
                        self.keep_in_directory(move |storage, entropy| storage.save_ca(&new, entropy));
                    if let Err(error) = saved.await {
                        tracing::error!(%error, "the CA's new certificates are not saved; after a restart this node may not recognize its server");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the server pushed unusable CA certificates; the old ones stay");
                }
            }
        }
        let state = PushedState::new(state, credentials.trust_domain())
            .map_err(|error| format!("the server pushed an unusable bundle: {error}"))?;
        let state = Arc::new(state);
        tracing::debug!(
            generation = state.generation,
            entries = state.entitlements.len(),
            keys = state.keys.len(),
            "state"
        );
        if !matches!(self.views.borrow().link, Link::Up(_)) {
            tracing::info!(
                server = self.dialer.address(),
                entries = state.entitlements.len(),
                "connected to the server"
            );
        }
        self.views.send_replace(View { link: Link::Up(remote.clone()), state: Some(Arc::clone(&state)) });
        self.svids.purge(&state);
        Ok(())
    }

    /// Asks for a new certificate over the connection.
    pub(super) async fn ask_to_renew(
        &self,
        remote: &mut Remote,
        credentials: &Credentials,
    ) -> Result<Credentials, String> {
        // A new key each time: a copy of an earlier key is useless after the renewal.
        let request = KeyRequest::generate().map_err(|error| error.to_string())?;
        let asked = RenewRequest { csr: request.csr.clone() };
        let answer = timeout(CALL, remote.renew(asked)).await.map_err(|_| "no answer in time".to_owned())?;
        self.take(&request, answer.map_err(|status| describe(&status))?.into_inner(), credentials).await
    }

    /// Uses a new certificate of this node, and stores it.
    async fn take(
        &self,
        request: &KeyRequest,
        answer: RenewResponse,
        credentials: &Credentials,
    ) -> Result<Credentials, String> {
        let ca = if answer.ca.is_empty() {
            credentials.ca().iter().map(|der| der.to_vec()).collect()
        } else {
            answer.ca
        };
        let new = request.complete(answer.chain, ca).map_err(|error| error.to_string())?;
        if new.spiffe_id() != credentials.spiffe_id() || new.is_expired(self.clock.now()) {
            return Err("the new certificate is that of another node, or has expired".to_owned());
        }
        if let Err(error) = self.save(&new).await {
            tracing::error!(%error, "this node's new certificate is not saved; it is used until this node stops");
        }
        Ok(new)
    }
}

/// How a connection ended, by what the server said.
pub(super) fn ended(status: &Status) -> ConnectionEnd {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => ConnectionEnd::Refused(describe(status)),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => ConnectionEnd::Broken(describe(status)),
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

/// The text of a status, with its cause if the connection failed. With TLS 1.3, a client learns only at its
/// first read that its certificate was refused.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use mandate_api::proto::node::ServedState;
    use mandate_api::proto::node::node_client::NodeClient;
    use mandate_testkit::busy_threads;
    use tokio::time::timeout;
    use tonic::transport::Endpoint;

    use crate::session::state::tests::{World, credentials};
    use crate::view::Link;

    #[test]
    fn what_is_kept_in_the_directory_is_written_on_a_thread_that_may_block() {
        let (runtime, busy) = busy_threads::runtime();
        runtime.block_on(async {
            let world = World::new();
            let file = world.session.storage.path().join("ca.pem");
            let remote = NodeClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
            let (mut ours, other) = (credentials("1"), credentials("2"));
            let ca = other.ca().iter().map(|der| der.to_vec()).collect();
            let state =
                ServedState { generation: 1, entries: vec![], jwt_bundle: br#"{"keys":[]}"#.to_vec(), ca };
            let mut applied = Box::pin(world.session.apply(state, &mut ours, &remote));
            assert!(timeout(Duration::from_millis(200), &mut applied).await.is_err());
            assert!(!file.exists(), "there is no such thread yet");
            drop(busy);
            applied.await.unwrap();
            assert!(fs::read_to_string(&file).unwrap().contains("BEGIN CERTIFICATE"));
            assert_eq!(ours.ca(), other.ca());
            assert!(matches!(world.session.views.borrow().link, Link::Up(_)));
        });
    }
}
