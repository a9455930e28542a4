//! How a command fails: the party at fault, the message, and what to type next.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use mandate_api::problem::ADMINISTRATION_ELSEWHERE;
use mandate_api::{ClientError, Endpoint, Problem};
use serde::Serialize;

use crate::printable::{json, one_line, printable};
use crate::screen::Screen;

/// The party at fault. The exit codes are part of the interface: see `mandate --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This machine, or the server itself: exit code 1.
    Failed,
    /// The command or a file that it was given is not valid: exit code 2.
    Usage,
    /// The server understood and refused: exit code 3.
    Refused,
    /// There was no answer: exit code 4.
    Unreachable,
    /// Something in the server or its directory needs attention: exit code 5, only from `status --check` and
    /// `doctor`.
    NeedsAttention,
    /// An act that takes authority away is in force and recorded nowhere yet: exit code 6.
    Unrecorded,
    /// This signal stopped it: exit code 128 and the signal's number, as shells have it.
    Interrupted(u8),
}

impl Fault {
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::NeedsAttention => 5,
            Self::Unrecorded => 6,
            Self::Interrupted(signal) => signal.saturating_add(128),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::NeedsAttention => "needs_attention",
            Self::Unrecorded => "unrecorded",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Failure {
    fault: Fault,
    message: String,
    next: Vec<String>,
    findings: Vec<Placed>,
    silent: bool,
}

/// One of several things that are wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Placed {
    /// `FILE:LINE:COLUMN`, if it is about a place in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    pub(crate) detail: String,
}

/// What a program reads instead of the text: one JSON object on standard error.
#[derive(Serialize)]
struct Report<'a> {
    error: Reported<'a>,
}

#[derive(Serialize)]
struct Reported<'a> {
    /// `failed`, `usage`, `refused`, `unreachable`, `needs_attention`, `unrecorded` or `interrupted`.
    kind: &'static str,
    exit_code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "<[Placed]>::is_empty")]
    findings: &'a [Placed],
    next: &'a [String],
}

impl Failure {
    pub(crate) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), next: Vec::new(), findings: Vec::new(), silent: false }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Fault::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Fault::Usage, message)
    }

    /// A failure with the whole chain of an error's causes.
    pub(crate) fn caused(fault: Fault, what: &str, error: &dyn Error) -> Self {
        Self::new(fault, format!("{what}: {}", chain(error)))
    }

    /// With a command to type next.
    #[must_use]
    pub(crate) fn next(mut self, command: impl Into<String>) -> Self {
        self.next.push(command.into());
        self
    }

    /// With each thing that is wrong with a file.
    #[must_use]
    pub(crate) fn with_findings(mut self, findings: Vec<Placed>) -> Self {
        self.findings = findings;
        self
    }

    /// With another sentence, on a line of its own.
    #[must_use]
    pub(crate) fn and(mut self, sentence: &str) -> Self {
        self.message = format!("{}\n{sentence}", self.message);
        self
    }

    /// A failure of writing to stdout. If the reader closed the output (`| head`), nothing is reported.
    pub(crate) fn output(error: &io::Error) -> Self {
        let silent = error.kind() == io::ErrorKind::BrokenPipe;
        Self { silent, ..Self::failed(format!("cannot write to standard output: {error}")) }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.fault
    }

    /// What went wrong, without what to do next.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn text(&self) -> String {
        const MOST: usize = 20;
        let mut text = format!("error: {}\n", self.message);
        for finding in self.findings.iter().take(MOST) {
            let place = finding.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
            // A finding of several lines is indented below its place: none of its lines begins where ours do.
            let _ = writeln!(text, "  {place}{}", finding.detail.replace('\n', "\n    "));
        }
        if self.findings.len() > MOST {
            let _ = writeln!(text, "  and {} more; --json shows all", self.findings.len() - MOST);
        }
        for command in &self.next {
            // Writing to a String cannot fail.
            let _ = writeln!(text, " next: {command}");
        }
        text
    }

    /// Prints to stderr and gives the exit code.
    pub(crate) fn report(&self, screen: &Screen) -> ExitCode {
        if self.silent {
            // A reader that closed the output has what it wanted.
            return ExitCode::SUCCESS;
        }
        if screen.wants_json() {
            let error = Reported {
                kind: self.fault.name(),
                exit_code: self.fault.number(),
                message: &self.message,
                findings: &self.findings,
                next: &self.next,
            };
            // Text and numbers always have a JSON form.
            let text = serde_json::to_string(&Report { error }).unwrap_or_default();
            let _ = writeln!(io::stderr(), "{}", json(&text));
            return self.fault.exit_code();
        }
        let text = printable(&self.text());
        let text = if screen.colours_errors() {
            text.replacen("error:", "\u{1b}[1;31merror:\u{1b}[0m", 1)
        } else {
            text
        };
        // Nobody is left to tell that stderr is closed.
        let _ = io::stderr().write_all(text.as_bytes());
        self.fault.exit_code()
    }
}

/// An error and its causes on one line, without saying anything twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The failure of a call to the admin API.
pub(crate) fn of_client(error: &ClientError, endpoint: &Endpoint) -> Failure {
    match error {
        ClientError::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Failure::new(
                Fault::Refused,
                format!("{endpoint} may be used only by the user that runs the server, and by root"),
            )
            .next("sudo the same command")
            .next("the same command with --admin-url URL --admin-token-file FILE   (the admin API over TCP)")
        }
        ClientError::Unreachable { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
            Failure::new(Fault::Unreachable, chain(error)).next(match endpoint {
                Endpoint::Socket(_) => STOPPED.to_owned(),
                Endpoint::Tcp { server, .. } => format!("curl {server}/openapi.json"),
            })
        }
        ClientError::Unreachable { .. } => {
            let failure = Failure::new(Fault::Unreachable, chain(error));
            match endpoint {
                Endpoint::Socket(path) => not_running(failure, path),
                Endpoint::Tcp { server, .. } => not_reached(failure, server.as_str()),
            }
        }
        ClientError::Protocol { .. } | ClientError::Output(_) => Failure::failed(chain(error)),
        ClientError::Refused(problem) => refused(problem, endpoint),
        ClientError::Server(problem) => Failure::failed(format!("the server failed: {}", said(problem))),
    }
}

fn said(problem: &Problem) -> String {
    match &problem.detail {
        Some(detail) => one_line(&format!("{}: {detail}", problem.title)),
        None => one_line(&problem.title),
    }
}

/// No server listens at the socket. If a directory was named that no server has used, it is most likely the
/// wrong one: a server that is started there would be a second, different server.
fn not_running(failure: Failure, socket: &Path) -> Failure {
    let dir = socket.parent().unwrap_or(Path::new("."));
    let used = ["serve.json", "mandate.db"].iter().any(|file| dir.join(file).exists());
    let is_default = std::env::home_dir().is_some_and(|home| dir == home.join(".mandate"));
    if used || is_default {
        failure.next(format!("mandate serve --dir {}", dir.display()))
    } else {
        failure.next(ELSEWHERE)
    }
}

/// What to do about a process of this machine that accepts connections and answers nothing.
pub(crate) const STOPPED: &str =
    "ps -C mandate -o pid,stat,args   (a T under STAT: it was stopped, kill -CONT PID)";

/// What to do if a directory was named that no server has used.
pub(crate) const ELSEWHERE: &str =
    "ps -C mandate -o args   (is it running with another --dir? then give the same)";

/// Why an address was not reached, as far as TLS shows it.
fn not_reached(failure: Failure, server: &str) -> Failure {
    let said = failure.message();
    if said.contains("UnknownIssuer") || said.contains("No CA certificates") {
        return failure.next("the same command with --ca FILE   (the PEM file of the authority that issued the server's certificate)");
    }
    if said.contains("not valid for name") {
        return failure.next("the same command with --admin-url https://NAME:PORT   (a name for which the certificate is valid)");
    }
    failure.next(format!("curl {server}/openapi.json"))
}

fn refused(problem: &Problem, endpoint: &Endpoint) -> Failure {
    let failure = Failure::new(Fault::Refused, said(problem));
    match (problem.status, endpoint) {
        _ if problem.code == ADMINISTRATION_ELSEWHERE => {
            failure.next("the same command with --admin-url URL   (`mandate serve` prints it as `admin API`)")
        }
        (401, _) => failure.next(
            "mandate login --issuer URL --client-id ID --admin --out FILE   (a new token; then the same command with --admin-token-file FILE)",
        ),
        (403, Endpoint::Socket(_)) => failure.next("sudo the same command"),
        (404, _) => match missing_kind(problem) {
            Some(kind) => failure.next(format!("mandate get {kind}   (lists what there is)")),
            None => failure,
        },
        _ => failure,
    }
}

/// The kind of entry of which there is none by that name.
fn missing_kind(problem: &Problem) -> Option<&'static str> {
    let rest = problem.detail.as_deref()?.strip_prefix("there is no ")?;
    let word = rest.split(' ').next()?;
    mandate_api::admin::parse_kind(word).map(mandate_api::admin::kind_name)
}

#[cfg(test)]
mod tests {
    use super::{Failure, Fault, of_client};
    use mandate_api::{ClientError, Endpoint, Problem};
    use std::io;

    fn socket() -> Endpoint {
        Endpoint::Socket("/srv/m/admin.sock".into())
    }

    fn unreachable(kind: io::ErrorKind) -> ClientError {
        ClientError::Unreachable { endpoint: socket().to_string(), source: io::Error::from(kind) }
    }

    #[test]
    fn silence_and_refusal_are_told_apart_and_end_with_what_to_type() {
        let nobody = of_client(&unreachable(io::ErrorKind::NotFound), &socket());
        assert_eq!(nobody.fault(), Fault::Unreachable);
        assert!(
            nobody.text().contains("another --dir") && !nobody.text().contains("mandate serve"),
            "{}",
            nobody.text()
        );
        let silent = of_client(&unreachable(io::ErrorKind::TimedOut), &socket());
        assert_eq!(silent.fault(), Fault::Unreachable);
        assert!(silent.text().contains("kill -CONT"), "{}", silent.text());
        let other_user = of_client(&unreachable(io::ErrorKind::PermissionDenied), &socket());
        assert_eq!(other_user.fault(), Fault::Refused);
    }

    #[test]
    fn a_problem_is_told_in_its_own_words_once() {
        let problem = Problem::new(404, "not_found", "No such entry").with_detail("there is no agent `x`");
        let failure = of_client(&ClientError::Refused(Box::new(problem)), &socket());
        assert_eq!(
            (failure.fault(), failure.text().as_str()),
            (
                Fault::Refused,
                "error: No such entry: there is no agent `x`\n next: mandate get agent   (lists what there is)\n"
            )
        );
        let broken = Problem::new(500, "audit_broken", "The audit log does not verify");
        assert_eq!(of_client(&ClientError::Server(Box::new(broken)), &socket()).fault(), Fault::Failed);
    }

    #[test]
    fn a_conflict_says_what_the_server_says_and_no_command_that_would_fail_again() {
        let problem = Problem::new(409, "conflict", "The change was refused")
            .with_detail("not before 2026-11-24T00:00:00.000Z");
        let failure = of_client(&ClientError::Refused(Box::new(problem)), &socket());
        assert_eq!(
            (failure.fault(), failure.text().as_str()),
            (Fault::Refused, "error: The change was refused: not before 2026-11-24T00:00:00.000Z\n")
        );
    }

    #[test]
    fn a_closed_pipe_is_not_worth_a_word_and_no_failure() {
        assert!(Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe)).silent);
        assert!(!Failure::output(&io::Error::from(io::ErrorKind::StorageFull)).silent);
    }
}
