//! The program that a process runs: its path, and the digest of its file.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::{Mutex, Semaphore};

use crate::hex;

/// How many digests are remembered.
const REMEMBERED: usize = 256;

/// How many files are read at a time.
const READERS: usize = 2;

/// A larger program is not read; its digest stays unknown.
const LARGEST: u64 = 1 << 30;

/// A file in one state: any write to it changes at least `ctime`, which a program cannot set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_same_file(&self, other: &Metadata) -> bool {
        self.device == other.dev() && self.inode == other.ino()
    }

    /// Whether both are one file, in whatever state. Upgrading a package unlinks the file that runs, which changes its
    /// `ctime` but not what the process runs: a running file cannot be written to.
    pub(crate) fn is_same_program(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

/// The file that process `pid` runs. `None` where this node may not look at it, which for a node without privileges is
/// every process of another user.
pub(crate) fn file_of(pid: u32) -> Option<FileId> {
    // `/proc/PID/exe` leads to the file itself, whatever has been put in its place since.
    fs::metadata(format!("/proc/{pid}/exe")).ok().map(|metadata| FileId::of(&metadata))
}

/// The path of the program `file` that process `pid` runs, if this node finds the same file at that path.
///
/// The kernel reports the path as the process sees it. Any user can make a mount namespace in which `/usr/bin/agent` is a
/// file of their own, so the name alone proves nothing.
pub(crate) fn path_of(pid: u32, file: &FileId) -> Option<Box<str>> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = path.to_str()?;
    let here = fs::symlink_metadata(&path).ok()?;
    (text.starts_with('/') && file.is_same_file(&here)).then(|| text.into())
}

/// Digests of program files, remembered by the file's identity and state. Bounded.
#[derive(Clone)]
pub(crate) struct Digests {
    known: Arc<Mutex<HashMap<FileId, [u8; 32]>>>,
    readers: Arc<Semaphore>,
}

impl Default for Digests {
    fn default() -> Self {
        Self { known: Arc::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }
}

impl Digests {
    /// The SHA-256 of the file that process `pid` runs, if it still is `file` and can be read.
    pub(crate) async fn of(&self, pid: u32, file: FileId) -> Option<[u8; 32]> {
        if let Some(known) = self.known.lock().await.get(&file) {
            return Some(*known);
        }
        let _turn = self.readers.acquire().await.ok()?;
        // Another caller may have read the same file meanwhile.
        if let Some(known) = self.known.lock().await.get(&file) {
            return Some(*known);
        }
        let read = tokio::task::spawn_blocking(move || digest(pid, file)).await.ok()?;
        match read {
            Ok(digest) => {
                let mut known = self.known.lock().await;
                if known.len() >= REMEMBERED {
                    // Which one goes hardly matters: a machine runs few programs, and reading one again is cheap.
                    if let Some(any) = known.keys().next().copied() {
                        known.remove(&any);
                    }
                }
                known.insert(file, digest);
                Some(digest)
            }
            Err(error) => {
                tracing::debug!(pid, %error, "the program's file cannot be read");
                None
            }
        }
    }
}

fn digest(pid: u32, expected: FileId) -> io::Result<[u8; 32]> {
    let changed = || io::Error::other("the program changed while it was read");
    if expected.size > LARGEST {
        return Err(io::Error::other("the program is larger than 1 GiB"));
    }
    let mut file = File::open(format!("/proc/{pid}/exe"))?;
    if FileId::of(&file.metadata()?) != expected {
        return Err(changed());
    }
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => break,
            Some(bytes) => context.update(bytes),
        }
    }
    if FileId::of(&file.metadata()?) != expected {
        return Err(changed());
    }
    Ok(hex::from_digest(&context.finish()))
}

#[cfg(test)]
mod tests {
    use super::{Digests, REMEMBERED, file_of, path_of};
    use std::fs;
    use std::process::{Child, Command};

    struct Running(Child);

    impl Running {
        fn start(program: &std::path::Path) -> Self {
            loop {
                match Command::new(program).arg("60").spawn() {
                    Ok(child) => return Self(child),
                    // A child that another test starts meanwhile holds our writing descriptor until its own `execve`.
                    Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A copy of `sleep` under a name of our own.
    fn copy_of_sleep(dir: &std::path::Path, name: &str) -> std::path::PathBuf {
        let program = dir.join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        program
    }

    #[tokio::test]
    async fn path_and_digest_are_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let program = copy_of_sleep(dir.path(), "agent");
        let child = Running::start(&program);
        let file = file_of(child.0.id()).unwrap();
        assert_eq!(path_of(child.0.id(), &file).as_deref(), fs::canonicalize(&program).unwrap().to_str());
        let digest = Digests::default().of(child.0.id(), file).await;
        assert_eq!(digest, Some(crate::hex::sha256(&fs::read(&program).unwrap())));
    }

    #[tokio::test]
    async fn a_program_replaced_on_disk_keeps_its_digest_and_loses_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let program = copy_of_sleep(dir.path(), "agent");
        let before = fs::read(&program).unwrap();
        let child = Running::start(&program);
        fs::remove_file(&program).unwrap();
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let file = file_of(child.0.id()).unwrap();
        assert_eq!(path_of(child.0.id(), &file), None, "the file at that path is another one");
        assert_eq!(Digests::default().of(child.0.id(), file).await, Some(crate::hex::sha256(&before)));
    }

    #[tokio::test]
    async fn another_file_is_not_read_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let child = Running::start(&copy_of_sleep(dir.path(), "agent"));
        let other = Running::start(&copy_of_sleep(dir.path(), "other"));
        assert_eq!(Digests::default().of(child.0.id(), file_of(other.0.id()).unwrap()).await, None);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let digests = Digests::default();
        let dir = tempfile::tempdir().unwrap();
        let child = Running::start(&copy_of_sleep(dir.path(), "agent"));
        let file = file_of(child.0.id()).unwrap();
        for size in 0..REMEMBERED as u64 {
            digests.known.lock().await.insert(super::FileId { size, ..file }, [0; 32]);
        }
        assert!(digests.of(child.0.id(), file).await.is_some());
        assert_eq!(digests.known.lock().await.len(), REMEMBERED);
    }

    #[test]
    fn a_process_that_is_gone_has_no_program() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(file_of(child.id()), None);
    }
}
