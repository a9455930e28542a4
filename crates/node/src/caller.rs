//! The process at the other end of a connection: what the kernel says about it, never what the caller says.

use std::sync::Arc;

use mandate_core::Selector;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::looks::Looks;
use crate::namespace::Overflow;
use crate::process::{self, Born, NotAttested, Process};
use crate::program::{self, FileId};

/// The file that a process ran at one moment. `None`: this node may not inspect it.
type Program = Option<FileId>;

/// The process that opened a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    process: Arc<Process>,
    uid: u32,
    /// `None`: it has none in this node's user namespace.
    gid: Option<u32>,
    /// The program with which it connected. `None` until that is known.
    program: watch::Receiver<Option<Result<Program, NotAttested>>>,
    looks: Looks,
}

/// A caller that attestors look at. It was alive, the same, and running the program with which it connected
/// when this was made. Their selectors count only if [`InspectedCaller::finish`] finds that all of this is
/// still true.
pub(crate) struct InspectedCaller<'a> {
    caller: &'a Caller,
    program: Program,
    path: Option<Box<str>>,
}

/// A process and what it has shown, with enough to find out later whether it is still the same process. Only
/// [`InspectedCaller::finish`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct AttestedProcess {
    selectors: Vec<Selector>,
    pid: u32,
    uid: u32,
    born: Born,
    program: Program,
    looks: Looks,
}

impl Caller {
    /// Takes the credentials that the kernel recorded when the connection was made (`SO_PEERCRED`, unix(7)).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn of(stream: &UnixStream, looks: &Looks) -> Result<Self, NotAttested> {
        let credentials = stream.peer_cred().map_err(|_| NotAttested::Invisible)?;
        let pid = credentials
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0)
            .ok_or(NotAttested::Invisible)?;
        Self::new(pid, credentials.uid(), credentials.gid(), Overflow::read(), looks)
    }

    /// Refuses a process that runs as another user or group than the one that connected: it has executed a
    /// set-user-ID program meanwhile, or it is another process with the same number. Refuses a user who has
    /// no number here. A group without a number is only not attested, because many system users have
    /// `nogroup`.
    ///
    /// Begins to look at its program, and does not wait for that: the next connection must not wait for the
    /// file system of this one's program.
    pub(crate) fn new(
        pid: u32,
        uid: u32,
        gid: u32,
        overflow: Overflow,
        looks: &Looks,
    ) -> Result<Self, NotAttested> {
        if !overflow.names_user(uid) {
            return Err(NotAttested::Unmapped);
        }
        let process = Arc::new(Process::open(pid)?);
        check_ids(&process, (uid, gid))?;
        let (looked, program) = watch::channel(None);
        let first_look = {
            let (looks, process) = (looks.clone(), Arc::clone(&process));
            async move {
                let look = move || {
                    let program = program::file_of(pid);
                    // It may have executed a set-user-ID program before the look.
                    check_ids(&process, (uid, gid)).map(|()| program)
                };
                tokio::select! {
                    found = looks.patient_look(uid, look) => {
                        looked.send_replace(Some(found.flatten()));
                    }
                    () = looked.closed() => {}
                }
            }
        };
        tokio::spawn(first_look);
        let gid = overflow.names_group(gid).then_some(gid);
        Ok(Self { process, uid, gid, program, looks: looks.clone() })
    }

    /// Its process number, for the log.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// The places for looks at files on this caller's behalf.
    pub(crate) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Refuses unless the process is alive, the same, and running the program with which it connected.
    ///
    /// The last check matters because a connection outlives `execve`: a process could connect, leave the
    /// connection to a child, and then execute a program that is entitled to more.
    pub(crate) async fn check(&self) -> Result<(), NotAttested> {
        self.look(|process, program| still_runs(process, program).map(drop)).await
    }

    /// Looks at the process, given the program with which it connected.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Process, Program) -> Result<T, NotAttested> + Send + 'static,
    ) -> Result<T, NotAttested> {
        // A process that has exited is refused as such, whatever becomes of the look at its program.
        self.process.check()?;
        let mut first_look = self.program.clone();
        let first_look = self.looks.in_time(first_look.wait_for(Option::is_some)).await?;
        // The sender goes without an answer only when the runtime ends.
        let program = first_look.ok().and_then(|found| *found).unwrap_or(Err(NotAttested::Unanswered))?;
        let process = Arc::clone(&self.process);
        self.looks.look(self.uid, move || look(&process, program)).await?
    }

    /// Begins to look at the process, if [`Caller::check`] does not refuse it.
    pub(crate) async fn inspect(&self) -> Result<InspectedCaller<'_>, NotAttested> {
        let look = |process: &Process, program| {
            let program = still_runs(process, program)?;
            Ok((program, program.and_then(|file| program::path_of(process.pid(), &file))))
        };
        let (program, path) = self.look(look).await?;
        Ok(InspectedCaller { caller: self, program, path })
    }

    /// A child of this process, for tests.
    #[cfg(test)]
    pub(crate) fn of_child(child: &std::process::Child) -> Result<Self, NotAttested> {
        Self::of_child_with(child, &Looks::default())
    }

    /// The same, with these places for looks.
    #[cfg(test)]
    pub(crate) fn of_child_with(child: &std::process::Child, looks: &Looks) -> Result<Self, NotAttested> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self::new(child.id(), uid, gid, Overflow::read(), looks)
    }
}

/// Refuses a process that runs as another effective user or group than these.
fn check_ids(process: &Process, ids: (u32, u32)) -> Result<(), NotAttested> {
    if process::effective_ids(process.pid())? == ids {
        Ok(())
    } else {
        Err(process.check().err().unwrap_or(NotAttested::OtherUser))
    }
}

/// The program that the process runs, if that is still `program`. Blocks.
fn still_runs(process: &Process, program: Program) -> Result<Program, NotAttested> {
    process.check()?;
    let now = program::file_of(process.pid());
    // A process that has just exited has no program either.
    if is_same(now, program) { Ok(now) } else { process.check().and(Err(NotAttested::Replaced)) }
}

fn is_same(now: Program, then: Program) -> bool {
    match (now, then) {
        (Some(now), Some(then)) => now.is_same_program(&then),
        (now, then) => now.is_none() && then.is_none(),
    }
}

impl InspectedCaller<'_> {
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

    /// The path of that file, if this node finds it there ([`program::path_of`]).
    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The process with its selectors. They belong to this process only if it was the same one during the
    /// whole inspection.
    pub(crate) async fn finish(self, selectors: Vec<Selector>) -> Result<AttestedProcess, NotAttested> {
        self.caller.check().await?;
        Ok(AttestedProcess {
            selectors,
            pid: self.pid(),
            uid: self.uid(),
            looks: self.caller.looks.clone(),
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
    pub(crate) async fn check(&self) -> Result<(), NotAttested> {
        let Self { pid, born, program, .. } = *self;
        process::check(pid, born)?;
        let look = move || is_same(program::file_of(pid), program);
        if self.looks.look(self.uid, look).await? { Ok(()) } else { Err(NotAttested::Replaced) }
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
        let (born, program) = (process::born(pid).unwrap(), program::file_of(pid));
        Self { selectors, pid, uid, born, program, looks: Looks::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::Caller;
    use crate::looks::Looks;
    use crate::namespace::Overflow;
    use crate::process::NotAttested;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    fn me() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    fn ends(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_has_exited_is_refused_before_and_after() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let caller = Caller::of_child(&child).unwrap();
        let attested = caller.inspect().await.unwrap().finish(Vec::new()).await.unwrap();
        assert_eq!(attested.check().await, Ok(()));
        let begun = caller.inspect().await.unwrap();
        ends(child);
        assert_eq!(caller.check().await, Err(NotAttested::Exited));
        assert_eq!(attested.check().await, Err(NotAttested::Exited));
        assert_eq!(caller.inspect().await.err(), Some(NotAttested::Exited));
        assert_eq!(begun.finish(Vec::new()).await.unwrap_err(), NotAttested::Exited);
    }

    #[tokio::test]
    async fn a_process_of_another_user_or_group_than_the_one_that_connected_is_refused() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        for (uid, gid) in [(uid + 1, gid), (uid, gid + 1)] {
            assert_eq!(
                Caller::new(child.id(), uid, gid, Overflow::read(), &Looks::default()).unwrap_err(),
                NotAttested::OtherUser
            );
        }
        assert!(Caller::of_child(&child).is_ok());
        ends(child);
    }

    #[tokio::test]
    async fn a_user_without_a_number_here_is_refused() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        for overflow in [Overflow::of(uid, gid), Overflow::of(uid, 65_534)] {
            assert_eq!(
                Caller::new(child.id(), uid, gid, overflow, &Looks::default()).unwrap_err(),
                NotAttested::Unmapped
            );
        }
        ends(child);
    }

    #[tokio::test]
    async fn a_caller_that_becomes_another_program_is_refused() {
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
        let attested = caller.inspect().await.unwrap().finish(Vec::new()).await.unwrap();
        let begun = caller.inspect().await.unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        while caller.check().await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(caller.check().await, Err(NotAttested::Replaced));
        assert_eq!(attested.check().await, Err(NotAttested::Replaced));
        assert_eq!(
            begun.finish(Vec::new()).await.unwrap_err(),
            NotAttested::Replaced,
            "although it is the same process"
        );
        ends(child);
    }

    #[tokio::test]
    async fn a_look_that_hangs_holds_neither_the_node_nor_the_connection_for_good() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let looks = Looks::within(Duration::from_millis(100));
        let hangs = looks.hang(me().0).await;
        let caller = Caller::of_child_with(&child, &looks).unwrap();
        assert_eq!(caller.inspect().await.err(), Some(NotAttested::Unanswered));
        assert_eq!(caller.check().await, Err(NotAttested::Unanswered));
        drop(hangs);
        // The first look did not end with the first call that waited for it.
        while let Err(refused) = caller.check().await {
            assert_eq!(refused, NotAttested::Unanswered);
        }
        let attested = caller.inspect().await.unwrap().finish(Vec::new()).await.unwrap();
        let hangs = looks.hang(me().0).await;
        assert_eq!(attested.check().await, Err(NotAttested::Unanswered));
        ends(child);
        assert_eq!(attested.check().await, Err(NotAttested::Exited), "which takes no look at the program");
        assert_eq!(caller.check().await, Err(NotAttested::Exited));
        drop(hangs);
    }
}
