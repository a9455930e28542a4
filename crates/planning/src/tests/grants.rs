//! Entries of grants: their ids, their ends, and those that give nothing.

use mandate_api::registry_file::parse;
use mandate_core::Timestamp;
use mandate_core::registry::{Entry, EntryKind, Registry};

use crate::Defaults;
use crate::entries::grant_id;

use super::{EXAMPLE, defaults, plan, refused, registry};

#[test]
fn a_revoked_grant_is_not_revived_by_its_file() {
    let mut current = registry(EXAMPLE);
    let mut grant = (**current.grants().next().unwrap()).clone();
    grant.revoked = true;
    current.put(Entry::Grant(grant));
    let again = plan(&current, EXAMPLE, true).unwrap();
    assert!(again.is_empty());
    assert!(again.notes[0].contains("stays revoked"), "{:?}", again.notes);
    let revived = EXAMPLE.replace("max_uses = 500", "revoked = false");
    assert!(refused(&current, &revived, false).0.contains("stays revoked"));
    assert!(
        plan(&current, "", true)
            .unwrap()
            .changes
            .iter()
            .all(|change| change.kind() != Some(EntryKind::Grant))
    );
}

#[test]
fn a_grant_id_cannot_be_bent_to_other_parties() {
    let current = registry(EXAMPLE);
    let id = current.grants().next().unwrap().id.clone();
    let text = format!(
        "[[person]]\nname = \"eve\"\n[[grant]]\nid = \"{id}\"\nperson = \"eve\"\nagent = \"support-agent\"\nresource = \"crm\"\nscopes = [\"read:cases\"]\n"
    );
    assert!(refused(&current, &text, false).0.contains("is of `riley`"));
    let id = |p: &str, a: &str, r: &str, n| {
        grant_id(&p.parse().unwrap(), &a.parse().unwrap(), &r.parse().unwrap(), n)
    };
    assert_ne!(id("ab", "c", "d", None), id("a", "bc", "d", None));
    assert_ne!(id("a", "b", "c", None), id("a", "b", "c", Some("x")));
    assert_eq!(id("a", "b", "c", None), id("a", "b", "c", None));
}

#[test]
fn a_span_does_not_creep_when_the_file_is_applied_again() {
    let text = EXAMPLE.replace("\"2027-01-31T00:00:00Z\"", "\"1h\"");
    let current = registry(&text);
    let file = parse(&text).unwrap();
    let at = |now: &str| Defaults { now: now.parse().unwrap(), ..defaults() };
    assert!(crate::plan(&file, &current, &at("2026-11-24T00:30:00Z"), false).unwrap().is_empty());
    let later = crate::plan(&file, &current, &at("2026-11-24T02:00:00Z"), false).unwrap();
    let Some(Entry::Grant(grant)) = later.puts().next() else { panic!("{later:?}") };
    assert_eq!(grant.expires, Some("2026-11-24T03:00:00Z".parse::<Timestamp>().unwrap()));
}

#[test]
fn another_span_is_honoured_and_what_get_prints_of_a_span_is_no_change() {
    let current = registry(&EXAMPLE.replace("\"2027-01-31T00:00:00Z\"", "\"1h\""));
    let longer = plan(&current, &EXAMPLE.replace("\"2027-01-31T00:00:00Z\"", "\"30d\""), false).unwrap();
    let Some(Entry::Grant(grant)) = longer.puts().next() else { panic!("{longer:?}") };
    assert_eq!(grant.expires, Some("2026-12-24T00:00:00Z".parse::<Timestamp>().unwrap()));
    let printed =
        plan(&current, &EXAMPLE.replace("2027-01-31T00:00:00Z", "2026-11-24T01:00:00Z"), false).unwrap();
    assert!(printed.is_empty(), "{printed:?}");
}

#[test]
fn a_grant_that_has_ended_is_noted() {
    let notes =
        plan(&Registry::default(), &EXAMPLE.replace("2027-01-31", "2026-01-31"), false).unwrap().notes;
    assert_eq!(
        notes,
        [
            "the grant of `riley` to `support-agent` on `crm` ended at 2026-01-31T00:00:00.000Z: nothing will be given by it"
        ]
    );
}

#[test]
fn a_grant_of_what_is_never_given_is_noted() {
    let text = EXAMPLE.replace(
        "scopes   = [\"read:cases\", \"write:case_comments\"]\nexpires",
        "scopes   = [\"read:cases\", \"send:mail\"]\nexpires",
    );
    let notes = plan(&Registry::default(), &text, false).unwrap().notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("`send:mail`, which the ceiling of `support-agent` does not"), "{notes:?}");
}
