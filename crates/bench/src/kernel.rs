//! What the kernel knows about a process.

use std::fs;
use std::io;
use std::time::Duration;

use crate::error::BenchError;

/// The length of one tick of `/proc/PID/stat` in seconds. `USER_HZ` is 100 on every architecture that Rust's
/// standard library supports on Linux but alpha and ia64.
const TICK: f64 = 0.01;

/// How often to check whether the server is idle, and how little CPU time it may have used since.
const REST: (Duration, f64) = (Duration::from_millis(200), 0.02);

/// CPU time in seconds, of all threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// Time spent in the program.
    pub(crate) user: f64,
    /// Time spent in the kernel for the program.
    pub(crate) system: f64,
}

impl CpuTime {
    /// The CPU time of a process and of all its threads so far (proc(5): `utime` and `stime`).
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        read(pid).map(|(own, _)| own).map_err(BenchError::during("reading the server's CPU time"))
    }

    /// The CPU time so far of a process, of `children` that still run, and of all its children that have
    /// ended.
    pub(crate) fn of_family(parent: u32, children: &[u32]) -> Result<Self, BenchError> {
        let unreadable = "reading the CPU time of the database's server";
        let mut all = Self::default();
        for child in children {
            match read(*child) {
                Ok((own, _)) => all = all.and(own),
                // It has ended since it was listed: the parent, which is read later, knows its time.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(BenchError::during(unreadable)(error)),
            }
        }
        let (own, ended) = read(parent).map_err(BenchError::during(unreadable))?;
        Ok(all.and(own).and(ended))
    }

    fn and(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    /// The CPU time since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }
}

/// The CPU time of a process, and of those of its children that have ended (proc(5): `utime`, `stime`,
/// `cutime`, `cstime`).
fn read(pid: u32) -> io::Result<(CpuTime, CpuTime)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name is in parentheses and may contain any character.
    let fields: Vec<&str> =
        text.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let time = |user, system| CpuTime { user: ticks(user) * TICK, system: ticks(system) * TICK };
    Ok((time(11, 12), time(13, 14)))
}

/// A process that ends while its file is open makes reading fail with `ESRCH`.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Waits until a server has done the work that it does after its answers, such as indexing their records.
/// Returns its CPU time.
pub(crate) async fn at_rest(pid: u32) -> Result<CpuTime, BenchError> {
    let (pause, little) = REST;
    let mut before = CpuTime::of(pid)?;
    loop {
        tokio::time::sleep(pause).await;
        let now = CpuTime::of(pid)?;
        if now.since(before).total() < little {
            return Ok(now);
        }
        before = now;
    }
}

/// The CPU time of the calling thread in seconds, so that time in which others had the core does not count.
///
/// By the clock of the thread: for a running thread, `/proc` shows the state at the scheduler's last tick.
pub(crate) fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default().as_secs_f64()
}

/// The CPU time of this process in seconds, of all its threads.
pub(crate) fn process_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default().as_secs_f64()
}

/// The resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64, BenchError> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(BenchError::during("reading resident memory"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| BenchError("no VmRSS".to_owned()))
}

/// How many files a process has open, connections among them.
pub(crate) fn open_files(pid: u32) -> Result<usize, BenchError> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .map_err(BenchError::during("counting the server's open files"))?;
    Ok(files.count())
}
