//! Tenants: what belongs to one never acts with what belongs to another.

use std::fmt;

use super::{Person, Registry};
use crate::id::{ClientId, TenantName};
use crate::spiffe::SpiffeId;
use crate::terms::Terms;
use crate::uri::Issuer;

/// Two parties of one request that belong to different tenants. Its text names both, and is for records alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantCrossing(String);

impl TenantCrossing {
    /// Between what the token of the person's issuer says, if it says anything, and the person's entry.
    pub fn of_claim(said: Option<&str>, entry: Option<&TenantName>) -> Self {
        let quoted = |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
        let (said, entry) = (quoted(said), quoted(entry.map(TenantName::as_str)));
        Self(format!("the token says tenant {said}, the person's entry {entry}"))
    }
}

impl fmt::Display for TenantCrossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tenant of all parties that have been looked at. Those without a tenant are shared.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneTenant<'a>(Option<(&'static str, &'a TenantName)>);

impl<'a> OneTenant<'a> {
    /// Looks at one more party, of whom `what` says who they are.
    ///
    /// # Errors
    /// It belongs to another tenant than a party before.
    pub fn with(self, what: &'static str, tenant: Option<&'a TenantName>) -> Result<Self, TenantCrossing> {
        match (self.0, tenant) {
            (_, None) => Ok(self),
            (None, Some(tenant)) => Ok(Self(Some((what, tenant)))),
            (Some((_, one)), Some(tenant)) if one == tenant => Ok(self),
            (Some((before, one)), Some(tenant)) => Err(TenantCrossing(format!(
                "the {before} is of tenant {:?}, the {what} of tenant {:?}",
                one.as_str(),
                tenant.as_str()
            ))),
        }
    }

    /// The tenant; `None` if no party has one.
    pub fn name(self) -> Option<&'a TenantName> {
        self.0.map(|(_, tenant)| tenant)
    }
}

impl Registry {
    /// Looks at a person and their issuer.
    ///
    /// # Errors
    /// They belong to different tenants.
    pub fn tenant_of_person<'a>(&'a self, person: &'a Person) -> Result<OneTenant<'a>, TenantCrossing> {
        let issuer = self.issuer(&person.id.iss).and_then(|issuer| issuer.tenant.as_ref());
        OneTenant::default().with("person", person.tenant.as_ref())?.with("person's issuer", issuer)
    }

    /// Looks at everything that a token names: its person, its own tenant, its resource and, if `ours` issued
    /// it, its agents and clients.
    ///
    /// # Errors
    /// Two of them belong to different tenants.
    pub fn tenant_of_token<'a>(
        &'a self,
        token: &'a Terms,
        ours: &Issuer,
        person: Option<&'a Person>,
    ) -> Result<OneTenant<'a>, TenantCrossing> {
        let all = person.map_or(Ok(OneTenant::default()), |person| self.tenant_of_person(person))?;
        let mut all = all.with("token", token.tenant.as_ref())?;
        if token.issuer != *ours {
            return Ok(all);
        }
        for actor in token.chain.iter().filter(|actor| actor.iss == *ours) {
            let id = actor.sub.parse::<SpiffeId>().ok();
            let agent = id.and_then(|id| self.agent_by_id(&id));
            all = all.with("agent", agent.and_then(|agent| agent.tenant.as_ref()))?;
        }
        for id in std::iter::once(&token.client).chain(&token.lineage.clients) {
            all = all.with("client", self.tenant_of_client(id))?;
        }
        let resource = token.audience.sole().and_then(|uri| self.resource_by_uri(self.resource_uri(uri)?));
        all.with("resource", resource.and_then(|resource| resource.tenant.as_ref()))
    }

    /// The tenant of a client, which may be an agent.
    pub fn tenant_of_client(&self, id: &ClientId) -> Option<&TenantName> {
        match self.client(id) {
            Some(client) => client.tenant.as_ref(),
            None => self.agent_by_id(&id.as_str().parse().ok()?)?.tenant.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OneTenant, TenantCrossing};
    use crate::TenantName;

    #[test]
    fn parties_without_a_tenant_are_shared_and_all_others_must_have_the_same() {
        let (acme, umbrella): (TenantName, TenantName) =
            ("acme".parse().unwrap(), "umbrella".parse().unwrap());
        let one = OneTenant::default().with("person", None).unwrap();
        assert_eq!(one.name(), None);
        let one = one.with("agent", Some(&acme)).unwrap().with("client", None).unwrap();
        let one = one.with("token", Some(&acme)).unwrap();
        assert_eq!(one.name(), Some(&acme));
        let crossing = one.with("resource", Some(&umbrella)).unwrap_err();
        assert_eq!(
            crossing.to_string(),
            "the agent is of tenant \"acme\", the resource of tenant \"umbrella\""
        );
        assert_eq!(
            TenantCrossing::of_claim(None, Some(&acme)).to_string(),
            "the token says tenant none, the person's entry \"acme\""
        );
    }
}
