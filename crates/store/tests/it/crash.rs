//! `kill -9` at any moment: every record with a receipt is there, the tree verifies, and the log opens by
//! itself.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::database;

use crate::world::{ORIGIN, World, add_log, open, record, start, verify};

const DIR: &str = "MANDATE_TEST_CRASH_DIR";

/// The process that is killed: it appends in an endless loop and prints the id of each record with a receipt.
#[test]
fn victim() {
    // Only runs when the test below starts it.
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let store = open(&dir);
    add_log(&store);
    let first = store.read_blocking("size", |tx| mandate_store::records::size(tx, ORIGIN)).unwrap();
    let (log, _thread) = start(store.audit_backend(ORIGIN).unwrap()).unwrap();
    thread::scope(|scope| {
        for worker in 0..4u64 {
            let log = log.clone();
            scope.spawn(move || {
                for n in 0.. {
                    let receipt = log
                        .append_blocking(record(first * 1_000_000 + worker * 100_000 + n), Vec::new())
                        .unwrap();
                    writeln!(std::io::stdout().lock(), "receipt {}", receipt.record().id).unwrap();
                }
            });
        }
    });
}

fn run_and_kill(dir: &Path, after: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture"])
        .env(DIR, dir)
        .envs(database::environment())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut receipts = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The first line may share its line with the test harness's "test crash::victim ... ".
    let id = |line: String| line.rsplit_once("receipt ").map(|(_, id)| id.to_owned());
    while receipts.len() < after {
        receipts.extend(id(lines.next().expect("the victim ended by itself").unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What was printed before the kill counts too; a line without its end may be half an id.
    receipts.extend(lines.map_while(Result::ok).filter_map(id));
    receipts.pop();
    receipts
}

#[test]
fn after_kill_9_every_receipted_record_is_there_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut receipts = Vec::new();
    for after in [1, 40, 300] {
        receipts.extend(run_and_kill(dir.path(), after));
        let store = open(dir.path());
        let size = verify(&store).unwrap().size;
        for id in &receipts {
            let id = id.parse().unwrap();
            let found = store.search_blocking("get", |tx| mandate_store::records::get(tx, &id)).unwrap();
            assert!(found.is_some(), "{id} was receipted and is gone");
        }
        let (log, thread) = start(store.audit_backend(ORIGIN).unwrap()).unwrap();
        let next = log.append_blocking(record(900_000_000 + size), Vec::new()).unwrap();
        assert_eq!(next.index(), size);
        drop(log);
        thread.join().unwrap();
        assert_eq!(verify(&store).unwrap().size, size + 1);
    }
}

#[test]
fn one_process_at_a_time_uses_a_directory() {
    let world = World::new();
    world.append(0).unwrap();
    let dir = world.stop();
    let first = open(dir.path());
    let second = database::open(dir.path(), Arc::new(SeededEntropy::new(1)));
    assert!(second.unwrap_err().to_string().contains("another process uses this directory"));
    drop(first);
    assert_eq!(verify(&open(dir.path())).unwrap().size, 1);
}
