//! A source of fresh JWT-SVIDs: the node protocol, with the certificate of a node that has joined. A node
//! itself answers from its cache, so the server would never see a new SVID.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::TokioIo;
use mandate_api::proto::node::IssueJwtSvidRequest;
use mandate_api::proto::node::node_client::NodeClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::error::BenchError;
use crate::registry::{selector, spiffe_id};

/// How many SVIDs are asked for at the same time.
const TOGETHER: usize = 32;

/// A connection to the nodes' listener, with the certificate of a node.
pub(crate) struct NodeLink {
    client: NodeClient<Channel>,
    issuer: String,
    selector: String,
}

fn tls(dir: &Path) -> Result<ClientConfig, BenchError> {
    let unreadable = "the node's certificate";
    let (node, ca) = (dir.join("node.pem"), dir.join("ca.pem"));
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, BenchError> {
        let read = CertificateDer::pem_file_iter(path).map_err(BenchError::during(unreadable))?;
        read.collect::<Result<_, _>>().map_err(BenchError::during(unreadable))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&ca)? {
        roots.add(certificate).map_err(BenchError::during(unreadable))?;
    }
    let key = PrivateKeyDer::from_pem_file(&node).map_err(BenchError::during(unreadable))?;
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(BenchError::during("TLS"))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&node)?, key)
            .map_err(BenchError::during("TLS"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

impl NodeLink {
    /// Connects to `server` with the credentials in a node's directory.
    pub(crate) async fn open(dir: &Path, server: &str, issuer: &str) -> Result<Self, BenchError> {
        let connector = TlsConnector::from(Arc::new(tls(dir)?));
        let tcp = TcpStream::connect(server).await.map_err(BenchError::during("connecting as a node"))?;
        tcp.set_nodelay(true).map_err(BenchError::during("connecting as a node"))?;
        let name = ServerName::try_from("localhost").map_err(BenchError::during("TLS"))?;
        let stream =
            connector.connect(name, tcp).await.map_err(BenchError::during("connecting as a node"))?;
        let mut only = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let taken = only.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
            async move { taken }
        });
        let channel = Endpoint::from_static("http://mandate-server").connect_with_connector(once).await;
        let client = NodeClient::new(channel.map_err(BenchError::during("connecting as a node"))?);
        Ok(Self { client, issuer: issuer.to_owned(), selector: selector()? })
    }

    /// A new SVID for each of `agents`, in that order.
    pub(crate) async fn svids(&self, agents: &[usize]) -> Result<Vec<String>, BenchError> {
        let agents: Arc<[usize]> = agents.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..TOGETHER.min(agents.len()) {
            let (mut client, agents, next) = (self.client.clone(), Arc::clone(&agents), Arc::clone(&next));
            let (audience, selectors) = (vec![self.issuer.clone()], vec![self.selector.clone()]);
            workers.spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(agent) = agents.get(at) else { return Ok(mine) };
                    let (spiffe_id, audience, selectors) =
                        (spiffe_id(*agent), audience.clone(), selectors.clone());
                    let answer =
                        client.issue_jwt_svid(IssueJwtSvidRequest { spiffe_id, audience, selectors }).await;
                    mine.push((at, answer.map_err(BenchError::during("a JWT-SVID"))?.into_inner().svid));
                }
            });
        }
        let mut all: Vec<(usize, String)> = Vec::with_capacity(agents.len());
        while let Some(worker) = workers.join_next().await {
            let mine: Result<_, BenchError> = worker.map_err(BenchError::during("a worker"))?;
            all.extend(mine?);
        }
        all.sort_unstable_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, svid)| svid).collect())
    }
}
