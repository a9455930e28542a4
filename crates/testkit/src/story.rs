//! The registry of the story: Riley, an agent for support cases, and what both may do.
//!
//! | who | what |
//! |---|---|
//! | `riley` | the CRM: read cases, write comments, write opportunities; research and archive: read cases |
//! | `casey` | nothing |
//! | `support-agent` | ceiling: the CRM's cases and comments, research, archive; granted by Riley |
//! | `research-agent` | serves the resource `research`; ceiling: read cases of the CRM and archive; granted by Riley |
//! | `archive-agent` | serves the resource `archive`; ceiling: read cases of the CRM; granted by Riley |
//! | `idle-agent` | no ceiling, no grant |
//! | `support-app` | public client; people log in through it |
//! | `desk-app` | confidential client with a secret; may present `support-agent` |
//! | `batch-app` | confidential client with a key; may present `support-agent` |
//! | `crm-api` | the CRM's own client, for introspection |

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a world that cannot be set up is a failed test"
)]

use std::collections::BTreeMap;

use mandate_core::constraint::Constraints;
use mandate_core::registry::{
    Agent, AgentState, AssertionAudience, Client, ClientAuthentication, DEFAULT_CHAIN_DEPTH, Entry, Grant,
    Permission, Person, Resource, SubjectScope, TokenProfile, TrustedIssuer,
};
use mandate_core::{Issuer, ScopeSet};

/// The issuer of the server.
pub const ISSUER: &str = "https://mandate.acme.example";
/// The trust domain of the agents.
pub const TRUST_DOMAIN: &str = "acme.example";
/// The identifier of the CRM.
pub const CRM: &str = "https://crm.acme.example";
/// The identifier of the resource that `research-agent` serves.
pub const RESEARCH: &str = "https://research.acme.example";
/// The identifier of the resource that `archive-agent` serves.
pub const ARCHIVE: &str = "https://archive.acme.example";
/// The redirect URI of every app of the story.
pub const CALLBACK: &str = "http://127.0.0.1:9200/callback";
/// Riley's and Casey's password.
pub const PASSWORD: &str = "correct horse battery staple";
/// The secret of `desk-app` and `crm-api`.
pub const CLIENT_SECRET: &str = "a client secret: 0123456789+/%";

fn scopes(text: &str) -> ScopeSet {
    if text.is_empty() { ScopeSet::new() } else { text.parse().expect("scopes") }
}

/// The SPIFFE ID of an agent of the story.
pub fn spiffe_id(agent: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/agent/{agent}")
}

/// A resource with these scopes, separated by spaces, and no tools.
pub fn resource(name: &str, uri: &str, scope: &str) -> Resource {
    let (name, uri) = (name.parse().expect("a name"), uri.parse().expect("a URI"));
    Resource {
        name,
        uri,
        scopes: scopes(scope),
        tools: Vec::new(),
        agent: None,
        client: None,
        unattested: ScopeSet::new(),
        tenant: None,
    }
}

/// The permission for scopes, separated by spaces, on a resource.
pub fn permission(resource: &str, scope: &str) -> Permission {
    Permission {
        resource: resource.parse().expect("a name"),
        scopes: scopes(scope),
        constraints: Constraints::default(),
    }
}

/// A person of the embedded directory.
pub fn person(name: &str, may: Vec<Permission>) -> Person {
    let iss = ISSUER.parse().expect("an issuer");
    Person {
        name: name.parse().expect("a name"),
        id: mandate_core::Subject { iss, sub: name.to_owned() },
        may,
        disabled: false,
        tenant: None,
    }
}

/// An active agent, owned by Riley.
pub fn agent(name: &str, ceiling: Vec<Permission>) -> Agent {
    Agent {
        name: name.parse().expect("a name"),
        owner: "riley".parse().expect("a name"),
        purpose: format!("{name} of the story"),
        spiffe_id: spiffe_id(name).parse().expect("a SPIFFE ID"),
        selectors: vec!["unix:uid:1000".parse().expect("a selector")],
        proofs: Vec::new(),
        ceiling,
        may: Vec::new(),
        chain_depth: DEFAULT_CHAIN_DEPTH,
        state: AgentState::Active,
        tenant: None,
    }
}

/// An agent that is not in [`entries`]: it may read the CRM's cases on its own behalf, and its ceiling has
/// comments too.
pub fn watch_agent() -> Entry {
    let ceiling = vec![permission("crm", "read:cases write:case_comments")];
    Entry::Agent(Agent { may: vec![permission("crm", "read:cases")], ..agent("watch-agent", ceiling) })
}

/// A grant without limits, called `<person>-<agent>-<resource>`.
pub fn grant(person: &str, agent: &str, resource: &str, scope: &str) -> Grant {
    Grant {
        id: format!("{person}-{agent}-{resource}").parse().expect("an id"),
        person: person.parse().expect("a name"),
        agent: agent.parse().expect("a name"),
        resource: resource.parse().expect("a name"),
        scopes: scopes(scope),
        constraints: Constraints::default(),
        expires: None,
        span: None,
        max_uses: None,
        revoked: false,
    }
}

/// A client that people log in through.
pub fn client(id: &str, authentication: ClientAuthentication, agents: &[&str]) -> Client {
    Client {
        id: id.parse().expect("a client id"),
        redirect_uris: vec![CALLBACK.to_owned()],
        authentication,
        agents: agents.iter().map(|name| name.parse().expect("a name")).collect(),
        scopes: None,
        refresh: false,
        require_pushed_authorization_requests: false,
        device: false,
        tenant: None,
    }
}

/// A client that is not in [`entries`]: people log in through it, and it may act while they are away. Beside it,
/// `desk-app` may too.
pub fn away_apps() -> Vec<Entry> {
    let app = |id, authentication, agents: &[&str]| {
        Entry::Client(Client { refresh: true, ..client(id, authentication, agents) })
    };
    vec![
        app("away-app", ClientAuthentication::None, &[]),
        app("desk-app", ClientAuthentication::ClientSecretBasic, &["support-agent"]),
    ]
}

/// Clients that are not in [`entries`]: people log in for them on another device, and they may act while the people
/// are away. `tv-app` is a public one; `desk-app` is the story's, with more rights.
pub fn device_apps() -> Vec<Entry> {
    let app = |id, authentication, agents: &[&str]| {
        Entry::Client(Client { device: true, refresh: true, ..client(id, authentication, agents) })
    };
    vec![
        app("tv-app", ClientAuthentication::None, &[]),
        app("desk-app", ClientAuthentication::ClientSecretBasic, &["support-agent"]),
    ]
}

/// An identity provider of another organization, which is trusted to identify people.
pub fn trusted_issuer(url: Issuer, subject_scope: SubjectScope) -> TrustedIssuer {
    TrustedIssuer {
        url,
        audience: ISSUER.to_owned(),
        subject_scope,
        other_audiences: Vec::new(),
        ca: None,
        proxy: None,
        profile: TokenProfile::Rfc9068,
        required_claims: BTreeMap::new(),
        login: None,
        events_audience: None,
        groups_claim: None,
        tenant_claim: None,
        tenant: None,
        id_tokens: Vec::new(),
        introspection: None,
        oldest_actor_first: false,
    }
}

/// The whole registry. `batch_jwks` is the JWK Set of `batch-app`.
pub fn entries(batch_jwks: &str) -> Vec<Entry> {
    let mut crm = resource("crm", CRM, "read:cases write:case_comments write:opportunities send:mail");
    crm.client = Some("crm-api".parse().expect("a client id"));
    let mut research = resource("research", RESEARCH, "read:cases");
    research.agent = Some("research-agent".parse().expect("a name"));
    let mut archive = resource("archive", ARCHIVE, "read:cases");
    archive.agent = Some("archive-agent".parse().expect("a name"));
    let secret = ClientAuthentication::ClientSecretBasic;
    let key = ClientAuthentication::PrivateKeyJwt {
        jwks: batch_jwks.to_owned(),
        audience: AssertionAudience::Issuer,
    };
    vec![
        Entry::Resource(crm),
        Entry::Resource(research),
        Entry::Resource(archive),
        Entry::Person(person(
            "riley",
            vec![
                permission("crm", "read:cases write:case_comments write:opportunities"),
                permission("research", "read:cases"),
                permission("archive", "read:cases"),
            ],
        )),
        Entry::Person(person("casey", Vec::new())),
        Entry::Agent(agent(
            "support-agent",
            vec![
                permission("crm", "read:cases write:case_comments"),
                permission("research", "read:cases"),
                permission("archive", "read:cases"),
            ],
        )),
        Entry::Agent(agent(
            "research-agent",
            vec![permission("crm", "read:cases"), permission("archive", "read:cases")],
        )),
        Entry::Agent(agent(
            "archive-agent",
            vec![permission("crm", "read:cases"), permission("research", "read:cases")],
        )),
        Entry::Agent(agent("idle-agent", Vec::new())),
        Entry::Grant(grant("riley", "support-agent", "crm", "read:cases write:case_comments")),
        Entry::Grant(grant("riley", "support-agent", "research", "read:cases")),
        Entry::Grant(grant("riley", "support-agent", "archive", "read:cases")),
        Entry::Grant(grant("riley", "research-agent", "crm", "read:cases")),
        Entry::Grant(grant("riley", "research-agent", "archive", "read:cases")),
        Entry::Grant(grant("riley", "archive-agent", "crm", "read:cases")),
        Entry::Grant(grant("riley", "archive-agent", "research", "read:cases")),
        Entry::Client(client("support-app", ClientAuthentication::None, &[])),
        Entry::Client(client("desk-app", secret.clone(), &["support-agent"])),
        Entry::Client(client("batch-app", key, &["support-agent"])),
        Entry::Client(client("crm-api", secret, &[])),
    ]
}
