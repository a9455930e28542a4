//! Authorization requests that were pushed (RFC 9126), each sealed into the `request_uri` that its client was
//! given.
//!
//! So this server remembers nothing of a request before a person has logged in for it: nobody fills its
//! memory or disk by pushing. The key is this process's alone: after a restart, requests are pushed again, as
//! login forms are shown again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::lifetimes::{LOGIN_FORM_LIFETIME, PUSHED_REQUEST_LIFETIME};
use mandate_core::names::Parameter;
use mandate_core::seal::Seal;
use mandate_core::{ClientId, Entropy, Secret, Timestamp};
use mandate_store::Effect;
use serde::{Deserialize, Serialize};

use crate::form::{Form, MAX_PUSHED};
use crate::parameter::Required;
use crate::refusal::RequestRefusal;

/// What a `request_uri` begins with (RFC 9126 §2.2).
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// What is sealed with this key, and nothing else.
const PURPOSE: &[u8] = b"mandate pushed authorization request";

/// For how long after its end a use is still remembered: a login that came in time may wait for a password check or
/// for the database.
const WAITS: Duration = Duration::from_mins(1);

/// What authenticates the client of a pushed request. It is no part of the request.
const CREDENTIALS: [Parameter; 3] =
    [Parameter::ClientAssertion, Parameter::ClientAssertionType, Parameter::ClientSecret];

/// Where a login is for which a `request_uri` is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It begins: the page is asked for.
    Begins,
    /// It goes on: the page's form comes back, or the browser from an identity provider.
    GoesOn,
}

/// A pushed request.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pushed {
    /// By which its use is remembered.
    id: String,
    client: ClientId,
    at: Timestamp,
    /// Its parameters, encoded as the query of an authorization request.
    pub(crate) query: String,
}

impl fmt::Debug for Pushed {
    /// Without the query, which its client has not shown to the browser.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushed").field("client", &self.client).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Pushed {
    /// When no login can end by it any longer.
    fn ends(&self) -> Timestamp {
        self.at.plus(PUSHED_REQUEST_LIFETIME).plus(LOGIN_FORM_LIFETIME)
    }

    /// Uses it up, in the transaction of the record of a login `at` that time. One that was used before is
    /// refused there.
    pub(crate) fn used(&self, at: Timestamp) -> Effect {
        let forget = self.ends().plus(WAITS);
        Effect::UsePushedRequest { client: self.client.clone(), id: self.id.clone(), forget, at }
    }

    /// Whether a login may use it at that moment. A request from later than now was pushed before the clock
    /// was set back.
    fn counts(&self, moment: Moment, now: Timestamp) -> bool {
        let ends = match moment {
            Moment::Begins => self.at.plus(PUSHED_REQUEST_LIFETIME),
            Moment::GoesOn => self.ends(),
        };
        self.at <= now && now < ends
    }
}

/// Gives `request_uri`s and reads them.
pub(crate) struct PushedRequests {
    seal: Seal,
    entropy: Arc<dyn Entropy>,
}

impl PushedRequests {
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { seal: Seal::new(PURPOSE, entropy.as_ref()), entropy }
    }

    /// The `request_uri` of a valid request that `client` has pushed.
    pub(crate) fn keep(
        &self,
        client: &ClientId,
        form: &Form<'_>,
        at: Timestamp,
    ) -> Result<String, RequestRefusal> {
        let query = parameters(form);
        if query.len() > MAX_PUSHED {
            return Err(RequestRefusal::PushTooLarge);
        }
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let pushed = Pushed { id: URL_SAFE_NO_PAD.encode(id), client: client.clone(), at, query };
        let bytes =
            serde_json::to_vec(&pushed).map_err(|error| RequestRefusal::Internal(error.to_string()))?;
        let sealed = self.seal.seal(&Secret::new(bytes), self.entropy.as_ref());
        let sealed =
            sealed.ok_or_else(|| RequestRefusal::Internal("a pushed request cannot be sealed".to_owned()))?;
        Ok(format!("{PREFIX}{sealed}"))
    }

    /// The pushed request that an authorization request names; `None` if it names none of this kind. Beside
    /// it only its client may be named: what else the browser sent would have to be ignored (RFC 9101 §6.3).
    pub(crate) fn named(
        &self,
        form: &Form<'_>,
        moment: Moment,
        now: Timestamp,
    ) -> Result<Option<Pushed>, RequestRefusal> {
        let Some(sealed) = form.get(Parameter::RequestUri).and_then(|uri| uri.strip_prefix(PREFIX)) else {
            return Ok(None);
        };
        let client = Required(Parameter::ClientId).read(form)?;
        let expected = [Parameter::ClientId, Parameter::RequestUri];
        if let Some(other) = form.oauth_parameter_besides(&expected) {
            return Err(RequestRefusal::Misplaced(other));
        }
        let opened = self.seal.open(sealed);
        let pushed = opened.and_then(|bytes| serde_json::from_slice::<Pushed>(bytes.expose_secret()).ok());
        let pushed = pushed.ok_or(RequestRefusal::PushedRequestUnknown)?;
        if pushed.client.as_str() != client {
            return Err(RequestRefusal::PushedRequestOtherClient);
        }
        if !pushed.counts(moment, now) {
            return Err(RequestRefusal::PushedRequestExpired);
        }
        Ok(Some(pushed))
    }
}

/// The parameters of OAuth in a form, encoded, but for the client's credentials. Others are ignored (RFC 6749
/// §3.1).
fn parameters(form: &Form<'_>) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for name in Parameter::ALL.iter().filter(|name| !CREDENTIALS.contains(name)) {
        for value in form.all(*name) {
            encoded.append_pair(name.as_str(), value);
        }
    }
    encoded.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::Timestamp;
    use mandate_store::Effect;

    use super::{Moment, Pushed, parameters};
    use crate::form::Form;

    #[test]
    fn the_credentials_of_a_client_and_what_is_not_oauth_are_not_kept() {
        let sent = "client_id=app&client_secret=hunter2&client_assertion=a.b.c&client_assertion_type=urn%3Ax&\
                    state=a+b%26&unknown=1&scope=&resource=x&resource=y";
        let kept = parameters(&Form::parse(sent.as_bytes()).unwrap());
        assert_eq!(kept, "client_id=app&resource=x&resource=y&state=a+b%26");
    }

    #[test]
    fn a_login_begins_within_90_seconds_and_ends_15_minutes_later() {
        let at = Timestamp::from_secs(1_000_000);
        let client = "app".parse().unwrap();
        let pushed = Pushed { id: "x".to_owned(), client, at, query: "state=hunter2".to_owned() };
        let counts = |moment, seconds: u64| pushed.counts(moment, Timestamp::from_secs(1_000_000 + seconds));
        assert!(counts(Moment::Begins, 0) && counts(Moment::Begins, 89));
        assert!(!counts(Moment::Begins, 90) && counts(Moment::GoesOn, 90));
        assert!(counts(Moment::GoesOn, 989) && !counts(Moment::GoesOn, 990));
        let before = Timestamp::from_secs(999_999);
        assert!(!pushed.counts(Moment::Begins, before) && !pushed.counts(Moment::GoesOn, before));
        assert!(!format!("{pushed:?}").contains("hunter2"));
        let Effect::UsePushedRequest { forget, .. } = pushed.used(at) else { panic!() };
        assert_eq!(forget, pushed.ends().plus(Duration::from_mins(1)), "a login may wait across the end");
    }
}
