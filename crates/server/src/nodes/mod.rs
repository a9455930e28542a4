//! The server's side of the node protocol: gRPC on one side, `identity` on the other.

mod acceptor;
mod rejoin;
mod status;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use mandate_api::proto::node::node_server::{Node, NodeServer};
use mandate_api::proto::node::{
    Entitlement, IssueJwtSvidRequest, IssueJwtSvidResponse, JoinRequest, JoinResponse, RenewRequest,
    RenewResponse, ServedState, WatchRequest,
};
use mandate_authority::Authority;
use mandate_core::{RequestSource, SpiffeId};
use mandate_identity::{Identity, IdentityError, PresentedCertificate};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::listener::Shutdown;
use crate::places::Places;
use acceptor::{NodeConnection, NodePeer};

/// The largest message a node may send: a certificate request and a full set of selectors fit many times.
const MAX_MESSAGE: usize = 512 * 1024;

/// How many open calls a connection may have.
const MAX_STREAMS: u32 = 64;

/// How many bytes of a call, and of all calls of a connection, a peer may send before we have read them.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;

/// The largest head of a call, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// How often a silent connection is pinged, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a node may leave its last state unread while there is a newer one, or an error that ends the
/// call.
const STALLED: Duration = Duration::from_mins(1);

struct Service {
    identity: Arc<Identity>,
    authority: Arc<Authority>,
    shutdown: Shutdown,
}

fn peer<T>(request: &Request<T>) -> Option<&NodePeer> {
    request.extensions().get::<NodeConnection>().map(|connection| &connection.peer)
}

/// The certificate that the client has proven to hold. Every call except `Join` needs one.
fn node<T>(request: &Request<T>) -> Result<PresentedCertificate, Status> {
    match peer(request) {
        Some(NodePeer::Holder(shown)) => Ok(shown.clone()),
        Some(NodePeer::Late(_)) => Err(status::of(&IdentityError::NodeExpired)),
        Some(NodePeer::Stranger(_)) | None => {
            Err(Status::unauthenticated("this call needs the node's client certificate: join first"))
        }
    }
}

/// The same for `Renew`, which a node may call with a certificate that has expired: `identity` decides
/// whether it counts.
fn renewing_node<T>(request: &Request<T>) -> Result<PresentedCertificate, Status> {
    match peer(request) {
        Some(NodePeer::Late(shown)) => Ok(shown.clone()),
        _ => node(request),
    }
}

#[tonic::async_trait]
impl Node for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let source = match peer(&request) {
            Some(NodePeer::Stranger(address)) => RequestSource::of(*address),
            Some(NodePeer::Holder(_) | NodePeer::Late(_)) | None => RequestSource::Other,
        };
        let JoinRequest { token, csr } = request.into_inner();
        let joined = self
            .identity
            .join(&mandate_core::Secret::new(token), &csr, source)
            .await
            .map_err(|error| status::of(&error))?;
        Ok(Response::new(JoinResponse {
            chain: joined.chain,
            ca: self.authority.ca_certificates_der(),
            spiffe_id: joined.spiffe_id.to_string(),
            trust_domain: self.authority.trust_domain().to_string(),
            issuer: self.authority.issuer().to_string(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let node = renewing_node(&request)?;
        let renewed = self
            .identity
            .renew(&node, &request.into_inner().csr)
            .await
            .map_err(|error| status::of(&error))?;
        Ok(Response::new(RenewResponse { chain: renewed.chain, ca: self.authority.ca_certificates_der() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<ServedState, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let node = node(&request)?;
        let Some(connection) = request.extensions().get::<NodeConnection>().cloned() else {
            return Err(Status::internal("no connection"));
        };
        let Ok(watching) = Arc::clone(&connection.watches).try_acquire_owned() else {
            return Err(Status::resource_exhausted("this connection has as many Watch calls as it may have"));
        };
        let mut changes = self.identity.subscribe();
        let (out, states) = mpsc::channel(1);
        let (identity, authority, mut shutdown) =
            (Arc::clone(&self.identity), Arc::clone(&self.authority), self.shutdown.clone());
        tokio::spawn(async move {
            let _watching = watching;
            loop {
                let generation = changes.seen();
                let state = match identity.entries_for_node(&node).await {
                    Ok(entries) => Ok(ServedState {
                        generation,
                        entries: entries
                            .into_iter()
                            .map(|entry| Entitlement {
                                spiffe_id: entry.spiffe_id.to_string(),
                                selectors: entry.selectors.iter().map(ToString::to_string).collect(),
                                name: entry.name.to_string(),
                            })
                            .collect(),
                        jwt_bundle: authority.jwt_bundle_json().as_bytes().to_vec(),
                        ca: authority.ca_certificates_der(),
                    }),
                    Err(error) => Err(status::of(&error)),
                };
                let over = state.is_err();
                match tell(&out, state, STALLED).await {
                    Heard::Yes if !over => {}
                    Heard::Yes if tokio::time::timeout(STALLED, out.closed()).await.is_err() => {
                        return connection.must_end();
                    }
                    Heard::Yes | Heard::Gone => return,
                    // The node reads nothing, so it cannot even be told that it is banned.
                    Heard::No => return connection.must_end(),
                }
                tokio::select! {
                    more = changes.changed() => if !more { return },
                    () = out.closed() => return,
                    _ = shutdown.wait_for(|stop| *stop) => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(states))))
    }

    async fn issue_jwt_svid(
        &self,
        request: Request<IssueJwtSvidRequest>,
    ) -> Result<Response<IssueJwtSvidResponse>, Status> {
        let node = node(&request)?;
        let IssueJwtSvidRequest { spiffe_id, audience, selectors } = request.into_inner();
        let id: SpiffeId =
            spiffe_id.parse().map_err(|_| Status::invalid_argument("spiffe_id is not a SPIFFE ID"))?;
        let issued = self
            .identity
            .issue_jwt_svid(&node, &id, &selectors, audience)
            .await
            .map_err(|error| status::of(&error))?;
        let expires_at = i64::try_from(issued.expires.secs()).unwrap_or(i64::MAX);
        Ok(Response::new(IssueJwtSvidResponse { svid: issued.svid, expires_at }))
    }
}

/// Whether a node has room for news.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Yes,
    /// It has not taken what was sent before.
    No,
    /// It has ended the call.
    Gone,
}

/// Waits until the node has taken what was sent before, for `patience` at most.
async fn tell<T>(out: &mpsc::Sender<T>, news: T, patience: Duration) -> Heard {
    match tokio::time::timeout(patience, out.send(news)).await {
        Ok(Ok(())) => Heard::Yes,
        Ok(Err(_)) => Heard::Gone,
        Err(_) => Heard::No,
    }
}

/// What the nodes' listener allows.
pub(crate) struct Bounds {
    pub(crate) places: Arc<Places>,
    /// For how long after its certificate has expired a node may renew it.
    pub(crate) rejoin_grace: Duration,
}

pub(crate) async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    identity: Arc<Identity>,
    authority: Arc<Authority>,
    bounds: Bounds,
    shutdown: Shutdown,
) {
    let (out, connections) = mpsc::channel(64);
    let service = Service { identity, authority: Arc::clone(&authority), shutdown: shutdown.clone() };
    let service = NodeServer::new(service).max_decoding_message_size(MAX_MESSAGE);
    let mut stop = shutdown.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADERS)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move {
            let _ = stop.wait_for(|stop| *stop).await;
        });
    let (accepting, serving) =
        tokio::join!(acceptor::accept(listener, address, authority, bounds, out, shutdown), serving);
    if let Err(error) = accepting {
        tracing::error!(%error, "nodes cannot connect");
    }
    if let Err(error) = serving {
        tracing::error!(%error, "the nodes' listener has failed");
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;
    use mandate_identity::PresentedCertificate;
    use tonic::{Code, Request};

    use std::time::Duration;

    use super::{Heard, NodeConnection, NodePeer, mpsc, node, renewing_node, tell};

    fn from(peer: NodePeer) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(NodeConnection::of(peer));
        request
    }

    #[tokio::test]
    async fn a_node_that_takes_nothing_is_not_waited_for_without_end() {
        let (out, mut states) = mpsc::channel(1);
        let soon = Duration::from_millis(20);
        assert_eq!(tell(&out, 1, soon).await, Heard::Yes);
        assert_eq!(tell(&out, 2, soon).await, Heard::No);
        states.recv().await;
        assert_eq!(tell(&out, 3, soon).await, Heard::Yes);
        drop(states);
        assert_eq!(tell(&out, 4, soon).await, Heard::Gone);
    }

    #[test]
    fn an_expired_certificate_is_heard_for_renewal_and_for_nothing_else() {
        let shown = || PresentedCertificate {
            spiffe_id: "spiffe://acme.example/node/1".parse().unwrap(),
            expires: Timestamp::from_secs(1),
        };
        assert_eq!(renewing_node(&from(NodePeer::Late(shown()))).unwrap(), shown());
        assert_eq!(node(&from(NodePeer::Late(shown()))).unwrap_err().code(), Code::Unauthenticated);
        for call in [node, renewing_node] {
            assert_eq!(call(&from(NodePeer::Holder(shown()))).unwrap(), shown());
            assert_eq!(
                call(&from(NodePeer::Stranger([192, 0, 2, 7].into()))).unwrap_err().code(),
                Code::Unauthenticated
            );
            assert_eq!(call(&Request::new(())).unwrap_err().code(), Code::Unauthenticated);
        }
    }
}
