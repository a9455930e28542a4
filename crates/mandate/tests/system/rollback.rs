//! A log that was replaced by an older one, and a log that continued differently since: each is consistent in
//! itself and signed by the log's own key. Only a checkpoint that was kept elsewhere shows it.

use std::fs;
use std::path::Path;

use mandate_api::admin::JoinTokenRequest;
use mandate_testkit::database::OF_FILES;
use mandate_testkit::skipped;

use crate::processes::{Ran, Server, keeps_files, run};

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

async fn records(server: &Server, count: u32) {
    for _ in 0..count {
        server.admin.join_token(&JoinTokenRequest::default()).await.unwrap();
    }
}

fn succeeds(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

fn is_refused(ran: &Ran) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("does not continue the earlier checkpoint of"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_set_back_or_rewritten_does_not_continue_a_kept_checkpoint() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let (dir, backup) = (root.path().join("server"), root.path().join("backup"));
    let file = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (text, kept, bundle) =
        (dir.to_string_lossy().into_owned(), file("kept.checkpoint"), file("audit.bundle"));
    let audit = |arguments: &[&str]| run(&[&["audit"], arguments, &["--dir", &text]].concat());

    let server = Server::start(&dir);
    let empty = audit(&["checkpoint"]);
    succeeds(&empty);
    assert_eq!(empty.out.lines().nth(1), Some("0"), "even an empty log is signed");
    records(&server, 2).await;
    assert_eq!(server.role.terminate(), Some(0));
    copy(&dir, &backup);

    let server = Server::start(&dir);
    records(&server, 3).await;
    fs::write(&kept, audit(&["checkpoint"]).out).unwrap();
    records(&server, 1).await;
    succeeds(&audit(&["verify", "--since", &kept]));
    succeeds(&audit(&["export", "--bundle", &bundle]));
    succeeds(&run(&["audit", "verify", "--offline", &bundle, "--since", &kept]));
    assert_eq!(server.role.terminate(), Some(0));

    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&backup, &dir).unwrap();
    let server = Server::start(&dir);
    let older = file("older.bundle");
    let rewritten = file("rewritten.bundle");
    for (bundle, more) in [(&older, 0), (&rewritten, 5)] {
        records(&server, more).await;
        succeeds(&audit(&["verify"]));
        is_refused(&audit(&["verify", "--since", &kept]));
        succeeds(&audit(&["export", "--bundle", bundle]));
        succeeds(&run(&["audit", "verify", "--offline", bundle]));
        is_refused(&run(&["audit", "verify", "--offline", bundle, "--since", &kept]));
    }
    fs::write(&kept, empty.out).unwrap();
    succeeds(&audit(&["verify", "--since", &kept]));
    assert_eq!(server.role.terminate(), Some(0));

    // Another directory has another log.
    let other = Server::start(&root.path().join("other"));
    let ran = run(&["audit", "verify", "--since", &kept, "--dir", &other.dir.to_string_lossy()]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("not of this log"), "{}", ran.err);
    fs::write(&kept, "not a checkpoint").unwrap();
    let ran = run(&["audit", "verify", "--since", &kept, "--dir", &other.dir.to_string_lossy()]);
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(&kept), "{}", ran.err);
}
