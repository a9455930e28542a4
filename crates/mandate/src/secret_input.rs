//! Secrets from prompts, standard input and files. Never from arguments: every user of a machine can read those.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use mandate_core::Secret;

use crate::failure::{Failure, Fault};

/// The longest secret that is read, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// What a node joins with, in words.
const JOIN_TOKEN: &str = "join token";

/// Asks twice on a terminal; elsewhere takes the first line of standard input.
pub(crate) fn new_secret(what: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return line(io::stdin().lock(), what);
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map_err(|error| Failure::caused(Fault::Failed, "cannot ask on the terminal", &error))
    };
    let first = ask(format!("New {what}: "))?;
    let second = ask(format!("The same {what} again: "))?;
    if first != second {
        return Err(Failure::usage(format!("the two differ; no {what} was set")));
    }
    check(first.into_bytes(), what)
}

/// The content of a file without its final line break; `-` is standard input.
pub(crate) fn from_file(path: &Path, what: &str) -> Result<Secret, Failure> {
    if path == Path::new("-") {
        return line(io::stdin().lock(), what);
    }
    let unreadable = |error: io::Error| {
        let failure = Failure::caused(Fault::Usage, &format!("cannot read the {what} from {}", path.display()), &error);
        if what == JOIN_TOKEN { failure.next(format!("(umask 077; mandate node join-token > {})", path.display())) } else { failure }
    };
    let file = File::open(path).map_err(unreadable)?;
    // A directory can be opened, and not read.
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    line(io::BufReader::new(file), what)
}

fn line(input: impl BufRead, what: &str) -> Result<Secret, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_SECRET).read_until(b'\n', &mut bytes);
    read.map_err(|error| Failure::caused(Fault::Failed, &format!("cannot read the {what}"), &error))?;
    while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        bytes.pop();
    }
    check(bytes, what)
}

fn check(bytes: Vec<u8>, what: &str) -> Result<Secret, Failure> {
    let secret = Secret::new(bytes);
    match secret.expose_secret_str() {
        None => Err(Failure::usage(format!("the {what} is not UTF-8"))),
        Some("") => Err(Failure::usage(format!("the {what} is empty"))),
        Some(_) => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::{from_file, line};
    use crate::failure::Fault;

    #[test]
    fn takes_the_first_line_alone_and_keeps_its_spaces() {
        assert_eq!(line(" pass word \r\nsecond\n".as_bytes(), "password").unwrap().expose_secret(), b" pass word ");
        assert_eq!(line("pässword".as_bytes(), "password").unwrap().expose_secret_str(), Some("pässword"));
    }

    #[test]
    fn an_empty_or_unreadable_secret_is_refused_without_showing_it() {
        for bad in [&b""[..], b"\n", b"\xff\xfe\n"] {
            assert!(line(bad, "password").unwrap_err().text().contains("the password is"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_was_named_wrongly() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("nothing")] {
            let failure = from_file(&path, "join token").unwrap_err();
            assert_eq!(failure.fault(), Fault::Usage);
            assert!(failure.text().contains("next: (umask 077; mandate node join-token > "), "{}", failure.text());
        }
    }
}
