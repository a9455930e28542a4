//! Progress of work that depends on the length of the audit log: on standard error, for a person who watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::Screen;

/// How often it is drawn, per second.
const DRAWN: u8 = 5;

/// How often the sign of a step without numbers moves.
const TICK: Duration = Duration::from_millis(200);

/// A line that says how far the work is, and that is removed at the end. There is no line if standard error
/// is not a terminal, or if a program reads the output.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins with a step of unknown length.
    pub(crate) fn begin(screen: &Screen, what: &'static str) -> Self {
        // indicatif draws nothing where there is no terminal.
        let target = if screen.wants_json() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(DRAWN)
        };
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(ProgressStyle::default_spinner())
            .with_message(what);
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Shows that `done` of `of` are done, in the step `what`.
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
