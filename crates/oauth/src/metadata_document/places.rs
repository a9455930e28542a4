//! How many documents are fetched at a time. Strangers choose which, and the hosts are those of others.

use std::sync::Arc;

use parking_lot::Mutex;

/// How many documents are fetched at a time.
const MOST: usize = 16;
/// How many of them from one host: one that does not answer leaves places to the others.
const MOST_OF_A_HOST: usize = 4;

/// The hosts that are being asked, each as often as it is.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Vec<String>>>);

impl Places {
    /// A place for a fetch from `host`, if there is one.
    pub(super) fn take(&self, host: &str) -> Option<Place> {
        let mut asked = self.0.lock();
        let of_host = asked.iter().filter(|other| *other == host).count();
        if asked.len() >= MOST || of_host >= MOST_OF_A_HOST {
            return None;
        }
        asked.push(host.to_owned());
        Some(Place { host: host.to_owned(), all: self.clone() })
    }
}

/// A place. It is free again when this is dropped.
pub(super) struct Place {
    host: String,
    all: Places,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut asked = self.all.0.lock();
        if let Some(at) = asked.iter().position(|other| *other == self.host) {
            asked.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_OF_A_HOST, Places};

    #[test]
    fn a_host_has_a_share_of_the_places_and_gives_them_back() {
        let places = Places::default();
        let slow: Vec<_> = (0..MOST_OF_A_HOST).map(|_| places.take("slow.example").unwrap()).collect();
        assert!(places.take("slow.example").is_none());
        let others: Vec<_> = (MOST_OF_A_HOST..MOST).map(|n| places.take(&n.to_string()).unwrap()).collect();
        assert!(places.take("one.more.example").is_none());
        drop(slow);
        assert!(places.take("slow.example").is_some());
        drop(others);
        assert!(places.0.lock().is_empty());
    }
}
