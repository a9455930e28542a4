//! Who may administer the server, and how that was proven.

use std::fmt;
use std::sync::Arc;

use mandate_token::access_token::AccessToken;

/// A proven operator. Made only by [`crate::admin::authentication`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operator {
    /// A local process of this user, over the unix socket.
    Local {
        /// The user.
        uid: u32,
    },
    /// A person with an access token of ours that has the admin scope.
    Person {
        /// The token. It was valid when the request arrived; [`crate::control::Control::confirm`] checks it again before an act.
        token: Arc<AccessToken>,
    },
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "uid:{uid}"),
            Self::Person { token } => write!(f, "{} (token {})", token.subject, token.jti),
        }
    }
}
