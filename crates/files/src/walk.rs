//! The way from the root to a directory, one step at a time. Each step is checked.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{FileError, io};
use crate::judge;
use crate::namespace::own_user;

/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;

/// Enough rights to walk further from a directory, without the right to list it where the system
/// distinguishes these.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PASS: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PASS: OFlags = OFlags::RDONLY;

/// What must be at the end of the way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    Directory,
    /// A directory, made if it is missing, and those above it with this mode.
    Made {
        /// The mode of missing directories above.
        above: u32,
        /// The mode of the directory itself.
        mode: u32,
    },
    /// Anything else, or nothing: the way ends at the directory that holds it.
    Entry,
}

/// The end of the way.
#[derive(Debug)]
pub(crate) struct Walked {
    /// The directory: further steps begin there.
    pub(crate) dir: OwnedFd,
    /// Its path without links.
    pub(crate) real: PathBuf,
    /// The entry's name, for [`Goal::Entry`].
    pub(crate) name: Option<OsString>,
    /// Whether the last directory was made just now.
    pub(crate) made: bool,
    /// Whether others can pass through each directory, so that only the modes of files decide what they can
    /// read.
    pub(crate) passable: bool,
}

struct Way {
    at: OwnedFd,
    real: PathBuf,
    us: Option<u32>,
    links: u32,
    made: bool,
    /// The directories that others may not pass, of those that `real` names.
    closed: Vec<PathBuf>,
}

impl Way {
    fn root(us: Option<u32>) -> Result<Self, FileError> {
        let real = PathBuf::from("/");
        let at = openat(CWD, "/", PASS | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io("open", &real))?;
        let mut way = Self { at, real, us, links: 0, made: false, closed: Vec::new() };
        way.judge(false)?;
        Ok(way)
    }

    /// Checks the directory that was reached. The caller checks who may write to the goal.
    fn judge(&mut self, is_goal: bool) -> Result<(), FileError> {
        let stat = fstat(&self.at).map_err(io("look at", &self.real))?;
        if is_goal {
            judge::owner(&stat, &self.real, self.us)?;
        } else {
            judge::passed(&stat, &self.real, self.us)?;
        }
        if judge::mode(&stat) & 0o011 == 0 {
            self.closed.push(self.real.clone());
        }
        Ok(())
    }

    fn up(&mut self) -> Result<(), FileError> {
        self.at = openat(&self.at, "..", PASS | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io("open", &self.real))?;
        self.closed.retain(|closed| *closed != self.real);
        self.real.pop();
        Ok(())
    }

    fn down(&mut self, name: &OsStr, is_goal: bool) -> Result<(), FileError> {
        let there = self.real.join(name);
        let flags = PASS | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.at = openat(&self.at, name, flags, Mode::empty()).map_err(io("open", &there))?;
        self.real = there;
        self.made = false;
        self.judge(is_goal)
    }

    /// Where a link points. It is followed only if no other user could have made it.
    fn link(&mut self, name: &OsStr, owner: &rustix::fs::Stat) -> Result<PathBuf, FileError> {
        let there = self.real.join(name);
        judge::owner(owner, &there, self.us)?;
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(io("follow", &there)(Errno::LOOP));
        }
        let target = readlinkat(&self.at, name, Vec::new()).map_err(io("follow", &there))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }
}

fn steps(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

/// Walks to `path`, from the working directory's own path if it is relative.
pub(crate) fn walk(path: &Path, goal: Goal) -> Result<Walked, FileError> {
    walk_as(path, goal, own_user())
}

fn walk_as(path: &Path, goal: Goal, us: Option<u32>) -> Result<Walked, FileError> {
    let whole = std::path::absolute(path).map_err(io("find", path))?;
    let mut way = Way::root(us)?;
    let mut left: VecDeque<OsString> = steps(&whole).collect();
    while let Some(name) = left.pop_front() {
        if name == ".." {
            way.up()?;
            continue;
        }
        let there = way.real.join(&name);
        let is_last = left.is_empty();
        let ends_here = |way: Way, name| Ok(walked(way, Some(name)));
        let stat = match statat(&way.at, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => match goal {
                Goal::Entry if is_last => return ends_here(way, name),
                Goal::Made { above, mode } => {
                    make(&way, &name, &there, if is_last { mode } else { above })?;
                    way.down(&name, is_last)?;
                    way.made = true;
                    continue;
                }
                Goal::Directory | Goal::Entry => return Err(io("find", &there)(Errno::NOENT)),
            },
            Err(error) => return Err(io("look at", &there)(error)),
        };
        match judge::kind(&stat) {
            FileType::Symlink => {
                let target = way.link(&name, &stat)?;
                for step in steps(&target).rev() {
                    left.push_front(step);
                }
                if target.is_absolute() {
                    let (links, root) = (way.links, Way::root(us)?);
                    way = Way { links, ..root };
                }
            }
            FileType::Directory => way.down(&name, is_last && !matches!(goal, Goal::Entry))?,
            _ if is_last && matches!(goal, Goal::Entry) => return ends_here(way, name),
            _ => return Err(FileError::Kind { path: there, wanted: "directory" }),
        }
    }
    match goal {
        // A directory where a file is meant.
        Goal::Entry => Err(FileError::Kind { path: way.real, wanted: "regular file" }),
        Goal::Directory | Goal::Made { .. } => Ok(walked(way, None)),
    }
}

fn walked(way: Way, name: Option<OsString>) -> Walked {
    Walked { dir: way.at, real: way.real, name, made: way.made, passable: way.closed.is_empty() }
}

fn make(way: &Way, name: &OsStr, there: &Path, mode: u32) -> Result<(), FileError> {
    match mkdirat(&way.at, name, permissions(mode)) {
        // Another process has made it meanwhile. The next step checks its owner.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(io("make", there)(error)),
    }
}

/// Permission bits as system calls take them.
pub(crate) fn permissions(mode: u32) -> Mode {
    // The type of a mode differs between systems; the permission bits fit in each.
    Mode::from_bits_truncate((mode & 0o7777) as rustix::fs::RawMode)
}

#[cfg(test)]
mod tests;
