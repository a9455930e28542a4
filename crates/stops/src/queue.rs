//! The stops that are in force and not in the audit log, in the order in which they were made.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::keeper::{By, Kept};
use crate::stop::Stop;

/// The place of a stop in the queue. Later stops have later places; none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuePlace(u64);

/// A stop that is in force and not in the audit log.
pub(crate) struct Waiting {
    pub(crate) stop: Arc<Stop>,
    pub(crate) by: By,
    pub(crate) kept: Option<Kept>,
    /// Whether the reserve was asked to keep it, and has not answered yet.
    pub(crate) keeping: bool,
    /// Whether its own task is still working on it, or has failed.
    pub(crate) state: State,
    pub(crate) since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    OnItsWay,
    Failed,
}

#[derive(Default)]
pub(crate) struct Queue {
    next: u64,
    of_clients: usize,
    stops: BTreeMap<QueuePlace, Waiting>,
}

impl Queue {
    pub(crate) fn push(&mut self, waiting: Waiting) -> QueuePlace {
        let place = QueuePlace(self.next);
        self.next += 1;
        self.of_clients += usize::from(waiting.by == By::Client);
        self.stops.insert(place, waiting);
        place
    }

    pub(crate) fn remove(&mut self, place: QueuePlace) -> Option<Waiting> {
        let waiting = self.stops.remove(&place)?;
        self.of_clients -= usize::from(waiting.by == By::Client);
        Some(waiting)
    }

    pub(crate) fn get(&self, place: QueuePlace) -> Option<&Waiting> {
        self.stops.get(&place)
    }

    pub(crate) fn get_mut(&mut self, place: QueuePlace) -> Option<&mut Waiting> {
        self.stops.get_mut(&place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueuePlace, &Waiting)> {
        self.stops.iter().map(|(place, waiting)| (*place, waiting))
    }

    /// Up to `most` of those that are not in the reserve, to be put there now: those of operators first,
    /// because clients may have used up their share of it.
    pub(crate) fn begin_keeping(&mut self, most: usize) -> impl Iterator<Item = (QueuePlace, Arc<Stop>, By)> {
        let mut outside: Vec<_> =
            self.stops.iter_mut().filter(|(_, waiting)| waiting.kept.is_none() && !waiting.keeping).collect();
        outside.sort_by_key(|(place, waiting)| (waiting.by == By::Client, **place));
        outside.into_iter().take(most).map(|(place, waiting)| {
            waiting.keeping = true;
            (*place, Arc::clone(&waiting.stop), waiting.by)
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.stops.len()
    }

    /// How many of them are stops of clients.
    pub(crate) fn of_clients(&self) -> usize {
        self.of_clients
    }
}
