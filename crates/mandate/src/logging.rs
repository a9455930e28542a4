//! Logs of the roles that stay up: to stderr, as text for people or as JSON lines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging. `MANDATE_LOG` takes filters such as `debug` or `mandate_server=trace,info`.
pub(crate) fn start(json: bool) {
    let filter = EnvFilter::try_from_env("MANDATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // A line that cannot be written, because the log lies on a full disk, would be reported by a macro that panics: it
    // would take down whatever request it speaks of.
    let builder = builder.log_internal_errors(false);
    // It fails only if logging was started before; then it is running.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.with_target(false).try_init() };
}
