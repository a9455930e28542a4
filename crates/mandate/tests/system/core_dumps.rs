//! A process that holds keys, passwords or tokens leaves no core dump.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::processes::{MANDATE, Role, Server, apart};

/// Whether a process may write no core file, by its limits.
fn is_limited(pid: i32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    core.split_whitespace().skip(4).take(2).all(|limit| limit == "0")
}

/// Whether processes of the same user may see its memory and its program. The kernel shows that a process is
/// not dumpable: it gives the files in the process's `/proc` folder to root. Of a process of root this cannot
/// be told.
fn is_dumpable(pid: i32) -> Option<bool> {
    if rustix::process::getuid().is_root() {
        return None;
    }
    Some(std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/mem")).unwrap()) != 0)
}

fn dumps_nothing(role: &Role) {
    let pid = role.pid().as_raw_nonzero().get();
    assert!(is_limited(pid));
    assert_ne!(is_dumpable(pid), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_node_dump_no_core() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    dumps_nothing(&server.role);
    let (node, _) = server.node(&root.path().join("node")).await;
    dumps_nothing(&node);
}

/// A command that waits, and ends with the test.
struct Waiting(Child);

impl Waiting {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(MANDATE);
        apart(&mut command);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits until it is so: a process needs a moment to start.
    fn comes_to(&mut self, what: &str, holds: impl Fn(i32) -> bool) {
        let pid = rustix::process::Pid::from_child(&self.0).as_raw_nonzero().get();
        let begun = Instant::now();
        // Twice: it must stay so, and not be a moment between two steps of the start.
        let holds = || {
            holds(pid) && {
                std::thread::sleep(Duration::from_millis(50));
                holds(pid)
            }
        };
        while !holds() {
            assert!(self.0.try_wait().unwrap().is_none(), "{what}: it has ended");
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_command_that_reads_a_secret_dumps_no_core() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().display().to_string();
    let backup = root.path().join("backup").display().to_string();
    for arguments in [
        ["backup", &backup, "--with-keys", "--dir", &dir],
        ["person", "set-password", "riley", "--dir", &dir],
    ] {
        let mut command = Waiting::start(&arguments);
        let what = format!("{arguments:?}, which waits for its standard input");
        command.comes_to(&what, |pid| is_limited(pid) && is_dumpable(pid) != Some(true));
    }
}

#[test]
fn a_command_that_asks_a_node_is_seen_by_it_and_dumps_no_core_file() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("silent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let mut command =
        Waiting::start(&["svid", "fetch", "--audience", "x", "--socket", &socket.display().to_string()]);
    command.comes_to("svid fetch", |pid| is_limited(pid) && is_dumpable(pid) != Some(false));
}
