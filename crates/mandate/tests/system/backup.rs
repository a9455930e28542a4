//! `mandate backup` beside a running server, `mandate restore` elsewhere, and the server that continues there.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use mandate_api::admin::JoinTokenRequest;
use serde_json::Value;

use crate::processes::{MANDATE, Ran, Server, apart, ran, run};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn succeeds(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    serde_json::from_str(&ran.out).unwrap_or_default()
}

fn refused(ran: &Ran, code: i32, says: &str) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{}", ran.err);
    assert!(ran.err.contains(says), "{says}: {}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_load_is_backed_up_and_goes_on_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let (dir, moved) = (root.path().join("server"), root.path().join("moved"));
    let (backup, keys) = (text(&root.path().join("mandate.tar")), text(&root.path().join("mandate.key")));
    let server = Server::start(&dir);
    server.tell_the_story().await;
    let form = server.an_exchange(&root.path().join("node")).await;
    let before = server.app.token(&form).await;
    assert_eq!(before.status, 200, "{}", before.text);

    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (app, form) = (server.app.clone(), form.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while app.try_token(&form).await.is_ok_and(|answer| answer.status == 200) {
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let (dir_text, to, key_file) = (text(&dir), backup.clone(), keys.clone());
    let made = tokio::task::spawn_blocking(move || {
        let mut last = Value::Null;
        for _ in 0..3 {
            last = succeeds(&run(&["backup", &to, "--dir", &dir_text, "--keys-file", &key_file, "--force", "--json"]));
        }
        last
    });
    let made = made.await.unwrap();
    assert!(made["audit"]["size"].as_u64().unwrap() > 3, "{made}");
    assert_eq!(made["issuer"], server.role.ready["issuer"]);
    for file in [&backup, &keys] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let issuer = server.role.text("issuer");
    let mut server = server;
    server.role.kill();
    for worker in workers {
        assert!(worker.await.unwrap() > 0, "exchanges went on beside the backup");
    }

    let restored = succeeds(&run(&["restore", &backup, "--dir", &text(&moved), "--keys-file", &keys, "--json"]));
    assert_eq!(restored["audit"], made["audit"]);
    let server = Server::start(&moved);
    assert_eq!(server.role.text("issuer"), issuer);
    server.verify_the_log();
    let again = server.app.token(&form).await;
    assert_eq!(again.status, 200, "an earlier token and identity are accepted: {}", again.text);
}

#[test]
fn what_is_there_is_not_replaced_and_a_failure_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let at = text(&dir);
    let path = |name: &str| text(&root.path().join(name));
    let server = Server::start(&dir);
    succeeds(&run(&["backup", &path("b"), "--dir", &at, "--keys-file", &path("k")]));
    refused(&run(&["backup", &path("b"), "--dir", &at]), 2, "--force");
    refused(&run(&["backup", &path("c"), "--dir", &at, "--keys-file", &path("k")]), 2, "--force");
    refused(&run(&["backup", &path("c"), "--dir", &path("nowhere")]), 2, "nowhere");
    fs::write(path("short"), "short\n").unwrap();
    fs::set_permissions(path("short"), fs::Permissions::from_mode(0o600)).unwrap();
    refused(&run(&["backup", &path("c"), "--dir", &at, "--passphrase-file", &path("short")]), 2, "12 characters");
    assert!(!Path::new(&path("c")).exists());

    refused(&run(&["restore", &path("b"), "--dir", &at, "--keys-file", &path("k")]), 2, "is not empty");
    refused(&run(&["restore", &path("b"), "--dir", &path("new")]), 2, "--keys-file FILE");
    refused(&run(&["restore", &path("short"), "--dir", &path("new")]), 2, "not a backup");
    refused(&run(&["restore", &path("missing"), "--dir", &path("new")]), 2, "missing");
    fs::set_permissions(path("b"), fs::Permissions::from_mode(0o666)).unwrap();
    refused(&run(&["restore", &path("b"), "--dir", &path("new"), "--keys-file", &path("k")]), 2, "chmod");
    assert!(!Path::new(&path("new")).exists());

    fs::write(path("pass"), "correct horse battery\n").unwrap();
    fs::set_permissions(path("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    succeeds(&run(&["backup", &path("sealed"), "--dir", &at, "--passphrase-file", &path("pass")]));
    drop(server);
    let ran = run(&["restore", &path("sealed"), "--dir", &path("new"), "--passphrase-file", &path("pass")]);
    succeeds(&ran);
    for word in ["revocations", "rotate the keys", &format!("next: mandate serve --dir {}", path("new"))] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_copied_without_its_write_ahead_log_does_not_start() {
    let root = tempfile::tempdir().unwrap();
    let (dir, copy) = (root.path().join("server"), root.path().join("copy"));
    // The second start: of the first, nothing is in the file itself.
    assert_eq!(Server::start(&dir).role.terminate(), Some(0));
    let server = Server::start(&dir);
    server.admin.join_token(&JoinTokenRequest::default()).await.unwrap();
    fs::create_dir(&copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    for file in ["mandate.db", "seal.key", "serve.json"] {
        fs::copy(dir.join(file), copy.join(file)).unwrap();
    }
    for _ in 0..2 {
        let ran = run(&["serve", "--dir", &text(&copy)]);
        refused(&ran, 1, "Restore mandate.db together with mandate.db-wal");
        assert!(ran.err.contains("next: mandate doctor --dir"), "{}", ran.err);
    }
    let path = text(&root.path().join("b"));
    refused(&run(&["backup", &path, "--dir", &text(&copy)]), 1, "--accept-missing-journal");
    succeeds(&run(&["backup", &path, "--dir", &text(&copy), "--accept-missing-journal"]));
    // A server that was killed leaves both, and starts.
    let mut server = server;
    server.role.kill();
    Server::start(&dir).verify_the_log();
}

#[test]
fn a_database_alone_says_whose_it_is() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let at = text(&dir);
    let server = Server::start(&dir);
    let first = server.role.ready.clone();
    assert_eq!(server.role.terminate(), Some(0));
    let remembered = fs::read_to_string(dir.join("serve.json")).unwrap();
    fs::remove_file(dir.join("serve.json")).unwrap();
    for (flag, value, fits) in [
        ("--trust-domain", "other.example", "belongs to trust domain acme.example, not other.example"),
        ("--issuer", "http://127.0.0.1:1", "not http://127.0.0.1:1"),
    ] {
        refused(&run(&["serve", "--dir", &at, flag, value]), 2, fits);
        assert!(!dir.join("serve.json").exists(), "a refused start writes nothing");
    }
    let server = Server::start(&dir);
    assert_eq!(server.role.ready, first, "issuer, trust domain and ports are the database's");
    assert_eq!(server.role.terminate(), Some(0));
    assert_eq!(fs::read_to_string(dir.join("serve.json")).unwrap(), remembered);
    // Another server's file.
    fs::write(dir.join("serve.json"), remembered.replace("acme.example", "other.example")).unwrap();
    let ran = run(&["serve", "--dir", &at]);
    refused(&ran, 2, "serve.json names the trust domain other.example, and mandate.db is of acme.example");
    assert!(ran.err.contains("Restore the serve.json that belongs to mandate.db"), "{}", ran.err);
}

/// The names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|each| each.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_key_is_never_written_where_the_backup_goes() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let at = text(&server.dir);
    let path = |name: &str| text(&root.path().join(name));
    for (keys_file, force) in [("b", false), ("b", true), ("server/../b", true), ("./b", true)] {
        let force: &[&str] = if force { &["--force"] } else { &[] };
        let ran = run(&[&["backup", &path("b"), "--dir", &at, "--keys-file", &path(keys_file)], force].concat());
        refused(&ran, 2, "--keys-file names the file of the backup itself");
        assert_eq!(names(root.path()), ["server", "server.log"], "{keys_file}");
    }
    fs::write(path("b"), "an earlier backup").unwrap();
    refused(&run(&["backup", &path("b"), "--dir", &at, "--keys-file", &path("b"), "--force"]), 2, "another file");
    assert_eq!(fs::read(path("b")).unwrap(), b"an earlier backup");
}

#[test]
fn a_backup_gets_the_name_that_it_was_given_also_if_that_is_not_utf_8() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let folder = root.path().join("b");
    fs::create_dir(&folder).unwrap();
    let file = folder.join(OsStr::from_bytes(b"m\xfc.tar"));
    let mut command = Command::new(MANDATE);
    apart(&mut command);
    succeeds(&ran(command.arg("backup").arg(&file).args(["--dir", &text(&server.dir)])));
    let found: Vec<_> = fs::read_dir(&folder).unwrap().map(|each| each.unwrap().path()).collect();
    assert_eq!(found, std::slice::from_ref(&file), "no copy of the database under another name");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
