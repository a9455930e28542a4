//! `mandate doctor` with a PostgreSQL database: what keeps a server from starting with it is reported, with
//! what to do, and nothing is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mandate_testkit::postgres::{ACCEPT_LOST_RECORDS, Cluster};
use mandate_testkit::skipped;
use serde_json::Value;

use crate::processes::{Role, Server, run, run_in};

/// A server's directory, and the database that belongs to it.
struct Patient {
    cluster: Cluster,
    database: String,
    root: tempfile::TempDir,
    dir: PathBuf,
}

/// What the checks have found.
struct Found(Vec<Value>);

impl Found {
    fn of(&self, check: &str) -> (&str, &str, &str) {
        let found = self.0.iter().find(|found| found["check"] == check);
        let found = found.unwrap_or_else(|| panic!("{check}: {:?}", self.0));
        let text = |member: &str| found[member].as_str().unwrap_or_default();
        (text("state"), text("detail"), text("next"))
    }

    /// Exactly one problem, with these words in what was found and in what to do. Returns what to do.
    fn has(&self, check: &str, detail: &str, next: &str) -> String {
        // While no server runs, any connection of this machine may be given one of its ports for a moment.
        let problems: Vec<_> = self
            .0
            .iter()
            .filter(|found| found["state"] == "problem")
            .filter(|found| !found["check"].as_str().unwrap().starts_with("address for "))
            .collect();
        assert_eq!(problems.len(), 1, "{check}: {problems:?}");
        let (_, found, to_do) = self.of(check);
        assert_eq!(problems[0]["check"], check, "{problems:?}");
        assert!(found.contains(detail) && to_do.contains(next), "{problems:?}");
        to_do.to_owned()
    }

    fn is_healthy(&self) {
        let problems: Vec<_> = self
            .0
            .iter()
            .filter(|found| found["state"] != "ok")
            .filter(|found| !found["check"].as_str().unwrap().starts_with("address for "))
            .collect();
        assert!(problems.is_empty(), "{problems:?}");
    }
}

impl Patient {
    fn new() -> Option<Self> {
        let Some(cluster) = Cluster::start(&[]) else {
            skipped("PostgreSQL is not installed");
            return None;
        };
        let database = cluster.create_database();
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("server");
        let patient = Self { cluster, database, root, dir };
        let server = patient.serve();
        for _ in 0..3 {
            assert_eq!(run(&["node", "join-token", "--dir", &patient.dir.to_string_lossy()]).code, Some(0));
        }
        assert_eq!(server.role.terminate(), Some(0));
        Some(patient)
    }

    fn url(&self) -> String {
        self.cluster.url(&self.database)
    }

    fn serve(&self) -> Server {
        Server::start_in(&[("MANDATE_STORE", self.url())], &self.dir)
    }

    /// All of the database. Each dump has a random word in its `\\restrict` lines.
    fn content(&self) -> String {
        let dump = String::from_utf8(self.cluster.dump(&self.database)).unwrap();
        let lines = dump.lines().filter(|line| !line.contains("restrict "));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn doctor(&self) -> Found {
        self.doctor_with(&self.dir, &self.url())
    }

    fn doctor_with(&self, dir: &Path, url: &str) -> Found {
        let before = self.content();
        let ran = run_in(
            &[("MANDATE_STORE", url.to_owned())],
            &["doctor", "--json", "--dir", &dir.to_string_lossy()],
        );
        assert!(before == self.content(), "nothing is changed");
        let said: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
        let healthy = said["problems"] == 0;
        assert_eq!(ran.code, Some(if healthy { 0 } else { 5 }), "{}", ran.out);
        Found(said["checks"].as_array().unwrap().clone())
    }

    fn sql(&self, statement: &str) {
        self.cluster.sql(&self.database, statement);
    }

    /// With the database changed for a while.
    fn with(&self, change: &str, back: &str, look: impl FnOnce(Found)) {
        self.sql(change);
        look(self.doctor());
        self.sql(back);
    }
}

#[test]
fn a_healthy_database_has_no_problem_with_and_without_its_server() {
    let Some(patient) = Patient::new() else { return };
    let found = patient.doctor();
    found.is_healthy();
    assert!(found.of("database").1.contains("has schema "), "{:?}", found.0);
    assert!(found.of("audit log").1.starts_with("verifies: "), "{:?}", found.0);
    assert!(found.of("server of the database").1.contains("no server of Mandate uses it"), "{:?}", found.0);
    let server = patient.serve();
    let found = patient.doctor();
    found.is_healthy();
    assert!(found.of("server of the database").1.contains("one runs in this directory"), "{:?}", found.0);

    // Before the first start there is no directory: the database is looked at all the same.
    let found = patient.doctor_with(&patient.root.path().join("none"), &patient.url());
    assert_eq!((found.of("directory").0, found.of("database").0), ("problem", "ok"), "{:?}", found.0);
    assert_eq!(found.of("audit log").0, "ok", "{:?}", found.0);

    // Another directory, whose key is lost, and whose server would meet the one that runs.
    let other = patient.root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(other.join("seal.key"), [7; 32]).unwrap();
    fs::set_permissions(other.join("seal.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let found = patient.doctor_with(&other, &patient.url());
    let (state, detail, next) = found.of("server of the database");
    assert!(state == "problem" && detail.contains("another server of Mandate uses it"), "{detail}");
    assert!(next.starts_with("psql 'postgres://mandate@") && next.contains("pg_locks"), "{next}");
    let shown = Command::new("sh").args(["-c", next.split("   (").next().unwrap()]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("mandate") && shown.contains("ExclusiveLock"), "{shown}");
    assert_eq!(found.of("sealing key of the database").0, "problem", "{:?}", found.0);
    drop(server);
}

#[test]
fn what_keeps_a_server_from_its_database_is_told_with_what_to_do() {
    let Some(mut patient) = Patient::new() else { return };
    patient.with(
        "UPDATE mandate_schema SET version = version + 1000",
        "UPDATE mandate_schema SET version = version - 1000",
        |found| drop(found.has("database", "this program knows up to", "mandate --version")),
    );
    patient.with(
        "UPDATE mandate_schema SET version = version - 1",
        "UPDATE mandate_schema SET version = version + 1",
        |found| {
            assert!(found.of("database").1.contains("the next start brings it up to date"), "{:?}", found.0);
            assert_eq!(found.of("audit log").0, "could_not_look");
        },
    );
    patient.with(
        "UPDATE records SET leaf = leaf || 'x'::bytea WHERE idx = 1",
        "UPDATE records SET leaf = substring(leaf FOR length(leaf) - 1) WHERE idx = 1",
        |found| drop(found.has("audit log", "not what was written", "pg_restore")),
    );
    patient.with(
        "UPDATE logs SET newest = newest + 86400000",
        "UPDATE logs SET newest = newest - 86400000",
        |found| drop(found.has("clock", "the clock was set back", "timedatectl")),
    );
    patient.with(
        "UPDATE meta SET value = 'https://other.example' WHERE name = 'issuer'",
        &format!("UPDATE meta SET value = '{}' WHERE name = 'issuer'", {
            let text = fs::read_to_string(patient.dir.join("serve.json")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["issuer"].as_str().unwrap().to_owned()
        }),
        |found| drop(found.has("serve.json and database", "they are of two servers", "serve.json.other")),
    );
    let key = fs::read(patient.dir.join("seal.key")).unwrap();
    fs::write(patient.dir.join("seal.key"), [7; 32]).unwrap();
    patient.doctor().has("sealing key of the database", "belongs to another database", "KEPT");
    fs::write(patient.dir.join("seal.key"), key).unwrap();

    let empty = patient.cluster.url(&patient.cluster.create_database());
    patient.doctor_with(&patient.dir, &empty).has("database", "is empty", "pg_restore");
    patient.sql("CREATE DATABASE others");
    patient.cluster.sql("others", "CREATE TABLE customers (name TEXT)");
    let others = patient.cluster.url("others");
    patient.doctor_with(&patient.dir, &others).has("database", "not a Mandate database", "--store URL");
    let nowhere = patient.cluster.url("nowhere");
    patient.doctor_with(&patient.dir, &nowhere).has(
        "database",
        "database \"nowhere\" does not exist",
        "psql '",
    );
    let strict = patient.url().replace(&format!("?{ACCEPT_LOST_RECORDS}"), "");
    patient.doctor_with(&patient.dir, &strict).has("database", "fsync = off", "ALTER SYSTEM SET fsync = on");
    patient.cluster.restart_with("default_transaction_read_only=on");
    patient.doctor().has("server of the database", "it takes no writes", "pg_is_in_recovery");
    patient.cluster.restart_with("default_transaction_read_only=off");
    patient.doctor().is_healthy();
}

#[test]
fn a_server_does_not_start_where_commits_can_be_lost_and_says_what_to_do() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let url = cluster.url(&cluster.create_database());
    let strict = url.replace(&format!("?{ACCEPT_LOST_RECORDS}"), "");
    let arguments = ["serve", "--dir", &dir.to_string_lossy(), "--trust-domain", "acme.example"];
    let ran = run_in(&[("MANDATE_STORE", strict)], &arguments);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("fsync = off") && ran.err.contains(ACCEPT_LOST_RECORDS), "{}", ran.err);
    assert!(ran.err.contains("next: mandate doctor --dir") && ran.err.contains("--store URL"), "{}", ran.err);
    assert!(!dir.join("seal.key").exists(), "no server has used the database");
    let log = root.path().join("accepted");
    let role = Role::start_in(&[("MANDATE_STORE", url)], &log, &arguments, "");
    assert!(role.log().contains("can be lost"), "{}", role.log());
}
