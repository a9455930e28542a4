//! What holds for any terms, any claims and any bytes.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, Details, Issuer, Lineage, Subject, SubjectProfile, Terms,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::KeySet;
use crate::access_token::{Profile, build};

use super::{FOREIGN, KEY, NOW, at, check, foreign, full_terms, only, ours, own};

static GOOD: LazyLock<(KeySet, String)> =
    LazyLock::new(|| (KEY.key_set(), build(&full_terms(), &*KEY).unwrap()));

fn any_issuer() -> impl Strategy<Value = Issuer> {
    prop::sample::select(vec![
        "https://m.example",
        "https://login.example",
        "https://m.example/a",
        "http://127.0.0.1:1",
    ])
    .prop_map(|url| url.parse().unwrap())
}

fn any_text() -> impl Strategy<Value = String> {
    // Without control characters.
    "\\PC{1,20}"
}

fn any_id<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[A-Za-z0-9_.-]{1,20}".prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn any_subject()(ours_is in any::<bool>(), iss in any_issuer(), sub in any_text()) -> Subject {
        let iss = if ours_is { ours() } else { iss };
        // A name of our own directory has no colon.
        let sub = if iss == ours() { sub.replace(':', "-") } else { sub };
        Subject { iss, sub }
    }
}

fn any_profile() -> impl Strategy<Value = Option<SubjectProfile>> {
    prop::option::of(prop::sample::select(vec![
        SubjectProfile::AiAgent,
        SubjectProfile::Service,
        SubjectProfile::User,
    ]))
}

prop_compose! {
    fn any_chain()(actors in prop::collection::vec((any_text(), any_issuer(), any_profile()), 0..6)) -> ActorChain {
        // The same actor twice is no chain.
        ActorChain::new(actors.into_iter().map(|(sub, iss, sub_profile)| Actor { sub, iss, sub_profile }).collect()).unwrap_or_default()
    }
}

prop_compose! {
    fn any_lineage()(
        parents in prop::collection::vec(any_id(), 0..4),
        grants in prop::collection::vec(any_id(), 0..4),
        clients in prop::collection::vec(any_id(), 0..4),
    ) -> Lineage {
        Lineage { parents, grants, clients }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let integer = -9_007_199_254_740_991_i64..=9_007_199_254_740_991;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        integer.prop_map(Value::from),
        any_text().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_details()(objects in prop::collection::vec((any_text(), prop::collection::btree_map(any_text(), any_json(), 0..3)), 0..3)) -> Details {
        let object = |(name, members): (String, std::collections::BTreeMap<String, Value>)| {
            let mut members: serde_json::Map<String, Value> = members.into_iter().collect();
            members.insert("type".into(), name.into());
            members
        };
        // Some are too long.
        Details::new(objects.into_iter().map(object).collect()).unwrap_or_default()
    }
}

fn any_key() -> impl Strategy<Value = Option<Confirmation>> {
    let key = any::<[u8; 32]>().prop_map(|digest| URL_SAFE_NO_PAD.encode(digest).parse().unwrap());
    prop::option::of(
        (key, any::<bool>())
            .prop_map(|(key, dpop)| if dpop { Confirmation::Jkt(key) } else { Confirmation::X5tS256(key) }),
    )
}

prop_compose! {
    fn any_terms()(
        subject in any_subject(),
        chain in any_chain(),
        resource in any_text(),
        scopes in prop::collection::vec("[a-z:]{1,10}", 0..5),
        details in any_details(),
        (issued, lives, auth_time) in (NOW - 1000..=NOW, 1001u64..4000, prop::option::of(0..NOW)),
        (jti, client) in (any_id(), any_id()),
        lineage in any_lineage(),
        cnf in any_key(),
        acr in prop::option::of(any_text()),
        amr in prop::collection::vec(any_text(), 0..5),
        groups in prop::collection::vec("[a-z][a-z0-9_-]{0,10}", 0..5),
        tenant in prop::option::of("[A-Za-z0-9._-]{1,20}"),
    ) -> Terms {
        let (audience, scopes) = (Audience::one(resource), scopes.iter().map(|scope| scope.parse().unwrap()).collect());
        Terms {
            chain,
            details,
            lineage,
            cnf,
            auth_time: auth_time.map(at),
            acr,
            amr,
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            ..Terms::new(ours(), subject, client, audience, scopes, jti, (at(issued), at(issued + lives)))
        }
    }
}

proptest! {
    #[test]
    fn any_flipped_bytes_are_refused(flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..128), 1..4)) {
        let (keys, good) = &*GOOD;
        let mut bytes = good.clone().into_bytes();
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        prop_assume!(changed != *good);
        prop_assert!(check(&changed, keys, Profile::Own).is_err());
        prop_assert!(check(&changed, keys, FOREIGN).is_err());
    }

    /// Whatever is decided, its token says just that, or there is no token.
    #[test]
    fn built_signed_and_verified_terms_are_the_same(terms in any_terms()) {
        let token = build(&terms, &*KEY).unwrap();
        let read = check(&token, &GOOD.0, Profile::Own).unwrap();
        prop_assert_eq!(read, only(terms));
    }

    #[test]
    fn any_signed_claim_of_any_shape_is_read_or_refused_without_panic(
        claim in prop::sample::select(vec!["iss", "sub", "aud", "client_id", "jti", "iat", "exp", "nbf", "scope", "act", "may_act", "lineage", "cnf", "amr", "sub_id", "authorization_details", "groups", "tenant"]),
        text in "\\PC{0,20}", number in any::<f64>(), shape in 0..6,
    ) {
        let value = match shape {
            0 => json!(text),
            1 => json!(number),
            2 => json!([text, number]),
            3 => json!({"sub": text, "iss": number}),
            4 => json!({"sub": text, "iss": text, "act": {"sub": number}}),
            _ => json!(true),
        };
        let changes = json!({ claim: value });
        let _ = own(&changes);
        let _ = foreign(&changes);
    }
}
