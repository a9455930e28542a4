//! A directory whose entries are ours, and the files in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mandate_core::{Entropy, Secret};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, fstatvfs, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::error::{FileError, io};
use crate::judge::{self, Exposure};
use crate::namespace::own_user;
use crate::new_file::{NewFile, Replace};
use crate::walk::{Goal, permissions, walk};

/// The modes of directories that are made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// The mode of missing directories above it; the umask may remove more permissions.
    pub above: u32,
    /// The exact mode of the directory itself.
    pub mode: u32,
}

impl Making {
    /// For this user alone.
    pub const PRIVATE: Self = Self { above: 0o700, mode: 0o700 };
}

/// An open directory that was checked, and so was the way to it. Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    passable: bool,
}

impl Dir {
    /// Opens a directory to which nobody else may write.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let dir = Self::at(path, Goal::Directory)?;
        dir.hold(0o700)?;
        Ok(dir)
    }

    /// The same, and makes it if it is missing.
    pub fn open_or_make(path: &Path, making: Making) -> Result<Self, FileError> {
        let dir = Self::at(path, Goal::Made { above: making.above, mode: making.mode })?;
        dir.hold(making.mode)?;
        Ok(dir)
    }

    /// Opens a directory to which others may add files, and in which they cannot touch ours, as `/tmp`.
    pub(crate) fn shared(path: &Path) -> Result<Self, FileError> {
        let dir = Self::at(path, Goal::Directory)?;
        dir.share()?;
        Ok(dir)
    }

    /// The same, and makes it if it is missing: for a socket, which others find by its path.
    pub fn open_or_make_shared(path: &Path, making: Making) -> Result<Self, FileError> {
        let dir = Self::at(path, Goal::Made { above: making.above, mode: making.mode })?;
        dir.share()?;
        Ok(dir)
    }

    fn share(&self) -> Result<(), FileError> {
        let stat = fstat(&self.fd).map_err(io("look at", &self.path))?;
        judge::passed(&stat, &self.path, own_user())
    }

    fn at(path: &Path, goal: Goal) -> Result<Self, FileError> {
        let walked = walk(path, goal)?;
        // A descriptor for passing through cannot be synced. The checked directory is opened again by its own
        // descriptor.
        let fd = listable(&walked.dir, &walked.real)?;
        if let Goal::Made { mode, .. } = goal
            && walked.made
        {
            // The umask may have taken something away.
            fchmod(&fd, permissions(mode)).map_err(io("make", &walked.real))?;
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { fd: Arc::new(fd), path, passable: walked.passable })
    }

    /// The directory that holds `path`, and its name there. Others may be able to add files to it, as in
    /// `/tmp`.
    pub(crate) fn holding(path: &Path) -> Result<(Self, OsString), FileError> {
        let walked = walk(path, Goal::Entry)?;
        let name =
            walked.name.ok_or_else(|| FileError::Kind { path: path.to_owned(), wanted: "regular file" })?;
        let fd = listable(&walked.dir, &walked.real)?;
        Ok((Self { fd: Arc::new(fd), path: walked.real, passable: walked.passable }, name))
    }

    /// Refuses the directory if others may write to it. `right` is the mode that the error proposes.
    fn hold(&self, right: u32) -> Result<(), FileError> {
        let stat = fstat(&self.fd).map_err(io("look at", &self.path))?;
        judge::held(&stat, &self.path, own_user(), right)
    }

    /// Its path, absolute, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry. Use it only with interfaces that cannot take a descriptor. No other user can
    /// change what it leads to.
    pub fn entry(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// Whether others can reach files in it, if the files' modes let them.
    pub(crate) fn is_passable(&self) -> bool {
        self.passable
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Creates a file that was not there, with exactly this mode.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<File, FileError> {
        let (name, path) = (name.as_ref(), self.entry(&name));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(&self.fd, name, flags, permissions(mode)) {
            Ok(fd) => fd,
            Err(Errno::EXIST) => return Err(FileError::Exists { path }),
            Err(error) => return Err(io("create", &path)(error)),
        };
        // The umask can only have taken permissions away; this makes the mode exact.
        fchmod(&fd, permissions(mode)).map_err(io("create", &path))?;
        Ok(File::from(fd))
    }

    /// Opens a file for reading and checks it. None if there is nothing of that name.
    pub fn open_file(&self, name: impl AsRef<OsStr>, exposure: Exposure) -> Result<Option<File>, FileError> {
        self.open_with(name.as_ref(), OFlags::RDONLY, exposure)
    }

    /// A file to lock or to write to in place: made with mode 0600 if it is missing, and checked if it
    /// exists.
    pub fn open_or_create(&self, name: impl AsRef<OsStr>, exposure: Exposure) -> Result<File, FileError> {
        let name = name.as_ref();
        loop {
            if let Some(file) = self.open_with(name, OFlags::RDWR, exposure)? {
                return Ok(file);
            }
            match self.create(name, 0o600) {
                // Made by another of our processes meanwhile.
                Err(FileError::Exists { .. }) => {}
                created => return created,
            }
        }
    }

    fn open_with(&self, name: &OsStr, flags: OFlags, exposure: Exposure) -> Result<Option<File>, FileError> {
        let path = self.entry(name);
        // Opening a pipe would wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(FileError::Link { path }),
            Err(error) => return Err(io("open", &path)(error)),
        };
        let stat = fstat(&fd).map_err(io("look at", &path))?;
        judge::file(&stat, &path, own_user(), exposure)?;
        Ok(Some(File::from(fd)))
    }

    /// Reads a file that is a secret. None if there is nothing of that name.
    pub fn read_secret(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Secret>, FileError> {
        let name = name.as_ref();
        let Some(file) = self.open_file(name, Exposure::Private)? else { return Ok(None) };
        secret_of(file, &self.entry(name), limit).map(Some)
    }

    /// Reads a file that others may read, but not write. None if there is nothing of that name.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
        let name = name.as_ref();
        let Some(file) = self.open_file(name, Exposure::Readable)? else { return Ok(None) };
        bytes_of(file, &self.entry(name), limit).map(Some)
    }

    /// Begins a file that gets the name `name` once it is complete.
    pub fn start(
        &self,
        name: impl AsRef<OsStr>,
        mode: u32,
        entropy: &dyn Entropy,
    ) -> Result<NewFile, FileError> {
        NewFile::start(self.clone(), name.as_ref(), mode, entropy)
    }

    /// Replaces the file `name` in one step: after a crash there is the old content or the new one.
    pub fn replace(
        &self,
        name: impl AsRef<OsStr>,
        mode: u32,
        content: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<(), FileError> {
        let mut new = self.start(&name, mode, entropy)?;
        new.file().write_all(content).map_err(io("write", &self.entry(&name)))?;
        new.commit(Replace::Always)
    }

    /// Gives an entry another name. Links are not followed; a file of the new name is replaced.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<(), FileError> {
        renameat(&self.fd, from.as_ref(), &self.fd, to.as_ref()).map_err(io("rename", &self.entry(&from)))?;
        self.sync()
    }

    /// Removes an entry that is not a directory. Returns whether there was one.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<bool, FileError> {
        match unlinkat(&self.fd, name.as_ref(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(io("remove", &self.entry(&name))(error)),
        }
    }

    /// The names of its entries.
    pub fn names(&self) -> Result<Vec<OsString>, FileError> {
        let failed = |error| io("list", &self.path)(error);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// How many bytes of its file system this user can still write.
    pub fn free_space(&self) -> Result<u64, FileError> {
        let stat = fstatvfs(&self.fd).map_err(io("look at", &self.path))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Makes what was created, renamed and removed in it durable.
    pub fn sync(&self) -> Result<(), FileError> {
        fsync(&self.fd).map_err(io("sync", &self.path))
    }
}

/// The same directory, open for listing and syncing.
fn listable(dir: impl AsFd, real: &Path) -> Result<OwnedFd, FileError> {
    openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io("open", real))
}

pub(crate) fn secret_of(mut file: File, path: &Path, limit: u64) -> Result<Secret, FileError> {
    // Reading grows the buffer by copies, which would stay in memory: room for all of it from the start.
    let expected = file.metadata().map_or(0, |about| about.len()).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 64));
    (&mut file).take(limit + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

pub(crate) fn bytes_of(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > limit {
        Err(FileError::TooLarge { path: path.to_owned(), limit })
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
