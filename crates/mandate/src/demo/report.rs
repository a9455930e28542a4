//! What was destroyed and what was refused, side by side.

use mandate_api::admin::AuditRecord;
use serde::Serialize;

use crate::screen::Screen;
use crate::table::table;

/// One telling of the story.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Telling {
    /// Whether the agent did what it was there for.
    pub(super) task_done: bool,
    /// Opportunities closed.
    pub(super) opportunities_closed: usize,
    /// Mails sent in the company's name.
    pub(super) mails_sent: usize,
    /// Attempts that were refused when the agent asked for authority.
    pub(super) refused_by_mandate: usize,
    /// Attempts that were refused by the CRM itself.
    pub(super) refused_by_crm: usize,
    /// Whom the CRM's own records name for what was changed.
    pub(super) attributed_to: Vec<String>,
}

/// What the audit log says about it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Evidence {
    /// Whether the log verifies.
    pub(super) verified: bool,
    /// How many records it has.
    pub(super) size: u64,
    /// How many refusals name both the person and the agent.
    pub(super) refusals_with_both_names: usize,
    /// Who caused the comment, found from its token id by one query.
    pub(super) comment_caused_by: Option<Cause>,
}

/// A person and the agent that acted for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cause {
    /// The person.
    pub(super) sub: String,
    /// The agent.
    pub(super) act: String,
    /// The token.
    pub(super) jti: String,
    /// The record.
    pub(super) record: String,
}

/// How long things took, in milliseconds.
#[expect(clippy::struct_field_names, reason = "the names are JSON members, which carry their unit")]
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Timings {
    /// Start of `serve` until it accepts requests.
    pub(super) serve_ready_ms: f64,
    /// Start of the node until it serves its socket.
    pub(super) node_ready_ms: f64,
    /// Registering the agent and everything else of the story.
    pub(super) apply_ms: f64,
    /// The agent's first SVID.
    pub(super) svid_ms: f64,
    /// The agent's exchange.
    pub(super) exchange_ms: f64,
    /// From the order to stop the agent until the CRM refuses its token.
    pub(super) stop_ms: f64,
}

/// Everything that was observed.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether everything that the story promises was observed.
    pub(super) ok: bool,
    /// What was not, in words.
    pub(super) failed: Vec<&'static str>,
    /// With one shared key.
    pub(super) before: Telling,
    /// With Mandate.
    pub(super) after: Telling,
    /// The audit log.
    pub(super) audit: Evidence,
    /// How long things took.
    pub(super) timings: Timings,
}

impl Report {
    /// Holds what was observed against what the story promises.
    pub(super) fn judge(&mut self) {
        let (before, after, audit) = (&self.before, &self.after, &self.audit);
        let attempts = before.opportunities_closed + before.mails_sent;
        let promises = [
            (before.task_done, "before: the agent works on its case"),
            (before.opportunities_closed == 12, "before: twelve opportunities are closed"),
            (before.mails_sent == 12, "before: twelve mails are sent"),
            (before.attributed_to.is_empty(), "before: nobody can be named"),
            (after.task_done, "after: the agent works on its case"),
            (after.opportunities_closed == 0, "after: no opportunity is closed"),
            (after.mails_sent == 0, "after: no mail is sent"),
            (after.refused_by_mandate == attempts, "after: every attempt is refused at the exchange"),
            (after.refused_by_crm == attempts, "after: every attempt is refused by the CRM"),
            (audit.verified, "audit: the log verifies"),
            (audit.refusals_with_both_names == attempts, "audit: every refusal names the person and the agent"),
            (audit.comment_caused_by.as_ref().is_some_and(|c| c.sub == "riley"), "audit: one query from the CRM's token id to the person"),
            (self.timings.stop_ms > 0.0, "stop: the agent's token is refused after it was stopped"),
        ];
        self.failed = promises.into_iter().filter(|(kept, _)| !kept).map(|(_, promise)| promise).collect();
        self.ok = self.failed.is_empty();
    }

    /// The side-by-side, for people.
    pub(super) fn side_by_side(&self, screen: &Screen) -> String {
        let (before, after) = (&self.before, &self.after);
        let yes = |done: bool| if done { "done" } else { "NOT done" }.to_owned();
        let names = |list: &[String]| if list.is_empty() { "nobody can tell".to_owned() } else { list.join(", ") };
        let row = |what: &str, a: String, b: String| vec![what.to_owned(), a, b];
        table(
            screen,
            &["", "ONE SHARED KEY", "MANDATE"],
            vec![
                row("The task: a comment on the case", yes(before.task_done), yes(after.task_done)),
                row("Opportunities closed", before.opportunities_closed.to_string(), after.opportunities_closed.to_string()),
                row("Apology mails sent", before.mails_sent.to_string(), after.mails_sent.to_string()),
                row("Refused when it asked for authority", before.refused_by_mandate.to_string(), after.refused_by_mandate.to_string()),
                row("Refused by the CRM", before.refused_by_crm.to_string(), after.refused_by_crm.to_string()),
                row("Who did it, says the CRM", names(&before.attributed_to), names(&after.attributed_to)),
                row("How to stop it", "rotate the key for everybody".to_owned(), format!("one command, {:.0} ms", self.timings.stop_ms)),
            ],
        )
    }
}

/// The newest records as a table.
pub(super) fn evidence(screen: &Screen, records: &[AuditRecord]) -> String {
    let rows = records.iter().map(|record| {
        let agent = record.act.as_ref().map(|act| act.actor.sub.rsplit('/').next().unwrap_or_default().to_owned()).unwrap_or_default();
        let asked = record.asked.as_ref().and_then(|asked| asked.get("scope")).and_then(|scope| scope.as_str()).unwrap_or_default();
        vec![
            record.time.get(11..19).unwrap_or_default().to_owned(),
            record.outcome.clone(),
            record.sub.clone().unwrap_or_default(),
            agent,
            asked.to_owned(),
            record.reason.clone(),
        ]
    });
    table(screen, &["TIME", "OUTCOME", "PERSON", "AGENT", "ASKED FOR", "REASON"], rows.collect())
}
