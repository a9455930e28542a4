//! What a route demands of a caller.

use std::time::Duration;

use mandate_core::{Actor, InvalidScope, Issuer, Scope, ScopeSet, TenantName};

/// How old the knowledge of revocations may be by default: three missed heartbeats of the feed.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(15);

/// What happens when the revocation feed is silent, so that the verifier may have missed the revocation of a
/// token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Refuse with 503 when nothing has arrived from the feed for longer than `max_age`. The default, with
    /// [`DEFAULT_MAX_AGE`].
    FailClosed {
        /// The longest accepted silence. The issuer sends a heartbeat every 5 seconds. With less than 10
        /// seconds, requests would sometimes be refused although nothing is wrong.
        max_age: Duration,
    },
    /// Continue with the cuts that are known so far, however old they are. A token that is revoked during an
    /// outage of the issuer works on this route until it expires. For routes whose availability matters more
    /// than that, never for destructive ones.
    DangerousAcceptStale,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::FailClosed { max_age: DEFAULT_MAX_AGE }
    }
}

/// What one route demands: scopes (all of them), fresh knowledge of revocations and, optionally, who may act.
///
/// ```
/// use mandate_verifier::{Freshness, Route};
/// use std::time::Duration;
///
/// let close = Route::requires("write:opportunities")?.freshness(Freshness::FailClosed { max_age: Duration::from_secs(10) });
/// let list = Route::requires("read:cases")?.dangerous_accept_stale();
/// # Ok::<(), mandate_verifier::InvalidScope>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    scopes: ScopeSet,
    freshness: Freshness,
    actors: Option<Vec<String>>,
    tenant: Option<TenantName>,
}

impl Route {
    /// A valid token for this resource, with any scopes.
    #[must_use]
    pub fn any_scope() -> Self {
        Self::default()
    }

    /// A valid token that has every one of these scopes, which are separated by one space (RFC 6749 §3.3).
    pub fn requires(scopes: &str) -> Result<Self, InvalidScope> {
        Ok(Self::requires_set(scopes.parse()?))
    }

    /// As [`Route::requires`], of parsed scopes.
    #[must_use]
    pub fn requires_set(scopes: ScopeSet) -> Self {
        Self { scopes, ..Self::default() }
    }

    /// Sets how old the knowledge of revocations may be.
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Short for `freshness(Freshness::DangerousAcceptStale)`. Read there which protection is lost.
    #[must_use]
    pub fn dangerous_accept_stale(self) -> Self {
        self.freshness(Freshness::DangerousAcceptStale)
    }

    /// Only these actors, by their `sub` (an agent's SPIFFE ID) as the issuer of the token names them.
    ///
    /// Compared bytewise with the current, outermost actor alone: earlier actors decide nothing (RFC 8693
    /// §4.1). A token without an actor is refused, too.
    #[must_use]
    pub fn only_actors<I, S>(mut self, actors: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.actors = Some(actors.into_iter().map(Into::into).collect());
        self
    }

    /// Only tokens of this tenant, compared bytewise. A token without a tenant is refused, too.
    #[must_use]
    pub fn only_tenant(mut self, tenant: TenantName) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The scopes that are required.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    pub(crate) fn max_age(&self) -> Option<Duration> {
        match self.freshness {
            Freshness::FailClosed { max_age } => Some(max_age),
            Freshness::DangerousAcceptStale => None,
        }
    }

    pub(crate) fn missing(&self, held: &ScopeSet) -> Option<Scope> {
        self.scopes.iter().find(|scope| !held.contains(scope)).cloned()
    }

    pub(crate) fn admits_tenant(&self, tenant: Option<&TenantName>) -> bool {
        self.tenant.is_none() || self.tenant.as_ref() == tenant
    }

    pub(crate) fn admits_actor(&self, current: Option<&Actor>, issuer: &Issuer) -> bool {
        match (&self.actors, current) {
            (None, _) => true,
            (Some(allowed), Some(actor)) => actor.iss == *issuer && allowed.contains(&actor.sub),
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::{Actor, Issuer};

    use super::{DEFAULT_MAX_AGE, Freshness, Route};

    #[test]
    fn fails_closed_unless_told_otherwise() {
        assert_eq!(Route::any_scope().max_age(), Some(DEFAULT_MAX_AGE));
        assert_eq!(Route::requires("a").unwrap().freshness(Freshness::DangerousAcceptStale).max_age(), None);
    }

    #[test]
    fn every_scope_is_required_and_a_prefix_is_not_enough() {
        let route = Route::requires("read:a write:b").unwrap();
        assert_eq!(route.missing(&"read:a write:b c".parse().unwrap()), None);
        assert_eq!(route.missing(&"read:a write:bb".parse().unwrap()).unwrap().as_str(), "write:b");
        assert!(Route::requires("").is_err());
        assert!(Route::requires("a  b").is_err());
    }

    #[test]
    fn admits_its_own_tenant_only() {
        let (acme, umbrella) = ("acme".parse().unwrap(), "umbrella".parse().unwrap());
        let route = Route::any_scope().only_tenant("acme".parse().unwrap());
        assert!(route.admits_tenant(Some(&acme)));
        assert!(!route.admits_tenant(Some(&umbrella)) && !route.admits_tenant(None));
        assert!(Route::any_scope().admits_tenant(Some(&umbrella)) && Route::any_scope().admits_tenant(None));
    }

    #[test]
    fn admits_listed_actors_only() {
        let (ours, other): (Issuer, Issuer) =
            ("https://m.example".parse().unwrap(), "https://other.example".parse().unwrap());
        let actor = |sub: &str, iss: &Issuer| Actor { sub: sub.into(), iss: iss.clone(), sub_profile: None };
        let route = Route::any_scope().only_actors(["spiffe://td/agent/a"]);
        assert!(route.admits_actor(Some(&actor("spiffe://td/agent/a", &ours)), &ours));
        assert!(!route.admits_actor(Some(&actor("spiffe://td/agent/A", &ours)), &ours));
        assert!(!route.admits_actor(Some(&actor("spiffe://td/agent/a/x", &ours)), &ours));
        assert!(
            !route.admits_actor(Some(&actor("spiffe://td/agent/a", &other)), &ours),
            "named so by somebody else"
        );
        assert!(!route.admits_actor(None, &ours));
        assert!(Route::any_scope().admits_actor(None, &ours));
    }
}
