//! Who is issued a JWT-SVID.

use mandate_audit::{Outcome, RecordKind};
use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_identity::{IdentityError as E, MAX_SELECTORS, NotIssuable, PresentedCertificate};

use mandate_testkit::faulty_backend::{InjectedFault, Point};

use crate::world::{Office, agent, shown as shown_by};

fn selectors(list: &[&str]) -> Vec<String> {
    list.iter().map(|&s| s.to_owned()).collect()
}

const AUDIENCE: &str = "https://mandate.acme.example";

async fn change(office: &Office, change: impl FnOnce(&mut mandate_core::registry::Agent)) {
    office
        .world
        .change(EntryKind::Agent, "support-agent", |entry| {
            if let Entry::Agent(agent) = entry {
                change(agent);
            }
        })
        .await;
}

#[tokio::test]
async fn an_entitled_process_gets_a_verifiable_svid_whose_record_comes_first() {
    let office = Office::open();
    let node = office.node().await;
    let shown = selectors(&["unix:uid:1000", "unix:gid:1000", "unix:path:/usr/bin/agent"]);
    let issued = office
        .identity
        .issue_jwt_svid(&shown_by(&node), &agent(), &shown, vec![AUDIENCE.into()])
        .await
        .unwrap();
    let keys = office.world.authority.jwt_bundle();
    let domain = "acme.example".parse().unwrap();
    let now = mandate_core::Clock::now(office.world.clock.as_ref());
    let svid = mandate_token::jwt_svid::verify(&issued.svid, &keys, &domain, AUDIENCE, now, None).unwrap();
    assert_eq!(svid.spiffe_id, agent());
    assert_eq!(svid.exp.secs(), now.secs() + 300);
    let record = office.world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Identity, Outcome::Permitted));
    assert_eq!(record.said().jti.map(ToString::to_string), svid.jti);
    assert_eq!(record.said().client, Some(node.spiffe_id.as_str()), "which node vouched for the process");
}

#[tokio::test]
async fn a_process_that_does_not_show_every_selector_gets_nothing() {
    let office = Office::open();
    let node = shown_by(&office.node().await);
    change(&office, |a| {
        a.selectors = vec!["unix:uid:1000".parse().unwrap(), "unix:path:/usr/bin/agent".parse().unwrap()];
    })
    .await;
    for shown in [
        &["unix:uid:1000"][..],
        &["unix:path:/usr/bin/agent"],
        &["unix:uid:1001", "unix:path:/usr/bin/agent"],
        &[],
    ] {
        let refused =
            office.identity.issue_jwt_svid(&node, &agent(), &selectors(shown), vec![AUDIENCE.into()]).await;
        assert_eq!(refused.unwrap_err(), E::NotEntitled, "{shown:?}");
        assert_eq!(office.last_refusal().reason, "not_entitled");
    }
    let many = vec!["unix:uid:1000".to_owned(); MAX_SELECTORS + 1];
    assert_eq!(
        office.identity.issue_jwt_svid(&node, &agent(), &many, vec![AUDIENCE.into()]).await.unwrap_err(),
        E::Selectors
    );
}

#[tokio::test]
async fn a_stopped_agent_and_one_without_selectors_or_purpose_get_nothing_and_are_not_pushed() {
    let office = Office::open();
    let node = shown_by(&office.node().await);
    let wanted = agent();
    let ask = || office.identity.issue_jwt_svid(&node, &wanted, &[], vec![AUDIENCE.into()]);
    let pushed = async || {
        office.identity.entries_for_node(&node).await.unwrap().iter().any(|entry| entry.spiffe_id == agent())
    };
    assert!(pushed().await);
    // No file can declare all of these: each in the snapshot alone.
    let set = |change: fn(&mut mandate_core::registry::Agent)| {
        office.world.change_without_cuts(EntryKind::Agent, "support-agent", |entry| {
            if let Entry::Agent(agent) = entry {
                change(agent);
            }
        });
    };
    let stops: [fn(&mut mandate_core::registry::Agent); 3] = [
        |a| a.state = AgentState::Suspended,
        |a| a.state = AgentState::Contained,
        |a| a.state = AgentState::Retired,
    ];
    for stop in stops {
        set(stop);
        assert_eq!(ask().await.unwrap_err(), E::NotIssuable(NotIssuable::NotActive));
        assert!(!pushed().await);
    }
    set(|a| a.selectors.clear());
    assert_eq!(ask().await.unwrap_err(), E::NotIssuable(NotIssuable::NoSelectors));
    set(|a| a.purpose = " ".into());
    assert_eq!(ask().await.unwrap_err(), E::NotIssuable(NotIssuable::NoPurpose));
    assert!(!pushed().await);
}

#[tokio::test]
async fn strangers_unknown_agents_and_reserved_identities_get_nothing() {
    let office = Office::open();
    let node = shown_by(&office.node().await);
    let shown = selectors(&["unix:uid:1000"]);
    let stranger = PresentedCertificate {
        spiffe_id: "spiffe://acme.example/node/ffffffffffffffff".parse().unwrap(),
        ..node.clone()
    };
    let refused = office.identity.issue_jwt_svid(&stranger, &agent(), &shown, vec![AUDIENCE.into()]).await;
    assert_eq!(refused.unwrap_err(), E::NodeUnknown);
    for id in [
        "spiffe://acme.example/agent/ghost",
        "spiffe://acme.example/mandate/server",
        node.spiffe_id.as_str(),
        "spiffe://other.example/agent/a",
    ] {
        let refused =
            office.identity.issue_jwt_svid(&node, &id.parse().unwrap(), &shown, vec![AUDIENCE.into()]).await;
        assert_eq!(refused.unwrap_err(), E::AgentUnknown, "{id}");
    }
}

#[tokio::test]
async fn audiences_are_bounded_and_printable() {
    let office = Office::open();
    let node = shown_by(&office.node().await);
    let shown = selectors(&["unix:uid:1000"]);
    for bad in [
        vec![],
        vec![String::new()],
        vec!["a b".into()],
        vec!["é".into()],
        vec!["x".repeat(513)],
        vec!["x".into(); 9],
    ] {
        let refused = office.identity.issue_jwt_svid(&node, &agent(), &shown, bad).await;
        assert_eq!(refused.unwrap_err(), E::Audience);
    }
}

#[tokio::test]
async fn without_a_durable_record_nothing_is_signed() {
    let office = Office::open();
    let node = shown_by(&office.node().await);
    let shown = selectors(&["unix:uid:1000"]);
    office.world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    let refused = office.identity.issue_jwt_svid(&node, &agent(), &shown, vec![AUDIENCE.into()]).await;
    assert!(matches!(refused.unwrap_err(), E::AuditUnavailable(_)));
    office.identity.issue_jwt_svid(&node, &agent(), &shown, vec![AUDIENCE.into()]).await.unwrap();
}

#[tokio::test]
async fn a_change_of_registry_or_keys_wakes_the_nodes() {
    let office = Office::open();
    let mut changes = office.identity.subscribe();
    let before = changes.seen();
    change(&office, |a| a.purpose = "Something else".into()).await;
    assert!(changes.changed().await);
    let after = changes.seen();
    assert!(after > before);
    let now = mandate_core::Clock::now(office.world.clock.as_ref());
    office.world.authority.rotate(mandate_authority::Purpose::JwtSvid, now).unwrap();
    assert!(changes.changed().await);
    assert!(changes.seen() > after);
}
