//! Progress of what takes as long as the audit log is: on standard error, where a person watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::Screen;

/// How often it is drawn, per second.
const DRAWN: u8 = 5;

/// How long a step without numbers stands before its sign moves.
const TICK: Duration = Duration::from_millis(200);

/// A line that says how far the work is, and goes away with it. Nothing where standard error is no terminal, or programs read.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins with a step whose end nobody knows.
    pub(crate) fn begin(screen: &Screen, what: &'static str) -> Self {
        // indicatif draws nothing where there is no terminal.
        let target = if screen.wants_json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(DRAWN) };
        let bar = ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::default_spinner()).with_message(what);
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// So many of so many are done, of the step `what`.
    pub(crate) fn at(&self, done: u64, of: u64, what: &'static str) {
        if self.bar.length() != Some(of) {
            // The template is ours, and right.
            if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos} of {len}") {
                self.bar.set_style(style);
            }
            self.bar.set_length(of);
            self.bar.set_message(what);
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
