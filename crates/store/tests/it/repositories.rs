//! What each repository keeps, and what it refuses.

use std::cell::Cell;
use std::time::Duration;

use mandate_core::registry::{
    AgentState, AssertionAudience, Client, ClientAuthentication, Entry, EntryKind, Person, Policy,
};
use mandate_core::{
    ClientId, Cut, CutTarget, MeterId, NodeState, PersonName, Reservation, Secret, Subject, Timestamp,
};
use mandate_store::codes::Redemption;
use mandate_store::keys::{KeyState, StoredKey};
use mandate_store::nodes::Node;
use mandate_store::{
    Effect, EffectRefusal, Store, StoreError, Swept, codes, cuts, keys, login_sessions, meta, meters, nodes,
    registry, replay, secrets, sweep_blocking,
};
use mandate_testkit::database;
use tempfile::TempDir;

use crate::world::{World, open, record};

const NOW: Timestamp = Timestamp::from_secs(1000);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, refusal: EffectRefusal) {
    assert_eq!(result.unwrap_err().refusal(), Some(refusal));
}

fn policy(name: &str, source: &str) -> Entry {
    Entry::Policy(Policy { name: name.parse().unwrap(), source: source.to_owned() })
}

fn client(id: &str) -> Entry {
    let authentication =
        ClientAuthentication::PrivateKeyJwt { jwks: "{}".into(), audience: AssertionAudience::TokenEndpoint };
    let scopes = Some("read:cases".parse().unwrap());
    let redirect_uris = vec!["http://127.0.0.1/cb".into()];
    Entry::Client(Client {
        id: id.parse().unwrap(),
        redirect_uris,
        authentication,
        agents: vec![],
        scopes,
        refresh: false,
        require_pushed_authorization_requests: false,
        device: false,
        tenant: None,
    })
}

fn agent(name: &str) -> Entry {
    Entry::Agent(mandate_core::registry::Agent {
        name: name.parse().unwrap(),
        owner: "riley".parse().unwrap(),
        purpose: "Works".into(),
        spiffe_id: format!("spiffe://td/agent/{name}").parse().unwrap(),
        selectors: vec!["unix:uid:1000".parse().unwrap()],
        proofs: Vec::new(),
        ceiling: vec![],
        may: Vec::new(),
        chain_depth: 3,
        state: AgentState::Suspended,
        tenant: None,
    })
}

#[test]
fn the_registry_comes_back_as_it_was_put_after_a_restart() {
    let (dir, store) = store();
    let entries = [agent("a"), agent("b"), client("App"), client("app"), policy("p", "permit;")];
    store.transact_blocking("put", |tx| entries.iter().try_for_each(|e| registry::put(tx, e))).unwrap();
    store.transact_blocking("replace", |tx| registry::put(tx, &policy("p", "forbid;"))).unwrap();
    store.transact_blocking("remove", |tx| registry::remove(tx, EntryKind::Agent, "b")).unwrap();
    drop(store);
    let found = open(dir.path()).read_blocking("load", registry::load).unwrap();
    assert_eq!(found, [agent("a"), client("App"), client("app"), policy("p", "forbid;")]);
}

#[test]
fn an_entry_that_was_moved_or_mangled_in_the_file_is_not_loaded() {
    for sql in [
        "UPDATE registry SET key = 'b' WHERE kind = 'agent'",
        "UPDATE registry SET kind = 'policy' WHERE kind = 'agent'",
        "UPDATE registry SET body = '{}' WHERE kind = 'agent'",
        "UPDATE registry SET body = replace(body, 'suspended', 'omnipotent')",
    ] {
        let (dir, store) = store();
        store.transact_blocking("put", |tx| registry::put(tx, &agent("a"))).unwrap();
        database::edit(dir.path(), sql, sql);
        assert!(matches!(store.read_blocking("load", registry::load), Err(StoreError::Corrupt(_))), "{sql}");
    }
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let (_dir, store) = store();
    let result: Result<(), _> = store.transact_blocking("half", |tx| {
        registry::put(tx, &agent("a"))?;
        Err(EffectRefusal::StopRecorded.into())
    });
    refused(result, EffectRefusal::StopRecorded);
    assert!(store.read_blocking("load", registry::load).unwrap().is_empty());
}

#[test]
fn what_reads_cannot_write() {
    let (_dir, store) = store();
    assert!(store.read_blocking("write", |tx| registry::put(tx, &agent("a"))).is_err());
    assert!(store.read_blocking("load", registry::load).unwrap().is_empty());
}

#[test]
fn a_grant_is_used_up_at_its_limit_and_keeps_its_count_when_added_again() {
    let (_dir, store) = store();
    let meter = MeterId::GrantUses("g1".parse().unwrap());
    let one = |limit| Reservation { meter: meter.clone(), amount: 1, limit };
    let use_it = |limit| store.transact_blocking("use", |tx| meters::reserve(tx, &one(limit)));
    let exhausted = || EffectRefusal::MeterExhausted(meter.clone());
    refused(use_it(0), exhausted());
    use_it(2).unwrap();
    use_it(2).unwrap();
    refused(use_it(2), exhausted());
    store.transact_blocking("remove", |tx| registry::remove(tx, EntryKind::Grant, "g1")).unwrap();
    refused(use_it(2), exhausted());
    refused(use_it(1), exhausted());
    use_it(3).unwrap();
    use_it(u64::MAX).unwrap();
    assert_eq!(store.read_blocking("uses", meters::load).unwrap().get(&meter), Some(&4));
}

#[test]
fn secrets_are_sealed_and_leave_with_their_owner() {
    let (dir, store) = store();
    let (person, id) = ("riley".parse().unwrap(), "app".parse().unwrap());
    let set = |phc: &'static str| {
        let phc = Secret::new(phc);
        store
            .transact_blocking("set", |tx| {
                secrets::set_password(tx, &person, &phc)
                    .and_then(|()| secrets::set_client_secret(tx, &id, &phc))
            })
            .unwrap();
    };
    let password = || store.read_blocking("get", |tx| secrets::password(tx, &person)).unwrap();
    assert_eq!(password(), None);
    set("$argon2id$first-phc");
    set("$argon2id$second-phc");
    assert_eq!(password(), Some(Secret::new("$argon2id$second-phc")));
    store.transact_blocking("remove", |tx| registry::remove(tx, EntryKind::Person, "riley")).unwrap();
    assert_eq!(password(), None, "the next riley starts without a password");
    let secret = || store.read_blocking("get", |tx| secrets::client_secret(tx, &id)).unwrap();
    assert!(secret().is_some());
    store.transact_blocking("remove", |tx| registry::remove(tx, EntryKind::Client, "app")).unwrap();
    assert_eq!(secret(), None);
    set("$argon2id$third-phc");
    drop(store);
    assert!(!database::holds(dir.path(), b"$argon2id"));
}

#[test]
fn a_sealed_value_moved_to_another_row_does_not_open() {
    let (dir, store) = store();
    let (riley, mallory) = ("riley".parse().unwrap(), "mallory".parse().unwrap());
    for (person, phc) in [(&mallory, "$known"), (&riley, "$r")] {
        store.transact_blocking("set", |tx| secrets::set_password(tx, person, &Secret::new(phc))).unwrap();
    }
    let sql = "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'mallory') WHERE name = 'riley'";
    database::edit(dir.path(), sql, sql);
    assert!(matches!(
        store.read_blocking("get", |tx| secrets::password(tx, &riley)),
        Err(StoreError::Corrupt(_))
    ));
    assert!(store.read_blocking("get", |tx| secrets::password(tx, &mallory)).unwrap().is_some());
}

fn key(purpose: &str, kid: &str, created: u64) -> StoredKey {
    StoredKey {
        purpose: purpose.into(),
        kid: kid.into(),
        state: KeyState::Next,
        created: at(created),
        until: None,
        public: b"public".to_vec(),
        private: Secret::new(format!("private half of {kid}")),
    }
}

#[test]
fn keys_are_sealed_listed_by_purpose_and_moved_through_their_life() {
    let (dir, store) = store();
    let all = [key("access", "k2", 20), key("access", "k1", 10), key("svid", "k1", 5)];
    store.transact_blocking("put", |tx| all.iter().try_for_each(|k| keys::put(tx, k))).unwrap();
    store
        .transact_blocking("retire", |tx| {
            keys::set_state(tx, "access", "k1", KeyState::Retired, Some(at(99)))
        })
        .unwrap();
    let unknown =
        store.transact_blocking("retire", |tx| keys::set_state(tx, "access", "k9", KeyState::Active, None));
    assert!(matches!(unknown, Err(StoreError::Corrupt(why)) if why.contains("k9")));
    drop(store);
    let store = open(dir.path());
    let found = store.read_blocking("list", |tx| keys::list(tx, "access")).unwrap();
    let retired = StoredKey { state: KeyState::Retired, until: Some(at(99)), ..key("access", "k1", 10) };
    assert_eq!(found, [retired, key("access", "k2", 20)]);
    assert!(!format!("{found:?}").contains("private half"));
    store.transact_blocking("remove", |tx| keys::remove(tx, "access", "k1")).unwrap();
    assert_eq!(store.read_blocking("list", |tx| keys::list(tx, "access")).unwrap().len(), 1);
    drop(store);
    assert!(!database::holds(dir.path(), b"private half") && database::holds(dir.path(), b"public"));
    // A private half under another purpose would let one key sign what another must.
    let sql = "UPDATE keys SET purpose = 'access' WHERE purpose = 'svid'";
    database::edit(dir.path(), sql, sql);
    assert!(matches!(
        open(dir.path()).read_blocking("list", |tx| keys::list(tx, "access")),
        Err(StoreError::Corrupt(_))
    ));
}

#[test]
fn cuts_are_kept_in_their_order_until_they_are_forgotten() {
    let (dir, store) = store();
    let cut = |id: &str, forget: u64| Cut {
        target: CutTarget::Token(id.parse().unwrap()),
        at: NOW,
        forget: at(forget),
    };
    let insert = |store: &Store, c: &Cut| store.transact_blocking("cut", |tx| cuts::insert(tx, c)).unwrap();
    let load = |store: &Store| store.read_blocking("load", cuts::load).unwrap();
    for cut in [cut("t2", 3000), cut("t1", 2000)] {
        insert(&store, &cut);
    }
    assert_eq!(load(&store), [cut("t2", 3000), cut("t1", 2000)]);
    assert_eq!(store.transact_blocking("forget", |tx| cuts::forget(tx, at(2000), 99)).unwrap(), 1);
    assert_eq!(load(&store), [cut("t2", 3000)]);
    assert_eq!(store.transact_blocking("forget", |tx| cuts::forget(tx, at(9000), 99)).unwrap(), 1);
    drop(store);
    let store = open(dir.path());
    insert(&store, &cut("t3", 9999));
    assert_eq!(load(&store), [cut("t3", 9999)]);
}

#[test]
fn a_code_is_used_once_in_time_and_its_second_use_names_the_token_of_the_first() {
    let (_dir, store) = store();
    let hash = [1; 32];
    store
        .transact_blocking("insert", |tx| codes::insert(tx, &hash, b"who and what", at(1060), at(2000)))
        .unwrap();
    let (first, second) = ("t1".parse().unwrap(), "t2".parse().unwrap());
    let consume = |hash, token, now| {
        store.transact_blocking("consume", |tx| codes::consume(tx, hash, token, at(now))).unwrap()
    };
    assert_eq!(consume(&[2; 32], &first, 1000), Redemption::Unknown);
    assert_eq!(consume(&hash, &first, 1060), Redemption::Expired);
    let payload = Secret::new("who and what");
    assert_eq!(consume(&hash, &first, 1059), Redemption::First { payload: payload.clone() });
    for late in [1059, 1060, 1999] {
        let again = Redemption::Again { payload: payload.clone(), token: Some("t1".parse().unwrap()) };
        assert_eq!(consume(&hash, &second, late), again);
    }
    assert_eq!(store.transact_blocking("forget", |tx| codes::forget(tx, at(2000), 99)).unwrap(), 1);
    assert_eq!(consume(&hash, &first, 1000), Redemption::Unknown);
}

#[test]
fn an_assertion_is_remembered_per_client_until_it_expires() {
    let (_dir, store) = store();
    let remember = |client, jti, exp, now| {
        store.transact_blocking("see", |tx| replay::remember(tx, client, jti, at(exp), at(now)))
    };
    assert!(remember("app", "j1", 1060, 1000).unwrap());
    assert!(!remember("app", "j1", 1060, 1000).unwrap());
    assert!(!remember("app", "j1", 9999, 1060).unwrap());
    assert!(remember("App", "j1", 1060, 1000).unwrap());
    assert!(remember("app", "J1", 1060, 1000).unwrap());
    assert_eq!(
        store.transact_blocking("forget", |tx| replay::forget(tx, at(1060), 99)).unwrap(),
        0,
        "at its expiry it is still known"
    );
    assert_eq!(store.transact_blocking("forget", |tx| replay::forget(tx, at(1061), 99)).unwrap(), 3);
}

#[test]
fn a_client_and_a_jti_that_no_index_has_room_for_are_remembered_too() {
    let (_dir, store) = store();
    // Texts that cannot be compressed.
    let noise = |seed: u64, len: usize| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + u8::try_from((state >> 33) % 75).unwrap())
        };
        (0..len).map(|_| next()).collect::<String>()
    };
    let (client, jti, other) = (noise(1, 1_500), noise(2, 2_048), noise(3, 2_048));
    let remember = |client: &str, jti: &str| {
        store.transact_blocking("see", |tx| replay::remember(tx, client, jti, at(1060), at(1000))).unwrap()
    };
    let known = |client: &str, jti: &str| {
        store.read_blocking("see", |tx| replay::is_remembered(tx, client, jti, at(1000))).unwrap()
    };
    assert!(!known(&client, &jti));
    assert!(remember(&client, &jti) && known(&client, &jti));
    assert!(!remember(&client, &jti));
    assert!(!known(&client, &other) && !known(&other, &jti));
    let (shorter, longer) =
        (client.split_at(1_499).0.to_owned(), format!("{}{jti}", client.split_at(1_499).1));
    assert!(remember(&shorter, &longer), "the border between the two counts");
}

#[test]
fn a_text_with_nul_finds_nothing_and_is_not_written_and_harms_no_other_statement() {
    let (_dir, store) = store();
    let found = store.read_blocking("find", |tx| {
        assert_eq!(nodes::get(tx, "a\0b")?, None);
        nodes::list(tx)
    });
    assert!(found.unwrap().is_empty());
    let written = store.transact_blocking("write", |tx| {
        let refused = replay::remember(tx, "app", "j\0", at(1060), at(1000));
        assert!(
            matches!(&refused, Err(StoreError::Sql(why)) if why.to_string().contains("NUL")),
            "{refused:?}"
        );
        replay::remember(tx, "app", "j", at(1060), at(1000))
    });
    assert!(written.unwrap());
}

#[test]
fn what_has_expired_is_swept_by_few_rows_at_a_time_and_what_has_not_stays() {
    let (_dir, store) = store();
    let hash = |kind: u8, n: u64| {
        let mut hash = [kind; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        hash
    };
    for piece in 0..7 {
        let rows = |tx: &mandate_store::Tx<'_>| {
            for n in piece * 100..(piece + 1) * 100 {
                // Every seventh stays.
                let until = at(if n % 7 == 0 { 3000 } else { 1500 + n % 300 });
                codes::insert(tx, &hash(1, n), b"payload", until, until)?;
                let target = CutTarget::Token(format!("t{n}").parse().unwrap());
                cuts::insert(tx, &Cut { target, at: NOW, forget: until })?;
                replay::remember(tx, &format!("app{}", n % 3), &format!("j{n}"), until, NOW)?;
                nodes::insert_join_token(tx, &hash(2, n), "uid 0", until)?;
                login_sessions::insert(tx, &[3; 32], &hash(1, n), until)?;
            }
            Ok(())
        };
        store.transact_blocking("rows", rows).unwrap();
    }
    assert_eq!(store.transact_blocking("some", |tx| codes::forget(tx, at(2000), 10)).unwrap(), 10);
    assert_eq!(store.transact_blocking("some", |tx| cuts::forget(tx, at(2000), 10)).unwrap(), 10);
    assert_eq!(store.transact_blocking("some", |tx| replay::forget(tx, at(2000), 10)).unwrap(), 10);
    assert_eq!(
        store.transact_blocking("some", |tx| nodes::forget_join_tokens(tx, at(2000), 10)).unwrap(),
        10
    );
    let sessions = |tx: &mandate_store::Tx<'_>| login_sessions::forget(tx, at(2000), 10);
    assert_eq!(store.transact_blocking("some", sessions).unwrap(), 10);
    // 700 of each kind, of which 100 stay, and 10 are gone.
    let asked = Cell::new(0);
    let after_four = || asked.replace(asked.get() + 1) == 4;
    let begun = sweep_blocking(&store, at(2000), &after_four).unwrap();
    assert_eq!((begun.transactions, begun.rows), (4, 590 + 256), "the server ends");
    let swept = sweep_blocking(&store, at(2000), &|| false).unwrap();
    assert_eq!(swept.rows + begun.rows, 5 * 590);
    assert_eq!(swept.transactions, 1 + 2 + 3 + 3 + 1 + 1 + 1 + 3 + 1 + 1);
    let empty = sweep_blocking(&store, at(2000), &|| false).unwrap();
    assert_eq!(empty, Swept { rows: 0, transactions: 10 });
    assert_eq!(store.read_blocking("cuts", cuts::load).unwrap().len(), 100);
    assert_eq!(sweep_blocking(&store, at(9000), &|| false).unwrap().rows, 5 * 100);
}

#[test]
fn a_join_token_joins_one_node_in_time() {
    let (_dir, store) = store();
    let (one, two) = ([1; 32], [2; 32]);
    store.transact_blocking("insert", |tx| nodes::insert_join_token(tx, &one, "uid 0", at(1060))).unwrap();
    store.transact_blocking("insert", |tx| nodes::insert_join_token(tx, &two, "uid 0", at(1060))).unwrap();
    let consume = |hash, node, now| {
        store.transact_blocking("join", |tx| nodes::consume_join_token(tx, hash, node, at(now)))
    };
    refused(consume(&[3; 32], "n1", 1000), EffectRefusal::JoinTokenUnknown);
    assert_eq!(consume(&one, "n1", 1058).unwrap(), nodes::TokenUse::First);
    refused(consume(&one, "n2", 1058), EffectRefusal::JoinTokenUsed);
    // Its answer may have been lost: the same node may ask again, within the token's life.
    assert_eq!(consume(&one, "n1", 1059).unwrap(), nodes::TokenUse::Again);
    refused(consume(&one, "n2", 1059), EffectRefusal::JoinTokenUsed);
    refused(consume(&one, "n1", 1060), EffectRefusal::JoinTokenExpired);
    refused(consume(&two, "n1", 1060), EffectRefusal::JoinTokenExpired);
    store.transact_blocking("forget", |tx| nodes::forget_join_tokens(tx, at(1061), 99)).unwrap();
    refused(consume(&one, "n1", 1059), EffectRefusal::JoinTokenUnknown);
}

#[test]
fn nodes_come_back_as_they_were_put() {
    let (_dir, store) = store();
    let node = |id: &str, state| Node {
        id: id.into(),
        spiffe_id: format!("spiffe://td/node/{id}").parse().unwrap(),
        state,
        joined: NOW,
        renewed: NOW.plus(Duration::from_secs(5)),
        expires: NOW.plus(Duration::from_hours(1)),
    };
    store
        .transact_blocking("put", |tx| {
            nodes::put(tx, &node("b", NodeState::Joined))
                .and_then(|()| nodes::put(tx, &node("a", NodeState::Joined)))
        })
        .unwrap();
    store.transact_blocking("ban", |tx| nodes::put(tx, &node("b", NodeState::Banned))).unwrap();
    assert_eq!(
        store.read_blocking("list", nodes::list).unwrap(),
        [node("a", NodeState::Joined), node("b", NodeState::Banned)]
    );
    let page = |after: &'static str, most| {
        store.read_blocking("page", move |tx| nodes::page(tx, after, most)).unwrap()
    };
    assert_eq!(page("", 1), [node("a", NodeState::Joined)]);
    assert_eq!(page("a", 9), [node("b", NodeState::Banned)]);
    assert_eq!(page("b", 9), []);
    assert_eq!(
        store.read_blocking("get", |tx| nodes::get(tx, "b")).unwrap(),
        Some(node("b", NodeState::Banned))
    );
    assert_eq!(store.read_blocking("get", |tx| nodes::get(tx, "c")).unwrap(), None);
}

#[test]
fn named_values_come_back() {
    let (_dir, store) = store();
    store
        .transact_blocking("put", |tx| {
            meta::put(tx, "issuer", "https://a.example")
                .and_then(|()| meta::put(tx, "issuer", "https://b.example"))
        })
        .unwrap();
    assert_eq!(
        store.read_blocking("get", |tx| meta::get(tx, "issuer")).unwrap().as_deref(),
        Some("https://b.example")
    );
    assert_eq!(store.read_blocking("get", |tx| meta::get(tx, "Issuer")).unwrap(), None);
}

fn change(entry: Entry) -> Vec<Effect> {
    vec![Effect::ChangeEntry { entry: Box::new(entry), planned_from: None }]
}

#[test]
fn a_password_does_not_count_again_after_its_name_was_another_persons() {
    let world = World::new();
    let riley: PersonName = "riley".parse().unwrap();
    let person = |issuer: &str, disabled| {
        let id = Subject { iss: issuer.parse().unwrap(), sub: "riley".into() };
        Entry::Person(Person { name: "riley".parse().unwrap(), id, may: Vec::new(), disabled, tenant: None })
    };
    let (own, other) = ("https://m.example", "https://login.example");
    let has_password = || {
        let found = world.store.read_blocking("password", |tx| secrets::password(tx, &riley));
        found.unwrap().is_some()
    };
    let append = |n, effects| world.log.append_blocking(record(n), effects).map(drop).unwrap();
    append(0, vec![Effect::AddEntry(Box::new(person(own, false)))]);
    world
        .store
        .transact_blocking("set", |tx| secrets::set_password(tx, &riley, &Secret::new("a hash")))
        .unwrap();
    append(1, change(person(own, true)));
    append(2, change(person(own, false)));
    assert!(has_password(), "they are the same person");
    append(3, change(person(other, false)));
    assert!(!has_password());
    append(4, change(person(own, false)));
    assert!(!has_password());
}

#[test]
fn a_client_secret_does_not_count_again_after_the_client_had_a_key() {
    let world = World::new();
    let id: ClientId = "app".parse().unwrap();
    let app = |authentication| match client("app") {
        Entry::Client(client) => Entry::Client(Client { authentication, ..client }),
        other => other,
    };
    let has_secret = || {
        let found = world.store.read_blocking("secret", |tx| secrets::client_secret(tx, &id));
        found.unwrap().is_some()
    };
    let append = |n, effects| world.log.append_blocking(record(n), effects).map(drop).unwrap();
    append(0, vec![Effect::AddEntry(Box::new(app(ClientAuthentication::ClientSecretBasic)))]);
    for (n, without) in [(1, client("app")), (4, app(ClientAuthentication::None))] {
        world
            .store
            .transact_blocking("set", |tx| secrets::set_client_secret(tx, &id, &Secret::new("a hash")))
            .unwrap();
        append(n, change(app(ClientAuthentication::ClientSecretPost)));
        assert!(has_secret(), "it is sent in another way");
        append(n + 1, change(without));
        assert!(!has_secret());
        append(n + 2, change(app(ClientAuthentication::ClientSecretBasic)));
        assert!(!has_secret());
    }
}
