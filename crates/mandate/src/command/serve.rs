//! `mandate serve`

use std::sync::Arc;

use mandate_core::{SystemClock, SystemEntropy};
use mandate_server::{Config, Ready, ServerError, Transport};
use serde::Serialize;

use crate::arguments::Serve;
use crate::failure::{Failure, Fault};
use crate::screen::Screen;
use crate::{logging, shutdown};

/// The first line of `--json`, once requests are accepted.
#[derive(Serialize)]
struct Started<'a> {
    ready: bool,
    issuer: &'a str,
    trust_domain: &'a str,
    admin_socket: String,
    admin_url: &'a str,
    node_server: String,
}

pub(crate) fn run(arguments: Serve, screen: &Screen) -> Result<(), Failure> {
    logging::start(screen.wants_json());
    let transport = match (arguments.tls_cert, arguments.tls_key, arguments.behind_tls_proxy) {
        (Some(cert), Some(key), _) => Transport::Tls { cert, key },
        (_, _, true) => Transport::DangerousBehindTlsProxy,
        _ => Transport::LoopbackHttp,
    };
    let dir = arguments.directory.path()?;
    let config = Config {
        dir: dir.clone(),
        listen: arguments.listen,
        node_listen: arguments.node_listen,
        admin_listen: arguments.admin_listen,
        transport,
        issuer: arguments.issuer,
        trust_domain: arguments.trust_domain,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::caused(Fault::Failed, "cannot start", &error))?;
    let ready = |ready: &Ready| announce(ready, &dir, screen);
    let served = runtime.block_on(async {
        mandate_server::run(config, Arc::new(SystemClock), Arc::new(SystemEntropy), ready, shutdown::requested()).await
    });
    served.map_err(|error| failure(&error))
}

fn announce(ready: &Ready, dir: &std::path::Path, screen: &Screen) {
    let started = Started {
        ready: true,
        issuer: ready.issuer.as_str(),
        trust_domain: ready.trust_domain.as_str(),
        admin_socket: ready.admin_socket.display().to_string(),
        admin_url: &ready.admin_url,
        node_server: ready.node_server.to_string(),
    };
    let text = || {
        format!(
            "Mandate is ready.\n  issuer        {}\n  trust domain  {}\n  nodes         {}\n  admin socket  {}\n\nnext: mandate apply -f registry.toml --dir {}",
            started.issuer,
            started.trust_domain,
            started.node_server,
            started.admin_socket,
            dir.display()
        )
    };
    if let Err(failure) = screen.show(&started, text) {
        // The server is up all the same; whoever started it has closed its output.
        tracing::warn!(reason = %failure.text().trim(), "the addresses could not be printed");
    }
}

fn failure(error: &ServerError) -> Failure {
    let fault = match error {
        ServerError::Config(_) => Fault::Usage,
        _ => Fault::Failed,
    };
    Failure::caused(fault, "the server cannot run", error)
}
