//! What is written, and where, in folders that another user could change: nothing. Each refusal says whose
//! the folder is and what to do.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use mandate_api::admin::JoinTokenRequest;
use mandate_testkit::database::OF_FILES;
use mandate_testkit::skipped;

use crate::processes::{Ran, Server, keeps_files, run};

/// A user who is neither root nor the one that runs the tests.
const STRANGER: u32 = 12_345;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder of another user, and one of ours in it, which that user could replace. None if this user cannot
/// give any away.
struct Folders {
    root: tempfile::TempDir,
    /// The other user's.
    theirs: PathBuf,
    /// Ours, on their ground.
    inside: PathBuf,
}

impl Folders {
    fn make() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can give a folder to another user");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let theirs = root.path().canonicalize().unwrap().join("theirs");
        let inside = theirs.join("inside");
        fs::create_dir_all(&inside).unwrap();
        for dir in [&theirs, &inside] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(&theirs, Some(STRANGER), Some(STRANGER)).unwrap();
        Some(Self { root, theirs, inside })
    }

    /// The folder itself, and the one behind it.
    fn both(&self) -> [&Path; 2] {
        [&self.theirs, &self.inside]
    }

    fn refuse(&self, what: &str, ran: &Ran) {
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{what}: {}", ran.err);
        let theirs = self.theirs.display();
        for part in [
            format!("{theirs} belongs to user {STRANGER}, who could replace it"),
            "use another place".to_owned(),
            format!("run as root: chown 0 {theirs}"),
        ] {
            assert!(ran.err.contains(&part), "{what}: {part}: {}", ran.err);
        }
        assert_eq!(fs::read_dir(&self.theirs).unwrap().count(), 1, "{what} wrote to the other user's folder");
        assert_eq!(
            fs::read_dir(&self.inside).unwrap().count(),
            0,
            "{what} wrote to a folder that another user could replace"
        );
    }
}

#[test]
fn a_server_keeps_nothing_where_another_user_could_replace_it() {
    let Some(folders) = Folders::make() else { return };
    for dir in folders.both() {
        for dir in [dir.to_owned(), dir.join("new"), dir.join("new/server")] {
            let ran = run(&["serve", "--dir", &text(&dir), "--listen", "127.0.0.1:0"]);
            folders.refuse(&format!("serve --dir {}", dir.display()), &ran);
        }
    }
    // What it says to run mends it.
    chown(&folders.theirs, Some(0), None).unwrap();
    assert_eq!(Server::start(&folders.inside.join("server")).role.terminate(), Some(0));
}

#[test]
fn no_backup_no_key_and_no_bundle_is_written_where_another_user_could_replace_it() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let Some(folders) = Folders::make() else { return };
    let dir = text(&folders.root.path().join("server"));
    let server = Server::start(&folders.root.path().join("server"));
    let (ours, key) = (text(&folders.root.path().join("b")), text(&folders.root.path().join("k")));
    for folder in folders.both() {
        let file = text(&folder.join("file"));
        folders.refuse("backup FILE", &run(&["backup", &file, "--dir", &dir]));
        folders.refuse("backup --keys-file", &run(&["backup", &ours, "--keys-file", &file, "--dir", &dir]));
        folders.refuse("audit export --bundle", &run(&["audit", "export", "--bundle", &file, "--dir", &dir]));
        assert!(!Path::new(&ours).exists(), "no backup without its key");
    }
    assert_eq!(run(&["backup", &ours, "--keys-file", &key, "--dir", &dir]).code, Some(0));
    drop(server);
    for folder in folders.both() {
        let ran = run(&["restore", &ours, "--keys-file", &key, "--dir", &text(&folder.join("restored"))]);
        folders.refuse("restore --dir", &ran);
    }
}

#[test]
fn a_login_that_could_not_keep_its_token_is_refused_before_anybody_logs_in() {
    let Some(folders) = Folders::make() else { return };
    let server = Server::start(&folders.root.path().join("server"));
    for folder in folders.both() {
        let out = text(&folder.join("token"));
        // With such an address it waits for standard input alone, which has ended.
        let more = ["--no-browser", "--redirect-uri", "example.acme.app:/callback", "--out", &out];
        let ran =
            run(&[&["login", "--issuer", &server.app.issuer, "--client-id", "support-app"][..], &more]
                .concat());
        folders.refuse("login --out", &ran);
        assert!(!ran.err.contains("Log in at this address"), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_nothing_and_listens_nowhere_where_another_user_could_replace_it() {
    let Some(folders) = Folders::make() else { return };
    let server = Server::start(&folders.root.path().join("server"));
    let token = folders.root.path().join("join.token");
    fs::write(&token, server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let address = server.role.text("node_server");
    let (ours, token) = (text(&folders.root.path().join("node")), text(&token));
    let join = ["node", "run", "--server", &address, "--join-token-file", &token];
    for folder in folders.both() {
        let socket = text(&folder.join("agent.sock"));
        folders
            .refuse("node run --socket", &run(&[&join[..], &["--dir", &ours, "--socket", &socket]].concat()));
        let dir = text(&folder.join("node"));
        folders.refuse("node run --dir", &run(&[&join[..], &["--dir", &dir]].concat()));
    }
    assert_eq!(server.admin.nodes().await.unwrap().len(), 0, "no node has joined, and the token is not used");
}
