//! Files that an operator names: read where they are, or written there.

use std::fs::File;
use std::path::Path;

use mandate_core::{Entropy, Secret};
use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use crate::dir::{Dir, bytes_of, secret_of};
use crate::error::{FileError, io};
use crate::judge::{self, Exposure};
use crate::namespace::own_user;
use crate::new_file::NewFile;
use crate::text;

/// A secret from a file that an operator named.
#[derive(Debug)]
pub struct Named {
    /// Its whole content, which may be a key.
    pub content: Secret,
    /// Set if others can read it: its mode lets them, and so do all directories on the way. For a warning.
    pub exposed: Option<FileError>,
}

/// Whether a path names a descriptor that this process was started with: `/dev/stdin`, or `<(…)` in a shell.
/// The user who started us chose what it is.
fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd/") || path.starts_with("/proc/self/fd/")
}

/// Opens a file for reading, and checks it and the way to it. Links are followed if they belong to us or to
/// root: tools for certificates, and Kubernetes, keep the newest file behind a link.
pub fn open_named(path: &Path, exposure: Exposure) -> Result<File, FileError> {
    Ok(open_from(path, exposure)?.0)
}

fn open_from(path: &Path, exposure: Exposure) -> Result<(File, bool), FileError> {
    if is_descriptor(path) {
        return Ok((File::open(path).map_err(io("open", path))?, false));
    }
    let (dir, name) = Dir::holding(path)?;
    let file = dir.open_file(&name, exposure)?.ok_or_else(|| io("open", path)(Errno::NOENT))?;
    Ok((file, dir.is_passable()))
}

/// Reads a short-lived secret, such as a token that a shell's redirection wrote. It must belong to us or to
/// root, and must not be writable by others. If others can read it, the caller prints a warning.
pub fn read_secret(path: &Path, limit: u64) -> Result<Named, FileError> {
    let (file, passable) = open_from(path, Exposure::Readable)?;
    let exposed = match rustix::fs::fstat(&file) {
        Ok(stat) if passable && judge::kind(&stat) == FileType::RegularFile => {
            judge::file(&stat, path, own_user(), Exposure::PrivateOrRootsGroup).err()
        }
        _ => None,
    };
    Ok(Named { content: secret_of(file, path, limit)?, exposed })
}

/// Reads a file that is not secret and not trusted because of its place: it may have any owner.
pub fn open_public(path: &Path) -> Result<File, FileError> {
    let file = File::open(path).map_err(io("open", path))?;
    // A directory can be opened, and not read.
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(FileError::Kind { path: path.to_owned(), wanted: "regular file" });
    }
    Ok(file)
}

/// Reads a text that is trusted because of its content, not because of its owner: it may have any owner.
pub fn read_public_text(path: &Path, limit: u64) -> Result<String, FileError> {
    as_text(bytes_of(open_public(path)?, path, limit)?, path)
}

/// Reads a file that others may read but not write, because its content is trusted.
pub fn read_trusted(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    bytes_of(open_named(path, Exposure::Readable)?, path, limit)
}

/// The same, as text.
pub fn read_trusted_text(path: &Path, limit: u64) -> Result<String, FileError> {
    as_text(read_trusted(path, limit)?, path)
}

/// Reads a long-lived secret, such as a private key, that only its owner may read.
pub fn read_private(path: &Path, limit: u64) -> Result<Secret, FileError> {
    secret_of(open_named(path, Exposure::PrivateOrRootsGroup)?, path, limit)
}

fn as_text(bytes: Vec<u8>, path: &Path) -> Result<String, FileError> {
    text::from_bytes(bytes).map_err(|source| FileError::Text { path: path.to_owned(), source })
}

/// Begins a file of mode 0600 at a place that an operator named. It replaces another file only with `force`.
/// It never replaces a directory, a device or a pipe, and never writes through a link.
pub fn output(path: &Path, force: bool, entropy: &dyn Entropy) -> Result<NewFile, FileError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else {
        return Err(FileError::Kind { path: path.to_owned(), wanted: "regular file" });
    };
    // The directory is resolved, the name in it is not: the entry of that name is replaced, not what it links
    // to.
    let dir = Dir::shared(parent)?;
    match statat(dir.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Err(error) => return Err(io("look at", path)(error)),
        Ok(stat) => match judge::kind(&stat) {
            FileType::RegularFile | FileType::Symlink if force => {}
            FileType::RegularFile => return Err(FileError::Exists { path: path.to_owned() }),
            FileType::Symlink => return Err(FileError::Link { path: path.to_owned() }),
            _ => return Err(FileError::Kind { path: path.to_owned(), wanted: "regular file" }),
        },
    }
    dir.start(name, 0o600, entropy)
}

#[cfg(test)]
mod tests;
