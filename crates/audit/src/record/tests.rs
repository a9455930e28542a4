use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mandate_core::registry::{Platform, ProofEvidence, ProofKind};
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, Issuer, KnownTerms, Lineage, RequestSource, Subject,
    SubjectProfile, Terms, Timestamp,
};
use proptest::prelude::*;
use serde_json::json;

use super::{
    Asked, EffectNames, LeafError, MAX_ASKED_LEN, MAX_LEAF_LEN, MAX_STRANGERS_ASKED_LEN, Outcome, Record,
    RecordKind, cut_encoded,
};

fn record() -> Record {
    let iss: mandate_core::Issuer = "https://m.example".parse().unwrap();
    let actor = Actor { sub: "spiffe://td/agent/a".into(), iss: iss.clone(), sub_profile: None };
    let known = KnownTerms {
        sub: Some(Subject { iss, sub: "riley".into() }),
        act: ActorChain::new(vec![actor]).unwrap(),
        aud: Some("https://crm.example".into()),
        scope: "read:cases write:case_comments".parse().unwrap(),
        jti: Some("t1".parse().unwrap()),
        exp: Some(Timestamp::from_secs(300)),
        client: Some("app".into()),
        ..KnownTerms::default()
    };
    Record {
        about: known.into(),
        policies: ["default".to_owned()].into(),
        asked: Asked::new(Some("https://crm.example"), None, None),
        ..Record::new(
            "r1".parse().unwrap(),
            Timestamp::from_secs(1),
            RecordKind::Exchange,
            Outcome::Permitted,
            "ok",
        )
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

/// Records as they were written before a record could have `authorization_details`, `cnf`, `auth_time`, `acr`
/// and `amr`: one of each kind and of each form.
const SAMPLES: &str = include_str!("samples.jsonl");

fn sample(kind: &str) -> &'static str {
    SAMPLES.lines().find(|line| line.contains(&format!(r#""kind":"{kind}","outcome":"permitted""#))).unwrap()
}

/// The terms of the permitted exchange among the samples.
fn terms() -> Terms {
    let iss: Issuer = "http://127.0.0.1:39667".parse().unwrap();
    let agent = "spiffe://acme.example/agent/support-agent";
    let actor = Actor { sub: agent.into(), iss: iss.clone(), sub_profile: Some(SubjectProfile::AiAgent) };
    let subject = Subject { iss: iss.clone(), sub: "riley".into() };
    let (audience, scopes) =
        (Audience::one("http://127.0.0.1:42721".into()), "read:cases write:case_comments".parse().unwrap());
    let jti = "01a222ec-bd04-78cb-852d-4582a1ac3ec2".parse().unwrap();
    let times = ("2026-11-28T16:11:09.956Z".parse().unwrap(), "2026-11-28T16:16:09.956Z".parse().unwrap());
    Terms {
        chain: ActorChain::new(vec![actor]).unwrap(),
        lineage: Lineage {
            parents: vec!["01a222ec-bccd-71b7-9c02-20965919329e".parse().unwrap()],
            grants: vec!["g-2898aec2ebf435bc9f197762a088b968".parse().unwrap()],
            clients: vec!["support-app".parse().unwrap()],
        },
        ..Terms::new(iss, subject, agent.parse().unwrap(), audience, scopes, jti, times)
    }
}

/// As the permitted exchange among the samples was recorded.
fn of_mandate(terms: Terms) -> Record {
    Record {
        asked: Asked::new(Some("http://127.0.0.1:42721"), Some("read:cases write:case_comments"), None),
        policies: [
            "built-in/agent-has-ceiling-and-grant".to_owned(),
            "built-in/person-has-the-right".to_owned(),
        ]
        .into(),
        effects: EffectNames::of(["use_grant"].into_iter()),
        ..Record::of_mandate(
            "01a222ec-bd04-733e-8513-100d64ed3dcf".parse().unwrap(),
            RecordKind::Exchange,
            Arc::new(terms),
        )
    }
}

#[test]
fn every_record_of_an_older_program_is_read_and_has_the_same_bytes_again() {
    let mut kinds = BTreeSet::new();
    for line in SAMPLES.lines() {
        let record = Record::from_leaf(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.to_leaf().unwrap()).unwrap(), line);
        assert_eq!(record.mandate(), None, "what was read gives nothing");
        kinds.insert(record.kind);
    }
    assert_eq!(kinds.len(), 8, "a sample of each kind");
}

#[test]
fn the_record_of_a_mandate_has_the_bytes_that_it_always_had() {
    let record = of_mandate(terms());
    assert_eq!(String::from_utf8(record.to_leaf().unwrap()).unwrap(), sample("exchange"));
    assert_eq!(
        record,
        Record::from_leaf(sample("exchange").as_bytes()).unwrap(),
        "and says the same as one that was read"
    );
}

#[test]
fn terms_that_older_records_did_not_say_are_said_only_where_they_are() {
    let details = r#"[{"type":"case","most":3}]"#;
    let record = of_mandate(Terms {
        details: serde_json::from_str(details).unwrap(),
        cnf: Some(Confirmation::Jkt("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".parse().unwrap())),
        auth_time: Some("2026-11-28T16:11:09Z".parse().unwrap()),
        acr: Some("urn:x:2".into()),
        amr: vec!["pwd".into(), "otp".into()],
        ..terms()
    });
    let leaf: serde_json::Value = serde_json::from_slice(&record.to_leaf().unwrap()).unwrap();
    let mut older: serde_json::Value = serde_json::from_str(sample("exchange")).unwrap();
    for (name, value) in [
        ("authorization_details", serde_json::from_str(details).unwrap()),
        ("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})),
        ("auth_time", json!("2026-11-28T16:11:09.000Z")),
        ("acr", json!("urn:x:2")),
        ("amr", json!(["pwd", "otp"])),
    ] {
        older[name] = value;
    }
    assert_eq!(leaf, older);
    let read = Record::from_leaf(&record.to_leaf().unwrap()).unwrap();
    assert_eq!((&read, read.to_leaf().unwrap()), (&record, record.to_leaf().unwrap()));
}

#[test]
fn the_members_that_scripts_rely_on_are_there_even_when_empty() {
    let bare = Record::new(
        "r1".parse().unwrap(),
        Timestamp::from_secs(1),
        RecordKind::Exchange,
        Outcome::Refused,
        "expired",
    );
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
    let leaf =
        String::from_utf8(record().to_leaf().unwrap()).unwrap().replace(r#""kind""#, r#""later":1,"kind""#);
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

/// How many bytes a text takes between the quotes of its JSON.
fn encoded(text: &str) -> usize {
    serde_json::to_string(text).unwrap().len() - 2
}

#[test]
fn every_character_counts_for_what_json_makes_of_it() {
    // Every character of one and of two bytes, and some of each further kind.
    let all = ('\0'..='\u{7ff}')
        .chain("\u{800}\u{2028}\u{2029}\u{d7ff}\u{e000}\u{feff}\u{ffff}\u{10000}\u{1f600}\u{10ffff}".chars());
    for c in all {
        let text = c.to_string();
        let len = encoded(&text);
        assert_eq!((cut_encoded(&text, len), cut_encoded(&text, len - 1)), (text.as_str(), ""), "{c:?}");
    }
}

#[test]
fn the_longest_record_of_a_stranger_fits_and_says_where_it_came_from() {
    let hostile = "\u{1}".repeat(8 * 1024);
    let mut record = Record::new(
        "r1".parse().unwrap(),
        Timestamp::from_secs(1),
        RecordKind::Exchange,
        Outcome::Refused,
        "parameter_missing",
    );
    record.asked = Asked::new(Some(&hostile), Some(&hostile), Some(&hostile));
    record.detail = Some(hostile.clone());
    assert!(record.asked.resource().unwrap().len() * 6 <= 512, "cut by what it takes in JSON");
    record.shorten_for_stranger(RequestSource::of("2001:db8::1".parse().unwrap()));
    let leaf = record.to_leaf().unwrap();
    assert!(leaf.len() < 1536, "{}", leaf.len());
    assert_eq!(record.source.as_deref(), Some("2001:db8::/64"));
    assert!(record.asked.scope().unwrap().len() * 6 <= MAX_STRANGERS_ASKED_LEN);
    assert_eq!(Record::from_leaf(&leaf).unwrap(), record);
}

proptest! {
    /// What was asked is cut to the longest beginning whose JSON is within the bound.
    #[test]
    fn what_was_asked_is_cut_by_what_it_takes_in_json(text in any::<String>(), many in 1usize..200) {
        let text = text.repeat(many);
        let mut asked = Asked::new(Some(&text), Some(&text), Some(&text));
        for max in [MAX_ASKED_LEN, MAX_STRANGERS_ASKED_LEN] {
            for kept in [asked.resource(), asked.scope(), asked.actor()] {
                let kept = kept.unwrap();
                prop_assert!(encoded(kept) <= max);
                let rest = text.strip_prefix(kept).unwrap();
                let fits = |next| encoded(kept) + encoded(&String::from(next)) <= max;
                prop_assert!(!rest.chars().next().is_some_and(fits));
            }
            asked.shorten();
        }
    }
}

/// An agent that is stopped is a stranger, and its platform still has proven it.
#[test]
fn of_a_stopped_agents_proof_what_fits_is_kept() {
    let claims = |long: usize| -> BTreeMap<String, String> {
        [("project_id", "7".to_owned()), ("ref", "x".repeat(long)), ("run_id", "9".to_owned())]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    };
    let of = |issuer: &str, long: usize| {
        let (kind, issuer) = (ProofKind::Platform(Platform::Gitlab), Some(issuer.parse().unwrap()));
        let evidence =
            ProofEvidence { kind, issuer, token: Some("jti".into()), ceiling: None, claims: claims(long) };
        let mut record = Record { proof: Some(Arc::new(evidence)), ..record() };
        record.shorten_for_stranger(RequestSource::Other);
        record.proof
    };
    let kept = of("https://gitlab.com", 30).unwrap();
    assert_eq!((kept.claims.len(), kept.token.as_ref()), (3, None));
    let kept = of("https://gitlab.com", 512).unwrap();
    assert_eq!(kept.claims.keys().collect::<Vec<_>>(), ["project_id", "run_id"]);
    assert_eq!(of(&format!("https://{}.example", "a.".repeat(300)), 1), None);
}
