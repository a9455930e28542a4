//! `mandate apply`

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use mandate_api::admin::{ApplyRequest, ApplyResponse, Change};
use mandate_api::registry_file::{self, Finding, MAX_FILE_BYTES};
use mandate_api::{ClientError, Problem};

use crate::arguments::Apply;
use crate::failure::{self, Failure, Fault};
use crate::screen::Screen;
use crate::table::printable;

pub(crate) fn run(arguments: &Apply, screen: &Screen) -> Result<(), Failure> {
    let text = read(&arguments.file)?;
    let shown = if arguments.file == Path::new("-") { "standard input".to_owned() } else { arguments.file.display().to_string() };
    let entries = registry_file::parse(&text)
        .map_err(|error| Failure::usage(format!("{shown}:{}:{}: {}; nothing was changed", error.line, error.column, error.message)))?;
    let request = ApplyRequest { entries, prune: arguments.prune, dry_run: arguments.dry_run };
    let admin = arguments.connection.open()?;
    let answer = match admin.try_call(async |client| client.apply(&request).await)? {
        Ok(answer) => answer,
        Err(ClientError::Refused(problem)) if !problem.errors.is_empty() => return Err(refused(&problem, &shown, &text)),
        Err(error) => return Err(failure::of_client(&error, admin.endpoint())),
    };
    screen.show(&answer, || describe(&answer))
}

fn read(path: &Path) -> Result<String, Failure> {
    let limit = MAX_FILE_BYTES as u64 + 1;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::caused(Fault::Usage, &format!("cannot read the registry file {}", path.display()), &error))?;
    Ok(text)
}

/// The server's findings at their places in the file.
fn refused(problem: &Problem, shown: &str, text: &str) -> Failure {
    const MOST: usize = 20;
    let mut message = format!("{}; nothing was changed", problem.title);
    for finding in problem.errors.iter().take(MOST) {
        // Writing to a String cannot fail.
        let _ = write!(message, "\n  {}{}", place(finding, shown, text), printable(&finding.detail));
    }
    if problem.errors.len() > MOST {
        let _ = write!(message, "\n  and {} more", problem.errors.len() - MOST);
    }
    Failure::new(Fault::Refused, message).next("correct the file, then the same command with --dry-run")
}

fn place(finding: &Finding, shown: &str, text: &str) -> String {
    if finding.pointer.is_empty() {
        return String::new();
    }
    registry_file::locate(text, &finding.pointer).map(|(line, column)| format!("{shown}:{line}:{column}: ")).unwrap_or_default()
}

fn describe(answer: &ApplyResponse) -> String {
    let mut text = String::new();
    for item in &answer.changes {
        let sign = match item.change {
            Change::Created => '+',
            Change::Changed => '~',
            Change::Removed => '-',
        };
        let fields = if item.fields.is_empty() { String::new() } else { format!(" ({})", item.fields.join(", ")) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{sign} {} {}{fields}", item.kind, printable(&item.name));
    }
    for note in &answer.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
    let count = answer.changes.len();
    let changes = if count == 1 { "1 change".to_owned() } else { format!("{count} changes") };
    let _ = match (count, answer.dry_run) {
        (0, _) => writeln!(text, "Nothing to change: all {} are so already.", answer.unchanged),
        (_, true) => writeln!(
            text,
            "{changes} to make, {} as declared. Nothing was changed; run it without --dry-run to change it.",
            answer.unchanged
        ),
        (_, false) => writeln!(text, "{changes} made, {} were so already.", answer.unchanged),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::{describe, refused};
    use crate::failure::Fault;
    use mandate_api::Problem;
    use mandate_api::admin::{ApplyResponse, Change, ChangeItem};
    use mandate_api::registry_file::Finding;

    #[test]
    fn the_servers_findings_are_shown_at_their_lines() {
        let text = "[[agent]]\nname = \"a\"\nowner = \"rileh\"\npurpose = \"x\"\n";
        let finding = |pointer: &str, detail: &str| Finding { pointer: pointer.into(), detail: detail.into() };
        let problem =
            Problem::invalid_registry(vec![finding("/agent/0/owner", "person `rileh` is not declared"), finding("", "elsewhere")]);
        let failure = refused(&problem, "registry.toml", text);
        assert_eq!(failure.fault(), Fault::Refused);
        let shown = failure.text();
        assert!(shown.contains("\n  registry.toml:3:9: person `rileh` is not declared\n  elsewhere\n"), "{shown}");
        assert!(shown.contains("nothing was changed"), "{shown}");
    }

    #[test]
    fn the_difference_reads_like_a_difference() {
        let item = |kind: &str, name: &str, change, fields: &[&str]| ChangeItem {
            kind: kind.into(),
            name: name.into(),
            change,
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
        };
        let mut answer = ApplyResponse {
            dry_run: true,
            changes: vec![
                item("agent", "a", Change::Created, &[]),
                item("grant", "g-1", Change::Changed, &["expires", "scopes"]),
                item("person", "x", Change::Removed, &[]),
            ],
            unchanged: 2,
            notes: vec!["look".into()],
        };
        assert_eq!(
            describe(&answer),
            "+ agent a\n~ grant g-1 (expires, scopes)\n- person x\nnote: look\n3 changes to make, 2 as declared. Nothing was changed; run it without --dry-run to change it.\n"
        );
        answer.changes.clear();
        assert!(describe(&answer).ends_with("Nothing to change: all 2 are so already.\n"));
    }
}
