//! What other organizations serve over HTTP on loopback: metadata and keys of issuers, the token endpoint of a
//! provider at which people log in, and the metadata of clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use mandate_core::names::{AccessTokenType, ResponseParameter};
use mandate_core::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::error::BenchError;
use crate::foreign_keys::TokenKey;

/// The client id of the server at the provider.
pub(crate) const CLIENT_ID: &str = "mandate-bench";

/// The most that the server reads of a client's metadata.
const DOCUMENT: usize = 5 * 1024;

/// A host, and what it has done.
pub(crate) struct Host {
    /// Its origin, which is also an issuer.
    pub(crate) url: String,
    pub(crate) key: Arc<TokenKey>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Nanoseconds from a request for a token to its answer.
    answering: AtomicU64,
    documents: AtomicUsize,
}

impl Host {
    /// Starts it on a free port of 127.0.0.1. All its issuers have this key.
    pub(crate) async fn start(key: TokenKey) -> Result<Self, BenchError> {
        let failed = || BenchError::during("a host");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed())?;
        let url = format!("http://{}", listener.local_addr().map_err(failed())?);
        let (key, seen) = (Arc::new(key), Arc::new(Seen::default()));
        let (origin, signing, counting) = (url.clone(), Arc::clone(&key), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (origin, signing, counting) =
                    (origin.clone(), Arc::clone(&signing), Arc::clone(&counting));
                tokio::spawn(async move {
                    // A client that breaks off gets no answer.
                    let _ = answer(stream, &origin, &signing, &counting).await;
                });
            }
        });
        Ok(Self { url, key, seen })
    }

    /// An issuer of this host with a path, one of many.
    pub(crate) fn issuer(&self, at: usize) -> String {
        format!("{}/issuers/{at}", self.url)
    }

    /// The id of a client, where its metadata are.
    pub(crate) fn client(&self, at: usize) -> String {
        format!("{}/clients/{at}", self.url)
    }

    /// How long the provider took for its tokens since the last call, in milliseconds.
    pub(crate) fn take_answering_ms(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a duration")]
        let nanoseconds = self.seen.answering.swap(0, Ordering::Relaxed) as f64;
        nanoseconds / 1e6
    }

    /// How many documents of clients were fetched.
    pub(crate) fn documents(&self) -> usize {
        self.seen.documents.load(Ordering::Relaxed)
    }
}

/// One request, one answer.
async fn answer(mut stream: TcpStream, origin: &str, key: &TokenKey, seen: &Seen) -> std::io::Result<()> {
    let (head, body) = request(&mut stream).await?;
    let began = Instant::now();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let is_token = path == "/token";
    let answer = if is_token {
        token(origin, key, &body)
    } else if path.ends_with("/jwks") {
        key.jwks().to_owned()
    } else if path.starts_with("/clients/") {
        seen.documents.fetch_add(1, Ordering::Relaxed);
        document(&format!("{origin}{path}"))
    } else {
        metadata(origin, path)
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(answer.as_bytes()).await?;
    if is_token {
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        seen.answering.fetch_add(took, Ordering::Relaxed);
    }
    stream.shutdown().await
}

/// The head of a request, and its body.
async fn request(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0);
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                return Ok((head, String::from_utf8_lossy(body).into_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The metadata of the issuer that is asked for (RFC 8414 §3.1): its path is behind the well-known one, or
/// before it.
fn metadata(origin: &str, path: &str) -> String {
    let at = path.find("/issuers/").and_then(|start| path.get(start..)).unwrap_or_default();
    let own = at.split("/.well-known").next().unwrap_or_default();
    let issuer = format!("{origin}{own}");
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "token_endpoint_auth_methods_supported": ["none"],
    })
    .to_string()
}

/// The token response of a login. The code is the nonce of its authorization request, and the person is always
/// the same.
fn token(origin: &str, key: &TokenKey, form: &str) -> String {
    let code = form.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap_or_default();
    let now = SystemClock.now().secs();
    let claims = json!({
        "iss": origin, "sub": "person-0", "aud": CLIENT_ID, "nonce": code, "iat": now, "exp": now + 300, "auth_time": now,
    });
    let id_token = key.sign("JWT", &claims).unwrap_or_default();
    let (access, id) = (ResponseParameter::AccessToken.as_str(), ResponseParameter::IdToken.as_str());
    let bearer = AccessTokenType::Bearer.as_str();
    json!({ access: "opaque", "token_type": bearer, "expires_in": 60, id: id_token }).to_string()
}

/// The metadata of a client, as long as they may be.
fn document(client_id: &str) -> String {
    let mut document = json!({
        "client_id": client_id,
        "client_name": "A client of the benchmark",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
        "software_statement_of_no_use": "",
    });
    let length = document.to_string().len();
    if let Some(filler) = document.get_mut("software_statement_of_no_use") {
        *filler = Value::String("x".repeat(DOCUMENT.saturating_sub(length)));
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{document, metadata};

    #[test]
    fn each_issuer_has_its_own_metadata() {
        for (path, issuer) in [
            ("/.well-known/openid-configuration", "http://h"),
            ("/.well-known/oauth-authorization-server/issuers/7", "http://h/issuers/7"),
            ("/issuers/7/.well-known/openid-configuration", "http://h/issuers/7"),
        ] {
            let found: Value = serde_json::from_str(&metadata("http://h", path)).unwrap();
            assert_eq!(found["issuer"], issuer, "{path}");
        }
    }

    #[test]
    fn a_document_is_as_long_as_it_may_be() {
        assert_eq!(document("http://h/clients/1").len(), super::DOCUMENT);
    }
}
