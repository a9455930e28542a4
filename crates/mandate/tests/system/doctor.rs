//! `mandate doctor`: each kind of damage is reported, with what to do, and nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mandate_testkit::database::OF_FILES;
use mandate_testkit::skipped;
use serde_json::Value;

use crate::processes::{Server, keeps_files, run, run_into, unwritable};

/// A directory after a clean shutdown of its server, made once for each test.
struct Patient {
    root: tempfile::TempDir,
    dir: PathBuf,
}

impl Patient {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("server");
        let server = Server::start(&dir);
        for _ in 0..3 {
            assert_eq!(run(&["node", "join-token", "--dir", &dir.to_string_lossy()]).code, Some(0));
        }
        assert_eq!(server.role.terminate(), Some(0));
        Self { root, dir }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Every file with its bytes and mode.
    fn content(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let each = |entry: fs::DirEntry| {
            let mode = entry.metadata().unwrap().permissions().mode();
            (entry.file_name().into_string().unwrap(), (mode, fs::read(entry.path()).unwrap()))
        };
        fs::read_dir(&self.dir).unwrap().map(|entry| each(entry.unwrap())).collect()
    }

    /// The checks that found a problem, and what it says to do.
    fn problems(&self, options: &[&str]) -> Vec<(String, String, String)> {
        let before = self.content();
        let ran = run(&[&["doctor", "--json", "--dir", &self.dir.to_string_lossy()][..], options].concat());
        assert!(before == self.content(), "nothing is changed: {:?}", self.content().keys());
        let said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let problems: Vec<_> = said["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["state"] == "problem")
            .map(|check| (text(&check["check"]), text(&check["detail"]), text(&check["next"])))
            .collect();
        assert_eq!(ran.code, Some(if problems.is_empty() { 0 } else { 5 }), "{}", ran.out);
        assert_eq!(said["problems"], problems.len(), "{}", ran.out);
        problems
    }

    /// Exactly one problem, of that check, with these words in what was found and in what to do.
    fn has(&self, options: &[&str], check: &str, found: &str, next: &str) {
        // While no server runs, any connection of this machine may be given one of its ports for a moment.
        let counts = |name: &str| name == check || !name.starts_with("address for ");
        let problems: Vec<_> = self.problems(options).into_iter().filter(|(name, ..)| counts(name)).collect();
        assert_eq!(problems.len(), 1, "{check}: {problems:?}");
        let (name, detail, command) = &problems[0];
        assert!(name == check && detail.contains(found) && command.contains(next), "{problems:?}");
    }

    /// With a file changed for a while.
    fn with(&self, file: &str, change: impl FnOnce(&Path), look: impl FnOnce()) {
        let path = self.path(file);
        let right = fs::read(&path).unwrap();
        change(&path);
        look();
        let _ = fs::remove_file(&path);
        fs::write(&path, right).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_healthy_directory_has_no_problem_with_and_without_its_server() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let patient = Patient::new();
    // A node's directory is below the server's, unless it is told another.
    fs::create_dir(patient.path("node")).unwrap();
    let ran = run(&["doctor", "--dir", &patient.dir.to_string_lossy()]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    fs::remove_dir(patient.path("node")).unwrap();
    assert_eq!(patient.problems(&[]), []);
    let server = Server::start(&patient.dir);
    let ran = run(&["doctor", "--dir", &patient.dir.to_string_lossy()]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("runs in this directory"), "{}", ran.out);
    // Killed: the newest transactions are in the write-ahead log.
    let mut server = server;
    server.role.kill();
    fs::remove_file(patient.path("admin.sock")).unwrap();
    assert_eq!(patient.problems(&[]), []);
}

#[test]
fn each_damage_to_a_file_is_told_with_what_to_do() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let patient = Patient::new();
    let mode = |mode| move |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    patient.with("seal.key", remove, || patient.has(&[], "sealing key", "seal.key is missing", "chmod 600"));
    patient.with(
        "seal.key",
        |path| fs::write(path, [7; 32]).unwrap(),
        || {
            patient.has(&[], "sealing key of the database", "belongs to another database", "KEPT");
        },
    );
    patient.with(
        "seal.key",
        |path| fs::write(path, [7; 5]).unwrap(),
        || patient.has(&[], "sealing key", "damaged", "KEPT"),
    );
    patient.with(
        "serve.json",
        |path| fs::write(path, "{").unwrap(),
        || patient.has(&[], "serve.json", "damaged", "mv "),
    );
    patient.with("serve.json", remove, || assert_eq!(patient.problems(&[]), []));
    let foreign = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("acme.example", "other.example")).unwrap();
    };
    patient.with("serve.json", foreign, || {
        let problems = patient.problems(&[]);
        assert!(problems.iter().any(|(check, ..)| check == "serve.json and mandate.db"), "{problems:?}");
    });
    patient
        .with("mandate.db", remove, || patient.has(&[], "database", "missing or empty", "mandate restore"));
    patient.with(
        "mandate.db",
        |path| fs::write(path, "x".repeat(8192)).unwrap(),
        || {
            patient.has(&[], "database", "not a Mandate database", "mandate restore");
        },
    );
    let newer = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
        fs::write(path, bytes).unwrap();
    };
    patient.with("mandate.db", newer, || patient.has(&[], "database", "schema 99", "mandate --version"));
    let record = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.windows(9).rposition(|window| window == b"\"outcome\"").unwrap();
        bytes[at + 1] = b'O';
        fs::write(path, bytes).unwrap();
    };
    patient.with("mandate.db", record, || {
        patient.has(&[], "audit log", "not what was written", "mandate restore");
    });
    let page = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        // The second page is the root of the first table.
        bytes[4096..4096 + 64].fill(0xa5);
        fs::write(path, bytes).unwrap();
    };
    patient.with("mandate.db", page, || {
        let problems = patient.problems(&[]);
        assert!(problems.iter().any(|(check, ..)| check == "database pages"), "{problems:?}");
    });
    patient.with("mandate.db", mode(0o644), || {
        let problems = patient.problems(&[]);
        assert!(
            problems
                .iter()
                .all(|(_, detail, next)| detail.contains("others may read it")
                    && next.starts_with("chmod 600 "))
        );
        assert!(!problems.is_empty());
    });
    assert_eq!(patient.problems(&[]), []);
}

#[test]
fn a_database_without_the_write_ahead_log_that_it_needs_is_told() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let patient = Patient::new();
    let mut server = Server::start(&patient.dir);
    server.role.kill();
    fs::remove_file(patient.path("admin.sock")).unwrap();
    for file in ["mandate.db-wal", "mandate.db-shm"] {
        fs::remove_file(patient.path(file)).unwrap();
    }
    patient.has(&[], "write-ahead log", "mandate.db together with mandate.db-wal", "mandate restore");
}

#[test]
fn the_directory_itself_is_judged() {
    let patient = Patient::new();
    fs::set_permissions(&patient.dir, fs::Permissions::from_mode(0o777)).unwrap();
    patient.has(&[], "directory", "others may write", "chmod 700");
    fs::set_permissions(&patient.dir, fs::Permissions::from_mode(0o700)).unwrap();
    let ran = run(&["doctor", "--dir", &patient.root.path().join("nowhere").to_string_lossy()]);
    assert_eq!(ran.code, Some(5), "{}", ran.out);
    assert!(
        ran.out.contains("could not look") && ran.out.contains("next: mandate serve --dir"),
        "{}",
        ran.out
    );
}

#[test]
fn options_that_do_not_fit_are_told() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let patient = Patient::new();
    patient.has(
        &["--trust-domain", "other.example"],
        "issuer",
        "not other.example",
        "--trust-domain acme.example",
    );
    patient.has(&["--issuer", "http://127.0.0.1:1"], "issuer", "not http://127.0.0.1:1", "--issuer http");
    patient.has(&["--listen", "0.0.0.0:0"], "issuer", "not a loopback address", "serve --help");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    patient.has(&["--node-listen", &address], "address for nodes", &address, "--node-listen ADDR");
    let problems = patient.problems(&["--tls-cert", "nosuch.pem", "--tls-key", "nosuch.pem"]);
    assert!(
        problems.iter().any(|(check, detail, _)| check == "TLS certificate" && detail.contains("nosuch.pem")),
        "{problems:?}"
    );
}

#[test]
fn a_certificate_that_has_expired_and_a_key_of_another_are_told() {
    let patient = Patient::new();
    let file = |name: &str| patient.root.path().join(name).to_string_lossy().into_owned();
    let (cert, key, other) = (file("cert.pem"), file("key.pem"), file("other.pem"));
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    fs::write(&cert, params.self_signed(&pair).unwrap().pem()).unwrap();
    for (path, pem) in
        [(&key, pair.serialize_pem()), (&other, rcgen::KeyPair::generate().unwrap().serialize_pem())]
    {
        fs::write(path, pem).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for (key, found) in [(&key, "has expired at 2021"), (&other, "do not belong together")] {
        let problems = patient.problems(&["--tls-cert", &cert, "--tls-key", key]);
        assert!(
            problems.iter().any(|(check, detail, _)| check == "TLS certificate" && detail.contains(found)),
            "{problems:?}"
        );
    }
}

/// Where a database has the time of its newest record, in 48 bits. In a row of `logs` it is between the
/// origin and the checkpoint, which begins with the origin.
fn newest_record(database: &[u8]) -> Vec<usize> {
    const TAG: &[u8] = b"/audit/01234567";
    let tags: Vec<usize> = database
        .windows(7)
        .enumerate()
        .filter(|(_, window)| *window == b"/audit/")
        .map(|(at, _)| at)
        .collect();
    let row = |pair: &[usize]| {
        let [first, second] = *pair else { return None };
        let end = first + TAG.len();
        let domain = second.checked_sub(end + 6)?;
        let origin = database.get(first.checked_sub(domain)?..end)?;
        let again = database.get(end + 6..)?;
        (again.starts_with(origin) && again.get(origin.len()) == Some(&b'\n')).then_some(end)
    };
    tags.windows(2).filter_map(row).collect()
}

#[test]
fn a_clock_behind_the_newest_record_is_told() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let patient = Patient::new();
    // Every record says when it was; what the database remembers of the newest is what the server goes by.
    patient.with(
        "mandate.db",
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let at = newest_record(&bytes);
            assert!(!at.is_empty());
            for at in at {
                bytes[at] = 5;
            }
            fs::write(path, bytes).unwrap();
        },
        || patient.has(&[], "clock", "the clock was set back", "timedatectl"),
    );
}

#[test]
fn that_there_is_a_problem_is_told_also_where_standard_output_cannot_be_written() {
    let patient = Patient::new();
    fs::remove_file(patient.path("seal.key")).unwrap();
    for (output, out) in unwritable() {
        let ran = run_into(out, &["doctor", "--dir", &patient.dir.to_string_lossy()]);
        assert_eq!(ran.code, Some(5), "{output}: {}", ran.err);
    }
}
