//! Cuts that no operator made: each is in force first, and then recorded.

use std::sync::Arc;

use mandate_core::{Cut, Timestamp, TokenId};
use mandate_stops::{By, Recorded, Stop, StopError, Stops, Taken};

use crate::refusal::RequestRefusal;
use crate::revokers::{Cause, Revokers};
use crate::trail::{Recorder, Trail};

/// A cut that is counted towards the bound of its cause.
pub(crate) struct Counted {
    cause: Cause,
    token: TokenId,
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

    /// Puts a cut in force and records it. `jti`: the token that is the reason, if it is one. An error says that it is in force and not recorded yet, or that it
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
        match self.stops.take(Stop::of_cuts(record, vec![cut]), By::Client).await {
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
