//! What can be done with a backup.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_backup::{Archive, BackupError, KeyPlace, Restoring, SealingKeyPlace};
use mandate_core::{Secret, SystemEntropy};
use mandate_store::{Inspection, Store, meta};

use crate::world::{Opens, World, members, names, plan};

const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn what_is_restored_is_what_was_backed_up_with_the_key_apart_or_sealed() {
    let world = World::new(5);
    let apart = world.backup("apart", SealingKeyPlace::Apart).unwrap();
    assert_eq!((apart.manifest.sealing_key, apart.manifest.audit.size), (KeyPlace::Apart, 5));
    let bytes = fs::read(world.path("apart")).unwrap();
    assert_eq!(fs::metadata(world.path("apart")).unwrap().mode() & 0o777, 0o600);
    assert!(
        !bytes.windows(32).any(|window| window == apart.sealing_key.expose_secret()),
        "the key is not in it"
    );
    assert_eq!(
        members(&bytes).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["manifest.json", "serve.json", "mandate.db"]
    );
    world.backup("sealed", SealingKeyPlace::Sealed(Secret::new(PASSPHRASE))).unwrap();
    let sealed = fs::read(world.path("sealed")).unwrap();
    assert!(
        !sealed.windows(32).any(|window| window == apart.sealing_key.expose_secret()),
        "nor in clear in this one"
    );

    fs::create_dir(world.path("empty")).unwrap();
    for (bytes, name, opens) in [
        (&bytes, "a", Opens::Key(apart.sealing_key.clone())),
        (&sealed, "b", Opens::Passphrase(PASSPHRASE)),
        (&bytes, "empty", Opens::Key(apart.sealing_key)),
    ] {
        let restored = world.restore(bytes, name, &opens).unwrap();
        assert_eq!(restored.manifest.audit, apart.manifest.audit);
        let dir = world.path(name);
        assert_eq!(names(&dir), ["last.checkpoint", "mandate.db", "seal.key", "serve.json"]);
        for file in names(&dir) {
            assert_eq!(fs::metadata(dir.join(file)).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(
            Inspection::of_directory(&dir).unwrap().verify_logs(|_, _| ()).unwrap()[0].summary.size,
            5
        );
        let note = Inspection::of_directory(&dir).unwrap().checkpoint().unwrap();
        assert_eq!(Some(fs::read(dir.join("last.checkpoint")).unwrap()), note, "the log goes on from here");
        let store = Store::open_blocking(&dir, Arc::new(SystemEntropy)).unwrap();
        assert_eq!(
            store.read_blocking("keys", |tx| mandate_store::keys::list(tx, "checkpoint")).unwrap().len(),
            1,
            "sealed columns open"
        );
    }
    assert_eq!(world.names(), ["a", "apart", "b", "empty", "sealed", "server"]);
}

#[test]
fn a_backup_of_a_store_that_is_written_to_is_of_one_moment() {
    let world = World::new(1);
    let store = world.open(0);
    store
        .transact_blocking("first", |tx| meta::put(tx, "a", "0").and_then(|()| meta::put(tx, "b", "0")))
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut n = 0u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let text = n.to_string();
                store
                    .transact_blocking("both", |tx| {
                        meta::put(tx, "a", &text).and_then(|()| meta::put(tx, "b", &text))
                    })
                    .unwrap();
            }
            n
        })
    };
    for round in 0..5 {
        let created = world.backup("b", SealingKeyPlace::Apart).unwrap();
        let dir = format!("restored{round}");
        world.restore(&fs::read(world.path("b")).unwrap(), &dir, &Opens::Key(created.sealing_key)).unwrap();
        let restored = Store::open_blocking(&world.path(&dir), Arc::new(SystemEntropy)).unwrap();
        let read = |name| restored.read_blocking("read", |tx| meta::get(tx, name)).unwrap();
        assert_eq!(read("a"), read("b"), "{round}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 5, "it was written to meanwhile");
}

#[test]
fn a_store_that_was_killed_is_backed_up_with_its_write_ahead_log_and_not_without() {
    let world = World::new(1);
    let store = world.open(3);
    let killed = world.path("killed");
    fs::create_dir(&killed).unwrap();
    fs::set_permissions(&killed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for file in ["mandate.db", "mandate.db-wal", "seal.key", "serve.json"] {
        fs::copy(world.dir.join(file), killed.join(file)).unwrap();
    }
    let created = world.backup_of(&killed, "b", SealingKeyPlace::Apart, false).unwrap();
    assert_eq!(created.manifest.audit.size, 4);
    fs::remove_file(killed.join("mandate.db-wal")).unwrap();
    let refused = world.backup_of(&killed, "c", SealingKeyPlace::Apart, false).unwrap_err();
    assert!(matches!(refused, BackupError::JournalMissing(_)), "{refused}");
    assert!(!world.path("c").exists());
    let older = world.backup_of(&killed, "c", SealingKeyPlace::Apart, true).unwrap();
    assert_eq!(older.manifest.audit.size, 1, "on demand, what is there");
    drop(store);
}

#[test]
fn what_is_not_yet_in_the_log_is_in_the_backup() {
    let world = World::new(1);
    fs::write(world.dir.join("stops.reserve"), "one stop").unwrap();
    fs::set_permissions(world.dir.join("stops.reserve"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let created = world.backup("b", SealingKeyPlace::Apart).unwrap();
    world.restore(&fs::read(world.path("b")).unwrap(), "r", &Opens::Key(created.sealing_key)).unwrap();
    assert_eq!(fs::read(world.path("r").join("stops.reserve")).unwrap(), b"one stop");
}

#[test]
fn what_is_not_whole_is_not_backed_up() {
    let world = World::new(3);
    let before = world.names();
    // Another server's file beside the database.
    let serve = world.dir.join("serve.json");
    fs::write(&serve, crate::world::SERVE.replace("acme", "other")).unwrap();
    assert!(matches!(world.backup("b", SealingKeyPlace::Apart), Err(BackupError::OtherServer(_))));
    fs::write(&serve, crate::world::SERVE).unwrap();
    // A record that was changed.
    let database = world.dir.join("mandate.db");
    let right = fs::read(&database).unwrap();
    let at = right.windows(9).rposition(|window| window == b"\"outcome\"").unwrap();
    let mut changed = right.clone();
    changed[at + 1] = b'O';
    fs::write(&database, changed).unwrap();
    let error = world.backup("b", SealingKeyPlace::Apart).unwrap_err();
    assert!(matches!(error, BackupError::Log(_)), "{error}");
    fs::write(&database, right).unwrap();
    let key = world.dir.join("seal.key");
    fs::write(&key, [7; 32]).unwrap();
    assert!(matches!(world.backup("b", SealingKeyPlace::Apart), Err(BackupError::OtherSealingKey)));
    fs::remove_file(&key).unwrap();
    assert!(matches!(world.backup("b", SealingKeyPlace::Apart), Err(BackupError::NoSealingKey(_))));
    assert_eq!(world.names(), before, "nothing is left behind");
}

#[test]
fn a_byte_order_mark_does_not_hide_that_a_file_is_another_servers() {
    let world = World::new(2);
    fs::write(
        world.dir.join("serve.json"),
        format!("\u{feff}{}", crate::world::SERVE.replace("acme", "other")),
    )
    .unwrap();
    assert!(matches!(world.backup("b", SealingKeyPlace::Apart), Err(BackupError::OtherServer(_))));
}

#[test]
fn a_serve_json_with_a_byte_order_mark_is_backed_up_and_restored() {
    let world = World::new(2);
    fs::write(world.dir.join("serve.json"), format!("\u{feff}{}", crate::world::SERVE)).unwrap();
    let created = world.backup("b", SealingKeyPlace::Apart).unwrap();
    let restored =
        world.restore(&fs::read(world.path("b")).unwrap(), "r", &Opens::Key(created.sealing_key)).unwrap();
    assert_eq!(restored.manifest.issuer.as_str(), "https://mandate.acme.example");
}

/// A file that is read until here, when somebody asks to stop.
struct Asks<'a> {
    bytes: &'a [u8],
    left: usize,
    stop: Arc<AtomicBool>,
}

impl Read for Asks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.bytes).take(512).read(buffer)?;
        self.left = self.left.saturating_sub(read);
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(read)
    }
}

#[test]
fn work_that_is_stopped_on_the_way_leaves_nothing() {
    let world = World::new(3);
    let key = world.backup("b", SealingKeyPlace::Apart).unwrap().sealing_key;
    let bytes = fs::read(world.path("b")).unwrap();
    let before = world.names();
    // Before the copy of the database, and after it, when its records are verified.
    for early in [true, false] {
        let plan = plan(&world.dir, SealingKeyPlace::Apart);
        plan.stop.store(early, Ordering::Relaxed);
        let stopped = world.backup_as(&plan, "c", |_, _| plan.stop.store(true, Ordering::Relaxed));
        assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
        assert_eq!(world.names(), before);
    }
    fs::create_dir(world.path("empty")).unwrap();
    for dir in [world.path("empty"), world.path("new")] {
        let restore = |dir: &Path, left: usize, progress: bool| {
            let stop = Arc::new(AtomicBool::new(false));
            let from = Asks { bytes: &bytes, left, stop: Arc::clone(&stop) };
            let (sealing_key, entropy) = (Some(key.clone()), Arc::new(SystemEntropy));
            let restoring =
                Restoring { dir, sealing_key, passphrase: None, entropy, stop: Arc::clone(&stop) };
            Archive::read(from).unwrap().restore(&restoring, |_, _| stop.store(progress, Ordering::Relaxed))
        };
        // In the middle of the database, and when its records are verified.
        for (left, progress) in [(bytes.len() / 2, false), (usize::MAX, true)] {
            let stopped = restore(&dir, left, progress);
            assert!(matches!(stopped, Err(BackupError::Stopped)), "{stopped:?}");
            assert!(dir == world.path("new") || names(&dir).is_empty(), "{:?}", names(&dir));
        }
        restore(&dir, usize::MAX, false).unwrap();
    }
    assert_eq!(world.names(), ["b", "empty", "new", "server"]);
}
