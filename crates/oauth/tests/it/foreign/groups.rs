//! Groups that the tokens of another issuer name.

use std::time::Duration;

use mandate_core::registry::{Entry, EntryKind, Group, SubjectScope, TrustedIssuer};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{exposed, payload, with};
use serde_json::{Value, json};

use super::Abroad;
use crate::{lives, refused};

/// An issuer that only says who Dana is, and which groups they are in. By themselves they may read cases.
async fn abroad(claim: &str) -> Abroad {
    let abroad = Abroad::new(SubjectScope::IdentityOnly).await;
    let issuer = story::trusted_issuer(abroad.idp.issuer(), SubjectScope::IdentityOnly);
    let groups_claim = Some(claim.parse().unwrap());
    abroad.world.apply(Entry::Issuer(TrustedIssuer { groups_claim, ..issuer })).await;
    abroad.world.change(EntryKind::Person, "dana", only_reads).await;
    abroad.world.apply(writers(&abroad, "write:case_comments")).await;
    abroad.world.clock.advance(Duration::from_mins(2));
    abroad
}

pub(super) fn only_reads(entry: &mut Entry) {
    if let Entry::Person(dana) = entry {
        dana.may = vec![story::permission("crm", "read:cases")];
    }
}

pub(super) fn writers(abroad: &Abroad, scope: &str) -> Entry {
    let (name, issuer) = ("writers".parse().unwrap(), abroad.idp.issuer());
    let id = "4f1b/Writers of Comments".to_owned();
    Entry::Group(Group { name, issuer, id, may: vec![story::permission("crm", scope)] })
}

fn naming(abroad: &Abroad, groups: &Value) -> String {
    abroad.raw(|claims| claims["groups"] = groups.clone())
}

async fn comments(abroad: &Abroad, token: &str) -> Result<Value, String> {
    let form = with(abroad.form(token), "scope", "write:case_comments");
    match abroad.world.token(&form, None).await {
        Ok(response) => Ok(payload(&exposed(&response))),
        refusal => Err(refused(refusal)),
    }
}

pub(super) const BEYOND: &str = "400 invalid_scope scope_beyond_person";
pub(super) const ITS_ID: &str = "4f1b/Writers of Comments";

#[tokio::test]
async fn the_groups_that_a_token_names_add_rights_and_the_mandate_names_them() {
    let abroad = abroad("groups").await;
    let given = comments(&abroad, &naming(&abroad, &json!(["all staff", ITS_ID]))).await.unwrap();
    assert_eq!((&given["scope"], &given["groups"]), (&json!("write:case_comments"), &json!(["writers"])));
    let record = abroad.world.last_record();
    assert_eq!(record.said().groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["writers"]);
    for groups in [json!([]), json!(["all staff"]), json!(["writers"]), json!(["4f1b/writers of comments"])] {
        assert_eq!(comments(&abroad, &naming(&abroad, &groups)).await.unwrap_err(), BEYOND, "{groups}");
    }
    assert_eq!(comments(&abroad, &abroad.raw(|_| ())).await.unwrap_err(), BEYOND, "no claim, no group");
}

#[tokio::test]
async fn groups_of_another_form_refuse_the_token() {
    let abroad = abroad("groups").await;
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    for bad in [
        json!(ITS_ID),
        json!({ "a": ITS_ID }),
        json!([7]),
        json!([""]),
        json!(["a".repeat(129)]),
        json!(many),
    ] {
        let refused = comments(&abroad, &naming(&abroad, &bad)).await.unwrap_err();
        assert_eq!(refused, "400 invalid_request subject_token_refused", "{bad}");
    }
}

#[tokio::test]
async fn a_token_that_leaves_its_groups_out_proves_none() {
    let abroad = abroad("groups").await;
    let overage = abroad.raw(|claims| {
        claims["_claim_names"] = json!({ "groups": "src1" });
        claims["_claim_sources"] = json!({ "src1": { "endpoint": abroad.idp.issuer() } });
    });
    assert_eq!(comments(&abroad, &overage).await.unwrap_err(), BEYOND);
}

#[tokio::test]
async fn a_group_that_loses_its_rights_takes_them_from_tokens_that_were_issued() {
    let abroad = abroad("/realm_access/roles").await;
    let token = abroad.raw(|claims| claims["realm_access"] = json!({ "roles": [ITS_ID] }));
    let form = with(abroad.form(&token), "scope", "read:cases write:case_comments");
    let both = exposed(&abroad.world.token(&form, None).await.unwrap());
    let form = with(abroad.form(&token), "scope", "read:cases");
    let reading = exposed(&abroad.world.token(&form, None).await.unwrap());
    let form = with(abroad.form(&abroad.raw(|_| ())), "scope", "read:cases");
    let without = exposed(&abroad.world.token(&form, None).await.unwrap());
    assert_eq!(payload(&both)["aud"], CRM);
    for token in [&both, &reading, &without] {
        assert!(lives(&abroad.world, token).await);
    }
    abroad.world.apply(writers(&abroad, "read:cases")).await;
    assert!(!lives(&abroad.world, &both).await);
    assert!(!lives(&abroad.world, &reading).await, "it names the group, whose limits count for it");
    assert!(lives(&abroad.world, &without).await, "it does not rest on the group");
    assert_eq!(comments(&abroad, &token).await.unwrap_err(), BEYOND, "and not at the next exchange");
}
