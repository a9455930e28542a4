//! The same exchanges with more and more agents and grants.

use std::path::Path;
use std::sync::Arc;

use crate::crypto::median;
use crate::error::BenchError;
use crate::identity_provider::IdentityProvider;
use crate::kernel::{CpuTime, at_rest};
use crate::load::{self, Latency, LoadOutcome, ROUND};
use crate::node_link::NodeLink;
use crate::processes::{Node, Server};
use crate::registry::{self, SCOPES, person};
use crate::store::Store;

/// How many agents and grants the servers have.
const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// How many agents, spread over all of them, send requests.
const ASKING: usize = 500;

/// How many connections to use when the time of one exchange is measured, and not that of a queue.
const FEW: usize = 2;

/// How long one round at a fixed rate lasts.
const ROUND_SECONDS: f64 = 1.0;

/// How much is measured of each size.
pub(crate) struct ScaleExtent {
    pub(crate) rounds: usize,
    /// How many exchanges a round has with two connections.
    pub(crate) per_round: usize,
}

/// One size and the figures of exchanges for it.
pub(crate) struct Size {
    pub(crate) agents: usize,
    /// CPU time of the server for each exchange at full load.
    pub(crate) cpu_us: f64,
    /// Exchanges a second at full load.
    pub(crate) per_second: f64,
    /// Latency with two connections.
    pub(crate) alone: Latency,
    /// At half and at nine tenths of the least throughput of all sizes: the same load for each.
    pub(crate) half: Latency,
    pub(crate) most: Latency,
}

struct Target {
    agents: usize,
    server: Server,
    requests: Arc<Vec<Vec<u8>>>,
    alone: LoadOutcome,
    full: LoadOutcome,
    cpu_us: Vec<f64>,
    half: LoadOutcome,
    most: LoadOutcome,
}

impl Target {
    #[expect(clippy::cast_precision_loss, reason = "a count of exchanges")]
    fn per_second(&self) -> f64 {
        self.full.count() as f64 / self.full.elapsed.as_secs_f64()
    }

    async fn full(&mut self, count: usize) -> Result<(), BenchError> {
        let before = CpuTime::of(self.server.pid())?;
        let outcome = load::closed(&self.server.authority, &self.requests, count, load::CONNECTIONS).await?;
        let cpu = at_rest(self.server.pid()).await?.since(before);
        #[expect(clippy::cast_precision_loss, reason = "a count of exchanges")]
        self.cpu_us.push(cpu.total() * 1e6 / outcome.count() as f64);
        self.full.extend(outcome);
        Ok(())
    }

    async fn at(&self, rate: f64, seconds: f64) -> Result<LoadOutcome, BenchError> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of exchanges")]
        let count = (rate * seconds) as usize;
        load::open(&self.server.authority, &self.requests, rate, count).await
    }
}

async fn prepare(program: &Path, root: &Path, store: &Store, agents: usize) -> Result<Target, BenchError> {
    let root = root.join(format!("agents-{agents}"));
    std::fs::create_dir_all(&root).map_err(BenchError::during("making a directory"))?;
    let server = Server::start(program, &root, store.database().as_ref()).await?;
    // The node is needed for its certificate alone.
    let node = Node::start(program, &root, &server).await?;
    let dir = node.dir.clone();
    node.process.stop().await?;
    let mut people = IdentityProvider::start(SCOPES).await?;
    registry::fill(&server.admin, &people.url, agents).await?;
    let asking: Vec<usize> = (0..ASKING.min(agents)).map(|at| at * (agents / ASKING.min(agents))).collect();
    let svids = NodeLink::open(&dir, &server.node_address, &server.issuer).await?.svids(&asking).await?;
    let mut requests = Vec::with_capacity(asking.len());
    for (agent, svid) in asking.iter().zip(&svids) {
        requests.push(load::request(&server.authority, svid, &people.token(&person(*agent))?));
    }
    let requests = Arc::new(requests);
    // Every token once, so that all sizes compare exchanges of known tokens.
    load::closed(&server.authority, &requests, ASKING * 2, FEW).await?;
    at_rest(server.pid()).await?;
    Ok(Target {
        agents,
        server,
        requests,
        alone: LoadOutcome::none(),
        full: LoadOutcome::none(),
        cpu_us: Vec::new(),
        half: LoadOutcome::none(),
        most: LoadOutcome::none(),
    })
}

/// Measures the sizes in turn, so that other work of the machine affects all of them.
pub(crate) async fn measure(
    program: &Path,
    extent: &ScaleExtent,
    root: &Path,
    store: &Store,
) -> Result<Vec<Size>, BenchError> {
    let mut targets = Vec::new();
    for agents in SIZES {
        targets.push(prepare(program, root, store, agents).await?);
    }
    for _ in 0..extent.rounds {
        for target in &mut targets {
            let outcome =
                load::closed(&target.server.authority, &target.requests, extent.per_round, FEW).await?;
            target.alone.extend(outcome);
            target.full(ROUND).await?;
        }
    }
    let capacity = targets.iter().map(Target::per_second).fold(f64::INFINITY, f64::min);
    for _ in 0..extent.rounds {
        for target in &mut targets {
            let (half, most) = (
                target.at(capacity * 0.5, ROUND_SECONDS).await?,
                target.at(capacity * 0.9, ROUND_SECONDS).await?,
            );
            target.half.extend(half);
            target.most.extend(most);
        }
    }
    let mut sizes = Vec::new();
    for target in targets {
        sizes.push(Size {
            agents: target.agents,
            cpu_us: median(&target.cpu_us),
            per_second: target.per_second(),
            alone: target.alone.latency(),
            half: target.half.latency(),
            most: target.most.latency(),
        });
        target.server.process.stop().await?;
    }
    Ok(sizes)
}
