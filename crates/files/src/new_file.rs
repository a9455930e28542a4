//! A file that gets its name once it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

use mandate_core::Entropy;
use rustix::fs::{AtFlags, fstat, linkat, renameat, unlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::{FileError, io};

/// Whether a new file may take the name of an existing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It may. A link of that name is itself replaced, not what it points to.
    Always,
    /// It may not: the answer is [`FileError::Exists`].
    Never,
}

/// A file under a name that nobody can know in advance, in the directory of its final name. It is removed
/// unless it is committed.
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
    pub fn path(&self) -> PathBuf {
        self.dir.entry(&self.temporary)
    }

    /// Whether both are to get the same name in the same directory, however that was named.
    pub fn has_the_place_of(&self, other: &Self) -> Result<bool, FileError> {
        let directory = |file: &Self| {
            let stat = fstat(file.dir.fd()).map_err(io("look at", file.dir.path()))?;
            Ok::<_, FileError>((stat.st_dev, stat.st_ino))
        };
        Ok(self.name == other.name && directory(self)? == directory(other)?)
    }

    /// Makes the content durable, gives the file its name, and makes that durable.
    pub fn commit(self, replace: Replace) -> Result<(), FileError> {
        self.commit_by(replace, |dir, from, to| linkat(dir.fd(), from, dir.fd(), to, AtFlags::empty()))
    }

    /// The same, with this way to give a file of a directory a second name.
    fn commit_by(
        mut self,
        replace: Replace,
        link: impl FnOnce(&Dir, &OsStr, &OsStr) -> Result<(), Errno>,
    ) -> Result<(), FileError> {
        let path = self.dir.entry(&self.name);
        self.file.sync_all().map_err(io("write", &path))?;
        match replace {
            Replace::Always => self.rename(&path)?,
            // A link never takes the place of another entry. The other name goes away with `self`.
            Replace::Never => match link(&self.dir, &self.temporary, &self.name) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(FileError::Exists { path }),
                Err(error) if has_no_links(error) => {
                    // Takes the name only if nothing has it; from then on it is ours to replace.
                    self.dir.create(&self.name, 0o600)?;
                    if let Err(error) = self.rename(&path) {
                        let _ = unlinkat(self.dir.fd(), &self.name, AtFlags::empty());
                        return Err(error);
                    }
                }
                Err(error) => return Err(io("put the new file at", &path)(error)),
            },
        }
        if !self.committed {
            self.remove();
        }
        self.dir.sync()
    }

    fn rename(&mut self, path: &Path) -> Result<(), FileError> {
        renameat(self.dir.fd(), &self.temporary, self.dir.fd(), &self.name)
            .map_err(io("put the new file at", path))?;
        self.committed = true;
        Ok(())
    }

    fn remove(&mut self) {
        self.committed = true;
        // What cannot be removed is for its owner alone; the error that led here matters more.
        let _ = unlinkat(self.dir.fd(), &self.temporary, AtFlags::empty());
    }
}

/// Whether the file system may have no links, as FAT and many that are not in the kernel (link(2): `EPERM`).
fn has_no_links(error: Errno) -> bool {
    [Errno::PERM, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&error)
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use mandate_core::SystemEntropy;
    use rustix::io::Errno;

    use super::Replace;
    use crate::dir::Dir;
    use crate::error::FileError;

    #[test]
    fn on_a_file_system_without_links_a_file_gets_its_name_too_and_replaces_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        let dir = Dir::open(&path).unwrap();
        let new = |text: &str| {
            let mut new = dir.start("name", 0o640, &SystemEntropy).unwrap();
            new.file().write_all(text.as_bytes()).unwrap();
            new
        };
        for error in [Errno::PERM, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP] {
            new("first").commit_by(Replace::Never, |_, _, _| Err(error)).unwrap();
            let second = new("second").commit_by(Replace::Never, |_, _, _| Err(error));
            assert!(matches!(second, Err(FileError::Exists { .. })), "{second:?}");
            assert_eq!(
                (
                    fs::read_to_string(path.join("name")).unwrap().as_str(),
                    fs::read_dir(&path).unwrap().count()
                ),
                ("first", 1)
            );
            fs::remove_file(path.join("name")).unwrap();
        }
        assert!(matches!(
            new("").commit_by(Replace::Never, |_, _, _| Err(Errno::ACCESS)),
            Err(FileError::Io { .. })
        ));
        assert_eq!(
            fs::read_dir(&path).unwrap().count(),
            0,
            "other errors are errors, and leave nothing behind"
        );
    }
}
