//! A login, as codes and refresh tokens keep it.

use mandate_core::{Issuer, PersonName, Subject, Timestamp};
use mandate_delegation::{LoggedInPerson, ProviderLogin};
use serde::{Deserialize, Serialize};

/// Who logged in, when, and what an identity provider said of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLogin {
    pub(crate) person: PersonName,
    pub(crate) logged_in: Timestamp,
    /// Absent after a login with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<ProviderLogin>,
}

impl StoredLogin {
    /// What is kept of a login.
    pub(crate) fn of(person: &LoggedInPerson) -> Self {
        Self { person: person.name().clone(), logged_in: person.at(), provider: person.provider().cloned() }
    }

    /// The login that was kept.
    pub(crate) fn asserted(&self) -> LoggedInPerson {
        let (person, at) = (self.person.clone(), self.logged_in);
        match self.provider.clone() {
            None => LoggedInPerson::assertion(person, at),
            Some(provider) => LoggedInPerson::assertion_at_provider(person, at, provider),
        }
    }

    /// The person as tokens name them. The `sub` of people of the embedded directory is their name.
    pub(crate) fn subject(&self, issuer: &Issuer) -> Subject {
        let local = || Subject { iss: issuer.clone(), sub: self.person.as_str().to_owned() };
        self.provider.as_ref().map_or_else(local, |provider| provider.id.clone())
    }
}
