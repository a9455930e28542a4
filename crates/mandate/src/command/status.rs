//! `mandate status` and `mandate key rotate`

use std::fmt::Write as _;

use mandate_api::admin::{KeyItem, KeyRotationRequest, NodeCounts, Severity, Status, StatusProblem};

use crate::arguments::{KeyRotate, PurposeArgument, StatusArguments};
use crate::failure::{Failure, Fault};
use crate::screen::Screen;
use crate::table::{list, table};

fn keys(screen: &Screen, keys: &[KeyItem]) -> String {
    let row = |key: &KeyItem| vec![key.purpose.clone(), key.state.clone(), key.kid.clone()];
    table(screen, &["PURPOSE", "STATE", "KEY ID"], keys.iter().map(row).collect())
}

pub(crate) fn run(arguments: &StatusArguments, screen: &Screen) -> Result<(), Failure> {
    let status = arguments.connection.open()?.call(async |client| client.status().await)?;
    // What was found counts, also if nobody reads about it.
    let shown = screen.show(&status, || described(screen, &status));
    let problems = status.problems.iter().filter(|problem| problem.severity == Severity::Problem).count();
    match problems {
        _ if !arguments.check => shown,
        0 => shown,
        1 => Err(Failure::new(Fault::NeedsAttention, "1 problem needs attention")),
        many => Err(Failure::new(Fault::NeedsAttention, format!("{many} problems need attention"))),
    }
}

/// What the server could not find out; one of its problems says why.
const UNKNOWN: &str = "not known";

/// What needs attention first, then the facts.
fn described(screen: &Screen, status: &Status) -> String {
    let counts = status.registry;
    let registry = [
        (counts.agents, "agent", "agents"),
        // The administration of the server itself is always one of them.
        (counts.resources, "resource (built in)", "resources (one of them built in)"),
        (counts.people, "person", "people"),
        (counts.clients, "client", "clients"),
        (counts.issuers, "issuer", "issuers"),
        (counts.groups, "group", "groups"),
        (counts.trust_domains, "trust domain", "trust domains"),
        (counts.grants, "grant", "grants"),
        (counts.policies, "policy", "policies"),
    ];
    let declared = registry.iter().filter(|(count, ..)| *count > 0);
    let registry: Vec<String> = declared
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    let facts = list(
        screen,
        vec![
            ("Version", status.version.clone()),
            ("Issuer", status.issuer.clone()),
            ("Trust domain", status.trust_domain.clone()),
            ("Nodes connect to", status.node_server.clone().unwrap_or_default()),
            ("Running since", status.started.clone()),
            ("Registry", if registry.is_empty() { "empty".to_owned() } else { registry.join(", ") }),
            ("Audit records", status.audit_size.map_or_else(|| UNKNOWN.to_owned(), |size| size.to_string())),
            ("Audit key", status.audit_key.clone()),
            ("Nodes", status.nodes.map_or_else(|| UNKNOWN.to_owned(), nodes)),
            ("Disk", disk(status)),
            ("Revocations in force", status.cuts.to_string()),
        ],
    );
    format!("{}{facts}\n\n{}", problems(&status.problems), keys(screen, &status.keys))
}

/// Each problem with what to do about it, and a blank line after the last.
fn problems(list: &[StatusProblem]) -> String {
    let mut text = String::new();
    for problem in list {
        let word = match problem.severity {
            Severity::Problem => "problem",
            Severity::Notice => "notice",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}: {}", problem.detail);
        if let Some(next) = &problem.next {
            let _ = writeln!(text, "   next: {next}");
        }
    }
    if !list.is_empty() {
        text.push('\n');
    }
    text
}

fn nodes(counts: NodeCounts) -> String {
    let all = [(counts.joined, "joined"), (counts.away, "away"), (counts.banned, "banned")];
    let some: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if some.is_empty() { "none has joined".to_owned() } else { some.join(", ") }
}

fn disk(status: &Status) -> String {
    const MIB: u64 = 1024 * 1024;
    status
        .disk
        .map(|space| format!("{} MiB of {} MiB free", space.free / MIB, space.total / MIB))
        .unwrap_or_default()
}

pub(crate) fn rotate_keys(arguments: &KeyRotate, screen: &Screen) -> Result<(), Failure> {
    let purpose = arguments.purpose.map(|purpose| match purpose {
        PurposeArgument::AccessToken => "access-token".to_owned(),
        PurposeArgument::JwtSvid => "jwt-svid".to_owned(),
    });
    let request = KeyRotationRequest { purpose };
    let answer = arguments.connection.open()?.call(async |client| client.rotate_keys(&request).await)?;
    screen.show(&answer, || keys(screen, &answer.keys))
}
