//! Logs of the roles that keep running: to stderr, as text for people or as JSON lines.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::printable;
use crate::repeats::Repeats;

/// The levels, and what turns a part off.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging. `MANDATE_LOG` takes filters such as `debug` or `mandate_server=trace,info`.
pub(crate) fn start(json: bool) {
    let wanted = std::env::var("MANDATE_LOG").unwrap_or_default();
    let (filter, slip) = match filter(&wanted) {
        Ok(filter) => (filter, None),
        Err(slip) => (EnvFilter::new("info"), Some(slip)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal());
    // A line cannot be written when the log is on a full disk. By default that is reported by a macro that
    // then panics too, and the panic would end the request that the line is about.
    let builder = builder.log_internal_errors(false);
    // It fails only if logging was started before; then it is running.
    let _ = if json {
        builder
            .json()
            .flatten_event(true)
            .with_writer(|| EscapedJson(io::stderr()))
            .finish()
            .with(Repeats::default())
            .try_init()
    } else {
        // What strangers sent is in fields: none of it begins a line of its own or drives a terminal.
        let fields =
            format::debug_fn(|out, field, value| write!(out, "{}", text(field.name(), value))).delimited(" ");
        builder
            .with_target(false)
            .fmt_fields(fields)
            .with_writer(io::stderr)
            .finish()
            .with(Repeats::default())
            .try_init()
    };
    if let Some(slip) = slip {
        tracing::warn!(MANDATE_LOG = %wanted, "not understood, so info is logged: {slip}");
    }
}

/// A field as text.
fn text(name: &str, value: &dyn std::fmt::Debug) -> String {
    let value = printable::one_line(&format!("{value:?}"));
    if name == "message" { value } else { format!("{name}={value}") }
}

/// Receives whole events as JSON. In these, serde does not escape characters that reorder or hide text.
struct EscapedJson<W>(W);

impl<W: Write> Write for EscapedJson<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(printable::json(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The filter, or what is wrong with it.
fn filter(wanted: &str) -> Result<EnvFilter, String> {
    if wanted.trim().is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    // A word alone would be taken for the name of a part, and everything else would be silent.
    let stranger =
        |word: &&str| !word.contains(['=', '[']) && !LEVELS.contains(&word.to_ascii_lowercase().as_str());
    if let Some(word) = wanted.split(',').map(str::trim).filter(|word| !word.is_empty()).find(stranger) {
        return Err(format!("{word:?} is no level; use one of {}", LEVELS.join(", ")));
    }
    EnvFilter::try_new(wanted).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{EscapedJson, filter, text};

    #[test]
    fn a_field_is_one_line_and_drives_no_terminal() {
        let evil = "\u{1b}[2J\u{202e}x\n2026-11-27T00:00:00Z  INFO forged";
        for shown in [text("reason", &format_args!("{evil}")), text("message", &format_args!("{evil}"))] {
            assert!(shown.contains("\\u{1b}[2J\\u{202e}x\\n2026"), "{shown}");
            assert!(!shown.contains(['\u{1b}', '\u{202e}', '\n']), "{shown:?}");
        }
        let mut out = EscapedJson(Vec::new());
        writeln!(out, "{}", serde_json::json!({"reason": evil})).unwrap();
        assert!(out.0.is_ascii(), "{:?}", String::from_utf8_lossy(&out.0));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out.0).unwrap()["reason"], evil);
    }

    #[test]
    fn a_level_that_does_not_exist_is_no_filter() {
        for good in ["", " ", "debug", "INFO", "mandate_server=trace,info", "off"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "inf", "info,everything", "mandate=loud"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
