//! A node's server for these tests: the generated service over real TLS, with its own CA and its own JWT key.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use mandate_api::proto::node::node_server::{Node, NodeServer};
use mandate_api::proto::node::{
    Entitlement, IssueJwtSvidRequest, IssueJwtSvidResponse, JoinRequest, JoinResponse, RenewRequest,
    RenewResponse, ServedState, WatchRequest,
};
use mandate_core::digest::sha256;
use mandate_core::{Clock, SystemEntropy, Timestamp, TokenId};
use mandate_token::{Algorithm, KeyUse, PublicJwk, SignError, Signer, jwks_json, jwt_svid};
use parking_lot::{Mutex, MutexGuard};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

pub(crate) const TRUST_DOMAIN: &str = "acme.example";

/// The life of a node's certificate and of a JWT-SVID.
pub(crate) const NODE_LIFE: Duration = Duration::from_hours(1);
pub(crate) const SVID_LIFE: Duration = Duration::from_mins(5);

/// An ES256 key that signs JWT-SVIDs.
pub(crate) struct JwtKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl JwtKey {
    pub(crate) fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let id = mandate_token::thumbprint(pair.public_key().as_ref()).unwrap();
        Self { pair, id }
    }

    pub(crate) fn jwk(&self) -> PublicJwk {
        PublicJwk::from_p256_point(self.pair.public_key().as_ref(), KeyUse::JwtSvid).unwrap()
    }
}

impl Signer for JwtKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> &str {
        &self.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}

/// What the server was asked, and how it must answer.
#[derive(Default)]
pub(crate) struct Book {
    /// Join tokens that have not been spent.
    pub(crate) tokens: HashSet<String>,
    /// With which key a token was spent.
    pub(crate) spent: HashMap<String, Vec<u8>>,
    /// Let this many answers to `Join` be lost, after the token is spent.
    pub(crate) lose_joins: usize,
    /// How many attempts to join there were.
    pub(crate) joins: usize,
    /// How often a certificate was renewed.
    pub(crate) renewals: usize,
    /// Every SVID that was asked for.
    pub(crate) issued: Vec<IssueJwtSvidRequest>,
    /// The node is refused, until it joins again.
    pub(crate) banned: bool,
    /// Close connections of nodes with a certificate after the handshake, as a server without a free place
    /// does.
    pub(crate) hangs_up: bool,
    /// How many connections were closed in that way.
    pub(crate) hang_ups: usize,
    /// Answer `Join` with this trust domain instead.
    pub(crate) says_trust_domain: Option<String>,
    /// Refuse to issue with this status.
    pub(crate) issue_fails: Option<Status>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    ca: CertifiedIssuer<'static, KeyPair>,
    book: Mutex<Book>,
    key: Mutex<Arc<JwtKey>>,
    /// For how long expired certificates of nodes are accepted.
    grace: Mutex<Duration>,
    states: watch::Sender<ServedState>,
}

/// The server. Its CA, keys and state survive [`Server::stop`] and [`Server::start`].
pub(crate) struct Server {
    inner: Arc<Inner>,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
    // Bound but not listening: the port stays this server's while it is down.
    _reserved: OwnedFd,
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn date(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.secs())
}

impl Inner {
    fn sign_leaf(&self, id: &str, key: &impl PublicKeyData, life: Duration) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(id)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = date(self.clock.now().minus(self.grace())).into();
        params.not_after = date(self.clock.now().plus(life)).into();
        params.signed_by(key, &self.ca).unwrap().der().to_vec()
    }

    fn sign_node(&self, csr: &[u8]) -> Vec<Vec<u8>> {
        let key = RequestedKey(requested_key(csr));
        vec![self.sign_leaf(&format!("spiffe://{TRUST_DOMAIN}/node/1"), &key, NODE_LIFE)]
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    fn hangs_up(&self) -> bool {
        let mut book = self.book();
        book.hang_ups += usize::from(book.hangs_up);
        book.hangs_up
    }

    fn grace(&self) -> Duration {
        *self.grace.lock()
    }
}

fn requested_key(csr: &[u8]) -> Vec<u8> {
    let (_, csr) = X509CertificationRequest::from_der(csr).unwrap();
    csr.certification_request_info.subject_pki.subject_public_key.data.to_vec()
}

/// The P-256 key of a certificate request.
struct RequestedKey(Vec<u8>);

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Server {
    /// A server that is not running yet but knows where it will.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{TRUST_DOMAIN}"))];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = Arc::new(JwtKey::generate());
        let state = ServedState {
            generation: 1,
            entries: vec![],
            jwt_bundle: jwks_json(&[key.jwk()]).into_bytes(),
            ca: vec![ca.der().to_vec()],
        };
        let inner = Inner {
            clock,
            ca,
            book: Mutex::default(),
            key: Mutex::new(key),
            grace: Mutex::default(),
            states: watch::Sender::new(state),
        };
        let reserved = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = rustix::net::getsockname(&reserved).unwrap().try_into().unwrap();
        Self { inner: Arc::new(inner), address, runtime: None, _reserved: reserved }
    }

    /// The same, running.
    pub(crate) fn started(clock: Arc<dyn Clock>) -> Self {
        let mut server = Self::new(clock);
        server.start();
        server
    }

    /// Starts on a runtime of its own, which can be stopped as abruptly as a process.
    pub(crate) fn start(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = bound(self.address);
            rustix::net::listen(&socket, 64).unwrap();
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true).unwrap();
            TcpListener::from_std(listener).unwrap()
        };
        let acceptor = TlsAcceptor::from(Arc::new(self.tls()));
        let service = NodeServer::from_arc(Arc::new(Service(Arc::clone(&self.inner))));
        let inner = Arc::clone(&self.inner);
        runtime.spawn(async move {
            let (to, connections) = tokio::sync::mpsc::channel::<io::Result<Connection>>(8);
            tokio::spawn(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    tcp.set_nodelay(true).unwrap();
                    let (acceptor, to, inner) = (acceptor.clone(), to.clone(), Arc::clone(&inner));
                    tokio::spawn(async move {
                        if let Ok(tls) = acceptor.accept(tcp).await {
                            if tls.get_ref().1.peer_certificates().is_some() && inner.hangs_up() {
                                return;
                            }
                            let _ = to.send(Ok(Connection(tls))).await;
                        }
                    });
                }
            });
            let connections = tokio_stream::wrappers::ReceiverStream::new(connections);
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(connections)
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Stops at once: every connection breaks.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
        }
    }

    fn tls(&self) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.inner.ca.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = self.inner.sign_leaf(
            &format!("spiffe://{TRUST_DOMAIN}/mandate/server"),
            &key,
            Duration::from_hours(24 * 365),
        );
        let chain = vec![CertificateDer::from(leaf), self.inner.ca.der().clone()];
        let mut config = rustls::ServerConfig::builder_with_details(
            provider,
            Arc::new(Time(Arc::clone(&self.inner.clock), self.inner.grace())),
        )
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.inner.book()
    }

    /// Accepts expired certificates of nodes for this time, from its next start on.
    pub(crate) fn accept_expired(&self, grace: Duration) {
        *self.inner.grace.lock() = grace;
    }

    /// A new join token, pinned to this server's CA.
    pub(crate) fn join_token(&self) -> String {
        let token = format!("{}.{}", TokenId::generate(self.inner.clock.now(), &SystemEntropy), self.pin());
        self.book().tokens.insert(token.clone());
        token
    }

    /// The SHA-256 of the CA's `SubjectPublicKeyInfo`.
    pub(crate) fn pin(&self) -> String {
        base16ct::lower::encode_string(&sha256(&self.inner.ca.key().subject_public_key_info()))
    }

    /// Pushes these entries: pairs of an agent's name and its selectors.
    pub(crate) fn entries(&self, entries: &[(&str, &[&str])]) {
        let entry = |(name, selectors): &(&str, &[&str])| Entitlement {
            spiffe_id: agent(name),
            selectors: selectors.iter().map(|&text| text.to_owned()).collect(),
            name: (*name).to_owned(),
        };
        self.inner.states.send_modify(|state| {
            state.generation += 1;
            state.entries = entries.iter().map(entry).collect();
        });
    }

    /// Replaces the JWT key, and pushes the bundle without the old one.
    pub(crate) fn rotate(&self) {
        let key = Arc::new(JwtKey::generate());
        let bundle = jwks_json(&[key.jwk()]).into_bytes();
        *self.inner.key.lock() = key;
        self.inner.states.send_modify(|state| {
            state.generation += 1;
            state.jwt_bundle = bundle;
        });
    }

    /// A JWT-SVID made here, of any trust domain.
    pub(crate) fn svid(&self, id: &str, audiences: &[&str]) -> String {
        self.inner.svid(id, &audiences.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn bound(address: SocketAddr) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &address).unwrap();
    socket
}

/// The SPIFFE ID of an agent.
pub(crate) fn agent(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/agent/{name}")
}

impl Inner {
    fn svid(&self, id: &str, audiences: &[String]) -> (String, Timestamp) {
        let iat = self.clock.now();
        let exp = Timestamp::from_secs(iat.plus(SVID_LIFE).secs());
        let claims = jwt_svid::Claims {
            spiffe_id: id.parse().unwrap(),
            audiences: audiences.to_vec(),
            iat,
            exp,
            jti: TokenId::generate(iat, &SystemEntropy),
        };
        let key = Arc::clone(&self.key.lock());
        (jwt_svid::build(&claims, key.as_ref()).unwrap(), exp)
    }
}

/// This much behind, so that what expired within that time is valid.
struct Time(Arc<dyn Clock>, Duration);

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Time")
    }
}

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().minus(self.1).millis())))
    }
}

struct Service(Arc<Inner>);

impl Service {
    fn require_node<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let has_certificate = request.extensions().get::<ClientCertificate>().is_some_and(|found| found.0);
        if !has_certificate {
            return Err(Status::unauthenticated("a client certificate is required"));
        }
        if self.0.book().banned { Err(Status::permission_denied("this node was removed")) } else { Ok(()) }
    }
}

#[tonic::async_trait]
impl Node for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let mut book = self.0.book();
        book.joins += 1;
        let key = requested_key(&request.csr);
        if !book.tokens.remove(&request.token) && book.spent.get(&request.token) != Some(&key) {
            return Err(Status::permission_denied("the join token is unknown, expired or already used"));
        }
        book.spent.insert(request.token.clone(), key);
        if book.lose_joins > 0 {
            book.lose_joins -= 1;
            return Err(Status::unavailable("the answer is lost"));
        }
        book.banned = false;
        let trust_domain = book.says_trust_domain.clone().unwrap_or_else(|| TRUST_DOMAIN.to_owned());
        let spiffe_id = format!("spiffe://{TRUST_DOMAIN}/node/1");
        let ca = vec![self.0.ca.der().to_vec()];
        Ok(Response::new(JoinResponse {
            chain: self.0.sign_node(&request.csr),
            ca,
            spiffe_id,
            trust_domain,
            issuer: "https://mandate.acme.example".to_owned(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        self.require_node(&request)?;
        self.0.book().renewals += 1;
        Ok(Response::new(RenewResponse {
            chain: self.0.sign_node(&request.into_inner().csr),
            ca: vec![self.0.ca.der().to_vec()],
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<ServedState, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.require_node(&request)?;
        let states = tokio_stream::wrappers::WatchStream::new(self.0.states.subscribe());
        Ok(Response::new(Box::pin(states.map(Ok))))
    }

    async fn issue_jwt_svid(
        &self,
        request: Request<IssueJwtSvidRequest>,
    ) -> Result<Response<IssueJwtSvidResponse>, Status> {
        self.require_node(&request)?;
        let request = request.into_inner();
        self.0.book().issued.push(request.clone());
        if let Some(status) = &self.0.book().issue_fails {
            return Err(status.clone());
        }
        // Other requests that are made at the same time get here before this one is answered.
        tokio::task::yield_now().await;
        let (svid, exp) = self.0.svid(&request.spiffe_id, &request.audience);
        Ok(Response::new(IssueJwtSvidResponse { svid, expires_at: i64::try_from(exp.secs()).unwrap() }))
    }
}

struct Connection(tokio_rustls::server::TlsStream<TcpStream>);

#[derive(Clone)]
struct ClientCertificate(bool);

impl Connected for Connection {
    type ConnectInfo = ClientCertificate;

    fn connect_info(&self) -> ClientCertificate {
        ClientCertificate(self.0.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
