//! A node under test, and clients of its socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mandate_api::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use mandate_core::{Clock, Secret, SystemClock, SystemEntropy};
use mandate_node::{NodeConfig, NodeError, NodeReady};
use mandate_testkit::clock::SteppedClock;
use spiffe::WorkloadApiClient;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::server::Server;

/// Longer than anything here takes; reached only by a failing test.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A clock that stands still at the true time: the client library under test has only the system's clock.
pub(crate) fn clock() -> Arc<SteppedClock> {
    Arc::new(SteppedClock::at(SystemClock.now()))
}

/// The selector of the user who runs these tests.
pub(crate) fn my_uid() -> String {
    format!("unix:uid:{}", rustix::process::getuid().as_raw())
}

/// The selector of the program that runs these tests.
pub(crate) fn my_path() -> String {
    format!("unix:path:{}", std::fs::read_link("/proc/self/exe").unwrap().display())
}

/// Where a node keeps its things.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("run/api.sock")
    }

    pub(crate) fn config(&self, server: &Server, join_token: Option<String>) -> NodeConfig {
        NodeConfig {
            dir: self.dir(),
            server: server.address.to_string(),
            join_token: join_token.map(Secret::new),
            socket: self.socket(),
        }
    }
}

/// A running node.
pub(crate) struct Running {
    ready: oneshot::Receiver<NodeReady>,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<Result<(), NodeError>>,
}

impl Running {
    pub(crate) fn start(config: NodeConfig, clock: Arc<SteppedClock>) -> Self {
        let (is_ready, ready) = oneshot::channel();
        let (shutdown, stopped) = oneshot::channel();
        let ready_now = move |found: NodeReady| drop(is_ready.send(found));
        let task =
            tokio::spawn(mandate_node::run(config, clock, Arc::new(SystemEntropy), ready_now, async move {
                drop(stopped.await);
            }));
        Self { ready, shutdown, task }
    }

    /// Waits until it serves.
    pub(crate) async fn ready(&mut self) -> NodeReady {
        tokio::time::timeout(LONG, &mut self.ready)
            .await
            .expect("the node was not ready in time")
            .expect("the node ended before it was ready")
    }

    /// Shuts it down cleanly.
    pub(crate) async fn stop(self) {
        let _ = self.shutdown.send(());
        tokio::time::timeout(LONG, self.task).await.expect("the node did not stop in time").unwrap().unwrap();
    }

    /// Waits for it to give up.
    pub(crate) async fn failure(self) -> NodeError {
        tokio::time::timeout(LONG, self.task)
            .await
            .expect("the node did not end in time")
            .unwrap()
            .unwrap_err()
    }
}

/// A node that has joined a running server and is entitled to nothing yet.
pub(crate) struct World {
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) server: Server,
    pub(crate) place: Place,
    pub(crate) node: Running,
}

impl World {
    pub(crate) async fn new(entries: &[(&str, &[&str])]) -> Self {
        let clock = clock();
        let server = Server::started(clock.clone());
        server.entries(entries);
        let place = Place::new();
        let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
        node.ready().await;
        Self { clock, server, place, node }
    }

    pub(crate) async fn client(&self) -> WorkloadApiClient {
        client(&self.place.socket()).await
    }

    pub(crate) async fn raw(&self) -> SpiffeWorkloadApiClient<Channel> {
        raw(&self.place.socket()).await
    }

    /// How many SVIDs the server was asked for.
    pub(crate) fn issued(&self) -> usize {
        self.server.book().issued.len()
    }
}

/// The independent client.
pub(crate) async fn client(socket: &Path) -> WorkloadApiClient {
    WorkloadApiClient::connect_to(format!("unix:{}", socket.display())).await.unwrap()
}

/// A client that sends what it is told.
pub(crate) async fn raw(socket: &Path) -> SpiffeWorkloadApiClient<Channel> {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    SpiffeWorkloadApiClient::new(
        Endpoint::from_static("http://node").connect_with_connector(connect).await.unwrap(),
    )
}

/// A request with the security header.
pub(crate) fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

/// Tries until it succeeds: for effects of a push, which come a moment later.
pub(crate) async fn soon<T, E: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    tokio::time::timeout(LONG, async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await
    .expect("it did not come about in time")
}

/// The status behind the independent client's error.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> (tonic::Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}
