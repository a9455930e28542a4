//! `mandate describe`: one entry with everything that belongs to it.

use mandate_api::admin::{RegistryEntry, RegistryItem};
use mandate_core::registry::EntryKind;
use serde::Serialize;

use super::get::{
    authentication, grant_state, permissions, person_state, required_claims, rows, scopes, subject_scope,
    uses,
};
use crate::arguments::Describe;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::table::list;

#[derive(Serialize)]
struct Description {
    #[serde(flatten)]
    entry: RegistryEntry,
    /// For an agent, a person or a resource: the grants that name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<RegistryEntry>>,
}

pub(crate) fn run(arguments: &Describe, screen: &Screen) -> Result<(), Failure> {
    let admin = arguments.connection.open()?;
    let kind = arguments.kind.of_the_registry();
    let (entry, grants) = admin.call(async |client| {
        let entry = client.entry(kind, &arguments.name).await?;
        let grants = match kind {
            EntryKind::Agent | EntryKind::Person | EntryKind::Resource => {
                Some(client.list(EntryKind::Grant).await?)
            }
            EntryKind::Client
            | EntryKind::Issuer
            | EntryKind::Group
            | EntryKind::TrustDomain
            | EntryKind::Grant
            | EntryKind::Policy => None,
        };
        Ok((entry, grants))
    })?;
    let grants =
        grants.map(|all| all.into_iter().filter(|grant| concerns(grant, &entry.item)).collect::<Vec<_>>());
    let description = Description { entry, grants };
    screen.show(&description, || text(screen, &description))
}

fn concerns(grant: &RegistryEntry, item: &RegistryItem) -> bool {
    let RegistryItem::Grant(grant) = &grant.item else { return false };
    match item {
        RegistryItem::Agent(x) => grant.agent == x.name,
        RegistryItem::Person(x) => grant.person == x.name,
        RegistryItem::Resource(x) => grant.resource == x.name,
        _ => false,
    }
}

fn text(screen: &Screen, description: &Description) -> String {
    let mut text = list(screen, pairs(&description.entry));
    if let Some(grants) = &description.grants {
        let table = if grants.is_empty() { "none".to_owned() } else { rows(screen, grants) };
        text.push_str("\n\nGrants\n");
        text.push_str(&table);
    }
    text
}

fn shown(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn pairs(entry: &RegistryEntry) -> Vec<(&'static str, String)> {
    match &entry.item {
        RegistryItem::Agent(x) => vec![
            ("Agent", x.name.to_string()),
            ("State", x.state.map_or("", mandate_core::registry::AgentState::as_str).to_owned()),
            ("Owner", x.owner.to_string()),
            ("Purpose", x.purpose.clone()),
            ("SPIFFE ID", shown(x.spiffe_id.as_ref())),
            (
                "Selectors",
                if x.selectors.is_empty() {
                    "none: no process is issued the identity".to_owned()
                } else {
                    x.selectors.join("\n")
                },
            ),
            ("Proof", x.proof.iter().map(proof).collect::<Vec<_>>().join("\n")),
            ("Ceiling", if x.ceiling.is_empty() { "nothing".to_owned() } else { permissions(&x.ceiling) }),
            ("On its own", if x.may.is_empty() { "nothing".to_owned() } else { permissions(&x.may) }),
            ("Chain depth", shown(x.chain_depth.as_ref())),
            ("Tenant", shown(x.tenant.as_ref())),
        ],
        RegistryItem::Resource(x) => {
            let tool = |tool: &mandate_api::registry_file::ToolItem| {
                let marks = [
                    (tool.destructive, "destructive"),
                    (tool.egress, "egress"),
                    (tool.untrusted_input, "untrusted input"),
                ];
                let marks: Vec<&str> =
                    marks.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
                let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
                format!("{}: {}{marks}", tool.name, tool.scope)
            };
            vec![
                ("Resource", x.name.to_string()),
                ("URI", x.uri.to_string()),
                ("Scopes", scopes(&x.scopes)),
                ("Tools", x.tools.iter().map(tool).collect::<Vec<_>>().join("\n")),
                ("Served by", shown(x.agent.as_ref())),
                ("Client", shown(x.client.as_ref())),
                ("Tenant", shown(x.tenant.as_ref())),
            ]
        }
        RegistryItem::Person(x) => vec![
            ("Person", x.name.to_string()),
            ("State", person_state(x.disabled).to_owned()),
            (
                "Issuer",
                x.issuer.as_ref().map_or_else(|| "the embedded directory".to_owned(), ToString::to_string),
            ),
            ("Sub", x.sub.clone().unwrap_or_default()),
            ("Tenant", shown(x.tenant.as_ref())),
            ("May", if x.may.is_empty() { "nothing".to_owned() } else { permissions(&x.may) }),
        ],
        RegistryItem::Client(x) => vec![
            ("Client", x.id.to_string()),
            ("Authentication", authentication(x.authentication).to_owned()),
            (
                "Assertion audience",
                x.assertion_audience
                    .map(|audience| assertion_audience(audience).to_owned())
                    .unwrap_or_default(),
            ),
            ("Redirect URIs", x.redirect_uris.join("\n")),
            (
                "May ask for",
                x.scopes.as_ref().map_or_else(
                    || "every scope but those of the server's administration".to_owned(),
                    |list| scopes(list),
                ),
            ),
            ("Presents", x.agents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
            ("Tenant", shown(x.tenant.as_ref())),
            ("Refresh tokens", if x.refresh { "yes, for logins that ask for them" } else { "" }.to_owned()),
            ("On other devices", if x.device { "people may log in by a code" } else { "" }.to_owned()),
        ],
        RegistryItem::Issuer(x) => issuer(x),
        RegistryItem::Group(x) => group(x),
        RegistryItem::TrustDomain(x) => vec![
            ("Trust domain", x.name.to_string()),
            ("Bundle", x.bundle.clone().unwrap_or_default()),
            ("Endpoint", shown(x.endpoint.as_ref())),
            ("Authorities", x.ca.as_ref().map_or("", |_| "its own").to_owned()),
            ("Proxy", x.proxy.clone().unwrap_or_default()),
        ],
        RegistryItem::Grant(x) => vec![
            ("Grant", shown(x.id.as_ref())),
            ("State", grant_state(x.revoked).to_owned()),
            ("Person", x.person.to_string()),
            ("Agent", x.agent.to_string()),
            ("Resource", x.resource.to_string()),
            ("Scopes", scopes(&x.scopes)),
            ("Expires", x.expires.as_ref().map_or_else(|| "never".to_owned(), ToString::to_string)),
            ("Uses", uses(entry.uses, x.max_uses)),
            ("Token lifetime", x.lifetime.map(|span| format!("{span} at most")).unwrap_or_default()),
        ],
        RegistryItem::Policy(x) => vec![("Policy", x.name.to_string()), ("Source", x.source.clone())],
    }
}

/// Whether its security events are taken, and what they are addressed to.
fn security_events(x: &mandate_api::registry_file::IssuerItem) -> String {
    match x.events_audience.as_ref().or(x.client_id.as_ref()) {
        Some(audience) if x.security_events => format!("taken, for {audience}"),
        _ => "no".to_owned(),
    }
}

fn group(x: &mandate_api::registry_file::GroupItem) -> Vec<(&'static str, String)> {
    vec![
        ("Group", x.name.to_string()),
        ("Issuer", x.issuer.to_string()),
        ("Id there", x.id.clone().unwrap_or_default()),
        ("May", if x.may.is_empty() { "nothing".to_owned() } else { permissions(&x.may) }),
    ]
}

fn issuer(x: &mandate_api::registry_file::IssuerItem) -> Vec<(&'static str, String)> {
    let audience = if x.audience.is_empty() {
        "none: its access tokens are no subject tokens".to_owned()
    } else {
        x.audience.clone()
    };
    vec![
        ("Issuer", x.url.to_string()),
        ("Audience", audience),
        ("Other audiences", x.other_audiences.join("\n")),
        ("Login", if x.login { "people log in there" } else { "no" }.to_owned()),
        ("Client id there", x.client_id.clone().unwrap_or_default()),
        ("Secret file", x.client_secret_file.clone().unwrap_or_default()),
        ("Security events", security_events(x)),
        ("ID tokens", id_tokens(x)),
        ("Opaque tokens", opaque_tokens(x)),
        ("Profile", x.profile.as_str().to_owned()),
        ("Required claims", required_claims(&x.claims).join("\n")),
        ("Claim of groups", shown(x.claims.groups.as_ref())),
        ("Claim of the tenant", shown(x.claims.tenant.as_ref())),
        ("Tenant", shown(x.tenant.as_ref())),
        ("Subject scope", subject_scope(x.subject_scope).to_owned()),
    ]
}

fn opaque_tokens(x: &mandate_api::registry_file::IssuerItem) -> String {
    let Some(asks) = &x.introspection else { return String::new() };
    let clients: Vec<&str> = asks.clients.iter().map(mandate_core::ClientId::as_str).collect();
    format!("asked about as {}, from {}", asks.client_id, clients.join(", "))
}

/// To whom there, from which client here.
fn id_tokens(x: &mandate_api::registry_file::IssuerItem) -> String {
    let lines = x.id_tokens.iter().map(|known| format!("for {}, from {}", known.audience, known.client));
    lines.collect::<Vec<_>>().join("\n")
}

/// The platform, the issuer, and what its token must say.
fn proof(item: &mandate_api::registry_file::ProofItem) -> String {
    let says = item.says().into_iter().map(|(name, values)| format!(" {name}={}", values.join("|")));
    let place = if let Some(id) = &item.id { id.to_string() } else { shown(item.issuer.as_ref()) };
    format!("{} {place}{}", item.kind.as_str(), says.collect::<String>())
}

fn assertion_audience(audience: mandate_core::registry::AssertionAudience) -> &'static str {
    match audience {
        mandate_core::registry::AssertionAudience::Issuer => "the issuer",
        mandate_core::registry::AssertionAudience::TokenEndpoint => "the token endpoint",
    }
}
