//! A file that gets its name once it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;

use mandate_core::Entropy;
use rustix::fs::{AtFlags, linkat, renameat, unlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::{FileError, io};

/// Whether a new file may take the name of an existing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It may. A link of that name is itself replaced, not what it points to.
    Always,
    /// It may not.
    Never,
}

/// A file under a name that nobody can know in advance, in the directory of its final name. It is removed unless it is
/// committed.
#[derive(Debug)]
pub struct NewFile {
    dir: Dir,
    name: OsString,
    temporary: OsString,
    file: File,
    committed: bool,
}

impl NewFile {
    pub(crate) fn start(dir: Dir, name: &OsStr, mode: u32, entropy: &dyn Entropy) -> Result<Self, FileError> {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{:016x}", u64::from_le_bytes(random)));
        let file = dir.create(&temporary, mode)?;
        Ok(Self { dir, name: name.to_owned(), temporary, file, committed: false })
    }

    /// Where the content goes.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is until it is committed. Use this only with interfaces that cannot take a descriptor.
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.entry(&self.temporary)
    }

    /// Makes the content durable, gives the file its name, and makes that durable.
    pub fn commit(mut self, replace: Replace) -> Result<(), FileError> {
        let path = self.dir.entry(&self.name);
        self.file.sync_all().map_err(io("write", &path))?;
        match replace {
            Replace::Always => {
                renameat(self.dir.fd(), &self.temporary, self.dir.fd(), &self.name).map_err(io("put the new file at", &path))?;
                self.committed = true;
            }
            // A link never takes the place of another entry. The other name goes away with `self`.
            Replace::Never => match linkat(self.dir.fd(), &self.temporary, self.dir.fd(), &self.name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(FileError::Exists { path }),
                Err(error) => return Err(io("put the new file at", &path)(error)),
            },
        }
        if !self.committed {
            self.remove();
        }
        self.dir.sync()
    }

    fn remove(&mut self) {
        self.committed = true;
        // What cannot be removed is for its owner alone; the error that led here matters more.
        let _ = unlinkat(self.dir.fd(), &self.temporary, AtFlags::empty());
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            self.remove();
        }
    }
}
