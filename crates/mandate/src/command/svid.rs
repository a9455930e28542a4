//! `mandate svid fetch`: a client of the SPIFFE Workload API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::rt::TokioIo;
use mandate_api::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use mandate_api::proto::workload::{Jwtsvid, JwtsvidRequest};
use mandate_api::proto::{WORKLOAD_METADATA_KEY, WORKLOAD_METADATA_VALUE};
use mandate_core::{SpiffeId, Timestamp, check_socket_path};
use serde::Serialize;
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::node;
use crate::arguments::SvidFetch;
use crate::connection::runtime;
use crate::core_dumps;
use crate::failure::{Failure, Fault, STOPPED};
use crate::screen::Screen;

/// How long a node may take for its answer. It waits for its server for half of that at most.
const SILENCE: Duration = Duration::from_secs(10);

/// When it is tried again to connect.
const FULL: Duration = Duration::from_millis(10);

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
    let wanted = Wanted::new(arguments)?;
    let spiffe_id = match &wanted {
        Wanted::Id(id) => id.as_str().to_owned(),
        Wanted::Name(_) | Wanted::Only => String::new(),
    };
    let request = JwtsvidRequest { audience: arguments.audience.clone(), spiffe_id };
    let runtime = runtime()?;
    core_dumps::show_program_to_nodes();
    let asked = runtime.block_on(ask_all(path, request, SILENCE));
    core_dumps::off();
    let svid = wanted.choose(asked.map_err(explained)?)?;
    let expires_at = expiry(&svid.svid);
    let fetched = Fetched { spiffe_id: svid.spiffe_id, svid: svid.svid, expires_at };
    if !screen.wants_json() {
        let until = fetched.expires_at.map(|at| format!(", until {at}")).unwrap_or_default();
        screen.remark(&format!("{}{until}", fetched.spiffe_id));
    }
    screen.show(&fetched, || fetched.svid.clone())
}

/// Which of a process's identities is asked for.
enum Wanted {
    Only,
    /// The one of this agent.
    Name(String),
    Id(SpiffeId),
}

impl Wanted {
    fn new(arguments: &SvidFetch) -> Result<Self, Failure> {
        if let Some(id) = &arguments.spiffe_id {
            return Ok(Self::Id(id.clone()));
        }
        match arguments.agent.as_deref() {
            None => Ok(Self::Only),
            Some(text) if text.starts_with("spiffe://") => text
                .parse()
                .map(Self::Id)
                .map_err(|error| Failure::usage(format!("--agent {text:?} is not a SPIFFE ID: {error}"))),
            Some("") => Err(Failure::usage("--agent is empty; write an agent's name or SPIFFE ID")),
            Some(name) => Ok(Self::Name(name.to_owned())),
        }
    }

    /// The wanted one of `svids`. If there are several, a guess would often be wrong.
    fn choose(&self, svids: Vec<Jwtsvid>) -> Result<Jwtsvid, Failure> {
        let choices: Vec<String> = svids.iter().map(choice).collect();
        let is_wanted = |svid: &Jwtsvid| match self {
            Self::Only => true,
            Self::Name(name) => name_of(svid) == name,
            Self::Id(id) => svid.spiffe_id == id.as_str(),
        };
        let mut found: Vec<Jwtsvid> = svids.into_iter().filter(is_wanted).collect();
        match (found.pop(), found.is_empty()) {
            (Some(svid), true) => Ok(svid),
            (None, _) if choices.is_empty() => {
                Err(Failure::failed("the node answered without an identity document"))
            }
            (None, _) => Err(Failure::new(
                Fault::Refused,
                format!("this process is not that agent. It has the identity of:\n{}", choices.join("\n")),
            )),
            (Some(_), false) => Err(Failure::usage(format!(
                "this process has {} identities, so say which one with --agent:\n{}",
                choices.len(),
                choices.join("\n")
            ))),
        }
    }
}

/// The agent's name: the hint, or what the SPIFFE ID ends with if the node gives none.
fn name_of(svid: &Jwtsvid) -> &str {
    if svid.hint.is_empty() { svid.spiffe_id.rsplit('/').next().unwrap_or_default() } else { &svid.hint }
}

fn choice(svid: &Jwtsvid) -> String {
    format!("  --agent {}   ({})", name_of(svid), svid.spiffe_id)
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
        return Err(Failure::usage(format!(
            "{text:?} names no socket; write an absolute path, such as unix:///run/mandate/agent.sock"
        )));
    }
    Ok(PathBuf::from(path))
}

/// The first JWT-SVID of the answer. Workload API §8 has a default identity for X.509-SVIDs only: the first
/// of them. Here the same holds for JWT-SVIDs.
pub(crate) async fn ask(path: PathBuf, request: JwtsvidRequest) -> Result<Jwtsvid, Failure> {
    let svids = ask_all(path, request, SILENCE).await?;
    svids.into_iter().next().ok_or_else(|| Failure::failed("the node answered without an identity document"))
}

/// All of them. The kernel accepts connections for a process that was stopped, so each step until the answer
/// counts.
async fn ask_all(path: PathBuf, request: JwtsvidRequest, silence: Duration) -> Result<Vec<Jwtsvid>, Failure> {
    let shown = path.display().to_string();
    check_socket_path(&path).map_err(|error| Failure::usage(error.to_string()))?;
    tokio::time::timeout(silence, call(path, &shown, request)).await.unwrap_or_else(|_| {
        let what = format!("cannot reach a node at {shown}: it accepts connections and answers nothing");
        Err(Failure::new(Fault::Unreachable, what).next(STOPPED))
    })
}

/// Connects, as soon as there is room among those who wait for the node (connect(2), `EAGAIN`).
async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::time::sleep(FULL).await,
            connected => return connected,
        }
    }
}

async fn call(path: PathBuf, shown: &str, request: JwtsvidRequest) -> Result<Vec<Jwtsvid>, Failure> {
    let stream = connect(&path).await.map_err(|error| {
        let fault = if error.kind() == std::io::ErrorKind::PermissionDenied {
            Fault::Refused
        } else {
            Fault::Unreachable
        };
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
    let channel = channel.map_err(|error| {
        if hung_up(&error) {
            closed(shown)
        } else {
            Failure::caused(Fault::Unreachable, &no_workload_api(shown), &error)
        }
    })?;
    let mut request = Request::new(request);
    request.metadata_mut().insert(WORKLOAD_METADATA_KEY, MetadataValue::from_static(WORKLOAD_METADATA_VALUE));
    let answer = SpiffeWorkloadApiClient::new(channel)
        .fetch_jwtsvid(request)
        .await
        .map_err(|status| refused(&status, shown))?;
    Ok(answer.into_inner().svids)
}

fn no_workload_api(shown: &str) -> String {
    format!("what listens at {shown} is no Workload API")
}

/// The other end closed the connection without an answer.
fn closed(shown: &str) -> Failure {
    Failure::new(
        Fault::Unreachable,
        format!(
            "the connection to {shown} was closed without an answer. A node does that if it cannot see which program asks, as in \
             another container, or if it has too many connections; or what listens there is no Workload API"
        ),
    )
    .next("look into the log of `mandate node run`, its standard error: it says why a caller \"cannot be attested\"")
}

fn refused(status: &Status, shown: &str) -> Failure {
    if hung_up(status) {
        return closed(shown);
    }
    // A server without gRPC breaks the protocol; one with another service of gRPC does not know the call.
    let broken = matches!(status.code(), Code::Internal | Code::Unknown)
        && std::error::Error::source(status).is_some();
    if broken || status.code() == Code::Unimplemented {
        return Failure::new(Fault::Unreachable, no_workload_api(shown))
            .next("mandate node run … (it prints where it listens as `socket`)");
    }
    let said = if status.message().is_empty() { status.code().description() } else { status.message() };
    match status.code() {
        Code::InvalidArgument => Failure::usage(said),
        Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            Failure::new(Fault::Refused, format!("no identity for this process: {said}"))
                .next("mandate get agents   (whose selectors does this process show?)")
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            Failure::new(Fault::Unreachable, format!("the node cannot answer now: {said}"))
        }
        _ => Failure::failed(format!("the node failed: {said}")),
    }
}

/// A refusal, with what a node sees of this process, as far as this process can tell.
fn explained(failure: Failure) -> Failure {
    if failure.fault() == Fault::Refused { failure.and(&shown_by_this_process()) } else { failure }
}

fn shown_by_this_process() -> String {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let program = std::fs::read_link("/proc/self/exe")
        .map(|path| format!(" unix:path:{}", path.display()))
        .unwrap_or_default();
    format!(
        "This command asked, not the program that started it. It shows unix:uid:{uid} unix:gid:{gid}{program}"
    )
}

/// Whether the one connection ended without an answer. `NotConnected` means the second connection, which the
/// channel asks for; the other errors depend on the state of the first connection.
fn hung_up(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind as K;
    let ended = [K::NotConnected, K::BrokenPipe, K::ConnectionReset, K::ConnectionAborted, K::UnexpectedEof];
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| ended.contains(&error.kind())) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The `exp` of a JWT, unverified: it is only shown, and nothing depends on it.
fn expiry(svid: &str) -> Option<Timestamp> {
    let payload = URL_SAFE_NO_PAD.decode(svid.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("exp").and_then(serde_json::Value::as_u64).map(Timestamp::from_secs)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, ask_all, connect, expiry, explained, refused, socket_path};
    use crate::failure::Fault;
    use mandate_api::proto::workload::{Jwtsvid, JwtsvidRequest};
    use std::path::Path;
    use std::time::Duration;
    use tokio::net::{UnixListener, UnixStream};
    use tonic::{Code, Status};

    #[tokio::test]
    async fn where_too_many_wait_for_the_node_it_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
        let mut connected = std::pin::pin!(connect(&path));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut connected).await.is_err());
        listener.accept().await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), connected)
            .await
            .expect("it is not tried again")
            .unwrap();
    }

    #[tokio::test]
    async fn a_node_that_was_stopped_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        for accepts in [false, true] {
            let socket = dir.path().join(format!("{accepts}.sock"));
            let listener = UnixListener::bind(&socket).unwrap();
            let node = async {
                // Stopped before it saw the connection, or after.
                let _held = if accepts { Some(listener.accept().await.unwrap()) } else { None };
                std::future::pending::<()>().await;
            };
            let asked = ask_all(socket, JwtsvidRequest::default(), Duration::from_millis(200));
            let asked = tokio::time::timeout(Duration::from_secs(20), async {
                tokio::select! {
                    () = node => unreachable!(),
                    asked = asked => asked,
                }
            });
            let failure = asked.await.expect("it waits without end").unwrap_err();
            assert_eq!(failure.fault(), Fault::Unreachable);
            assert!(failure.text().contains("answers nothing\n next: ps -C mandate "), "{}", failure.text());
        }
    }

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

    fn svid(id: &str, hint: &str) -> Jwtsvid {
        Jwtsvid {
            spiffe_id: format!("spiffe://acme.example/{id}"),
            svid: String::new(),
            hint: hint.to_owned(),
        }
    }

    #[test]
    fn of_several_identities_none_is_guessed_and_all_are_named() {
        let both = || vec![svid("agent/a", "a"), svid("x/7", "b")];
        let failure = Wanted::Only.choose(both()).unwrap_err();
        assert_eq!(failure.fault(), Fault::Usage);
        assert!(
            failure.text().contains(
                "--agent a   (spiffe://acme.example/agent/a)\n  --agent b   (spiffe://acme.example/x/7)"
            ),
            "{}",
            failure.text()
        );
        let named = |text: &str| Wanted::Name(text.to_owned()).choose(both()).map(|svid| svid.spiffe_id);
        assert_eq!(named("b").unwrap(), "spiffe://acme.example/x/7");
        assert_eq!(named("c").unwrap_err().fault(), Fault::Refused);
        assert_eq!(
            named("7").unwrap_err().fault(),
            Fault::Refused,
            "the name is the registry's, not the end of the SPIFFE ID"
        );
        assert_eq!(
            Wanted::Only.choose(vec![svid("agent/a", "")]).unwrap().spiffe_id,
            "spiffe://acme.example/agent/a"
        );
        assert_eq!(
            Wanted::Name("a".into()).choose(vec![svid("agent/a", "")]).unwrap().spiffe_id,
            "spiffe://acme.example/agent/a"
        );
        assert_eq!(Wanted::Only.choose(Vec::new()).unwrap_err().fault(), Fault::Failed);
    }

    #[test]
    fn a_refusal_says_what_this_process_shows() {
        let text = explained(refused(&Status::new(Code::PermissionDenied, "no identity issued"), "s")).text();
        assert!(
            text.contains(&format!("unix:uid:{}", rustix::process::geteuid().as_raw()))
                && text.contains("unix:path:/"),
            "{text}"
        );
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
