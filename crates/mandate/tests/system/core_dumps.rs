//! A process that holds keys leaves no core dump.

use std::fs;

use crate::processes::{Role, Server};

fn dumps_nothing(role: &Role) {
    let pid = role.pid().as_raw_nonzero();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // The kernel shows that a process is not dumpable: it gives the files in the process's `/proc` folder to root.
    if !rustix::process::getuid().is_root() {
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/mem")).unwrap()), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_node_dump_no_core() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    dumps_nothing(&server.role);
    let (node, _) = server.node(&root.path().join("node")).await;
    dumps_nothing(&node);
}
