//! Stopping the agent while it works: one command of an operator, and everything that is refused from then
//! on.

use std::time::{Duration, Instant};

use mandate_core::Secret;
use mandate_core::names::ResponseParameter;
use serde::Serialize;

use super::agent::{ExchangeClient, fetch_svid};
use super::error::DemoError;
use super::http::Http;
use super::stage::{self, ControlPlane, Crm, Node};
use super::story::{AGENT, CASE};

/// How long a stopped agent may continue before the demo counts that as a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answers to a stopped agent: each is absent if there was no refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Stopped {
    /// The command that stopped it.
    pub(super) command: String,
    /// By the CRM, with a token that had just been accepted.
    pub(super) call: Option<String>,
    /// By the node, asked for an identity.
    pub(super) identity: Option<String>,
    /// By the token endpoint, with an identity that is still valid.
    pub(super) exchange: Option<String>,
    /// Whether it was activated again afterwards.
    pub(super) active_again: bool,
}

/// How long it took, from the start of the command, in milliseconds.
pub(super) struct Spans {
    /// Until the CRM refused.
    pub(super) call_ms: f64,
    /// Until the node refused.
    pub(super) identity_ms: f64,
}

/// Gives the agent a fresh identity and token, suspends it with the command that an operator would type, and
/// repeats all requests until they are refused.
pub(super) async fn stop(
    server: &ControlPlane,
    crm: &Crm,
    node: &Node,
    riley: &Secret,
) -> Result<(Stopped, Spans), DemoError> {
    // This process runs the same program as the same user, so the node attests it as the agent too.
    let identity = || fetch_svid(&node.socket, &server.issuer);
    let svid = identity().await?.map_err(DemoError::Workload)?;
    let exchange = ExchangeClient::new(&server.issuer, &crm.url, Secret::new(svid.svid), riley.clone())?;
    let reply = exchange.ask("read:cases").await?;
    let token = reply
        .text_member(ResponseParameter::AccessToken)
        .map(Secret::new)
        .ok_or_else(|| DemoError::unexpected("the exchange", &reply))?;
    let (http, case) = (Http::new()?, format!("{}/cases/{CASE}", crm.url));
    let reply = http.get(&case, Some(&token)).await?;
    if !reply.is_success() {
        return Err(DemoError::unexpected("reading the case", &reply));
    }

    let dir = server.dir.to_string_lossy();
    let began = Instant::now();
    let since = || began.elapsed().as_secs_f64() * 1e3;
    let calls = async {
        while began.elapsed() < PATIENCE {
            let reply = http.get(&case, Some(&token)).await?;
            if reply.is_refusal() {
                return Ok::<_, DemoError>((Some(reply.summary()), since()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok((None, since()))
    };
    let suspend = ["agent", "suspend", AGENT, "--dir", &dir];
    let (suspended, called) = tokio::join!(stage::command(&suspend), calls);
    suspended?;
    let (call, call_ms) = called?;
    let (identity, identity_ms) = loop {
        match identity().await? {
            Err(refused) => break (Some(refused), since()),
            Ok(_) if began.elapsed() >= PATIENCE => break (None, since()),
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let reply = exchange.ask("read:cases").await?;
    let exchange = reply.is_refusal().then(|| reply.summary());
    let active_again = stage::command(&["agent", "activate", AGENT, "--dir", &dir]).await.is_ok();
    let command = format!("mandate agent suspend {AGENT}");
    Ok((Stopped { command, call, identity, exchange, active_again }, Spans { call_ms, identity_ms }))
}
