//! Tenants of entries.

use mandate_api::RegistryFile;
use mandate_api::admin::RegistryItem;
use mandate_core::registry::{Entry, Registry};

use super::{defaults, plan, refused, registry};

const FILE: &str = r#"
[[resource]]
name = "crm"
uri = "http://127.0.0.1:9100"
scopes = ["read:cases"]
tenant = "acme"

[[person]]
name = "riley"
issuer = "https://login.acme.example"
tenant = "acme"

[[agent]]
name = "helper"
owner = "riley"
purpose = "Helps"
tenant = "acme"

[[client]]
id = "app"
tenant = "acme"

[[grant]]
person = "riley"
agent = "helper"
resource = "crm"
scopes = ["read:cases"]

[[issuer]]
url = "https://login.acme.example"
audience = "https://mandate.acme.example"
claims = { tenant = "tid" }
tenant = "acme"
"#;

#[test]
fn the_tenants_of_all_entries_are_kept_and_survive_the_way_back() {
    let made = registry(FILE);
    let tenants = made.entries().into_iter().filter_map(|entry| match entry {
        Entry::Resource(x) => x.tenant,
        Entry::Person(x) => x.tenant,
        Entry::Agent(x) => x.tenant,
        Entry::Client(x) => x.tenant,
        Entry::Issuer(x) => x.tenant,
        _ => None,
    });
    let tenants: Vec<String> = tenants.map(|tenant| tenant.to_string()).collect();
    assert_eq!(tenants, ["acme"; 5]);
    let issuer = made.issuer("https://login.acme.example").unwrap();
    assert_eq!(issuer.tenant_claim.as_ref().unwrap().as_str(), "tid");
    let items = made.entries();
    let again =
        RegistryFile::from_items(items.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer)));
    let again = crate::plan(&again, &made, &defaults(), true).unwrap();
    assert!(again.is_empty(), "{:?}", again.changes);
}

#[test]
fn a_person_of_another_tenant_than_all_of_the_issuer_is_refused() {
    let text = FILE.replacen("tenant = \"acme\"\n\n[[agent]]", "tenant = \"umbrella\"\n\n[[agent]]", 1);
    let (detail, place) = refused(&Registry::default(), &text, false);
    assert!(detail.contains("`https://login.acme.example` are of tenant `acme`"), "{detail}");
    assert_eq!(place.0, 11);
}

#[test]
fn a_grant_across_tenants_is_noted_and_a_name_of_another_form_refused() {
    assert!(plan(&Registry::default(), FILE, false).unwrap().notes.iter().all(|n| !n.contains("tenants")));
    let text = FILE.replacen("tenant = \"acme\"", "tenant = \"umbrella\"", 1);
    let notes = plan(&Registry::default(), &text, false).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("crosses the tenants `acme` and `umbrella`")), "{notes:?}");
    for bad in ["", "a b", "a/b"] {
        let text = FILE.replacen("tenant = \"acme\"", &format!("tenant = \"{bad}\""), 1);
        assert!(mandate_api::registry_file::parse(&text).is_err(), "{bad}");
    }
}

#[test]
fn a_person_without_a_tenant_is_of_that_of_the_issuer_in_notes_on_grants() {
    let text = FILE.replacen("example\"\ntenant = \"acme\"\n\n[[agent]]", "example\"\n\n[[agent]]", 1);
    let text = text.replace("purpose = \"Helps\"\ntenant = \"acme\"", "purpose = \"Helps\"");
    let notes = |text: &str| plan(&Registry::default(), text, false).unwrap().notes;
    assert!(notes(&text).iter().all(|note| !note.contains("tenants")));
    let crosses = notes(&text.replacen("tenant = \"acme\"", "tenant = \"umbrella\"", 1));
    let expected = "crosses the tenants `acme` and `umbrella`";
    assert!(crosses.iter().any(|note| note.contains(expected)), "{crosses:?}");
}

const SERVED: &str = r#"
[[person]]
name = "riley"

[[agent]]
name = "helper"
owner = "riley"
purpose = "Helps"
tenant = "acme"

[[client]]
id = "crm-api"
tenant = "acme"

[[resource]]
name = "crm"
uri = "http://127.0.0.1:9100"
scopes = ["read:cases"]
tenant = "acme"
agent = "helper"
client = "crm-api"
"#;

#[test]
fn what_serves_a_resource_is_of_its_tenant_or_of_none() {
    let made = registry(SERVED);
    for (part, what, line) in [
        ("purpose = \"Helps\"\n", "agent `helper` is of tenant `umbrella`", 20),
        ("id = \"crm-api\"\n", "client `crm-api` is of tenant `umbrella`", 21),
    ] {
        let of = |tenant: &str| {
            SERVED.replacen(&format!("{part}tenant = \"acme\"\n"), &format!("{part}{tenant}"), 1)
        };
        let text = of("tenant = \"umbrella\"\n");
        let (detail, place) = refused(&Registry::default(), &text, false);
        assert!(detail.contains(what) && detail.contains("of tenant `acme`"), "{detail}");
        assert_eq!(place.0, line);
        assert!(plan(&Registry::default(), &of(""), false).is_ok(), "of none");
        // Where the resource is not in the file, it is found too.
        let alone = &text[..text.find("[[resource]]").unwrap()];
        let findings = plan(&made, alone, false).unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].detail.contains("resource `crm`, which stays"), "{findings:?}");
        assert!(findings[0].detail.contains(what), "{findings:?}");
    }
}
