//! A connection of an attacker who has a node's files, without the node's own program: it follows no rules.

use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use mandate_api::proto::node::IssueJwtSvidRequest;
use mandate_api::proto::node::node_client::NodeClient;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::world::{Server, spiffe_id};

/// An open connection.
pub(crate) struct NodeLink {
    pub(crate) client: NodeClient<Channel>,
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn trusting(dir: &Path) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for ca in certificates(&dir.join("ca.pem")) {
        roots.add(ca).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
}

impl NodeLink {
    /// Connects with the files of the node `name`.
    pub(crate) async fn open(server: &Server, name: &str) -> Self {
        let dir = server.node_dir(name);
        let key = PrivateKeyDer::from_pem_file(dir.join("node.pem")).unwrap();
        let config = trusting(&dir).with_client_auth_cert(certificates(&dir.join("node.pem")), key).unwrap();
        Self::over(server, config, TcpStream::connect(server.ready.node_server).await.unwrap()).await
    }

    /// Connects by `tcp` without any certificate; the node `name` has learned the server's.
    pub(crate) async fn stranger(server: &Server, name: &str, tcp: TcpStream) -> Self {
        Self::over(server, trusting(&server.node_dir(name)).with_no_client_auth(), tcp).await
    }

    async fn over(server: &Server, mut config: ClientConfig, tcp: TcpStream) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::from(server.ready.node_server.ip());
        let mut tls =
            Some(TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()));
        // One connection: a second one would be verified again.
        let once = tower::service_fn(move |_| {
            std::future::ready(
                tls.take().ok_or(std::io::ErrorKind::ConnectionReset).map_err(std::io::Error::from),
            )
        });
        Self {
            client: NodeClient::new(
                Endpoint::from_static("http://server").connect_with_connector(once).await.unwrap(),
            ),
        }
    }
}

/// Asks for an identity with the selectors that the identity requires, for no real process.
pub(crate) fn issue(agent: &str, audience: &str) -> IssueJwtSvidRequest {
    let selectors = vec![format!("unix:uid:{}", rustix::process::getuid().as_raw())];
    IssueJwtSvidRequest { spiffe_id: spiffe_id(agent), audience: vec![audience.to_owned()], selectors }
}
