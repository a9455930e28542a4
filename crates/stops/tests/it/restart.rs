//! What an earlier process left in the reserve.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::{Agent, AgentState, Entry, EntryKind, Halt, Policy};
use mandate_core::{Clock as _, CutTarget, RevocationSet, Timestamp};
use mandate_delegation::revocation::{CUT_MEMORY, cuts_for_change};
use mandate_files::Dir;
use mandate_live::{Edition, Live, Snapshot};
use mandate_stops::reserve::{BLOCK, FILE, MAGIC, Reserve, SIZE, frames};
use mandate_stops::{FoundReserve, Recorded, ReserveError, Stop, Stops, StopsParts, StopsStartError, held};
use mandate_store::Effect;
use mandate_testkit::faulty_backend::Point;
use mandate_testkit::world::World;

use crate::world::{AGENT, agent, changed, cut_token, record, recorded, reserve, suspended, take};

fn look(world: &World) -> Result<FoundReserve, ReserveError> {
    Stops::look(Dir::open(&world.state_dir()).unwrap(), world.authority.checkpoint_vkey())
}

/// What a new process has in memory after it has read the database, and its stops.
fn restarted(world: &World) -> (Arc<Live>, Arc<Stops>) {
    let found = look(world).unwrap();
    let (registry, policies) = world.stored();
    let version = world.store.read_blocking("version", mandate_store::registry::version).unwrap();
    let snapshot = Snapshot {
        registry: Arc::new(registry),
        policies: Arc::new(policies),
        revocations: Arc::new(RevocationSet::new()),
        edition: Edition::of(version),
    };
    let live = Arc::new(Live::new(world.live.issuer().clone(), snapshot, HashMap::new(), 0));
    let parts = StopsParts {
        live: Arc::clone(&live),
        log: world.log.clone(),
        store: world.store.clone(),
        clock: Arc::clone(&world.hybrid),
    };
    (live, Arc::new(Stops::start(parts, found).unwrap()))
}

#[tokio::test]
async fn what_is_not_in_the_log_is_in_force_again_at_the_next_start_and_then_recorded() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    let stop = suspended(&world);
    let made = stop.record().time;
    assert_eq!(take(&world, stop).await.recorded, Recorded::Reserve);
    assert_eq!(look(&world).unwrap().newest(made).unwrap(), made, "the clock must not go behind it");

    let (live, stops) = restarted(&world);
    let agent = live.snapshot().registry.agent(&AGENT.parse().unwrap()).cloned().unwrap();
    assert_eq!(agent.state, AgentState::Suspended);
    let target = CutTarget::Agent(agent.spiffe_id.as_str().to_owned());
    assert!(live.snapshot().revocations.has_cut_since(&target, made));
    assert_eq!(stops.standing().reserved, 1);
    world.faults.repair();
    stops.retry().await;
    assert_eq!(stops.standing().reserved, 0);
    assert_eq!(recorded(&world).len(), 1);
}

#[tokio::test]
async fn what_is_in_the_log_is_not_put_in_force_again() {
    let world = World::story();
    let before = reserve(&world);
    world.faults.break_down(Point::Commit);
    take(&world, suspended(&world)).await;
    let with_the_stop = reserve(&world);
    assert_ne!(before, with_the_stop);
    world.faults.repair();
    world.stops.retry().await;
    // As after a crash before the wiped frame reached the disk; meanwhile an operator has let the agent act
    // again.
    world
        .change(mandate_core::registry::EntryKind::Agent, AGENT, |entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = AgentState::Active;
            }
        })
        .await;
    fs::write(world.state_dir().join(FILE), with_the_stop).unwrap();

    let (live, stops) = restarted(&world);
    assert_eq!(live.snapshot().registry.agent(&AGENT.parse().unwrap()).unwrap().state, AgentState::Active);
    assert_eq!(stops.standing().reserved, 0);
    assert_eq!(recorded(&world).len(), 2, "the suspension and the change, each once");
}

#[tokio::test]
async fn a_frame_that_was_not_written_whole_counts_for_nothing_and_hides_no_other() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    for _ in 0..3 {
        take(&world, cut_token(&world, 1_500)).await;
    }
    let bytes = reserve(&world);
    let found = frames(&bytes);
    assert_eq!(found.len(), 3);
    let file = fs::OpenOptions::new().write(true).open(world.state_dir().join(FILE)).unwrap();
    let second =
        bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).nth(1).unwrap().0;
    assert_eq!(second % BLOCK, 0);
    file.write_all_at(b"?", second as u64 + 700).unwrap();
    let (_, stops) = restarted(&world);
    assert_eq!(stops.standing().reserved, 2);
}

#[tokio::test]
async fn a_reserve_of_another_log_is_not_obeyed_and_not_lost() {
    let (ours, other) = (World::story(), World::story());
    ours.faults.break_down(Point::Commit);
    take(&ours, suspended(&ours)).await;
    let bytes = reserve(&ours);
    fs::write(other.state_dir().join(FILE), &bytes).unwrap();
    let error = look(&other).err().unwrap();
    assert!(matches!(error, ReserveError::Foreign { .. }), "{error}");
    assert!(
        error.to_string().contains("stops.reserve") && error.to_string().contains("move it away"),
        "{error}"
    );
    assert_eq!(reserve(&other), bytes);
}

/// The content of the one frame in the reserve, changed, as its only frame.
fn forge(world: &World, change: impl FnOnce(&mut serde_json::Value)) {
    let dir = Dir::open(&world.state_dir()).unwrap();
    let (mut file, found) = Reserve::open(&dir).unwrap();
    let [frame] = &found[..] else { panic!("{found:?}") };
    let mut content = serde_json::from_slice(&frame.content).unwrap();
    change(&mut content);
    file.free(frame.slot);
    file.write(&serde_json::to_vec(&content).unwrap()).unwrap();
    file.sync().unwrap();
}

fn start_error(world: &World) -> StopsStartError {
    let found = look(world).unwrap();
    let parts = StopsParts {
        live: Arc::clone(&world.live),
        log: world.log.clone(),
        store: world.store.clone(),
        clock: Arc::clone(&world.hybrid),
    };
    Stops::start(parts, found).unwrap_err()
}

#[tokio::test]
async fn what_the_reserve_holds_gives_nothing_no_matter_who_wrote_it() {
    let forgeries: [fn(&mut serde_json::Value); 5] = [
        |content| content["stop"]["narrowed"][0][0]["value"]["name"] = "another-agent".into(),
        |content| {
            content["stop"]["narrowed"][0][1]["value"]["ceiling"][0]["scopes"] =
                serde_json::json!(["read:cases", "send:mail"]);
        },
        |content| content["stop"]["narrowed"][0][1]["value"]["selectors"] = serde_json::json!(["unix:uid:0"]),
        |content| content["stop"]["narrowed"][0][1]["value"]["name"] = "a-new-agent".into(),
        |content| content["stop"]["removed"] = serde_json::json!([["policy", "no-mail"]]),
    ];
    for forgery in forgeries {
        let world = World::story();
        world.faults.break_down(Point::Commit);
        let narrowed = changed(&world, |agent| (agent.state, agent.chain_depth) = (AgentState::Suspended, 0));
        take(&world, narrowed.unwrap()).await;
        forge(&world, forgery);
        let before = world.live.snapshot().registry.entries();
        let error = start_error(&world);
        assert!(matches!(error, StopsStartError::Gives(_)), "{error}");
        assert!(error.to_string().contains("stops.reserve does not fit the database"), "{error}");
        assert_eq!(world.live.snapshot().registry.entries().len(), before.len());
    }
}

/// A change that became durable beside a narrowing stop, and a crash before the stop did.
#[tokio::test]
async fn a_narrowing_in_the_reserve_beside_a_change_that_is_durable_keeps_no_server_from_starting() {
    let policy = Policy {
        name: "no-agents".parse().unwrap(),
        source: "forbid (principal is Agent, action, resource);".to_owned(),
    };
    let change = |to: Agent| Effect::ChangeEntry {
        entry: Box::new(Entry::Agent(to)),
        planned_from: Some(Halt::Agent(AgentState::Active)),
    };
    let world = World::story();
    let before = agent(&world);
    let wider = Agent { chain_depth: 9, purpose: "another purpose".to_owned(), ..before.clone() };
    let less = Agent {
        ceiling: before.ceiling[..1].to_vec(),
        purpose: "another purpose".to_owned(),
        ..before.clone()
    };
    let beside = [
        (vec![change(wider.clone())], Some(Agent { chain_depth: 0, ..wider })),
        (vec![change(less.clone())], Some(Agent { chain_depth: 0, ..less })),
        (vec![Effect::AddEntry(Box::new(Entry::Policy(policy)))], Some(Agent { chain_depth: 0, ..before })),
        (
            vec![Effect::RemoveEntry { kind: EntryKind::Agent, key: AGENT.to_owned(), planned_from: None }],
            None,
        ),
    ];
    for (effects, expected) in beside {
        let world = World::story();
        let narrowed = changed(&world, |agent| agent.chain_depth = 0).unwrap();
        world.faults.break_down(Point::Commit);
        assert_eq!(take(&world, narrowed).await.recorded, Recorded::Reserve);
        world.faults.repair();
        let effects =
            std::iter::once(Effect::AdvanceRegistry { planned_from: None }).chain(effects).collect();
        world
            .log
            .append(record(&world, mandate_audit::RecordKind::Admin, "a change"), effects)
            .await
            .unwrap();

        let (live, stops) = restarted(&world);
        let in_memory = |live: &Live| {
            live.snapshot().registry.agent(&AGENT.parse().unwrap()).map(|agent| Agent::clone(agent))
        };
        assert_eq!(in_memory(&live), expected);
        stops.retry().await;
        assert_eq!(
            world.stored().0.agent(&AGENT.parse().unwrap()).map(|agent| Agent::clone(agent)),
            expected
        );
        assert_eq!(stops.standing().reserved, 0);
    }
}

/// A narrowing stop in the reserve of a server that was killed, in the form of an earlier version, which has
/// only the new value.
async fn narrowed_by_an_earlier_version() -> World {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    take(&world, changed(&world, |agent| agent.chain_depth = 0).unwrap()).await;
    forge(&world, |content| {
        let stop = content["stop"].as_object_mut().unwrap();
        let narrowed = stop.remove("narrowed").unwrap();
        stop.insert("put".to_owned(), serde_json::json!([narrowed.pointer("/0/1").unwrap()]));
    });
    world.faults.repair();
    world
}

#[tokio::test]
async fn a_narrowing_that_an_earlier_version_left_is_in_force_again_and_then_recorded() {
    let world = narrowed_by_an_earlier_version().await;
    let of_database =
        || world.stored().0.agent(&AGENT.parse().unwrap()).map(|agent| Agent::clone(agent)).unwrap();
    let before = of_database();
    let expected = Agent { chain_depth: 0, ..before.clone() };
    assert_ne!(before, expected);
    let (live, stops) = restarted(&world);
    assert_eq!(**live.snapshot().registry.agent(&AGENT.parse().unwrap()).unwrap(), expected);
    stops.retry().await;
    assert_eq!(of_database(), expected);
    assert_eq!(stops.standing().reserved, 0);
}

#[tokio::test]
async fn a_narrowing_that_an_earlier_version_left_lifts_no_halt_and_makes_no_entry() {
    let agents = [Some(AgentState::Contained), None];
    for state in agents {
        let world = narrowed_by_an_earlier_version().await;
        let halt = |state| Effect::HaltEntry {
            kind: EntryKind::Agent,
            key: AGENT.to_owned(),
            halt: Halt::Agent(state),
        };
        let remove =
            || Effect::RemoveEntry { kind: EntryKind::Agent, key: AGENT.to_owned(), planned_from: None };
        let effects = vec![Effect::AdvanceRegistry { planned_from: None }, state.map_or_else(remove, halt)];
        world
            .log
            .append(record(&world, mandate_audit::RecordKind::Admin, "a change"), effects)
            .await
            .unwrap();
        let (live, _) = restarted(&world);
        let found = live
            .snapshot()
            .registry
            .agent(&AGENT.parse().unwrap())
            .map(|agent| (agent.state, agent.chain_depth));
        assert_eq!(found, state.map(|state| (state, 0)));
    }
}

#[tokio::test]
async fn a_removal_in_the_reserve_is_in_force_again_and_has_the_form_of_earlier_versions() {
    let world = World::story();
    let gone = Entry::Agent(agent(&world));
    let cuts = cuts_for_change(&gone, None, world.hybrid.now());
    let removal = Stop::of_changes(
        record(&world, mandate_audit::RecordKind::Registry, "a removal"),
        [(Some(&gone), None)],
        cuts,
        &world.live.snapshot(),
    );
    world.faults.break_down(Point::Commit);
    assert_eq!(take(&world, removal.unwrap()).await.recorded, Recorded::Reserve);
    forge(&world, |content| {
        assert_eq!(content["stop"]["removed"], serde_json::json!([["agent", AGENT]]));
    });
    world.faults.repair();
    let (live, stops) = restarted(&world);
    assert!(live.snapshot().registry.agent(&AGENT.parse().unwrap()).is_none());
    stops.retry().await;
    assert!(world.stored().0.agent(&AGENT.parse().unwrap()).is_none());
    assert_eq!(stops.standing().reserved, 0);
}

#[tokio::test]
async fn what_an_earlier_version_left_gives_nothing_and_no_other_form_is_passed_over() {
    let forgeries: [fn(&mut serde_json::Value); 2] = [
        |content| content["stop"]["put"][0]["value"]["selectors"] = serde_json::json!(["unix:uid:0"]),
        |content| content["stop"]["put"][0]["value"]["chain_depth"] = 9.into(),
    ];
    for forgery in forgeries {
        let world = narrowed_by_an_earlier_version().await;
        // The world's own server has the stop in memory; this one knows only the database.
        let registry = world.stored().0;
        world.live.change_registry(None, |in_force| *in_force = registry);
        forge(&world, forgery);
        let error = start_error(&world);
        assert!(matches!(error, StopsStartError::Gives(_)), "{error}");
    }
    let world = narrowed_by_an_earlier_version().await;
    forge(&world, |content| content["stop"]["lessened"] = serde_json::json!([]));
    let error = look(&world).err().unwrap();
    assert!(matches!(error, ReserveError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn a_forged_state_in_the_reserve_lifts_no_stop() {
    let world = World::story();
    let suspend = |entry: &mut Entry| entry.stop(Halt::Agent(AgentState::Suspended));
    world.change(mandate_core::registry::EntryKind::Agent, AGENT, suspend).await;
    world.faults.break_down(Point::Commit);
    take(&world, changed(&world, |agent| agent.state = AgentState::Contained).unwrap()).await;
    forge(&world, |content| content["stop"]["halted"][0][2] = serde_json::json!({"agent": "active"}));
    let (live, _) = restarted(&world);
    assert_eq!(live.snapshot().registry.agent(&AGENT.parse().unwrap()).unwrap().state, AgentState::Suspended);
}

#[tokio::test]
async fn a_stop_weeks_ahead_of_the_log_and_the_clock_is_not_obeyed_and_says_what_to_do() {
    const DAY: Duration = Duration::from_hours(24);
    let world = World::story();
    world.faults.break_down(Point::Commit);
    take(&world, cut_token(&world, 10)).await;
    let now = world.hybrid.now();
    let places = ["/stop/record/time", "/stop/cuts/0/at", "/stop/cuts/0/forget"];
    for (place, allowance) in places.into_iter().zip([Duration::ZERO, Duration::ZERO, CUT_MEMORY]) {
        let at = |time: Timestamp| {
            forge(&world, |content| {
                *content.pointer_mut(place).unwrap() = serde_json::to_value(time.plus(allowance)).unwrap();
            });
            let bytes = reserve(&world);
            let held = held(&bytes, world.authority.checkpoint_vkey(), now, &world.state_dir().join(FILE));
            let newest = look(&world).unwrap().newest(now);
            assert_eq!(
                held.is_ok(),
                newest.is_ok(),
                "what is looked at beforehand is what the start looks at"
            );
            newest
        };
        let forged = at("9999-12-31T23:59:59Z".parse::<Timestamp>().unwrap().minus(allowance));
        let error = forged.unwrap_err().to_string();
        assert!(
            error.contains("stops.reserve")
                && error.contains("9999-12-31")
                && error.contains("repeat the stops"),
            "{error}"
        );
        assert!(at(now.plus(DAY * 31)).is_err(), "{place}");
        assert!(
            at(now.plus(DAY * 29)).is_ok(),
            "{place}: a clock that lost some weeks does not keep the server from starting"
        );
        assert!(at(now).is_ok(), "{place}");
    }
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_not_obeyed_and_not_lost() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    take(&world, suspended(&world)).await;
    forge(&world, |content| content["stop"]["halted"][0][0] = "incident".into());
    let bytes = reserve(&world);
    let error = look(&world).err().unwrap();
    assert!(matches!(error, ReserveError::Unreadable { .. }), "{error}");
    assert_eq!(reserve(&world), bytes);
}

#[tokio::test]
async fn a_reserve_that_is_there_and_cannot_be_read_is_not_given_up() {
    let world = World::story();
    let path = world.state_dir().join(FILE);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(look(&world).is_err());
    fs::remove_dir(&path).unwrap();
    assert!(look(&world).is_ok(), "one that is missing is made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_err() {
        assert!(look(&world).is_err(), "as after a copy by root");
    }
}

#[tokio::test]
async fn a_reserve_that_others_may_write_is_refused() {
    let world = World::story();
    let path = world.state_dir().join(FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(look(&world), Err(ReserveError::File(_))));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(matches!(look(&world), Err(ReserveError::File(_))));
}

#[tokio::test]
async fn a_reserve_that_is_shorter_or_has_holes_is_filled() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    take(&world, suspended(&world)).await;
    let path = world.state_dir().join(FILE);
    let whole = reserve(&world);
    // A copy that leaves out zeros, as of `cp --sparse=always`.
    fs::remove_file(&path).unwrap();
    fs::write(&path, &whole[..4096]).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(SIZE as u64).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(restarted(&world).1.standing().reserved, 1);
    assert!(std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap()) * 512 >= SIZE as u64);
    assert_eq!(reserve(&world), whole);
}
