//! The server's own administration, as a resource of its registry.

use mandate_core::registry::{Entry, Resource};
use mandate_core::uri::same;
use mandate_core::{Issuer, Role, Scope, ScopeSet};

/// The name of the resource of our own administration.
pub const ADMINISTRATION: &str = "mandate";

/// Our own administration as a resource: its identifier is the issuer, its scopes are the roles of operators.
/// None if the issuer cannot be a resource's identifier.
pub fn administration(issuer: &Issuer) -> Option<Resource> {
    let scopes: Option<ScopeSet> = Role::ALL.iter().map(|role| role.scope().parse::<Scope>().ok()).collect();
    Some(Resource {
        name: ADMINISTRATION.parse().ok()?,
        uri: issuer.as_str().parse().ok()?,
        scopes: scopes?,
        tools: Vec::new(),
        agent: None,
        client: None,
        unattested: ScopeSet::new(),
        tenant: None,
    })
}

/// Whether an entry is that resource, or has its name or its identifier.
pub fn is_administration(entry: &Entry, issuer: &Issuer) -> bool {
    matches!(entry, Entry::Resource(resource) if resource.name.as_str() == ADMINISTRATION || same(resource.uri.as_str(), issuer.as_str()))
}

#[cfg(test)]
mod tests {
    use mandate_core::Role;
    use mandate_core::registry::Entry;

    use super::{administration, is_administration};

    #[test]
    fn its_scopes_are_the_roles_and_its_identifier_is_the_issuer() {
        let issuer = "https://m.example".parse().unwrap();
        let own = administration(&issuer).unwrap();
        assert_eq!(own.uri.as_str(), "https://m.example");
        assert!(Role::ALL.iter().all(|role| own.scopes.iter().any(|scope| scope.as_str() == role.scope())));
        assert!(is_administration(&Entry::Resource(own), &issuer));
    }
}
