//! Who may administrate, and how that was proven.

use std::fmt;

use mandate_core::{Person, TokenId};

/// A proven operator. Made only by [`crate::admin::authentication`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// A local process of this user, over the unix socket.
    Local {
        /// The user.
        uid: u32,
    },
    /// A person with an access token of ours that has the admin scope.
    Person {
        /// Who.
        person: Person,
        /// By which token.
        jti: TokenId,
    },
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "uid:{uid}"),
            Self::Person { person, jti } => write!(f, "{person} (token {jti})"),
        }
    }
}
