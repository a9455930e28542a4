//! The process at the other end of a connection: what the kernel says about it, never what the caller says.

use mandate_core::{Selector, UnixSelector};
use tokio::net::UnixStream;

use crate::entitlement::Entitlements;
use crate::namespace::Overflow;
use crate::process::{self, Born, Gone, Process};
use crate::program::{self, Digests, FileId};

/// The process that opened a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    process: Process,
    uid: u32,
    /// `None`: it has none in this node's user namespace.
    gid: Option<u32>,
    program: Option<FileId>,
}

/// What was found about a caller, and enough to find out later whether it is still the same process.
#[derive(Clone, Debug)]
pub(crate) struct Attested {
    /// Its selectors, each once.
    pub(crate) selectors: Vec<Selector>,
    pid: u32,
    born: Born,
    program: Option<FileId>,
}

impl Caller {
    /// Takes the credentials that the kernel recorded when the connection was made (`SO_PEERCRED`, unix(7)).
    pub(crate) fn of(stream: &UnixStream) -> Result<Self, Gone> {
        let credentials = stream.peer_cred().map_err(|_| Gone::Invisible)?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0).ok_or(Gone::Invisible)?;
        Self::new(pid, credentials.uid(), credentials.gid(), Overflow::read())
    }

    /// Refuses a process that runs as another user or group than the one that connected: it has executed a set-user-ID program
    /// meanwhile, or it is another process with the same number. Refuses a user who has no number here. A group without a number
    /// is only not attested, because many system users have `nogroup`.
    fn new(pid: u32, uid: u32, gid: u32, overflow: Overflow) -> Result<Self, Gone> {
        if !overflow.names_user(uid) {
            return Err(Gone::Unmapped);
        }
        let process = Process::open(pid)?;
        if process::effective_ids(pid)? != (uid, gid) {
            return Err(process.check().err().unwrap_or(Gone::OtherUser));
        }
        let gid = overflow.names_group(gid).then_some(gid);
        Ok(Self { process, uid, gid, program: program::file_of(pid) })
    }

    /// Its process number, for the log.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its user.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Refuses unless the process is alive, the same, and running the program with which it connected.
    ///
    /// The last check matters because a connection outlives `execve`: a process could connect, leave the connection to a child,
    /// and then execute a program that is entitled to more.
    pub(crate) fn check(&self) -> Result<(), Gone> {
        self.process.check()?;
        self.program_now().map(drop)
    }

    fn program_now(&self) -> Result<Option<FileId>, Gone> {
        let now = program::file_of(self.pid());
        // A process that has just exited has no program either.
        if is_same(now, self.program) { Ok(now) } else { self.process.check().and(Err(Gone::Replaced)) }
    }

    /// Inspects the process: which of the selectors in `entitlements` it shows now.
    pub(crate) async fn attest(&self, entitlements: &Entitlements, digests: &Digests) -> Result<Attested, Gone> {
        self.process.check()?;
        let program = self.program_now()?;
        let ids = std::iter::once(UnixSelector::Uid(self.uid)).chain(self.gid.map(UnixSelector::Gid));
        let selectors = ids.map(Selector::from).collect();
        let mut attested = Attested { selectors, pid: self.pid(), born: self.process.born(), program };
        if let Some(file) = program {
            let path = program::path_of(self.pid(), &file).and_then(|path| path.parse().ok());
            attested.selectors.extend(path.map(|path| UnixSelector::Path(path).into()));
            if entitlements.depend_on_digest(&attested.selectors) {
                let digest = digests.of(self.pid(), file).await;
                attested.selectors.extend(digest.map(|digest| UnixSelector::Sha256(Box::new(digest)).into()));
            }
        }
        // What was read belongs to this process only if it was the same one all along.
        self.check()?;
        Ok(attested)
    }
}

fn is_same(now: Option<FileId>, then: Option<FileId>) -> bool {
    match (now, then) {
        (Some(now), Some(then)) => now.is_same_program(&then),
        (now, then) => now.is_none() && then.is_none(),
    }
}

impl Attested {
    /// Refuses unless the process that was attested still runs the same program.
    pub(crate) fn check(&self) -> Result<(), Gone> {
        process::check(self.pid, self.born)?;
        if is_same(program::file_of(self.pid), self.program) { Ok(()) } else { Err(Gone::Replaced) }
    }

    /// This process itself, for tests of what is kept along with an attestation.
    #[cfg(test)]
    pub(crate) fn of_this_process() -> Self {
        Self::of(std::process::id())
    }

    /// The process `pid`, for tests of what is kept along with an attestation.
    #[cfg(test)]
    pub(crate) fn of(pid: u32) -> Self {
        Self { selectors: vec![UnixSelector::Uid(1000).into()], pid, born: process::born(pid).unwrap(), program: program::file_of(pid) }
    }

    /// The selectors in their text form.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.selectors.iter().map(Selector::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Caller;
    use crate::entitlement::Entitlements;
    use crate::namespace::Overflow;
    use crate::process::Gone;
    use crate::program::Digests;
    use mandate_api::proto::node::Entry;
    use mandate_core::{Selector, UnixSelector};
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};
    use tokio::net::{UnixListener, UnixStream};

    fn wanting(selector: &str) -> Entitlements {
        let entry = Entry { spiffe_id: "spiffe://acme.example/agent/a".into(), selectors: vec![selector.into()], name: "a".into() };
        Entitlements::new(vec![entry], &"acme.example".parse().unwrap())
    }

    fn me() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    fn caller(child: &Child) -> Result<Caller, Gone> {
        Caller::new(child.id(), me().0, me().1, Overflow::read())
    }

    fn ends(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn the_kernel_says_who_connected() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let (_client, accepted) = tokio::join!(UnixStream::connect(dir.path().join("s")), listener.accept());
        let caller = Caller::of(&accepted.unwrap().0).unwrap();
        let me = rustix::process::getuid().as_raw();
        assert_eq!((caller.pid(), caller.uid()), (std::process::id(), me));
        let found = caller.attest(&wanting("unix:uid:1"), &Digests::default()).await.unwrap().texts();
        let exe = fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(
            found,
            [format!("unix:uid:{me}"), format!("unix:gid:{}", rustix::process::getgid().as_raw()), format!("unix:path:{}", exe.display())]
        );
    }

    #[tokio::test]
    async fn a_child_shows_user_group_path_and_digest() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let caller = caller(&child).unwrap();
        let path = fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
        let zeros = format!("unix:sha256:{}", "0".repeat(64));
        let found = caller.attest(&wanting(&zeros), &Digests::default()).await.unwrap().texts();
        let digest = Selector::from(UnixSelector::Sha256(Box::new(mandate_core::digest::sha256(&fs::read(&path).unwrap())))).to_string();
        assert_eq!(
            found,
            [format!("unix:uid:{}", me().0), format!("unix:gid:{}", me().1), format!("unix:path:{}", path.display()), digest]
        );
        ends(child);
    }

    #[tokio::test]
    async fn a_caller_that_has_exited_is_refused_before_and_after() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let caller = caller(&child).unwrap();
        let attested = caller.attest(&wanting("unix:uid:12"), &Digests::default()).await.unwrap();
        assert_eq!(attested.check(), Ok(()));
        ends(child);
        assert_eq!(caller.check(), Err(Gone::Exited));
        assert_eq!(attested.check(), Err(Gone::Exited));
        assert_eq!(caller.attest(&wanting("unix:uid:12"), &Digests::default()).await.unwrap_err(), Gone::Exited);
    }

    #[test]
    fn a_process_of_another_user_or_group_than_the_one_that_connected_is_refused() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        for (uid, gid) in [(uid + 1, gid), (uid, gid + 1)] {
            assert_eq!(Caller::new(child.id(), uid, gid, Overflow::read()).unwrap_err(), Gone::OtherUser);
        }
        assert!(caller(&child).is_ok());
        ends(child);
    }

    #[tokio::test]
    async fn a_user_without_a_number_here_is_refused_and_such_a_group_is_not_attested() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        let new = |overflow| Caller::new(child.id(), uid, gid, overflow);
        assert_eq!(new(Overflow::of(uid, gid)).unwrap_err(), Gone::Unmapped);
        assert_eq!(new(Overflow::of(uid, 65_534)).unwrap_err(), Gone::Unmapped);
        let found = new(Overflow::of(65_534, gid)).unwrap().attest(&wanting("unix:uid:1"), &Digests::default()).await.unwrap().texts();
        assert_eq!(found[0], format!("unix:uid:{uid}"));
        assert!(!found.iter().any(|selector| selector.starts_with("unix:gid:")), "{found:?}");
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
        let caller = caller(&child).unwrap();
        let attested = caller.attest(&wanting("unix:uid:12"), &Digests::default()).await.unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        while caller.check().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(caller.check(), Err(Gone::Replaced));
        assert_eq!(attested.check(), Err(Gone::Replaced));
        ends(child);
    }
}
