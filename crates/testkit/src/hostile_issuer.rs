//! An issuer under the test's control: it serves metadata, keys and a revocation feed over real HTTP. It can
//! rotate its keys, stop, start again, lie, and send what no issuer should send.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test double that cannot do its part ends the test"
)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{
    Actor, ActorChain, Audience, Cut, CutTarget, Issuer, Lineage, ScopeSet, Subject, SubjectProfile, Terms,
    Timestamp,
};
use mandate_token::access_token;
use mandate_token::{Algorithm, KeyUse, PublicJwk, SignError, Signer, jwks_json};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// A fresh P-256 key that signs everything that a test wants.
pub struct TestKey {
    pair: EcdsaKeyPair,
    jwk: PublicJwk,
}

impl TestKey {
    /// A new key, from the system's randomness.
    pub fn generate() -> Self {
        Self::for_use(KeyUse::Signature)
    }

    /// A new key that is published for this use.
    pub fn for_use(key_use: KeyUse) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key");
        let jwk = PublicJwk::from_p256_point(pair.public_key().as_ref(), key_use).expect("a public key");
        Self { pair, jwk }
    }

    /// A JWK Set with its public half.
    pub fn jwks(&self) -> String {
        jwks_json(std::slice::from_ref(&self.jwk))
    }

    /// Signs any header and payload, however wrong they are.
    pub fn sign_raw(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign_low(signed.as_bytes())))
    }

    /// The token that says this, signed.
    pub fn sign_terms(&self, terms: &Terms) -> String {
        access_token::build(terms, self).expect("a token")
    }

    /// A signature whose `s` is below half of the order: the one form that our own tokens have.
    fn sign_low(&self, message: &[u8]) -> Vec<u8> {
        loop {
            let signature =
                self.pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec();
            if signature.get(32).is_some_and(|first| *first < 0x7f) {
                return signature;
            }
        }
    }
}

impl Signer for TestKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> &str {
        self.jwk.key_id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.sign_low(message))
    }
}

/// What goes wrong at a path.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The request is never answered.
    Silence,
    /// The connection breaks in the middle of the answer.
    Break,
    /// The answer has this status.
    Status(u16),
}

/// A request with a body.
#[derive(Clone, Debug)]
pub struct PostedForm {
    /// The path, such as `/token`.
    pub path: String,
    /// The header `Authorization`; empty if there was none.
    pub authorization: String,
    /// The body as text.
    pub body: String,
}

struct Desk {
    issuer: String,
    key: Arc<TestKey>,
    metadata: Option<String>,
    jwks: Option<String>,
    jwks_served: usize,
    pages_served: usize,
    pages: HashMap<String, (String, String)>,
    troubles: HashMap<String, Trouble>,
    refusals: HashMap<String, (u16, String)>,
    posted: Vec<PostedForm>,
    redirects: HashMap<String, String>,
    held: watch::Sender<bool>,
    asked: watch::Sender<usize>,
    feeds: Vec<UnboundedSender<Result<String, Infallible>>>,
    feeds_opened: usize,
    feed_prefix: String,
    cuts: Vec<Cut>,
    next_id: u64,
    jti: u64,
}

type Shared = Arc<Mutex<Desk>>;

impl Desk {
    fn event(&mut self, cut: &Cut) -> String {
        self.next_id += 1;
        format!("id: {}\nevent: cut\ndata: {}\n\n", self.next_id, serde_json::to_string(cut).expect("JSON"))
    }

    fn send(&mut self, text: &str) {
        self.feeds.retain(|feed| feed.send(Ok(text.to_owned())).is_ok());
    }
}

/// The issuer. It has its own threads, so that every connection closes at once when it stops.
pub struct HostileIssuer {
    address: SocketAddr,
    desk: Shared,
    runtime: Option<Runtime>,
}

impl HostileIssuer {
    /// An honest issuer on a free port of 127.0.0.1, with one key.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let desk = Arc::new(Mutex::new(Desk {
            issuer: format!("http://{address}"),
            key: Arc::new(TestKey::generate()),
            metadata: None,
            jwks: None,
            jwks_served: 0,
            pages_served: 0,
            pages: HashMap::new(),
            troubles: HashMap::new(),
            refusals: HashMap::new(),
            posted: Vec::new(),
            redirects: HashMap::new(),
            held: watch::Sender::new(false),
            asked: watch::Sender::new(0),
            feeds: Vec::new(),
            feeds_opened: 0,
            feed_prefix: String::new(),
            cuts: Vec::new(),
            next_id: 0,
            jti: 0,
        }));
        let mut issuer = Self { address, desk, runtime: None };
        issuer.serve(listener);
        issuer
    }

    fn serve(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).expect("a listener");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let app = Router::new()
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/jwks", get(jwks))
            .route("/revocations", get(feed))
            .fallback(page)
            .with_state(Arc::clone(&self.desk));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("serving");
        });
        self.runtime = Some(runtime);
    }

    /// Closes the listener and every connection; returns when that is done.
    pub fn go_down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be shut down from within another one.
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)))
                .join()
                .expect("a shutdown");
        }
        self.desk.lock().feeds.clear();
    }

    /// Serves again at the same address.
    pub fn come_back(&mut self) {
        self.serve(TcpListener::bind(self.address).expect("the same port"));
    }

    /// The issuer identifier of its address: `http://127.0.0.1:PORT`.
    pub fn issuer(&self) -> Issuer {
        format!("http://{}", self.address).parse().expect("an issuer")
    }

    /// The key it signs with now.
    pub fn key(&self) -> Arc<TestKey> {
        Arc::clone(&self.desk.lock().key)
    }

    /// From now on signs with a new key and publishes that one alone.
    pub fn rotate(&self) {
        self.desk.lock().key = Arc::new(TestKey::generate());
    }

    /// Claims to be another issuer in its metadata.
    pub fn lie_about_issuer(&self, name: &str) {
        name.clone_into(&mut self.desk.lock().issuer);
    }

    /// Serves this text as its metadata; `None` is the honest document again.
    pub fn serve_metadata(&self, text: Option<&str>) {
        self.desk.lock().metadata = text.map(str::to_owned);
    }

    /// Serves this text as its JWK Set; `None` is the honest one again.
    pub fn serve_jwks(&self, text: Option<&str>) {
        self.desk.lock().jwks = text.map(str::to_owned);
    }

    /// Answers 200 with this content at a path, also if it usually has other content there.
    pub fn serve_at(&self, path: &str, content_type: &str, body: &str) {
        let mut desk = self.desk.lock();
        desk.refusals.remove(path);
        desk.pages.insert(path.to_owned(), (content_type.to_owned(), body.to_owned()));
    }

    /// Answers a request for metadata at a path in this way only, also if it usually has content there.
    pub fn fail_at(&self, path: &str, trouble: Trouble) {
        self.desk.lock().troubles.insert(path.to_owned(), trouble);
    }

    /// Answers at a path as it should again.
    pub fn recover_at(&self, path: &str) {
        self.desk.lock().troubles.remove(path);
    }

    /// Answers with this status and JSON at a path.
    pub fn refuse_at(&self, path: &str, status: u16, body: &str) {
        self.desk.lock().refusals.insert(path.to_owned(), (status, body.to_owned()));
    }

    /// What was posted to it, in order.
    pub fn posted(&self) -> Vec<PostedForm> {
        self.desk.lock().posted.clone()
    }

    /// Sends requests for a path elsewhere.
    pub fn redirect_at(&self, path: &str, location: &str) {
        self.desk.lock().redirects.insert(path.to_owned(), location.to_owned());
    }

    /// How often another address than those of the issuer was asked for.
    pub fn pages_served(&self) -> usize {
        self.desk.lock().pages_served
    }

    /// From now on keeps requests for the JWK Set waiting, until [`HostileIssuer::let_go`].
    pub fn hold(&self) {
        self.desk.lock().held.send_replace(true);
    }

    /// Answers the requests that wait for the JWK Set.
    pub fn let_go(&self) {
        self.desk.lock().held.send_replace(false);
    }

    /// Waits until the JWK Set has been requested this many times.
    pub async fn asked_for_keys(&self, times: usize) {
        let mut asked = self.desk.lock().asked.subscribe();
        asked.wait_for(|asked| *asked >= times).await.expect("the issuer");
    }

    /// How often the JWK Set was served.
    pub fn jwks_served(&self) -> usize {
        self.desk.lock().jwks_served
    }

    /// How often the feed was opened.
    pub fn feeds_opened(&self) -> usize {
        self.desk.lock().feeds_opened
    }

    /// Gives the ids of its feed again, from the first.
    pub fn count_from_zero(&self) {
        self.desk.lock().next_id = 0;
    }

    /// Publishes a cut, now and to clients that connect later.
    pub fn cut(&self, target: CutTarget, at: Timestamp) {
        let mut desk = self.desk.lock();
        let cut = Cut { target, at, forget: at.plus(Duration::from_mins(15)) };
        let event = desk.event(&cut);
        desk.cuts.push(cut);
        desk.send(&event);
    }

    /// Sends a comment on every open feed, as a server does that has nothing to tell.
    pub fn beat(&self) {
        self.desk.lock().send(": beat\n\n");
    }

    /// Sends any text on every open feed.
    pub fn send_raw(&self, text: &str) {
        self.desk.lock().send(text);
    }

    /// Begins every feed that is opened from now on with this text.
    pub fn begin_feeds_with(&self, text: &str) {
        text.clone_into(&mut self.desk.lock().feed_prefix);
    }

    /// Terms of a proper token: Riley, by the support agent, for `audience`, issued at `now` for five
    /// minutes.
    pub fn terms(&self, audience: &str, scope: &str, now: Timestamp) -> Terms {
        let mut desk = self.desk.lock();
        desk.jti += 1;
        let iss = self.issuer();
        let subject = Subject { iss: iss.clone(), sub: "riley".into() };
        let client = "spiffe://acme.example/agent/support-agent".parse().expect("a client id");
        let scopes = if scope.is_empty() { ScopeSet::new() } else { scope.parse().expect("scopes") };
        let jti = format!("token-{}", desk.jti).parse().expect("a token id");
        let times = (now, now.plus(Duration::from_mins(5)));
        Terms {
            chain: chain(&iss, &["support-agent"]),
            lineage: Lineage {
                parents: vec!["parent-1".parse().expect("an id")],
                grants: vec!["grant-1".parse().expect("an id")],
                clients: vec!["support-app".parse().expect("an id")],
            },
            ..Terms::new(iss, subject, client, Audience::one(audience.to_owned()), scopes, jti, times)
        }
    }

    /// A proper token: see [`HostileIssuer::terms`].
    pub fn token(&self, audience: &str, scope: &str, now: Timestamp) -> String {
        self.sign(&self.terms(audience, scope, now))
    }

    /// Signs terms with the present key.
    pub fn sign(&self, terms: &Terms) -> String {
        self.key().sign_terms(terms)
    }
}

impl Drop for HostileIssuer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An actor chain of agents of acme.example, outermost first.
pub fn chain(iss: &Issuer, agents: &[&str]) -> ActorChain {
    let actor = |name: &&str| Actor {
        sub: format!("spiffe://acme.example/agent/{name}"),
        iss: iss.clone(),
        sub_profile: Some(SubjectProfile::AiAgent),
    };
    ActorChain::new(agents.iter().map(actor).collect()).expect("a chain")
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn troubled(desk: &Shared, path: &str) -> Option<Response> {
    let trouble = desk.lock().troubles.get(path).copied()?;
    Some(match trouble {
        Trouble::Silence => std::future::pending::<Response>().await,
        Trouble::Break => {
            let broken = tokio_stream::iter([Ok("{"), Err(std::io::Error::other("broken"))]);
            ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(broken)).into_response()
        }
        Trouble::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
    })
}

async fn metadata(State(desk): State<Shared>, uri: Uri) -> Response {
    if let Some(trouble) = troubled(&desk, uri.path()).await {
        return trouble;
    }
    let desk = desk.lock();
    if let Some((content_type, body)) = desk.pages.get(uri.path()) {
        return ([(header::CONTENT_TYPE, content_type.clone())], body.clone()).into_response();
    }
    let honest = || {
        serde_json::json!({ "issuer": desk.issuer, "jwks_uri": format!("{}/jwks", desk.issuer) }).to_string()
    };
    json(desk.metadata.clone().unwrap_or_else(honest))
}

async fn page(
    State(desk): State<Shared>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    body: String,
) -> Response {
    if method == Method::POST {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        desk.lock().posted.push(PostedForm { path: uri.path().to_owned(), authorization, body });
    }
    if let Some(trouble) = troubled(&desk, uri.path()).await {
        return trouble;
    }
    let mut desk = desk.lock();
    desk.pages_served += 1;
    if let Some(location) = desk.redirects.get(uri.path()) {
        return (StatusCode::FOUND, [(header::LOCATION, location.clone())]).into_response();
    }
    if let Some((status, body)) = desk.refusals.get(uri.path()) {
        let status = StatusCode::from_u16(*status).expect("a status");
        return (status, json(body.clone())).into_response();
    }
    match desk.pages.get(uri.path()) {
        Some((content_type, body)) => {
            ([(header::CONTENT_TYPE, content_type.clone())], body.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn jwks(State(desk): State<Shared>) -> Response {
    let mut held = {
        let mut desk = desk.lock();
        desk.jwks_served += 1;
        desk.asked.send_replace(desk.jwks_served);
        desk.held.subscribe()
    };
    // The sender lives as long as the desk.
    let _ = held.wait_for(|held| !held).await;
    let desk = desk.lock();
    json(desk.jwks.clone().unwrap_or_else(|| desk.key.jwks()))
}

async fn feed(State(desk): State<Shared>) -> Response {
    let (sender, receiver) = unbounded_channel();
    let mut desk = desk.lock();
    let cuts = desk.cuts.clone();
    let mut hello = desk.feed_prefix.clone();
    for cut in &cuts {
        hello.push_str(&desk.event(cut));
    }
    hello.push_str("event: ready\ndata: {}\n\n");
    let sent = sender.send(Ok(hello));
    if sent.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    desk.feeds.push(sender);
    desk.feeds_opened += 1;
    let body = Body::from_stream(UnboundedReceiverStream::new(receiver));
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
