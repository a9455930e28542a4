//! `mandate svid fetch`: a client of the SPIFFE Workload API.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::rt::TokioIo;
use mandate_api::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use mandate_api::proto::workload::{Jwtsvid, JwtsvidRequest};
use mandate_api::proto::{WORKLOAD_METADATA_KEY, WORKLOAD_METADATA_VALUE};
use mandate_core::Timestamp;
use serde::Serialize;
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::node;
use crate::arguments::SvidFetch;
use crate::connection::runtime;
use crate::failure::{Failure, Fault};
use crate::screen::Screen;

#[derive(Serialize)]
struct Fetched {
    spiffe_id: String,
    svid: String,
    expires_at: Option<Timestamp>,
}

pub(crate) fn fetch(arguments: &SvidFetch, screen: &Screen) -> Result<(), Failure> {
    let path = match &arguments.socket {
        Some(text) => socket_path(text)?,
        None => node::nearest_socket()?,
    };
    let spiffe_id = arguments.spiffe_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
    let request = JwtsvidRequest { audience: arguments.audience.clone(), spiffe_id };
    let svid = runtime()?.block_on(ask(path, request))?;
    let expires_at = expiry(&svid.svid);
    let fetched = Fetched { spiffe_id: svid.spiffe_id, svid: svid.svid, expires_at };
    if !screen.wants_json() {
        let until = fetched.expires_at.map(|at| format!(", until {at}")).unwrap_or_default();
        screen.remark(&format!("{}{until}", fetched.spiffe_id));
    }
    screen.show(&fetched, || fetched.svid.clone())
}

/// The path of a socket given as a path or as the URI of SPIFFE Workload Endpoint §4.
fn socket_path(text: &str) -> Result<PathBuf, Failure> {
    let path = match text.strip_prefix("unix:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None if text.contains("://") => {
            return Err(Failure::usage(format!(
                "{text:?} is not a unix socket, and this program fetches identities from unix sockets only"
            )));
        }
        None => text,
    };
    if path.is_empty() || (text.starts_with("unix:") && !path.starts_with('/')) {
        return Err(Failure::usage(format!("{text:?} names no socket; write an absolute path, such as unix:///run/mandate/agent.sock")));
    }
    Ok(PathBuf::from(path))
}

pub(crate) async fn ask(path: PathBuf, request: JwtsvidRequest) -> Result<Jwtsvid, Failure> {
    let shown = path.display().to_string();
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        let fault = if error.kind() == std::io::ErrorKind::PermissionDenied { Fault::Refused } else { Fault::Unreachable };
        Failure::caused(fault, &format!("cannot reach a node at {shown}"), &error)
            .next(format!("mandate node run --server HOST:PORT --join-token-file FILE --socket {shown}"))
    })?;
    // One connection is all this program needs; a second attempt by the channel finds nothing to take.
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let taken = stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
        async move { taken }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    let channel =
        channel.map_err(|error| Failure::caused(Fault::Unreachable, &format!("what listens at {shown} is no Workload API"), &error))?;
    let mut request = Request::new(request);
    request.metadata_mut().insert(WORKLOAD_METADATA_KEY, MetadataValue::from_static(WORKLOAD_METADATA_VALUE));
    let answer = SpiffeWorkloadApiClient::new(channel).fetch_jwtsvid(request).await.map_err(|status| refused(&status, &shown))?;
    answer.into_inner().svids.into_iter().next().ok_or_else(|| Failure::failed("the node answered without an identity document"))
}

fn refused(status: &Status, shown: &str) -> Failure {
    // Whoever does not speak gRPC breaks the protocol; whoever speaks another service of it does not know the call.
    let broken = matches!(status.code(), Code::Internal | Code::Unknown) && std::error::Error::source(status).is_some();
    if broken || status.code() == Code::Unimplemented {
        return Failure::new(Fault::Unreachable, format!("what listens at {shown} is no Workload API"))
            .next("mandate node run … (it prints where it listens as `socket`)");
    }
    let said = if status.message().is_empty() { status.code().description() } else { status.message() };
    if hung_up(status) {
        return Failure::new(
            Fault::Unreachable,
            format!(
                "what listens at {shown} hung up: it is no Workload API, or a node that cannot look at this process, which its log says"
            ),
        );
    }
    match status.code() {
        Code::InvalidArgument => Failure::usage(said),
        Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            Failure::new(Fault::Refused, format!("no identity for this process: {said}"))
                .next("mandate get agents   (whose selectors does this process show?)")
        }
        Code::Unavailable | Code::DeadlineExceeded => Failure::new(Fault::Unreachable, format!("the node cannot answer now: {said}")),
        _ => Failure::failed(format!("the node failed: {said}")),
    }
}

/// Whether the one connection ended without an answer: the second that the channel asks for is not there.
fn hung_up(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::NotConnected) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The `exp` of a JWT, unverified: it is shown, nothing rests on it.
fn expiry(svid: &str) -> Option<Timestamp> {
    let payload = URL_SAFE_NO_PAD.decode(svid.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("exp").and_then(serde_json::Value::as_u64).map(Timestamp::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{expiry, refused, socket_path};
    use crate::failure::Fault;
    use std::path::Path;
    use tonic::{Code, Status};

    #[test]
    fn a_socket_is_a_path_or_a_unix_uri() {
        for (text, path) in [
            ("/run/a.sock", "/run/a.sock"),
            ("a.sock", "a.sock"),
            ("unix:///run/a.sock", "/run/a.sock"),
            ("unix:/run/a.sock", "/run/a.sock"),
        ] {
            assert_eq!(socket_path(text).unwrap(), Path::new(path), "{text}");
        }
        for bad in ["", "tcp://127.0.0.1:8081", "unix:", "unix://", "unix:a.sock", "http://x/"] {
            assert_eq!(socket_path(bad).unwrap_err().fault(), Fault::Usage, "{bad}");
        }
    }

    #[test]
    fn the_nodes_answers_have_the_documented_exit_codes() {
        for (code, fault) in [
            (Code::PermissionDenied, Fault::Refused),
            (Code::Unavailable, Fault::Unreachable),
            (Code::InvalidArgument, Fault::Usage),
            (Code::Internal, Fault::Failed),
            (Code::Unimplemented, Fault::Unreachable),
        ] {
            assert_eq!(refused(&Status::new(code, "x"), "s").fault(), fault);
        }
    }

    #[test]
    fn reads_the_expiry_of_a_token_and_survives_others() {
        // {"exp":1700000000}
        assert_eq!(expiry("e30.eyJleHAiOjE3MDAwMDAwMDB9.c2ln").unwrap().secs(), 1_700_000_000);
        for bad in ["", "a.b", "e30.e30.", "..", "e30.eyJleHAiOi0xfQ."] {
            assert_eq!(expiry(bad), None, "{bad}");
        }
    }
}
