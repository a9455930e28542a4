//! Which users may own and change which files.

use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::error::FileError;

/// Only the owner of an entry, or of the directory, may remove or rename it (`S_ISVTX`).
const STICKY: u32 = 0o1000;

/// What other users may do with a file that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Nothing: the file is a secret.
    Private,
    /// Nothing, except that the group of a file that belongs to root may read it (0640). Keys of certificates
    /// are stored in this way for the group `ssl-cert`, in Kubernetes volumes with an `fsGroup`, and in
    /// systemd's credentials. Only root decides who is in that group.
    PrivateOrRootsGroup,
    /// Read it, and not write it.
    Readable,
}

pub(crate) fn mode(stat: &Stat) -> u32 {
    // The type of `st_mode` differs between systems; the permission bits fit in each.
    stat.st_mode & 0o7777
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Refuses another owner than root and this user, because the owner could replace the content.
pub(crate) fn owner(stat: &Stat, path: &Path, us: Option<u32>) -> Result<(), FileError> {
    if stat.st_uid == 0 || us == Some(stat.st_uid) {
        return Ok(());
    }
    Err(FileError::Owner { path: path.to_owned(), owner: stat.st_uid, us })
}

/// Checks a directory on the way to another one.
pub(crate) fn passed(stat: &Stat, path: &Path, us: Option<u32>) -> Result<(), FileError> {
    owner(stat, path, us)?;
    let mode = mode(stat);
    if mode & 0o022 == 0 || mode & STICKY != 0 {
        return Ok(());
    }
    Err(FileError::Exposed {
        path: path.to_owned(),
        what: "write to it",
        mode,
        right_mode: no_writing(mode).to_owned(),
    })
}

/// The `chmod` argument that takes the right to write away, also that of the group. The members of a group
/// cannot be known reliably, because they come from more places than `/etc/group`. So a group that contains
/// only the user is not recognized.
fn no_writing(mode: u32) -> &'static str {
    if mode & 0o002 == 0 { "g-w" } else { "go-w" }
}

/// Checks a directory to which nobody else may add entries.
pub(crate) fn held(stat: &Stat, path: &Path, us: Option<u32>, right: u32) -> Result<(), FileError> {
    owner(stat, path, us)?;
    let mode = mode(stat);
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(FileError::Exposed {
        path: path.to_owned(),
        what: "write to it",
        mode,
        right_mode: format!("{right:o}"),
    })
}

/// Checks a file that is read.
pub(crate) fn file(stat: &Stat, path: &Path, us: Option<u32>, exposure: Exposure) -> Result<(), FileError> {
    if kind(stat) != FileType::RegularFile {
        return Err(FileError::Kind { path: path.to_owned(), wanted: "regular file" });
    }
    owner(stat, path, us)?;
    let mode = mode(stat);
    let exposed = |what, right_mode: &str| {
        Err(FileError::Exposed { path: path.to_owned(), what, mode, right_mode: right_mode.to_owned() })
    };
    let allowed = match exposure {
        Exposure::PrivateOrRootsGroup if stat.st_uid == 0 => 0o040,
        Exposure::Private | Exposure::PrivateOrRootsGroup => 0,
        Exposure::Readable => 0o055,
    };
    match mode & 0o077 & !allowed {
        0 => Ok(()),
        _ if exposure == Exposure::Readable => exposed("write to it", no_writing(mode)),
        bad if bad & 0o022 != 0 => exposed("write to it", "600"),
        _ => exposed("read it", "600"),
    }
}
