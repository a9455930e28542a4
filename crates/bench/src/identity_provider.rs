//! The company's identity provider: an issuer that the server trusts, and the tokens of its people.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{Clock as _, SystemClock};
use mandate_token::{KeyUse, PublicJwk, jwks_json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::crypto::Key;
use crate::error::BenchError;

/// What its tokens for the server are addressed to.
pub(crate) const AUDIENCE: &str = "mandate-bench";

/// How long its tokens live, in seconds: longer than a run.
const LIFETIME: u64 = 2 * 60 * 60;

pub(crate) struct IdentityProvider {
    key: Key,
    kid: String,
    pub(crate) url: String,
    scope: &'static str,
    issued: u64,
}

impl IdentityProvider {
    /// Starts it on a free port of 127.0.0.1. Its tokens carry `scope`.
    pub(crate) async fn start(scope: &'static str) -> Result<Self, BenchError> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.map_err(BenchError::during("the identity provider"))?;
        let address = listener.local_addr().map_err(BenchError::during("the identity provider"))?;
        let url = format!("http://{address}");
        let key = Key::generate()?;
        let jwk = PublicJwk::from_p256_point(key.point(), KeyUse::Signature)
            .map_err(BenchError::during("the identity provider's key"))?;
        let kid = jwk.key_id().to_owned();
        let keys = jwks_json(std::slice::from_ref(&jwk));
        let metadata = serde_json::json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that breaks off gets no answer.
                let _ = answer(stream, &metadata, &keys).await;
            }
        });
        Ok(Self { key, kid, url, scope, issued: 0 })
    }

    /// A token of a person (RFC 9068), different from all earlier ones.
    pub(crate) fn token(&mut self, person: &str) -> Result<String, BenchError> {
        self.issued += 1;
        let now = SystemClock.now().secs();
        let header = serde_json::json!({"alg": "ES256", "kid": self.kid, "typ": "at+jwt"});
        let claims = serde_json::json!({
            "iss": self.url, "sub": person, "aud": AUDIENCE, "client_id": "portal", "jti": format!("person-token-{}", self.issued),
            "iat": now, "exp": now + LIFETIME, "auth_time": now, "scope": self.scope,
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.key.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// One request, one answer: the server reads metadata and keys rarely.
async fn answer(mut stream: TcpStream, metadata: &str, keys: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let body = if request.starts_with(b"GET /jwks ") { keys } else { metadata };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
