//! Trust domains of other organizations, and agents that their JWT-SVIDs prove.

use mandate_api::RegistryFile;
use mandate_api::admin::RegistryItem;
use mandate_core::registry::{BundleSource, Entry, EntryKind, ForeignDomain, Registry};

use super::{defaults, plan, refused, registry};

const FILE: &str = "bundle = \"/etc/mandate/example.org.json\"\n";
const ENDPOINT: &str = "endpoint = \"https://spire.example.org:8443/bundle\"\n";
const BUILDER: &str =
    r#"{ kind = "spiffe", trust_domain = "example.org", id = "spiffe://example.org/ci/builder" }"#;

fn domain(lines: &str) -> String {
    format!("[[trust_domain]]\nname = \"example.org\"\n{lines}")
}

fn agent(name: &str, proof: &str) -> String {
    format!("[[agent]]\nname = \"{name}\"\nowner = \"p\"\npurpose = \"x\"\nproof = [{proof}]\n")
}

/// The trust domain, and an agent with this proof.
fn with(proof: &str) -> String {
    format!("{}[[person]]\nname = \"p\"\n{}", domain(FILE), agent("a", proof))
}

fn kept(lines: &str) -> ForeignDomain {
    match registry(&domain(lines)).get(EntryKind::TrustDomain, "example.org") {
        Some(Entry::TrustDomain(domain)) => domain,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trust_domain_has_a_file_or_an_endpoint() {
    assert_eq!(kept(FILE).bundle, BundleSource::File { path: "/etc/mandate/example.org.json".into() });
    let url = "https://spire.example.org:8443/bundle".parse().unwrap();
    let by_web = BundleSource::HttpsWeb { url };
    assert_eq!(kept(ENDPOINT).bundle, by_web);
    assert_eq!(kept(&format!("{ENDPOINT}profile = \"https_web\"\n")).bundle, by_web);
}

#[test]
fn what_cannot_be_a_trust_domain_is_refused() {
    for (lines, part) in [
        (String::new(), "`endpoint` is missing"),
        (format!("{FILE}{ENDPOINT}"), "not both"),
        (format!("{ENDPOINT}profile = \"https_spiffe\"\n"), "`https_spiffe` is not supported"),
        ("bundle = \"example.org.json\"\n".to_owned(), "the absolute path of a file"),
        ("bundle = \"/a\\nb\"\n".to_owned(), "the absolute path of a file"),
        (format!("{FILE}profile = \"https_web\"\n"), "`profile` has no use"),
        (format!("{FILE}proxy = \"http://proxy.example:3128\"\n"), "`proxy` has no use"),
        (format!("{ENDPOINT}ca = \"ca.pem\"\n"), "PEM form"),
    ] {
        let (detail, _) = refused(&Registry::default(), &domain(&lines), false);
        assert!(detail.contains(part), "{lines}: {detail}");
    }
    let ours = format!("[[trust_domain]]\nname = \"acme.example\"\n{FILE}");
    let (detail, place) = refused(&Registry::default(), &ours, false);
    assert!(detail.contains("the trust domain of this server itself"), "{detail}");
    assert_eq!(place.0, 2);
    for unreadable in [
        domain("endpoint = \"http://spire.example.org/\"\n"),
        domain("endpoint = \"https://user@spire.example.org/\"\n"),
        domain("endpoint = \"https://spire.example.org/\"\nprofile = \"web\"\n"),
        format!("[[trust_domain]]\nname = \"Example.org\"\n{FILE}"),
        format!("[[trust_domain]]\nname = \"spiffe://example.org\"\n{FILE}"),
    ] {
        assert!(mandate_api::registry_file::parse(&unreadable).is_err(), "{unreadable}");
    }
    let twice = mandate_api::registry_file::parse(&domain(FILE).repeat(2)).unwrap_err();
    assert!(twice.to_string().contains("a second trust_domain named `example.org`"), "{twice}");
}

#[test]
fn a_proof_names_one_workload_of_a_declared_trust_domain() {
    assert!(plan(&Registry::default(), &with(BUILDER), false).unwrap().notes.is_empty());
    for (proof, part) in [
        (r#"{ kind = "spiffe", trust_domain = "example.org" }"#.to_owned(), "`id` is missing"),
        (r#"{ kind = "spiffe", id = "spiffe://example.org/a" }"#.to_owned(), "`trust_domain` is missing"),
        (BUILDER.replace("spiffe://example.org", "spiffe://other.example"), "is not of the trust domain"),
        (BUILDER.replace("/ci/builder", ""), "names a trust domain and no workload"),
        (BUILDER.replace("example.org", "acme.example"), "give the agent selectors"),
        (BUILDER.replace("example.org", "unknown.example"), "`unknown.example` is not declared"),
        (BUILDER.replace(" }", ", single_use = true }"), "`single_use` has no meaning with spiffe"),
        (BUILDER.replace(" }", ", issuer = \"https://a.example\" }"), "`issuer` has no meaning"),
        (BUILDER.replace(" }", ", ceiling = [] }"), "`ceiling` has no meaning with spiffe"),
        (BUILDER.replace(" }", ", project_id = \"1\" }"), "`project_id` has no meaning"),
        (
            BUILDER.replace("\"spiffe\"", "\"gitlab\", project_id = \"1\""),
            "`trust_domain` has no meaning with gitlab",
        ),
    ] {
        let (detail, _) = refused(&Registry::default(), &with(&proof), false);
        assert!(detail.contains(part), "{proof}: {detail}");
    }
}

#[test]
fn one_identity_proves_one_agent_and_a_trust_domain_in_use_stays() {
    let two = with(BUILDER) + &agent("b", BUILDER);
    let (detail, _) = refused(&Registry::default(), &two, false);
    assert!(detail.contains("proves agent `a` already, and so not `b`"), "{detail}");
    let current = registry(&with(BUILDER));
    let (detail, _) = refused(&current, &agent("b", BUILDER), false);
    assert!(detail.contains("proves agent `a` already"), "{detail}");
    // With prune, the file has everything that is to stay.
    let without_it = format!("[[person]]\nname = \"p\"\n{}", agent("a", BUILDER));
    let (detail, _) = refused(&current, &without_it, true);
    assert!(detail.contains("trust domain `example.org` is not declared"), "{detail}");
}

#[test]
fn what_get_prints_declares_the_same() {
    let web = domain(ENDPOINT).replace("example.org\"\n", "b.example\"\n");
    let before = registry(&(with(BUILDER) + &web));
    let items = before.entries();
    let items = items.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer));
    let file = RegistryFile::from_items(items);
    let planned = crate::plan(&file, &before, &defaults(), false).unwrap();
    assert!(planned.is_empty(), "{planned:?}");
    let text = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<RegistryFile>(&text).unwrap(), file);
    assert_eq!(file.entries(), 4);
}
