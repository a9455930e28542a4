//! Where results go: stdout, as text for people or as one JSON value for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::Failure;

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
    /// As the process was started. Colour is for terminals, and not wanted where `NO_COLOR` is set or `TERM` is `dumb`.
    pub(crate) fn of_the_process(json: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = io::stdout().is_terminal();
        Self { json, terminal, colour: terminal && wanted, colour_errors: io::stderr().is_terminal() && wanted }
    }

    /// Whether one JSON value is wanted.
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }

    /// Whether stdout is a terminal, whose width tables should fit.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether stdout takes colour.
    pub(crate) fn colours(&self) -> bool {
        self.colour
    }

    /// Whether stderr takes colour.
    pub(crate) fn colours_errors(&self) -> bool {
        self.colour_errors
    }

    /// Prints `value` as JSON if that is wanted, else the text.
    pub(crate) fn show(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(value)
                .map_err(|error| Failure::caused(crate::failure::Fault::Failed, "cannot write JSON", &error))?;
            self.line(&line)
        } else {
            self.line(text().trim_end_matches('\n'))
        }
    }

    /// Prints one or more lines to stdout, at once.
    #[expect(clippy::unused_self, reason = "whoever prints has been given the screen")]
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Prints a line to stderr, for a person who watches; programs read stdout.
    #[expect(clippy::unused_self, reason = "whoever prints has been given the screen")]
    pub(crate) fn remark(&self, text: &str) {
        // A remark that cannot be shown changes nothing.
        let _ = writeln!(io::stderr(), "{text}");
    }
}
