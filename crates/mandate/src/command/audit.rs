//! `mandate audit query`, `show` and `export`

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mandate_api::admin::{self, AuditRecord};
use mandate_core::subject::Act;
use mandate_core::{Clock as _, SystemClock};
use serde::Serialize;

use crate::arguments::{AuditExport, AuditQuery, AuditShow, Outcome};
use crate::failure::{Failure, Fault};
use crate::screen::Screen;
use crate::table::{list, table};

pub(crate) fn query(arguments: &AuditQuery, screen: &Screen) -> Result<(), Failure> {
    let now = SystemClock.now();
    let query = admin::AuditQuery {
        agent: arguments.agent.clone(),
        person: arguments.person.clone(),
        resource: arguments.resource.clone(),
        jti: arguments.jti.as_ref().map(ToString::to_string),
        since: arguments.since.map(|moment| moment.resolve(now).to_string()),
        until: arguments.until.map(|moment| moment.resolve(now).to_string()),
        outcome: arguments.outcome.map(|outcome| match outcome {
            Outcome::Permitted => "permitted".to_owned(),
            Outcome::Refused => "refused".to_owned(),
        }),
        limit: arguments.limit,
        ..admin::AuditQuery::default()
    };
    let records = arguments.connection.open()?.call(async |client| client.audit_records(&query).await)?;
    if records.is_empty() && !screen.wants_json() {
        screen.remark("No record matches.");
    }
    screen.show(&records, || if records.is_empty() { String::new() } else { rows(screen, &records) })
}

fn rows(screen: &Screen, records: &[AuditRecord]) -> String {
    let shown = |text: Option<&String>| text.cloned().unwrap_or_default();
    let row = |r: &AuditRecord| {
        vec![
            r.time.clone(),
            r.kind.clone(),
            r.outcome.clone(),
            r.reason.clone(),
            shown(r.sub.as_ref().or(r.by.as_ref())),
            r.act.as_ref().map(chain).unwrap_or_default(),
            shown(r.aud.as_ref()),
            shown(r.scope.as_ref()),
            r.id.clone(),
        ]
    };
    table(
        screen,
        &["TIME", "KIND", "OUTCOME", "REASON", "PERSON", "AGENT", "RESOURCE", "SCOPE", "RECORD"],
        records.iter().map(row).collect(),
    )
}

/// The actors, outermost first.
fn chain(act: &Act) -> String {
    let mut names = vec![act.actor.sub.clone()];
    let mut inner = act.act.as_deref();
    while let Some(next) = inner {
        names.push(next.actor.sub.clone());
        inner = next.act.as_deref();
    }
    names.join(" ← ")
}

pub(crate) fn show(arguments: &AuditShow, screen: &Screen) -> Result<(), Failure> {
    let id = arguments.id.as_str();
    let record = arguments.connection.open()?.call(async |client| client.audit_record(id).await)?;
    screen.show(&record, || {
        let shown = |text: &Option<String>| text.clone().unwrap_or_default();
        let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        list(
            screen,
            vec![
                ("Record", record.id.clone()),
                ("Index", record.index.map(|index| index.to_string()).unwrap_or_default()),
                ("Time", record.time.clone()),
                ("Kind", record.kind.clone()),
                ("Outcome", record.outcome.clone()),
                ("Reason", record.reason.clone()),
                ("Detail", shown(&record.detail)),
                ("Person", shown(&record.sub)),
                ("Named by", shown(&record.sub_iss)),
                ("Agents", record.act.as_ref().map(chain).unwrap_or_default()),
                ("Resource", shown(&record.aud)),
                ("Scope", shown(&record.scope)),
                ("Token", shown(&record.jti)),
                ("Expires", shown(&record.exp)),
                ("Client", shown(&record.client)),
                ("Operator", shown(&record.by)),
                ("Lineage", json(&record.lineage)),
                ("Asked", json(&record.asked)),
                ("Policies", record.policies.join(" ")),
            ],
        )
    })
}

#[derive(Serialize)]
struct Exported {
    bundle: PathBuf,
    bytes: u64,
}

/// The bundle goes to a file beside its place first, so that a broken connection leaves no half bundle under its name.
pub(crate) fn export(arguments: &AuditExport, screen: &Screen) -> Result<(), Failure> {
    let partial = beside(&arguments.bundle);
    let cannot = |what: &str, error: &std::io::Error| {
        Failure::caused(Fault::Failed, &format!("cannot {what} {}", arguments.bundle.display()), error)
    };
    // It names people and what was done for them: for the owner's eyes.
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let file = file.map_err(|error| cannot("write", &error))?;
    let written = arguments.connection.open()?.call(async |client| {
        let mut out = tokio::fs::File::from_std(file);
        let written = client.audit_export(&mut out).await?;
        out.sync_all().await.map_err(mandate_api::ClientError::Output)?;
        Ok(written)
    });
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(failure) => {
            // What is left of it is of no use; the failure itself is what matters.
            let _ = std::fs::remove_file(&partial);
            return Err(failure);
        }
    };
    std::fs::rename(&partial, &arguments.bundle).map_err(|error| cannot("put the bundle at", &error))?;
    let exported = Exported { bundle: arguments.bundle.clone(), bytes };
    screen.show(&exported, || {
        let path = arguments.bundle.display();
        format!("{bytes} bytes in {path}\nnext: mandate audit verify --offline {path}")
    })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}
