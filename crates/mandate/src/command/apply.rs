//! `mandate apply`

use std::fmt::Write as _;
use std::path::Path;

use mandate_api::admin::{ApplyRequest, ApplyResponse, Change, ChangeItem};
use mandate_api::registry_file::{self, Finding, MAX_FILE_BYTES};
use mandate_api::{ClientError, Problem, RegistryFile};
use serde_json::Value;

use super::recorded;
use crate::arguments::Apply;
use crate::failure::{self, Failure, Fault, Placed};
use crate::input_file;
use crate::printable::{one_line, printable};
use crate::screen::Screen;

pub(crate) fn run(arguments: &Apply, screen: &Screen) -> Result<(), Failure> {
    let file = arguments.file();
    let text = read(file)?;
    let shown = input_file::shown(file);
    let mut entries = registry_file::parse(&text).map_err(|error| {
        Failure::usage(format!(
            "{shown}:{}:{}: {}; nothing was changed",
            error.line, error.column, error.message
        ))
    })?;
    read_named_files(&mut entries, file, |pointer| place(pointer, &shown, &text))?;
    let everything = arguments.prune && !arguments.dry_run && !arguments.yes_remove_everything;
    if everything && entries == RegistryFile::default() {
        // A generator that fails writes nothing, and nothing would mean everything.
        let what =
            format!("{shown} declares nothing, and --prune would remove every entry; nothing was changed");
        return Err(Failure::usage(what)
            .next(format!(
                "mandate apply -f {} --prune --dry-run   (shows what would be removed; if you do not want that, check the program that wrote the file)",
                file.display()
            ))
            .next(format!("mandate apply -f {} --prune --yes-remove-everything   (removes it)", file.display())));
    }
    let request = ApplyRequest { entries, prune: arguments.prune, dry_run: arguments.dry_run };
    let admin = arguments.connection.open()?;
    let answer = match admin.try_call(async |client| client.apply(&request).await)? {
        Ok(answer) => answer,
        Err(ClientError::Refused(problem)) if !problem.errors.is_empty() => {
            return Err(refused(&problem, &shown, &text));
        }
        Err(error) => return Err(failure::of_client(&error, admin.endpoint())),
    };
    let shown = screen.show(&answer, || describe(&answer));
    recorded::report(answer.recorded, screen, shown)
}

fn read(path: &Path) -> Result<String, Failure> {
    input_file::read_text(path, MAX_FILE_BYTES as u64).map_err(|failure| {
        failure
            .next("mandate apply -f FILE   (a TOML file of [[resource]], [[person]], [[agent]], [[grant]] …)")
    })
}

/// Replaces the path of a file in `ca` of an issuer or a trust domain, and in `ca` and `jwks` of an agent's
/// proof, which is relative to the registry file, by the content of that file: the server reads no files of
/// operators. (The `bundle` of a trust domain is a file of the server's machine, which others replace.) The
/// file may have any owner, as the registry file that names it: with the one, or with the other, its writer
/// decides what is trusted, and the operator sees the difference before it is applied.
fn read_named_files(
    entries: &mut RegistryFile,
    file: &Path,
    place: impl Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    let folder = file.parent().filter(|_| file != Path::new("-")).unwrap_or(Path::new(""));
    let read = |path: &mut String, pointer: &str, what: &str| {
        let text =
            input_file::read_text(&folder.join(path.trim()), MAX_FILE_BYTES as u64).map_err(|failure| {
                let here = place(pointer).unwrap_or_default();
                failure.next(format!("{here}: {what}, relative to the registry file"))
            })?;
        *path = text;
        Ok(())
    };
    let is_path_of_pem = |ca: &&mut String| !ca.contains("-----BEGIN");
    for (at, issuer) in entries.issuer.iter_mut().enumerate() {
        if let Some(ca) = issuer.ca.as_mut().filter(is_path_of_pem) {
            read(
                ca,
                &format!("/issuer/{at}/ca"),
                &format!("`ca` of issuer {} names a PEM file", issuer.url),
            )?;
        }
    }
    for (at, domain) in entries.trust_domain.iter_mut().enumerate() {
        if let Some(ca) = domain.ca.as_mut().filter(is_path_of_pem) {
            let what = format!("`ca` of trust domain {} names a PEM file", domain.name);
            read(ca, &format!("/trust_domain/{at}/ca"), &what)?;
        }
    }
    for (at, agent) in entries.agent.iter_mut().enumerate() {
        for (number, proof) in agent.proof.iter_mut().enumerate() {
            let here = format!("/agent/{at}/proof/{number}");
            if let Some(ca) = proof.ca.as_mut().filter(is_path_of_pem) {
                let what = format!("`ca` of a proof of agent {} names a PEM file", agent.name);
                read(ca, &format!("{here}/ca"), &what)?;
            }
            if let Some(jwks) = proof.jwks.as_mut().filter(|jwks| !jwks.trim_start().starts_with('{')) {
                let what = format!("`jwks` of a proof of agent {} names a JSON file", agent.name);
                read(jwks, &format!("{here}/jwks"), &what)?;
            }
        }
    }
    Ok(())
}

/// The server's findings at their places in the file.
fn refused(problem: &Problem, shown: &str, text: &str) -> Failure {
    let placed = |finding: &Finding| Placed {
        place: place(&finding.pointer, shown, text),
        detail: printable(&finding.detail),
    };
    Failure::new(Fault::Refused, format!("{}; nothing was changed", problem.title))
        .with_findings(problem.errors.iter().map(placed).collect())
        .next("correct the file, then run the same command with --dry-run")
}

fn place(pointer: &str, shown: &str, text: &str) -> Option<String> {
    if pointer.is_empty() {
        return None;
    }
    registry_file::locate(text, pointer).map(|(line, column)| format!("{shown}:{line}:{column}"))
}

/// One change: its entry and, if the entry stays, each changed member before and after.
fn change(text: &mut String, item: &ChangeItem) {
    let sign = match item.change {
        Change::Created => '+',
        Change::Changed => '~',
        Change::Removed => '-',
    };
    let about = item.about.as_ref().map(|about| format!("  {about}")).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{sign} {} {}", item.kind, one_line(&format!("{}{about}", item.name)));
    let named = |field: &String| item.differences.iter().any(|difference| difference.field == *field);
    if !item.fields.iter().all(named) {
        // An older server names them and says no more.
        let _ = writeln!(text, "    {}", one_line(&item.fields.join(", ")));
    }
    for difference in &item.differences {
        for (sign, value) in [('-', &difference.before), ('+', &difference.after)] {
            if let Some(value) = value {
                let shown = inline(value).replace('\n', &format!("\n    {sign}   "));
                let line = format!("    {sign} {} = {}", difference.field, printable(&shown));
                let _ = writeln!(text, "{}", line.replacen("= \n", "=\n", 1));
            }
        }
    }
}

/// A value as it would be written in the registry file; a text of several lines keeps its lines.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('\n') => format!("\n{}", text.trim_matches('\n')),
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name} = {}", inline(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

fn describe(answer: &ApplyResponse) -> String {
    let mut text = String::new();
    for item in &answer.changes {
        change(&mut text, item);
    }
    for note in &answer.notes {
        let _ = writeln!(text, "note: {}", one_line(note));
    }
    let (count, unchanged) = (answer.changes.len(), answer.unchanged);
    let _ = match (count, answer.dry_run) {
        (0, _) => writeln!(text, "0 changed, {unchanged} unchanged."),
        (_, true) => {
            writeln!(
                text,
                "{count} would change, {unchanged} unchanged. Nothing was changed; run it without --dry-run to change it."
            )
        }
        (_, false) => writeln!(text, "{count} changed, {unchanged} unchanged."),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::{describe, refused};
    use crate::failure::Fault;
    use mandate_api::Problem;
    use mandate_api::admin::{ApplyResponse, Change, ChangeItem, Difference};
    use mandate_api::registry_file::Finding;
    use serde_json::{Value, json};

    #[test]
    fn the_servers_findings_are_shown_at_their_lines() {
        let text = "[[agent]]\nname = \"a\"\nowner = \"rileh\"\npurpose = \"x\"\n";
        let finding =
            |pointer: &str, detail: &str| Finding { pointer: pointer.into(), detail: detail.into() };
        let problem = Problem::invalid_registry(vec![
            finding("/agent/0/owner", "person `rileh` is not declared"),
            finding("", "elsewhere"),
        ]);
        let failure = refused(&problem, "registry.toml", text);
        assert_eq!(failure.fault(), Fault::Refused);
        let shown = failure.text();
        assert!(
            shown.contains("\n  registry.toml:3:9: person `rileh` is not declared\n  elsewhere\n"),
            "{shown}"
        );
        assert!(shown.contains("nothing was changed"), "{shown}");
    }

    #[test]
    fn the_difference_reads_like_a_difference() {
        let item =
            |kind: &str, name: &str, about: Option<&str>, change, differences: Vec<Difference>| ChangeItem {
                kind: kind.into(),
                name: name.into(),
                about: about.map(str::to_owned),
                change,
                fields: differences.iter().map(|d| d.field.clone()).collect(),
                differences,
            };
        let difference = |field: &str, before: Value, after: Value| Difference {
            field: field.into(),
            before: (!before.is_null()).then_some(before),
            after: (!after.is_null()).then_some(after),
        };
        let ceiling = difference("ceiling", json!([{"resource": "crm", "scopes": ["a", "b"]}]), json!([]));
        let mut answer = ApplyResponse {
            dry_run: true,
            changes: vec![
                item("agent", "b", None, Change::Created, vec![]),
                item("agent", "a", None, Change::Changed, vec![ceiling]),
                item(
                    "grant",
                    "g-1",
                    Some("riley → a on crm"),
                    Change::Changed,
                    vec![difference("max_uses", Value::Null, json!(5))],
                ),
                item(
                    "policy",
                    "p",
                    None,
                    Change::Changed,
                    vec![difference("source", json!("one\n"), json!("one\ntwo\n"))],
                ),
                item("person", "x", None, Change::Removed, vec![]),
            ],
            unchanged: 2,
            notes: vec!["look".into()],
            recorded: mandate_api::admin::Recorded::Log,
        };
        let expected = "\
+ agent b
~ agent a
    - ceiling = [{ resource = \"crm\", scopes = [\"a\", \"b\"] }]
    + ceiling = []
~ grant g-1  riley → a on crm
    + max_uses = 5
~ policy p
    - source =
    -   one
    + source =
    +   one
    +   two
- person x
note: look
5 would change, 2 unchanged. Nothing was changed; run it without --dry-run to change it.
";
        assert_eq!(describe(&answer), expected);
        answer.dry_run = false;
        assert!(describe(&answer).ends_with("\n5 changed, 2 unchanged.\n"));
        answer.changes.clear();
        assert!(describe(&answer).ends_with("0 changed, 2 unchanged.\n"));
    }
}
