//! The processes under test, started as an operator starts them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mandate_api::admin::JoinTokenRequest;
use mandate_api::{AdminClient, Endpoint};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::BenchError;
use crate::store::Database;

/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// The trust domain of every server of a run.
pub(crate) const TRUST_DOMAIN: &str = "bench.example";

/// A process that ends with this one.
pub(crate) struct Process {
    child: Child,
    ready: Value,
    /// From starting it to its first line, in milliseconds.
    pub(crate) start_ms: f64,
}

impl Process {
    async fn start(program: &Path, arguments: &[&str], log: &Path, input: &str) -> Result<Self, BenchError> {
        let name = format!("mandate {}", arguments.first().copied().unwrap_or_default());
        let failed = || BenchError::during(&name);
        let stderr = std::fs::File::create(log).map_err(failed())?;
        let began = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .arg("--json")
            .env_remove("MANDATE_DIR")
            .env_remove("MANDATE_STORE")
            .env_remove("MANDATE_STORE_PASSWORD_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(failed())?;
        }
        let stdout =
            child.stdout.take().ok_or_else(|| BenchError(format!("{name} has no standard output")))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .map_err(BenchError::during(&name))?
            .map_err(failed())?;
        let start_ms = began.elapsed().as_secs_f64() * 1e3;
        match line.as_deref().map(serde_json::from_str::<Value>) {
            Some(Ok(ready)) if ready.get("ready") == Some(&Value::Bool(true)) => {
                Ok(Self { child, ready, start_ms })
            }
            _ => Err(BenchError(format!("{name}: {}", std::fs::read_to_string(log).unwrap_or_default()))),
        }
    }

    fn member(&self, name: &str) -> Result<String, BenchError> {
        let found = self.ready.get(name).and_then(Value::as_str).map(str::to_owned);
        found.ok_or_else(|| BenchError(format!("the first line has no {name}")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    pub(crate) async fn stop(mut self) -> Result<(), BenchError> {
        self.child.kill().await.map_err(BenchError::during("stopping a process"))
    }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `mandate serve`.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) issuer: String,
    /// `host:port` of the public listener.
    pub(crate) authority: String,
    pub(crate) admin: AdminClient,
    /// The admin API over TCP, and its socket.
    pub(crate) admin_url: String,
    pub(crate) admin_socket: PathBuf,
    pub(crate) node_address: String,
}

impl Server {
    /// Starts it in `root/serve`, with `mandate.db` there or with another database.
    pub(crate) async fn start(
        program: &Path,
        root: &Path,
        database: Option<&Database>,
    ) -> Result<Self, BenchError> {
        Self::start_with(program, root, database, &[]).await
    }

    /// The same with these options.
    pub(crate) async fn start_with(
        program: &Path,
        root: &Path,
        database: Option<&Database>,
        options: &[&str],
    ) -> Result<Self, BenchError> {
        let loopback = "127.0.0.1:0";
        let dir = text_of(&root.join("serve"));
        let mut arguments = vec![
            "serve",
            "--dir",
            &dir,
            "--listen",
            loopback,
            "--node-listen",
            loopback,
            "--admin-listen",
            loopback,
            "--trust-domain",
            TRUST_DOMAIN,
        ];
        arguments.extend(options);
        if let Some(database) = database {
            arguments.extend(["--store", &database.url]);
        }
        let process = Process::start(program, &arguments, &root.join("serve.log"), "").await?;
        let issuer = process.member("issuer")?;
        let authority = issuer.trim_start_matches("http://").to_owned();
        let admin_socket = PathBuf::from(process.member("admin_socket")?);
        let (admin, admin_url) =
            (AdminClient::new(Endpoint::Socket(admin_socket.clone())), process.member("admin_url")?);
        Ok(Self {
            issuer,
            authority,
            admin,
            admin_url,
            admin_socket,
            node_address: process.member("node_server")?,
            process,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// `mandate node run`.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) socket: PathBuf,
    /// Where its key and certificates are.
    pub(crate) dir: PathBuf,
}

impl Node {
    /// Joins and starts it in `root/node`.
    pub(crate) async fn start(program: &Path, root: &Path, server: &Server) -> Result<Self, BenchError> {
        let token = server
            .admin
            .join_token(&JoinTokenRequest::default())
            .await
            .map_err(BenchError::during("a join token"))?;
        let (dir, socket) = (root.join("node"), root.join("agent.sock"));
        let (dir_text, socket_text) = (text_of(&dir), text_of(&socket));
        let arguments = [
            "node",
            "run",
            "--dir",
            &dir_text,
            "--server",
            &server.node_address,
            "--join-token-file",
            "-",
            "--socket",
            &socket_text,
        ];
        let process =
            Process::start(program, &arguments, &root.join("node.log"), &format!("{}\n", token.token))
                .await?;
        Ok(Self { process, socket, dir })
    }
}
