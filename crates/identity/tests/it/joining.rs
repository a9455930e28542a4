//! Joining, renewing, banning.

use std::time::Duration;

use mandate_audit::{Outcome, RecordKind};
use mandate_core::lifetimes::{JOIN_TOKEN_LIFETIME, MAX_JOIN_TOKEN_LIFETIME};
use mandate_core::{Clock as _, RequestSource, Secret, Timestamp};
use mandate_identity::{IdentityError as E, PresentedCertificate};
use mandate_stops::Recorded;
use mandate_store::EffectRefusal;
use mandate_testkit::clock::START;
use mandate_testkit::database;
use mandate_testkit::faulty_backend::Point;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::world::{Office, agent, request, shown};

fn uris(der: &[u8]) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

#[tokio::test]
async fn a_join_token_buys_one_certificate_whose_name_is_ours_to_give() {
    let office = Office::open();
    let token = office.join_token().await;
    let joined = office
        .identity
        .join(token.text(), &request("spiffe://acme.example/mandate/server"), RequestSource::Other)
        .await
        .unwrap();
    assert!(joined.spiffe_id.as_str().starts_with("spiffe://acme.example/node/"));
    assert_eq!(
        uris(&joined.chain[0]),
        [joined.spiffe_id.as_str()],
        "the request's own name counts for nothing"
    );
    let record = office.world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Node, Outcome::Permitted));
    assert_eq!(record.said().act.outermost().unwrap().sub, joined.spiffe_id.as_str());
}

#[tokio::test]
async fn the_second_use_of_a_join_token_is_refused_and_on_record() {
    let office = Office::open();
    let token = office.join_token().await;
    office.identity.join(token.text(), &request(""), RequestSource::Other).await.unwrap();
    let second = office.identity.join(token.text(), &request(""), RequestSource::Other).await;
    assert_eq!(second, Err(E::JoinToken(EffectRefusal::JoinTokenUsed)));
    let record = office.last_refusal();
    assert_eq!((record.kind, record.reason.as_str()), (RecordKind::Node, "join_token_refused"));
    assert!(record.detail.unwrap().contains("join_token_used"));
}

#[tokio::test]
async fn expired_unknown_and_altered_join_tokens_are_refused() {
    let office = Office::open();
    let token = office.join_token().await;
    let text = token.text().expose_secret_str().unwrap().to_owned();
    for wrong in
        [String::new(), "x".to_owned(), format!("{text} "), format!("A{text}"), text.replace('.', "")]
    {
        let refused = office.identity.join(&Secret::new(wrong), &request(""), RequestSource::Other).await;
        assert_eq!(refused, Err(E::JoinToken(EffectRefusal::JoinTokenUnknown)));
    }
    office.world.clock.advance(JOIN_TOKEN_LIFETIME);
    let late = office.identity.join(token.text(), &request(""), RequestSource::Other).await;
    assert_eq!(late, Err(E::JoinToken(EffectRefusal::JoinTokenExpired)));
}

#[tokio::test]
async fn a_bad_certificate_request_spends_nothing() {
    let office = Office::open();
    let token = office.join_token().await;
    let mut altered = request("");
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for bad in [Vec::new(), b"no request".to_vec(), altered, vec![0x30; 100_000]] {
        assert!(matches!(
            office.identity.join(token.text(), &bad, RequestSource::Other).await,
            Err(E::CertificateRequest(_))
        ));
        assert_eq!(office.last_refusal().reason, "certificate_request_refused");
    }
    office.identity.join(token.text(), &request(""), RequestSource::Other).await.unwrap();
}

#[tokio::test]
async fn a_join_token_prints_nothing_and_is_not_stored() {
    let office = Office::open();
    let token = office.join_token().await;
    let text = token.text().expose_secret_str().unwrap();
    assert!(!format!("{token:?}").contains(text));
    for record in office.world.records(&mandate_audit::Query::default()) {
        assert!(!String::from_utf8(record.to_leaf().unwrap()).unwrap().contains(text));
    }
}

#[tokio::test]
async fn a_node_renews_under_its_own_name_until_it_is_banned() {
    let office = Office::open();
    let node = office.node().await;
    office.world.clock.advance(Duration::from_secs(1800));
    let renewed = office.identity.renew(&shown(&node), &request("")).await.unwrap();
    assert_eq!(uris(&renewed.chain[0]), [node.spiffe_id.as_str()]);
    assert!(renewed.expires > node.expires);

    let name = node.spiffe_id.path().rsplit('/').next().unwrap();
    office.identity.ban_node("uid:0", name).await.unwrap();
    assert_eq!(office.identity.renew(&shown(&node), &request("")).await, Err(E::NodeBanned));
    assert_eq!(office.identity.entries_for_node(&shown(&node)).await, Err(E::NodeBanned));
    assert_eq!(office.identity.ban_node("uid:0", "nobody").await, Err(E::NodeUnknown));
}

/// Lets every write of a row of this table fail from now on, which is neither a refusal nor the environment.
fn spoil(office: &Office, table: &str) {
    let sqlite = format!(
        "CREATE TRIGGER no_new_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'spoilt'); END;
         CREATE TRIGGER no_change_{table} BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'spoilt'); END;"
    );
    let postgres = format!("ALTER TABLE {table} ADD CONSTRAINT spoilt CHECK (false) NOT VALID");
    database::edit(&office.world.state_dir(), &sqlite, &postgres);
}

#[tokio::test]
async fn a_failure_of_ours_is_blamed_on_no_node_and_no_token() {
    let office = Office::open();
    let (token, node) = (office.join_token().await, office.node().await);
    spoil(&office, "nodes");
    let joined = office.identity.join(token.text(), &request(""), RequestSource::Other).await;
    assert!(matches!(joined, Err(E::Internal(_))), "{joined:?}");
    let record = office.last_refusal();
    assert_eq!((record.kind, record.reason.as_str()), (RecordKind::Node, "internal"));
    assert_eq!((record.said().sub, record.said().client), (None, None), "it names nobody");

    let renewed = office.identity.renew(&shown(&node), &request("")).await;
    assert!(matches!(renewed, Err(E::Internal(_))), "{renewed:?}");
    let record = office.last_refusal();
    assert_eq!((record.kind, record.reason.as_str()), (RecordKind::Node, "internal"));
    assert!(record.detail.unwrap().contains("asked for a new certificate"));

    spoil(&office, "join_tokens");
    let made = office.identity.create_join_token("uid:0", None).await;
    assert!(matches!(made, Err(E::Internal(_))), "{made:?}");
}

#[tokio::test]
async fn a_node_is_banned_while_nothing_can_be_recorded_and_gets_nothing_before_it_is() {
    let office = Office::open();
    let token = office.join_token().await;
    let ours = request("");
    let node = office.identity.join(token.text(), &ours, RequestSource::Other).await.unwrap();
    let name = node.spiffe_id.path().rsplit('/').next().unwrap();
    office.world.faults.break_down(Point::Commit);
    assert_eq!(office.identity.ban_node("uid:0", name).await, Ok(Recorded::Reserve));
    office.world.faults.repair();
    // The database still calls it joined.
    assert_eq!(office.identity.entries_for_node(&shown(&node)).await, Err(E::NodeBanned));
    assert_eq!(office.identity.renew(&shown(&node), &request("")).await, Err(E::NodeBanned));
    let issued = office.identity.issue_jwt_svid(&shown(&node), &agent(), &[], vec!["x".to_owned()]).await;
    assert_eq!(issued.err(), Some(E::NodeBanned));
    assert_eq!(office.identity.join(token.text(), &ours, RequestSource::Other).await, Err(E::NodeBanned));
    office.world.stops.retry().await;
    assert_eq!(office.world.stops.standing().reserved, 0);
    assert_eq!(
        office.identity.join(token.text(), &ours, RequestSource::Other).await,
        Err(E::JoinToken(EffectRefusal::NodeBanned))
    );
}

#[tokio::test]
async fn nobody_but_a_joined_node_renews() {
    let office = Office::open();
    for stranger in [
        "spiffe://acme.example/node/0123456789abcdef",
        "spiffe://acme.example/agent/support-agent",
        "spiffe://other.example/node/1",
    ] {
        let stranger = PresentedCertificate {
            spiffe_id: stranger.parse().unwrap(),
            expires: Timestamp::from_secs(u64::MAX / 1000),
        };
        let refused = office.identity.renew(&stranger, &request("")).await;
        assert_eq!(refused, Err(E::NodeUnknown), "{stranger:?}");
        assert_eq!(office.last_refusal().reason, "node_unknown");
    }
}

#[tokio::test]
async fn the_same_key_may_show_a_spent_token_again_while_it_lives_and_no_other_key_may() {
    let office = Office::open();
    let token = office.join_token().await;
    let ours = request("");
    let first = office.identity.join(token.text(), &ours, RequestSource::Other).await.unwrap();
    let again = office.identity.join(token.text(), &ours, RequestSource::Other).await.unwrap();
    assert_eq!(again.spiffe_id, first.spiffe_id, "one node, told twice");
    assert_eq!(
        office.identity.join(token.text(), &request(""), RequestSource::Other).await,
        Err(E::JoinToken(EffectRefusal::JoinTokenUsed))
    );
    // A key that has joined does not turn another token into the same node.
    let other = office.join_token().await;
    assert_ne!(
        office.identity.join(other.text(), &ours, RequestSource::Other).await.unwrap().spiffe_id,
        first.spiffe_id
    );
    office.world.clock.advance(JOIN_TOKEN_LIFETIME);
    assert_eq!(
        office.identity.join(token.text(), &ours, RequestSource::Other).await,
        Err(E::JoinToken(EffectRefusal::JoinTokenExpired))
    );
}

#[tokio::test]
async fn a_banned_node_is_not_joined_again_by_the_token_it_joined_with() {
    let office = Office::open();
    let token = office.join_token().await;
    let ours = request("");
    let node = office.identity.join(token.text(), &ours, RequestSource::Other).await.unwrap();
    office.identity.ban_node("uid:0", node.spiffe_id.path().rsplit('/').next().unwrap()).await.unwrap();
    assert_eq!(
        office.identity.join(token.text(), &ours, RequestSource::Other).await,
        Err(E::JoinToken(EffectRefusal::NodeBanned))
    );
    assert_eq!(office.identity.entries_for_node(&shown(&node)).await, Err(E::NodeBanned));
}

#[tokio::test]
async fn a_certificate_that_has_expired_since_the_handshake_counts_for_nothing() {
    let office = Office::open();
    let node = office.node().await;
    let shown = shown(&node);
    office.world.clock.advance(Duration::from_mins(59));
    assert!(office.identity.entries_for_node(&shown).await.is_ok());
    office.world.clock.advance(Duration::from_mins(1));
    assert_eq!(office.identity.entries_for_node(&shown).await, Err(E::NodeExpired));
    assert_eq!(office.identity.renew(&shown, &request("")).await, Err(E::NodeExpired));
    assert_eq!(office.last_refusal().reason, "node_certificate_expired");
}

#[tokio::test]
async fn after_the_machines_clock_was_set_back_by_hours_nodes_join_and_renew_and_their_certificates_end_by_it()
 {
    let office = Office::open();
    let before = office.node().await;
    office.world.clock.set(START.minus(Duration::from_hours(3)));
    assert!(
        office.identity.entries_for_node(&shown(&before)).await.is_ok(),
        "its hour has not passed by any clock"
    );
    let mut renewed = [before, office.node().await];
    for _ in 0..3 {
        office.world.clock.advance(Duration::from_mins(20));
        for node in &mut renewed {
            *node = office.identity.renew(&shown(node), &request("")).await.unwrap();
            assert!(office.identity.entries_for_node(&shown(node)).await.is_ok());
        }
    }
    office.world.clock.advance(Duration::from_mins(59));
    for node in &renewed {
        assert!(office.identity.entries_for_node(&shown(node)).await.is_ok());
    }
    office.world.clock.advance(Duration::from_mins(1));
    for node in &renewed {
        assert_eq!(
            office.identity.entries_for_node(&shown(node)).await,
            Err(E::NodeExpired),
            "after an hour of the machine's time"
        );
        assert_eq!(office.identity.renew(&shown(node), &request("")).await, Err(E::NodeExpired));
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_revives_no_certificate() {
    let office = Office::open();
    let (newest, old) = (office.node().await, office.node().await);
    office.world.clock.advance(Duration::from_mins(30));
    let new = office.identity.renew(&shown(&old), &request("")).await.unwrap();
    office.world.clock.advance(Duration::from_mins(31));
    assert!(office.identity.entries_for_node(&shown(&new)).await.is_ok());
    for back in [Duration::from_mins(40), Duration::from_hours(5)] {
        office.world.clock.set(START.plus(Duration::from_mins(61)).minus(back));
        for expired in [&newest, &old] {
            assert_eq!(
                office.identity.entries_for_node(&shown(expired)).await,
                Err(E::NodeExpired),
                "{back:?}"
            );
            assert_eq!(
                office.identity.renew(&shown(expired), &request("")).await,
                Err(E::NodeExpired),
                "{back:?}"
            );
        }
    }
    // Nor does one that was issued since then count after an hour of the server's own time, however often it
    // is set back.
    let set_back = office.identity.renew(&shown(&new), &request("")).await.unwrap();
    assert!(office.identity.entries_for_node(&shown(&set_back)).await.is_ok());
    for _ in 0..4 {
        office.world.clock.advance(Duration::from_mins(31));
        office.world.hybrid.now();
        office.world.clock.set(START.minus(Duration::from_hours(4)));
    }
    assert_eq!(office.identity.entries_for_node(&shown(&set_back)).await, Err(E::NodeExpired));
}

#[tokio::test]
async fn a_ban_wakes_the_nodes() {
    let office = Office::open();
    let node = office.node().await;
    let mut changes = office.identity.subscribe();
    let before = changes.seen();
    office.identity.ban_node("uid:0", node.spiffe_id.path().rsplit('/').next().unwrap()).await.unwrap();
    assert!(changes.changed().await);
    assert!(changes.seen() > before);
}

#[tokio::test]
async fn a_join_token_that_would_live_for_nothing_or_for_too_long_is_not_made() {
    let office = Office::open();
    for bad in [Duration::ZERO, MAX_JOIN_TOKEN_LIFETIME + Duration::from_millis(1)] {
        assert_eq!(office.identity.create_join_token("uid:0", Some(bad)).await, Err(E::JoinTokenLifetime));
    }
    assert!(office.identity.create_join_token("uid:0", Some(MAX_JOIN_TOKEN_LIFETIME)).await.is_ok());
}

/// An office that lets nodes in again for a day.
fn forgiving() -> Office {
    let office = Office::open();
    Office { identity: office.identity.with_rejoin_grace(Duration::from_hours(24)), world: office.world }
}

#[tokio::test]
async fn within_the_grace_a_node_joins_again_with_its_newest_certificate_once_and_on_record() {
    let office = forgiving();
    let node = office.node().await;
    office.world.clock.advance(Duration::from_hours(24));
    assert_eq!(
        office.identity.entries_for_node(&shown(&node)).await,
        Err(E::NodeExpired),
        "it counts for nothing else"
    );
    let again = office.identity.renew(&shown(&node), &request("")).await.unwrap();
    assert_eq!(again.spiffe_id, node.spiffe_id);
    let record = office.world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Node, Outcome::Permitted));
    assert!(
        record
            .detail
            .unwrap()
            .contains(&format!("joined again with its certificate, which expired at {}", node.expires))
    );
    assert!(office.identity.entries_for_node(&shown(&again)).await.is_ok());
    assert_eq!(
        office.identity.renew(&shown(&node), &request("")).await,
        Err(E::NodeExpired),
        "it is no longer the newest"
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused_without_a_grace_after_it_or_if_it_is_not_the_newest() {
    let strict = Office::open();
    let node = strict.node().await;
    strict.world.clock.advance(Duration::from_mins(61));
    assert_eq!(strict.identity.renew(&shown(&node), &request("")).await, Err(E::NodeExpired));
    let office = forgiving();
    let old = office.node().await;
    office.world.clock.advance(Duration::from_mins(30));
    let new = office.identity.renew(&shown(&old), &request("")).await.unwrap();
    office.world.clock.advance(Duration::from_hours(2));
    assert_eq!(
        office.identity.renew(&shown(&old), &request("")).await,
        Err(E::NodeExpired),
        "a copy from before the last renewal"
    );
    office.world.clock.advance(Duration::from_hours(24));
    assert_eq!(office.identity.renew(&shown(&new), &request("")).await, Err(E::NodeExpired), "too late");
    assert_eq!(office.last_refusal().reason, "node_certificate_expired");
}

#[tokio::test]
async fn a_banned_node_does_not_join_again_with_its_expired_certificate() {
    let office = forgiving();
    let node = office.node().await;
    let name = node.spiffe_id.path().strip_prefix("/node/").unwrap().to_owned();
    office.identity.ban_node("uid:0", &name).await.unwrap();
    office.world.clock.advance(Duration::from_hours(2));
    assert_eq!(office.identity.renew(&shown(&node), &request("")).await, Err(E::NodeBanned));
    assert_eq!(office.last_refusal().reason, "node_banned");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_program_holds_the_database_nodes_hear_so_in_time_and_their_tokens_stay_good() {
    let office = Office::open();
    let (token, node) = (office.join_token().await, office.node().await);
    let held = office.world.hold_database();
    for step in 0..3 {
        let begun = std::time::Instant::now();
        let answer = match step {
            0 => office.identity.join(token.text(), &request(""), RequestSource::Other).await.map(drop),
            1 => office.identity.renew(&shown(&node), &request("")).await.map(drop),
            _ => office.identity.create_join_token("uid:0", None).await.map(drop),
        };
        assert!(matches!(answer, Err(E::AuditUnavailable(_))), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    held.let_go();
    office.identity.join(token.text(), &request(""), RequestSource::Other).await.unwrap();
    office.identity.renew(&shown(&node), &request("")).await.unwrap();
}
