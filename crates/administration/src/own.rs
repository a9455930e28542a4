//! The server's own administration, as a resource of its registry.

use mandate_core::registry::{Entry, Person, Resource};
use mandate_core::uri::same;
use mandate_core::{Issuer, Scope, ScopeSet};

use mandate_core::Role;

/// The name of the resource of our own administration.
pub(crate) const ADMINISTRATION: &str = "mandate";

/// Our own administration as a resource: its identifier is the issuer, its scopes are the roles of operators.
pub fn administration(issuer: &Issuer) -> Option<Resource> {
    let scopes: Option<ScopeSet> = Role::ALL.iter().map(|role| role.scope().parse::<Scope>().ok()).collect();
    Some(Resource {
        name: ADMINISTRATION.parse().ok()?,
        uri: issuer.as_str().parse().ok()?,
        scopes: scopes?,
        tools: Vec::new(),
        agent: None,
        client: None,
    })
}

/// Whether an entry is that resource, or claims its name or its identifier.
pub fn is_administration(entry: &Entry, issuer: &Issuer) -> bool {
    matches!(entry, Entry::Resource(resource) if resource.name.as_str() == ADMINISTRATION || same(resource.uri.as_str(), issuer.as_str()))
}

/// The roles that a person has now: rights on the resource of our own administration, and on no other.
pub(crate) fn roles(person: &Person) -> impl Iterator<Item = Role> {
    let own = person.may.iter().filter(|permission| permission.resource.as_str() == ADMINISTRATION);
    own.flat_map(|permission| permission.scopes.iter()).filter_map(|scope| Role::of_scope(scope.as_str()))
}

#[cfg(test)]
mod tests {
    use mandate_core::constraint::Constraints;
    use mandate_core::registry::{Entry, Permission, Person};

    use super::{administration, is_administration, roles};
    use mandate_core::Role;

    fn with(resource: &str, scopes: &str) -> Person {
        let id = mandate_core::Person { iss: "https://m.example".parse().unwrap(), sub: "olga".into() };
        let permission =
            Permission { resource: resource.parse().unwrap(), scopes: scopes.parse().unwrap(), constraints: Constraints::default() };
        Person { name: "olga".parse().unwrap(), id, may: vec![permission], disabled: false }
    }

    #[test]
    fn a_scope_of_that_name_on_another_resource_is_no_role() {
        let of = |person: &Person| roles(person).collect::<Vec<_>>();
        assert_eq!(of(&with("mandate", "mandate:admin")), [Role::Admin]);
        assert_eq!(of(&with("mandate", "mandate:operator mandate:viewer other")), [Role::Operator, Role::Viewer]);
        for none in [with("tickets", "mandate:admin"), with("mandate", "other"), Person { may: Vec::new(), ..with("mandate", "other") }] {
            assert_eq!(of(&none), []);
        }
    }

    #[test]
    fn its_scopes_are_the_roles_and_its_identifier_is_the_issuer() {
        let issuer = "https://m.example".parse().unwrap();
        let own = administration(&issuer).unwrap();
        assert_eq!(own.uri.as_str(), "https://m.example");
        assert!(Role::ALL.iter().all(|role| own.scopes.iter().any(|scope| scope.as_str() == role.scope())));
        assert!(is_administration(&Entry::Resource(own), &issuer));
    }
}
