//! `mandate doctor`

use std::fmt::Write as _;
use std::sync::Arc;

use mandate_core::{Clock as _, SystemClock, SystemEntropy};
use mandate_server::doctor::{DoctorFinding, DoctorState, examine};
use serde::Serialize;

use super::serve;
use crate::arguments::Doctor;
use crate::failure::{Failure, Fault};
use crate::progress::Progress;
use crate::screen::Screen;
use crate::table::table;

#[derive(Serialize)]
struct Examined<'a> {
    directory: String,
    problems: usize,
    checks: &'a [DoctorFinding],
}

pub(crate) fn run(arguments: Doctor, screen: &Screen) -> Result<(), Failure> {
    let config = serve::config(arguments.serve)?;
    let progress = Progress::begin(screen, "examining the directory");
    let found = examine(&config, SystemClock.now(), Arc::new(SystemEntropy), |done, of| {
        progress.at(done, of, "verifying audit records");
    });
    drop(progress);
    let problems = found.iter().filter(|finding| finding.state == DoctorState::Problem).count();
    let examined = Examined { directory: config.dir.display().to_string(), problems, checks: &found };
    // What was found counts, also if nobody reads about it.
    let shown = screen.show(&examined, || described(screen, &found));
    match problems {
        0 => shown,
        1 => Err(Failure::new(Fault::NeedsAttention, "1 problem was found")),
        many => Err(Failure::new(Fault::NeedsAttention, format!("{many} problems were found"))),
    }
}

/// A line for each check, then what to do about each problem.
fn described(screen: &Screen, found: &[DoctorFinding]) -> String {
    let word = |state| match state {
        DoctorState::Ok => "ok",
        DoctorState::Problem => "problem",
        DoctorState::CouldNotLook => "could not look",
    };
    let row = |finding: &DoctorFinding| {
        vec![finding.check.to_owned(), word(finding.state).to_owned(), finding.detail.clone()]
    };
    let mut text = table(screen, &["CHECK", "RESULT", "FOUND"], found.iter().map(row).collect());
    for finding in found {
        if let Some(next) = &finding.next {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n\nproblem: {}: {}\n   next: {next}", finding.check, finding.detail);
        }
    }
    text
}
