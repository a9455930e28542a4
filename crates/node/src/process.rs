//! A local process, distinguished from a later process with the same number.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

/// Why a process cannot be attested. All of these are refusals: a process that no longer exists is entitled
/// to nothing. Only [`NotAttested::Unanswered`] may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum NotAttested {
    /// The kernel gave no process number, or 0: the caller is outside this node's process namespace.
    #[error("the calling process is not visible to this node: it runs outside the node's process namespace")]
    Invisible,
    /// The kernel has no number for its user in this node's user namespace, and shows the placeholder
    /// `overflowuid`.
    #[error(
        "the calling process runs as a user that this node cannot tell apart: the kernel's placeholder (65534, nobody) stands for every user without a number in the node's user namespace; run the node outside of it, and give each agent a user of its own"
    )]
    Unmapped,
    /// It exists, but this node may not inspect it: `/proc` is mounted with `hidepid`, or the node's unit
    /// sets `ProtectProc`.
    #[error(
        "this node may not look at the calling process in /proc; mount it without hidepid, or run the node as root"
    )]
    Hidden,
    /// It runs as another user or group than when it connected.
    #[error("the calling process has changed its user or group since it connected; connect again")]
    OtherUser,
    #[error("the calling process has exited")]
    Exited,
    /// Another process has its number now.
    #[error("the calling process has exited and its number belongs to another process")]
    Reused,
    /// It runs another program than when it connected.
    #[error("the calling process has changed its program since it connected; connect again")]
    Replaced,
    /// Its program could not be looked at in time.
    #[error(
        "this node could not look at the calling process's program in time, mostly because its file system does not answer; try again"
    )]
    Unanswered,
}

/// When a process was started: clock ticks since boot, field 22 of `/proc/PID/stat` (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Born(u64);

/// The start time of a running process. A zombie counts as exited: it cannot use an answer.
pub(crate) fn born(pid: u32) -> Result<Born, NotAttested> {
    let stat = fs::read(format!("/proc/{pid}/stat")).map_err(|_| unreadable(pid))?;
    parse_stat(&stat).ok_or(NotAttested::Exited)
}

/// Why nothing is found about a process in `/proc`. Hidden processes look like exited ones, but their numbers
/// can be checked.
fn unreadable(pid: u32) -> NotAttested {
    let alive = i32::try_from(pid).ok().and_then(Pid::from_raw).map(test_kill_process);
    match alive {
        Some(Ok(()) | Err(rustix::io::Errno::PERM)) => NotAttested::Hidden,
        _ => NotAttested::Exited,
    }
}

/// The effective user and group of a process as it is now.
pub(crate) fn effective_ids(pid: u32) -> Result<(u32, u32), NotAttested> {
    let status = fs::read(format!("/proc/{pid}/status")).map_err(|_| unreadable(pid))?;
    parse_status(&status).ok_or(NotAttested::Exited)
}

fn parse_status(status: &[u8]) -> Option<(u32, u32)> {
    // Only the first line, the program's name, is chosen by the process, and the kernel escapes line breaks
    // in it. The second number of each line is the effective one (proc(5)).
    let effective = |name: &[u8]| {
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some((effective(b"Uid:")?, effective(b"Gid:")?))
}

fn parse_stat(stat: &[u8]) -> Option<Born> {
    // The second field is the program's name in parentheses, which the process chooses: it may hold spaces
    // and parentheses itself, so the fields are counted from the last one.
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after..)?).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok().map(Born)
}

/// A process, held so that its end is noticed even if its number is given to another at once.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    born: Born,
    // The start time has a resolution of 10 ms. A process descriptor has no such gap: it always names the
    // same process.
    descriptor: Option<OwnedFd>,
}

impl Process {
    /// The live process with this number.
    pub(crate) fn open(pid: u32) -> Result<Self, NotAttested> {
        let born = born(pid)?;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(NotAttested::Invisible)?;
        let descriptor = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(descriptor) => Some(descriptor),
            Err(rustix::io::Errno::SRCH) => return Err(NotAttested::Exited),
            // Kernels before 5.3 and some sandboxes have none; the start time is checked in any case.
            Err(_) => None,
        };
        let process = Self { pid, born, descriptor };
        process.check()?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started.
    pub(crate) fn born(&self) -> Born {
        self.born
    }

    /// Refuses unless it is still alive and still the same.
    pub(crate) fn check(&self) -> Result<(), NotAttested> {
        if self.descriptor.as_ref().is_some_and(exited) {
            return Err(NotAttested::Exited);
        }
        check(self.pid, self.born)
    }
}

/// Refuses unless process `pid` is alive and was started at `born`.
pub(crate) fn check(pid: u32, expected: Born) -> Result<(), NotAttested> {
    if born(pid)? == expected { Ok(()) } else { Err(NotAttested::Reused) }
}

/// A process descriptor becomes readable when its process exits (`pidfd_open(2)`).
fn exited(descriptor: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(descriptor, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut fds, Some(&at_once)), Ok(0) | Err(rustix::io::Errno::INTR))
}

/// Raises this process's limit on open files as far as possible, and returns the limit that is then in force.
pub(crate) fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
    // If there is no limit, the answer is the largest number.
    getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        Born, NotAttested, Process, born, check, effective_ids, parse_stat, parse_status, unreadable,
    };
    use std::process::Command;

    #[test]
    fn the_start_time_is_found_behind_a_hostile_program_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20 21";
        for name in ["sleep", "a b", "x) R 1 1", ")) (", ""] {
            assert_eq!(parse_stat(format!("77 ({name}) {tail}").as_bytes()), Some(Born(424_242)), "{name:?}");
        }
        assert_eq!(
            parse_stat(format!("77 (sleep) {}", tail.replacen('S', "Z", 1)).as_bytes()),
            None,
            "a zombie is gone"
        );
        for text in ["", "77", "77 (sleep)", "77 (sleep) S 1 2"] {
            assert_eq!(parse_stat(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_child_is_the_same_until_it_exits() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert_eq!(process.check(), Ok(()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process.check(), Err(NotAttested::Exited));
        assert_eq!(Process::open(child.id()).unwrap_err(), NotAttested::Exited);
    }

    #[test]
    fn a_zombie_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        child.kill().unwrap();
        // Not yet waited for: its number and its /proc entry remain. The descriptor tells when it has exited.
        while process.check().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(process.check(), Err(NotAttested::Exited));
        child.wait().unwrap();
    }

    #[test]
    fn a_reused_number_is_noticed_by_its_start_time() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let Born(ticks) = born(child.id()).unwrap();
        assert_eq!(check(child.id(), Born(ticks)), Ok(()));
        assert_eq!(check(child.id(), Born(ticks - 1)), Err(NotAttested::Reused));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_is_not_called_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(unreadable(child.id()), NotAttested::Hidden);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(unreadable(child.id()), NotAttested::Exited);
    }

    #[test]
    fn user_and_group_are_the_effective_ones() {
        let status =
            b"Name:\tx\\nUid:\t9\t9\t9\t9\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t1\n";
        assert_eq!(parse_status(status), Some((2, 6)));
        assert_eq!(parse_status(b"Name:\tx\nUid:\t1\n"), None);
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        assert_eq!(effective_ids(std::process::id()), Ok(me));
    }

    #[test]
    fn no_process_has_number_zero() {
        assert!(Process::open(0).is_err());
        assert!(Process::open(u32::MAX).is_err());
    }
}
