//! Whether the database answers, and what to type if it does not.

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::Lifetime;
use mandate_store::{Store, StoreError, WriteTrouble};

use super::{Health, problem};
use crate::database_place::Place;

/// Watches the writers. Each request for the status tries to read.
pub(crate) fn watch(health: &Health, store: Store, place: Place) {
    health.watch(move |_| store.write_trouble().map(|trouble| cannot_write(trouble, &place)));
}

fn cannot_write(trouble: WriteTrouble, place: &Place) -> StatusProblem {
    let detail = match trouble {
        WriteTrouble::HeldElsewhere => {
            "another program held the database when the server last tried to write; until it lets go, nothing is issued".to_owned()
        }
        WriteTrouble::Superseded => {
            "another server has used the database since this one lost its lock on it; this one ends, because it does not know what the other one revoked".to_owned()
        }
        WriteTrouble::Stuck(lasts) => {
            let lasts = Lifetime(std::time::Duration::from_secs(lasts.as_secs()));
            format!("the database has not finished a write for {lasts}; until it does, nothing is issued")
        }
        WriteTrouble::Unreachable => {
            "the database server could not be reached when the server last tried to write; nothing is issued until it can".to_owned()
        }
        WriteTrouble::ReadOnly => {
            "the database server takes no writes (it is a standby, or set to be read-only); nothing is issued until it does".to_owned()
        }
        WriteTrouble::LosesCommits => {
            "the database server may lose what it commits (fsync or full_page_writes is off); nothing is issued until both are on".to_owned()
        }
    };
    let next = match trouble {
        WriteTrouble::HeldElsewhere | WriteTrouble::Superseded => place.who_holds_it(),
        WriteTrouble::Stuck(_)
        | WriteTrouble::Unreachable
        | WriteTrouble::ReadOnly
        | WriteTrouble::LosesCommits => place.look().to_owned(),
    };
    problem(problem_code::DATABASE, detail, next)
}

pub(crate) fn unreadable(error: &StoreError, place: &Place) -> StatusProblem {
    problem(problem_code::DATABASE, format!("the database cannot be read: {error}"), place.look().to_owned())
}

/// Reading has not ended in time.
pub(crate) fn silent(place: &Place) -> StatusProblem {
    let detail =
        "the database did not answer in time: the number of audit records and the nodes are not known"
            .to_owned();
    problem(problem_code::DATABASE, detail, place.look().to_owned())
}

/// The problem that the other checks have not ended in time.
pub(crate) fn checks_wait() -> StatusProblem {
    let detail =
        "the disk did not answer in time: certificates, space and what else is on it were not checked"
            .to_owned();
    problem(problem_code::DATABASE, detail, Place::Directory.look().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_store::{StoreError, WriteTrouble};

    use super::{Place, cannot_write, silent, unreadable};

    #[test]
    fn who_holds_the_database_and_for_how_long_a_disk_is_silent_is_told() {
        let held = cannot_write(WriteTrouble::HeldElsewhere, &Place::Directory);
        assert!(held.detail.starts_with("another program held the database"), "{}", held.detail);
        assert!(held.next.unwrap().starts_with("fuser mandate.db"));
        let stuck = cannot_write(WriteTrouble::Stuck(Duration::from_millis(35_400)), &Place::Directory);
        assert!(stuck.detail.contains("for 35s"), "{}", stuck.detail);
    }

    #[test]
    fn with_postgresql_nobody_is_sent_to_look_at_a_file() {
        let place = Place::Postgres("postgres://m@db.example:5432/log".to_owned());
        let troubles = [
            WriteTrouble::HeldElsewhere,
            WriteTrouble::Superseded,
            WriteTrouble::Stuck(Duration::from_secs(9)),
            WriteTrouble::Unreachable,
            WriteTrouble::ReadOnly,
            WriteTrouble::LosesCommits,
        ];
        let found = troubles.map(|trouble| cannot_write(trouble, &place)).into_iter();
        for problem in found.chain([silent(&place), unreadable(&StoreError::Ending, &place)]) {
            let next = problem.next.unwrap();
            assert!(!next.contains("mandate.db") && !next.contains("disk"), "{next}");
        }
    }
}
