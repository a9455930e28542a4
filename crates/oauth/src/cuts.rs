//! Cuts that no operator made: each is in force first, and then recorded.

use std::sync::Arc;

use mandate_audit::{RecordKind, Touch, Touched};
use mandate_core::registry::{Entry, Halt, Person};
use mandate_core::{ClientId, Cut, CutTarget, RequestSource, Subject, Timestamp, TokenId};
use mandate_delegation::revocation::{cut, cut_token, cuts_for_change};
use mandate_stops::{By, Recorded, Stop, StopError, Stops, Taken};

use crate::refusal::RequestRefusal;
use crate::revokers::{Cause, Revokers};
use crate::stored_login::StoredLogin;
use crate::trail::{Recorder, Trail};

/// A cut that is counted towards the bound of its cause.
pub(crate) struct Counted {
    cause: Cause,
    token: TokenId,
}

/// A value that may be used once, and was presented again: what it gave is cut.
pub(crate) struct UsedTwice {
    /// What was used, for the record.
    pub(crate) what: &'static str,
    /// Who logged in.
    pub(crate) login: StoredLogin,
    /// The client of the login.
    pub(crate) client: ClientId,
    /// The first token of the login: every later one descends from it.
    pub(crate) first: TokenId,
    /// When the first token was issued, or earlier.
    pub(crate) since: Timestamp,
    /// When the last of them expires, at the latest.
    pub(crate) until: Timestamp,
    /// Whether the login may have refresh tokens.
    pub(crate) goes_on: bool,
}

/// Makes cuts, within the bounds of their causes.
pub(crate) struct Cuts {
    recorder: Recorder,
    stops: Arc<Stops>,
    revokers: Revokers,
}

impl Cuts {
    pub(crate) fn new(recorder: Recorder, stops: Arc<Stops>) -> Self {
        Self { recorder, stops, revokers: Revokers::default() }
    }

    /// Counts a cut on `token`, unless its cause has the maximum.
    pub(crate) fn count(
        &self,
        cause: Cause,
        token: &TokenId,
        forget: Timestamp,
        now: Timestamp,
    ) -> Option<Counted> {
        self.revokers.admit(&cause, token, forget, now).then(|| Counted { cause, token: token.clone() })
    }

    /// Cuts what a value gave that was used twice, and everything that descends from it, if that is not cut yet.
    ///
    /// A person who can log in can use codes twice again and again. Beyond the bound on cuts, one cut on the
    /// person replaces one cut for each token: it takes away more, never less.
    pub(crate) async fn used_twice(&self, used: UsedTwice, now: Timestamp) -> Result<(), RequestRefusal> {
        let UsedTwice { what, login, client, first, since, until, goes_on } = used;
        let basis = &self.recorder.basis;
        let person = login.subject(basis.issuer());
        let cause = Cause::UsedTwice(login.person);
        let of_person = CutTarget::Person(person.clone());
        let snapshot = basis.snapshot();
        let cuts = &snapshot.revocations;
        // After a restart, cuts on person and client count from the restart: they end the tokens of a login that
        // came after them, and not the login itself, which can go on when they are forgotten.
        let is_over = !goes_on
            && (cuts.has_cut_since(&of_person, since)
                || cuts.has_cut_since(&CutTarget::Client(client), since));
        if is_over || cuts.contains(&CutTarget::Token(first.clone())) {
            return Ok(());
        }
        let mut trail = Trail::new(RecordKind::Revoke, now, RequestSource::Other);
        trail.sub = Some(person);
        let of_token = cut_token(first.clone(), until, now);
        let counted = self.count(cause, &first, of_token.forget, now);
        let (cut, note) = if counted.is_some() {
            (of_token, format!("{what} was presented twice"))
        } else {
            let note =
                "more was presented twice than is cut one by one: every token of the person is revoked";
            (cut(of_person, now), format!("{what} was presented twice; {note}"))
        };
        trail.note = Some(note);
        self.make(trail, cut, Some(first), counted).await
    }

    /// Makes a cut, in force first and then recorded. A `counted` one that could not be made
    /// is not in force; then it no longer counts.
    pub(crate) async fn make(
        &self,
        trail: Trail,
        cut: Cut,
        jti: Option<TokenId>,
        counted: Option<Counted>,
    ) -> Result<(), RequestRefusal> {
        let note = trail.note.clone();
        let record = self.recorder.permitted(trail, |record, known| {
            known.jti = jti;
            record.detail = note;
        });
        let stop = Stop::of_cuts(record, vec![cut]);
        self.take(stop, By::Client, counted).await
    }

    /// Disables a person of an identity provider that says so, as an operator would: in force first, and then
    /// recorded. Everything of the person is cut.
    pub(crate) async fn disable(&self, trail: Trail, id: &Subject, said: &str) -> Result<(), RequestRefusal> {
        let (now, snapshot) = (trail.now, self.recorder.basis.snapshot());
        // Removed meanwhile: then everything of the person has ended.
        let Some(person) = snapshot.registry.person_by_id(id) else { return Ok(()) };
        let detail = format!("changed person {} (disabled): {said}", person.name);
        let before = Entry::Person(Person::clone(person));
        let after = before.clone().stopped(Some(Halt::Person(true)));
        let cuts = cuts_for_change(&before, Some(&after), now);
        let record = self.recorder.permitted(trail, |record, _| {
            record.detail = Some(detail);
            record.touched = Some(Box::new(Touched::of([Touch::Person(id)])));
        });
        let stop = Stop::of_changes(record, [(Some(&before), Some(&after))], cuts, &snapshot);
        let stop = stop.ok_or_else(|| RequestRefusal::Internal("a person cannot be disabled".to_owned()))?;
        self.take(stop, By::Operator, None).await
    }

    async fn take(&self, stop: Stop, by: By, counted: Option<Counted>) -> Result<(), RequestRefusal> {
        match self.stops.take(stop, by).await {
            Ok(Taken { recorded: Recorded::Log | Recorded::Reserve, .. }) => Ok(()),
            // It is recorded as soon as possible. The caller is told to try again.
            Ok(Taken { recorded: Recorded::NotYet, .. }) => Err(RequestRefusal::AuditUnavailable),
            Err(error) => {
                if let Some(Counted { cause, token }) = counted {
                    self.revokers.release(&cause, &token);
                }
                Err(match error {
                    StopError::TooManyWait => RequestRefusal::AuditUnavailable,
                    StopError::Record(_) | StopError::Form(_) | StopError::Overtaken(_) => {
                        RequestRefusal::Internal(error.to_string())
                    }
                })
            }
        }
    }
}
