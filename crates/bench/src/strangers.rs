//! The cost of strangers, and how much they slow operators down.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mandate_api::admin::{ApplyRequest, RegistryItem, RevocationRequest, RevocationTarget};
use mandate_api::{AdminClient, RegistryFile};
use mandate_core::registry::{AgentState, EntryKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::http::{Connection, post_form};
use crate::identity_provider::IdentityProvider;
use crate::kernel::{CpuTime, at_rest, open_files, resident_mib};
use crate::load;
use crate::node_link::NodeLink;
use crate::processes::{Node, Server};
use crate::registry::{self, SCOPES, agent, person};

/// How many agents there are.
const AGENTS: usize = 16;

/// How many cuts are in force, and how many are made at the same time.
const CUTS: (usize, usize) = (18_000, 32);

/// How many of the first and of the last cuts are compared.
const COMPARED_CUTS: usize = 2_000;

/// How many feed readers read nothing.
const READERS: usize = 1024;

/// How many bytes of the feed each of them accepts before it accepts nothing more: the size of its kernel's
/// buffer.
const RECEIVE_BUFFER: u32 = 4096;

/// How long the server may take until it has filled the kernel's buffers for each of them.
const SETTLED: Duration = Duration::from_secs(6);

/// Longer than the server waits for a reader that reads nothing.
const ENDED: Duration = Duration::from_secs(45);

/// How many strangers flood each listener at the same time.
const FLOOD: usize = 16;

/// How much is measured.
pub(crate) struct StrangersExtent {
    refusals: usize,
    suspensions: usize,
}

impl StrangersExtent {
    pub(crate) fn full() -> Self {
        Self { refusals: 8192, suspensions: 400 }
    }

    pub(crate) fn quick() -> Self {
        Self { refusals: 2048, suspensions: 60 }
    }
}

/// Durations in milliseconds.
#[derive(Clone, Copy)]
struct Spread {
    p50: f64,
    p99: f64,
    most: f64,
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list"
        )]
        let at = |share: f64| {
            all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1)))
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self { p50: at(0.5), p99: at(0.99), most: at(1.0) }
    }

    fn json(self) -> Value {
        json!({ "p50": round(self.p50), "p99": round(self.p99), "max": round(self.most) })
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The figures of a run.
pub(crate) struct StrangersFigures {
    idle_mib: f64,
    readers_mib: f64,
    readers_open: usize,
    readers_left: usize,
    refused_us: f64,
    permitted_us: f64,
    first_cuts_us: f64,
    last_cuts_us: f64,
    alone: Spread,
    flooded: Spread,
    flood_requests: u64,
}

impl StrangersFigures {
    pub(crate) fn table(&self) -> String {
        format!(
            "feed readers that read nothing  {} of {READERS}, {} cuts in force: {:.1} MiB over {:.1} MiB idle; {} of them left after {} s\n\
             CPU time of a refused stranger  {:.0} us, of a permitted exchange {:.0} us: {:.2}\n\
             CPU time of a revocation        first {COMPARED_CUTS} {:.0} us, last {COMPARED_CUTS} {:.0} us: {:.2}\n\
             agent suspend, alone            p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n\
             agent suspend, flooded          p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} requests and connections meanwhile)\n",
            self.readers_open,
            CUTS.0,
            self.readers_mib,
            self.idle_mib,
            self.readers_left,
            ENDED.as_secs(),
            self.refused_us,
            self.permitted_us,
            self.refused_us / self.permitted_us,
            self.first_cuts_us,
            self.last_cuts_us,
            self.last_cuts_us / self.first_cuts_us,
            self.alone.p50,
            self.alone.p99,
            self.alone.most,
            self.flooded.p50,
            self.flooded.p99,
            self.flooded.most,
            self.flood_requests
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cuts": CUTS.0,
            "feed_readers": self.readers_open,
            "idle_rss_mib": round(self.idle_mib),
            "feed_readers_mib": round(self.readers_mib),
            "feed_readers_left": self.readers_left,
            "refused_cpu_us": round(self.refused_us),
            "permitted_cpu_us": round(self.permitted_us),
            "refused_cpu_ratio": round(self.refused_us / self.permitted_us),
            "first_revocations_cpu_us": round(self.first_cuts_us),
            "last_revocations_cpu_us": round(self.last_cuts_us),
            "revocations_cpu_ratio": round(self.last_cuts_us / self.first_cuts_us),
            "suspend_ms": self.alone.json(),
            "suspend_ms_flooded": self.flooded.json(),
            "flood_requests": self.flood_requests,
        })
    }
}

fn say(what: &str) {
    eprintln!("bench: {what} …");
}

/// Runs the whole benchmark of strangers.
pub(crate) async fn measure(
    program: &Path,
    extent: &StrangersExtent,
    root: &Path,
) -> Result<StrangersFigures, BenchError> {
    // This process holds the other ends.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)
        .map_err(BenchError::during("raising the limit of open files"))?;

    say("starting the server, the identity provider and a node");
    let server = Server::start(program, root, None).await?;
    let mut people = IdentityProvider::start(SCOPES).await?;
    registry::fill(&server.admin, &people.url, AGENTS).await?;
    let node = Node::start(program, root, &server).await?;
    let link = NodeLink::open(&node.dir, &server.node_address, &server.issuer).await?;
    let svid = link.svids(&[0]).await?.pop().ok_or_else(|| BenchError("no identity".to_owned()))?;
    let exchange = load::request(&server.authority, &svid, &people.token(&person(0))?);

    say("refused strangers and permitted exchanges");
    let permitted_us = cpu_us(&server, &exchange, extent.refusals, 200).await?;
    let nobody =
        post_form(&server.authority, "/token", "grant_type=authorization_code&client_id=nobody&code=x");
    let refused_us = cpu_us(&server, &nobody, extent.refusals, 401).await?;

    say("agent suspend, alone and while all listeners are flooded");
    let alone = suspensions(&server.admin, extent.suspensions).await?;
    let (flooded, flood_requests) = flooded(&server, extent.suspensions).await?;

    say("18,000 revocations");
    let first_cuts_us = cut(&server, 0..COMPARED_CUTS).await?;
    cut(&server, COMPARED_CUTS..CUTS.0 - COMPARED_CUTS).await?;
    let last_cuts_us = cut(&server, CUTS.0 - COMPARED_CUTS..CUTS.0).await?;
    say("feed readers that read nothing");
    at_rest(server.pid()).await?;
    let (idle_mib, idle_files) = (resident_mib(server.pid())?, open_files(server.pid())?);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(reader(&server.authority).await?);
    }
    tokio::time::sleep(SETTLED).await;
    let readers_mib = resident_mib(server.pid())? - idle_mib;
    let readers_open = open_files(server.pid())?.saturating_sub(idle_files);
    tokio::time::sleep(ENDED.saturating_sub(SETTLED)).await;
    let readers_left = open_files(server.pid())?.saturating_sub(idle_files);
    drop(readers);
    node.process.stop().await?;
    server.process.stop().await?;
    Ok(StrangersFigures {
        idle_mib,
        readers_mib,
        readers_open,
        readers_left,
        refused_us,
        permitted_us,
        first_cuts_us,
        last_cuts_us,
        alone,
        flooded,
        flood_requests,
    })
}

/// CPU time of the server for each of `count` requests that are answered with `status`, in microseconds.
async fn cpu_us(server: &Server, request: &[u8], count: usize, status: u16) -> Result<f64, BenchError> {
    let before = at_rest(server.pid()).await?;
    let mut workers = JoinSet::new();
    for _ in 0..load::CONNECTIONS {
        let (mut connection, request) = (Connection::open(&server.authority).await?, request.to_vec());
        workers.spawn(async move {
            for _ in 0..count / load::CONNECTIONS {
                let answer = connection.exchange(&request).await?;
                if answer.status != status {
                    return Err(BenchError(format!(
                        "{} instead of {status}: {}",
                        answer.status,
                        String::from_utf8_lossy(answer.body)
                    )));
                }
            }
            Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done.map_err(BenchError::during("a worker"))??;
    }
    let cpu: CpuTime = at_rest(server.pid()).await?.since(before);
    Ok(per_request(cpu, count))
}

/// CPU time of each request, in microseconds.
fn per_request(cpu: CpuTime, requests: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let requests = requests as f64;
    cpu.total() * 1e6 / requests
}

/// Suspends and activates an agent, one after the other: how long each took.
async fn suspensions(admin: &AdminClient, count: usize) -> Result<Spread, BenchError> {
    let failed = || BenchError::during("agent suspend");
    let name = agent(1);
    let mut all = Vec::with_capacity(count);
    for n in 0..count {
        let began = Instant::now();
        let mut item = admin.entry(EntryKind::Agent, &name).await.map_err(failed())?.item;
        if let RegistryItem::Agent(agent) = &mut item {
            agent.state = Some(if n % 2 == 0 { AgentState::Suspended } else { AgentState::Active });
        }
        let request =
            ApplyRequest { entries: RegistryFile::from_items([item]), prune: false, dry_run: false };
        admin.apply(&request).await.map_err(failed())?;
        all.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Spread::of(all))
}

/// The same while strangers flood all four listeners, and how much they sent. The operator has its own
/// thread, so that the cost of the flood in this process does not count as the server's.
async fn flooded(server: &Server, count: usize) -> Result<(Spread, u64), BenchError> {
    let stop = Arc::new(AtomicBool::new(false));
    let public = server.authority.clone();
    let admin = server.admin_url.trim_start_matches("http://").to_owned();
    let get = |authority: &str, path: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n").into_bytes()
    };
    let refused = post_form(&public, "/token", "grant_type=authorization_code&client_id=nobody&code=x");
    let floods = [
        (Some(public.clone()), refused),
        (Some(public.clone()), get(&public, "/revocations")),
        (Some(admin.clone()), get(&admin, "/v1/status")),
        (Some(server.node_address.clone()), vec![0x16, 3, 1, 2, 0, 1]),
        (None, get("admin", "/v1/nothing")),
    ];
    let mut strangers = JoinSet::new();
    for (address, request) in &floods {
        for _ in 0..FLOOD {
            strangers.spawn(stranger(
                address.clone(),
                server.admin_socket.clone(),
                request.clone(),
                Arc::clone(&stop),
            ));
        }
    }
    let admin = server.admin.clone();
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::during("a runtime"))?;
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            suspensions(&admin, count).await
        })
    });
    let measured = measured.await.map_err(BenchError::during("an operator"))?;
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    while let Some(one) = strangers.join_next().await {
        sent += one.map_err(BenchError::during("a stranger"))?;
    }
    Ok((measured?, sent))
}

/// Connects, sends a request some times, and connects again, until it is told to stop. Returns how often it
/// sent.
async fn stranger(
    address: Option<String>,
    socket: std::path::PathBuf,
    request: Vec<u8>,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += match &address {
            Some(address) => match TcpStream::connect(address).await {
                Ok(stream) => a_few(stream, &request).await,
                Err(_) => 0,
            },
            None => match UnixStream::connect(&socket).await {
                Ok(stream) => a_few(stream, &request).await,
                Err(_) => 0,
            },
        };
        tokio::task::yield_now().await;
    }
    sent
}

async fn a_few(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, request: &[u8]) -> u64 {
    let mut buffer = [0; 4096];
    for sent in 0..8 {
        if stream.write_all(request).await.is_err() {
            return sent;
        }
        match tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return sent + 1,
        }
    }
    8
}

/// Makes these cuts. Returns the CPU time of the server for each, in microseconds.
async fn cut(server: &Server, cuts: Range<usize>) -> Result<f64, BenchError> {
    let before = at_rest(server.pid()).await?;
    let at_once = CUTS.1;
    let mut workers = JoinSet::new();
    for first in 0..at_once {
        let (admin, cuts) = (server.admin.clone(), cuts.clone());
        workers.spawn(async move {
            for n in cuts.skip(first).step_by(at_once) {
                let id = format!("token-{n}").parse().map_err(BenchError::during("the id of a token"))?;
                let request = RevocationRequest { target: RevocationTarget::Token(id) };
                admin.revoke(&request).await.map_err(BenchError::during("a revocation"))?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done.map_err(BenchError::during("a worker"))??;
    }
    let cpu: CpuTime = at_rest(server.pid()).await?.since(before);
    Ok(per_request(cpu, cuts.len()))
}

async fn reader(authority: &str) -> Result<TcpStream, BenchError> {
    let failed = || BenchError::during("a feed reader");
    let address: SocketAddr = authority.parse().map_err(BenchError::during("the address of the server"))?;
    let socket = TcpSocket::new_v4().map_err(failed())?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(failed())?;
    let mut stream = socket.connect(address).await.map_err(failed())?;
    let request = format!("GET /revocations HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed())?;
    Ok(stream)
}
