//! A login, as codes and refresh tokens keep it.

use mandate_core::{Issuer, PersonName, Secret, Subject, Timestamp};
use mandate_delegation::{LoggedInPerson, ProviderLogin};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// The refresh token that a provider gave at a login. What keeps it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamToken(pub(crate) Secret);

impl Serialize for UpstreamToken {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose_secret_str().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for UpstreamToken {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|token| Self(Secret::new(token)))
    }
}
