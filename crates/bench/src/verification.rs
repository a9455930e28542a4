//! The cost for a resource server: the verifier compared with a bare ES256 verification of the same token.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::names::AccessTokenType;
use mandate_core::{Issuer, ResourceUri};
use mandate_verifier::{Route, Verifier};
use serde_json::Value;

use crate::crypto::{median, time_each};
use crate::error::BenchError;
use crate::http::{Connection, get};
use crate::kernel::thread_seconds;
use crate::processes::Server;
use crate::registry::RESOURCE;

/// How many verifications one sample times together.
const BATCH: u32 = 50;

/// Microseconds of CPU time, medians.
pub(crate) struct Verification {
    /// Everything against the signature alone, each pair measured one right after the other.
    pub(crate) ratio: f64,
    /// Everything, the signature computed each time.
    pub(crate) full_us: f64,
    /// Everything, the signature remembered.
    pub(crate) remembered_us: f64,
}

fn decoded(part: Option<&str>) -> Result<Vec<u8>, BenchError> {
    URL_SAFE_NO_PAD.decode(part.unwrap_or_default()).map_err(BenchError::during("reading a token"))
}

async fn public_key(server: &Server, token: &str) -> Result<ParsedPublicKey, BenchError> {
    let header: Value = serde_json::from_slice(&decoded(token.split('.').next())?)
        .map_err(BenchError::during("reading a token"))?;
    let mut connection = Connection::open(&server.authority).await?;
    let metadata: Value =
        body(&mut connection, &server.authority, "/.well-known/oauth-authorization-server").await?;
    let uri = metadata.get("jwks_uri").and_then(Value::as_str).unwrap_or_default();
    let path = uri.strip_prefix(&server.issuer).unwrap_or_default();
    let set = body(&mut connection, &server.authority, path).await?;
    let keys = set.get("keys").and_then(Value::as_array);
    let key = keys.and_then(|keys| keys.iter().find(|key| key.get("kid") == header.get("kid")));
    let coordinate = |name| decoded(key.and_then(|key| key.get(name)).and_then(Value::as_str));
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(BenchError::during("the server's key"))
}

async fn body(connection: &mut Connection, authority: &str, path: &str) -> Result<Value, BenchError> {
    let answer = connection.exchange(&get(authority, path)).await?;
    serde_json::from_slice(answer.body).map_err(BenchError::during("reading the server's documents"))
}

fn verifier(server: &Server, remembered: Option<usize>) -> Result<Verifier, BenchError> {
    let issuer: Issuer = server.issuer.parse().map_err(BenchError::during("the issuer"))?;
    let resource: ResourceUri = RESOURCE.parse().map_err(BenchError::during("the resource"))?;
    let mut builder = Verifier::builder(issuer, resource);
    if let Some(capacity) = remembered {
        builder = builder.remembered_signatures(capacity);
    }
    builder.build().map_err(BenchError::during("the verifier"))
}

async fn time_verifier(verifier: &Verifier, header: &str, route: &Route) -> Result<f64, BenchError> {
    let before = thread_seconds();
    for _ in 0..BATCH {
        if let Err(refusal) = verifier.verify(Some(header), route).await {
            return Err(BenchError(format!("the verifier refused: {:?}", refusal.reason())));
        }
    }
    Ok((thread_seconds() - before) * 1e6 / f64::from(BATCH))
}

/// Times verification of `token`, which `server` has issued, both sides in turn.
pub(crate) async fn measure(server: &Server, token: &str, rounds: usize) -> Result<Verification, BenchError> {
    let key = public_key(server, token).await?;
    let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
    let signature = decoded(Some(signature))?;
    key.verify_sig(signed.as_bytes(), &signature)
        .map_err(BenchError::during("verifying the server's token"))?;
    let (full, remembering) = (verifier(server, Some(0))?, verifier(server, None)?);
    full.ready().await;
    remembering.ready().await;
    let route = Route::requires("read:cases").map_err(BenchError::during("the route"))?;
    let header = format!("{} {token}", AccessTokenType::Bearer);
    let (mut ratios, mut full_us, mut remembered_us) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let raw = || time_each(|| key.verify_sig(signed.as_bytes(), &signature).is_ok());
        let before = raw();
        let all = time_verifier(&full, &header, &route).await?;
        ratios.push(2.0 * all / (before + raw()));
        full_us.push(all);
        remembered_us.push(time_verifier(&remembering, &header, &route).await?);
    }
    Ok(Verification {
        ratio: median(&ratios),
        full_us: median(&full_us),
        remembered_us: median(&remembered_us),
    })
}
