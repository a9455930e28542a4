use mandate_core::{Actor, ActorChain, Person, Timestamp};

use super::{Asked, Kind, LeafError, MAX_ASKED_LEN, MAX_LEAF_LEN, Outcome, Record};

fn record() -> Record {
    let iss: mandate_core::Issuer = "https://m.example".parse().unwrap();
    let actor = Actor { sub: "spiffe://td/agent/a".into(), iss: iss.clone(), sub_profile: None };
    Record {
        sub: Some(Person { iss, sub: "riley".into() }),
        act: ActorChain::new(vec![actor]).unwrap(),
        aud: Some("https://crm.example".into()),
        scope: "read:cases write:case_comments".parse().unwrap(),
        jti: Some("t1".parse().unwrap()),
        exp: Some(Timestamp::from_secs(300)),
        client: Some("app".into()),
        by: None,
        policies: ["default".to_owned()].into(),
        asked: Asked::new(Some("https://crm.example"), None, None),
        ..Record::new("r1".parse().unwrap(), Timestamp::from_secs(1), Kind::Exchange, Outcome::Permitted, "ok")
    }
}

#[test]
fn a_leaf_is_compact_json_in_a_fixed_order_and_reads_back() {
    let leaf = String::from_utf8(record().to_leaf().unwrap()).unwrap();
    assert_eq!(
        leaf,
        concat!(
            r#"{"id":"r1","time":"1970-01-01T00:00:01.000Z","kind":"exchange","outcome":"permitted","reason":"ok","#,
            r#""sub":"riley","sub_iss":"https://m.example","act":{"sub":"spiffe://td/agent/a","iss":"https://m.example"},"#,
            r#""aud":"https://crm.example","scope":"read:cases write:case_comments","jti":"t1","exp":"1970-01-01T00:05:00.000Z","#,
            r#""client":"app","asked":{"resource":"https://crm.example"},"policies":["default"]}"#
        )
    );
    assert_eq!(Record::from_leaf(leaf.as_bytes()).unwrap(), record());
}

#[test]
fn the_members_that_scripts_rely_on_are_there_even_when_empty() {
    let bare = Record::new("r1".parse().unwrap(), Timestamp::from_secs(1), Kind::Exchange, Outcome::Refused, "expired");
    let json: serde_json::Value = serde_json::from_slice(&bare.to_leaf().unwrap()).unwrap();
    for member in ["id", "time", "outcome", "reason", "sub", "act", "aud", "scope", "jti"] {
        assert!(json.get(member).is_some(), "{member}");
    }
    assert_eq!(Record::from_leaf(&bare.to_leaf().unwrap()).unwrap(), bare);
}

#[test]
fn a_person_without_issuer_or_an_issuer_without_person_is_no_record() {
    let leaf = String::from_utf8(record().to_leaf().unwrap()).unwrap();
    let without_iss = leaf.replace(r#""sub_iss":"https://m.example","#, "");
    assert!(Record::from_leaf(without_iss.as_bytes()).is_err());
    let without_sub = leaf.replace(r#""sub":"riley","#, "");
    assert!(Record::from_leaf(without_sub.as_bytes()).is_err());
}

#[test]
fn a_member_of_a_newer_program_is_ignored() {
    let leaf = String::from_utf8(record().to_leaf().unwrap()).unwrap().replace(r#""kind""#, r#""later":1,"kind""#);
    assert_eq!(Record::from_leaf(leaf.as_bytes()).unwrap(), record());
}

#[test]
fn what_was_asked_is_cut_at_a_character_and_an_oversized_record_is_refused() {
    let long = "é".repeat(MAX_ASKED_LEN);
    let asked = Asked::new(Some(&long), Some("x"), None);
    assert_eq!(asked.resource().unwrap().len(), MAX_ASKED_LEN);
    let odd = format!("a{long}");
    assert_eq!(Asked::new(None, None, Some(&odd)).actor().unwrap().len(), MAX_ASKED_LEN - 1);
    let mut huge = record();
    huge.detail = Some("x".repeat(MAX_LEAF_LEN));
    assert!(matches!(huge.to_leaf(), Err(LeafError::TooLarge(_))));
}
