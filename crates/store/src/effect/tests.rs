//! What each effect makes, and what it refuses with.

use std::time::Duration;

use mandate_core::registry::{Agent, AgentState, Entry, EntryKind, Halt, RegistryVersion};
use mandate_core::{
    ClientId, Cut, CutTarget, MeterId, NodeState, Reservation, Secret, SelfAuthentication, SelfDescribed,
    Subject, Timestamp,
};
use tempfile::TempDir;

use super::{Effect, EffectRefusal as Refusal};
use crate::device_requests::{DeviceAnswer, DeviceKept, MostDevices, WaitingDevice};
use crate::login_sessions::session_hash;
use crate::nodes::Node;
use crate::refresh::{Family, RefreshState};
use crate::search_rows::tests::open;
use crate::tx::Tx;
use crate::{
    Store, cuts, device_requests, login_sessions, nodes, refresh, registry, replay, secrets, self_registered,
    sweep_blocking,
};

const NOW: Timestamp = Timestamp::from_secs(1000);
const LATER: Timestamp = Timestamp::from_secs(1060);

struct World {
    store: Store,
    _dir: TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: open(dir.path()).rehearsing(), _dir: dir }
    }

    fn makes(&self, effect: &Effect) {
        self.store.transact_blocking("effect", |tx| effect.apply(tx)).unwrap();
    }

    fn refuses(&self, effect: &Effect, with: Refusal) {
        let refused = self.store.transact_blocking("effect", |tx| effect.apply(tx));
        assert_eq!(refused.unwrap_err().refusal(), Some(with), "{effect:?}");
    }

    fn entry(&self, kind: EntryKind, key: &str) -> Option<Entry> {
        self.store.read_blocking("entry", |tx| registry::get(tx, kind, key)).unwrap()
    }

    fn node(&self, id: &str) -> Option<Node> {
        self.store.read_blocking("node", |tx| nodes::get(tx, id)).unwrap()
    }
}

fn agent(state: AgentState, purpose: &str) -> Entry {
    Entry::Agent(Agent {
        name: "a".parse().unwrap(),
        owner: "olga".parse().unwrap(),
        purpose: purpose.to_owned(),
        spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
        selectors: Vec::new(),
        proofs: Vec::new(),
        ceiling: Vec::new(),
        may: Vec::new(),
        chain_depth: 1,
        state,
        tenant: None,
    })
}

fn node(id: &str, joined: Timestamp) -> Node {
    Node {
        id: id.to_owned(),
        spiffe_id: format!("spiffe://acme.example/node/{id}").parse().unwrap(),
        state: NodeState::Joined,
        joined,
        renewed: joined,
        expires: joined.plus(Duration::from_hours(1)),
    }
}

fn one_use(grant: &str, limit: u64) -> Reservation {
    Reservation { meter: MeterId::GrantUses(grant.parse().unwrap()), amount: 1, limit }
}

fn exhausted(grant: &str) -> Refusal {
    Refusal::MeterExhausted(MeterId::GrantUses(grant.parse().unwrap()))
}

#[test]
fn a_grant_is_used_no_more_often_than_it_may() {
    let world = World::new();
    let use_it = |limit| Effect::Reserve(vec![one_use("g1", limit)]);
    world.refuses(&use_it(0), exhausted("g1"));
    world.makes(&use_it(1));
    world.refuses(&use_it(1), exhausted("g1"));
    world.makes(&use_it(2));
}

#[test]
fn reservations_are_taken_all_or_none_and_the_refusal_names_the_meter() {
    let world = World::new();
    world.makes(&Effect::Reserve(vec![one_use("g1", 1), one_use("g2", 5)]));
    world.refuses(&Effect::Reserve(vec![one_use("g2", 5), one_use("g1", 1)]), exhausted("g1"));
    let three = |limit| Effect::Reserve(vec![Reservation { amount: 3, ..one_use("g2", limit) }]);
    world.refuses(&three(3), exhausted("g2"));
    world.makes(&three(4));
    // The same meter twice counts twice.
    world.refuses(&Effect::Reserve(vec![one_use("g3", 1), one_use("g3", 1)]), exhausted("g3"));
    world.makes(&Effect::Reserve(vec![one_use("g3", 2), one_use("g3", 2)]));
}

#[test]
fn a_code_is_redeemed_once_and_in_time() {
    let world = World::new();
    let keep = |hash| Effect::KeepCode {
        hash,
        payload: Secret::new("who and what"),
        expires: LATER,
        forget: Timestamp::from_secs(2000),
    };
    let redeem = |hash, at| Effect::RedeemCode { hash, token: "t1".parse().unwrap(), at };
    world.refuses(&redeem([1; 32], NOW), Refusal::CodeUnknown);
    world.makes(&keep([1; 32]));
    world.refuses(&redeem([1; 32], LATER), Refusal::CodeExpired);
    world.makes(&redeem([1; 32], NOW));
    world.refuses(&redeem([1; 32], NOW), Refusal::CodeUsed);
}

#[test]
fn a_pushed_request_is_used_once_and_each_client_has_its_own() {
    let world = World::new();
    let by = |client: &str, id: &str| Effect::UsePushedRequest {
        client: client.parse().unwrap(),
        id: id.to_owned(),
        forget: LATER,
        at: NOW,
    };
    world.makes(&by("app", "one"));
    world.refuses(&by("app", "one"), Refusal::PushedRequestUsed);
    world.makes(&by("app", "two"));
    world.makes(&by("other", "one"));
    // An assertion of the client with the same id is another thing.
    let assertion = |tx: &Tx<'_>| replay::remember(tx, "app", "one", LATER, NOW);
    assert!(world.store.transact_blocking("assertion", assertion).unwrap());
}

#[test]
fn the_codes_of_a_session_end_with_it_and_the_tokens_from_them_are_named() {
    let world = World::new();
    let (session, other) = (
        session_hash(&"https://login.example".parse().unwrap(), "s1"),
        session_hash(&"https://other.example".parse().unwrap(), "s1"),
    );
    let forget = Timestamp::from_secs(2000);
    for (code, session) in [(1, session), (2, session), (3, other)] {
        let hash = [code; 32];
        world.makes(&Effect::KeepCode { hash, payload: Secret::new("who"), expires: LATER, forget });
        world.makes(&Effect::KeepLoginSession { session, code: hash, forget });
    }
    let redeem =
        |code, token: &str| Effect::RedeemCode { hash: [code; 32], token: token.parse().unwrap(), at: NOW };
    world.makes(&redeem(1, "t1"));
    let end = || world.store.transact_blocking("end", |tx| login_sessions::end(tx, &session, LATER)).unwrap();
    assert_eq!(end(), ["t1".parse().unwrap()]);
    world.refuses(&redeem(2, "t2"), Refusal::CodeExpired);
    world.refuses(&redeem(1, "t1"), Refusal::CodeUsed);
    world.makes(&redeem(3, "t3"));
    assert_eq!(end(), ["t1".parse().unwrap()], "it can be ended again");
    let forgotten = |now| {
        let now = Timestamp::from_secs(now);
        world.store.transact_blocking("forget", |tx| login_sessions::forget(tx, now, 99)).unwrap()
    };
    assert_eq!((forgotten(1999), forgotten(2000)), (0, 3));
    assert!(end().is_empty());
}

#[test]
fn a_node_joins_by_its_own_token_and_a_banned_one_does_not_come_back() {
    let world = World::new();
    let keep = |hash| Effect::KeepJoinToken { hash, by: "uid:0".to_owned(), expires: LATER };
    let join = |token, id: &str, at| Effect::JoinNode { token, node: node(id, at) };
    world.refuses(&join([1; 32], "n1", NOW), Refusal::JoinTokenUnknown);
    for hash in [[1; 32], [2; 32], [3; 32]] {
        world.makes(&keep(hash));
    }
    world.refuses(&join([1; 32], "n1", LATER), Refusal::JoinTokenExpired);
    world.makes(&join([1; 32], "n1", NOW));
    world.refuses(&join([1; 32], "n2", NOW), Refusal::JoinTokenUsed);
    world.refuses(&join([2; 32], "n1", NOW), Refusal::NodeNameTaken);
    let again = NOW.plus(Duration::from_secs(5));
    world.makes(&join([1; 32], "n1", again));
    let joined = world.node("n1").unwrap();
    assert_eq!((joined.joined, joined.renewed), (NOW, again), "its first answer was lost");
    world.makes(&Effect::BanNode("n1".to_owned()));
    world.refuses(&join([1; 32], "n1", again), Refusal::NodeBanned);
    world.makes(&Effect::BanNode("nobody".to_owned()));
    assert_eq!(world.node("nobody"), None);
    // A node that is not there although its token was used by it.
    world.makes(&join([3; 32], "n3", NOW));
    world
        .store
        .transact_blocking("lose", |tx| tx.execute("DELETE FROM nodes WHERE id = 'n3'", &[]).map(drop))
        .unwrap();
    world.refuses(&join([3; 32], "n3", NOW), Refusal::NodeNameTaken);
}

#[test]
fn a_node_that_is_banned_or_has_a_newer_certificate_is_not_renewed() {
    let world = World::new();
    let renewed = Node { renewed: LATER, expires: LATER.plus(Duration::from_hours(1)), ..node("n1", NOW) };
    let renew = |newest| Effect::RenewNode { node: renewed.clone(), newest };
    world.refuses(&renew(None), Refusal::NodeBanned);
    world.store.transact_blocking("put", |tx| nodes::put(tx, &node("n1", NOW))).unwrap();
    world.makes(&renew(Some(node("n1", NOW).expires)));
    assert_eq!(world.node("n1").unwrap(), renewed);
    world.refuses(&renew(Some(node("n1", NOW).expires)), Refusal::NodeCertificateExpired);
    world.makes(&renew(None));
    world.makes(&Effect::BanNode("n1".to_owned()));
    world.refuses(&renew(None), Refusal::NodeBanned);
}

#[test]
fn a_change_keeps_a_stop_that_came_after_its_plan_and_a_narrowed_entry_stays_stopped() {
    let world = World::new();
    let change = |state, planned_from| Effect::ChangeEntry {
        entry: Box::new(agent(state, "changed")),
        planned_from: Some(Halt::Agent(planned_from)),
    };
    let halt =
        |state| Effect::HaltEntry { kind: EntryKind::Agent, key: "a".to_owned(), halt: Halt::Agent(state) };
    world.makes(&halt(AgentState::Suspended));
    assert_eq!(world.entry(EntryKind::Agent, "a"), None, "an entry that was removed is stopped");
    world.makes(&Effect::AddEntry(Box::new(agent(AgentState::Active, "new"))));
    world.makes(&change(AgentState::Active, AgentState::Active));
    assert_eq!(world.entry(EntryKind::Agent, "a"), Some(agent(AgentState::Active, "changed")));
    world.makes(&halt(AgentState::Suspended));
    world.makes(&change(AgentState::Active, AgentState::Active));
    assert_eq!(world.entry(EntryKind::Agent, "a"), Some(agent(AgentState::Suspended, "changed")));
    let deep = |depth, state| match agent(state, "changed") {
        Entry::Agent(agent) => Entry::Agent(Agent { chain_depth: depth, ..agent }),
        other => other,
    };
    let active = AgentState::Active;
    let narrow =
        || Effect::NarrowEntry { from: Box::new(agent(active, "before")), to: Box::new(deep(0, active)) };
    world.makes(&narrow());
    assert_eq!(
        world.entry(EntryKind::Agent, "a"),
        Some(deep(0, AgentState::Suspended)),
        "what was changed since stays, and it stays stopped"
    );
    world.makes(&change(AgentState::Active, AgentState::Suspended));
    assert_eq!(
        world.entry(EntryKind::Agent, "a"),
        Some(agent(AgentState::Active, "changed")),
        "it was planned to be active again"
    );
    world.makes(&Effect::RemoveEntry { kind: EntryKind::Agent, key: "a".to_owned(), planned_from: None });
    world.makes(&narrow());
    assert_eq!(world.entry(EntryKind::Agent, "a"), None, "what was removed does not come back");
}

#[test]
fn what_was_stopped_further_since_its_removal_was_planned_is_not_removed_by_a_change() {
    let world = World::new();
    let remove = |planned_from: Option<AgentState>| Effect::RemoveEntry {
        kind: EntryKind::Agent,
        key: "a".to_owned(),
        planned_from: planned_from.map(Halt::Agent),
    };
    let states = [AgentState::Active, AgentState::Suspended, AgentState::Contained, AgentState::Retired];
    for then in states {
        for now in states {
            world.makes(&Effect::AddEntry(Box::new(agent(now, "new"))));
            if now > then {
                world.refuses(&remove(Some(then)), Refusal::RegistryChanged);
                assert_eq!(world.entry(EntryKind::Agent, "a"), Some(agent(now, "new")));
            } else {
                world.makes(&remove(Some(then)));
                assert_eq!(world.entry(EntryKind::Agent, "a"), None);
                world.makes(&remove(Some(then)));
            }
        }
        world.makes(&Effect::AddEntry(Box::new(agent(then, "new"))));
        world.makes(&remove(None));
        assert_eq!(world.entry(EntryKind::Agent, "a"), None, "a stop is made in any state");
    }
}

#[test]
fn of_two_changes_that_were_planned_from_one_version_the_second_is_refused_and_a_stop_is_not() {
    let world = World::new();
    let version = || world.store.read_blocking("version", registry::version).unwrap();
    let first = version();
    let advance = |planned_from| Effect::AdvanceRegistry { planned_from };
    world.makes(&advance(Some(first)));
    assert_eq!(version(), first.next());
    world.refuses(&advance(Some(first)), Refusal::RegistryChanged);
    world.refuses(&advance(Some(first.next().next())), Refusal::RegistryChanged);
    assert_eq!(version(), first.next(), "what is refused changes nothing");
    world.makes(&advance(Some(first.next())));
    world.makes(&advance(None));
    assert_eq!(version(), first.next().next().next());
    world.refuses(&advance(Some(first.next().next())), Refusal::RegistryChanged);
    let suspended = Effect::HaltEntry {
        kind: EntryKind::Agent,
        key: "a".to_owned(),
        halt: Halt::Agent(AgentState::Suspended),
    };
    let before = version();
    world.makes(&suspended);
    assert_eq!(version(), before, "a change keeps a halt that came after its plan: they are not in conflict");
}

#[test]
fn a_person_that_is_removed_takes_the_password_along() {
    let world = World::new();
    let olga = "olga".parse().unwrap();
    let has_password =
        || world.store.read_blocking("password", |tx| secrets::password(tx, &olga)).unwrap().is_some();
    world.makes(&Effect::SetPassword {
        person: olga.clone(),
        phc: Secret::new("a hash"),
        replaces: false,
        planned_from: RegistryVersion::default(),
    });
    assert!(has_password());
    world.makes(&Effect::RemoveEntry { kind: EntryKind::Person, key: "olga".to_owned(), planned_from: None });
    assert!(!has_password());
    let set = |planned_from| Effect::SetClientSecret {
        client: "app".parse().unwrap(),
        phc: Secret::new("a hash"),
        replaces: false,
        planned_from,
    };
    world.makes(&set(RegistryVersion::default()));
    let secret = world
        .store
        .read_blocking("secret", |tx| secrets::client_secret(tx, &"app".parse().unwrap()))
        .unwrap();
    assert_eq!(secret, Some(Secret::new("a hash")));
}

#[test]
fn a_secret_for_an_entry_that_may_be_another_by_now_is_refused() {
    let world = World::new();
    let (phc, first) = (|| Secret::new("a hash"), RegistryVersion::default());
    let password = |planned_from| Effect::SetPassword {
        person: "olga".parse().unwrap(),
        phc: phc(),
        replaces: false,
        planned_from,
    };
    let secret = |planned_from| Effect::SetClientSecret {
        client: "app".parse().unwrap(),
        phc: phc(),
        replaces: false,
        planned_from,
    };
    world.makes(&Effect::AdvanceRegistry { planned_from: None });
    for planned_from in [first, first.next().next()] {
        world.refuses(&password(planned_from), Refusal::RegistryChanged);
        world.refuses(&secret(planned_from), Refusal::RegistryChanged);
    }
    world.makes(&password(first.next()));
    world.makes(&secret(first.next()));
    // They were planned as the first ones, which cut nothing.
    world.refuses(&password(first.next()), Refusal::RegistryChanged);
    world.refuses(&secret(first.next()), Refusal::RegistryChanged);
    assert_eq!(
        world.store.read_blocking("version", registry::version).unwrap(),
        first.next(),
        "a secret is no change of the registry"
    );
}

#[test]
fn a_stop_is_recorded_once_and_a_cut_is_kept() {
    let world = World::new();
    let stop = Effect::RecordStop("r1".parse().unwrap());
    world.makes(&stop);
    world.refuses(&stop, Refusal::StopRecorded);
    let cut = Cut { target: CutTarget::Token("t1".parse().unwrap()), at: NOW, forget: LATER };
    world.makes(&Effect::Cut(cut.clone()));
    let kept: Vec<_> = world.store.read_blocking("cuts", cuts::load).unwrap();
    assert_eq!(kept, [cut]);
}

#[test]
fn a_client_that_registers_itself_is_kept_while_it_is_used_and_there_is_room() {
    let world = World::new();
    let made = |id: &str| SelfDescribed {
        id: id.parse().unwrap(),
        name: Some("Notes".to_owned()),
        redirect_uris: vec!["https://notes.example/callback".to_owned()],
        authentication: SelfAuthentication::ClientSecretPost([7; 32]),
        registered: NOW,
    };
    let keep = |id: &str| Effect::KeepClient { client: Box::new(made(id)), forget: LATER, most: 2 };
    let found = |id: &str, at: Timestamp| {
        let id: ClientId = id.parse().unwrap();
        world.store.read_blocking("client", move |tx| self_registered::get(tx, &id, at)).unwrap()
    };
    world.makes(&keep("one"));
    world.makes(&keep("two"));
    world.refuses(&keep("three"), Refusal::ClientsFull);
    assert_eq!(found("one", NOW), Some(made("one")));
    assert_eq!((found("three", NOW), found("one", LATER)), (None, None), "unused until then");

    let after = LATER.plus(Duration::from_secs(60));
    world.makes(&Effect::UseClient { client: "one".parse().unwrap(), forget: after });
    assert_eq!(found("one", LATER), Some(made("one")));
    sweep_blocking(&world.store, LATER, &|| false).unwrap();
    assert_eq!(found("two", NOW), None, "swept");
    world.makes(&keep("three"));

    world.cuts(CutTarget::Client("one".parse().unwrap()));
    assert_eq!(found("one", NOW), None);
    let again = Effect::UseClient { client: "one".parse().unwrap(), forget: after };
    world.refuses(&again, Refusal::ClientGone);
}

const ENDS: Timestamp = Timestamp::from_secs(5000);

fn riley() -> Subject {
    Subject { iss: "https://mandate.example".parse().unwrap(), sub: "riley".to_owned() }
}

fn family(root: &str, client: &str, person: Subject) -> Family {
    let (root, client) = (root.parse().unwrap(), client.parse().unwrap());
    Family { root, client, person, ends: ENDS, payload: Secret::new("what was granted"), upstream: None }
}

fn keep_refresh(family: Family, hash: [u8; 32]) -> Effect {
    Effect::KeepRefresh {
        family: Box::new(family),
        hash,
        expires: LATER,
        code: [77; 32],
        name: "riley".parse().unwrap(),
        password: Some(mandate_core::digest::sha256(b"phc")),
        planned_from: RegistryVersion::from_number(0),
    }
}

fn rotate(hash: [u8; 32], next: [u8; 32], at: Timestamp) -> Effect {
    Effect::RotateRefresh { hash, next, expires: at.plus(Duration::from_secs(60)), at }
}

impl World {
    /// Riley has a password, and the registry its first version.
    fn of_riley() -> Self {
        let world = Self::new();
        world.sets_password("phc");
        world
    }

    fn sets_password(&self, phc: &str) {
        let (name, phc) = ("riley".parse().unwrap(), Secret::new(phc));
        let set = |tx: &crate::Tx<'_>| secrets::set_password(tx, &name, &phc);
        self.store.transact_blocking("password", set).unwrap();
    }

    fn refresh(&self, hash: [u8; 32], at: Timestamp) -> Option<RefreshState> {
        let found = self.store.read_blocking("refresh", move |tx| refresh::peek(tx, &hash, at)).unwrap();
        found.map(|found| {
            assert_eq!(found.payload, Secret::new("what was granted"));
            assert_eq!(found.ends, ENDS);
            found.state
        })
    }

    fn cuts(&self, target: CutTarget) {
        self.makes(&Effect::Cut(Cut { target, at: NOW, forget: LATER }));
    }
}

#[test]
fn a_refresh_token_is_used_once_and_in_time_and_the_next_one_takes_its_place() {
    let world = World::of_riley();
    world.refuses(&rotate([1; 32], [2; 32], NOW), Refusal::RefreshUnknown);
    world.makes(&keep_refresh(family("t1", "app", riley()), [1; 32]));
    world.refuses(&rotate([1; 32], [2; 32], LATER), Refusal::RefreshExpired);
    world.makes(&rotate([1; 32], [2; 32], NOW));
    world.refuses(&rotate([1; 32], [3; 32], NOW), Refusal::RefreshUsed);
    assert_eq!(world.refresh([1; 32], NOW), Some(RefreshState::Used));
    assert_eq!(world.refresh([1; 32], LATER), Some(RefreshState::Used), "also after its time");
    assert_eq!(world.refresh([2; 32], NOW), Some(RefreshState::Unused));
    assert_eq!((world.refresh([3; 32], NOW), world.refresh([4; 32], NOW)), (None, None));
}

#[test]
fn the_end_of_a_session_at_a_provider_ends_its_logins_also_after_their_codes_are_forgotten() {
    let world = World::new();
    let session = session_hash(&"https://login.example".parse().unwrap(), "s1");
    world.makes(&Effect::KeepLoginSession { session, code: [77; 32], forget: LATER });
    let at_a_provider = |effect| match effect {
        Effect::KeepRefresh { family, hash, expires, code, name, planned_from, .. } => {
            Effect::KeepRefresh { family, hash, expires, code, name, password: None, planned_from }
        }
        other => other,
    };
    world.makes(&at_a_provider(keep_refresh(family("t1", "app", riley()), [1; 32])));
    let forget = |tx: &crate::Tx<'_>| login_sessions::forget(tx, LATER, 9);
    assert_eq!(world.store.transact_blocking("forget", forget).unwrap(), 1);
    let end = || world.store.transact_blocking("end", |tx| login_sessions::end(tx, &session, LATER)).unwrap();
    assert_eq!(end(), ["t1".parse().unwrap()]);
    world.cuts(CutTarget::Token("t1".parse().unwrap()));
    world.refuses(&rotate([1; 32], [2; 32], NOW), Refusal::RefreshEnded);
    assert!(end().is_empty(), "there is nothing left to end");
}

#[test]
fn no_refresh_token_lives_longer_than_its_family_and_all_are_forgotten_with_it() {
    let world = World::of_riley();
    world.makes(&keep_refresh(family("t1", "app", riley()), [1; 32]));
    let late = Timestamp::from_secs(5000 - 30);
    world.makes(&Effect::RotateRefresh { hash: [1; 32], next: [2; 32], expires: ENDS, at: NOW });
    world.makes(&rotate([2; 32], [3; 32], late));
    assert_eq!(world.refresh([3; 32], Timestamp::from_secs(4999)), Some(RefreshState::Unused));
    assert_eq!(world.refresh([3; 32], ENDS), Some(RefreshState::Expired));
    world.refuses(&rotate([3; 32], [4; 32], ENDS), Refusal::RefreshExpired);
    let swept = |at| sweep_blocking(&world.store, at, &|| false).unwrap().rows;
    assert_eq!((swept(Timestamp::from_secs(4999)), swept(ENDS)), (0, 4), "three tokens and the family");
    assert_eq!(world.refresh([1; 32], NOW), None);
}

#[test]
fn a_cut_ends_the_refresh_tokens_of_its_person_its_client_or_its_token_and_no_others() {
    let other = Subject { sub: "sam".to_owned(), ..riley() };
    let elsewhere = Subject { iss: "https://other.example".parse().unwrap(), ..riley() };
    let nul = Subject { sub: "ri\0ley".to_owned(), ..riley() };
    let token = |id: &str| CutTarget::Token(id.parse().unwrap());
    for (target, ends) in [
        (token("t1"), true),
        (token("t2"), false),
        (CutTarget::Client("app".parse().unwrap()), true),
        (CutTarget::Client("other".parse().unwrap()), false),
        (CutTarget::Person(riley()), true),
        (CutTarget::Person(other), false),
        (CutTarget::Person(elsewhere), false),
        (CutTarget::Person(nul), false),
        (CutTarget::Agent("spiffe://acme.example/agent/a".to_owned()), false),
        (CutTarget::Grant("g1".parse().unwrap()), false),
    ] {
        let world = World::of_riley();
        world.makes(&keep_refresh(family("t1", "app", riley()), [1; 32]));
        world.makes(&rotate([1; 32], [2; 32], NOW));
        world.cuts(target.clone());
        let (used, next) = (world.refresh([1; 32], NOW).unwrap(), world.refresh([2; 32], NOW).unwrap());
        if ends {
            assert_eq!((used, next), (RefreshState::Ended, RefreshState::Ended), "{target:?}");
            world.refuses(&rotate([2; 32], [3; 32], NOW), Refusal::RefreshEnded);
            // What is forgotten of the cut does not bring the tokens back.
            sweep_blocking(&world.store, LATER, &|| false).unwrap();
            world.refuses(&rotate([2; 32], [3; 32], NOW), Refusal::RefreshEnded);
        } else {
            assert_eq!((used, next), (RefreshState::Used, RefreshState::Unused), "{target:?}");
        }
    }
}

#[test]
fn no_login_gives_refresh_tokens_after_a_change_that_is_not_in_force_yet() {
    let keep = || keep_refresh(family("t1", "app", riley()), [1; 32]);
    World::new().refuses(&keep(), Refusal::RefreshEnded);
    let world = World::of_riley();
    world.sets_password("another phc");
    world.refuses(&keep(), Refusal::RefreshEnded);
    let world = World::of_riley();
    world.makes(&Effect::AdvanceRegistry { planned_from: None });
    world.refuses(&keep(), Refusal::RegistryChanged);
}

#[test]
fn a_device_is_allowed_once_and_in_time_and_not_after_it_was_refused() {
    let most = MostDevices { of_a_client: 3, of_all: 4 };
    let world = World::new();
    let device = |n: u8, client: &str| WaitingDevice {
        hash: [n; 32],
        client: client.parse().unwrap(),
        expires: LATER,
        payload: Secret::new("what it asks for"),
    };
    let begin = |n: u8, code: u8, client: &str, now| {
        let device = device(n, client);
        let insert =
            |tx: &crate::Tx<'_>| device_requests::insert(tx, &device, &[code; 32], (now, LATER), most);
        world.store.transact_blocking("begin", insert).unwrap()
    };
    let allow = |n: u8, at| Effect::AllowDevice { hash: [n; 32], at, forget: ENDS };
    let by_user_code = |code: u8, now| {
        let find = move |tx: &crate::Tx<'_>| device_requests::with_user_code(tx, &[code; 32], now);
        world.store.read_blocking("find", find).unwrap()
    };
    let answer = |n: u8| {
        let find = move |tx: &crate::Tx<'_>| device_requests::with_device_code(tx, &[n; 32]);
        world.store.read_blocking("find", find).unwrap().map(|(_, answer)| answer)
    };
    let refuse = |n: u8| {
        let refuse = move |tx: &crate::Tx<'_>| device_requests::refuse(tx, &[n; 32], NOW);
        world.store.transact_blocking("refuse", refuse).unwrap()
    };

    world.refuses(&allow(1, NOW), Refusal::DeviceGone);
    assert_eq!(begin(1, 101, "app", NOW), DeviceKept::Kept);
    assert_eq!(begin(2, 101, "app", NOW), DeviceKept::CodeTaken);
    assert_eq!((begin(2, 102, "app", NOW), begin(3, 103, "app", NOW)), (DeviceKept::Kept, DeviceKept::Kept));
    assert_eq!(begin(4, 104, "app", NOW), DeviceKept::Full, "of one client");
    assert_eq!(begin(4, 104, "other", NOW), DeviceKept::Kept);
    assert_eq!(begin(5, 105, "other", NOW), DeviceKept::Full, "of all");

    assert_eq!(by_user_code(101, NOW), Some(device(1, "app")));
    assert_eq!((by_user_code(101, LATER), by_user_code(1, NOW)), (None, None));
    world.refuses(&allow(1, LATER), Refusal::DeviceGone);
    world.makes(&allow(1, NOW));
    world.refuses(&allow(1, NOW), Refusal::DeviceGone);
    assert!(!refuse(1), "it was allowed");
    assert!(refuse(2) && !refuse(2) && !refuse(9));
    world.refuses(&allow(2, NOW), Refusal::DeviceGone);
    assert_eq!((by_user_code(101, NOW), by_user_code(102, NOW)), (None, None), "each has its answer");
    assert_eq!(
        [1, 2, 3, 9].map(answer),
        [Some(DeviceAnswer::Allowed), Some(DeviceAnswer::Refused), Some(DeviceAnswer::None), None]
    );
    assert_eq!(begin(5, 105, "app", NOW), DeviceKept::Kept, "those with an answer do not wait");

    // An allowed one is known for longer, so that a second use of its code is noticed.
    let swept = |at| sweep_blocking(&world.store, at, &|| false).unwrap().rows;
    assert_eq!((swept(LATER), answer(1), answer(3)), (4, Some(DeviceAnswer::Allowed), None));
    assert_eq!(swept(ENDS), 1);
}

#[test]
fn the_login_at_a_provider_is_kept_sealed_for_it_as_long_as_the_family_goes_on() {
    let world = World::of_riley();
    let of =
        |token: &str, good| refresh::Upstream { provider: "key".into(), token: Secret::new(token), good };
    let root: mandate_core::TokenId = "t1".parse().unwrap();
    let read = |provider: &'static str| {
        let root = root.clone();
        world.store.read_blocking("upstream", move |tx| refresh::upstream(tx, &root, provider))
    };
    let family = Family { upstream: Some(of("first", NOW)), ..family("t1", "app", riley()) };
    world.makes(&keep_refresh(family, [1; 32]));
    assert_eq!(read("key").unwrap(), Some(of("first", NOW)));
    assert!(read("another").is_err(), "it is opened for no other provider");
    let keep = |upstream: refresh::Upstream| {
        let root = root.clone();
        let keep = move |tx: &crate::Tx<'_>| refresh::keep_upstream(tx, &root, &upstream);
        world.store.transact_blocking("upstream", keep).unwrap();
    };
    keep(of("second", LATER));
    assert_eq!(read("key").unwrap(), Some(of("second", LATER)));
    world.cuts(CutTarget::Token(root.clone()));
    assert_eq!(read("key").unwrap(), None);
    keep(of("third", LATER));
    assert_eq!(read("key").unwrap(), None, "what ended stays ended");
}
