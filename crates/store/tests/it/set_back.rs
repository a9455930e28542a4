//! A database that goes back under a running server, to what it was before: records were removed, or an older
//! copy was put in its place.

use mandate_audit::CheckpointSigner;
use mandate_files::Dir;
use mandate_store::{
    AppendError, Effect, EffectRefusal, WentBack, check_last_checkpoint, keep_last_checkpoint,
};
use mandate_testkit::clock::SeededEntropy;
use mandate_testkit::database::{self, literal};
use mandate_testkit::faulty_backend::{InjectedFault, Point};

use crate::world::{ORIGIN, World, record, start, verifier};

/// The checkpoint that the database has.
fn note(world: &World) -> Vec<u8> {
    let note = world.store.read_blocking("note", |tx| mandate_store::records::checkpoint(tx, ORIGIN));
    note.unwrap().unwrap()
}

/// Makes the log what it was with `size` records, when `note` was its checkpoint.
fn set_back(world: &World, size: u64, note: &[u8]) {
    let sql = format!("DELETE FROM records WHERE idx >= {size}; UPDATE logs SET note = {};", literal(note));
    database::edit(world.dir.path(), &sql, &sql);
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T, AppendError>) -> String {
    match answer {
        Err(AppendError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn ends(world: World, known: &str) {
    let why = unavailable(world.append(90));
    assert!(why.contains("is not the one that this server wrote") && why.ends_with(known), "{why}");
    assert_eq!(unavailable(world.append(91)), "the sequencer has stopped");
    let dir = world.stop();
    drop(dir);
}

#[test]
fn a_log_that_is_set_back_under_a_running_server_ends_it_and_gets_no_record() {
    let world = World::new();
    world.append(0).unwrap();
    let older = note(&world);
    world.append(1).unwrap();
    set_back(&world, 1, &older);
    assert!(unavailable(world.append(2)).contains("another writer has appended"));
    assert_eq!((note(&world), world.verify().unwrap().size), (older, 1));
    // A commit that another writer has refused cannot become durable later.
    ends(world, "with 2");
}

#[test]
fn a_log_that_is_set_back_while_it_cannot_be_written_ends_the_server_at_the_next_record() {
    let world = World::new();
    world.append(0).unwrap();
    let older = note(&world);
    world.append(1).unwrap();
    world.faults.fail(Point::Begin, 0, InjectedFault::Lost);
    unavailable(world.append(2));
    set_back(&world, 1, &older);
    ends(world, "with 2");
}

#[test]
fn a_log_that_is_set_back_behind_a_commit_whose_answer_was_lost_ends_the_server() {
    let world = World::new();
    world.append(0).unwrap();
    let older = note(&world);
    world.append(1).unwrap();
    for fault in [InjectedFault::Lost, InjectedFault::Kept] {
        world.faults.fail(Point::Commit, 0, fault);
        unavailable(world.append(2));
    }
    set_back(&world, 1, &older);
    ends(world, "with 2 or 3 or 3");
}

/// A stop, as it is tried again until the log has it.
fn append_stop(log: &mandate_store::Log) -> Result<u64, AppendError> {
    let stop = vec![Effect::RecordStop("r1".parse().unwrap())];
    log.append_blocking(record(1), stop).map(|receipt| receipt.index())
}

/// Makes the log what it was before the stop was recorded.
fn set_back_before_the_stop(world: &World, note: &[u8]) {
    database::edit(world.dir.path(), "DELETE FROM stops", "DELETE FROM stops");
    set_back(world, 1, note);
}

#[test]
fn a_log_that_is_set_back_behind_a_stop_that_was_answered_as_recorded_ends_the_server() {
    let world = World::new();
    world.append(0).unwrap();
    let older = note(&world);
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    unavailable(append_stop(&world.log));
    assert_eq!(append_stop(&world.log), Err(AppendError::EffectRefused(EffectRefusal::StopRecorded)));
    assert_eq!(world.log.durable_checkpoint().note(), note(&world), "it was seen as durable");
    set_back_before_the_stop(&world, &older);
    assert!(unavailable(world.append(2)).contains("another writer has appended"));
    ends(world, "with 2");
}

#[test]
fn a_stop_whose_late_commit_comes_before_its_next_try_is_not_lost_unnoticed_either() {
    let world = World::new();
    world.append(0).unwrap();
    let older = note(&world);
    // The commit is still on its way when the log is read again, and comes before the stop is tried again.
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    unavailable(append_stop(&world.log));
    world.faults.hold_at(Point::Begin);
    let again = std::thread::scope(|scope| {
        let again = scope.spawn(|| append_stop(&world.log));
        world.faults.wait_until_held();
        let (late, sequencer) = start(world.store.audit_backend(ORIGIN).unwrap()).unwrap();
        assert_eq!(append_stop(&late), Ok(1));
        drop(late);
        sequencer.join().unwrap();
        world.faults.release();
        again.join().unwrap()
    });
    assert_eq!(again, Err(AppendError::EffectRefused(EffectRefusal::StopRecorded)));
    assert_eq!(world.log.durable_checkpoint().note(), note(&world), "it was seen as durable");
    set_back_before_the_stop(&world, &older);
    assert!(unavailable(world.append(2)).contains("another writer has appended"));
    ends(world, "with 2");
}

#[test]
fn of_many_commits_without_an_answer_the_newest_are_remembered_and_the_last_one_with_one() {
    let world = World::new();
    world.append(0).unwrap();
    let older = note(&world);
    world.append(1).unwrap();
    world.faults.break_down(Point::Commit);
    for n in 2..202 {
        unavailable(world.append(n));
    }
    world.faults.repair();
    world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
    unavailable(world.append(202));
    assert_eq!(world.append(203).unwrap().index(), 3);
    world.faults.break_down(Point::Commit);
    for n in 204..404 {
        unavailable(world.append(n));
    }
    world.faults.repair();
    set_back(&world, 1, &older);
    let why = unavailable(world.append(404));
    assert!(why.contains("with 4 or 5 or 5") && why.matches(" or ").count() < 64, "{why}");
}

#[test]
fn a_log_of_other_records_of_the_same_number_ends_the_server() {
    let world = World::new();
    let empty = note(&world);
    world.append(0).unwrap();
    // Another copy, in which another record was written.
    set_back(&world, 0, &empty);
    let (other, sequencer) = start(world.store.audit_backend(ORIGIN).unwrap()).unwrap();
    other.append_blocking(record(7), Vec::new()).unwrap();
    drop(other);
    sequencer.join().unwrap();
    unavailable(world.append(1));
    ends(world, "with 1");
}

#[test]
fn a_checkpoint_that_was_seen_as_durable_shows_at_a_start_that_the_log_went_back() {
    let world = World::new();
    let (dir, entropy) = (Dir::open(world.dir.path()).unwrap(), SeededEntropy::new(1));
    let check = || check_last_checkpoint(&dir, &world.store, &verifier());
    let keep = |note: &[u8]| keep_last_checkpoint(&dir, note, &entropy).unwrap();
    let durable = world.log.durable_checkpoint();
    check().unwrap();
    let mut notes = vec![durable.note()];
    for n in 0..5 {
        world.append(n).unwrap();
        notes.push(durable.note());
        assert_eq!(durable.note(), note(&world));
    }
    // What was kept may be older than the log, by any number of records.
    for note in &notes {
        keep(note);
        check().unwrap();
    }
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    unavailable(world.append(5));
    assert_eq!(durable.note(), notes[5], "what may not be durable is not kept");

    set_back(&world, 3, &notes[3]);
    let refused = check().unwrap_err();
    assert!(matches!(&refused, WentBack::Shorter { kept: 5, found: 3, .. }), "{refused:?}");
    assert!(refused.is_of_the_log());
    let text = refused.to_string();
    assert!(text.contains("this server wrote 5 records") && text.contains("the database has 3"), "{text}");
    for note in &notes[..4] {
        keep(note);
        check().unwrap();
    }
    // Another server goes on from there.
    let (other, sequencer) = start(world.store.audit_backend(ORIGIN).unwrap()).unwrap();
    for n in 10..14 {
        other.append_blocking(record(n), Vec::new()).unwrap();
    }
    drop(other);
    sequencer.join().unwrap();
    keep(&notes[3]);
    check().unwrap();
    for size in [4, 5] {
        keep(&notes[size]);
        let refused = check().unwrap_err();
        assert!(matches!(&refused, WentBack::Other { kept, .. } if *kept == size as u64), "{refused:?}");
    }
    let another =
        CheckpointSigner::generate(ORIGIN, &SeededEntropy::new(43)).unwrap().0.first_checkpoint().unwrap();
    for foreign in [&another[..], b"", b"no checkpoint"] {
        keep(foreign);
        let refused = check().unwrap_err();
        assert!(matches!(&refused, WentBack::Foreign { .. }) && refused.is_of_the_log(), "{refused:?}");
    }
}
