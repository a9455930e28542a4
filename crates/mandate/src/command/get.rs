//! `mandate get`

use mandate_api::admin::{RegistryEntry, RegistryItem};
use mandate_api::registry_file::{ClaimsItem, PermissionItem};
use mandate_core::names::ClientMethod;
use mandate_core::registry;
use mandate_core::{AgentName, Scope};

use crate::arguments::{Get, KindArgument};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::table::table;

impl KindArgument {
    pub(crate) fn of_the_registry(self) -> registry::EntryKind {
        match self {
            Self::Agent => registry::EntryKind::Agent,
            Self::Resource => registry::EntryKind::Resource,
            Self::Person => registry::EntryKind::Person,
            Self::Client => registry::EntryKind::Client,
            Self::Issuer => registry::EntryKind::Issuer,
            Self::Group => registry::EntryKind::Group,
            Self::TrustDomain => registry::EntryKind::TrustDomain,
            Self::Grant => registry::EntryKind::Grant,
            Self::Policy => registry::EntryKind::Policy,
        }
    }
}

pub(crate) fn run(arguments: &Get, screen: &Screen) -> Result<(), Failure> {
    let admin = arguments.connection.open()?;
    let kind = arguments.kind.of_the_registry();
    if let Some(name) = &arguments.name {
        let entry = admin.call(async |client| client.entry(kind, name).await)?;
        return screen.show(&entry, || rows(screen, std::slice::from_ref(&entry)));
    }
    let entries = admin.call(async |client| client.list(kind).await)?;
    if entries.is_empty() && !screen.wants_json() {
        screen.remark("None are declared yet.\n next: mandate apply -f registry.toml");
    }
    screen.show(&entries, || rows(screen, &entries))
}

pub(crate) fn scopes(list: &[Scope]) -> String {
    list.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}

/// Permissions, one a line.
pub(crate) fn permissions(list: &[PermissionItem]) -> String {
    let line = |p: &PermissionItem| {
        let lifetime =
            p.lifetime.map(|span| format!(" (tokens are valid for {span} at most)")).unwrap_or_default();
        format!("{}: {}{lifetime}", p.resource, scopes(&p.scopes))
    };
    list.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn names(list: &[AgentName]) -> String {
    list.iter().map(AgentName::as_str).collect::<Vec<_>>().join(" ")
}

/// `3`, or `3 of 500`.
pub(crate) fn uses(count: Option<u64>, most: Option<u64>) -> String {
    match (count.unwrap_or(0), most) {
        (count, Some(most)) => format!("{count} of {most}"),
        (count, None) => count.to_string(),
    }
}

/// The entries, which are all of one kind, as a table.
pub(crate) fn rows(screen: &Screen, entries: &[RegistryEntry]) -> String {
    let heading: &[&str] = match entries.first().map(|entry| &entry.item) {
        None => return String::new(),
        Some(RegistryItem::Agent(_)) => &["NAME", "STATE", "OWNER", "SPIFFE ID", "CEILING"],
        Some(RegistryItem::Resource(_)) => &["NAME", "URI", "SCOPES", "TOOLS"],
        Some(RegistryItem::Person(_)) => &["NAME", "STATE", "ISSUER", "MAY"],
        Some(RegistryItem::Client(_)) => &["ID", "AUTHENTICATION", "REDIRECT URIS", "AGENTS"],
        Some(RegistryItem::Issuer(_)) => {
            &["URL", "LOGIN", "AUDIENCE", "PROFILE", "SUBJECT SCOPE", "REQUIRED CLAIMS"]
        }
        Some(RegistryItem::Group(_)) => &["NAME", "ISSUER", "ID", "MAY"],
        Some(RegistryItem::TrustDomain(_)) => &["NAME", "BUNDLE"],
        Some(RegistryItem::Grant(_)) => {
            &["ID", "PERSON", "AGENT", "RESOURCE", "SCOPES", "EXPIRES", "USES", "STATE"]
        }
        Some(RegistryItem::Policy(_)) => &["NAME", "LINES"],
    };
    table(screen, heading, entries.iter().map(row).collect())
}

fn row(entry: &RegistryEntry) -> Vec<String> {
    match &entry.item {
        RegistryItem::Agent(x) => vec![
            x.name.to_string(),
            x.state.map_or("", registry::AgentState::as_str).to_owned(),
            x.owner.to_string(),
            x.spiffe_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            permissions(&x.ceiling).replace('\n', "; "),
        ],
        RegistryItem::Resource(x) => {
            let tools: Vec<&str> = x.tools.iter().map(|tool| tool.name.as_str()).collect();
            let name = if entry.built_in { format!("{} (built in)", x.name) } else { x.name.to_string() };
            vec![name, x.uri.to_string(), scopes(&x.scopes), tools.join(" ")]
        }
        RegistryItem::Person(x) => vec![
            x.name.to_string(),
            person_state(x.disabled).to_owned(),
            x.issuer.as_ref().map(ToString::to_string).unwrap_or_default(),
            permissions(&x.may).replace('\n', "; "),
        ],
        RegistryItem::Client(x) => {
            vec![
                x.id.to_string(),
                authentication(x.authentication).to_owned(),
                x.redirect_uris.join(" "),
                names(&x.agents),
            ]
        }
        RegistryItem::Issuer(x) => {
            let scope = subject_scope(x.subject_scope).to_owned();
            let claims = required_claims(&x.claims).join("; ");
            // An audience is printed as it is; this is none.
            let audience = if x.audience.is_empty() { "-".to_owned() } else { x.audience.clone() };
            let login = if x.login { "yes" } else { "no" }.to_owned();
            vec![x.url.to_string(), login, audience, x.profile.as_str().to_owned(), scope, claims]
        }
        RegistryItem::Group(x) => vec![
            x.name.to_string(),
            x.issuer.to_string(),
            x.id.clone().unwrap_or_default(),
            permissions(&x.may).replace('\n', "; "),
        ],
        RegistryItem::TrustDomain(x) => {
            let endpoint = x.endpoint.as_ref().map(ToString::to_string);
            vec![x.name.to_string(), endpoint.or_else(|| x.bundle.clone()).unwrap_or_default()]
        }
        RegistryItem::Grant(x) => vec![
            x.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            x.person.to_string(),
            x.agent.to_string(),
            x.resource.to_string(),
            scopes(&x.scopes),
            x.expires.as_ref().map_or_else(|| "never".to_owned(), ToString::to_string),
            uses(entry.uses, x.max_uses),
            grant_state(x.revoked).to_owned(),
        ],
        RegistryItem::Policy(x) => vec![x.name.to_string(), x.source.lines().count().to_string()],
    }
}

pub(crate) fn person_state(disabled: Option<bool>) -> &'static str {
    if disabled == Some(true) { "disabled" } else { "active" }
}

pub(crate) fn grant_state(revoked: Option<bool>) -> &'static str {
    if revoked == Some(true) { "revoked" } else { "active" }
}

pub(crate) fn authentication(method: mandate_api::registry_file::AuthenticationItem) -> &'static str {
    use mandate_api::registry_file::AuthenticationItem as Item;
    let method = match method {
        Item::None => ClientMethod::None,
        Item::ClientSecretBasic => ClientMethod::ClientSecretBasic,
        Item::ClientSecretPost => ClientMethod::ClientSecretPost,
        Item::PrivateKeyJwt => ClientMethod::PrivateKeyJwt,
    };
    method.as_str()
}

/// `name = text`, for each claim that an issuer's tokens must have.
pub(crate) fn required_claims(claims: &ClaimsItem) -> Vec<String> {
    claims.require.iter().map(|(name, value)| format!("{name} = {value}")).collect()
}

pub(crate) fn subject_scope(scope: registry::SubjectScope) -> &'static str {
    match scope {
        registry::SubjectScope::Token => "token",
        registry::SubjectScope::IdentityOnly => "identity_only",
    }
}
