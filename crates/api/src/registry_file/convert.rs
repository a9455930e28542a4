//! Entries back to items of the file, for `get` and `describe`.

use mandate_core::Issuer;
use mandate_core::registry::{ClientAuthentication, Entry, TrustedIssuer};
use mandate_core::{Selector, UnixSelector};

use super::permission::{list, permissions};
use super::{
    AgentItem, AuthenticationItem, ClaimsItem, ClientItem, Expiry, GrantItem, GroupItem, IdTokenItem,
    IntrospectionItem, IssuerItem, PersonItem, PolicyItem, ProofItem, RegistryFile, ResourceItem, ToolItem,
    TrustDomainItem,
};
use crate::admin::RegistryItem;

impl RegistryItem {
    /// The item that declares `entry`, with every default written out. `own` is the issuer of the embedded
    /// directory.
    pub fn of(entry: &Entry, own: &Issuer) -> Self {
        match entry {
            Entry::Resource(x) => {
                let tool = |t: &mandate_core::registry::Tool| ToolItem {
                    name: t.name.clone(),
                    scope: t.scope.clone(),
                    destructive: t.destructive,
                    egress: t.egress,
                    untrusted_input: t.untrusted_input,
                };
                Self::Resource(ResourceItem {
                    tenant: x.tenant.clone(),
                    name: x.name.clone(),
                    uri: x.uri.clone(),
                    scopes: list(&x.scopes),
                    tools: x.tools.iter().map(tool).collect(),
                    agent: x.agent.clone(),
                    client: x.client.clone(),
                    unattested: list(&x.unattested),
                })
            }
            Entry::Person(x) => {
                let foreign = x.id.iss != *own;
                Self::Person(PersonItem {
                    tenant: x.tenant.clone(),
                    name: x.name.clone(),
                    may: permissions(&x.may),
                    issuer: foreign.then(|| x.id.iss.clone()),
                    sub: foreign.then(|| x.id.sub.clone()),
                    disabled: Some(x.disabled),
                })
            }
            Entry::Agent(x) => Self::Agent(AgentItem {
                tenant: x.tenant.clone(),
                name: x.name.clone(),
                owner: x.owner.clone(),
                purpose: x.purpose.clone(),
                spiffe_id: Some(x.spiffe_id.clone()),
                selectors: x.selectors.iter().map(ToString::to_string).collect(),
                dangerous_any_user: is_for_any_user(&x.selectors),
                proof: x.proofs.iter().map(ProofItem::of).collect(),
                ceiling: permissions(&x.ceiling),
                may: permissions(&x.may),
                chain_depth: Some(x.chain_depth),
                state: Some(x.state),
            }),
            Entry::Client(x) => {
                let (authentication, jwks, assertion_audience) = match &x.authentication {
                    ClientAuthentication::None => (AuthenticationItem::None, None, None),
                    ClientAuthentication::ClientSecretBasic => {
                        (AuthenticationItem::ClientSecretBasic, None, None)
                    }
                    ClientAuthentication::ClientSecretPost => {
                        (AuthenticationItem::ClientSecretPost, None, None)
                    }
                    ClientAuthentication::PrivateKeyJwt { jwks, audience } => {
                        (AuthenticationItem::PrivateKeyJwt, Some(jwks.clone()), Some(*audience))
                    }
                };
                let (id, redirect_uris, agents) = (x.id.clone(), x.redirect_uris.clone(), x.agents.clone());
                let scopes = x.scopes.as_ref().map(list);
                Self::Client(ClientItem {
                    tenant: x.tenant.clone(),
                    id,
                    redirect_uris,
                    authentication,
                    jwks,
                    assertion_audience,
                    scopes,
                    agents,
                    refresh: x.refresh,
                    require_pushed_authorization_requests: x.require_pushed_authorization_requests,
                    device: x.device,
                })
            }
            Entry::Issuer(x) => Self::Issuer(issuer(x)),
            Entry::Group(x) => Self::Group(GroupItem::of(x)),
            Entry::TrustDomain(x) => Self::TrustDomain(TrustDomainItem::of(x)),
            Entry::Grant(x) => Self::Grant(GrantItem {
                name: None,
                id: Some(x.id.clone()),
                person: x.person.clone(),
                agent: x.agent.clone(),
                resource: x.resource.clone(),
                scopes: list(&x.scopes),
                expires: x.expires.map(Expiry::At),
                max_uses: x.max_uses,
                lifetime: x.constraints.lifetime,
                revoked: Some(x.revoked),
            }),
            Entry::Policy(x) => Self::Policy(PolicyItem { name: x.name.clone(), source: x.source.clone() }),
        }
    }
}

fn issuer(x: &TrustedIssuer) -> IssuerItem {
    IssuerItem {
        tenant: x.tenant.clone(),
        url: x.url.clone(),
        audience: x.audience.clone(),
        subject_scope: x.subject_scope,
        other_audiences: x.other_audiences.clone(),
        ca: x.ca.clone(),
        proxy: x.proxy.clone(),
        profile: x.profile,
        claims: ClaimsItem {
            require: x.required_claims.clone(),
            groups: x.groups_claim.clone(),
            tenant: x.tenant_claim.clone(),
            oldest_actor_first: x.oldest_actor_first,
        },
        login: x.login.is_some(),
        client_id: x.login.as_ref().map(|login| login.client_id.clone()),
        client_secret_file: x.login.as_ref().and_then(|login| login.client_secret_file.clone()),
        security_events: x.events_audience.is_some(),
        events_audience: events_audience(x),
        introspection: x.introspection.as_ref().map(|asks| IntrospectionItem {
            client_id: asks.client_id.clone(),
            client_secret_file: asks.client_secret_file.clone(),
            clients: asks.clients.clone(),
        }),
        id_tokens: x
            .id_tokens
            .iter()
            .map(|known| IdTokenItem { audience: known.audience.clone(), client: known.client.clone() })
            .collect(),
    }
}

/// What its security events are addressed to, if that is not the client id.
fn events_audience(x: &TrustedIssuer) -> Option<String> {
    let client_id = x.login.as_ref().map(|login| &login.client_id);
    x.events_audience.clone().filter(|audience| client_id != Some(audience))
}

impl RegistryFile {
    /// The file that declares these items.
    pub fn from_items(items: impl IntoIterator<Item = RegistryItem>) -> Self {
        let mut file = Self::default();
        for item in items {
            match item {
                RegistryItem::Resource(x) => file.resource.push(x),
                RegistryItem::Person(x) => file.person.push(x),
                RegistryItem::Agent(x) => file.agent.push(x),
                RegistryItem::Client(x) => file.client.push(x),
                RegistryItem::Issuer(x) => file.issuer.push(x),
                RegistryItem::Group(x) => file.group.push(x),
                RegistryItem::TrustDomain(x) => file.trust_domain.push(x),
                RegistryItem::Grant(x) => file.grant.push(x),
                RegistryItem::Policy(x) => file.policy.push(x),
            }
        }
        file
    }
}

/// Whether processes of every local user can show the selectors. A program's path and digest do not prove who
/// runs it: the user who starts a program decides which libraries it loads (`LD_PRELOAD`).
pub fn is_for_any_user(selectors: &[Selector]) -> bool {
    let names_user =
        |selector: &Selector| matches!(selector, Selector::Unix(UnixSelector::Uid(_) | UnixSelector::Gid(_)));
    !selectors.is_empty() && !selectors.iter().any(names_user)
}
