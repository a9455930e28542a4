//! The login with a password of the embedded directory.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::{PersonName, RequestSource, Secret};
use mandate_delegation::LoggedInPerson;
use mandate_store::{Store, secrets};

use crate::attempts::{AttemptSource, Attempts, TooMany};
use crate::basis::Basis;
use crate::browser;
use crate::password::{Checker, PasswordError, Whose};
use crate::refusal::RequestRefusal;
use crate::trail::Trail;

/// What is known of the browser that a login comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visitor<'a> {
    /// The cookie of an earlier [`crate::Redirect::browser`].
    pub browser: Option<&'a str>,
}

/// A person whose password was right.
pub(crate) struct KnownPerson {
    pub(crate) person: LoggedInPerson,
    /// The cookie by which the browser is known from now on.
    pub(crate) browser: String,
    /// SHA-256 of the stored hash of the password.
    pub(crate) password: [u8; 32],
}

/// The passwords of people, and the attempts to guess them.
pub(crate) struct Passwords {
    pub(crate) basis: Basis,
    pub(crate) store: Store,
    pub(crate) checker: Arc<Checker>,
    pub(crate) attempts: Attempts,
}

impl Passwords {
    /// Checks a password. Names that do not exist, that have no password,
    /// that are disabled or that belong to another issuer take the same path and time as wrong passwords.
    ///
    /// The text that was typed as a name is never recorded: it may be a password. A name that exists is
    /// recorded as the person.
    pub(crate) async fn check(
        &self,
        visitor: Visitor<'_>,
        from: RequestSource,
        name: &str,
        password: Secret,
        trail: &mut Trail,
    ) -> Result<KnownPerson, RequestRefusal> {
        let wrong = RequestRefusal::LoginFailed;
        let snapshot = self.basis.snapshot();
        // An over-long name cannot exist: for it, too, an attempt is counted.
        let (typed, counted) = (name, AttemptSource::Name(name));
        let name: Option<PersonName> = name.parse().ok();
        let person = name.as_ref().and_then(|name| snapshot.registry.person(name));
        trail.sub = person.map(|person| person.id.clone());
        let person = person.filter(|person| person.id.iss == *self.basis.issuer() && !person.disabled);
        // Looked up for every name that could exist, so that the database takes its time for all of them.
        let stored = match &name {
            Some(name) => {
                let whose = name.clone();
                let stored = self.store.read("password", move |tx| secrets::password(tx, &whose)).await;
                stored.map_err(|error| RequestRefusal::Internal(error.to_string()))?
            }
            None => None,
        };
        let known = name
            .as_ref()
            .zip(stored.as_ref())
            .zip(visitor.browser)
            .and_then(|((name, phc), cookie)| browser::known(cookie, name, phc));
        let source = known
            .zip(name.as_ref())
            .map_or(counted, |(id, name)| AttemptSource::Browser { name: name.as_str(), id });
        let attempt = self
            .attempts
            .begin(source, trail.now)
            .map_err(|TooMany(pause)| RequestRefusal::LoginPaused(pause))?;
        let whose = match source {
            AttemptSource::Browser { name, .. } => Whose::KnownBrowser { name },
            AttemptSource::Name(_) => Whose::Person { source: from, name: typed },
        };
        let matched = self.checker.check(whose, password, stored.clone()).await.map_err(|error| {
            if error == PasswordError::Busy {
                self.attempts.withdrawn(source, attempt);
            }
            RequestRefusal::from(error)
        })?;
        let (person, phc) =
            person.zip(stored).ok_or_else(|| wrong("no such person, disabled, or no password set"))?;
        if !matched {
            return Err(wrong("wrong password"));
        }
        self.attempts.succeeded(source);
        trail.known();
        let id = known.map_or_else(|| URL_SAFE_NO_PAD.encode(self.basis.random()), str::to_owned);
        Ok(KnownPerson {
            browser: browser::cookie(&id, &person.name, &phc),
            password: sha256(phc.expose_secret()),
            person: LoggedInPerson::assertion(person.name.clone(), trail.now),
        })
    }
}
