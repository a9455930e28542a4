//! `mandate audit query`, `show` and `export`

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use mandate_api::ClientError;
use mandate_api::admin::{self, AuditRecord, AuditSum};
use mandate_core::subject::Act;
use mandate_core::{Clock as _, SystemClock};
use serde::Serialize;

use crate::arguments::{AuditExport, AuditQueryArguments, AuditShow, OutcomeArgument};
use crate::connection::Admin;
use crate::failure::{self, Failure, Fault};
use crate::interruption::{self, Signals};
use crate::output;
use crate::screen::Screen;
use crate::table::{Column, Value, list, table_of};

/// How many records are shown to a person by default.
const SHOWN: u32 = 100;

/// How many records one call asks for.
const PAGE: u32 = 1000;

pub(crate) fn query(arguments: &AuditQueryArguments, screen: &Screen) -> Result<(), Failure> {
    let now = SystemClock.now();
    let query = admin::AuditQuery {
        agent: arguments.agent.clone(),
        person: arguments.person.clone(),
        resource: arguments.resource.clone(),
        jti: arguments.jti.as_ref().map(ToString::to_string),
        since: arguments.since.map(|moment| moment.resolve(now).to_string()),
        until: arguments.until.map(|moment| moment.resolve(now).to_string()),
        client: arguments.client.clone(),
        grant: arguments.grant.clone(),
        by: arguments.by.clone(),
        kind: arguments.kind.map(|kind| kind.as_str().to_owned()),
        outcome: arguments.outcome.map(|outcome| match outcome {
            OutcomeArgument::Permitted => "permitted".to_owned(),
            OutcomeArgument::Refused => "refused".to_owned(),
        }),
        ..admin::AuditQuery::default()
    };
    let admin = arguments.connection.open()?;
    if screen.wants_json() {
        // A program that reads it would not miss what is cut off.
        return print_json(&admin, query, arguments.limit, screen);
    }
    let mut records = Vec::new();
    each_page(&admin, query, Some(arguments.limit.unwrap_or(SHOWN + 1)), |page| {
        records.extend(page);
        Ok(())
    })?;
    if arguments.limit.is_none() && records.len() > SHOWN as usize {
        records.truncate(SHOWN as usize);
        screen.remark(&format!("These are the newest {SHOWN}; more with --limit N, all with --json."));
    }
    if records.is_empty() {
        screen.remark("No record matches.");
        return Ok(());
    }
    screen.line(rows(screen, &records).trim_end_matches('\n'))
}

/// Calls `each` with the records page by page, until there are no more or `limit` is reached.
fn each_page(
    admin: &Admin,
    mut query: admin::AuditQuery,
    limit: Option<u32>,
    mut each: impl FnMut(Vec<AuditRecord>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left = limit;
    loop {
        let wanted = left.map_or(PAGE, |left| left.min(PAGE));
        query.limit = Some(wanted);
        let (page, next) = admin.call(async |client| client.audit_page(&query).await)?;
        let got = u32::try_from(page.len()).unwrap_or(u32::MAX);
        each(page)?;
        left = left.map(|left| left.saturating_sub(got));
        if got < wanted || left == Some(0) {
            return Ok(());
        }
        let Some(next) = next else {
            return Err(Failure::failed(
                "the server's answer lacks the index of its records, so the following records cannot be read",
            ));
        };
        query.before = Some(next);
    }
}

/// One array, printed as it arrives: the log may be larger than memory.
fn print_json(
    admin: &Admin,
    query: admin::AuditQuery,
    limit: Option<u32>,
    screen: &Screen,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut before = "[";
    each_page(admin, query, limit, |page| {
        for record in page {
            let text = screen.json(&record)?;
            write!(out, "{before}{text}").map_err(|error| Failure::output(&error))?;
            before = ",";
        }
        Ok(())
    })?;
    let open = if before == "[" { "[" } else { "" };
    writeln!(out, "{open}]").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// What a query shows, and how important each column is if there is not enough room.
const COLUMNS: [Column; 14] = [
    Column::new("TIME", 0),
    Column::new("KIND", 4),
    Column::new("OUTCOME", 1),
    Column::new("REASON", 2),
    Column::new("PERSON", 5),
    Column::new("AGENT", 3),
    Column::new("RESOURCE", 8),
    Column::new("SCOPE", 10),
    Column::new("CLIENT", 11),
    Column::new("BY", 6),
    Column::new("DETAIL", 9),
    Column::new("ASKED", 12),
    Column::new("FROM", 13),
    Column::new("RECORD", 7),
];

fn rows(screen: &Screen, records: &[AuditRecord]) -> String {
    let shown = |text: Option<&String>| Value::from(text.cloned().unwrap_or_default());
    let row = |r: &AuditRecord| {
        vec![
            Value::with_short(
                r.time.clone(),
                r.time.split_once('.').map_or_else(|| r.time.clone(), |(seconds, _)| format!("{seconds}Z")),
            ),
            r.kind.clone().into(),
            r.outcome.clone().into(),
            r.reason.clone().into(),
            shown(r.sub.as_ref()),
            Value::with_short(
                r.act.as_ref().map(chain).unwrap_or_default(),
                r.act.as_ref().map(short_chain).unwrap_or_default(),
            ),
            shown(r.aud.as_ref()),
            shown(r.scope.as_ref()),
            shown(r.client.as_ref()),
            shown(r.by.as_ref()),
            shown(r.sum.as_ref().map(summed).as_ref().or(r.detail.as_ref())),
            asked(r).into(),
            shown(r.source.as_ref()),
            r.id.clone().into(),
        ]
    };
    table_of(screen, &COLUMNS, &records.iter().map(row).collect::<Vec<_>>())
}

/// For how many refusals one record stands.
fn summed(AuditSum { count, first, last }: &AuditSum) -> String {
    format!("{count} refusals from {first} to {last}")
}

/// The request, if it differs from what was given.
fn asked(record: &AuditRecord) -> String {
    let members = record.asked.as_ref().and_then(serde_json::Value::as_object);
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let given = |name: &str, value: &str| match name {
        "resource" => record.aud.as_deref() == Some(value),
        "scope" => record.scope.as_deref() == Some(value),
        _ => false,
    };
    let pairs = members
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, text(value)))
        .filter(|(name, value)| !given(name, value));
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// The chain with the last part of each SPIFFE ID alone.
fn short_chain(act: &Act) -> String {
    chain(act)
        .split(" ← ")
        .map(|name| name.strip_prefix("spiffe://").and_then(|rest| rest.rsplit('/').next()).unwrap_or(name))
        .collect::<Vec<_>>()
        .join(" ← ")
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
        let json =
            |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut rows = vec![
            ("Record", record.id.clone()),
            ("Log", shown(&record.origin)),
            ("Index", record.index.map(|index| index.to_string()).unwrap_or_default()),
            ("Time", record.time.clone()),
            ("Kind", record.kind.clone()),
            ("Outcome", record.outcome.clone()),
            ("Reason", record.reason.clone()),
            ("Detail", shown(&record.detail)),
            ("Stands for", record.sum.as_ref().map(summed).unwrap_or_default()),
            ("From", shown(&record.source)),
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
            ("Changed", json(&record.touched)),
            ("Policies", record.policies.join(" ")),
            ("Effects", record.effects.join(" ")),
        ];
        // Under their own names: a newer server may say what this program does not know.
        rows.extend(record.more.iter().map(|(name, value)| {
            (name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }));
        list(screen, rows)
    })
}

#[derive(Serialize)]
struct Exported {
    bundle: PathBuf,
    bytes: u64,
}

/// The bundle gets its name once it is complete: a broken connection leaves no half bundle under that name.
pub(crate) fn export(arguments: &AuditExport, screen: &Screen) -> Result<(), Failure> {
    if arguments.bundle.as_os_str() == "-" {
        return print_bundle(arguments);
    }
    let path = &arguments.bundle;
    let admin = arguments.connection.open()?;
    // It names people and what was done for them: for the owner's eyes.
    let mut new =
        output::begin(path, arguments.force, &format!("mandate audit export --bundle {}", path.display()))?;
    let file = new
        .file()
        .try_clone()
        .map_err(|error| Failure::caused(Fault::Failed, "cannot write the bundle", &error))?;
    let bytes = admin.call(async |client| {
        let mut signals = Signals::listen();
        let mut out = tokio::fs::File::from_std(file);
        let export = async {
            let written = client.audit_export(&mut out).await?;
            out.sync_all().await.map_err(ClientError::Output)?;
            Ok::<_, ClientError>(written)
        };
        tokio::select! {
            written = export => written.map(Ok),
            number = signals.next() => Ok(Err(interruption::failure(number, "no bundle is written"))),
        }
    })??;
    output::finish(new, arguments.force)?;
    let exported = Exported { bundle: path.clone(), bytes };
    screen.show(&exported, || {
        let path = path.display();
        format!("{bytes} bytes in {path}\nnext: mandate audit verify --offline {path}")
    })
}

/// Writes the bundle to standard output, and nothing else. The bundle's header says how many records it must
/// have.
fn print_bundle(arguments: &AuditExport) -> Result<(), Failure> {
    let out = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failure::output(&error))?;
    let admin = arguments.connection.open()?;
    let printed = admin.try_call(async |client| {
        let mut out = tokio::fs::File::from_std(fs::File::from(out));
        client.audit_export(&mut out).await.map(drop)
    })?;
    printed.map_err(|error| match error {
        ClientError::Output(error) => Failure::output(&error),
        error => failure::of_client(&error, admin.endpoint()),
    })
}
