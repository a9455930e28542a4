//! Commands that this program and its server tell people to type: the command line takes each of them.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Arguments;

/// What is before a command in a text.
const BEFORE: [&str; 5] = ["\"", ": ", "; ", "| ", "\\n  "];

/// What is behind it. Three spaces begin a remark.
const BEHIND: [&str; 9] = ["\"", "\\", "   ", " > ", " < ", " 3<", " | ", ")", "`"];

/// Begin as a command does: a name in messages, and a constant.
const NO_COMMANDS: [&str; 2] = ["mandate login", "mandate login form"];

const ISSUER: &str = "https://mandate.acme.example";

/// Every command in the texts of the sources below `dir`, with the file that has it. Comments and unit tests
/// are left out.
fn hints(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            hints(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
            && !path.ends_with("hints.rs")
        {
            let source = fs::read_to_string(&path).unwrap();
            let shipped = source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for line in shipped.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for behind in BEFORE
                    .iter()
                    .flat_map(|before| line.split(&format!("{before}mandate ")).skip(1).collect::<Vec<_>>())
                {
                    let end = BEHIND.iter().filter_map(|end| behind.find(*end)).min().unwrap_or(behind.len());
                    found.push((path.display().to_string(), format!("mandate {}", behind[..end].trim_end())));
                }
            }
        }
    }
}

/// The words of a command with something in each of its gaps.
fn filled(hint: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in hint.split(' ') {
        let behind_issuer = words.last().is_some_and(|last| last == "--issuer" || last == "test");
        words.push(match word {
            "URL" | "ISSUER" => ISSUER.to_owned(),
            "{}" if behind_issuer => ISSUER.to_owned(),
            "HOST:PORT" => "mandate.acme.example:8443".to_owned(),
            "{kind}" => "agent".to_owned(),
            "DIR" | "FILE" | "ID" | "NAME" => "x".to_owned(),
            _ => match (word.find('{'), word.rfind('}')) {
                (Some(from), Some(to)) => format!("{}x{}", &word[..from], &word[to + 1..]),
                _ => word.to_owned(),
            },
        });
    }
    if words[1] == "login" && !words.iter().any(|word| word == "--issuer") {
        // There MANDATE_ISSUER is set.
        words.extend(["--issuer".to_owned(), ISSUER.to_owned()]);
    }
    words
}

#[test]
fn each_command_that_people_are_told_to_type_is_one() {
    let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    for sources in ["src", "../server/src"] {
        hints(&root.join(sources), &mut found);
    }
    // Some leave something to the reader.
    found.retain(|(_, hint)| !hint.contains(['…', '[']) && !NO_COMMANDS.contains(&hint.as_str()));
    assert!(found.len() > 120, "{}", found.len());
    for (file, hint) in found {
        if let Err(error) = Arguments::try_parse_from(filled(&hint)) {
            assert!(
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion),
                "{file}: {hint}: {error}"
            );
        }
    }
}
