//! `mandate backup` beside a running server, `mandate restore` elsewhere, and the server that continues
//! there.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mandate_api::admin::JoinTokenRequest;
use mandate_testkit::database::OF_FILES;
use mandate_testkit::skipped;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::processes::{MANDATE, Ran, Server, apart, ended, keeps_files, ran, run};

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
    if !keeps_files() {
        return skipped(OF_FILES);
    }
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
            last = succeeds(&run(&[
                "backup",
                &to,
                "--dir",
                &dir_text,
                "--keys-file",
                &key_file,
                "--force",
                "--json",
            ]));
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

    let restored =
        succeeds(&run(&["restore", &backup, "--dir", &text(&moved), "--keys-file", &keys, "--json"]));
    assert_eq!(restored["audit"], made["audit"]);
    let last = fs::read_to_string(moved.join("last.checkpoint")).unwrap();
    assert_eq!(
        last.lines().nth(1),
        Some(&*made["audit"]["size"].to_string()),
        "from here on it must not go back"
    );
    let server = Server::start(&moved);
    assert_eq!(server.role.text("issuer"), issuer);
    server.verify_the_log();
    let again = server.app.token(&form).await;
    assert_eq!(again.status, 200, "an earlier token and identity are accepted: {}", again.text);
}

#[test]
fn what_is_there_is_not_replaced_and_a_failure_leaves_nothing() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
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
    refused(
        &run(&["backup", &path("c"), "--dir", &at, "--passphrase-file", &path("short")]),
        2,
        "12 characters",
    );
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
    for word in [
        "revocations count from the time of that start",
        "rotate the keys",
        &format!("next: mandate serve --dir {}", path("new")),
    ] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_copied_without_its_write_ahead_log_does_not_start() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
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
    if !keeps_files() {
        return skipped(OF_FILES);
    }
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
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|each| each.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_key_is_never_written_where_the_backup_goes() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let at = text(&server.dir);
    let path = |name: &str| text(&root.path().join(name));
    for (keys_file, force) in [("b", false), ("b", true), ("server/../b", true), ("./b", true)] {
        let force: &[&str] = if force { &["--force"] } else { &[] };
        let ran =
            run(&[&["backup", &path("b"), "--dir", &at, "--keys-file", &path(keys_file)], force].concat());
        refused(&ran, 2, "--keys-file names the file of the backup itself");
        assert_eq!(names(root.path()), ["server", "server.log"], "{keys_file}");
    }
    fs::write(path("b"), "an earlier backup").unwrap();
    refused(
        &run(&["backup", &path("b"), "--dir", &at, "--keys-file", &path("b"), "--force"]),
        2,
        "another file",
    );
    assert_eq!(fs::read(path("b")).unwrap(), b"an earlier backup");
}

#[test]
fn a_backup_gets_the_name_that_it_was_given_also_if_that_is_not_utf_8() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
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

/// `mandate`, to be stopped by a signal.
fn begin(arguments: &[&str]) -> Child {
    // The tests may run under `nohup`, which lets them, and what they start, ignore SIGHUP.
    let mut command = Command::new("env");
    apart(&mut command);
    command
        .args(["--default-signal=HUP,INT", MANDATE])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until something hidden in a folder has content: the first large file that is being written.
fn until_it_is_writing(folder: &Path) {
    let is_begun = |entry: fs::DirEntry| {
        let hidden = entry.file_name().as_bytes().starts_with(b".");
        let path = entry.path();
        // A file may be gone again at this moment.
        let large = |path: &Path| fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() > 0);
        hidden
            && (large(&path)
                || fs::read_dir(&path).is_ok_and(|inside| inside.flatten().any(|entry| large(&entry.path()))))
    };
    let begun = Instant::now();
    while !fs::read_dir(folder).unwrap().flatten().any(is_begun) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stopped(ran: &Ran, code: i32, says: &str) {
    refused(ran, code, says);
    assert!(ran.err.contains("it was stopped by signal"), "{}", ran.err);
}

#[test]
fn a_backup_and_a_restore_that_are_stopped_leave_no_copies_behind() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    assert_eq!(Server::start(&dir).role.terminate(), Some(0));
    // What takes a moment to copy.
    let database = rusqlite::Connection::open(dir.join("mandate.db")).unwrap();
    database.execute("INSERT INTO meta (name, value) VALUES ('large', zeroblob(50000000))", []).unwrap();
    drop(database);
    let folder = root.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let path = |name: &str| text(&folder.join(name));
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let backup = begin(&["backup", &path("b"), "--dir", &text(&dir), "--keys-file", &path("k")]);
        until_it_is_writing(&folder);
        kill_process(Pid::from_child(&backup), signal).unwrap();
        stopped(&ended(backup), code, "no backup is made");
        assert_eq!(names(&folder), [""; 0]);
    }
    // A shell that runs a command in the background lets it ignore SIGINT.
    let mut command = Command::new("sh");
    apart(&mut command);
    command.args([
        "-c",
        "trap '' INT; exec \"$0\" \"$@\"",
        MANDATE,
        "backup",
        &path("b"),
        "--dir",
        &text(&dir),
        "--keys-file",
        &path("k"),
    ]);
    let backup = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_it_is_writing(&folder);
    kill_process(Pid::from_child(&backup), Signal::INT).unwrap();
    succeeds(&ended(backup));
    let bytes = fs::read(path("b")).unwrap();
    let restored = folder.join("restored");
    fs::create_dir(&restored).unwrap();
    for (at, inside) in [("new", &folder), ("restored", &restored)] {
        let mut restore = begin(&["restore", "-", "--dir", &path(at), "--keys-file", &path("k")]);
        let mut input = restore.stdin.take().unwrap();
        input.write_all(&bytes[..bytes.len() / 2]).unwrap();
        until_it_is_writing(inside);
        kill_process(Pid::from_child(&restore), Signal::TERM).unwrap();
        // It is waiting for the other half.
        drop(input);
        stopped(&ended(restore), 143, "standard input is not restored");
        assert_eq!(names(&folder), ["b", "k", "restored"]);
        assert_eq!(names(&restored), [""; 0], "it can be tried again");
    }
    succeeds(&run(&["restore", &path("b"), "--dir", &path("restored"), "--keys-file", &path("k")]));
}
