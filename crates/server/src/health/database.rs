//! Whether the database answers.

use mandate_api::admin::{StatusProblem, problem_code};
use mandate_core::Lifetime;
use mandate_store::{Store, StoreError, WriteTrouble};

use super::{Health, problem};

/// What an operator looks at first.
const NEXT: &str = "look at the server's log, and at the disk of its directory";

/// Watches the writers. Each request for the status tries to read.
pub(crate) fn watch(health: &Health, store: Store) {
    health.watch(move |_| store.write_trouble().map(cannot_write));
}

fn cannot_write(trouble: WriteTrouble) -> StatusProblem {
    let detail = match trouble {
        WriteTrouble::HeldElsewhere => {
            "another program held the database when the server last tried to write; until it lets go, nothing is issued".to_owned()
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
        WriteTrouble::HeldElsewhere => {
            "fuser mandate.db   (in the server's directory: which processes have the database open?)"
        }
        WriteTrouble::Stuck(_) => NEXT,
        WriteTrouble::Unreachable | WriteTrouble::ReadOnly | WriteTrouble::LosesCommits => {
            "look at the server's log for what the database server answered"
        }
    };
    problem(problem_code::DATABASE, detail, next.to_owned())
}

/// Reading failed.
pub(crate) fn unreadable(error: &StoreError) -> StatusProblem {
    problem(problem_code::DATABASE, format!("the database cannot be read: {error}"), NEXT.to_owned())
}

/// Reading has not ended in time.
pub(crate) fn silent() -> StatusProblem {
    let detail =
        "the database did not answer in time: the number of audit records and the nodes are not known"
            .to_owned();
    problem(problem_code::DATABASE, detail, NEXT.to_owned())
}

/// The other checks have not ended in time.
pub(crate) fn checks_wait() -> StatusProblem {
    let detail =
        "the disk did not answer in time: certificates, space and what else is on it were not checked"
            .to_owned();
    problem(problem_code::DATABASE, detail, NEXT.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_store::WriteTrouble;

    use super::cannot_write;

    #[test]
    fn who_holds_the_database_and_for_how_long_a_disk_is_silent_is_told() {
        let held = cannot_write(WriteTrouble::HeldElsewhere);
        assert!(held.detail.starts_with("another program held the database"), "{}", held.detail);
        assert!(held.next.unwrap().starts_with("fuser mandate.db"));
        let stuck = cannot_write(WriteTrouble::Stuck(Duration::from_millis(35_400)));
        assert!(stuck.detail.contains("for 35s"), "{}", stuck.detail);
    }
}
