//! A node in a user namespace: the kernel has no numbers there for some users, and shows all of them as one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::processes::{MANDATE, Ran, Role, Server, apart, ran};

/// A user who is neither root nor the one that runs the tests.
const STRANGER: u32 = 12_345;

fn unshare(options: &[&str], program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(options).arg("--").arg(program).args(arguments);
    apart(&mut command);
    command
}

/// Whether this user may make such a namespace; says so if not.
fn may(options: &[&str]) -> bool {
    let permitted = unshare(options, "true", &[]).output().is_ok_and(|output| output.status.success());
    if !permitted {
        mandate_testkit::skipped("this user may not make a user namespace with unshare");
    }
    permitted
}

fn says_that_it_is_in_a_namespace(node: &Role) {
    let said = "this node runs in a user namespace; callers of users that have no number in it are refused";
    assert!(node.log().contains(said), "{}", node.log());
}

fn says_why_the_caller_is_refused(node: &Role) {
    node.says("a caller of the Workload API cannot be attested");
    let log = node.log();
    let line = log.lines().find(|line| line.contains("cannot be attested")).unwrap();
    for part in [
        "the kernel's placeholder (65534, nobody)",
        "run the node outside of it",
        "give each agent a user of its own",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

/// There this user has the number of all others, and so would have taken their directories and connections
/// for its own.
#[test]
fn in_a_namespace_where_no_user_has_a_number_nothing_starts_and_the_remedy_is_a_user_of_its_own() {
    let options = ["--user"];
    if !may(&options) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("dir");
    let dir = dir.to_string_lossy();
    let node = ["node", "run", "--server", "127.0.0.1:1", "--dir", &dir];
    let server = ["serve", "--listen", "127.0.0.1:0", "--trust-domain", "acme.example", "--dir", &dir];
    for arguments in [&node[..], &server] {
        let ran = ran(&mut unshare(&options, MANDATE, arguments));
        assert!(ran.code == Some(2) || ran.code == Some(1), "{:?} {}", ran.code, ran.err);
        assert!(ran.err.contains("/ belongs to user 65534"), "{}", ran.err);
        assert!(
            ran.err.contains("run this as a user of its own") && !ran.err.contains("chown"),
            "{}",
            ran.err
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

/// `mandate svid fetch` as that user.
fn fetch_as(user: u32, program: &Path, socket: &Path) -> Ran {
    let mut command = Command::new(program);
    command
        .args([
            "svid",
            "fetch",
            "--agent",
            "support-agent",
            "--audience",
            "https://crm.acme.example",
            "--socket",
        ])
        .arg(socket);
    apart(&mut command);
    ran(command.uid(user).gid(user))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_namespace_with_root_alone_root_is_served_and_users_without_a_number_are_refused() {
    let options = ["--user", "--map-root-user"];
    if !rustix::process::geteuid().is_root() {
        mandate_testkit::skipped("only root can be another user, too");
        return;
    }
    if !may(&options) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
    // Where the stranger can reach it.
    let program = root.path().join("mandate");
    fs::copy(MANDATE, &program).unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let (mut node, socket) =
        server.node_as(&root.path().join("node"), |arguments| unshare(&options, MANDATE, arguments)).await;
    says_that_it_is_in_a_namespace(&node);
    let fetched = fetch_as(0, &program, &socket);
    assert_eq!(fetched.code, Some(0), "{}", fetched.err);
    assert!(!node.log().contains("cannot be attested"), "{}", node.log());
    let refused = fetch_as(STRANGER, &program, &socket);
    assert!(
        refused.code.is_some_and(|code| code > 0) && refused.out.is_empty(),
        "{}{}",
        refused.out,
        refused.err
    );
    says_why_the_caller_is_refused(&node);
    assert_eq!(fetch_as(0, &program, &socket).code, Some(0), "and root is served as before");
    assert!(node.is_running());
}

/// Where an ordinary user is root, the machine's root is one of those without a number, and so is the owner
/// of `/`.
#[test]
fn in_an_ordinary_users_namespace_the_owner_of_the_way_is_not_told_apart_and_the_remedy_is_to_leave_it() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let (program, dir) = (root.path().join("mandate"), root.path().join("of-the-user"));
    fs::copy(MANDATE, &program).unwrap();
    fs::create_dir(&dir).unwrap();
    let options = ["--user", "--map-root-user"];
    let is_root = rustix::process::geteuid().is_root();
    let mut command =
        unshare(&options, &program.to_string_lossy(), &["node", "run", "--server", "127.0.0.1:1", "--dir"]);
    command.arg(dir.join("node"));
    let mut trial = unshare(&options, "true", &[]);
    if is_root {
        std::os::unix::fs::chown(&dir, Some(STRANGER), Some(STRANGER)).unwrap();
        for command in [&mut command, &mut trial] {
            command.uid(STRANGER).gid(STRANGER).current_dir("/");
        }
    }
    if !trial.output().is_ok_and(|output| output.status.success()) {
        mandate_testkit::skipped("an ordinary user may not make a user namespace with unshare");
        return;
    }
    let ran = ran(&mut command);
    assert!(ran.code == Some(2) || ran.code == Some(1), "{:?} {}", ran.code, ran.err);
    assert!(ran.err.contains("/ belongs to user 65534"), "{}", ran.err);
    assert!(ran.err.contains("outside of the user namespace") && !ran.err.contains("chown"), "{}", ran.err);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

/// The numbers of processes that the kernel tells the node are others than those in `/proc`.
#[test]
fn a_node_that_sees_the_processes_of_another_namespace_does_not_start() {
    let options = ["--user", "--map-root-user", "--pid", "--fork"];
    if !may(&options) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("node");
    let (dir_text, socket) = (dir.to_string_lossy(), root.path().join("agent.sock"));
    let socket = socket.to_string_lossy();
    let arguments = ["node", "run", "--server", "127.0.0.1:1", "--dir", &dir_text, "--socket", &socket];
    let ran = ran(&mut unshare(&options, MANDATE, &arguments));
    assert!(ran.code.is_some_and(|code| code > 0), "{:?} {}", ran.code, ran.err);
    assert!(ran.err.contains("/proc is not that of this node's process namespace"), "{}", ran.err);
    assert!(ran.err.contains("unshare --mount-proc"), "{}", ran.err);
}
