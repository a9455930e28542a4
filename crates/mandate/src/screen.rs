//! Where results go: stdout, as text for people or as one JSON value for programs.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

use crate::failure::{Failure, Fault};
use crate::printable;

pub(crate) use crate::printable::one_line;

/// Marks where bold text begins and ends, until it is known whether stdout supports colour. No text from
/// outside contains them when it is printed: [`printable`] escapes them.
pub(crate) const BOLD: [char; 2] = ['\u{f0001}', '\u{f0002}'];

/// Whether the process was started with `--json`, for warnings from places that have no screen.
static JSON: OnceLock<bool> = OnceLock::new();

/// What is known about the reader of the output.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, each asked by its name")]
pub(crate) struct Screen {
    json: bool,
    terminal: bool,
    colour: bool,
    colour_errors: bool,
}

impl Screen {
    /// The settings with which the process was started. Colour is only for terminals, and off if `NO_COLOR`
    /// is set or `TERM` is `dumb`.
    pub(crate) fn of_the_process(json: bool) -> Self {
        // What was said first holds.
        let _ = JSON.set(json);
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = io::stdout().is_terminal();
        Self {
            json,
            terminal,
            colour: terminal && wanted,
            colour_errors: io::stderr().is_terminal() && wanted,
        }
    }

    /// Whether one JSON value is wanted.
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }

    /// Whether stdout is a terminal, whose width tables should fit.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether stderr supports colour.
    pub(crate) fn colours_errors(&self) -> bool {
        self.colour_errors
    }

    /// A value as one line of JSON, safe for the terminal if it goes to one.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<String, Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::caused(Fault::Failed, "cannot write JSON", &error))?;
        Ok(if self.terminal { printable::json(&text) } else { text })
    }

    /// Prints `value` as JSON if that is wanted, else the text.
    pub(crate) fn show(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { print(&self.json(value)?) } else { self.line(text().trim_end_matches('\n')) }
    }

    /// Prints one or more lines to stdout, at once. Nothing in them controls the terminal.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() { Ok(()) } else { print(&styled(text, self.colour)) }
    }

    /// Prints a program of ours to stdout as it is, such as a script for a shell.
    #[expect(clippy::unused_self, reason = "only a caller that has the screen may print")]
    pub(crate) fn script(&self, text: &str) -> Result<(), Failure> {
        print(text)
    }

    /// Prints a line to stderr, for a person who watches; programs read stdout. With `--json`, every line of
    /// stderr is JSON.
    pub(crate) fn remark(&self, text: &str) {
        let line = if self.json {
            member("note", text.trim_start_matches("note: "))
        } else {
            printable::printable(text)
        };
        // A remark that cannot be shown changes nothing.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Warns on stderr of what the command does all the same.
pub(crate) fn warn(text: &str) {
    let json = JSON.get().copied().unwrap_or_default();
    let line =
        if json { member("warning", text) } else { format!("warning: {}", printable::printable(text)) };
    // A warning that cannot be shown changes nothing.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A JSON object with this one member.
fn member(name: &str, text: &str) -> String {
    printable::json(&serde_json::json!({ name: text }).to_string())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// The text with marks as styles, or without them, and everything else that is hidden escaped.
fn styled(text: &str, colour: bool) -> String {
    let [on, off] = BOLD;
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(BOLD) {
        let (plain, style) = match piece.chars().next_back() {
            Some(last) if last == on => (piece.trim_end_matches(on), "\u{1b}[1m"),
            Some(last) if last == off => (piece.trim_end_matches(off), "\u{1b}[0m"),
            _ => (piece, ""),
        };
        shown.push_str(&printable::printable(plain));
        shown.push_str(if colour { style } else { "" });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{BOLD, styled};

    #[test]
    fn only_our_own_marks_become_styles() {
        let [on, off] = BOLD;
        let text = format!("{on}NAME{off}\n\u{1b}[31mred");
        assert_eq!(styled(&text, true), "\u{1b}[1mNAME\u{1b}[0m\n\\u{1b}[31mred");
        assert_eq!(styled(&text, false), "NAME\n\\u{1b}[31mred");
    }
}
