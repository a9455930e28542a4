//! Tower layers (feature `tower`): for axum, tonic, hyper and everything else that speaks `tower`.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower_layer::Layer;
use tower_service::Service;

use crate::credentials::Presented;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::verifier::Verifier;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Verifier {
    /// A layer that lets only verified requests through, with [`Verified`](crate::Verified) in their
    /// extensions, and answers all others itself. It also serves the resource metadata at its well-known
    /// path.
    pub fn layer(&self, route: Route) -> ProtectLayer {
        ProtectLayer { verifier: self.clone(), route: Arc::new(route), agents: false }
    }

    /// A layer that serves the resource metadata (RFC 9728) at its well-known path and lets everything else
    /// through without a check. For the whole application, when [`Verifier::layer`] protects single routes of
    /// it.
    pub fn metadata_layer(&self) -> MetadataLayer {
        MetadataLayer { document: Arc::new(Document::of(self)) }
    }
}

/// See [`Verifier::layer`].
#[derive(Clone, Debug)]
pub struct ProtectLayer {
    verifier: Verifier,
    route: Arc<Route>,
    agents: bool,
}

impl ProtectLayer {
    /// Also lets agents through that act on their own behalf, for nobody. The extensions of a request then
    /// contain a [`VerifiedCaller`](crate::VerifiedCaller), and no [`Verified`](crate::Verified): a handler
    /// that expects a person gets no request here.
    #[must_use]
    pub fn and_agents_themselves(self) -> Self {
        Self { agents: true, ..self }
    }
}

impl<S> Layer<S> for ProtectLayer {
    type Service = Protect<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Protect {
            inner,
            verifier: self.verifier.clone(),
            route: Arc::clone(&self.route),
            agents: self.agents,
            document: Arc::new(Document::of(&self.verifier)),
        }
    }
}

/// The service of [`ProtectLayer`].
#[derive(Clone, Debug)]
pub struct Protect<S> {
    inner: S,
    verifier: Verifier,
    route: Arc<Route>,
    agents: bool,
    document: Arc<Document>,
}

impl<S, B, R> Service<Request<B>> for Protect<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready is the one to call; the clone stays behind for the next request.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let (checker, route, document) =
            (self.verifier.clone(), Arc::clone(&self.route), Arc::clone(&self.document));
        let agents = self.agents;
        Box::pin(async move {
            if document.is_asked_by(&request) {
                return Ok(document.response());
            }
            let (mut parts, body) = request.into_parts();
            // What an outer layer has put there is not trusted.
            parts.extensions.remove::<crate::Verified>();
            parts.extensions.remove::<crate::VerifiedCaller>();
            let presented = Presented::from_parts(&parts);
            let refused = if agents {
                let checked = checker.verify_caller(presented, &route).await;
                checked.map(|caller| parts.extensions.insert(caller).map(drop)).err()
            } else {
                let checked = checker.verify(presented, &route).await;
                checked.map(|verified| parts.extensions.insert(verified).map(drop)).err()
            };
            match refused {
                None => inner.call(Request::from_parts(parts, body)).await,
                Some(refusal) => Ok(refusal_response(&refusal)),
            }
        })
    }
}

/// See [`Verifier::metadata_layer`].
#[derive(Clone, Debug)]
pub struct MetadataLayer {
    document: Arc<Document>,
}

impl<S> Layer<S> for MetadataLayer {
    type Service = WithMetadata<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithMetadata { inner, document: Arc::clone(&self.document) }
    }
}

/// The service of [`MetadataLayer`].
#[derive(Clone, Debug)]
pub struct WithMetadata<S> {
    inner: S,
    document: Arc<Document>,
}

impl<S, B, R> Service<Request<B>> for WithMetadata<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: From<String> + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.document.is_asked_by(&request) {
            let document = Arc::clone(&self.document);
            return Box::pin(async move { Ok(document.response()) });
        }
        Box::pin(self.inner.call(request))
    }
}

#[derive(Debug)]
struct Document {
    path_and_query: String,
    json: String,
}

impl Document {
    fn of(verifier: &Verifier) -> Self {
        let metadata = verifier.metadata();
        Self { path_and_query: metadata.path_and_query(), json: metadata.to_json() }
    }

    fn is_asked_by<B>(&self, request: &Request<B>) -> bool {
        let asked = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        matches!(*request.method(), Method::GET | Method::HEAD) && asked == self.path_and_query
    }

    fn response<R: From<String>>(&self) -> Response<R> {
        let mut response = Response::new(R::from(self.json.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
        // RFC 9728 §3: public, and read by clients in browsers.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }
}

/// A refusal as an HTTP response.
fn refusal_response<R: From<String>>(refusal: &Refusal) -> Response<R> {
    let mut response = Response::new(R::from(refusal.body().to_owned()));
    *response.status_mut() = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = refusal.www_authenticate().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response.extensions_mut().insert(refusal.clone());
    response
}

impl Refusal {
    /// The refusal as an HTTP response with any body that can be made from text.
    pub fn to_response<R: From<String>>(&self) -> Response<R> {
        refusal_response(self)
    }
}
