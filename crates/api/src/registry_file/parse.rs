//! Text to [`RegistryFile`], with the place of every error.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::RegistryFile;
use super::suggest::nearest;

/// The largest file that is read, in bytes: room for well over 100,000 agents with their grants.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Where and why a registry file is wrong. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct RegistryFileError {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// What is wrong, without the position.
    pub message: String,
}

/// Parses a registry file. Unknown keys, duplicates and values of the wrong form are errors; references are
/// checked later, when the file is planned, because they may point at what is declared already.
pub fn parse(text: &str) -> Result<RegistryFile, RegistryFileError> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file is larger than {} MiB; split it", MAX_FILE_BYTES / (1024 * 1024));
        return Err(RegistryFileError { line: 1, column: 1, message });
    }
    let file: RegistryFile = toml::from_str(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        RegistryFileError { line, column, message: explain(error.message()) }
    })?;
    match file.duplicates().into_iter().next() {
        None => Ok(file),
        Some(finding) => {
            let (line, column) = locate(text, &finding.pointer).unwrap_or((1, 1));
            Err(RegistryFileError { line, column, message: finding.detail })
        }
    }
}

/// The line and column of the value at a JSON pointer (RFC 6901) such as `/agent/0/owner`, or of the
/// innermost value around it that is written in the file. `None` if the text is not TOML.
pub fn locate(text: &str, pointer: &str) -> Option<(usize, usize)> {
    let root = DeTable::parse(text).ok()?;
    let mut steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
    let (mut span, mut value) = match steps.next() {
        None => return Some((1, 1)),
        Some(first) => match root.get_ref().get(first.as_str()) {
            None => return Some((1, 1)),
            Some(found) => (found.span(), found.get_ref()),
        },
    };
    for step in steps {
        let inner: Option<(Range<usize>, &DeValue<'_>)> = match value {
            DeValue::Array(list) => {
                step.parse::<usize>().ok().and_then(|at| list.get(at)).map(|v| (v.span(), v.get_ref()))
            }
            DeValue::Table(table) => table.get(step.as_str()).map(|v| (v.span(), v.get_ref())),
            _ => None,
        };
        match inner {
            None => break,
            Some(found) => (span, value) = found,
        }
    }
    Some(position(text, span.start))
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// The parser's message, in words for a person who writes such a file.
fn explain(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (word, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return match nearest(word, known.iter().copied()) {
            Some(meant) => format!("unknown key `{word}`; did you mean `{meant}`?"),
            None => format!("unknown key `{word}`; here one can write {}", known.join(", ")),
        };
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (word, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return match nearest(word, known.iter().copied()) {
            Some(meant) => format!("`{word}` is not known; did you mean `{meant}`?"),
            None => format!("`{word}` is not known; use one of {}", known.join(", ")),
        };
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        let word = rest.split_once('`').map_or(rest, |(word, _)| word);
        return format!("`{word}` is missing; it is required");
    }
    if message.starts_with("invalid type: map, expected a sequence") {
        return "this is a list; head each entry with two brackets, such as [[agent]]".to_owned();
    }
    message.to_owned()
}
