//! Secrets from prompts, standard input and files. Never from arguments: every user of a machine can read
//! those.

use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use mandate_core::Secret;
use mandate_files::FileError;
use mandate_files::text::{self, TextError};
use zeroize::Zeroizing;

use crate::failure::{Failure, Fault};
use crate::screen::warn;

/// The longest secret that is read, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// The name of the join token in messages.
const JOIN_TOKEN: &str = "join token";

/// Asks twice on a terminal; elsewhere takes the first line of standard input.
pub(crate) fn new_secret(what: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return line(io::stdin().lock(), what);
    }
    let first = ask(format!("New {what}: "))?;
    let second = ask(format!("The same {what} again: "))?;
    if first != second {
        return Err(Failure::usage(format!("the two inputs differ; no {what} was set")));
    }
    text::secret_of_line(&Zeroizing::new(first.into_bytes()), MAX_SECRET)
        .map_err(|error| malformed(&error, what))
}

/// Asks once on a terminal; elsewhere takes the first line of standard input.
pub(crate) fn secret(what: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return line(io::stdin().lock(), what);
    }
    let answer = Zeroizing::new(ask(format!("The {what}: "))?.into_bytes());
    text::secret_of_line(&answer, MAX_SECRET).map_err(|error| malformed(&error, what))
}

/// The only line of standard input: what has more than one is not one secret. Nothing is read from a
/// terminal, where a long line is cut.
pub(crate) fn only_line(what: &str, again: &str) -> Result<Secret, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage(format!("the {what} is read from standard input")).next(again));
    }
    single(io::stdin().lock(), what)
}

fn single(input: impl Read, what: &str) -> Result<Secret, Failure> {
    let text = Zeroizing::new(text::read(input, MAX_SECRET).map_err(|error| malformed(&error, what))?);
    match text.trim().lines().count() {
        0 => Err(malformed(&TextError::Empty, what)),
        1 => Ok(Secret::new(text.trim().as_bytes())),
        _ => Err(Failure::usage(format!("standard input has more than one line; the {what} is one line"))),
    }
}

fn ask(prompt: String) -> Result<String, Failure> {
    rpassword::prompt_password(prompt)
        .map_err(|error| Failure::caused(Fault::Failed, "cannot ask on the terminal", &error))
}

/// The first line of a file without its line end; `-` is standard input.
pub(crate) fn from_file(path: &Path, what: &str) -> Result<Secret, Failure> {
    if path == Path::new("-") {
        return line(io::stdin().lock(), what);
    }
    let read = mandate_files::read_secret(path, MAX_SECRET).map_err(|error| {
        let failure =
            Failure::caused(Fault::Usage, &format!("cannot read the {what} from {}", path.display()), &error);
        if what == JOIN_TOKEN && (error.io().is_some() || matches!(error, FileError::Kind { .. })) {
            return failure.next(format!("(umask 077; mandate node join-token > {})", path.display()));
        }
        failure
    })?;
    if let Some(exposed) = read.exposed {
        // It can be used all the same; others may have read it already.
        warn(&format!("the {what} is a secret; {exposed}"));
    }
    text::secret_of_line(read.content.expose_secret(), MAX_SECRET).map_err(|error| malformed(&error, what))
}

fn line(input: impl Read, what: &str) -> Result<Secret, Failure> {
    text::secret_line(input, MAX_SECRET).map_err(|error| malformed(&error, what))
}

fn malformed(error: &TextError, what: &str) -> Failure {
    match error {
        TextError::Io(error) => Failure::caused(Fault::Failed, &format!("cannot read the {what}"), error),
        TextError::Empty => Failure::usage(format!("the {what} is empty")),
        TextError::NotUtf8 => Failure::usage(format!("the {what} is not UTF-8")),
        error => Failure::usage(format!("the {what} cannot be used: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{from_file, line, single};
    use crate::failure::Fault;

    #[test]
    fn takes_the_first_line_alone_and_keeps_its_spaces() {
        assert_eq!(
            line(" pass word \r\nsecond\n".as_bytes(), "password").unwrap().expose_secret(),
            b" pass word "
        );
        assert_eq!(line("pässword".as_bytes(), "password").unwrap().expose_secret_str(), Some("pässword"));
    }

    #[test]
    fn where_one_line_is_wanted_a_second_one_is_refused() {
        assert_eq!(single("\u{feff}a.b.c\r\n\n".as_bytes(), "token").unwrap().expose_secret(), b"a.b.c");
        let large = "a".repeat(64 * 1024 + 1);
        for (bad, says) in
            [("", "empty"), (" \n\n", "empty"), ("a\nb", "more than one line"), (&large, "longer than")]
        {
            let failure = single(bad.as_bytes(), "token").unwrap_err();
            assert!(failure.fault() == Fault::Usage && failure.text().contains(says), "{}", failure.text());
        }
    }

    #[test]
    fn an_empty_or_unreadable_secret_is_refused_without_showing_it() {
        for bad in [&b""[..], b"\n", b"\xff\n", b"\xff\xfep\0"] {
            assert!(line(bad, "password").unwrap_err().text().contains("the password "));
        }
    }

    #[test]
    fn a_file_as_an_editor_of_another_system_writes_it_holds_the_same_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        for text in ["token", "\u{feff}token", "token\r\n", "\u{feff}token\r\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(from_file(&file, "access token").unwrap().expose_secret(), b"token", "{text:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "token").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let failure = from_file(&file, "access token").unwrap_err();
        assert!(failure.fault() == Fault::Usage && failure.text().contains("chmod"), "{}", failure.text());
    }

    #[test]
    fn a_file_that_cannot_be_read_was_named_wrongly() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("nothing")] {
            let failure = from_file(&path, "join token").unwrap_err();
            assert_eq!(failure.fault(), Fault::Usage);
            assert!(
                failure.text().contains("next: (umask 077; mandate node join-token > "),
                "{}",
                failure.text()
            );
        }
    }
}
