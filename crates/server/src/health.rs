//! What needs an operator's attention: one list of checks, which runs for every `mandate status`.
//!
//! A part of the server that can have problems registers a check with [`Health::watch`], and itself keeps
//! what the check reads: an atomic, a [`Tally`], a file. Nothing is cached here, so nothing here can be
//! stale.

mod clock;
pub(crate) mod crowd;
pub(crate) mod database;
pub(crate) mod login;
pub(crate) mod stops;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{DiskSpace, NodeCounts, Severity, StatusProblem, problem_code};
use mandate_authority::Authority;
use mandate_core::{Clock, HybridClock, NodeState, Timestamp};
use mandate_identity::{Moment, has_expired};
use mandate_store::Log;
use mandate_store::nodes::Node;
use parking_lot::Mutex;

use crate::database_place::Place;

type Check = Box<dyn Fn(Timestamp) -> Vec<StatusProblem> + Send + Sync>;

/// The checks of all parts.
#[derive(Default)]
pub(crate) struct Health {
    checks: Mutex<Vec<Check>>,
}

impl Health {
    /// Registers a check. It returns what is wrong at that time, and may read files: it runs on a thread that
    /// may block.
    pub(crate) fn watch<F, P>(&self, check: F)
    where
        F: Fn(Timestamp) -> P + Send + Sync + 'static,
        P: IntoIterator<Item = StatusProblem>,
    {
        let check: Check = Box::new(move |now| check(now).into_iter().collect());
        self.checks.lock().push(check);
    }

    /// Registers a check on the number of events of a kind in the last hour. The counter counts them.
    pub(crate) fn count(
        &self,
        clock: Arc<dyn Clock>,
        describe: impl Fn(u64) -> StatusProblem + Send + Sync + 'static,
    ) -> Arc<Counter> {
        let counter = Arc::new(Counter { clock, tally: Tally::default() });
        let seen = Arc::clone(&counter);
        self.watch(move |now| Some(seen.tally.last_hour(now)).filter(|events| *events > 0).map(&describe));
        counter
    }

    /// What is wrong now, the most severe first. Blocks.
    pub(crate) fn problems(&self, now: Timestamp) -> Vec<StatusProblem> {
        let checks = self.checks.lock();
        let mut found: Vec<StatusProblem> = checks.iter().flat_map(|check| check(now)).collect();
        // Stable: within a severity, in the order in which the checks were registered.
        found.sort_by_key(|problem| problem.severity);
        found
    }
}

/// Something that does not work, or will soon stop working.
pub(crate) fn problem(
    code: &str,
    detail: impl Into<String>,
    next: impl Into<Option<String>>,
) -> StatusProblem {
    StatusProblem {
        code: code.to_owned(),
        severity: Severity::Problem,
        detail: detail.into(),
        next: next.into(),
    }
}

/// Something that an operator should know although everything works.
pub(crate) fn notice(
    code: &str,
    detail: impl Into<String>,
    next: impl Into<Option<String>>,
) -> StatusProblem {
    StatusProblem { severity: Severity::Notice, ..problem(code, detail, next) }
}

/// How long a [`Tally`] remembers.
const TALLY_MINUTES: usize = 60;

/// A sum over the last hour, in steps of a minute: for events that matter only for some time.
pub(crate) struct Tally {
    /// The minute since the epoch, and the events in it. Indexed by the minute modulo the length.
    minutes: Mutex<[(u64, u64); TALLY_MINUTES]>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { minutes: Mutex::new([(0, 0); TALLY_MINUTES]) }
    }
}

impl Tally {
    /// Counts `events` at `now`.
    pub(crate) fn add(&self, now: Timestamp, events: u64) {
        let minute = now.secs() / 60;
        let mut minutes = self.minutes.lock();
        let place = usize::try_from(minute).unwrap_or_default() % TALLY_MINUTES;
        if let Some(slot) = minutes.get_mut(place) {
            let before = if slot.0 == minute { slot.1 } else { 0 };
            *slot = (minute, before.saturating_add(events));
        }
    }

    /// How many events the hour before `now` had.
    pub(crate) fn last_hour(&self, now: Timestamp) -> u64 {
        let minute = now.secs() / 60;
        let minutes = self.minutes.lock();
        // A minute in the future was counted by a clock that has since been set back.
        minutes
            .iter()
            .filter(|(at, _)| at.abs_diff(minute) < TALLY_MINUTES as u64)
            .map(|(_, events)| events)
            .sum()
    }
}

/// Counts events by the time at which they happen.
pub(crate) struct Counter {
    clock: Arc<dyn Clock>,
    tally: Tally,
}

impl Counter {
    /// Counts `events` that have just happened.
    pub(crate) fn add(&self, events: u64) {
        self.tally.add(self.clock.now(), events);
    }
}

/// The space of the file system that holds a directory.
#[derive(Clone)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn of(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The space now, if it can be read. Blocks.
    pub(crate) fn space(&self) -> Option<DiskSpace> {
        let stat = rustix::fs::statvfs(&self.0).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(DiskSpace { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

/// Less free space than this is a problem, however large the disk is.
const LOW_SPACE: u64 = 1024 * 1024 * 1024;

/// `place`: where the database is.
pub(crate) fn low_space(space: DiskSpace, place: &Place) -> Option<StatusProblem> {
    // On a disk of less than 10 GiB, a tenth of it counts instead.
    let low = space.free < LOW_SPACE.min(space.total / 10);
    low.then(|| {
        let (free, total) = (space.free / (1024 * 1024), space.total / (1024 * 1024));
        let consequence = match place {
            Place::Directory => "; without space for audit records nothing is issued",
            // Its disk is the database server's to watch, and the reserve has its space already.
            Place::Postgres(_) => "",
        };
        problem(
            problem_code::DISK_SPACE,
            format!("{free} MiB of {total} MiB are free on the disk of the server's directory{consequence}"),
            "free disk space, or enlarge the disk".to_owned(),
        )
    })
}

/// A key that is due is replaced within a minute. If it takes longer than this, something is wrong.
const KEY_DELAY: Duration = Duration::from_mins(10);

fn keys_due(authority: &Authority, now: Timestamp) -> Option<StatusProblem> {
    let due = authority.due(now.minus(KEY_DELAY));
    let names: Vec<String> = due.iter().map(|purpose| purpose.as_str().replace('_', "-")).collect();
    (!names.is_empty()).then(|| {
        problem(
            problem_code::KEYS_DUE,
            format!(
                "the {} key should have been replaced and was not; the server's log says why",
                names.join(" and the ")
            ),
            "mandate key rotate".to_owned(),
        )
    })
}

/// How many nodes are in which state.
pub(crate) fn count_nodes(nodes: &[Node], at: Moment) -> NodeCounts {
    let mut counts = NodeCounts::default();
    for node in nodes {
        match node.state {
            NodeState::Banned => counts.banned += 1,
            NodeState::Joined if is_away(node, at) => counts.away += 1,
            NodeState::Joined => counts.joined += 1,
        }
    }
    counts
}

fn is_away(node: &Node, at: Moment) -> bool {
    node.state == NodeState::Joined && has_expired(node, at)
}

/// Nodes that did not renew their certificates in time.
pub(crate) fn nodes_away(nodes: &[Node], at: Moment) -> Option<StatusProblem> {
    const NAMED: usize = 3;
    let mut away: Vec<&Node> = nodes.iter().filter(|node| is_away(node, at)).collect();
    if away.is_empty() {
        return None;
    }
    // The one that went away last is the one that an operator does not know of yet.
    away.sort_by_key(|node| std::cmp::Reverse(node.renewed));
    let named: Vec<String> =
        away.iter().take(NAMED).map(|node| format!("{} (last renewed {})", node.id, node.renewed)).collect();
    let more = if away.len() > NAMED { format!(" and {} more", away.len() - NAMED) } else { String::new() };
    let (verb, noun) = if away.len() == 1 { ("has", "node") } else { ("have", "nodes") };
    Some(problem(
        problem_code::NODES_AWAY,
        format!("{} {noun} {verb} not renewed in time: {}{more}", away.len(), named.join(", ")),
        "mandate node list   (start each again, or ban one that will not return: mandate node ban NAME)"
            .to_owned(),
    ))
}

/// Refusals of strangers beyond the quota, which have no records of their own.
fn strangers_refused(summed: u64) -> Option<StatusProblem> {
    (summed > 0).then(|| {
        notice(
            problem_code::STRANGERS_REFUSED,
            format!("{summed} requests without valid credentials since the start were more than the quota, and are recorded as sums"),
            "mandate audit query --outcome refused   (the sums say where they came from)".to_owned(),
        )
    })
}

/// The checks of the server's own parts. Others register theirs.
pub(crate) fn of_own_parts(
    disk: Disk,
    database: Place,
    authority: Arc<Authority>,
    log: Log,
    clock: Arc<HybridClock>,
) -> Arc<Health> {
    let health = Health::default();
    health.watch(move |_| disk.space().and_then(|space| low_space(space, &database)));
    health.watch(move |now| keys_due(&authority, now));
    health.watch(move |_| strangers_refused(log.strangers().summed()));
    clock::watch(&health, clock);
    Arc::new(health)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_api::admin::{DiskSpace, NodeCounts, Severity, StatusProblem};
    use mandate_core::{NodeState, Timestamp};
    use mandate_store::nodes::Node;

    use super::{Disk, Health, Moment, Place, Tally, count_nodes, low_space, nodes_away, problem};

    const T0: Timestamp = Timestamp::from_secs(1_700_000_000);
    const AT: Moment = Moment { now: T0, wall: T0 };

    fn node(id: &str, state: NodeState, expires: Timestamp) -> Node {
        let spiffe_id = format!("spiffe://acme.example/node/{id}").parse().unwrap();
        let renewed = expires.minus(Duration::from_hours(1));
        Node { id: id.to_owned(), spiffe_id, state, joined: renewed, renewed, expires }
    }

    #[test]
    fn what_each_check_finds_is_listed_the_most_severe_first_and_gone_when_it_is_mended() {
        let health = Health::default();
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let is_broken = std::sync::Arc::clone(&broken);
        health.watch(|_| Some(StatusProblem { severity: Severity::Notice, ..problem("b", "note", None) }));
        health.watch(move |_| {
            is_broken.load(std::sync::atomic::Ordering::Relaxed).then(|| problem("a", "broken", None))
        });
        let codes = || health.problems(T0).into_iter().map(|problem| problem.code).collect::<Vec<_>>();
        assert_eq!(codes(), ["a", "b"]);
        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(codes(), ["b"]);
    }

    #[test]
    fn a_tally_forgets_after_an_hour() {
        let tally = Tally::default();
        tally.add(T0, 2);
        tally.add(T0.plus(Duration::from_mins(30)), 3);
        assert_eq!(tally.last_hour(T0.plus(Duration::from_mins(31))), 5);
        assert_eq!(tally.last_hour(T0.plus(Duration::from_mins(61))), 3);
        assert_eq!(tally.last_hour(T0.plus(Duration::from_mins(91))), 0);
        tally.add(T0.plus(Duration::from_mins(60)), 1);
        assert_eq!(
            tally.last_hour(T0.plus(Duration::from_mins(60))),
            4,
            "the slot of an hour ago is taken over"
        );
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_a_problem_small_or_large() {
        const GIB: u64 = 1024 * 1024 * 1024;
        for (free, total, is_low) in [
            (20 * GIB, 100 * GIB, false),
            (GIB - 1, 100 * GIB, true),
            (GIB / 2, 2 * GIB, false),
            (GIB / 8, 2 * GIB, true),
            (0, 2 * GIB, true),
        ] {
            assert_eq!(
                low_space(DiskSpace { free, total }, &Place::Directory).is_some(),
                is_low,
                "{free} of {total}"
            );
        }
        let elsewhere = Place::Postgres("postgres://m@db.example:5432/log".to_owned());
        let told = low_space(DiskSpace { free: 0, total: 2 * GIB }, &elsewhere).unwrap();
        assert!(!told.detail.contains("nothing is issued"), "{}", told.detail);
        assert!(Disk::of(std::env::temp_dir()).space().is_some_and(|space| space.total > 0));
        assert!(Disk::of("/nonexistent".into()).space().is_none());
    }

    #[test]
    fn nodes_that_did_not_renew_are_named_and_banned_ones_are_not_missed() {
        let later = T0.plus(Duration::from_mins(10));
        let nodes = [
            node("here", NodeState::Joined, later),
            node("gone", NodeState::Joined, T0),
            node("out", NodeState::Banned, T0),
        ];
        assert_eq!(count_nodes(&nodes, AT), NodeCounts { joined: 1, away: 1, banned: 1 });
        let found = nodes_away(&nodes, AT).unwrap();
        assert!(
            found
                .detail
                .starts_with("1 node has not renewed in time: gone (last renewed 2023-11-14T21:13:20.000Z)"),
            "{}",
            found.detail
        );
        assert!(found.next.unwrap().starts_with("mandate node list"));
        assert_eq!(nodes_away(&nodes[..1], AT), None);
        // The machine's clock was set back by three hours, and the node has a certificate since then.
        let set_back = Moment { now: T0, wall: T0.minus(Duration::from_hours(3)) };
        let renewed = Node {
            renewed: T0.minus(Duration::from_mins(5)),
            ..node("new", NodeState::Joined, set_back.wall.plus(Duration::from_mins(50)))
        };
        assert_eq!(nodes_away(&[renewed], set_back), None);
        assert!(nodes_away(&nodes, set_back).unwrap().detail.contains("gone"), "what was away stays so");
        let many: Vec<Node> = (0..9).map(|n| node(&format!("n{n}"), NodeState::Joined, T0)).collect();
        assert!(nodes_away(&many, AT).unwrap().detail.ends_with("and 6 more"));
    }
}
