//! The roles of operators: what a person may do at the server's own administration.

/// A role of an operator. Each is a scope of the resource `mandate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads the registry, the state of the server and the audit log.
    Viewer,
    /// Takes authority away: suspends, contains, disables, revokes and bans. Reads too.
    Operator,
    /// Answers requests for approval. Reads too.
    Approver,
    /// Gives authority: changes the registry, secrets, join tokens and keys, and starts again what was
    /// stopped. Includes all other roles.
    Admin,
}

impl Role {
    /// Every role, from the least to the greatest.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The name of the role, as in `mandate:<name>`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// Its scope. No client gets the scope of a role unless its entry lists it.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Viewer => "mandate:viewer",
            Self::Operator => "mandate:operator",
            Self::Approver => "mandate:approver",
            Self::Admin => "mandate:admin",
        }
    }

    /// The role with this scope.
    pub fn of_scope(scope: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.scope() == scope)
    }

    /// Whether an operator with this role may do what requires the role `least`.
    pub const fn includes(self, least: Self) -> bool {
        match (self, least) {
            (Self::Admin, _)
            | (Self::Viewer | Self::Operator | Self::Approver, Self::Viewer)
            | (Self::Operator, Self::Operator)
            | (Self::Approver, Self::Approver) => true,
            (Self::Viewer | Self::Approver, Self::Operator)
            | (Self::Viewer | Self::Operator, Self::Approver)
            | (Self::Viewer | Self::Operator | Self::Approver, Self::Admin) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn a_scope_names_one_role_and_no_other_text_names_any() {
        for role in Role::ALL {
            assert_eq!(Role::of_scope(role.scope()), Some(role));
            assert_eq!(role.scope(), format!("mandate:{}", role.as_str()));
        }
        for other in ["", "admin", "mandate:", "mandate:Admin", "mandate:admin ", "mandate:root"] {
            assert_eq!(Role::of_scope(other), None, "{other:?}");
        }
    }

    #[test]
    fn each_role_includes_itself_and_reading_and_only_admin_includes_more() {
        for role in Role::ALL {
            for least in Role::ALL {
                let expected = role == least || least == Role::Viewer || role == Role::Admin;
                assert_eq!(role.includes(least), expected, "{role:?} {least:?}");
            }
        }
    }
}
