//! Which database a server uses: what is refused before anything is made, and what the directory remembers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::{Ran, mandate, mandate_with};

const URL: &str = "postgres://mandate@127.0.0.1:1/log?sslmode=disable";

/// What a server with PostgreSQL leaves in its directory, as far as it says which kind of store that is.
const OF_POSTGRES: &str = r#"{"issuer": "http://127.0.0.1:8420", "trust_domain": "acme.example", "store": "postgres", "port": 8420, "node_port": 8421, "admin_port": 8422}"#;

fn refused(ran: &Ran, says: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    for words in says {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_password_in_the_address_is_refused_and_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let url = "postgres://mandate:hunter2@db.example/log";
    for command in ["serve", "doctor"] {
        for ran in [
            mandate(dir.path(), &[command, "--store", url], ""),
            mandate_with(dir.path(), &[command], "", &[("MANDATE_STORE", url)]),
            mandate(dir.path(), &[command, "--json", "--store", url], ""),
        ] {
            refused(&ran, &["--store-password-file"]);
            assert!(!ran.err.contains("hunter2"), "{}", ran.err);
        }
        let ran = mandate_with(dir.path(), &[command, "--help"], "", &[("MANDATE_STORE", url)]);
        assert!(
            ran.code == 0 && ran.out.contains("MANDATE_STORE") && !ran.out.contains("hunter2"),
            "{}",
            ran.out
        );
    }
    assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing is made");
}

#[test]
fn an_address_that_cannot_be_used_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let password = tempfile::NamedTempFile::new().unwrap();
    fs::write(password.path(), "hunter2\n").unwrap();
    fs::set_permissions(password.path(), Permissions::from_mode(0o644)).unwrap();
    let password = password.path().to_str().unwrap();
    for (options, says) in [
        (&["--store", "data.db"][..], "write postgres://USER@HOST:PORT/DATABASE"),
        (
            &["--store", "postgres://mandate@db.example/log?sslmode=require"],
            "sslmode=require accepts every certificate",
        ),
        (&["--store", "postgres://mandate@db.example/log?sslmode=disable"], "loopback address alone"),
        (&["--store", "postgres://mandate@db.example/log?options=x"], "there is no parameter options"),
        (&["--store", "postgres://?service=log"], ".pg_service.conf"),
        (&["--store", URL, "--store-password-file", password], "chmod 600"),
        (&["--store", URL, "--store-password-file", "/nonexistent"], "/nonexistent"),
        (&["--store-password-file", password], "--store"),
    ] {
        let ran = mandate(dir.path(), &[&["serve"], options].concat(), "");
        refused(&ran, &[says]);
        assert!(!ran.err.contains("hunter2"), "{}", ran.err);
    }
    assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing is made");
}

#[test]
fn a_service_is_found_where_libpq_looks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[log]\nhost=db.example\nuser=mandate\ndbname=log\nsslmode=prefer\n";
    fs::write(dir.path().join(".pg_service.conf"), text).unwrap();
    refused(
        &mandate(dir.path(), &["serve", "--store", "postgres://?service=log"], ""),
        &[".pg_service.conf, line 5: sslmode=prefer"],
    );
    let other = dir.path().join("other");
    fs::write(&other, "[log]\nport=x\n").unwrap();
    let named = [("PGSERVICEFILE", other.to_str().unwrap())];
    refused(
        &mandate_with(dir.path(), &["serve", "--store", "postgres://?service=log"], "", &named),
        &["other, line 2: its port"],
    );
    // Nothing else is taken from libpq's environment.
    let environment =
        [("PGHOST", "db.example"), ("PGUSER", "mandate"), ("PGDATABASE", "log"), ("PGPASSWORD", "hunter2")];
    refused(
        &mandate_with(dir.path(), &["serve", "--store", "postgres:///log"], "", &environment),
        &["the host is missing"],
    );
}

#[test]
fn a_server_does_not_start_with_another_kind_of_store_than_before() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("serve.json"), OF_POSTGRES).unwrap();
    let ran = mandate(dir.path(), &["serve"], "");
    refused(
        &ran,
        &["belongs to a server with a PostgreSQL database", "MANDATE_STORE", " next: mandate serve --dir"],
    );
    let unset = mandate_with(dir.path(), &["serve"], "", &[("MANDATE_STORE", "")]);
    refused(&unset, &["belongs to a server with a PostgreSQL database"]);
    assert_eq!(names(dir.path()), ["serve.json"], "no empty database beside it");

    let embedded = OF_POSTGRES.replace(r#""store": "postgres", "#, "");
    fs::write(dir.path().join("serve.json"), &embedded).unwrap();
    for ran in [
        mandate(dir.path(), &["serve", "--store", URL], ""),
        mandate_with(dir.path(), &["serve"], "", &[("MANDATE_STORE", URL)]),
    ] {
        refused(&ran, &["keeps its data in the mandate.db", "(without --store and MANDATE_STORE)"]);
    }
    assert_eq!(names(dir.path()), ["serve.json"]);
    // The database says it as well.
    fs::rename(dir.path().join("serve.json"), dir.path().join("mandate.db")).unwrap();
    fs::set_permissions(dir.path().join("mandate.db"), Permissions::from_mode(0o600)).unwrap();
    refused(&mandate(dir.path(), &["serve", "--store", URL], ""), &["keeps its data in the mandate.db"]);
    assert_eq!(names(dir.path()), ["mandate.db"]);
}

#[test]
fn doctor_looks_at_the_kind_of_store_and_at_what_tls_needs() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    fs::write(dir.path().join("serve.json"), OF_POSTGRES).unwrap();
    let problem = |options: &[&str]| {
        let ran = mandate(dir.path(), &[&["doctor", "--json"], options].concat(), "");
        assert_eq!(ran.code, 5, "{}", ran.err);
        let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let of = |check: &str| {
            said["checks"].as_array().unwrap().iter().find(|found| found["check"] == check).cloned().unwrap()
        };
        (of("store"), of("sealing key"), of("database"))
    };
    let (store, key, database) = problem(&[]);
    assert!(
        store["state"] == "problem" && store["next"].as_str().unwrap().contains("--store URL"),
        "{store}"
    );
    assert_eq!(
        (key["state"].as_str(), database["state"].as_str()),
        (Some("problem"), Some("could_not_look")),
        "{key} {database}"
    );
    let (store, key, _) = problem(&["--store", URL]);
    assert_eq!(store["state"], "ok", "{store}");
    assert!(key["detail"].as_str().unwrap().contains("the database cannot be used without it"), "{key}");
    let (store, ..) = problem(&["--store", "postgres://mandate@db.example/log?sslrootcert=/nonexistent.pem"]);
    assert!(
        store["state"] == "problem" && store["detail"].as_str().unwrap().contains("/nonexistent.pem"),
        "{store}"
    );
    assert_eq!(names(dir.path()), ["serve.json"], "nothing is changed");
}

#[test]
fn a_backup_of_postgresql_is_made_and_restored_with_its_own_programs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("serve.json"), OF_POSTGRES).unwrap();
    let file = dir.path().join("backup.tar");
    let file = file.to_str().unwrap();
    let (backup, restore) = (
        ["pg_dump", "sslmode=verify-full&sslrootcert=", "/seal.key KEPT"],
        ["pg_restore", "sslmode=verify-full&sslrootcert=", "install -m 600 KEPT"],
    );
    refused(&mandate(dir.path(), &["backup", file], ""), &backup);
    refused(&mandate(dir.path(), &["restore", file], ""), &restore);
    assert_eq!(names(dir.path()), ["serve.json"]);
    fs::remove_file(dir.path().join("serve.json")).unwrap();
    refused(&mandate(dir.path(), &["backup", file, "--store", "postgres://m:hunter2@h/d"], ""), &backup);
    refused(&mandate_with(dir.path(), &["restore", file], "", &[("MANDATE_STORE", URL)]), &restore);
    assert_eq!(names(dir.path()), Vec::<String>::new());
}
