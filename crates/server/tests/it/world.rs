//! A running server, a node that joined it, and the people of the story.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{
    ApplyRequest, AuditQuery, AuditRecord, ClientSecretRequest, JoinTokenRequest, PasswordRequest,
};
use mandate_api::{AdminClient, Endpoint, registry_file};
use mandate_core::{Clock as _, Secret, SystemClock, SystemEntropy, Timestamp};
use mandate_node::NodeError;
use mandate_server::{ServeConfig, ServerError, ServerReady, StoreAddress, Transport};
use mandate_testkit::app::{self, App, CLIENT_SECRET, CRM, PASSWORD, exchange};
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::database;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes; reached only by a failing test.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The SPIFFE ID of an agent of the story.
pub(crate) fn spiffe_id(agent: &str) -> String {
    format!("spiffe://acme.example/agent/{agent}")
}

/// A running server.
pub(crate) struct Server {
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) ready: ServerReady,
    pub(crate) admin: AdminClient,
    pub(crate) app: App,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
    dir: TempDir,
}

impl Server {
    /// An empty one. Its clock stands still at the true time, because its TLS has only the system's clock.
    pub(crate) async fn empty() -> Self {
        Self::empty_at(SystemClock.now()).await
    }

    /// An empty one whose clock stands still at `time`: less than a certificate's lifetime away from the
    /// system's clock.
    async fn empty_at(time: Timestamp) -> Self {
        Self::start(tempfile::tempdir().unwrap(), Arc::new(SteppedClock::at(time)))
            .await
            .map_err(|(_, error)| error)
            .unwrap()
    }

    /// The options of a server in `dir`.
    pub(crate) fn config(dir: &TempDir) -> ServeConfig {
        let loopback = "127.0.0.1:0".parse().unwrap();
        ServeConfig {
            dir: dir.path().join("server"),
            store: if database::is_postgres() {
                StoreAddress::Postgres(Box::new(
                    database::url_of(&dir.path().join("server")).parse().unwrap(),
                ))
            } else {
                StoreAddress::Embedded
            },
            listen: loopback,
            node_listen: loopback,
            admin_listen: loopback,
            transport: Transport::LoopbackHttp,
            issuer: None,
            node_rejoin_grace: std::time::Duration::ZERO,
            accept_log_that_went_back: false,
            trust_domain: Some("acme.example".parse().unwrap()),
            allowed_hosts: vec!["allowed.example".to_owned()],
            dynamic_registration: false,
            client_metadata_hosts: Vec::new(),
        }
    }

    /// An empty one with other options than those of [`Server::config`].
    pub(crate) async fn empty_with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Self::config(&dir);
        change(&mut config);
        let clock = Arc::new(SteppedClock::at(SystemClock.now()));
        Self::start_as(config, dir, clock).await.map_err(|(_, error)| error).unwrap()
    }

    async fn start(dir: TempDir, clock: Arc<SteppedClock>) -> Result<Self, (TempDir, ServerError)> {
        Self::start_as(Self::config(&dir), dir, clock).await
    }

    /// One with these options in a directory that may have been used.
    pub(crate) async fn start_as(
        config: ServeConfig,
        dir: TempDir,
        clock: Arc<SteppedClock>,
    ) -> Result<Self, (TempDir, ServerError)> {
        let (is_ready, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = mandate_server::run(
            config,
            clock.clone(),
            Arc::new(SystemEntropy),
            move |found: &ServerReady| drop(is_ready.send(found.clone())),
            async move { drop(stopped.await) },
        );
        let task = tokio::spawn(running);
        let Ok(ready) = tokio::time::timeout(LONG, ready).await.expect("the server was not ready in time")
        else {
            return Err((dir, task.await.unwrap().unwrap_err()));
        };
        let admin = AdminClient::new(Endpoint::Socket(ready.admin_socket.clone()));
        let app = App::new(ready.issuer.as_str());
        Ok(Self { clock, ready, admin, app, stop, task, dir })
    }

    /// One with the registry of the story and its passwords.
    pub(crate) async fn story() -> Self {
        Self::story_at(SystemClock.now()).await
    }

    /// The same at another time.
    pub(crate) async fn story_at(time: Timestamp) -> Self {
        Self::story_with(time, |_| {}).await
    }

    /// The same with other options than those of [`Server::config`].
    pub(crate) async fn story_with(time: Timestamp, change: impl FnOnce(&mut ServeConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Self::config(&dir);
        change(&mut config);
        let clock = Arc::new(SteppedClock::at(time));
        let server = Self::start_as(config, dir, clock).await.map_err(|(_, error)| error).unwrap();
        server.apply(&app::registry(CRM, rustix::process::getuid().as_raw())).await;
        for name in ["riley", "olga"] {
            server
                .admin
                .set_password(name, &PasswordRequest { password: PASSWORD.to_owned() })
                .await
                .unwrap();
        }
        server
            .admin
            .set_client_secret("desk-app", &ClientSecretRequest { secret: CLIENT_SECRET.to_owned() })
            .await
            .unwrap();
        server
    }

    pub(crate) async fn apply(&self, text: &str) {
        let entries = registry_file::parse(text).unwrap();
        self.admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
    }

    pub(crate) fn issuer(&self) -> &str {
        self.ready.issuer.as_str()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    /// Records, newest first.
    pub(crate) async fn records(&self, query: AuditQuery) -> Vec<AuditRecord> {
        self.admin.audit_records(&query).await.unwrap()
    }

    pub(crate) async fn audit_size(&self) -> u64 {
        self.admin.status().await.unwrap().audit_size.unwrap()
    }

    pub(crate) async fn newest_record(&self) -> AuditRecord {
        self.records(AuditQuery { limit: Some(1), ..AuditQuery::default() }).await.remove(0)
    }

    /// A node that has joined.
    pub(crate) async fn node(&self) -> Node {
        let token = self.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
        self.node_in("node", Some(token)).await.unwrap()
    }

    /// The server's own directory.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    /// Where the node `name` keeps its things.
    pub(crate) fn node_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node with its things in `name`, or why it does not come up.
    pub(crate) async fn node_in(&self, name: &str, join_token: Option<String>) -> Result<Node, NodeError> {
        self.node_with_clock(name, join_token, self.clock.clone()).await
    }

    /// The same, with a clock of its own.
    pub(crate) async fn node_with_clock(
        &self,
        name: &str,
        join_token: Option<String>,
        clock: Arc<SteppedClock>,
    ) -> Result<Node, NodeError> {
        let dir = self.node_dir(name);
        let socket = dir.join("run/api.sock");
        let config = mandate_node::NodeConfig {
            dir,
            server: self.ready.node_server.to_string(),
            join_token: join_token.map(Secret::new),
            socket: socket.clone(),
        };
        let (is_ready, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = mandate_node::run(
            config,
            clock,
            Arc::new(SystemEntropy),
            move |found: mandate_node::NodeReady| drop(is_ready.send(found)),
            async move { drop(stopped.await) },
        );
        let mut task = tokio::spawn(running);
        tokio::select! {
            ready = ready => match ready {
                Ok(ready) => Ok(Node { spiffe_id: ready.spiffe_id.to_string(), socket, issuer: self.issuer().to_owned(), stop, task }),
                Err(_) => Err(task.await.unwrap().unwrap_err()),
            },
            ended = &mut task => Err(ended.unwrap().unwrap_err()),
            () = tokio::time::sleep(LONG) => panic!("the node was not ready in time"),
        }
    }

    /// Riley's mandate for her agent: the token, straight from the token endpoint.
    pub(crate) async fn mandate(&self, node: &Node) -> String {
        let subject = self.app.person_token("riley", None, None).await;
        let svid = node.svid("support-agent").await.unwrap();
        let answer = self.app.token(&exchange(&svid, &subject, CRM, "read:cases")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.ended().await;
    }

    /// Shuts it down cleanly, and starts it again on the same directory.
    pub(crate) async fn restart(self) -> Self {
        let clock = Arc::clone(&self.clock);
        Self::start_again(self.ended().await, clock).await.map_err(|(_, error)| error).unwrap()
    }

    /// Starts in a directory whose server has ended.
    pub(crate) async fn start_again(
        mut dir: TempDir,
        clock: Arc<SteppedClock>,
    ) -> Result<Self, (TempDir, ServerError)> {
        let begun = std::time::Instant::now();
        loop {
            match Self::start(dir, Arc::clone(&clock)).await {
                // A process that ends lets go of its directory at once; here the last connections still hold
                // it.
                Err((held, ServerError::Store(_))) if begun.elapsed() < LONG => dir = held,
                started => return started,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it ends without being told to. Returns why.
    pub(crate) async fn ends_by_itself(self) -> ServerError {
        let Self { task, stop, dir, .. } = self;
        let ended = task.await.unwrap().unwrap_err();
        drop((stop, dir));
        ended
    }

    /// Shuts it down cleanly; its directory stays.
    pub(crate) async fn ended(self) -> TempDir {
        let _ = self.stop.send(());
        tokio::time::timeout(LONG, self.task)
            .await
            .expect("the server did not stop in time")
            .unwrap()
            .unwrap();
        self.dir
    }
}

/// A running node; the test's own process is what it attests.
pub(crate) struct Node {
    pub(crate) spiffe_id: String,
    socket: PathBuf,
    issuer: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), NodeError>>,
}

impl Node {
    /// The JWT-SVID of an agent for our issuer.
    pub(crate) async fn svid(&self, agent: &str) -> Result<String, tonic::Status> {
        app::fetch_svid(&self.socket, &spiffe_id(agent), &self.issuer).await
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(LONG, self.task).await.expect("the node did not stop in time").unwrap().unwrap();
    }
}

/// Tries until it is true: for effects of a push, which come a moment later.
pub(crate) async fn soon(mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it did not come about in time");
}
