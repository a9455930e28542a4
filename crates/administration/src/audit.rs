//! Reading the audit log. Only the sequencer writes it.

use std::io;

use mandate_api::admin::{AuditCheckpoint, AuditQuery, AuditRecord, AuditVerification, VerifiedLog};
use mandate_audit::query::{InvalidBefore, operator_of};
use mandate_audit::{Checkpoint, CheckpointError, CheckpointVerifier, Tampered};
use mandate_core::Timestamp;
use mandate_core::time::InvalidTimestamp;
use mandate_store::Store;
use mandate_store::records::{self, CheckedLog, FoundRecord, LogError, RecordPage};

use crate::administration::{Administration, blocking};
use crate::authorization::{Permit, act};
use crate::error::AdministrationError;
use crate::pages::Listed;

/// How many records a query returns by default.
const DEFAULT_LIMIT: u32 = 100;

impl Administration {
    /// Finds records of all logs, the newest first. With several logs the page also says what to ask for
    /// next, as a `before`; with one log that is the index of the last record.
    pub async fn records(
        &self,
        _: &Permit<act::ReadAudit>,
        query: AuditQuery,
    ) -> Result<Listed<AuditRecord>, AdministrationError> {
        let query = self.resolve(query)?;
        let store = self.store.clone();
        // Writing out thousands of records would block the threads that serve requests, too.
        blocking(move || {
            let answer = store.search_blocking("query the audit log", |tx| records::query(tx, &query))?;
            let RecordPage { found, next } =
                answer.ok_or_else(|| AdministrationError::BadRequest(format!("before: {InvalidBefore}")))?;
            let items = found.iter().map(text).collect::<Result<_, _>>()?;
            Ok(Listed { items, next: next.map(|before| before.to_string()) })
        })
        .await?
    }

    /// The record with this id, of any log.
    pub async fn audit_record(
        &self,
        _: &Permit<act::ReadAudit>,
        id: &str,
    ) -> Result<AuditRecord, AdministrationError> {
        let id = id.parse().map_err(|_| AdministrationError::NoSuchRecord)?;
        let found = self.store.search("read an audit record", move |tx| records::get(tx, &id)).await?;
        text(&found.ok_or(AdministrationError::NoSuchRecord)?)
    }

    /// Verifies every log: every record, the tree and the checkpoint's signature. The log that the checkpoint
    /// `since`, a C2SP signed note, belongs to must continue it.
    pub async fn verify(
        &self,
        _: &Permit<act::ReadAudit>,
        since: Option<&str>,
    ) -> Result<AuditVerification, AdministrationError> {
        let verifier = self.verifier()?;
        let store = self.store.clone();
        let since = since.map(str::to_owned);
        blocking(move || {
            let earlier = since.map(|note| kept(&store, &verifier, &note)).transpose()?;
            let since = earlier.as_ref().map(|earlier| earlier.size);
            let all = records::verify_blocking(&store, &verifier, earlier.as_slice(), |_, _| {})?;
            let mut logs: Vec<VerifiedLog> = all.into_iter().map(verified).collect();
            let own = logs
                .first()
                .cloned()
                .ok_or_else(|| AdministrationError::AuditBroken("there is no log".to_owned()))?;
            if logs.len() == 1 {
                logs.clear();
            }
            let VerifiedLog { size, root, checkpoint, key, .. } = own;
            Ok(AuditVerification { verified: true, size, root, checkpoint, key, since, logs })
        })
        .await?
    }

    /// The current checkpoint of the server's own log. An auditor keeps it, and later checks the log against
    /// it.
    pub async fn checkpoint(
        &self,
        _: &Permit<act::ReadAudit>,
    ) -> Result<AuditCheckpoint, AdministrationError> {
        let verifier = self.verifier()?;
        let origin = verifier.origin().to_owned();
        let note = self.store.read("read the checkpoint", move |tx| records::checkpoint(tx, &origin)).await?;
        let note =
            note.ok_or_else(|| AdministrationError::AuditBroken("there is no checkpoint".to_owned()))?;
        let head =
            verifier.open(&note).map_err(|error| AdministrationError::AuditBroken(error.to_string()))?;
        Ok(AuditCheckpoint {
            size: head.size,
            root: head.root.to_string(),
            checkpoint: String::from_utf8_lossy(&note).into_owned(),
            key: self.authority.checkpoint_vkey().to_owned(),
        })
    }

    /// A function that writes the server's own log as a bundle that anyone can verify offline. It blocks
    /// while it writes.
    pub fn export<W: io::Write>(
        &self,
        _: &Permit<act::ReadAudit>,
    ) -> Result<impl FnOnce(W) -> Result<W, LogError> + Send + use<W>, AdministrationError> {
        let verifier = self.verifier()?;
        let store = self.store.clone();
        Ok(move |out| records::export_blocking(&store, &verifier, out, |_, _| {}))
    }

    fn verifier(&self) -> Result<CheckpointVerifier, AdministrationError> {
        CheckpointVerifier::new(self.authority.checkpoint_vkey()).map_err(AdministrationError::internal)
    }
    fn resolve(&self, query: AuditQuery) -> Result<mandate_audit::Query, AdministrationError> {
        let bad = |name: &str, why: String| AdministrationError::BadRequest(format!("{name}: {why}"));
        let snapshot = self.snapshot();
        let registry = &snapshot.registry;
        // The name or SPIFFE ID of an agent of ours finds only actors that our issuer names. Any other text
        // is looked for as it is, no matter which issuer names the actor.
        let of_ours = |text: &str| {
            let by_name = text.parse().ok().and_then(|name| registry.agent(&name));
            by_name.or_else(|| text.parse().ok().and_then(|id| registry.agent_by_id(&id))).cloned()
        };
        let (agent, agent_issuer) = match query.agent {
            None => (None, None),
            Some(text) => match of_ours(&text) {
                Some(agent) => (Some(agent.spiffe_id.as_str().to_owned()), Some(self.live.issuer().clone())),
                None => (Some(text), None),
            },
        };
        let named = query
            .person
            .as_deref()
            .and_then(|text| text.parse().ok())
            .and_then(|name| registry.person(&name).cloned());
        let (person, person_issuer) = match named {
            Some(person) => (Some(person.id.sub.clone()), Some(person.id.iss.clone())),
            None => (query.person, None),
        };
        let resource = query.resource.map(|text| {
            let named = text.parse().ok().and_then(|name| registry.resource(&name));
            named.map_or(text, |resource| resource.uri.as_str().to_owned())
        });
        let time = |name, text: Option<String>| {
            text.map(|text| {
                text.parse().map_err(|error: InvalidTimestamp| bad(name, why_no_time(&text, error)))
            })
            .transpose()
        };
        let by = query.by.map(|text| {
            let named = text.parse().ok().and_then(|name| registry.person(&name));
            named.map_or_else(|| operator_of(&text).to_owned(), |person| person.id.to_string())
        });
        let value = serde_json::Value::String;
        let outcome = query
            .outcome
            .map(|text| serde_json::from_value(value(text)).map_err(|e| bad("outcome", e.to_string())))
            .transpose()?;
        let kind = query
            .kind
            .map(|text| serde_json::from_value(value(text)).map_err(|e| bad("kind", e.to_string())))
            .transpose()?;
        Ok(mandate_audit::Query {
            agent,
            agent_issuer,
            person,
            person_issuer,
            resource,
            jti: query
                .jti
                .map(|text| {
                    text.parse().map_err(|error: mandate_core::InvalidName| bad("jti", error.to_string()))
                })
                .transpose()?,
            since: time("since", query.since)?,
            until: time("until", query.until)?,
            client: query.client,
            grant: query.grant,
            by,
            outcome,
            kind,
            limit: Some(query.limit.unwrap_or(DEFAULT_LIMIT)),
            before: query
                .before
                .map(|text| text.parse().map_err(|error: InvalidBefore| bad("before", error.to_string())))
                .transpose()?,
        })
    }
}

fn text(found: &FoundRecord) -> Result<AuditRecord, AdministrationError> {
    let record: Result<AuditRecord, _> = serde_json::to_value(&found.record).and_then(serde_json::from_value);
    let record = record.map_err(AdministrationError::internal)?;
    Ok(AuditRecord { origin: Some(found.origin.to_string()), index: Some(found.index), ..record })
}

/// Why a text in a query is no time. In the query of a URL, a `+` that is not encoded is a space, also the
/// one in front of an offset.
fn why_no_time(text: &str, error: InvalidTimestamp) -> String {
    match text.rsplit_once(' ') {
        Some((time, offset)) if format!("{time}+{offset}").parse::<Timestamp>().is_ok() => {
            format!("in the query of a URL a + is a space; write {time}%2B{offset}")
        }
        _ => error.to_string(),
    }
}

fn verified(log: CheckedLog) -> VerifiedLog {
    let CheckedLog { summary, checkpoint } = log;
    VerifiedLog {
        origin: summary.origin,
        size: summary.size,
        root: summary.root.to_string(),
        checkpoint: String::from_utf8_lossy(&checkpoint).into_owned(),
        key: summary.vkey,
    }
}

/// A checkpoint that an auditor kept, of any of the logs. If it belongs to none of them, a log was replaced:
/// that is not the caller's mistake. Blocks.
fn kept(store: &Store, own: &CheckpointVerifier, note: &str) -> Result<Checkpoint, AdministrationError> {
    let no_checkpoint = || AdministrationError::BadRequest("since: this is not a checkpoint".to_owned());
    let origin = Checkpoint::origin_of(note.as_bytes()).ok_or_else(no_checkpoint)?;
    let verifier = store
        .read_blocking("read a key of the audit logs", |tx| Ok(records::verifier(tx, own, &origin)))??;
    verifier.as_ref().unwrap_or(own).open(note.as_bytes()).map_err(|error| match error {
        CheckpointError::Malformed => no_checkpoint(),
        other => AdministrationError::AuditBroken(Tampered::Earlier(other).to_string()),
    })
}
