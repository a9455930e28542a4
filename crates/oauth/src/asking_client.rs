//! The client of an authorization request: one that an operator registered, or one that describes itself.

use std::sync::Arc;

use mandate_core::registry::{Client, Resource};
use mandate_core::uri::same;
use mandate_core::{ClientId, Issuer, ScopeSet, SelfDescribed, Timestamp};
use mandate_delegation::{LoginClient, ProvenClient, UnattestedClient};

/// The client that asks a person to log in. It has proven nothing yet.
#[derive(Clone, Debug)]
pub(crate) enum AskingClient {
    /// It has an entry in the registry.
    App(Arc<Client>),
    /// It describes itself.
    Unattested(Arc<SelfDescribed>),
}

impl AskingClient {
    pub(crate) fn id(&self) -> &ClientId {
        match self {
            Self::App(client) => &client.id,
            Self::Unattested(client) => &client.id,
        }
    }

    pub(crate) fn redirect_uris(&self) -> &[String] {
        match self {
            Self::App(client) => &client.redirect_uris,
            Self::Unattested(client) => &client.redirect_uris,
        }
    }

    /// The scopes of `resource` that it may ask for. `named`: the token is to be for this resource. The
    /// decision says so again.
    pub(crate) fn may_ask_of(&self, resource: &Resource, issuer: &Issuer, named: bool) -> ScopeSet {
        match self {
            Self::App(client) => client.may_ask_of(resource, issuer),
            Self::Unattested(_) if !named || same(resource.uri.as_str(), issuer.as_str()) => ScopeSet::new(),
            Self::Unattested(_) => resource.unattested.intersection(&resource.scopes),
        }
    }

    /// Whether it may act for people while they are away. What describes itself acts as an agent does, and no
    /// agent may.
    pub(crate) fn may_refresh(&self) -> bool {
        match self {
            Self::App(client) => client.refresh,
            Self::Unattested(_) => false,
        }
    }

    /// Whether it must push its authorization requests.
    pub(crate) fn must_push(&self) -> bool {
        match self {
            Self::App(client) => client.require_pushed_authorization_requests,
            Self::Unattested(_) => false,
        }
    }

    /// The client of the person's login.
    pub(crate) fn at_login(&self, at: Timestamp) -> LoginClient {
        match self {
            Self::App(client) => LoginClient::App(ProvenClient::assertion(Arc::clone(client), at)),
            Self::Unattested(client) => {
                LoginClient::Unattested(UnattestedClient::assertion(Arc::clone(client), at))
            }
        }
    }
}
