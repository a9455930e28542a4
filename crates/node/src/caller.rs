//! The process at the other end of a connection: what the kernel says about it, never what the caller says.

use mandate_core::Selector;
use tokio::net::UnixStream;

use crate::namespace::Overflow;
use crate::process::{self, Born, NotAttested, Process};
use crate::program::{self, FileId};

/// The process that opened a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    process: Process,
    uid: u32,
    /// `None`: it has none in this node's user namespace.
    gid: Option<u32>,
    program: Option<FileId>,
}

/// A caller that attestors look at. It was alive, the same, and running the program with which it connected
/// when this was made. Their selectors count only if [`Inspection::finish`] finds that all of this is still
/// true.
pub(crate) struct Inspection<'a> {
    caller: &'a Caller,
    program: Option<FileId>,
}

/// A process and what it has shown, with enough to find out later whether it is still the same process. Only
/// [`Inspection::finish`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct AttestedProcess {
    selectors: Vec<Selector>,
    pid: u32,
    born: Born,
    program: Option<FileId>,
}

impl Caller {
    /// Takes the credentials that the kernel recorded when the connection was made (`SO_PEERCRED`, unix(7)).
    pub(crate) fn of(stream: &UnixStream) -> Result<Self, NotAttested> {
        let credentials = stream.peer_cred().map_err(|_| NotAttested::Invisible)?;
        let pid = credentials
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0)
            .ok_or(NotAttested::Invisible)?;
        Self::new(pid, credentials.uid(), credentials.gid(), Overflow::read())
    }

    /// Refuses a process that runs as another user or group than the one that connected: it has executed a
    /// set-user-ID program meanwhile, or it is another process with the same number. Refuses a user who has
    /// no number here. A group without a number is only not attested, because many system users have
    /// `nogroup`.
    pub(crate) fn new(pid: u32, uid: u32, gid: u32, overflow: Overflow) -> Result<Self, NotAttested> {
        if !overflow.names_user(uid) {
            return Err(NotAttested::Unmapped);
        }
        let process = Process::open(pid)?;
        if process::effective_ids(pid)? != (uid, gid) {
            return Err(process.check().err().unwrap_or(NotAttested::OtherUser));
        }
        let gid = overflow.names_group(gid).then_some(gid);
        Ok(Self { process, uid, gid, program: program::file_of(pid) })
    }

    /// Its process number, for the log.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Refuses unless the process is alive, the same, and running the program with which it connected.
    ///
    /// The last check matters because a connection outlives `execve`: a process could connect, leave the
    /// connection to a child, and then execute a program that is entitled to more.
    pub(crate) fn check(&self) -> Result<(), NotAttested> {
        self.process.check()?;
        self.program_now().map(drop)
    }

    fn program_now(&self) -> Result<Option<FileId>, NotAttested> {
        let now = program::file_of(self.pid());
        // A process that has just exited has no program either.
        if is_same(now, self.program) {
            Ok(now)
        } else {
            self.process.check().and(Err(NotAttested::Replaced))
        }
    }

    /// Begins to look at the process, if [`Caller::check`] does not refuse it.
    pub(crate) fn inspect(&self) -> Result<Inspection<'_>, NotAttested> {
        self.process.check()?;
        Ok(Inspection { caller: self, program: self.program_now()? })
    }

    /// A child of this process, for tests.
    #[cfg(test)]
    pub(crate) fn of_child(child: &std::process::Child) -> Result<Self, NotAttested> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self::new(child.id(), uid, gid, Overflow::read())
    }
}

fn is_same(now: Option<FileId>, then: Option<FileId>) -> bool {
    match (now, then) {
        (Some(now), Some(then)) => now.is_same_program(&then),
        (now, then) => now.is_none() && then.is_none(),
    }
}

impl Inspection<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.caller.pid()
    }

    /// Its effective user when it connected.
    pub(crate) fn uid(&self) -> u32 {
        self.caller.uid
    }

    /// Its effective group when it connected. `None`: it has none in this node's user namespace.
    pub(crate) fn gid(&self) -> Option<u32> {
        self.caller.gid
    }

    /// The file that it runs. `None`: this node may not inspect it.
    pub(crate) fn program(&self) -> Option<FileId> {
        self.program
    }

    /// The process with its selectors. They belong to this process only if it was the same one during the
    /// whole inspection.
    pub(crate) fn finish(self, selectors: Vec<Selector>) -> Result<AttestedProcess, NotAttested> {
        self.caller.check()?;
        Ok(AttestedProcess {
            selectors,
            pid: self.pid(),
            born: self.caller.process.born(),
            program: self.program,
        })
    }
}

impl AttestedProcess {
    /// What it has shown, each selector once.
    pub(crate) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The same in text form.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.selectors.iter().map(Selector::to_string).collect()
    }

    /// Refuses unless the process that was attested still runs the same program.
    pub(crate) fn check(&self) -> Result<(), NotAttested> {
        process::check(self.pid, self.born)?;
        if is_same(program::file_of(self.pid), self.program) { Ok(()) } else { Err(NotAttested::Replaced) }
    }

    /// This process as one that shows this user, for tests of what is kept along with an attestation.
    #[cfg(test)]
    pub(crate) fn of_this_process(uid: u32) -> Self {
        Self::of(std::process::id(), uid)
    }

    /// The process `pid` as one that shows this user, for tests of what is kept along with an attestation.
    #[cfg(test)]
    pub(crate) fn of(pid: u32, uid: u32) -> Self {
        let selectors = vec![mandate_core::UnixSelector::Uid(uid).into()];
        Self { selectors, pid, born: process::born(pid).unwrap(), program: program::file_of(pid) }
    }
}

#[cfg(test)]
mod tests {
    use super::Caller;
    use crate::namespace::Overflow;
    use crate::process::NotAttested;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    fn me() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    fn ends(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_caller_that_has_exited_is_refused_before_and_after() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let caller = Caller::of_child(&child).unwrap();
        let attested = caller.inspect().unwrap().finish(Vec::new()).unwrap();
        assert_eq!(attested.check(), Ok(()));
        let begun = caller.inspect().unwrap();
        ends(child);
        assert_eq!(caller.check(), Err(NotAttested::Exited));
        assert_eq!(attested.check(), Err(NotAttested::Exited));
        assert_eq!(caller.inspect().err(), Some(NotAttested::Exited));
        assert_eq!(begun.finish(Vec::new()).unwrap_err(), NotAttested::Exited);
    }

    #[test]
    fn a_process_of_another_user_or_group_than_the_one_that_connected_is_refused() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        for (uid, gid) in [(uid + 1, gid), (uid, gid + 1)] {
            assert_eq!(
                Caller::new(child.id(), uid, gid, Overflow::read()).unwrap_err(),
                NotAttested::OtherUser
            );
        }
        assert!(Caller::of_child(&child).is_ok());
        ends(child);
    }

    #[test]
    fn a_user_without_a_number_here_is_refused() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        for overflow in [Overflow::of(uid, gid), Overflow::of(uid, 65_534)] {
            assert_eq!(Caller::new(child.id(), uid, gid, overflow).unwrap_err(), NotAttested::Unmapped);
        }
        ends(child);
    }

    #[test]
    fn a_caller_that_becomes_another_program_is_refused() {
        // A shell that waits for a line and then turns itself into `sleep`: same process, same start time.
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read line; exec sleep 60"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let caller = Caller::of_child(&child).unwrap();
        let attested = caller.inspect().unwrap().finish(Vec::new()).unwrap();
        let begun = caller.inspect().unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        while caller.check().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(caller.check(), Err(NotAttested::Replaced));
        assert_eq!(attested.check(), Err(NotAttested::Replaced));
        assert_eq!(
            begun.finish(Vec::new()).unwrap_err(),
            NotAttested::Replaced,
            "although it is the same process"
        );
        ends(child);
    }
}
