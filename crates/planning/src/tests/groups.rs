//! Entries of groups of identity providers.

use mandate_api::RegistryFile;
use mandate_api::admin::RegistryItem;
use mandate_core::registry::{Entry, EntryKind, Registry};

use super::{defaults, plan, refused, registry};
use crate::{Mention, mentions};

const ISSUER: &str = r#"
[[resource]]
name = "crm"
uri = "http://127.0.0.1:9100"
scopes = ["read:cases"]

[[issuer]]
url = "https://login.acme.example"
audience = "https://mandate.acme.example"
claims = { groups = "/realm_access/roles" }
"#;

fn group(lines: &str) -> String {
    let may = r#"may = [{ resource = "crm", scopes = ["read:cases"] }]"#;
    format!(
        "{ISSUER}\n[[group]]\nname = \"support\"\nissuer = \"https://login.acme.example\"\n{may}\n{lines}"
    )
}

#[test]
fn a_group_and_the_claim_of_its_issuer_are_kept_and_survive_the_way_back() {
    let made = registry(&group("id = \"4f1b/Support\"\n"));
    let Some(Entry::Group(kept)) = made.get(EntryKind::Group, "support") else { panic!("no group") };
    assert_eq!((kept.id.as_str(), kept.may.len()), ("4f1b/Support", 1));
    let issuer = made.issuer("https://login.acme.example").unwrap();
    assert_eq!(issuer.groups_claim.as_ref().unwrap().as_str(), "/realm_access/roles");
    assert_eq!(made.group_by_id(&issuer.url, "4f1b/Support").unwrap().name.as_str(), "support");
    let items = made.entries();
    let again =
        RegistryFile::from_items(items.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer)));
    let again = crate::plan(&again, &made, &defaults(), true).unwrap();
    assert!(again.is_empty(), "{:?}", again.changes);
    let entry = Entry::Group(kept);
    let mentioned = mentions(&entry);
    assert!(mentioned.contains(&Mention::Entry(EntryKind::Issuer, "https://login.acme.example")));
    assert!(mentioned.contains(&Mention::Entry(EntryKind::Resource, "crm")));
}

#[test]
fn a_group_is_called_by_its_name_at_the_issuer_if_no_id_is_given() {
    let Some(Entry::Group(kept)) = registry(&group("")).get(EntryKind::Group, "support") else { panic!() };
    assert_eq!(kept.id, "support");
}

#[test]
fn what_is_wrong_with_a_group_is_found_at_its_place() {
    let long = "x".repeat(129);
    for (text, part, line) in [
        (group("id = \"\"\n"), "1 to 128 bytes", 16),
        (group(&format!("id = \"{long}\"\n")), "1 to 128 bytes", 16),
        (group("id = \"a\\nb\"\n"), "1 to 128 bytes", 16),
        (group("").replace("read:cases\"] }", "send:mail\"] }"), "has no scope `send:mail`", 15),
        (
            group("").replace("issuer = \"https://login.acme", "issuer = \"https://sso.acme"),
            "issuer `https://sso.acme.example` is not declared",
            14,
        ),
        (
            group("")
                .replace("issuer = \"https://login.acme.example", "issuer = \"https://mandate.acme.example"),
            "the embedded directory has no groups",
            14,
        ),
        (
            format!(
                "{}[[group]]\nname = \"desk\"\nissuer = \"https://login.acme.example\"\nid = \"support\"\n",
                group("")
            ),
            "group `support` is `support of https://login.acme.example` already",
            19,
        ),
    ] {
        let (detail, place) = refused(&Registry::default(), &text, false);
        assert!(detail.contains(part), "{detail}");
        assert_eq!(place.0, line, "{detail}");
    }
}

#[test]
fn a_claim_that_is_neither_a_name_nor_a_pointer_is_not_read() {
    for bad in ["", "/", "/a//b", "/a~2"] {
        let text = ISSUER.replace("/realm_access/roles", bad);
        assert!(mandate_api::registry_file::parse(&text).is_err(), "{bad}");
    }
}

#[test]
fn a_group_without_members_is_noted() {
    let of = |text: &str| plan(&Registry::default(), text, false).unwrap().notes;
    assert!(of(&group("")).is_empty());
    let notes = of(&group("").replace("claims = { groups = \"/realm_access/roles\" }\n", ""));
    assert!(notes.iter().any(|note| note.contains("`support` has no members")), "{notes:?}");
}

#[test]
fn a_file_without_the_group_takes_it_away() {
    let current = registry(&group(""));
    let removed = plan(&current, ISSUER, true).unwrap();
    assert_eq!(removed.changes.len(), 1);
    assert!(matches!(&removed.changes[0].before, Some(Entry::Group(group)) if group.id == "support"));
}

#[test]
fn a_grant_that_rests_on_a_group_of_the_persons_issuer_is_not_noted() {
    let rest = r#"
[[person]]
name = "dana"
issuer = "https://login.acme.example"
sub = "user-7"

[[agent]]
name = "helper"
owner = "dana"
purpose = "Helps"
selectors = ["unix:uid:1000"]
ceiling = [{ resource = "crm", scopes = ["read:cases"] }]

[[grant]]
person = "dana"
agent = "helper"
resource = "crm"
scopes = ["read:cases"]
"#;
    let of = |text: &str| plan(&Registry::default(), text, false).unwrap().notes;
    let with_group = format!("{}{rest}", group(""));
    assert_eq!(of(&with_group), Vec::<String>::new());
    let text = with_group.replace("user-7\"", "user-7\"\nmay = []");
    assert_eq!(of(&text), Vec::<String>::new());
    for without in [
        format!("{ISSUER}{rest}"),
        // The group of another issuer gives her nothing.
        with_group.replace("sub = \"user-7\"\n", "").replacen(
            "name = \"dana\"\nissuer = \"https://login.acme.example\"",
            "name = \"dana\"",
            1,
        ),
    ] {
        let notes = of(&without);
        assert!(notes.iter().any(|note| note.contains("which what `dana` may do does not")), "{notes:?}");
    }
}
