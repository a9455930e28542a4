//! Why a file or directory is not used. Each text names the path, what was found there, and the command that
//! repairs it.

use std::io;
use std::path::{Path, PathBuf};

use crate::namespace::DEFAULT as OVERFLOW;
use crate::text::TextError;

/// Why a file or directory is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum FileError {
    /// It, or a directory or link on the way to it, belongs to another user.
    #[error(
        "{path} belongs to user {owner}, who could replace it or what is in it; it must belong to {}: {}",
        whose(*us),
        instead(*owner, *us, path)
    )]
    Owner {
        /// What belongs to another user.
        path: PathBuf,
        owner: u32,
        /// Our user id, if it is ours alone ([`crate::own_user`]).
        us: Option<u32>,
    },
    /// Others may read or write it.
    #[error("{path}: {} may {what} (mode {mode:o}); run chmod {right_mode} {}", whom(*mode, what), quoted(path))]
    Exposed {
        /// Which file or directory.
        path: PathBuf,
        /// `read it` or `write to it`.
        what: &'static str,
        mode: u32,
        /// The mode to give it, as `chmod` takes it.
        right_mode: String,
    },
    /// It is a symbolic link where only the file itself is accepted.
    #[error(
        "{path} is a symbolic link, which is not followed here: remove it, or name the file that is meant"
    )]
    Link {
        /// The path, as it was named.
        path: PathBuf,
    },
    /// It is a file where a directory is needed, or the reverse, or neither.
    #[error("{path} is not a {wanted}")]
    Kind {
        /// The path, as it was named.
        path: PathBuf,
        /// `directory` or `regular file`.
        wanted: &'static str,
    },
    /// A file of that name is there already.
    #[error("{path} exists already")]
    Exists {
        /// The path, as it was named.
        path: PathBuf,
    },
    /// A directory that should be new is not empty.
    #[error("{path} is not empty")]
    NotEmpty {
        /// The path, as it was named.
        path: PathBuf,
    },
    /// It is larger than its content can be.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The path, as it was named.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// It does not contain a valid text.
    #[error("{path}: {source}")]
    Text {
        /// The path, as it was named.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TextError,
    },
    /// A system call failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done, such as `open`.
        doing: &'static str,
        /// Which file or directory.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// The file or directory that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Owner { path, .. }
            | Self::Exposed { path, .. }
            | Self::Link { path }
            | Self::Kind { path, .. }
            | Self::Exists { path }
            | Self::NotEmpty { path }
            | Self::TooLarge { path, .. }
            | Self::Text { path, .. }
            | Self::Io { path, .. } => path,
        }
    }

    /// Whether there is nothing of that name.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The system's error, if it is one.
    pub fn io(&self) -> Option<&io::Error> {
        if let Self::Io { source, .. } = self { Some(source) } else { None }
    }
}

/// For `map_err` on the results of system calls.
pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> FileError {
    let path = path.to_owned();
    move |error| FileError::Io { doing, path, source: error.into() }
}

/// Who may do `what` with something of this mode.
fn whom(mode: u32, what: &str) -> &'static str {
    let others = if what == "write to it" { 0o002 } else { 0o004 };
    if mode & others == 0 { "members of its group" } else { "others" }
}

/// To whom it must belong.
fn whose(us: Option<u32>) -> String {
    match us {
        Some(us) => format!("user {us} or to root"),
        None => {
            "root, because the number of the user that runs this stands for every user without a number in this user namespace".to_owned()
        }
    }
}

/// What to do about something that belongs to another user.
fn instead(owner: u32, us: Option<u32>, path: &Path) -> String {
    let Some(us) = us else {
        return "run this as a user of its own, with a number in the user namespace, or outside of the user namespace".to_owned();
    };
    if owner == OVERFLOW {
        // Inside a namespace nobody may change the owner of what is a user's without a number, and outside it
        // may be right.
        return format!(
            "use another place; or, if this runs in a user namespace, where {OVERFLOW} stands for every user without a number in it, run it outside of the user namespace"
        );
    }
    format!("use another place, or run as root: chown {us} {}", quoted(path))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@%:=~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{FileError, quoted};
    use std::path::Path;

    #[test]
    fn of_a_user_without_a_number_in_the_namespace_nobody_is_told_to_change_the_owner() {
        let text = |owner| FileError::Owner { path: "/srv".into(), owner, us: Some(0) }.to_string();
        assert!(text(4711).ends_with("use another place, or run as root: chown 0 /srv"), "{}", text(4711));
        assert!(
            text(65_534).contains("belongs to user 65534") && !text(65_534).contains("chown"),
            "{}",
            text(65_534)
        );
    }

    #[test]
    fn who_shares_a_number_with_others_is_told_to_run_as_a_user_of_its_own() {
        let text = FileError::Owner { path: "/data".into(), owner: 65_534, us: None }.to_string();
        assert!(
            text.contains("/data belongs to user 65534") && text.contains("it must belong to root, because"),
            "{text}"
        );
        assert!(text.contains("run this as a user of its own") && !text.contains("chown"), "{text}");
    }

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        for (path, shown) in [
            ("/srv/m", "/srv/m"),
            ("/srv/my data", "'/srv/my data'"),
            ("/a'b", r"'/a'\''b'"),
            ("/a$(id)", "'/a$(id)'"),
        ] {
            assert_eq!(quoted(Path::new(path)), shown);
        }
    }
}
