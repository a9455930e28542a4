//! The processes of the demo: the control plane and the node as child processes, and the CRM.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use mandate_api::admin::JoinTokenRequest;
use mandate_api::{AdminClient, Endpoint};
use mandate_core::{Issuer, ResourceUri};
use mandate_crm::{Protection, SharedKey};
use mandate_files::Dir;
use mandate_verifier::Verifier;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use super::agent::{Deeds, Orders};
use super::error::DemoError;
use crate::shutdown;

/// How long a child may take until it is ready.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A child process that ends with the demo: it is told when the demo ends normally, and watches its standard
/// input in case the demo is killed.
pub(super) struct DemoProcess {
    _child: Child,
    _stdin: Option<ChildStdin>,
    pub(super) ready: Value,
    /// How long it took until then, in milliseconds.
    pub(super) start_ms: f64,
}

fn this_program() -> Result<PathBuf, DemoError> {
    std::env::current_exe().map_err(|error| DemoError::start("this program", error))
}

/// Starts `mandate ARGUMENTS --json`, feeds it `input`, and waits for the line that says it is ready.
async fn start(
    what: &'static str,
    arguments: &[&str],
    dir: &Path,
    input: &str,
) -> Result<DemoProcess, DemoError> {
    let began = Instant::now();
    let log_path = dir.join(format!("{what}.log"));
    let log = Dir::open(dir).and_then(|dir| dir.create(format!("{what}.log"), 0o600));
    let log = log.map_err(|error| DemoError::file(&log_path, std::io::Error::other(error)))?;
    let mut command = Command::new(this_program()?);
    // The environment of the user who runs the demo may name the directory and the database of another
    // server.
    for name in ["MANDATE_DIR", "MANDATE_STORE", "MANDATE_STORE_PASSWORD_FILE"] {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .arg("--json")
        .env(shutdown::WITH_STDIN, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| DemoError::start(what, error))?;
    let mut stdin = child.stdin.take();
    if let Some(stdin) = &mut stdin {
        stdin.write_all(input.as_bytes()).await.map_err(|error| DemoError::start(what, error))?;
    }
    let stdout = child.stdout.take().ok_or_else(|| DemoError::start(what, "it has no standard output"))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let line = line.map_err(|_| DemoError::start(what, "it was not ready after 30 seconds"))?;
    let line = line.map_err(|error| DemoError::start(what, error))?.unwrap_or_default();
    match serde_json::from_str::<Value>(&line) {
        Ok(ready) if ready.get("ready") == Some(&Value::Bool(true)) => Ok(DemoProcess {
            _child: child,
            _stdin: stdin,
            ready,
            start_ms: began.elapsed().as_secs_f64() * 1e3,
        }),
        _ => {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            Err(DemoError::start(what, format!("it ended with: {}", log.lines().last().unwrap_or("nothing"))))
        }
    }
}

/// Runs `mandate ARGUMENTS` to its end, as an operator would.
pub(super) async fn command(arguments: &[&str]) -> Result<(), DemoError> {
    let mut command = Command::new(this_program()?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // The environment of the user who runs the demo may name another server.
    for name in ["MANDATE_DIR", "MANDATE_ADMIN_URL", "MANDATE_ADMIN_TOKEN_FILE"] {
        command.env_remove(name);
    }
    let what = "the operator's command";
    let output = command.output().await.map_err(|error| DemoError::start(what, error))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(DemoError::start(what, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn member(ready: &Value, name: &str) -> Result<String, DemoError> {
    let found = ready.get(name).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| DemoError::start("mandate serve", format!("its first line has no {name}")))
}

pub(super) struct ControlPlane {
    role: DemoProcess,
    pub(super) issuer: String,
    pub(super) admin: AdminClient,
    pub(super) dir: PathBuf,
    node_server: String,
}

impl ControlPlane {
    pub(super) async fn start(root: &Path, store: &[String]) -> Result<Self, DemoError> {
        let dir = root.join("server");
        let loopback = "127.0.0.1:0";
        let dir_text = text_of(&dir);
        let mut arguments = vec![
            "serve",
            "--dir",
            &dir_text,
            "--listen",
            loopback,
            "--node-listen",
            loopback,
            "--admin-listen",
            loopback,
            "--trust-domain",
            "acme.example",
        ];
        arguments.extend(store.iter().map(String::as_str));
        let role = start("serve", &arguments, root, "").await?;
        let admin = AdminClient::new(Endpoint::Socket(member(&role.ready, "admin_socket")?.into()));
        Ok(Self {
            issuer: member(&role.ready, "issuer")?,
            node_server: member(&role.ready, "node_server")?,
            admin,
            dir,
            role,
        })
    }

    pub(super) fn start_ms(&self) -> f64 {
        self.role.start_ms
    }
}

/// The node of this machine.
pub(super) struct Node {
    role: DemoProcess,
    pub(super) socket: PathBuf,
}

impl Node {
    pub(super) async fn start(root: &Path, server: &ControlPlane) -> Result<Self, DemoError> {
        let token = server.admin.join_token(&JoinTokenRequest::default()).await?;
        let socket = root.join("agent.sock");
        let (dir, socket_text) = (text_of(&root.join("node")), text_of(&socket));
        let arguments = [
            "node",
            "run",
            "--dir",
            &dir,
            "--server",
            &server.node_server,
            "--join-token-file",
            "-",
            "--socket",
            &socket_text,
        ];
        let role = start("node", &arguments, root, &format!("{}\n", token.token)).await?;
        Ok(Self { role, socket })
    }

    pub(super) fn start_ms(&self) -> f64 {
        self.role.start_ms
    }
}

/// A CRM that is being served.
pub(super) struct Crm {
    task: JoinHandle<Result<(), mandate_crm::CrmError>>,
    pub(super) url: String,
    pub(super) database: PathBuf,
}

impl Drop for Crm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bind() -> Result<(TcpListener, String), DemoError> {
    let listener =
        TcpListener::bind("127.0.0.1:0").await.map_err(|error| DemoError::start("the CRM", error))?;
    let address = listener.local_addr().map_err(|error| DemoError::start("the CRM", error))?;
    Ok((listener, format!("http://{address}")))
}

impl Crm {
    fn serve(listener: TcpListener, url: String, database: PathBuf, protection: Protection) -> Self {
        let path = database.clone();
        let task = tokio::spawn(async move { mandate_crm::serve(listener, &path, protection).await });
        Self { task, url, database }
    }

    /// The world before: one key.
    pub(super) async fn with_shared_key(root: &Path, key_file: &Path) -> Result<Self, DemoError> {
        let (listener, url) = bind().await?;
        let key = SharedKey::from_file(key_file).map_err(|error| DemoError::start("the CRM", error))?;
        Ok(Self::serve(listener, url, root.join("crm-before.db"), Protection::dangerous_shared_key(key)))
    }

    /// The world after: its URL is needed first, to be registered as a resource.
    pub(super) async fn bind() -> Result<Bound, DemoError> {
        let (listener, url) = bind().await?;
        Ok(Bound { listener, url })
    }
}

/// A CRM that has an address and does not serve yet.
pub(super) struct Bound {
    listener: TcpListener,
    pub(super) url: String,
}

impl Bound {
    pub(super) async fn with_mandate(self, root: &Path, issuer: &str) -> Result<(Crm, Verifier), DemoError> {
        let bad = |error: &dyn std::fmt::Display| DemoError::start("the CRM", error.to_string());
        let issuer: Issuer = issuer.parse().map_err(|error| bad(&error))?;
        let resource: ResourceUri = self.url.parse().map_err(|error| bad(&error))?;
        let verifier = Verifier::builder(issuer, resource)
            .scopes_supported(mandate_crm::scopes())
            .build()
            .map_err(|error| bad(&error))?;
        let crm = Crm::serve(
            self.listener,
            self.url,
            root.join("crm-after.db"),
            Protection::Mandate(verifier.clone()),
        );
        verifier.ready().await;
        Ok((crm, verifier))
    }
}

/// Lets the scripted agent work, as a separate process.
pub(super) async fn play(orders: &Orders) -> Result<Deeds, DemoError> {
    let what = "the agent";
    let mut child = Command::new(this_program()?)
        .args(["demo", "agent", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| DemoError::start(what, error))?;
    if let Some(mut stdin) = child.stdin.take() {
        let text = serde_json::to_vec(orders).map_err(|error| DemoError::start(what, error))?;
        stdin.write_all(&text).await.map_err(|error| DemoError::start(what, error))?;
    }
    let output = child.wait_with_output().await.map_err(|error| DemoError::start(what, error))?;
    if !output.status.success() {
        return Err(DemoError::start(what, String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| DemoError::start(what, error))
}
