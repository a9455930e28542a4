//! What nodes that nobody knows can have written into the log: a quota by source, and sums beyond it.

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_core::{Clock as _, RequestSource, Secret, SystemEntropy};
use mandate_identity::IdentityError as E;
use mandate_sequencer::strangers::{ALL_BYTES, SOURCE_BYTES};
use mandate_store::EffectRefusal;
use tokio::task::JoinSet;

use crate::world::{Office, agent, request, shown};

fn host(n: u8) -> RequestSource {
    RequestSource::of([192, 0, 2, n].into())
}

/// The refusals of nodes, with what the quota of strangers takes their hashes and rows to be.
fn refused(office: &Office) -> (Vec<Record>, u64) {
    let records = office.world.records(&Query { outcome: Some(Outcome::Refused), ..Query::default() });
    let bytes = records.iter().map(|record| record.to_leaf().unwrap().len() as u64 + 128).sum();
    (records, bytes)
}

#[tokio::test]
async fn a_flood_of_bad_join_tokens_is_recorded_within_a_quota_and_then_in_one_sum() {
    let office = Office::open();
    let request = request("");
    let joins = async |n: u8| {
        let token = Secret::new(format!("{n}\"\\\u{1}\u{2028}").repeat(500));
        assert_eq!(
            office.identity.join(&token, &request, host(n)).await,
            Err(E::JoinToken(EffectRefusal::JoinTokenUnknown))
        );
    };
    for _ in 0..2000 {
        joins(1).await;
    }
    let (single, bytes) = refused(&office);
    assert!(!single.is_empty() && bytes <= SOURCE_BYTES, "{bytes}");
    assert!(
        single
            .iter()
            .all(|record| record.source.as_deref() == Some("192.0.2.1")
                && record.to_leaf().unwrap().len() < 384)
    );
    joins(2).await;
    assert_eq!(
        office.last_refusal().source.as_deref(),
        Some("192.0.2.2"),
        "another source has its own quota"
    );
    office.world.log.record_sums(office.world.hybrid.now(), &SystemEntropy).await.unwrap();
    let sum = office.last_refusal();
    assert_eq!(
        (sum.kind, sum.reason.as_str(), sum.source.as_deref()),
        (RecordKind::Node, "join_token_refused", Some("192.0.2.1"))
    );
    assert_eq!(sum.sum.unwrap().count, 2000 - single.len() as u64);
}

#[tokio::test]
async fn a_flood_of_bad_joins_from_many_sources_has_a_bound_for_all_of_them_together() {
    let office = Arc::new(Office::open());
    let request = request("");
    let mut all = JoinSet::new();
    for n in 0..100 {
        let (office, request) = (Arc::clone(&office), request.clone());
        all.spawn(async move {
            for _ in 0..30 {
                let csr = if n % 2 == 0 { request.as_slice() } else { b"no request" };
                assert!(office.identity.join(&Secret::new("x"), csr, host(n)).await.is_err());
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let (single, bytes) = refused(&office);
    assert!(bytes <= ALL_BYTES && bytes > ALL_BYTES / 2, "{bytes}");
    let mut counted = single.len() as u64;
    for _ in 0..2 {
        office.world.log.record_sums(office.world.hybrid.now(), &SystemEntropy).await.unwrap();
    }
    counted += refused(&office).0.iter().filter_map(|record| record.sum).map(|sum| sum.count).sum::<u64>();
    assert_eq!(counted, 3000, "none is lost and none is counted twice");
}

#[tokio::test]
async fn every_refusal_of_a_node_that_has_joined_is_a_record_although_strangers_used_the_quota_up() {
    let office = Office::open();
    let node = office.node().await;
    for sent in 0.. {
        if office.world.log.strangers().summed() > 0 {
            break;
        }
        assert!(sent < 1000, "there is no quota");
        assert!(office.identity.join(&Secret::new("x"), b"no request", RequestSource::Other).await.is_err());
    }
    let before = refused(&office).0.len();
    for _ in 0..50 {
        assert!(matches!(
            office.identity.renew(&shown(&node), b"no request").await,
            Err(E::CertificateRequest(_))
        ));
    }
    assert_eq!(refused(&office).0.len(), before + 50);
    assert_eq!(office.last_refusal().source, None);
    assert_eq!(
        office.identity.issue_jwt_svid(&shown(&node), &agent(), &[], vec!["x".to_owned()]).await.err(),
        Some(E::NotEntitled)
    );
    assert_eq!(office.last_refusal().kind, RecordKind::Identity);
}

#[tokio::test]
async fn a_flood_of_a_node_that_is_banned_or_whose_certificate_has_expired_is_recorded_within_the_quota_of_strangers()
 {
    for (banned, renews) in [(true, true), (true, false), (false, true), (false, false)] {
        let office = Office::open();
        let node = office.node().await;
        let error = if banned {
            office
                .identity
                .ban_node("uid:0", node.spiffe_id.path().rsplit('/').next().unwrap())
                .await
                .unwrap();
            E::NodeBanned
        } else {
            office.world.clock.advance(Duration::from_mins(61));
            E::NodeExpired
        };
        for sent in 0.. {
            if office.world.log.strangers().summed() > 0 {
                break;
            }
            assert!(sent < 1000, "there is no quota: banned {banned}, renews {renews}");
            let answer = if renews {
                office.identity.renew(&shown(&node), b"no request").await.map(drop)
            } else {
                office
                    .identity
                    .issue_jwt_svid(&shown(&node), &agent(), &[], vec!["x".to_owned()])
                    .await
                    .map(drop)
            };
            assert_eq!(answer, Err(error.clone()), "renews {renews}");
        }
        let (single, bytes) = refused(&office);
        assert!(!single.is_empty() && bytes <= SOURCE_BYTES, "{bytes}: banned {banned}, renews {renews}");
    }
}
