use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::{Backfill, Growth, LONG, Moved, Next, STEP, attempt, move_pages};
use crate::sqlite::connection::{self, Use};
use crate::sqlite::gate::Gate;

/// How long something may take that must happen.
const SOON: Duration = Duration::from_secs(30);

fn next(seen: u32, more: u32) -> Next {
    Next { seen, more, at_latest: None }
}

/// A database with one table, and the connection that writes it.
fn database(dir: &Path) -> Connection {
    let path = dir.join("a.db");
    std::fs::File::create(&path).unwrap();
    let conn = connection::open(&path, Use::Write).unwrap();
    conn.execute_batch("CREATE TABLE t (x BLOB);").unwrap();
    conn
}

fn mover(dir: &Path) -> Connection {
    let conn = connection::open(&dir.join("a.db"), Use::Backfill).unwrap();
    conn.busy_timeout(Duration::ZERO).unwrap();
    conn
}

/// Writes about so many pages into the write-ahead log, in turns.
fn write(conn: &Connection, gate: &Arc<Gate>, pages: u32) {
    for _ in 0..pages / 10 {
        let _turn = gate.enter().unwrap();
        conn.execute("INSERT INTO t VALUES (zeroblob(?))", [8 * 4096]).unwrap();
    }
}

fn length(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("a.db-wal")).unwrap().len() / 4096
}

/// Runs until it holds.
fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_length_wakes_the_thread_at_what_it_waits_for() {
    let growth = Arc::new(Growth::default());
    let (told, lengths) = mpsc::channel();
    let own = Arc::clone(&growth);
    let waiting = thread::spawn(move || {
        let mut at = next(0, STEP);
        while let Some(pages) = own.wait(at) {
            told.send(pages).unwrap();
            at = next(pages, STEP);
        }
    });
    growth.written(STEP - 1);
    assert!(lengths.recv_timeout(Duration::from_millis(50)).is_err(), "too few");
    growth.written(STEP);
    assert_eq!(lengths.recv_timeout(SOON).unwrap(), STEP);
    growth.written(2 * STEP - 1);
    assert!(lengths.recv_timeout(Duration::from_millis(50)).is_err(), "a step more");
    // It has begun again: the next step counts from its beginning.
    growth.written(3);
    growth.written(STEP);
    assert_eq!(lengths.recv_timeout(SOON).unwrap(), STEP);
    growth.stop();
    waiting.join().unwrap();
}

#[test]
fn a_write_ahead_log_that_begins_again_during_an_attempt_is_moved_after_one_step() {
    let growth = Growth::default();
    growth.written(LONG);
    growth.written(STEP);
    assert_eq!(growth.wait(next(LONG, STEP)), Some(STEP));
}

#[test]
fn after_a_failure_and_behind_a_reader_the_next_attempt_is_soon() {
    let growth = Growth::default();
    growth.written(LONG);
    let later: [fn() -> Next; 2] = [|| Next::after_failure(LONG), || Next::after(LONG, Moved { all: false })];
    for later in later {
        let begun = Instant::now();
        assert_eq!(growth.wait(later()), Some(LONG));
        assert!(begun.elapsed() > Duration::from_millis(500), "and not at once");
    }
    assert!(
        Next::after(LONG, Moved { all: true }).at_latest.is_none(),
        "with nothing to do the thread sleeps"
    );
}

#[test]
fn what_was_written_is_moved_beside_a_writer_and_the_write_ahead_log_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = database(dir.path());
    let gate = Arc::default();
    let backfill = Backfill::start(mover(dir.path()), Arc::clone(&gate)).unwrap();
    backfill.follow(&mut conn).unwrap();
    write(&conn, &gate, 20 * LONG);
    assert!(length(dir.path()) < u64::from(5 * LONG), "{}", length(dir.path()));
}

/// A connection that cannot write the file, as on a disk that fails.
#[test]
fn if_nothing_can_be_moved_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = database(dir.path());
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let unable =
        Connection::open_with_flags(dir.path().join("a.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let gate = Arc::default();
    write(&conn, &gate, 20);
    assert!(move_pages(&unable, "PASSIVE").is_err(), "or this test shows nothing");
    let mut backfill = Backfill::start(unable, Arc::clone(&gate)).unwrap();
    backfill.follow(&mut conn).unwrap();
    write(&conn, &gate, 3 * LONG);
    assert!(length(dir.path()) > u64::from(2 * LONG), "{}", length(dir.path()));
    backfill.end();
    let able = mover(dir.path());
    assert!(move_pages(&able, "RESTART").unwrap().all, "and nothing is lost");
    assert_eq!(
        conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0)).unwrap(),
        2 + 3 * LONG / 10
    );
}

#[test]
fn writers_wait_only_if_no_reader_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let conn = database(dir.path());
    let (mover, gate, growth) = (mover(dir.path()), Arc::<Gate>::default(), Growth::default());
    let reader = connection::open(&dir.path().join("a.db"), Use::Read).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM t;").unwrap();
    write(&conn, &gate, LONG);
    growth.written(LONG);
    let turn = gate.enter().unwrap();
    // In the thread that has the turn: to ask for one would be an error.
    assert!(!attempt(&mover, &gate, &growth).unwrap().all);
    drop(turn);
    reader.execute_batch("COMMIT").unwrap();
    assert!(attempt(&mover, &gate, &growth).unwrap().all);
    let before = length(dir.path());
    write(&conn, &gate, 20);
    assert_eq!(length(dir.path()), before, "it began again");
}

#[test]
fn the_thread_ends_when_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = database(dir.path());
    let mut backfill = Backfill::start(mover(dir.path()), Arc::default()).unwrap();
    backfill.follow(&mut conn).unwrap();
    let growth = Arc::downgrade(&backfill.growth);
    backfill.end();
    assert!(backfill.thread.is_none());
    drop(backfill);
    // A connection that still follows does no harm.
    write(&conn, &Arc::default(), LONG);
    drop(conn);
    until(|| growth.strong_count() == 0);
}
