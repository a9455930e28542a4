//! The roles of operators, as rights on the server's own administration.

use mandate_core::Role;
use mandate_core::registry::Person;
use mandate_planning::ADMINISTRATION;

/// The roles that a person has now: rights on the resource of our own administration, and on no other.
pub(crate) fn of(person: &Person) -> impl Iterator<Item = Role> {
    let own = person.may.iter().filter(|permission| permission.resource.as_str() == ADMINISTRATION);
    own.flat_map(|permission| permission.scopes.iter()).filter_map(|scope| Role::of_scope(scope.as_str()))
}

#[cfg(test)]
mod tests {
    use mandate_core::Role;
    use mandate_core::constraint::Constraints;
    use mandate_core::registry::{Permission, Person};

    use super::of as roles;

    fn with(resource: &str, scopes: &str) -> Person {
        let id = mandate_core::Subject { iss: "https://m.example".parse().unwrap(), sub: "olga".into() };
        let permission = Permission {
            resource: resource.parse().unwrap(),
            scopes: scopes.parse().unwrap(),
            constraints: Constraints::default(),
        };
        Person { name: "olga".parse().unwrap(), id, may: vec![permission], disabled: false, tenant: None }
    }

    #[test]
    fn a_scope_of_that_name_on_another_resource_is_no_role() {
        let of = |person: &Person| roles(person).collect::<Vec<_>>();
        assert_eq!(of(&with("mandate", "mandate:admin")), [Role::Admin]);
        assert_eq!(
            of(&with("mandate", "mandate:operator mandate:viewer other")),
            [Role::Operator, Role::Viewer]
        );
        for none in [
            with("tickets", "mandate:admin"),
            with("mandate", "other"),
            Person { may: Vec::new(), ..with("mandate", "other") },
        ] {
            assert_eq!(of(&none), []);
        }
    }
}
