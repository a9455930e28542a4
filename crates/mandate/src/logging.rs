//! Logs of the roles that stay up: to stderr, as text for people or as JSON lines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// The levels, and what turns a part off.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging. `MANDATE_LOG` takes filters such as `debug` or `mandate_server=trace,info`.
pub(crate) fn start(json: bool) {
    let wanted = std::env::var("MANDATE_LOG").unwrap_or_default();
    let (filter, slip) = match filter(&wanted) {
        Ok(filter) => (filter, None),
        Err(slip) => (EnvFilter::new("info"), Some(slip)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // A line that cannot be written, because the log lies on a full disk, would be reported by a macro that panics: it
    // would take down whatever request it speaks of.
    let builder = builder.log_internal_errors(false);
    // It fails only if logging was started before; then it is running.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.with_target(false).try_init() };
    if let Some(slip) = slip {
        tracing::warn!(MANDATE_LOG = %wanted, "not understood, so info is logged: {slip}");
    }
}

/// The filter, or what is wrong with it.
fn filter(wanted: &str) -> Result<EnvFilter, String> {
    if wanted.trim().is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    // A word alone would be taken for the name of a part, and everything else would be silent.
    let stranger = |word: &&str| !word.contains(['=', '[']) && !LEVELS.contains(&word.to_ascii_lowercase().as_str());
    if let Some(word) = wanted.split(',').map(str::trim).filter(|word| !word.is_empty()).find(stranger) {
        return Err(format!("{word:?} is no level; use one of {}", LEVELS.join(", ")));
    }
    EnvFilter::try_new(wanted).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::filter;

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
