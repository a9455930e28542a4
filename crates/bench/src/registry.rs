//! The registry of a run: one resource, people of the identity provider, agents, and a grant for each agent.

use mandate_api::AdminClient;
use mandate_api::admin::ApplyRequest;
use mandate_api::registry_file::RegistryFile;
use serde_json::{Value, json};

use crate::error::BenchError;
use crate::identity_provider::AUDIENCE;
use crate::processes::TRUST_DOMAIN;

pub(crate) const RESOURCE: &str = "https://crm.bench.example";

/// The scopes that are delegated.
pub(crate) const SCOPES: &str = "read:cases write:case_comments";

/// The most people; agents beyond share them.
const PEOPLE: usize = 1_000;

/// How many agents are applied at once.
const CHUNK: usize = 20_000;

/// The name of the person for whom an agent works.
pub(crate) fn person(agent: usize) -> String {
    format!("person-{}", agent % PEOPLE)
}

/// The name of an agent.
pub(crate) fn agent(at: usize) -> String {
    format!("agent-{at}")
}

/// The SPIFFE ID of an agent.
pub(crate) fn spiffe_id(at: usize) -> String {
    format!("spiffe://{TRUST_DOMAIN}/agent/{}", agent(at))
}

/// What every process of this user shows.
pub(crate) fn selector() -> Result<String, BenchError> {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata("/proc/self").map_err(BenchError::during("finding out who this is"))?;
    Ok(format!("unix:uid:{}", own.uid()))
}

/// The same, as a list.
pub(crate) fn scopes() -> Vec<&'static str> {
    SCOPES.split(' ').collect()
}

fn agent_item(at: usize, selector: &str) -> Value {
    json!({
        "name": agent(at), "owner": person(0), "purpose": "Works on cases of the benchmark", "selectors": [selector],
        "ceiling": [{"resource": "crm", "scopes": scopes()}],
    })
}

fn grant_item(at: usize) -> Value {
    json!({"person": person(at), "agent": agent(at), "resource": "crm", "scopes": scopes()})
}

/// Applies these entries.
pub(crate) async fn apply(admin: &AdminClient, entries: Value) -> Result<(), BenchError> {
    let entries: RegistryFile =
        serde_json::from_value(entries).map_err(BenchError::during("making the registry"))?;
    let request = ApplyRequest { entries, ..ApplyRequest::default() };
    admin.apply(&request).await.map(drop).map_err(BenchError::during("applying the registry"))
}

/// Registers everything for `agents` agents of the people of `issuer`.
pub(crate) async fn fill(admin: &AdminClient, issuer: &str, agents: usize) -> Result<(), BenchError> {
    let may = json!([{"resource": "crm", "scopes": scopes()}]);
    let people: Vec<Value> = (0..agents.min(PEOPLE))
        .map(|at| json!({"name": person(at), "issuer": issuer, "sub": person(at), "may": may}))
        .collect();
    let all_scopes = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"];
    let resource = json!([{"name": "crm", "uri": RESOURCE, "scopes": all_scopes}]);
    apply(
        admin,
        json!({"resource": resource, "issuer": [{"url": issuer, "audience": AUDIENCE}], "person": people}),
    )
    .await?;
    let selector = selector()?;
    for first in (0..agents).step_by(CHUNK) {
        let chunk = first..agents.min(first + CHUNK);
        let items: Vec<Value> = chunk.clone().map(|at| agent_item(at, &selector)).collect();
        let grants: Vec<Value> = chunk.map(grant_item).collect();
        apply(admin, json!({"agent": items, "grant": grants})).await?;
    }
    Ok(())
}

pub(crate) async fn add_agent(admin: &AdminClient, at: usize) -> Result<(), BenchError> {
    apply(admin, json!({"agent": [agent_item(at, &selector()?)]})).await
}
