//! Each transition, with each answer and each fault.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::{Clock as _, Secret, SystemEntropy, Timestamp};
use mandate_testkit::clock::SteppedClock;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{
    Connecting, ConnectionEnd, Expired, Heard, Joining, NotRenewed, REJOIN_PAUSE, RENEWAL_PAUSE, Renewing,
    Returning, SILENCE, Start, State, Unjoined, Watching,
};
use crate::credentials::Credentials;
use crate::dial::Dialer;
use crate::error::NodeError;
use crate::join_token::JoinToken;
use crate::refusal::Waiting;
use crate::session::Session;
use crate::storage::Storage;
use crate::svids::Svids;
use crate::view::{Link, PushedState, View};
use mandate_api::proto::node::ServedState;

/// A session with a server that nobody asks: the tests give the answers.
pub(in crate::session) struct World {
    clock: Arc<SteppedClock>,
    pub(in crate::session) session: Session,
    _dir: TempDir,
}

/// The name of a connection.
type Connection = &'static str;

impl World {
    pub(in crate::session) fn new() -> Self {
        let clock = Arc::new(SteppedClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let dir = tempfile::tempdir().unwrap();
        let (views, seen) = watch::channel(View::starting());
        let session = Session {
            dialer: Dialer::new("127.0.0.1:1", clock.clone()).unwrap(),
            storage: Arc::new(Storage::open(&dir.path().join("node")).unwrap()),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            views,
            svids: Arc::new(Svids::new(seen, clock.clone())),
            rejoin: "join again".to_owned(),
        };
        Self { clock, session, _dir: dir }
    }

    /// Why processes are not served, if they are not.
    fn waiting(&self) -> Waiting {
        match self.session.views.borrow().link {
            Link::Up(_) => panic!("it is connected"),
            Link::Down(waiting) => waiting,
        }
    }

    /// The node has heard from its server before.
    fn knows_a_state(&self) {
        let state = ServedState {
            generation: 1,
            entries: vec![],
            jwt_bundle: br#"{"keys":[]}"#.to_vec(),
            ca: vec![],
        };
        let state = PushedState::new(state, "acme.example".parse().unwrap()).unwrap();
        self.session.views.send_modify(|view| view.state = Some(Arc::new(state)));
    }

    fn knows_nothing(&self) -> bool {
        self.session.views.borrow().state.is_none()
    }

    fn connecting(&self, spare: Option<JoinToken>) -> Connecting {
        connecting(State::of(Start::Joined(Box::new(credentials("1")), spare), &self.session))
    }

    fn watching(&self, spare: Option<JoinToken>) -> Watching<Connection> {
        watching(self.connecting(spare).answered(Ok("first"), &self.session))
    }

    fn expired(&self, spare: Option<JoinToken>) -> Expired {
        expired(Ok(self.connecting(spare).expired(&self.session)))
    }

    fn returning(&self, token: Option<JoinToken>) -> Returning {
        returning(State::of(Start::Expired(Box::new(credentials("1")), token), &self.session))
    }
}

type Next = super::Next<Connection>;

macro_rules! is {
    ($name:ident, $variant:ident, $type:ty) => {
        fn $name(next: Next) -> $type {
            match next {
                Ok(State::$variant(state)) => state,
                Ok(other) => panic!("it is {}", name(&other)),
                Err(error) => panic!("it ended: {error}"),
            }
        }
    };
}

is!(joining, Joining, Joining);
is!(returning, Returning, Returning);
is!(connecting, Connecting, Connecting);
is!(watching, Watching, Watching<Connection>);
is!(renewing, Renewing, Renewing<Connection>);
is!(expired, Expired, Expired);

fn name(state: &State<Connection>) -> &'static str {
    match state {
        State::Joining(_) => "joining",
        State::Returning(_) => "returning",
        State::Connecting(_) => "connecting",
        State::Watching(_) => "watching",
        State::Renewing(_) => "renewing",
        State::Expired(_) => "expired",
    }
}

fn end(next: Next) -> NodeError {
    match next {
        Ok(state) => panic!("it is {}", name(&state)),
        Err(error) => error,
    }
}

/// Credentials for the first ten days of 2026.
pub(in crate::session) fn credentials(name: &str) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        vec![SanType::URI(format!("spiffe://acme.example/node/{name}").try_into().unwrap())];
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 1, 11);
    let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
    Credentials::new(Secret::new(key.serialize_der()), vec![certificate.clone()], vec![certificate]).unwrap()
}

fn token() -> JoinToken {
    JoinToken::parse(&Secret::new(format!("random.{}", "0".repeat(64)))).unwrap()
}

fn reason() -> String {
    "a reason".to_owned()
}

fn is_node(credentials: &Credentials, name: &str) -> bool {
    credentials.spiffe_id().path() == format!("/node/{name}")
}

/// The first pause of a backoff, and any other.
const FIRST: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_millis(100);
const ANY: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(5);

#[test]
fn a_node_that_joins_connects_at_once_and_keeps_no_token() {
    let world = World::new();
    let begun = joining(State::of(Start::Join(token()), &world.session));
    assert_eq!((begun.pause, world.waiting()), (Duration::ZERO, Waiting::Joining));
    let joined = connecting(begun.answered(Ok(credentials("1")), &world.session));
    assert_eq!((joined.pause, world.waiting()), (Duration::ZERO, Waiting::Connecting));
    assert!(joined.member.spare.is_none() && is_node(&joined.member.credentials, "1"));
}

#[test]
fn joining_is_tried_again_with_the_same_key_and_longer_pauses_until_it_cannot_succeed() {
    let world = World::new();
    let mut state = joining(State::of(Start::Join(token()), &world.session));
    let key = state.request.csr.clone();
    for attempt in 0..10 {
        state = joining(state.answered(Err(Unjoined::Later(reason())), &world.session));
        assert!(
            ANY.contains(&state.pause) && (attempt > 0 || FIRST.contains(&state.pause)),
            "{:?}",
            state.pause
        );
        assert_eq!(state.request.csr, key);
    }
    assert!(state.pause >= Duration::from_millis(2500));
    let refused = NodeError::JoinRefused { reason: reason(), rejoin: String::new() };
    let error = end(state.answered(Err(Unjoined::Never(refused)), &world.session));
    assert!(matches!(error, NodeError::JoinRefused { .. }), "{error}");
}

#[test]
fn a_node_started_with_an_expired_certificate_goes_on_if_it_is_renewed_and_keeps_its_token() {
    let world = World::new();
    let begun = world.returning(Some(token()));
    assert_eq!((begun.pause, world.waiting()), (Duration::ZERO, Waiting::Expired));
    let renewed = connecting(begun.answered(Ok(credentials("2")), &world.session));
    assert_eq!((renewed.pause, world.waiting()), (Duration::ZERO, Waiting::Connecting));
    assert!(renewed.member.spare.is_some() && is_node(&renewed.member.credentials, "2"));
}

#[test]
fn a_node_started_with_an_expired_certificate_that_is_refused_joins_with_its_token_or_ends() {
    let world = World::new();
    let refused = || Err(NotRenewed::Refused(reason()));
    let joins = joining(world.returning(Some(token())).answered(refused(), &world.session));
    assert!(joins.refused.is_none(), "an expired certificate is of no more use");
    let error = end(world.returning(None).answered(refused(), &world.session));
    assert!(matches!(error, NodeError::CertificateExpired { .. }), "{error}");
}

#[test]
fn a_server_that_only_closes_connections_has_refused_a_returning_node_after_minutes() {
    for given in [true, false] {
        let world = World::new();
        let closed = || Err(NotRenewed::Closed(reason()));
        let mut state = world.returning(given.then(token));
        for _ in 0..3 {
            state = returning(state.answered(closed(), &world.session));
            assert!(ANY.contains(&state.pause) && !state.is_told);
        }
        world.clock.advance(SILENCE);
        let next = state.answered(closed(), &world.session);
        if given {
            joining(next);
        } else {
            state = returning(next);
            assert!(ANY.contains(&state.pause) && state.is_told, "only a refusal ends it");
        }
    }
}

#[test]
fn a_server_that_cannot_be_asked_in_between_has_not_been_silent() {
    let world = World::new();
    let closed = || Err(NotRenewed::Closed(reason()));
    let mut state = returning(world.returning(Some(token())).answered(closed(), &world.session));
    world.clock.advance(SILENCE);
    state = returning(state.answered(Err(NotRenewed::Later(reason())), &world.session));
    state = returning(state.answered(closed(), &world.session));
    world.clock.advance(SILENCE / 2);
    returning(state.answered(closed(), &world.session));
}

#[tokio::test]
async fn a_connection_is_watched_and_the_certificate_renewed_at_half_of_its_life() {
    let world = World::new();
    let watching = watching(world.connecting(None).answered(Ok("one"), &world.session));
    assert_eq!(watching.connection, "one");
    let days =
        watching.renewal.at.since("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap()).as_secs() / 86_400;
    assert!((4..=5).contains(&days) && watching.renewal.not_before <= Instant::now());
}

#[test]
fn a_fault_while_connecting_is_tried_again_and_what_is_known_stays() {
    for fault in [ConnectionEnd::Broken, ConnectionEnd::Untrusted] {
        let world = World::new();
        let mut state =
            connecting(world.connecting(Some(token())).answered(Err(fault(reason())), &world.session));
        assert!(FIRST.contains(&state.pause));
        assert_eq!(
            world.waiting(),
            Waiting::Connecting,
            "a node that has never heard from its server has not lost it"
        );
        world.knows_a_state();
        for _ in 0..9 {
            state = connecting(state.answered(Err(fault(reason())), &world.session));
        }
        assert!(state.pause >= Duration::from_millis(2500) && state.member.spare.is_some());
        assert!(world.waiting() == Waiting::Lost && !world.knows_nothing());
    }
}

#[tokio::test]
async fn each_fault_of_a_connection_leads_back_to_connecting_with_the_same_certificate() {
    for (ended, waiting) in [
        (ConnectionEnd::Broken(reason()), Waiting::Lost),
        (ConnectionEnd::Untrusted(reason()), Waiting::Lost),
        (ConnectionEnd::Refused(reason()), Waiting::Refused),
    ] {
        let world = World::new();
        world.knows_a_state();
        let state = connecting(world.watching(None).heard(Heard::Ended(ended), &world.session));
        assert!(FIRST.contains(&state.pause) && is_node(&state.member.credentials, "1") && !state.is_renewed);
        assert_eq!((world.waiting(), world.knows_nothing()), (waiting, waiting == Waiting::Refused));
    }
}

#[tokio::test]
async fn a_refused_node_spends_its_token_once_and_goes_on_with_what_it_has() {
    let world = World::new();
    world.knows_a_state();
    let refused = || ConnectionEnd::Refused(reason());
    let joins = joining(world.watching(Some(token())).heard(Heard::Ended(refused()), &world.session));
    assert!(joins.pause.is_zero() && world.knows_nothing(), "what the server said before is no longer valid");
    let never = Unjoined::Never(NodeError::JoinRefused { reason: reason(), rejoin: String::new() });
    let state = connecting(joins.answered(Err(never), &world.session));
    assert!(
        FIRST.contains(&state.pause)
            && state.member.spare.is_none()
            && is_node(&state.member.credentials, "1")
    );
    let state = connecting(state.answered(Err(refused()), &world.session));
    assert!(state.pause > *FIRST.start() && world.waiting() == Waiting::Refused);
    // With a token that is accepted, it has a new certificate.
    let joins = joining(world.connecting(Some(token())).answered(Err(refused()), &world.session));
    let state = connecting(joins.answered(Ok(credentials("2")), &world.session));
    assert!(is_node(&state.member.credentials, "2") && state.pause.is_zero());
}

#[tokio::test]
async fn a_state_from_the_server_ends_the_outage() {
    let world = World::new();
    let mut state = world.connecting(None);
    for _ in 0..9 {
        state = connecting(state.answered(Err(ConnectionEnd::Broken(reason())), &world.session));
    }
    let unheard = watching(state.answered(Ok("one"), &world.session));
    assert_eq!(unheard.outage.attempts, 9, "a connection alone does not");
    let heard = watching(unheard.heard(Heard::State, &world.session));
    assert_eq!((heard.outage.attempts, heard.connection), (0, "one"));
    let state = connecting(heard.heard(Heard::Ended(ConnectionEnd::Broken(reason())), &world.session));
    assert!(FIRST.contains(&state.pause));
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_a_new_connection_at_once_and_not_renewed_again_at_once() {
    let world = World::new();
    let due = renewing(world.watching(Some(token())).heard(Heard::RenewalDue, &world.session));
    assert_eq!(due.0.connection, "first");
    let before = world.waiting();
    let renewed = connecting(Ok(due.answered(Ok(credentials("2")), &world.session)));
    assert!(
        renewed.pause.is_zero()
            && is_node(&renewed.member.credentials, "2")
            && renewed.member.spare.is_some()
    );
    assert_eq!(world.waiting(), before, "processes are served all the time");
    let watching = watching(renewed.answered(Ok("second"), &world.session));
    assert!(watching.renewal.not_before >= Instant::now() + RENEWAL_PAUSE - Duration::from_secs(1));
}

#[tokio::test]
async fn a_renewal_that_fails_keeps_the_connection_and_is_tried_again_later() {
    let world = World::new();
    let due = renewing(world.watching(None).heard(Heard::RenewalDue, &world.session));
    let state = watching(Ok(due.answered(Err(reason()), &world.session)));
    assert!(state.connection == "first" && is_node(&state.member.credentials, "1"));
    assert_eq!(state.renewal.at, world.clock.now());
    assert!(state.renewal.not_before >= Instant::now() + RENEWAL_PAUSE - Duration::from_secs(1));
}

#[test]
fn a_certificate_that_expires_while_the_node_runs_is_asked_for_until_it_is_renewed() {
    let world = World::new();
    let mut state = world.expired(Some(token()));
    assert_eq!((state.pause, world.waiting()), (Duration::ZERO, Waiting::Expired));
    state = expired(Ok(state.answered(Err(NotRenewed::Later(reason())), &world.session)));
    assert!(FIRST.contains(&state.pause) && !state.is_told);
    state = expired(Ok(state.answered(Err(NotRenewed::Refused(reason())), &world.session)));
    assert!(state.pause == REJOIN_PAUSE && state.is_told);
    state = expired(Ok(state.answered(Err(NotRenewed::Closed(reason())), &world.session)));
    assert!(ANY.contains(&state.pause), "one that only closes connections is asked soon");
    world.clock.advance(SILENCE);
    state = expired(Ok(state.answered(Err(NotRenewed::Closed(reason())), &world.session)));
    assert_eq!(state.pause, REJOIN_PAUSE, "until that has lasted");
    let renewed = connecting(Ok(state.answered(Ok(credentials("2")), &world.session)));
    assert!(
        renewed.pause.is_zero()
            && renewed.member.spare.is_some()
            && is_node(&renewed.member.credentials, "2")
    );
}

#[test]
fn a_certificate_that_has_not_expired_after_all_is_used() {
    let world = World::new();
    let state = connecting(Ok(world.expired(None).revived()));
    assert!(state.pause.is_zero() && is_node(&state.member.credentials, "1"));
}

/// What follows from the fault of this number.
fn fault(state: State<Connection>, number: u8, session: &Session) -> Next {
    let ended = || match number % 3 {
        0 => ConnectionEnd::Broken(reason()),
        1 => ConnectionEnd::Untrusted(reason()),
        _ => ConnectionEnd::Refused(reason()),
    };
    let not_renewed = || match number % 3 {
        0 => NotRenewed::Later(reason()),
        1 => NotRenewed::Closed(reason()),
        _ => NotRenewed::Refused(reason()),
    };
    match state {
        State::Joining(joining) if number.is_multiple_of(2) => {
            joining.answered(Err(Unjoined::Later(reason())), session)
        }
        State::Joining(joining) => joining.answered(Err(Unjoined::Never(NodeError::Key(reason()))), session),
        State::Returning(returning) => returning.answered(Err(not_renewed()), session),
        State::Connecting(connecting) => match number % 5 {
            0 => connecting.answered(Ok("another"), session),
            1 => Ok(connecting.expired(session)),
            _ => connecting.answered(Err(ended()), session),
        },
        State::Watching(watching) if number.is_multiple_of(5) => watching.heard(Heard::RenewalDue, session),
        State::Watching(watching) => watching.heard(Heard::Ended(ended()), session),
        State::Renewing(renewing) => Ok(renewing.answered(Err(reason()), session)),
        State::Expired(expired) if number.is_multiple_of(5) => Ok(expired.revived()),
        State::Expired(expired) => Ok(expired.answered(Err(not_renewed()), session)),
    }
}

/// The credentials that a state holds, and how many tokens.
fn held(state: &State<Connection>) -> (Option<&Credentials>, usize) {
    match state {
        State::Joining(joining) => (joining.refused.as_ref().map(|(credentials, _)| credentials), 1),
        State::Returning(returning) => (Some(&returning.credentials), usize::from(returning.token.is_some())),
        State::Connecting(Connecting { member, .. })
        | State::Watching(Watching { member, .. })
        | State::Renewing(Renewing(Watching { member, .. }))
        | State::Expired(Expired { member, .. }) => {
            (Some(&member.credentials), usize::from(member.spare.is_some()))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_faults_end_a_node_that_has_joined_or_lose_its_certificate(faults in prop::collection::vec(any::<u8>(), 0..40), given in any::<bool>()) {
        let world = World::new();
        let mut state: State<Connection> = State::Connecting(world.connecting(given.then(token)));
        let mut tokens = usize::from(given);
        for number in faults {
            let next = fault(state, number, &world.session);
            prop_assert!(next.is_ok(), "a fault ended it");
            state = next.unwrap_or_else(|error| panic!("{error}"));
            let (credentials, left) = held(&state);
            prop_assert!(credentials.is_some_and(|credentials| is_node(credentials, "1")), "{}", name(&state));
            prop_assert!(left <= tokens, "a spent token came back");
            tokens = left;
            prop_assert!(matches!(world.session.views.borrow().link, Link::Down(_)), "only a pushed state brings the link up");
        }
    }
}
