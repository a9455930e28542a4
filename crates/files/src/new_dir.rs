//! A directory that gets its name once everything in it is complete.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use mandate_core::Entropy;
use rustix::fs::{AtFlags, RenameFlags, mkdirat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::{FileError, io};
use crate::walk::permissions;

/// A directory for this user alone (mode 0700), under a name that nobody can know in advance. It is removed
/// with everything in it unless it is committed. It contains only files.
#[derive(Debug)]
pub struct NewDir {
    /// The directory that it is in.
    above: Dir,
    temporary: OsString,
    dir: Dir,
    goal: Goal,
    committed: bool,
}

#[derive(Debug)]
enum Goal {
    /// It gets this name in the directory where it is now.
    Name(OsString),
    /// Its files move into the directory that holds it, which was empty.
    Above,
}

impl NewDir {
    /// Begins the directory that will be `path`. Only an empty directory may exist there.
    pub fn start(path: &Path, entropy: &dyn Entropy) -> Result<Self, FileError> {
        match Dir::open(path) {
            Ok(there) if there.names()?.is_empty() => Self::make(there, Goal::Above, entropy),
            Ok(there) => Err(FileError::NotEmpty { path: there.path().to_owned() }),
            Err(error) if error.is_not_found() => {
                let parent =
                    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let name = path
                    .file_name()
                    .ok_or_else(|| FileError::Kind { path: path.to_owned(), wanted: "directory" })?;
                Self::make(Dir::shared(parent)?, Goal::Name(name.to_owned()), entropy)
            }
            Err(error) => Err(error),
        }
    }

    fn make(above: Dir, goal: Goal, entropy: &dyn Entropy) -> Result<Self, FileError> {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let temporary = OsString::from(format!(".new.{:016x}", u64::from_le_bytes(random)));
        let path = above.entry(&temporary);
        mkdirat(above.fd(), &temporary, permissions(0o700)).map_err(io("make", &path))?;
        match Dir::open(&path) {
            Ok(dir) => Ok(Self { above, temporary, dir, goal, committed: false }),
            Err(error) => {
                // Empty, and of our own making.
                let _ = unlinkat(above.fd(), &temporary, AtFlags::REMOVEDIR);
                Err(error)
            }
        }
    }

    /// Where the files go.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Gives the directory its name, and makes that durable. Nothing that was created there meanwhile is
    /// replaced, except an empty directory on a file system that cannot rename without replacing. If an empty
    /// directory was there from the start, the files move into it, with `last_ones` at the end and in that
    /// order.
    pub fn commit(self, last_ones: &[&str]) -> Result<(), FileError> {
        self.commit_by(last_ones, |above, from, to| {
            renameat_with(above.fd(), from, above.fd(), to, RenameFlags::NOREPLACE)
        })
    }

    /// The same, with this way to give an entry of a directory another name if there is nothing of that name.
    fn commit_by(
        mut self,
        last_ones: &[&str],
        rename_to_nothing: impl FnOnce(&Dir, &OsStr, &OsStr) -> Result<(), Errno>,
    ) -> Result<(), FileError> {
        self.dir.sync()?;
        match &self.goal {
            Goal::Name(name) => {
                let path = self.above.entry(name);
                let renamed = match rename_to_nothing(&self.above, &self.temporary, name) {
                    // A directory replaces only an empty directory (rename(2)).
                    Err(error) if is_unsupported(error) => {
                        renameat(self.above.fd(), &self.temporary, self.above.fd(), name)
                    }
                    renamed => renamed,
                };
                renamed.map_err(|error| match error {
                    Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR => FileError::Exists { path },
                    error => io("put the new directory at", &path)(error),
                })?;
            }
            Goal::Above => {
                if self.above.names()?.iter().any(|name| *name != self.temporary) {
                    return Err(FileError::NotEmpty { path: self.above.path().to_owned() });
                }
                let is_late = |name: &OsString| {
                    last_ones.iter().position(|late| name.as_os_str() == *late).map_or(0, |at| at + 1)
                };
                let mut names = self.dir.names()?;
                names.sort_by_key(is_late);
                for name in names {
                    renameat(self.dir.fd(), &name, self.above.fd(), &name)
                        .map_err(io("rename", &self.dir.entry(&name)))?;
                }
                unlinkat(self.above.fd(), &self.temporary, AtFlags::REMOVEDIR)
                    .map_err(io("remove", &self.above.entry(&self.temporary)))?;
            }
        }
        self.committed = true;
        self.above.sync()
    }
}

/// Whether a system call failed because this file system has no such operation, as NFS and ZFS before 2.2
/// have no `RENAME_NOREPLACE`, or because this kernel has no such call.
fn is_unsupported(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&error)
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // What cannot be removed is for its owner alone; the error that led here matters more.
        for name in self.dir.names().unwrap_or_default() {
            let _ = unlinkat(self.dir.fd(), &name, AtFlags::empty());
        }
        let _ = unlinkat(self.above.fd(), &self.temporary, AtFlags::REMOVEDIR);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use mandate_core::SystemEntropy;
    use rustix::io::Errno;

    use super::NewDir;
    use crate::FileError;

    fn names(path: &std::path::Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|each| each.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_has_its_name_only_once_it_is_whole_and_goes_away_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        for there in [false, true] {
            if there {
                fs::remove_dir_all(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
            let dropped = NewDir::start(&path, &SystemEntropy).unwrap();
            dropped.dir().create("a", 0o600).unwrap();
            assert!(!path.join("a").exists());
            drop(dropped);
            assert_eq!(names(root.path()), if there { vec!["data"] } else { vec![] });
            let kept = NewDir::start(&path, &SystemEntropy).unwrap();
            kept.dir().create("a", 0o600).unwrap();
            kept.dir().create("b", 0o600).unwrap();
            kept.commit(&["a"]).unwrap();
            assert_eq!(
                (names(root.path()), names(&path)),
                (vec!["data".to_owned()], vec!["a".to_owned(), "b".to_owned()])
            );
            if !there {
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
            }
        }
    }

    #[test]
    fn on_a_file_system_that_cannot_rename_without_replacing_it_gets_its_name_too() {
        for error in [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("data");
            let new = || {
                let new = NewDir::start(&path, &SystemEntropy).unwrap();
                new.dir().create("a", 0o600).unwrap();
                new
            };
            let (first, second, third) = (new(), new(), new());
            first.commit_by(&[], |_, _, _| Err(error)).unwrap();
            assert!(
                matches!(second.commit_by(&[], |_, _, _| Err(error)), Err(FileError::Exists { .. })),
                "it is not empty"
            );
            assert_eq!(
                (names(root.path()).len(), names(&path)),
                (2, vec!["a".to_owned()]),
                "and a third one is not done yet"
            );
            fs::remove_dir_all(&path).unwrap();
            fs::write(&path, "a file").unwrap();
            assert!(matches!(third.commit_by(&[], |_, _, _| Err(error)), Err(FileError::Exists { .. })));
            assert_eq!(
                (names(root.path()), fs::read_to_string(&path).unwrap()),
                (vec!["data".to_owned()], "a file".to_owned())
            );
        }
        let root = tempfile::tempdir().unwrap();
        let new = NewDir::start(&root.path().join("data"), &SystemEntropy).unwrap();
        assert!(
            matches!(new.commit_by(&[], |_, _, _| Err(Errno::ACCESS)), Err(FileError::Io { .. })),
            "other errors are errors"
        );
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn what_is_there_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let new = NewDir::start(&path, &SystemEntropy).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(new.commit(&[]), Err(FileError::Exists { .. })));
        let new = NewDir::start(&path, &SystemEntropy).unwrap();
        fs::write(path.join("came"), "").unwrap();
        assert!(matches!(new.commit(&[]), Err(FileError::NotEmpty { .. })));
        assert!(matches!(NewDir::start(&path, &SystemEntropy), Err(FileError::NotEmpty { .. })));
        assert_eq!(names(&path), ["came"]);
        assert!(NewDir::start(&path.join("came"), &SystemEntropy).is_err());
    }
}
