//! Converts items of the file to validated entries: defaults, and everything that can be checked about one
//! entry alone.

use mandate_api::RegistryFile;
use mandate_api::registry_file::{
    AgentItem, AuthenticationItem, ClientItem, Finding, GrantItem, GroupItem, PermissionItem, PersonItem,
    ResourceItem, TrustDomainItem, is_for_any_user,
};
use mandate_core::constraint::Constraints;
use mandate_core::digest::sha256_of_list;
use mandate_core::registry::{
    Agent, AgentState, Client, ClientAuthentication, DEFAULT_CHAIN_DEPTH, Entry, Grant, Group,
    MAX_GROUP_ID_LEN, Permission, Person, Policy, Registry, Resource, Tool, is_group_id,
};
use mandate_core::scope::OFFLINE_ACCESS;
use mandate_core::subject::{MAX_PARSED_DEPTH, MAX_SUBJECT_LEN, Subject};
use mandate_core::{
    AgentName, GrantId, Issuer, Lifetime, PersonName, ResourceName, Scope, ScopeSet, Timestamp, TrustDomain,
};

use crate::corrections::{self, Made, every_finding};
use crate::key_material::check_jwks;
use crate::states::{AgentAct, GrantAct, GrantState, StateMachine as _};
use crate::{issuers, proofs, redirect_uri, selectors, trust_domains};

/// The most scopes in one list of the file.
const MAX_SCOPES: usize = 64;

/// The values that the file leaves to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The trust domain in which agents are named.
    pub trust_domain: TrustDomain,
    /// The issuer that names the people of the embedded directory.
    pub issuer: Issuer,
    /// The time at which the file is applied, from which spans count.
    pub now: Timestamp,
}

/// The id of a grant for which none is given: a digest of its parties, so that the grant is found when it is
/// applied again.
#[expect(clippy::expect_used, reason = "34 characters of g, - and hex digits are an id by construction")]
pub(crate) fn grant_id(
    person: &PersonName,
    agent: &AgentName,
    resource: &ResourceName,
    name: Option<&str>,
) -> GrantId {
    let parts = [person.as_str(), agent.as_str(), resource.as_str(), name.unwrap_or_default()];
    let digest = sha256_of_list(parts.map(str::as_bytes));
    let (half, _) = digest.split_at(16);
    let text = format!("g-{}", base16ct::lower::encode_string(half));
    text.parse().expect("hexadecimal digits form an id")
}

/// An entry and its place in the file.
pub(crate) struct Declared {
    pub(crate) entry: Entry,
    /// Its JSON pointer in the file, such as `/agent/0`.
    pub(crate) pointer: String,
}

/// Every item as an entry. Mistakes go to `findings`; an item with a mistake is left out.
pub(crate) fn declare(
    file: &RegistryFile,
    current: &Registry,
    defaults: &Defaults,
    findings: &mut Vec<Finding>,
) -> (Vec<Declared>, Vec<String>) {
    let mut all = Vec::new();
    let mut notes = Vec::new();
    let mut keep = |kind: &str, at: usize, made: Made| {
        all.extend(made.entry.map(|entry| Declared { entry, pointer: format!("/{kind}/{at}") }));
        findings.extend(
            made.findings
                .into_iter()
                .map(|found| Finding::new(format!("/{kind}/{at}{}", found.pointer), found.detail)),
        );
    };
    for (at, item) in file.resource.iter().enumerate() {
        keep("resource", at, every_finding(item, resource, corrections::resource));
    }
    for (at, item) in file.person.iter().enumerate() {
        keep("person", at, every_finding(item, |item| person(item, current, defaults), corrections::person));
    }
    for (at, item) in file.agent.iter().enumerate() {
        let made = every_finding(item, |item| agent(item, current, defaults), corrections::agent);
        if let Some(Entry::Agent(agent)) = &made.entry {
            notes.extend(proofs::notes(agent));
        }
        keep("agent", at, made);
        notes.extend(selectors::notes(item));
        if is_for_any_user(&selectors::readable(&item.selectors)) {
            notes.push(format!(
                "agent `{}` has no unix:uid or unix:gid selector: every local user can act as it",
                item.name
            ));
        } else if item.dangerous_any_user {
            notes.push(format!(
                "`dangerous_any_user` of agent `{}` has no effect: its selectors name a user or group, or there are none",
                item.name
            ));
        }
    }
    notes.extend(selectors::overlaps(&file.agent, current));
    for (at, item) in file.client.iter().enumerate() {
        keep("client", at, every_finding(item, client, corrections::client));
        notes.extend(item.redirect_uris.iter().filter_map(|uri| {
            let scheme = redirect_uri::claimable_scheme(uri)?;
            Some(format!(
                "client `{}`: any app on a device can claim the scheme `{scheme}`; one made of a domain of yours, such as com.example.app, is safer (RFC 8252 §7.1)",
                item.id
            ))
        }));
    }
    for (at, item) in file.issuer.iter().enumerate() {
        keep(
            "issuer",
            at,
            every_finding(item, |item| issuers::issuer(item, &defaults.issuer), corrections::issuer),
        );
    }
    for (at, item) in file.group.iter().enumerate() {
        let make = |item: &GroupItem| group(item, &defaults.issuer);
        keep("group", at, every_finding(item, make, corrections::group));
    }
    for (at, item) in file.trust_domain.iter().enumerate() {
        let make = |item: &TrustDomainItem| trust_domains::trust_domain(item, &defaults.trust_domain);
        keep("trust_domain", at, every_finding(item, make, corrections::trust_domain));
    }
    for (at, item) in file.grant.iter().enumerate() {
        let id = item
            .id
            .clone()
            .unwrap_or_else(|| grant_id(&item.person, &item.agent, &item.resource, item.name.as_deref()));
        let before = current.grant(&id);
        if item.revoked.is_none() && before.is_some_and(|grant| grant.revoked) {
            notes.push(format!(
                "the grant of `{}` to `{}` on `{}` stays revoked; to grant again, give it another `name`",
                item.person, item.agent, item.resource
            ));
        }
        let declared = file
            .resource
            .iter()
            .find(|resource| resource.name == item.resource)
            .and_then(|resource| resource.scopes.first());
        let known = declared.or_else(|| current.resource(&item.resource)?.scopes.iter().next());
        let make = |item: &GrantItem| grant(item, id.clone(), before.map(|grant| &**grant), defaults);
        keep(
            "grant",
            at,
            every_finding(item, make, |item, pointer| corrections::grant(item, pointer, known)),
        );
    }
    for (at, item) in file.policy.iter().enumerate() {
        keep(
            "policy",
            at,
            Ok(Entry::Policy(Policy { name: item.name.clone(), source: item.source.clone() })).into(),
        );
    }
    (all, notes)
}
fn scopes(list: &[Scope], pointer: &str) -> Result<ScopeSet, Finding> {
    if list.len() > MAX_SCOPES {
        return Err(Finding::new(pointer, format!("more than {MAX_SCOPES} scopes")));
    }
    Ok(list.iter().cloned().collect())
}

fn constraints(lifetime: Option<Lifetime>, pointer: &str) -> Result<Constraints, Finding> {
    if lifetime.is_some_and(|span| span.0.as_secs() == 0) {
        return Err(Finding::new(format!("{pointer}/lifetime"), "a lifetime is at least 1s"));
    }
    Ok(Constraints { lifetime })
}

pub(crate) fn permissions(list: &[PermissionItem], pointer: &str) -> Result<Vec<Permission>, Finding> {
    let mut made: Vec<Permission> = Vec::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        let here = format!("{pointer}/{at}");
        if made.iter().any(|p| p.resource == item.resource) {
            return Err(Finding::new(
                here,
                format!("a second permission on resource `{}`; write its scopes in one list", item.resource),
            ));
        }
        let scopes = scopes(&item.scopes, &format!("{here}/scopes"))?;
        made.push(Permission {
            resource: item.resource.clone(),
            scopes,
            constraints: constraints(item.lifetime, &here)?,
        });
    }
    Ok(made)
}

fn resource(item: &ResourceItem) -> Result<Entry, Finding> {
    let known = scopes(&item.scopes, "/scopes")?;
    if known.iter().any(|scope| scope.as_str() == OFFLINE_ACCESS) {
        let detail = format!(
            "`{OFFLINE_ACCESS}` is a scope of no resource: by it a client asks for refresh tokens; give the scope another name"
        );
        return Err(Finding::new("/scopes", detail));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(item.tools.len());
    for (at, tool) in item.tools.iter().enumerate() {
        if tool.name.is_empty() || tool.name.len() > 128 || tool.name.chars().any(char::is_control) {
            return Err(Finding::new(
                format!("/tools/{at}/name"),
                "the name of a tool has 1 to 128 bytes and no control characters",
            ));
        }
        if tools.iter().any(|other| other.name == tool.name) {
            return Err(Finding::new(format!("/tools/{at}"), format!("a second tool named `{}`", tool.name)));
        }
        if !known.contains(&tool.scope) {
            let detail = format!(
                "tool `{}` needs the scope `{}`, which resource `{}` does not have",
                tool.name, tool.scope, item.name
            );
            return Err(Finding::new(format!("/tools/{at}/scope"), detail));
        }
        tools.push(Tool {
            name: tool.name.clone(),
            scope: tool.scope.clone(),
            destructive: tool.destructive,
            egress: tool.egress,
            untrusted_input: tool.untrusted_input,
        });
    }
    let unattested = scopes(&item.unattested, "/unattested")?;
    if let Some(scope) = unattested.iter().find(|scope| !known.contains(scope)) {
        let detail = format!("resource `{}` does not have the scope `{scope}`", item.name);
        return Err(Finding::new("/unattested", detail));
    }
    let (name, uri) = (item.name.clone(), item.uri.clone());
    Ok(Entry::Resource(Resource {
        name,
        uri,
        scopes: known,
        tools,
        agent: item.agent.clone(),
        client: item.client.clone(),
        unattested,
        tenant: item.tenant.clone(),
    }))
}

fn person(item: &PersonItem, current: &Registry, defaults: &Defaults) -> Result<Entry, Finding> {
    let iss = item.issuer.clone().unwrap_or_else(|| defaults.issuer.clone());
    let sub = item.sub.clone().unwrap_or_else(|| item.name.as_str().to_owned());
    if sub.is_empty() || sub.len() > MAX_SUBJECT_LEN || sub.chars().any(char::is_control) {
        return Err(Finding::new(
            "/sub",
            format!("a sub has 1 to {MAX_SUBJECT_LEN} bytes and no control characters"),
        ));
    }
    if iss == defaults.issuer && sub != item.name.as_str() {
        // The embedded directory knows people by name; a second spelling would let one person be named as
        // another.
        return Err(Finding::new(
            "/sub",
            format!("`sub` of person `{}` of the embedded directory is the name; leave it out", item.name),
        ));
    }
    let disabled =
        item.disabled.unwrap_or_else(|| current.person(&item.name).is_some_and(|before| before.disabled));
    let may = permissions(&item.may, "/may")?;
    let (name, tenant) = (item.name.clone(), item.tenant.clone());
    Ok(Entry::Person(Person { name, id: Subject { iss, sub }, may, disabled, tenant }))
}

/// `own`: the issuer of the embedded directory, which has no groups.
fn group(item: &GroupItem, own: &Issuer) -> Result<Entry, Finding> {
    if item.issuer == *own {
        let detail = format!(
            "the embedded directory has no groups; group `{}` needs the issuer whose tokens name its members",
            item.name
        );
        return Err(Finding::new("/issuer", detail));
    }
    let id = item.id.clone().unwrap_or_else(|| item.name.as_str().to_owned());
    if !is_group_id(&id) {
        let detail = format!("the id of a group has 1 to {MAX_GROUP_ID_LEN} bytes and no control characters");
        return Err(Finding::new("/id", detail));
    }
    let (name, issuer, may) = (item.name.clone(), item.issuer.clone(), permissions(&item.may, "/may")?);
    Ok(Entry::Group(Group { name, issuer, id, may }))
}

fn agent(item: &AgentItem, current: &Registry, defaults: &Defaults) -> Result<Entry, Finding> {
    if item.purpose.trim().is_empty()
        || item.purpose.len() > 1024
        || item.purpose.chars().any(char::is_control)
    {
        return Err(Finding::new(
            "/purpose",
            format!("say in 1 to 1024 bytes, on one line, what agent `{}` is for", item.name),
        ));
    }
    let spiffe_id = match &item.spiffe_id {
        Some(id) => id.clone(),
        None => defaults.trust_domain.member(&format!("/agent/{}", item.name)).map_err(|error| {
            Finding::new("/name", format!("no SPIFFE ID can be made from the name: {error}"))
        })?,
    };
    if !spiffe_id.is_member_of(&defaults.trust_domain) {
        let detail =
            format!("`{spiffe_id}` is not in the trust domain `{}` of this server", defaults.trust_domain);
        return Err(Finding::new("/spiffe_id", detail));
    }
    if let Some(before) = current.agent(&item.name)
        && before.spiffe_id != spiffe_id
        && keeps_its_identity(before.state)
    {
        let detail = format!(
            "agent `{}` is {} and keeps its SPIFFE ID `{}`, which no other agent may have",
            item.name,
            before.state.as_str(),
            before.spiffe_id
        );
        return Err(Finding::new("/spiffe_id", detail));
    }
    let is_below = |top: &str| {
        spiffe_id.path().strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if spiffe_id.path().is_empty() || is_below("/node") || is_below("/mandate") {
        let detail = format!(
            "`{spiffe_id}` cannot be an agent's: the trust domain's own ID and IDs below /node and /mandate belong to the server"
        );
        return Err(Finding::new("/spiffe_id", detail));
    }
    let mut required = selectors::check(&item.selectors)
        .map_err(|(at, why)| Finding::new(format!("/selectors/{at}"), why))?;
    if is_for_any_user(&required) && !item.dangerous_any_user {
        let detail = format!(
            "the selectors of agent `{}` name no user: every local user can start the program with a library of their own and act as this agent; add unix:uid:<number> or unix:gid:<number>, or accept it with dangerous_any_user = true",
            item.name
        );
        return Err(Finding::new("/selectors", detail));
    }
    required.sort_by_cached_key(ToString::to_string);
    required.dedup();
    let chain_depth = item.chain_depth.unwrap_or(DEFAULT_CHAIN_DEPTH);
    if chain_depth == 0 || usize::from(chain_depth) > MAX_PARSED_DEPTH {
        return Err(Finding::new("/chain_depth", format!("a chain has 1 to {MAX_PARSED_DEPTH} actors")));
    }
    let state = match (current.agent(&item.name).map(|agent| agent.state), item.state) {
        (Some(before), Some(wish)) => {
            let refused = |refusal| Finding::new("/state", format!("agent `{}` {refusal}", item.name));
            before.after(AgentAct::towards(wish)).map_err(refused)?.unwrap_or(wish)
        }
        (before, wish) => wish.or(before).unwrap_or(AgentState::Active),
    };
    Ok(Entry::Agent(Agent {
        name: item.name.clone(),
        owner: item.owner.clone(),
        purpose: item.purpose.clone(),
        spiffe_id,
        selectors: required,
        proofs: proofs::of(item, defaults)?,
        ceiling: permissions(&item.ceiling, "/ceiling")?,
        may: permissions(&item.may, "/may")?,
        chain_depth,
        state,
        tenant: item.tenant.clone(),
    }))
}

/// Whether an agent in this state keeps its SPIFFE ID. Otherwise another agent could get it: that of a
/// retired agent is never given away, and that of a contained one stands for what the incident is about.
fn keeps_its_identity(state: AgentState) -> bool {
    match state {
        AgentState::Active | AgentState::Suspended => false,
        AgentState::Contained | AgentState::Retired => true,
    }
}

fn client(item: &ClientItem) -> Result<Entry, Finding> {
    // Tokens and records name an agent that is a client by its SPIFFE ID: no other client may have such an
    // id.
    if item.id.as_str().starts_with("spiffe://") {
        return Err(Finding::new(
            "/id",
            format!("client id `{}`: ids that begin with spiffe:// are those of agents", item.id),
        ));
    }
    for (at, uri) in item.redirect_uris.iter().enumerate() {
        redirect_uri::check(uri).map_err(|error| {
            Finding::new(format!("/redirect_uris/{at}"), format!("redirect URI {uri:?}: {error}"))
        })?;
    }
    let authentication = match (item.authentication, &item.jwks) {
        (AuthenticationItem::None, None) => ClientAuthentication::None,
        (AuthenticationItem::ClientSecretBasic, None) => ClientAuthentication::ClientSecretBasic,
        (AuthenticationItem::ClientSecretPost, None) => ClientAuthentication::ClientSecretPost,
        (AuthenticationItem::PrivateKeyJwt, Some(jwks)) => {
            check_jwks(jwks)
                .map_err(|why| Finding::new("/jwks", format!("the keys of client `{}`: {why}", item.id)))?;
            ClientAuthentication::PrivateKeyJwt {
                jwks: jwks.clone(),
                audience: item.assertion_audience.unwrap_or_default(),
            }
        }
        (AuthenticationItem::PrivateKeyJwt, None) => {
            return Err(Finding::new(
                "/authentication",
                format!("client `{}` authenticates by private_key_jwt but has no `jwks`", item.id),
            ));
        }
        (_, Some(_)) => {
            return Err(Finding::new(
                "/jwks",
                format!("`jwks` of client `{}` needs authentication = \"private_key_jwt\"", item.id),
            ));
        }
    };
    if item.assertion_audience.is_some() && item.authentication != AuthenticationItem::PrivateKeyJwt {
        let detail = format!(
            "`assertion_audience` of client `{}` needs authentication = \"private_key_jwt\"",
            item.id
        );
        return Err(Finding::new("/assertion_audience", detail));
    }
    Ok(Entry::Client(Client {
        id: item.id.clone(),
        redirect_uris: item.redirect_uris.clone(),
        authentication,
        agents: item.agents.clone(),
        scopes: item.scopes.as_deref().map(|list| scopes(list, "/scopes")).transpose()?,
        refresh: item.refresh,
        require_pushed_authorization_requests: item.require_pushed_authorization_requests,
        device: item.device,
        tenant: item.tenant.clone(),
    }))
}

fn grant(
    item: &GrantItem,
    id: GrantId,
    before: Option<&Grant>,
    defaults: &Defaults,
) -> Result<Entry, Finding> {
    let scopes = scopes(&item.scopes, "/scopes")?;
    if scopes.is_empty() {
        return Err(Finding::new("/scopes", "a grant has at least one scope"));
    }
    if item.max_uses == Some(0) {
        return Err(Finding::new("/max_uses", "max_uses is at least 1; leave it out for no limit"));
    }
    if let Some(before) = before {
        let same =
            before.person == item.person && before.agent == item.agent && before.resource == item.resource;
        if !same {
            let detail = format!(
                "the grant with the id `{id}` is of `{}` to `{}` on `{}`",
                before.person, before.agent, before.resource
            );
            return Err(Finding::new("/id", detail));
        }
        if item.revoked == Some(false) && GrantState::of(before).after(GrantAct::Restore).is_err() {
            return Err(Finding::new(
                "/revoked",
                "a revoked grant stays revoked; give the new grant another `name`",
            ));
        }
    }
    let end = item.expires.map(|expires| {
        let before = before.and_then(|grant| Some((grant.expires?, grant.span)));
        expires.resolve(defaults.now, before)
    });
    Ok(Entry::Grant(Grant {
        id,
        person: item.person.clone(),
        agent: item.agent.clone(),
        resource: item.resource.clone(),
        scopes,
        constraints: constraints(item.lifetime, "")?,
        expires: end.map(|(at, _)| at),
        span: end.and_then(|(_, span)| span),
        max_uses: item.max_uses,
        revoked: item.revoked.unwrap_or_else(|| before.is_some_and(|grant| grant.revoked)),
    }))
}
