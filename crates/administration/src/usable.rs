//! The checks of a registry file that only the server can do: whether its keys and certificates can be used.
//! Unusable ones are refused when the file is applied, with their place in it, and not later by every request
//! that needs them.

use mandate_api::RegistryFile;
use mandate_api::registry_file::Finding;
use mandate_core::registry::{AgentProof, ClientAuthentication, Entry, PlatformProof};
use mandate_oauth::foreign::{check_ca, check_proxy};
use mandate_planning::Plan;
use mandate_token::{KeySet, KeyUse};

/// Every key set, certificate authority and proxy that would be put into the registry and could never be
/// used.
pub(crate) fn findings(file: &RegistryFile, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in plan.puts() {
        match entry {
            Entry::Client(client) => {
                if let ClientAuthentication::PrivateKeyJwt { jwks, .. } = &client.authentication
                    && let Err(why) = KeySet::usable_from_json(jwks.as_bytes(), KeyUse::Signature)
                {
                    let at = file.client.iter().position(|item| item.id == client.id);
                    findings.push(finding(
                        at,
                        "client",
                        "jwks",
                        format!("the keys of client `{}`: {why}", client.id),
                    ));
                }
            }
            Entry::Issuer(issuer) => {
                let at = file.issuer.iter().position(|item| item.url == issuer.url);
                let checked = [
                    ("ca", issuer.ca.as_deref().map(check_ca)),
                    ("proxy", issuer.proxy.as_deref().map(check_proxy)),
                ];
                for (member, why) in
                    checked.into_iter().filter_map(|(member, checked)| Some((member, checked?.err()?)))
                {
                    findings.push(finding(
                        at,
                        "issuer",
                        member,
                        format!("the {member} of issuer `{}`: {why}", issuer.url),
                    ));
                }
            }
            Entry::TrustDomain(domain) => {
                let at = file.trust_domain.iter().position(|item| item.name == domain.name);
                let checked = [
                    ("ca", domain.ca.as_deref().map(check_ca)),
                    ("proxy", domain.proxy.as_deref().map(check_proxy)),
                ];
                for (member, why) in
                    checked.into_iter().filter_map(|(member, checked)| Some((member, checked?.err()?)))
                {
                    let detail = format!("the {member} of trust domain `{}`: {why}", domain.name);
                    findings.push(finding(at, "trust_domain", member, detail));
                }
            }
            Entry::Agent(agent) => {
                let at = file.agent.iter().position(|item| item.name == agent.name);
                for (member, why) in
                    agent.proofs.iter().filter_map(AgentProof::platform).flat_map(unusable_in_proof)
                {
                    findings.push(finding(
                        at,
                        "agent",
                        "proof",
                        format!("the {member} of a proof of agent `{}`: {why}", agent.name),
                    ));
                }
            }
            Entry::Resource(_) | Entry::Person(_) | Entry::Group(_) | Entry::Grant(_) | Entry::Policy(_) => {}
        }
    }
    findings
}

/// What of a proof can never be used, and why.
fn unusable_in_proof(proof: &PlatformProof) -> impl Iterator<Item = (&'static str, String)> {
    let jwks = proof.jwks.as_deref().map(|jwks| {
        let keys = KeySet::usable_from_json(jwks.as_bytes(), KeyUse::Signature);
        keys.map(drop).map_err(|why| why.to_string())
    });
    let checked = [
        ("jwks", jwks),
        ("ca", proof.ca.as_deref().map(check_ca)),
        ("proxy", proof.proxy.as_deref().map(check_proxy)),
    ];
    checked.into_iter().filter_map(|(member, checked)| Some((member, checked?.err()?)))
}

/// `at`: the place in the file. Every entry that is added or changed has one.
fn finding(at: Option<usize>, kind: &str, member: &str, detail: String) -> Finding {
    Finding { pointer: at.map(|at| format!("/{kind}/{at}/{member}")).unwrap_or_default(), detail }
}

/// Declared keys that will never be used although others beside them will: those of a client that are
/// skipped.
pub(crate) fn notes(plan: &Plan) -> Vec<String> {
    let clients = plan.puts().filter_map(|entry| match entry {
        Entry::Client(client) => Some(client),
        _ => None,
    });
    let skipped = clients.filter_map(|client| {
        let ClientAuthentication::PrivateKeyJwt { jwks, .. } = &client.authentication else { return None };
        let declared = serde_json::from_str::<serde_json::Value>(jwks).ok()?.get("keys")?.as_array()?.len();
        let usable = KeySet::usable_from_json(jwks.as_bytes(), KeyUse::Signature).ok()?.len();
        (usable < declared).then(|| {
            format!(
                "of the {declared} keys of client `{}`, {usable} can be used here; the others are ignored",
                client.id
            )
        })
    });
    skipped.collect()
}
