//! What is wrong with a file, and what can be said of a file alone.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{GrantItem, RegistryFile};

/// One reason why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The place, as a JSON pointer (RFC 6901) into the file; empty if it is about something outside the
    /// file.
    #[schema(example = "/agent/0/owner")]
    pub pointer: String,
    /// What is wrong, with the name of the entry or value.
    pub detail: String,
}

impl Finding {
    /// A finding at this place.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl RegistryFile {
    /// How many entries it declares.
    pub fn entries(&self) -> usize {
        let Self { resource, person, agent, client, issuer, group, trust_domain, grant, policy } = self;
        let parties = person.len() + agent.len() + client.len() + issuer.len() + trust_domain.len();
        resource.len() + parties + group.len() + grant.len() + policy.len()
    }

    /// Findings about entries of one kind with the same name, id or URL.
    pub fn duplicates(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut twice = |kind: &str, what: &str, keys: Vec<String>| {
            let mut first: HashSet<String> = HashSet::new();
            for (at, key) in keys.into_iter().enumerate() {
                let detail = format!("a second {kind} {what}{key}");
                if !first.insert(key) {
                    let hint = if kind == "grant" { "; give each a `name` of its own" } else { "" };
                    findings.push(Finding::new(format!("/{kind}/{at}"), format!("{detail}{hint}")));
                }
            }
        };
        let quoted = |text: &str| format!("`{text}`");
        twice("resource", "named ", self.resource.iter().map(|x| quoted(x.name.as_str())).collect());
        twice("person", "named ", self.person.iter().map(|x| quoted(x.name.as_str())).collect());
        twice("agent", "named ", self.agent.iter().map(|x| quoted(x.name.as_str())).collect());
        twice("client", "with the id ", self.client.iter().map(|x| quoted(x.id.as_str())).collect());
        twice("issuer", "with the url ", self.issuer.iter().map(|x| quoted(x.url.as_str())).collect());
        twice("group", "named ", self.group.iter().map(|x| quoted(x.name.as_str())).collect());
        let names = self.trust_domain.iter().map(|x| quoted(x.name.as_str())).collect();
        twice("trust_domain", "named ", names);
        twice("policy", "named ", self.policy.iter().map(|x| quoted(x.name.as_str())).collect());
        let grant = |x: &GrantItem| match (&x.id, &x.name) {
            (Some(id), _) => format!("with the id `{id}`"),
            (None, name) => {
                let name = name.as_ref().map(|name| format!(", named `{name}`")).unwrap_or_default();
                format!("of `{}` to `{}` on `{}`{name}", x.person, x.agent, x.resource)
            }
        };
        twice("grant", "", self.grant.iter().map(grant).collect());
        findings
    }
}
