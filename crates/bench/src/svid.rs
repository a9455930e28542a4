//! A workload's view: JWT-SVIDs through the node's socket.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use mandate_api::proto::workload::JwtsvidRequest;
use mandate_api::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use mandate_api::proto::{WORKLOAD_METADATA_KEY, WORKLOAD_METADATA_VALUE};
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::crypto::median;
use crate::error::BenchError;
use crate::processes::Server;
use crate::registry::{add_agent, spiffe_id};

/// How long a new agent may take before the run is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the Workload API.
pub(crate) struct Workload {
    client: SpiffeWorkloadApiClient<Channel>,
}

/// Medians, in milliseconds.
pub(crate) struct SvidTimes {
    /// From `apply` of a new agent until its JWT-SVID has arrived.
    pub(crate) ready: f64,
    /// A fetch that the node must ask its server for.
    pub(crate) fresh: f64,
    /// A fetch from the node's cache.
    pub(crate) cached: f64,
}

impl Workload {
    pub(crate) async fn open(socket: &Path) -> Result<Self, BenchError> {
        let stream =
            UnixStream::connect(socket).await.map_err(BenchError::during("connecting to the node"))?;
        let mut only = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let taken = only.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
            async move { taken }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(once).await;
        Ok(Self {
            client: SpiffeWorkloadApiClient::new(
                channel.map_err(BenchError::during("connecting to the node"))?,
            ),
        })
    }

    async fn fetch(&mut self, agent: usize, audience: &str) -> Result<(), Status> {
        let mut request =
            Request::new(JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: spiffe_id(agent) });
        request
            .metadata_mut()
            .insert(WORKLOAD_METADATA_KEY, MetadataValue::from_static(WORKLOAD_METADATA_VALUE));
        self.client.fetch_jwtsvid(request).await.map(drop)
    }

    async fn timed_fetch(&mut self, agent: usize, audience: &str) -> Result<f64, BenchError> {
        let began = Instant::now();
        self.fetch(agent, audience).await.map_err(BenchError::during("fetching a JWT-SVID"))?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// Times `rounds` new agents, numbered from `first`, and fetches.
    pub(crate) async fn measure(
        &mut self,
        server: &Server,
        first: usize,
        rounds: usize,
    ) -> Result<SvidTimes, BenchError> {
        let (mut ready, mut fresh, mut cached) = (Vec::new(), Vec::new(), Vec::new());
        for agent in first..first + rounds {
            let began = Instant::now();
            add_agent(&server.admin, agent).await?;
            loop {
                match self.fetch(agent, &server.issuer).await {
                    Ok(()) => break,
                    // The push is on its way.
                    Err(status) if status.code() == Code::PermissionDenied && began.elapsed() < PATIENCE => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(status) => return Err(BenchError(format!("a new agent's JWT-SVID: {status}"))),
                }
            }
            ready.push(began.elapsed().as_secs_f64() * 1e3);
            fresh.push(self.timed_fetch(agent, "https://another.bench.example").await?);
            cached.push(self.timed_fetch(agent, "https://another.bench.example").await?);
        }
        Ok(SvidTimes { ready: median(&ready), fresh: median(&fresh), cached: median(&cached) })
    }
}
