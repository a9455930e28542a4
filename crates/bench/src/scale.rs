//! The same exchanges with ever more agents and grants.

use std::path::Path;
use std::sync::Arc;

use crate::error::BenchError;
use crate::identity_provider::IdentityProvider;
use crate::load::{self, Outcome};
use crate::node_link::NodeLink;
use crate::processes::{Node, Server};
use crate::registry::{self, SCOPES, person};
use crate::run::Extent;

/// The sizes.
const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// How many agents, spread over all of them, ask.
const ASKING: usize = 500;

/// How many connections: few, so that what is timed is an exchange and not a queue.
const CONNECTIONS: usize = 2;

/// One size and its median latency.
pub(crate) struct Size {
    pub(crate) agents: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

struct Target {
    agents: usize,
    server: Server,
    requests: Arc<Vec<Vec<u8>>>,
    outcome: Outcome,
}

async fn prepare(program: &Path, root: &Path, agents: usize) -> Result<Target, BenchError> {
    let root = root.join(format!("agents-{agents}"));
    std::fs::create_dir_all(&root).map_err(BenchError::during("making a directory"))?;
    let server = Server::start(program, &root).await?;
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
    load::closed(&server.authority, &requests, ASKING * 2, CONNECTIONS).await?;
    Ok(Target { agents, server, requests, outcome: Outcome::none() })
}

/// Measures the sizes in turn, so that whatever else the machine does falls on all of them.
pub(crate) async fn measure(program: &Path, extent: &Extent, root: &Path) -> Result<Vec<Size>, BenchError> {
    let mut targets = Vec::new();
    for agents in SIZES {
        targets.push(prepare(program, root, agents).await?);
    }
    for _ in 0..extent.scale_rounds {
        for target in &mut targets {
            let outcome = load::closed(&target.server.authority, &target.requests, extent.scale_per_round, CONNECTIONS).await?;
            target.outcome.extend(outcome);
        }
    }
    let mut sizes = Vec::new();
    for Target { agents, server, outcome, .. } in targets {
        sizes.push(Size { agents, p50_us: outcome.quantile(0.5), p99_us: outcome.quantile(0.99) });
        server.process.stop().await?;
    }
    Ok(sizes)
}
