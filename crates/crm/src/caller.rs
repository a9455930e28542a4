//! The caller of an operation, for the cause of a change and for the log.

use mandate_verifier::Verified;

/// Who called, as far as the protection can tell. In the extensions of the request, and of the response for
/// the log.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A caller with the key.
    KeyHolder,
    /// A person, by an agent.
    Verified(Box<Verified>),
}

impl Caller {
    pub(crate) fn verified(&self) -> Option<&Verified> {
        match self {
            Self::KeyHolder => None,
            Self::Verified(verified) => Some(verified),
        }
    }

    pub(crate) fn label(&self) -> String {
        match self {
            Self::KeyHolder => "a holder of the shared key".to_owned(),
            Self::Verified(verified) => match verified.actor() {
                Some(actor) => format!("{} for {}", actor.sub, person(verified)),
                None => person(verified),
            },
        }
    }
}

/// The person's name, with the issuer that gives it unless that is the token's issuer: two issuers may give
/// the same name.
fn person(verified: &Verified) -> String {
    let person = verified.subject();
    if person.iss == *verified.issuer() { person.sub.clone() } else { person.to_string() }
}
