//! The client of the admin API: over the server's unix socket, where the peer's uid is the credential, or
//! over TCP with an access token.

mod connect;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mandate_core::names::AccessTokenType;
use mandate_core::registry::EntryKind;
use mandate_core::{Issuer, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::Problem;
use crate::admin::{
    AgentStateRequest, ApplyRequest, ApplyResponse, AuditCheckpoint, AuditQuery, AuditRecord,
    AuditVerification, BanResponse, ClientSecretRequest, JoinTokenRequest, JoinTokenResponse,
    KeyRotationRequest, KeyRotationResponse, NodeItem, PasswordRequest, PersonStateRequest, RegistryEntry,
    RevocationRequest, RevocationResponse, Status, kind_name, path,
};

/// The largest answer that is kept in memory, in bytes. The audit export is streamed instead.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// After this time without an answer, another request checks whether the server answers at all. Applying a
/// hundred thousand entries or verifying a long log takes longer than any fixed limit, and the server answers
/// other requests meanwhile.
const SILENCE: Duration = Duration::from_secs(5);

/// Where the admin API is.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// The server's unix socket, `DIR/admin.sock`.
    Socket(PathBuf),
    /// The admin API over TCP, with an access token that has the scope of a role and the issuer as `aud`.
    Tcp {
        /// The URL of the admin API, as `mandate serve` prints it.
        server: Issuer,
        /// Sent as `Authorization: Bearer` (RFC 6750 §2.1).
        token: Secret,
    },
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp { server, .. } => write!(f, "{server}"),
        }
    }
}

/// Why a call failed, grouped by the party at fault.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server could not be reached at all.
    #[error("cannot reach the server at {endpoint}")]
    Unreachable {
        /// The address that was tried.
        endpoint: String,
        /// The system's error of connecting.
        source: io::Error,
    },
    /// The connection broke, or the answer is not one of this API.
    #[error("unexpected answer from {endpoint}: {why}")]
    Protocol {
        /// The address that answered.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server refused the request (4xx).
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server failed (5xx).
    #[error("{0}")]
    Server(Box<Problem>),
    /// The answer could not be written to its destination.
    #[error("cannot write what the server sent")]
    Output(#[source] io::Error),
}

/// A file of certificate authorities that contains none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no PEM certificate in it")]
pub struct NoCertificate;

/// One operator's client. Each call opens its own connection.
#[derive(Clone, Debug)]
pub struct AdminClient {
    endpoint: Endpoint,
    silence: Duration,
    trust: connect::Trust,
}

impl AdminClient {
    /// A client; nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, silence: SILENCE, trust: connect::Trust::default() }
    }

    /// The same client, which trusts the certificate authorities in `pem` over TLS, and not the platform's.
    ///
    /// # Errors
    /// There is no certificate in it.
    pub fn trusting(mut self, pem: &[u8]) -> Result<Self, NoCertificate> {
        self.trust = connect::Trust::only(pem)?;
        Ok(self)
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Applies a registry file, or says what that would change.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyResponse, ClientError> {
        self.post(path::APPLY, request).await
    }

    /// All entries of a kind, page by page. What changes meanwhile may be missing, but nothing is there
    /// twice.
    pub async fn list(&self, kind: EntryKind) -> Result<Vec<RegistryEntry>, ClientError> {
        self.pages(&format!("{}/{}", path::REGISTRY, kind_name(kind))).await
    }

    /// The entry of this kind and key: a name, an id or a URL.
    pub async fn entry(&self, kind: EntryKind, key: &str) -> Result<RegistryEntry, ClientError> {
        self.get(&format!("{}/{}/{}", path::REGISTRY, kind_name(kind), escape(key))).await
    }

    /// A join token for one node.
    pub async fn join_token(&self, request: &JoinTokenRequest) -> Result<JoinTokenResponse, ClientError> {
        self.post(path::JOIN_TOKENS, request).await
    }

    /// Every node that has joined, page by page.
    pub async fn nodes(&self) -> Result<Vec<NodeItem>, ClientError> {
        self.pages(path::NODES).await
    }

    /// Bans a node by its name. Its certificate is refused at once.
    pub async fn ban_node(&self, name: &str) -> Result<BanResponse, ClientError> {
        let response =
            self.send(Method::POST, &format!("{}/{}/ban", path::NODES, escape(name)), Bytes::new()).await?;
        self.read(&self.collect(response).await?)
    }

    /// Ends the containment of an agent, which is then suspended.
    pub async fn release_agent(&self, agent: &str) -> Result<ApplyResponse, ClientError> {
        let response = self
            .send(Method::POST, &format!("{}/{}/release", path::AGENTS, escape(agent)), Bytes::new())
            .await?;
        self.read(&self.collect(response).await?)
    }

    /// Changes the state of an agent and nothing else of its entry.
    pub async fn set_agent_state(
        &self,
        agent: &str,
        request: &AgentStateRequest,
    ) -> Result<ApplyResponse, ClientError> {
        self.post(&format!("{}/{}/state", path::AGENTS, escape(agent)), request).await
    }

    /// Disables or enables a person and changes nothing else of their entry.
    pub async fn set_person_state(
        &self,
        person: &str,
        request: &PersonStateRequest,
    ) -> Result<ApplyResponse, ClientError> {
        self.post(&format!("{}/{}/state", path::PEOPLE, escape(person)), request).await
    }

    /// Sets the password of a person of the embedded directory.
    pub async fn set_password(&self, person: &str, request: &PasswordRequest) -> Result<(), ClientError> {
        self.post_unit(&format!("{}/{}/password", path::PEOPLE, escape(person)), request).await
    }

    /// Sets the secret of a client.
    pub async fn set_client_secret(
        &self,
        client: &str,
        request: &ClientSecretRequest,
    ) -> Result<(), ClientError> {
        self.post_unit(&format!("{}/{}/secret", path::CLIENTS, escape(client)), request).await
    }

    /// Audit records, the newest first.
    pub async fn audit_records(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, ClientError> {
        self.audit_page(query).await.map(|(records, _)| records)
    }

    /// As [`AdminClient::audit_records`], with the `before` of the next page. None if the page is empty.
    pub async fn audit_page(
        &self,
        query: &AuditQuery,
    ) -> Result<(Vec<AuditRecord>, Option<String>), ClientError> {
        let response = self
            .send(Method::GET, &format!("{}{}", path::AUDIT_RECORDS, query.to_url_query()), Bytes::new())
            .await?;
        let next = next_page(response.headers());
        let records: Vec<AuditRecord> = self.read(&self.collect(response).await?)?;
        let Some(last) = records.last() else { return Ok((records, None)) };
        // With one log, an index says where its last record is, and no header is needed.
        let before = match next {
            Some(next) => {
                let pairs = form_urlencoded::parse(next.trim_start_matches('?').as_bytes());
                pairs.into_iter().find(|(name, _)| name == "before").map(|(_, place)| place.into_owned())
            }
            None => last.index.map(|index| index.to_string()),
        };
        if before.is_some() && before == query.before {
            return Err(self.protocol("a page names itself as the next one"));
        }
        Ok((records, before))
    }

    /// The audit record with this id.
    pub async fn audit_record(&self, id: &str) -> Result<AuditRecord, ClientError> {
        self.get(&format!("{}/{}", path::AUDIT_RECORDS, escape(id))).await
    }

    /// Makes the server verify its whole log.
    pub async fn audit_verify(&self) -> Result<AuditVerification, ClientError> {
        self.get(path::AUDIT_VERIFY).await
    }

    /// As [`AdminClient::audit_verify`]; the log must also continue an earlier checkpoint, a signed note.
    pub async fn audit_verify_since(&self, note: &str) -> Result<AuditVerification, ClientError> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("since", note).finish();
        self.get(&format!("{}?{query}", path::AUDIT_VERIFY)).await
    }

    /// The current checkpoint, to be kept outside the server.
    pub async fn audit_checkpoint(&self) -> Result<AuditCheckpoint, ClientError> {
        self.get(path::AUDIT_CHECKPOINT).await
    }

    /// Writes the bundle of the whole log to `out` as it arrives. Returns how many bytes.
    pub async fn audit_export(&self, out: &mut (dyn AsyncWrite + Unpin + Send)) -> Result<u64, ClientError> {
        let mut response = self.send(Method::GET, path::AUDIT_EXPORT, Bytes::new()).await?;
        let mut written = 0;
        while let Some(piece) = self.piece(response.body_mut()).await? {
            out.write_all(&piece).await.map_err(ClientError::Output)?;
            written += piece.len() as u64;
        }
        out.flush().await.map_err(ClientError::Output)?;
        Ok(written)
    }

    /// Cuts what the request names: everything below it is refused at once.
    pub async fn revoke(&self, request: &RevocationRequest) -> Result<RevocationResponse, ClientError> {
        self.post(path::REVOCATIONS, request).await
    }

    /// Makes new signing keys: each waits in the published key set before it signs.
    pub async fn rotate_keys(
        &self,
        request: &KeyRotationRequest,
    ) -> Result<KeyRotationResponse, ClientError> {
        self.post(path::KEYS_ROTATE, request).await
    }

    /// What is running, and what needs attention.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(path::STATUS).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        self.read(&self.collect(response).await?)
    }

    /// Every item of a list.
    async fn pages<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let (mut all, mut query) = (Vec::new(), String::new());
        loop {
            let response = self.send(Method::GET, &format!("{path}{query}"), Bytes::new()).await?;
            let next = next_page(response.headers());
            all.extend(self.read::<Vec<T>>(&self.collect(response).await?)?);
            match next {
                None => return Ok(all),
                Some(next) if next == query => {
                    return Err(self.protocol("a page names itself as the next one"));
                }
                Some(next) => query = next,
            }
        }
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let response = self.send(Method::POST, path, self.json(body)?).await?;
        self.read(&self.collect(response).await?)
    }

    async fn post_unit(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<(), ClientError> {
        let response = self.send(Method::POST, path, self.json(body)?).await?;
        self.collect(response).await.map(drop)
    }

    fn json(&self, body: &impl Serialize) -> Result<Bytes, ClientError> {
        serde_json::to_vec(body).map(Bytes::from).map_err(|error| self.protocol(error.to_string()))
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.protocol(error.to_string()))
    }

    fn protocol(&self, why: impl Into<String>) -> ClientError {
        ClientError::Protocol { endpoint: self.endpoint.to_string(), why: why.into() }
    }

    /// The response if it is a success, else the problem it describes.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let (host, authorization) = match &self.endpoint {
            Endpoint::Socket(_) => ("localhost".to_owned(), None),
            Endpoint::Tcp { server, token } => {
                let bearer = token
                    .expose_secret_str()
                    .map(|token| format!("{} {}", AccessTokenType::Bearer, token.trim()));
                let bearer = bearer.and_then(|text| http::HeaderValue::from_str(&text).ok());
                let mut bearer = bearer.ok_or_else(|| {
                    self.protocol("the access token in the token file has characters that no token has")
                })?;
                bearer.set_sensitive(true);
                (connect::authority(server), Some(bearer))
            }
        };
        let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, host);
        request = request.header(http::header::ACCEPT, "application/json, application/problem+json");
        if !body.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        if let Some(bearer) = authorization {
            request = request.header(http::header::AUTHORIZATION, bearer);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.protocol(error.to_string()))?;
        let response = self.patiently(self.exchange(request)).await??;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.collect(response).await?;
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| unexplained(status));
        let problem = Box::new(problem);
        Err(if status.is_client_error() {
            ClientError::Refused(problem)
        } else {
            ClientError::Server(problem)
        })
    }

    /// One request on its own connection, until the head of the response.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, ClientError> {
        let connected = tokio::time::timeout(CONNECT, connect::connect(&self.endpoint, &self.trust)).await;
        let connected = connected.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was not established in time"))
        });
        let stream = connected.map_err(|source| self.unreachable(source))?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(|error| self.protocol(error.to_string()))?;
        // The connection ends by itself when the response has been read; its error reaches the reader of the
        // body too.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        sender.send_request(request).await.map_err(|error| self.protocol(error.to_string()))
    }

    /// Waits for a part of an answer, for as long as the server answers other requests.
    async fn patiently<T>(&self, part: impl Future<Output = T>) -> Result<T, ClientError> {
        let mut part = std::pin::pin!(part);
        loop {
            match tokio::time::timeout(self.silence, &mut part).await {
                Ok(part) => return Ok(part),
                Err(_) => self.sign_of_life().await?,
            }
        }
    }

    /// The next piece of a body; none at its end.
    async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
        let frame = self
            .patiently(body.frame())
            .await?
            .transpose()
            .map_err(|error| self.protocol(error.to_string()))?;
        // Trailers are no part of the content.
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Whether the server gives any answer at all: on another connection, without credentials.
    async fn sign_of_life(&self) -> Result<(), ClientError> {
        let host = match &self.endpoint {
            Endpoint::Socket(_) => "localhost".to_owned(),
            Endpoint::Tcp { server, .. } => connect::authority(server),
        };
        let request = Request::builder()
            .uri(path::OPENAPI)
            .header(http::header::HOST, host)
            .body(Full::new(Bytes::new()));
        let request = request.map_err(|error| self.protocol(error.to_string()))?;
        match tokio::time::timeout(self.silence, self.exchange(request)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(self.unreachable(io::Error::new(
                io::ErrorKind::TimedOut,
                "it accepts connections and answers nothing",
            ))),
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { endpoint: self.endpoint.to_string(), source }
    }

    async fn collect(&self, mut response: http::Response<Incoming>) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(response.body_mut()).await? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(self.protocol(format!("it has more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// The query of the next page, as in `Link: <?after=YQ&limit=500>; rel="next"` (RFC 8288 §3). A link that
/// leads elsewhere is not followed.
fn next_page(headers: &http::HeaderMap) -> Option<String> {
    let links = headers.get_all(http::header::LINK).iter().filter_map(|link| link.to_str().ok());
    let mut next = links.filter_map(|link| link.strip_prefix('<')?.strip_suffix(">; rel=\"next\""));
    next.find(|target| target.starts_with('?')).map(str::to_owned)
}

/// An error without a readable problem document: a proxy answered, or another server.
fn unexplained(status: StatusCode) -> Problem {
    let title = status.canonical_reason().unwrap_or("error");
    Problem::new(status.as_u16(), "unexplained", title)
        .with_detail(format!("the server answered {} {title} and said no more", status.as_u16()))
}

/// A key as one path segment: everything except unreserved characters is percent-encoded (RFC 3986 §2.3).
fn escape(key: &str) -> String {
    const SEGMENT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    // A segment of only dots would be read as a relative step.
    let text = percent_encoding::utf8_percent_encode(key, SEGMENT).to_string();
    if text.bytes().all(|b| b == b'.') { text.replace('.', "%2E") } else { text }
}

#[cfg(test)]
mod tests;
