//! Who administers the server, how that was proven, and what they may do now.

use std::fmt;
use std::sync::Arc;

use mandate_core::{Role, Subject, Timestamp};
use mandate_delegation::liveness::{Asker, living_person};
use mandate_live::Live;
use mandate_token::access_token::AccessToken;

use crate::error::AccessDenied;
use crate::roles;

/// A caller whose identity is proven. What it may do is asked for each act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator(Proof);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    /// A local process of this user, as the kernel reports it.
    Local { uid: u32 },
    /// A person with an access token of ours. It was valid when the request arrived.
    Person { id: Subject, token: Arc<AccessToken> },
}

impl Operator {
    /// Root and the user that the server runs as, who could read the database anyway, have every role. No
    /// other user can administer by uid.
    ///
    /// `uid`: the user of the peer, as the kernel reports it.
    pub fn of_user(uid: u32) -> Result<Self, AccessDenied> {
        let is_own = uid == 0 || mandate_files::own_user() == Some(uid);
        if is_own { Ok(Self(Proof::Local { uid })) } else { Err(AccessDenied::Uid) }
    }

    /// The person to whom this verified token of ours was issued. An agent's own token is nobody's.
    pub(crate) fn of_token(token: AccessToken) -> Result<Self, AccessDenied> {
        let id = token.terms.subject.clone().ok_or(AccessDenied::Token)?;
        Ok(Self(Proof::Person { id, token: Arc::new(token) }))
    }

    /// The person, if it is one.
    pub fn person(&self) -> Option<&Subject> {
        match &self.0 {
            Proof::Local { .. } => None,
            Proof::Person { id, .. } => Some(id),
        }
    }

    /// Whether they have, now, a role that includes this one.
    pub(crate) fn may(&self, least: Role, live: &Live, now: Timestamp) -> Result<(), AccessDenied> {
        match &self.0 {
            Proof::Local { .. } => Ok(()),
            Proof::Person { token, .. } => permits(token, least, live, now),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Proof::Local { uid } => write!(f, "uid:{uid}"),
            Proof::Person { id, token } => write!(f, "{id} (token {})", token.terms.jti),
        }
    }
}

/// Whether a verified token gives, in the present state, a role that includes this one.
fn permits(token: &AccessToken, least: Role, live: &Live, now: Timestamp) -> Result<(), AccessDenied> {
    token.require_audience(live.issuer().as_str()).map_err(|_| AccessDenied::Token)?;
    let (token, snapshot) = (&token.terms, live.snapshot());
    let (registry, revocations) = (&snapshot.registry, &snapshot.revocations);
    let person = living_person(token, live.issuer(), Asker::Ourselves, registry, revocations, now)
        .map_err(|_| AccessDenied::Token)?;
    let groups = registry.groups_of_names(&person.id.iss, &token.groups);
    let person = person.with_groups(&groups);
    // The scope in the token is a name that any resource may declare: the right must be one on our
    // administration.
    let named = |role: &Role| token.scopes.iter().any(|scope| scope.as_str() == role.scope());
    // An agent never administrates, no matter which scopes its token names.
    let has_role =
        token.chain.is_empty() && roles::of(&person).filter(named).any(|role| role.includes(least));
    if has_role { Ok(()) } else { Err(AccessDenied::Role(least)) }
}
