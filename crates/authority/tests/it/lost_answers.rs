//! Rotations whose answer is lost: what is kept of them is in nobody's way.

use std::sync::Arc;
use std::time::Duration;

use mandate_authority::{Authority, OpenError, Purpose, RotateError};
use mandate_core::lifetimes::PUBLISH_BEFORE_USE;
use mandate_core::{Clock, Entropy};
use mandate_store::keys::{self, KeyState};
use mandate_store::{Store, StoreError};
use mandate_testkit::clock::{SeededEntropy, SteppedClock};
use mandate_testkit::database;
use mandate_testkit::line::{Line, Lost};
use mandate_testkit::postgres::{ACCEPT_LOST_RECORDS, Cluster, END_OF_A_WRITE};
use mandate_testkit::skipped;

use crate::world::{domain, issuer};

struct Opened {
    store: Store,
    clock: Arc<SteppedClock>,
    entropy: Arc<dyn Entropy>,
}

impl Opened {
    fn new(store: Store) -> Self {
        Self { store, clock: Arc::new(SteppedClock::default()), entropy: Arc::new(SeededEntropy::default()) }
    }

    fn authority(&self) -> Authority {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Authority::open(self.store.clone(), domain(), issuer(), clock, Arc::clone(&self.entropy)).unwrap()
    }

    fn rotate(&self, authority: &Authority, purpose: Purpose) -> Result<(), RotateError> {
        authority.rotate(purpose, self.clock.now())
    }

    /// The ids of the keys that the database has, by state.
    fn kept(&self, purpose: Purpose) -> [Vec<String>; 3] {
        let all = self.store.read_blocking("keys", |tx| keys::list(tx, purpose.as_str())).unwrap();
        [KeyState::Active, KeyState::Next, KeyState::Retired]
            .map(|state| all.iter().filter(|key| key.state == state).map(|key| key.kid.clone()).collect())
    }

    /// The database has what this authority has published, and opens.
    fn agrees(&self, authority: &Authority, purpose: Purpose) {
        let [active, next, _] = self.kept(purpose);
        assert_eq!(active, [authority.active_key(purpose)]);
        assert_eq!(next.len(), 1, "one key waits");
        let reopened = self.authority();
        assert_eq!(reopened.active_key(purpose), authority.active_key(purpose));
        // Retired keys are in no order.
        let published = |authority: &Authority| {
            let texts = [authority.access_token_jwks_json(), authority.jwt_bundle_json()];
            let mut all: Vec<String> = texts
                .iter()
                .flat_map(|text| {
                    serde_json::from_str::<serde_json::Value>(text).unwrap()["keys"]
                        .as_array()
                        .unwrap()
                        .clone()
                })
                .map(|key| key.to_string())
                .chain(authority.ca_certificates_der().iter().map(|der| format!("{der:?}")))
                .collect();
            all.sort();
            all
        };
        assert_eq!(published(&reopened), published(authority));
    }
}

#[test]
fn a_rotation_that_was_kept_without_an_answer_is_made_again_and_leaves_no_second_key_that_waits() {
    for purpose in Purpose::ALL {
        let dir = tempfile::tempdir().unwrap();
        let opened = Opened::new(database::open(dir.path(), Arc::new(SeededEntropy::new(3))).unwrap());
        // What one of them does, the other never hears of.
        let (authority, answerless) = (opened.authority(), opened.authority());
        let first = authority.active_key(*purpose);
        opened.rotate(&answerless, *purpose).unwrap();
        let [kept, ..] = opened.kept(*purpose);
        assert_ne!(kept, std::slice::from_ref(&first));
        assert_eq!(authority.active_key(*purpose), first, "it does not know");

        opened.rotate(&authority, *purpose).unwrap();
        assert_eq!([authority.active_key(*purpose)], kept[..], "the key that it had published signs");
        opened.agrees(&authority, *purpose);
        opened.clock.advance(PUBLISH_BEFORE_USE + Duration::from_secs(1));
        opened.rotate(&authority, *purpose).unwrap();
        opened.agrees(&authority, *purpose);
    }
}

#[test]
fn a_rotation_whose_answer_or_whose_question_was_lost_can_be_made_again() {
    for lost in [Lost::Answer, Lost::Question] {
        let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
        let (database, dir) = (cluster.create_database(), tempfile::tempdir().unwrap());
        let line = Line::to(cluster.socket());
        let address = format!(
            "postgres://mandate@127.0.0.1:{}/{database}?sslmode=disable&{ACCEPT_LOST_RECORDS}",
            line.port()
        );
        let entropy = Arc::new(SeededEntropy::new(3));
        let opened =
            Opened::new(Store::connect_blocking(dir.path(), &address.parse().unwrap(), entropy).unwrap());
        let (authority, purpose) = (opened.authority(), Purpose::AccessToken);
        let (first, published) = (authority.active_key(purpose), authority.access_token_jwks_json());
        line.lose(END_OF_A_WRITE, lost);
        let answer = opened.rotate(&authority, purpose);
        assert!(
            matches!(answer, Err(RotateError::Keys(OpenError::Store(StoreError::Unreachable(_))))),
            "{answer:?}"
        );
        assert_eq!(
            (authority.active_key(purpose), authority.access_token_jwks_json()),
            (first.clone(), published)
        );
        // The server may do it a moment later.
        let begun = std::time::Instant::now();
        while lost == Lost::Answer && opened.kept(purpose)[0] == [first.clone()] {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(opened.kept(purpose)[0] == [first.clone()], lost == Lost::Question);

        opened.rotate(&authority, purpose).unwrap();
        assert_ne!(authority.active_key(purpose), first);
        opened.agrees(&authority, purpose);
    }
}
