//! The write-ahead log under load: it stays short, and whatever is in its way stops no append.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mandate_store::{AppendError, records};
use mandate_testkit::small_disk::SmallDisk;
use mandate_testkit::{database, skipped};

use crate::world::{ORIGIN, World, open, verify};

/// How many callers append at the same time.
const CALLERS: usize = 64;

const MIB: u64 = 1024 * 1024;

/// Appends so many records from the first number on.
fn append_many(world: &World, first: u64, count: u64) {
    thread::scope(|scope| {
        for caller in (0..CALLERS).map(|caller| caller as u64) {
            scope.spawn(move || {
                (first + caller..first + count).step_by(CALLERS).for_each(|n| drop(world.append(n).unwrap()));
            });
        }
    });
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("mandate.db-wal")
}

fn length(dir: &Path) -> u64 {
    fs::metadata(journal(dir)).unwrap().len()
}

/// How often it began again: the sequence number in its header
/// (<https://www.sqlite.org/fileformat2.html#walformat>).
fn begun_again(dir: &Path) -> u32 {
    let mut header = [0; 16];
    File::open(journal(dir)).unwrap().read_exact(&mut header).unwrap();
    u32::from_be_bytes(header[12..].try_into().unwrap())
}

/// Opens what `mandate.db` contains by itself. It is refused if the newest transactions are elsewhere.
fn size_of_file_alone(dir: &Path) -> u64 {
    let alone = tempfile::tempdir().unwrap();
    for name in ["mandate.db", "seal.key"] {
        fs::copy(dir.join(name), alone.path().join(name)).unwrap();
    }
    verify(&open(alone.path())).unwrap().size
}

#[test]
fn under_load_the_write_ahead_log_stays_short_and_after_closing_the_file_is_complete() {
    const COUNT: u64 = 50_000;
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let world = World::new();
    append_many(&world, 0, COUNT);
    let (long, times) = (length(world.dir.path()), begun_again(world.dir.path()));
    assert!(long < 16 * MIB, "{long} bytes");
    assert!(times > 5, "{times}");
    assert_eq!(world.verify().unwrap().size, COUNT);
    let dir = world.stop();
    assert_eq!(length(dir.path()), 0);
    assert_eq!(size_of_file_alone(dir.path()), COUNT);
}

#[test]
fn a_long_reader_stops_no_append_and_after_it_the_write_ahead_log_begins_again() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let world = World::new();
    append_many(&world, 0, 10);
    let mut first = 10;
    let mut before = 0;
    world
        .store
        .read_blocking("long", |tx| {
            let seen = records::size(tx, ORIGIN)?;
            before = begun_again(world.dir.path());
            append_many(&world, first, 8_000);
            first += 8_000;
            assert_eq!(records::size(tx, ORIGIN)?, seen, "it still reads the same moment");
            assert!(length(world.dir.path()) > 5 * MIB, "{}", length(world.dir.path()));
            assert_eq!(begun_again(world.dir.path()), before, "what it reads is still there");
            Ok(())
        })
        .unwrap();
    let since = Instant::now();
    while begun_again(world.dir.path()) == before {
        assert!(since.elapsed() < Duration::from_secs(30));
        world.append(first).unwrap();
        first += 1;
    }
    assert_eq!(world.verify().unwrap().size, first);
}

#[test]
fn on_a_full_disk_appends_are_refused_and_with_room_again_the_write_ahead_log_is_moved() {
    if database::is_postgres() {
        return skipped(database::OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&root.path().join("disk")) else {
        mandate_testkit::skipped("this user may not mount a file system");
        return;
    };
    let world = World::in_dir(tempfile::tempdir_in(disk.path()).unwrap());
    let mut first = 3_000;
    append_many(&world, 0, first);
    let ballast = disk.fill();
    // The write-ahead log has room in its blocks; the file, into which it is to be moved, has none.
    let refused = (0..20_000).find_map(|_| {
        let answer = world.append(first);
        first += u64::from(answer.is_ok());
        answer.err()
    });
    assert!(matches!(&refused, Some(AppendError::Unavailable(why)) if why.contains("full")), "{refused:?}");
    assert_eq!(world.verify().unwrap().size, first);
    fs::remove_file(ballast).unwrap();
    let before = begun_again(world.dir.path());
    append_many(&world, first, 4_000);
    first += 4_000;
    let since = Instant::now();
    while begun_again(world.dir.path()) == before {
        assert!(since.elapsed() < Duration::from_secs(30));
        world.append(first).unwrap();
        first += 1;
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.verify().unwrap().size, first);
    let dir = world.stop();
    assert_eq!(size_of_file_alone(dir.path()), first);
    drop(dir);
}
