//! What was destroyed and what was refused, side by side.

use mandate_api::admin::AuditRecord;
use mandate_core::names::ErrorCode;
use mandate_crm::Call;
use serde::Serialize;

use crate::screen::Screen;
use crate::table::table;

use super::stop::Stopped;

/// What the authorization server answers to a request for more than the agent may ever be given.
const BEYOND: &str = "scope_beyond_ceiling";

/// One telling of the story.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Telling {
    /// Whether the agent did its task.
    pub(super) task_done: bool,
    pub(super) opportunities_closed: usize,
    /// Mails sent in the company's name.
    pub(super) mails_sent: usize,
    /// Attempts that were refused when the agent asked for authority, by the audit log.
    pub(super) refused_by_mandate: usize,
    /// Attempts that were refused by the CRM itself, by its own log.
    pub(super) refused_by_crm: usize,
    /// The parties that the CRM's own records name for the changes.
    pub(super) attributed_to: Vec<String>,
    /// Answers that were neither a success nor a refusal.
    pub(super) faults: Vec<String>,
}

/// How many changes the CRM refused because the token lacks the scope. Other failures are not refusals.
pub(super) fn refused_by_crm(calls: &[Call]) -> usize {
    calls
        .iter()
        .filter(|call| {
            call.method == "POST"
                && call.status == 403
                && call.reason == ErrorCode::InsufficientScope.as_str()
        })
        .count()
}

/// How many exchanges were refused because the agent asked for more than its ceiling.
pub(super) fn refused_by_mandate(refusals: &[AuditRecord]) -> usize {
    refusals
        .iter()
        .filter(|record| record.kind == "exchange" && record.outcome == "refused" && record.reason == BEYOND)
        .count()
}

/// How many of these refusals name both Riley and the agent.
pub(super) fn with_both_names(refusals: &[AuditRecord], agent: &str) -> usize {
    let names_agent = |record: &AuditRecord| record.act.as_ref().is_some_and(|act| act.actor.sub == agent);
    refusals
        .iter()
        .filter(|record| {
            record.reason == BEYOND && record.sub.as_deref() == Some("riley") && names_agent(record)
        })
        .count()
}

/// What the audit log says about it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct AuditEvidence {
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
    pub(super) sub: String,
    pub(super) act: String,
    pub(super) jti: String,
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
    pub(super) exchange_ms: f64,
    /// From the start of the command that suspends the agent until the CRM refuses its token.
    pub(super) stop_ms: f64,
    /// From the same moment until the node refuses it an identity.
    pub(super) stop_identity_ms: f64,
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
    pub(super) after: Telling,
    /// The agent, once it was stopped.
    pub(super) stopped: Stopped,
    pub(super) audit: AuditEvidence,
    /// How long things took.
    pub(super) timings: Timings,
}

impl Report {
    /// Compares what was observed with what the story promises.
    pub(super) fn judge(&mut self) {
        let (before, after, stopped, audit) = (&self.before, &self.after, &self.stopped, &self.audit);
        let attempts = before.opportunities_closed + before.mails_sent;
        let promises = [
            (before.task_done, "before: the agent works on its case"),
            (before.opportunities_closed == 12, "before: twelve opportunities are closed"),
            (before.mails_sent == 12, "before: twelve mails are sent"),
            (before.attributed_to.is_empty(), "before: nobody can be named"),
            (before.faults.is_empty(), "before: every answer is a success or a refusal"),
            (after.task_done, "after: the agent works on its case"),
            (after.opportunities_closed == 0, "after: no opportunity is closed"),
            (after.mails_sent == 0, "after: no mail is sent"),
            (after.refused_by_mandate == attempts, "after: every attempt is refused at the exchange"),
            (after.refused_by_crm == attempts, "after: every attempt is refused by the CRM"),
            (after.faults.is_empty(), "after: every answer is a success or a refusal"),
            (audit.verified, "audit: the log verifies"),
            (
                audit.refusals_with_both_names == attempts,
                "audit: every refusal names the person and the agent",
            ),
            (
                audit.comment_caused_by.as_ref().is_some_and(|c| c.sub == "riley"),
                "audit: one query from the CRM's token id to the person",
            ),
            (
                stopped.call.as_deref() == Some("401 invalid_token revoked"),
                "stop: the CRM refuses the stopped agent's token as revoked",
            ),
            (stopped.identity.is_some(), "stop: the node refuses the stopped agent an identity"),
            (
                stopped.exchange.as_ref().is_some_and(|said| said.ends_with("agent_not_active")),
                "stop: the token endpoint refuses the stopped agent",
            ),
            (stopped.active_again, "stop: the agent can act again after `agent activate`"),
        ];
        self.failed = promises.into_iter().filter(|(kept, _)| !kept).map(|(_, promise)| promise).collect();
        self.ok = self.failed.is_empty();
    }

    /// The side-by-side, for people.
    pub(super) fn side_by_side(&self, screen: &Screen) -> String {
        let (before, after) = (&self.before, &self.after);
        let yes = |done: bool| if done { "done" } else { "NOT done" }.to_owned();
        let names =
            |list: &[String]| if list.is_empty() { "nobody can tell".to_owned() } else { list.join(", ") };
        let row = |what: &str, a: String, b: String| vec![what.to_owned(), a, b];
        table(
            screen,
            &["", "ONE SHARED KEY", "MANDATE"],
            vec![
                row("The task: a comment on the case", yes(before.task_done), yes(after.task_done)),
                row(
                    "Opportunities closed",
                    before.opportunities_closed.to_string(),
                    after.opportunities_closed.to_string(),
                ),
                row("Apology mails sent", before.mails_sent.to_string(), after.mails_sent.to_string()),
                row(
                    "Refused when it asked for authority",
                    before.refused_by_mandate.to_string(),
                    after.refused_by_mandate.to_string(),
                ),
                row(
                    "Refused by the CRM",
                    before.refused_by_crm.to_string(),
                    after.refused_by_crm.to_string(),
                ),
                row("Who did it, says the CRM", names(&before.attributed_to), names(&after.attributed_to)),
                row(
                    "How to stop it",
                    "rotate the key for everybody".to_owned(),
                    self.stopped.command.clone(),
                ),
                row("Until the CRM refused it", String::new(), format!("{:.0} ms", self.timings.stop_ms)),
            ],
        )
    }
}

/// The refusals. Equal ones are in one row, with their number and one record as an example.
pub(super) fn evidence(screen: &Screen, records: &[AuditRecord]) -> String {
    table(
        screen,
        &["REFUSED", "PERSON", "AGENT", "ASKED FOR", "REASON", "THE NEWEST RECORD"],
        grouped(records),
    )
}

fn grouped(records: &[AuditRecord]) -> Vec<Vec<String>> {
    let mut groups: Vec<(Vec<String>, usize, &str)> = Vec::new();
    for record in records {
        let agent = record
            .act
            .as_ref()
            .map(|act| act.actor.sub.rsplit('/').next().unwrap_or_default().to_owned())
            .unwrap_or_default();
        let asked = record
            .asked
            .as_ref()
            .and_then(|asked| asked.get("scope"))
            .and_then(|scope| scope.as_str())
            .unwrap_or_default();
        let alike =
            vec![record.sub.clone().unwrap_or_default(), agent, asked.to_owned(), record.reason.clone()];
        match groups.iter_mut().find(|(other, ..)| *other == alike) {
            Some((_, count, _)) => *count += 1,
            None => groups.push((alike, 1, &record.id)),
        }
    }
    groups
        .into_iter()
        .map(|(alike, count, id)| [vec![count.to_string()], alike, vec![id.to_owned()]].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        AuditEvidence, Cause, Report, Stopped, Telling, grouped, refused_by_crm, refused_by_mandate,
        with_both_names,
    };
    use mandate_api::admin::AuditRecord;
    use mandate_crm::Call;

    const AGENT: &str = "spiffe://acme.example/agent/support-agent";

    fn as_promised() -> Report {
        let telling = |closed, sent, refused| Telling {
            task_done: true,
            opportunities_closed: closed,
            mails_sent: sent,
            refused_by_mandate: refused,
            refused_by_crm: refused,
            ..Telling::default()
        };
        let cause = Cause { sub: "riley".into(), act: AGENT.into(), jti: "j".into(), record: "r".into() };
        Report {
            before: telling(12, 12, 0),
            after: telling(0, 0, 24),
            audit: AuditEvidence {
                verified: true,
                size: 34,
                refusals_with_both_names: 24,
                comment_caused_by: Some(cause),
            },
            stopped: Stopped {
                command: "c".into(),
                call: Some("401 invalid_token revoked".into()),
                identity: Some("no identity issued".into()),
                exchange: Some("400 invalid_request agent_not_active".into()),
                active_again: true,
            },
            ..Report::default()
        }
    }

    fn failed(change: impl FnOnce(&mut Report)) -> Vec<&'static str> {
        let mut report = as_promised();
        change(&mut report);
        report.judge();
        assert_eq!(report.ok, report.failed.is_empty());
        report.failed
    }

    #[test]
    fn every_promise_that_was_not_kept_is_named() {
        assert_eq!(failed(|_| {}), Vec::<&str>::new());
        let changes: [fn(&mut Report); 8] = [
            |r| r.after.faults = vec!["the CRM: 503".into()],
            |r| r.before.faults = vec!["the CRM: 500".into()],
            |r| r.after.refused_by_crm = 23,
            |r| r.after.refused_by_mandate = 23,
            |r| r.stopped.call = Some("503".into()),
            |r| r.stopped.identity = None,
            |r| r.stopped.exchange = None,
            |r| r.stopped.active_again = false,
        ];
        for change in changes {
            assert_eq!(failed(change).len(), 1);
        }
    }

    fn call(status: u16, reason: &str) -> Call {
        let (decision, path) = ("refused".to_owned(), "/outbox".to_owned());
        let (at, method) = (String::new(), "POST".to_owned());
        Call {
            at,
            method,
            path,
            status,
            decision,
            reason: reason.to_owned(),
            sub: None,
            sub_iss: None,
            act: None,
            jti: None,
        }
    }

    fn record(reason: &str, sub: &str, scope: &str) -> AuditRecord {
        serde_json::from_value(serde_json::json!({
            "id": format!("record of {scope}"), "time": "2026-11-24T00:00:00.000Z", "kind": "exchange", "outcome": "refused",
            "reason": reason, "sub": sub, "act": {"sub": AGENT, "iss": "https://m.example"}, "aud": null, "scope": null, "jti": null,
            "asked": {"scope": scope},
        }))
        .unwrap()
    }

    #[test]
    fn a_fault_of_either_server_counts_as_no_refusal() {
        let calls = [
            call(403, "insufficient_scope"),
            call(503, "keys_unavailable"),
            call(401, "expired"),
            call(500, "ok"),
        ];
        assert_eq!(refused_by_crm(&calls), 1);
        let records = [
            record("scope_beyond_ceiling", "riley", "send:mail"),
            record("agent_not_active", "riley", "send:mail"),
        ];
        assert_eq!(refused_by_mandate(&records), 1);
        let records = [
            record("scope_beyond_ceiling", "riley", "send:mail"),
            record("scope_beyond_ceiling", "sam", "send:mail"),
        ];
        assert_eq!((with_both_names(&records, AGENT), with_both_names(&records, "another")), (1, 0));
    }

    #[test]
    fn the_evidence_has_one_row_for_each_thing_that_was_refused() {
        let records: Vec<AuditRecord> = (0..6)
            .map(|at| {
                record(
                    "scope_beyond_ceiling",
                    "riley",
                    if at % 2 == 0 { "send:mail" } else { "write:opportunities" },
                )
            })
            .collect();
        let row = |scope: &str| {
            ["3", "riley", "support-agent", scope, "scope_beyond_ceiling", &format!("record of {scope}")]
                .map(str::to_owned)
                .to_vec()
        };
        assert_eq!(grouped(&records), [row("send:mail"), row("write:opportunities")]);
    }
}
