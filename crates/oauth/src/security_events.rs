//! Security events that an identity provider pushes (RFC 8935): an account that is disabled there is disabled
//! here, and what came from logins there ends.

use mandate_audit::RecordKind;
use mandate_core::registry::{TrustedIssuer, login_key};
use mandate_core::{RequestSource, Subject, Timestamp};
use mandate_token::security_event::{EventDemand, EventSubject, SecurityEvent};

use crate::engine::Engine;
use crate::logout::Ended;
use crate::provider_refusal::ProviderRefusal;
use crate::providers::Once;
use crate::refusal::RequestRefusal;
use crate::trail::Trail;
use crate::wire::EventError;

/// RFC 8417 §2.3.
const MEDIA_TYPE: &str = "application/secevent+jwt";

/// A request that delivers a security event.
#[derive(Clone, Copy, Debug)]
pub struct PushedEvent<'a> {
    /// The key of the provider in the address.
    pub provider: &'a str,
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The body: the event as a signed token.
    pub body: &'a [u8],
    /// Where the request came from.
    pub source: RequestSource,
}

/// What an event changes here.
enum Effect {
    /// A person is disabled.
    Disable(Subject),
    /// What came from logins so far ends.
    End(Ended),
    /// Nothing, and why. The event is remembered.
    Nothing(&'static str),
    /// Nothing, because nobody and nothing here is what it is about. It is not remembered: there is no quota of such
    /// events, and each would be kept for a week.
    Nobody(&'static str),
}

impl Engine {
    /// Takes a security event. `Ok` is 202 with an empty body: what it demands is done, or was done before, or
    /// there is nothing to do. Everything but a repetition is recorded; what changes nothing, and what is refused,
    /// within the quota of strangers.
    ///
    /// # Errors
    /// No events of this provider are taken, it is not one event of the provider for this server, or what it
    /// demands could not be done: then the provider should send it again.
    pub async fn take_security_event(&self, pushed: &PushedEvent<'_>) -> Result<(), EventError> {
        let now = self.basis.now();
        let trail = Trail::new(RecordKind::Revoke, now, pushed.source);
        let (provider, event) = match self.security_event(pushed, now).await {
            Ok(event) => event,
            Err(refusal) => return Err(EventError::of(&self.recorder.refused(trail, refusal).await)),
        };
        self.obey(&provider, &event, trail).await.map_err(|refusal| EventError::of(&refusal))
    }

    async fn security_event(
        &self,
        pushed: &PushedEvent<'_>,
        now: Timestamp,
    ) -> Result<(TrustedIssuer, SecurityEvent), RequestRefusal> {
        let malformed = |why| Err(ProviderRefusal::EventBody(why).into());
        let snapshot = self.basis.snapshot();
        // The address chooses the provider, and the provider the keys.
        let mut taken =
            snapshot.registry.issuers().filter_map(|issuer| Some((issuer, issuer.events_audience.as_ref()?)));
        let at_address = taken.find(|(issuer, _)| login_key(&issuer.url) == pushed.provider);
        let Some((provider, audience)) = at_address else { return Err(ProviderRefusal::EventsOff.into()) };
        let media = pushed.content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case(MEDIA_TYPE) {
            return malformed("its Content-Type is not application/secevent+jwt");
        }
        let Ok(jwt) = std::str::from_utf8(pushed.body) else { return malformed("it is not a text") };
        let event = self.providers.security_event(jwt, provider, audience, now).await?;
        Ok((TrustedIssuer::clone(provider), event))
    }

    /// Does what an event demands, once.
    async fn obey(
        &self,
        provider: &TrustedIssuer,
        event: &SecurityEvent,
        mut trail: Trail,
    ) -> Result<(), RequestRefusal> {
        let now = trail.now;
        let once = Once::event(&provider.url, &event.id, event.ends);
        // The answer was lost. Taking authority away does not wait for the database: at worst an event counts
        // twice.
        if event.demand != EventDemand::Nothing
            && let Ok(true) = self.providers.was_used(&once, now).await
        {
            return Ok(());
        }
        let said = format!("the identity provider {} says {}", provider.url, shown(event.kind));
        match self.effect(provider, event).await? {
            Effect::Nobody(why) => {
                return self.recorder.without_effect(trail, format!("{said}: {why}")).await;
            }
            Effect::Nothing(why) => {
                self.recorder.without_effect(trail, format!("{said}: {why}")).await?;
                if event.demand == EventDemand::Nothing {
                    return Ok(());
                }
            }
            Effect::Disable(person) => {
                trail.kind = RecordKind::Registry;
                trail.known();
                trail.sub = Some(person.clone());
                self.cuts.disable(trail, &person, &said).await?;
            }
            Effect::End(ended) => self.end_logins(ended, &said, trail).await?,
        }
        self.providers.use_up(once, now).await;
        Ok(())
    }

    async fn effect(
        &self,
        provider: &TrustedIssuer,
        event: &SecurityEvent,
    ) -> Result<Effect, RequestRefusal> {
        let nobody = "no entry of a person here names whom it is about";
        let person = |sub: &str| {
            let id = Subject { iss: provider.url.clone(), sub: sub.to_owned() };
            self.basis.snapshot().registry.person_by_id(&id).map(|person| (person.disabled, id))
        };
        Ok(match &event.demand {
            EventDemand::Nothing => Effect::Nothing("events of this type change nothing here"),
            EventDemand::Disable(EventSubject::Person(sub) | EventSubject::Opaque(sub)) => {
                match person(sub) {
                    None => Effect::Nobody(nobody),
                    // A change that is being written may enable the person: then they are disabled again, after it.
                    Some((true, _)) if !self.basis.live.is_being_changed() => {
                        Effect::Nothing("the person is disabled already")
                    }
                    Some((_, id)) => Effect::Disable(id),
                }
            }
            // An account has no session as its name; no such event is read.
            EventDemand::Disable(EventSubject::Session(_)) => Effect::Nobody(nobody),
            EventDemand::EndLogins(EventSubject::Person(sub)) => match person(sub) {
                None => Effect::Nobody(nobody),
                Some((_, id)) => Effect::End(Ended::Person(id)),
            },
            EventDemand::EndLogins(EventSubject::Opaque(id)) => match person(id) {
                None => self.session(provider, id).await?,
                Some((_, id)) => Effect::End(Ended::Person(id)),
            },
            EventDemand::EndLogins(EventSubject::Session(sid)) => self.session(provider, sid).await?,
        })
    }

    async fn session(&self, provider: &TrustedIssuer, sid: &str) -> Result<Effect, RequestRefusal> {
        let tokens = self.tokens_of_session(&provider.url, sid).await?;
        Ok(if tokens.is_empty() {
            Effect::Nobody("nothing here came from that session")
        } else {
            Effect::End(Ended::Tokens(tokens))
        })
    }
}

fn shown(kind: &'static str) -> &'static str {
    // Every type that is known ends with its name.
    kind.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("something of an unknown type")
}
