//! One run, from the first start to the last figure.

use std::path::Path;
use std::sync::Arc;

use mandate_core::names::ResponseParameter;
use mandate_core::{Entropy as _, SystemEntropy};
use serde_json::Value;

use crate::crypto::{Key, RawCrypto, median, on_all_cores};
use crate::error::BenchError;
use crate::figures::{Figures, Rate};
use crate::http::Connection;
use crate::identity_provider::IdentityProvider;
use crate::kernel::{CpuTime, at_rest, resident_mib};
use crate::load::{self, CONNECTIONS, Latency, LoadOutcome, ROUND, exchange_once};
use crate::node_link::NodeLink;
use crate::processes::{Node, Server};
use crate::profile::Recording;
use crate::registry::{self, SCOPES, person};
use crate::store::{Database, Store, StoreKind};
use crate::svid::Workload;
use crate::{scale, verification};

/// How many agents the main server has.
const AGENTS: usize = 64;

/// How many rounds of exchanges are sampled to find out where the CPU time is spent.
const SAMPLED: usize = 2;

/// How much is measured.
pub(crate) struct Extent {
    rounds: usize,
    load_seconds: f64,
    exchanges_before_memory: usize,
    svid_rounds: usize,
    verification_rounds: usize,
    scale: scale::ScaleExtent,
}

impl Extent {
    /// What the published figures are made with.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 11,
            load_seconds: 5.0,
            exchanges_before_memory: 100_000,
            svid_rounds: 21,
            verification_rounds: 101,
            scale: scale::ScaleExtent { rounds: 5, per_round: 1_000 },
        }
    }

    /// For a run of about a minute.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 3,
            load_seconds: 1.5,
            exchanges_before_memory: 15_000,
            svid_rounds: 9,
            verification_rounds: 41,
            scale: scale::ScaleExtent { rounds: 3, per_round: 500 },
        }
    }
}

/// A server, and the requests with which it is loaded.
struct Target<'a> {
    server: &'a Server,
    store: &'a Store,
    link: NodeLink,
    people: IdentityProvider,
    /// Tokens of agents and people that are used again and again, as real ones are.
    reused: Arc<Vec<Vec<u8>>>,
    exchanges: usize,
}

/// What was done in rounds, and the server's CPU time for it.
struct Done {
    outcome: LoadOutcome,
    /// For each round, microseconds for an exchange: in total, and the part in the kernel.
    cpu_us: Vec<f64>,
    system_us: Vec<f64>,
    /// For each round, its CPU time for an exchange / that of the cryptography, measured right before and
    /// after it.
    ratios: Vec<f64>,
    /// For each round, microseconds of CPU time of the PostgreSQL server for an exchange; empty with SQLite.
    database_us: Vec<f64>,
}

impl Done {
    fn nothing() -> Self {
        Self {
            outcome: LoadOutcome::none(),
            cpu_us: Vec::new(),
            system_us: Vec::new(),
            ratios: Vec::new(),
            database_us: Vec::new(),
        }
    }

    fn round(outcome: LoadOutcome, cpu: CpuTime, database: Option<CpuTime>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a count of exchanges")]
        let count = outcome.count() as f64;
        let each = |seconds: f64| seconds * 1e6 / count;
        Self {
            outcome,
            cpu_us: vec![each(cpu.total())],
            system_us: vec![each(cpu.system)],
            ratios: Vec::new(),
            database_us: database.map(|cpu| each(cpu.total())).into_iter().collect(),
        }
    }

    /// Adds a round, around which the cryptography of an exchange took `raw_us`.
    fn add(&mut self, other: Self, raw_us: f64) {
        self.outcome.extend(other.outcome);
        self.ratios.extend(other.cpu_us.iter().map(|cpu_us| cpu_us / raw_us));
        self.cpu_us.extend(other.cpu_us);
        self.system_us.extend(other.system_us);
        self.database_us.extend(other.database_us);
    }

    /// Medians over the rounds, as raw cryptography's are over its samples: other tenants of the machine come
    /// and go.
    fn rate(&self) -> Rate {
        #[expect(clippy::cast_precision_loss, reason = "a count of exchanges")]
        let count = self.outcome.count() as f64;
        Rate {
            per_second: count / self.outcome.elapsed.as_secs_f64(),
            cpu_us: median(&self.cpu_us),
            system_us: median(&self.system_us),
            ratio: median(&self.ratios),
            database_us: (!self.database_us.is_empty()).then(|| median(&self.database_us)),
            latency: self.outcome.latency(),
        }
    }
}

impl Target<'_> {
    /// Requests none of whose tokens the server has seen.
    async fn new_requests(&mut self, count: usize) -> Result<Arc<Vec<Vec<u8>>>, BenchError> {
        let agents: Vec<usize> = (0..count).map(|at| at % AGENTS).collect();
        let svids = self.link.svids(&agents).await?;
        let mut requests = Vec::with_capacity(count);
        for (agent, svid) in agents.iter().zip(&svids) {
            requests.push(load::request(&self.server.authority, svid, &self.people.token(&person(*agent))?));
        }
        Ok(Arc::new(requests))
    }

    async fn closed(&mut self, requests: &Arc<Vec<Vec<u8>>>, count: usize) -> Result<Done, BenchError> {
        let (before, database_before) = (CpuTime::of(self.server.pid())?, self.store.cpu()?);
        let outcome = load::closed(&self.server.authority, requests, count, CONNECTIONS).await?;
        self.exchanges += outcome.count();
        // What the server does behind its answers belongs to them, and must not run beside what is measured
        // next.
        let cpu = at_rest(self.server.pid()).await?.since(before);
        let database = self.store.cpu()?.zip(database_before).map(|(now, before)| now.since(before));
        Ok(Done::round(outcome, cpu, database))
    }

    async fn closed_reused(&mut self, count: usize) -> Result<Done, BenchError> {
        let requests = Arc::clone(&self.reused);
        self.closed(&requests, count).await
    }

    /// Latency at a share of `capacity` (exchanges a second).
    async fn at_load(
        &mut self,
        capacity: f64,
        share: f64,
        seconds: f64,
        new: bool,
    ) -> Result<Latency, BenchError> {
        let rate = capacity * share;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of exchanges")]
        let count = (rate * seconds) as usize;
        let requests = if new { self.new_requests(count).await? } else { Arc::clone(&self.reused) };
        at_rest(self.server.pid()).await?;
        let outcome = load::open(&self.server.authority, &requests, rate, count).await?;
        self.exchanges += outcome.count();
        Ok(outcome.latency())
    }
}

fn say(what: &str) {
    eprintln!("bench: {what} …");
}

/// A new directory on disk. `/tmp` may be memory, which costs nothing to sync.
pub(crate) fn directory(name: &str) -> Result<std::path::PathBuf, BenchError> {
    let mut random = [0; 8];
    SystemEntropy.fill(&mut random);
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    let path = base.join("bench-data").join(format!("{name}-{:016x}", u64::from_le_bytes(random)));
    std::fs::create_dir_all(&path).map_err(BenchError::during("making a directory"))?;
    path.canonicalize().map_err(BenchError::during("making a directory"))
}

/// Runs the whole benchmark of exchanges.
pub(crate) async fn exchange(
    program: &Path,
    extent: &Extent,
    kind: StoreKind,
) -> Result<Figures, BenchError> {
    let root = directory("exchange")?;
    let figures = measure(program, extent, &root, kind).await;
    // What was measured is kept if it went wrong: the logs say why.
    if figures.is_ok() {
        let _ = std::fs::remove_dir_all(&root);
    }
    figures
}

async fn starts(
    program: &Path,
    root: &Path,
    database: Option<&Database>,
) -> Result<(Server, f64, f64), BenchError> {
    let server = Server::start(program, root, database).await?;
    let first = server.process.start_ms;
    let mut server = server;
    let mut again = Vec::new();
    for _ in 0..5 {
        server.process.stop().await?;
        server = Server::start(program, root, database).await?;
        again.push(server.process.start_ms);
    }
    Ok((server, first, median(&again)))
}

type NewRounds = Vec<Arc<Vec<Vec<u8>>>>;

async fn new_rounds(target: &mut Target<'_>, count: usize) -> Result<NewRounds, BenchError> {
    let mut rounds = Vec::new();
    for _ in 0..count {
        rounds.push(target.new_requests(ROUND).await?);
    }
    Ok(rounds)
}

async fn measure(
    program: &Path,
    extent: &Extent,
    root: &Path,
    kind: StoreKind,
) -> Result<Figures, BenchError> {
    say("starting the server, the identity provider and a node");
    let store = Store::start(kind)?;
    let database = store.database();
    let (server, first_start_ms, restart_ms) = starts(program, root, database.as_ref()).await?;
    let people = IdentityProvider::start(SCOPES).await?;
    registry::fill(&server.admin, &people.url, AGENTS).await?;
    let node = Node::start(program, root, &server).await?;

    say("a new agent's identity");
    let svid = Workload::open(&node.socket).await?.measure(&server, AGENTS, extent.svid_rounds).await?;
    let node_rss_mib = resident_mib(node.process.pid())?;
    let link = NodeLink::open(&node.dir, &server.node_address, &server.issuer).await?;
    node.process.stop().await?;

    let mut target =
        Target { server: &server, store: &store, link, people, reused: Arc::default(), exchanges: 0 };
    target.reused = target.new_requests(AGENTS).await?;

    say("tokens for all rounds");
    // All before the first: to issue identities is no part of an exchange.
    let warm_up = target.new_requests(ROUND / 4).await?;
    let rounds = new_rounds(&mut target, extent.rounds).await?;

    say("warming up");
    target.closed(&warm_up, warm_up.len()).await?;
    target.closed_reused(ROUND).await?;
    at_rest(server.pid()).await?;

    say("exchanges with new and with reused tokens, in turn");
    let (exchanges_before, commits_before) = (target.exchanges, store.commits(database.as_ref()).await?);
    let key = Arc::new(Key::generate()?);
    let idle = RawCrypto::here(&key)?;
    let mut raw = on_all_cores(&key)?;
    let mut before = raw.exchange_us();
    let (mut new, mut reused) = (Done::nothing(), Done::nothing());
    let again = Arc::clone(&target.reused);
    for fresh in rounds {
        for (requests, all) in [(&fresh, &mut new), (&again, &mut reused)] {
            let done = target.closed(requests, ROUND).await?;
            let alone = on_all_cores(&key)?;
            let after = alone.exchange_us();
            all.add(done, f64::midpoint(before, after));
            raw.extend(alone);
            before = after;
        }
    }
    let (new, reused) = (new.rate(), reused.rate());
    #[expect(clippy::cast_precision_loss, reason = "a count of exchanges")]
    let counted = (target.exchanges - exchanges_before) as f64;
    let commits = store
        .commits(database.as_ref())
        .await?
        .zip(commits_before)
        .map(|(now, before)| (now - before) / counted);

    say("latency at half and at nine tenths of the capacity");
    let half = target.at_load(new.per_second, 0.5, extent.load_seconds, true).await?;
    let most = target.at_load(new.per_second, 0.9, extent.load_seconds, true).await?;
    let reused_half = target.at_load(reused.per_second, 0.5, extent.load_seconds, false).await?;
    let reused_most = target.at_load(reused.per_second, 0.9, extent.load_seconds, false).await?;

    say("verification");
    let token = one_token(&target).await?;
    let verification = verification::measure(&server, &token, extent.verification_rounds).await?;

    say("where the CPU time goes");
    // A sample a millisecond: it takes some seconds of work to see more than the largest parts.
    let requests = target.new_requests(SAMPLED * ROUND).await?;
    at_rest(server.pid()).await?;
    let recording = Recording::start(server.pid(), root.join("new.perf"));
    target.closed(&requests, requests.len()).await?;
    let new_shares = summed(recording).await?;
    let recording = Recording::start(server.pid(), root.join("reused.perf"));
    target.closed_reused(SAMPLED * ROUND).await?;
    let reused_shares = summed(recording).await?;

    say("memory");
    let left = extent.exchanges_before_memory.saturating_sub(target.exchanges);
    target.closed_reused(left).await?;
    let serve_rss_mib = resident_mib(server.pid())?;
    let exchanges = target.exchanges;
    drop(target);
    server.process.stop().await?;

    say("10, 1,000 and 100,000 agents and grants");
    let agents = scale::measure(program, &extent.scale, root, &store).await?;

    Ok(Figures {
        store: kind,
        commits,
        raw_verify_us: raw.verify_us(),
        raw_sign_us: raw.sign_us(),
        raw_crypto_us: raw.exchange_us(),
        raw_verify_us_idle: idle.verify_us(),
        new,
        reused,
        half,
        most,
        reused_half,
        reused_most,
        verification,
        first_start_ms,
        restart_ms,
        serve_rss_mib,
        exchanges,
        node_rss_mib,
        svid,
        agents,
        new_shares,
        reused_shares,
    })
}

async fn summed(recording: Option<Recording>) -> Result<Option<crate::profile::Shares>, BenchError> {
    match recording {
        Some(recording) => recording.finish().await,
        None => Ok(None),
    }
}

async fn one_token(target: &Target<'_>) -> Result<String, BenchError> {
    let mut connection = Connection::open(&target.server.authority).await?;
    let request = target.reused.first().ok_or_else(|| BenchError("no request".to_owned()))?;
    let body = exchange_once(&mut connection, request).await?;
    let answer: Value =
        serde_json::from_slice(&body).map_err(BenchError::during("reading a token response"))?;
    answer
        .get(ResponseParameter::AccessToken.as_str())
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| BenchError("no token".to_owned()))
}
