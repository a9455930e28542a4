//! The life of keys: made once, sealed, published before use, kept until everything that they signed has
//! expired.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mandate_audit::RecordKind;
use mandate_authority::{Authority, OpenError, Purpose, RotateError};
use mandate_core::lifetimes::PUBLISH_BEFORE_USE;
use mandate_core::{Clock, Entropy};
use mandate_testkit::clock::{SeededEntropy, SteppedClock};
use mandate_testkit::database;
use mandate_token::TokenError;
use mandate_token::jwt_svid;

use crate::world::{ISSUER, World, domain, issuer};

fn kids(json: &str) -> BTreeSet<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn token(world: &World) -> String {
    let mandate = world.login();
    let receipt = world.receipt(world.record(mandate.view(), RecordKind::Token));
    world.authority.mint(mandate, receipt).unwrap().into_exposed_token()
}

#[test]
fn keys_survive_a_restart() {
    let world = World::new();
    let (token, svid) = (token(&world), world.svid(ISSUER));
    let before = (
        world.authority.access_token_jwks_json(),
        world.authority.jwt_bundle_json(),
        world.authority.ca_certificates_der(),
        world.authority.checkpoint_vkey().to_owned(),
    );
    let world = world.reopened();
    let after = (
        world.authority.access_token_jwks_json(),
        world.authority.jwt_bundle_json(),
        world.authority.ca_certificates_der(),
        world.authority.checkpoint_vkey().to_owned(),
    );
    assert_eq!(before, after);
    assert!(world.verify(&token).is_ok());
    assert!(
        jwt_svid::verify(&svid, &world.authority.jwt_bundle(), &domain(), ISSUER, world.now(), None).is_ok()
    );
}

#[test]
fn every_purpose_has_keys_of_its_own() {
    let world = World::new();
    let (access, svid) =
        (kids(&world.authority.access_token_jwks_json()), kids(&world.authority.jwt_bundle_json()));
    assert_eq!((access.len(), svid.len()), (2, 2), "one signs, one waits");
    assert!(access.is_disjoint(&svid));
    assert_eq!(world.authority.ca_certificates_der().len(), 2);
    assert_ne!(world.authority.ca_pin(), world.authority.active_key(Purpose::JwtSvid));
    assert!(world.authority.checkpoint_vkey().starts_with("acme.example/audit/"));
}

#[test]
fn the_bundles_sequence_rises_with_every_change_of_its_keys_and_with_nothing_else() {
    let sequence = |world: &World| {
        let bundle: serde_json::Value = serde_json::from_str(&world.authority.jwt_bundle_json()).unwrap();
        assert_eq!(bundle["spiffe_refresh_hint"], 300);
        bundle["spiffe_sequence"].as_u64().unwrap()
    };
    let world = World::new();
    let mut last = sequence(&world);
    let mut rises = |world: &World| {
        let now = sequence(world);
        assert!(now > last, "{now} after {last}");
        last = now;
    };
    world.clock.advance(Duration::from_secs(1));
    world.authority.rotate(Purpose::JwtSvid, world.now()).unwrap();
    rises(&world);
    world.authority.rotate(Purpose::AccessToken, world.now()).unwrap();
    let world = world.reopened();
    world.clock.advance(Duration::from_mins(6));
    assert!(world.authority.maintain(world.now()).unwrap(), "the retired key goes");
    rises(&world);
    world.authority.rotate(Purpose::JwtSvid, world.now()).unwrap();
    rises(&world);
}

#[test]
fn no_published_document_holds_a_private_member() {
    let world = World::new();
    for json in [world.authority.access_token_jwks_json(), world.authority.jwt_bundle_json()] {
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        for key in value["keys"].as_array().unwrap() {
            let members: BTreeSet<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, BTreeSet::from(["alg", "crv", "kid", "kty", "use", "x", "y"]));
        }
    }
    assert!(!format!("{:?}", world.authority).contains("key"));
}

#[test]
fn no_private_key_lies_readable_in_the_database() {
    let world = World::new();
    let svid = world.svid(ISSUER);
    assert!(!svid.is_empty());
    let dir = world.dir.path().to_owned();
    // PKCS#8's object identifiers of an EC key (id-ecPublicKey, prime256v1) before an octet string, and a
    // note key.
    let pkcs8 = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04";
    assert!(!database::holds(&dir, pkcs8));
    assert!(!database::holds(&dir, b"PRIVATE+KEY"));
    assert!(database::holds(&dir, world.authority.checkpoint_vkey().as_bytes()), "it would be found");
}

#[test]
fn a_rotation_publishes_before_use_and_keeps_until_the_last_token_has_expired() {
    let world = World::new();
    let changes = world.authority.subscribe();
    let before = kids(&world.authority.access_token_jwks_json());
    let old_key = world.authority.active_key(Purpose::AccessToken);
    let old_token = token(&world);

    world.authority.rotate(Purpose::AccessToken, world.now()).unwrap();
    assert!(changes.has_changed().unwrap());
    let new_key = world.authority.active_key(Purpose::AccessToken);
    assert_ne!(new_key, old_key);
    assert!(before.contains(&new_key), "it had been published before it signed");
    let new_token = token(&world);
    assert!(world.verify(&old_token).is_ok());
    assert!(world.verify(&new_token).is_ok());
    assert_eq!(kids(&world.authority.access_token_jwks_json()).len(), 3);

    // Nothing else rotated.
    assert_eq!(kids(&world.authority.jwt_bundle_json()).len(), 2);

    let world = world.reopened();
    assert_eq!(world.authority.active_key(Purpose::AccessToken), new_key, "the rotation was durable");

    // The old key goes only after every token it signed has expired.
    world.clock.advance(Duration::from_secs(60 * 60 - 1));
    assert!(!world.authority.maintain(world.now()).unwrap());
    assert!(world.verify(&old_token).is_ok());
    world.clock.advance(Duration::from_secs(62));
    assert!(world.authority.maintain(world.now()).unwrap());
    let left = kids(&world.authority.access_token_jwks_json());
    assert!(!left.contains(&old_key) && left.contains(&new_key));
    assert!(matches!(world.verify(&old_token), Err(TokenError::UnknownKey(_))));
    let world = world.reopened();
    assert_eq!(kids(&world.authority.access_token_jwks_json()), left, "so was the removal");
}

#[test]
fn a_key_that_nobody_can_know_yet_does_not_sign() {
    let world = World::new();
    world.authority.rotate(Purpose::JwtSvid, world.now()).unwrap();
    let ready = world.now().plus(PUBLISH_BEFORE_USE);
    let key = world.authority.active_key(Purpose::JwtSvid);
    world.clock.advance(PUBLISH_BEFORE_USE.checked_sub(Duration::from_millis(1)).unwrap());
    match world.authority.rotate(Purpose::JwtSvid, world.now()) {
        Err(RotateError::TooSoon { ready: at }) => assert_eq!(at, ready),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.authority.active_key(Purpose::JwtSvid), key);
    world.clock.set(ready);
    world.authority.rotate(Purpose::JwtSvid, world.now()).unwrap();
    assert_ne!(world.authority.active_key(Purpose::JwtSvid), key);
}

#[test]
fn a_new_signing_certificate_is_published_before_it_signs() {
    let world = World::new();
    let (before, pin) = (world.authority.ca_certificates_der(), world.authority.ca_pin());
    world.authority.rotate(Purpose::X509, world.now()).unwrap();
    let after = world.authority.ca_certificates_der();
    assert_eq!(after.len(), 3);
    assert_eq!(after[0], before[1], "the one that waited signs");
    assert!(after.contains(&before[0]), "what the old one signed still verifies");
    assert_ne!(world.authority.ca_pin(), pin);
}

#[test]
fn maintenance_replaces_keys_after_their_period_and_does_nothing_before() {
    let world = World::new();
    let day = Duration::from_secs(24 * 60 * 60);
    let keys = || Purpose::ALL.iter().map(|p| world.authority.active_key(*p)).collect::<Vec<_>>();
    let first = keys();
    assert!(!world.authority.maintain(world.now()).unwrap());
    world.clock.advance(29 * day);
    assert!(!world.authority.maintain(world.now()).unwrap());
    assert_eq!(keys(), first);
    world.clock.advance(day);
    assert!(world.authority.maintain(world.now()).unwrap());
    let second = keys();
    assert!(first[0] != second[0] && first[1] != second[1] && first[2] == second[2]);
    world.clock.advance(150 * day);
    assert!(world.authority.maintain(world.now()).unwrap());
    assert_ne!(keys()[2], second[2]);
}

#[test]
fn refuses_to_open_with_another_installation_s_seal_key() {
    let world = World::new();
    // Of another randomness, so of another sealing key.
    let other = World::in_dir(
        tempfile::tempdir().unwrap(),
        Arc::new(SteppedClock::default()),
        Arc::new(SeededEntropy::new(77)),
    );
    let dir = world.dir.path().to_owned();
    std::fs::copy(other.dir.path().join("seal.key"), dir.join("copied.key")).unwrap();
    let World { dir: keep, authority, log, .. } = world;
    drop((authority, log));
    std::fs::rename(dir.join("copied.key"), dir.join("seal.key")).unwrap();
    let entropy = Arc::new(SeededEntropy::new(9)) as Arc<dyn Entropy>;
    let clock = Arc::new(SteppedClock::default()) as Arc<dyn Clock>;
    // The sequencer's thread lets go of the directory in its own time.
    let opened = loop {
        match database::open(&dir, Arc::clone(&entropy)) {
            Err(mandate_store::StoreError::Directory { why, .. }) if why.contains("another process") => {
                std::thread::yield_now();
            }
            other => break other,
        }
    };
    let outcome = opened
        .map_err(OpenError::from)
        .and_then(|store| Authority::open(store, domain(), issuer(), clock, entropy));
    assert!(outcome.is_err());
    drop(keep);
}
