//! The program that a process runs: its path, and the digest of its file.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use mandate_core::digest::Sha256;
use mandate_single_flight::SingleFlight;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// How many digests are remembered.
const REMEMBERED: usize = 256;

/// How many files are read at a time.
const READERS: usize = 2;

/// A larger program is not read; its digest stays unknown, which is logged once.
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

    /// Whether both are the same file, in any state. The upgrade of a package unlinks the running file, which
    /// changes its `ctime` but not the program that the process runs: a running file cannot be written to.
    pub(crate) fn is_same_program(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

/// The file that process `pid` runs. `None` if this node may not inspect it. A node without privileges may
/// not inspect any process of another user. Blocks.
pub(crate) fn file_of(pid: u32) -> Option<FileId> {
    // `/proc/PID/exe` leads to the file itself, even if another file has replaced it since.
    fs::metadata(format!("/proc/{pid}/exe")).ok().map(|metadata| FileId::of(&metadata))
}

/// The path of the program `file` that process `pid` runs, if this node finds the same file at that path.
/// Blocks.
///
/// The kernel reports the path as the process sees it. Any user can make a mount namespace in which
/// `/usr/bin/agent` is their own file, so the name alone proves nothing.
pub(crate) fn path_of(pid: u32, file: &FileId) -> Option<Box<str>> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = path.to_str()?;
    let here = fs::symlink_metadata(&path).ok()?;
    (text.starts_with('/') && file.is_same_file(&here)).then(|| text.into())
}

type Digest = [u8; 32];

/// Digests of program files, remembered by the file's identity and state. Bounded.
#[derive(Clone)]
pub(crate) struct Digests {
    /// `None`: too large to be read.
    known: Arc<Mutex<HashMap<FileId, Option<Digest>>>>,
    readings: SingleFlight<FileId, Option<Digest>>,
    readers: Arc<Semaphore>,
}

impl Default for Digests {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            readings: SingleFlight::default(),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }
}

impl Digests {
    /// The SHA-256 of the file that process `pid` runs, if it still is `file` and can be read.
    pub(crate) async fn of(&self, pid: u32, file: FileId) -> Option<Digest> {
        loop {
            let known = || self.known.lock().get(&file).copied();
            if let Some(known) = known() {
                return known;
            }
            if let Some(reading) = self.readings.in_the_air(&file) {
                // The file is being read for another process. If that fails because the process exits, it is
                // read for this one.
                if let Some(digest) = reading.landed().await.flatten() {
                    return Some(digest);
                }
                continue;
            }
            if file.size > LARGEST {
                tracing::warn!(
                    pid,
                    size = file.size,
                    "a program is larger than 1 GiB, so it is not read: no unix:sha256 selector matches it"
                );
                self.remember(file, None);
                return None;
            }
            let turn = Arc::clone(&self.readers).acquire_owned().await.ok()?;
            let joined = self.readings.join(&file, || {
                if let Some(known) = known() {
                    return Err(known);
                }
                let this = self.clone();
                // The turn is given back when the file has been read, not when the caller disconnects. So a
                // caller that asks and disconnects gets no more of the machine than one that waits.
                let read = move || {
                    let digest = this.read(pid, file);
                    drop(turn);
                    digest
                };
                Ok(async move { spawn_blocking(read).await.ok().flatten() })
            });
            match joined {
                Err(known) => return known,
                Ok(reading) if reading.is_new => return reading.landed().await.flatten(),
                // Another caller was faster.
                Ok(_) => {}
            }
        }
    }

    fn read(&self, pid: u32, file: FileId) -> Option<Digest> {
        match digest(pid, file) {
            Ok(digest) => {
                self.remember(file, Some(digest));
                Some(digest)
            }
            Err(error) => {
                tracing::debug!(pid, %error, "the program's file cannot be read");
                None
            }
        }
    }

    fn remember(&self, file: FileId, digest: Option<Digest>) {
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            // Any of them can be dropped: a machine runs few programs, and reading one again is cheap.
            if let Some(any) = known.keys().next().copied() {
                known.remove(&any);
            }
        }
        known.insert(file, digest);
    }
}

fn digest(pid: u32, expected: FileId) -> io::Result<Digest> {
    let changed = || io::Error::other("the program changed while it was read");
    let mut file = File::open(format!("/proc/{pid}/exe"))?;
    if FileId::of(&file.metadata()?) != expected {
        return Err(changed());
    }
    let mut digest = Sha256::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => break,
            Some(bytes) => digest.update(bytes),
        }
    }
    if FileId::of(&file.metadata()?) != expected {
        return Err(changed());
    }
    Ok(digest.finish())
}

#[cfg(test)]
mod tests {
    use super::{Digests, READERS, REMEMBERED, file_of, path_of};
    use std::fs;
    use std::process::{Child, Command};

    struct Running(Child);

    impl Running {
        fn start(program: &std::path::Path) -> Self {
            loop {
                match Command::new(program).arg("60").spawn() {
                    Ok(child) => return Self(child),
                    // A child that another test starts meanwhile holds our writing descriptor until its own
                    // `execve`.
                    Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                        std::thread::yield_now();
                    }
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
        assert_eq!(digest, Some(mandate_core::digest::sha256(&fs::read(&program).unwrap())));
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
        assert_eq!(
            Digests::default().of(child.0.id(), file).await,
            Some(mandate_core::digest::sha256(&before))
        );
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
            digests.known.lock().insert(super::FileId { size, ..file }, Some([0; 32]));
        }
        assert!(digests.of(child.0.id(), file).await.is_some());
        assert_eq!(digests.known.lock().len(), REMEMBERED);
    }

    /// A copy of `sleep` that takes a moment to read: zeros follow its own bytes, and take no space on disk.
    fn large_copy_of_sleep(dir: &std::path::Path, name: &str, size: u64) -> std::path::PathBuf {
        let program = copy_of_sleep(dir, name);
        fs::OpenOptions::new().write(true).open(&program).unwrap().set_len(size).unwrap();
        program
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_caller_that_leaves_keeps_its_turn_until_the_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let child = Running::start(&large_copy_of_sleep(dir.path(), "large", 512 << 20));
        let (digests, file) = (Digests::default(), file_of(child.0.id()).unwrap());
        let asks = || {
            tokio::spawn({
                let (digests, pid) = (digests.clone(), child.0.id());
                async move { digests.of(pid, file).await }
            })
        };
        let (first, second) = (asks(), asks());
        while digests.readings.in_the_air(&file).is_none() {
            tokio::task::yield_now().await;
        }
        first.abort();
        second.abort();
        assert!(first.await.is_err() && second.await.is_err());
        assert_eq!(digests.readers.available_permits(), READERS - 1, "one file is read once, and to its end");
        // The next caller waits for the same reading.
        assert!(digests.of(child.0.id(), file).await.is_some());
        assert_eq!(digests.known.lock().len(), 1);
        while digests.readers.available_permits() < READERS {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_of_more_than_a_gibibyte_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        let child = Running::start(&large_copy_of_sleep(dir.path(), "huge", super::LARGEST + 1));
        let (digests, file) = (Digests::default(), file_of(child.0.id()).unwrap());
        assert_eq!(digests.of(child.0.id(), file).await, None);
        assert_eq!(digests.known.lock().get(&file), Some(&None), "it is not said again at each fetch");
    }

    #[test]
    fn a_process_that_is_gone_has_no_program() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(file_of(child.id()), None);
    }
}
