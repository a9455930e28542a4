//! What a registry file makes of a registry, and what of it is refused or noted.

mod clients;
mod grants;
mod groups;
mod issuers;
mod proofs;
mod selectors;
mod tenants;
mod trust_domains;

use mandate_api::RegistryFile;
use mandate_api::admin::{Change, RegistryItem, kind_name};
use mandate_api::registry_file::{Expiry, Finding, locate, parse};
use mandate_core::Lifetime;
use mandate_core::registry::{AgentState, Entry, EntryKind, Registry};

use crate::{Defaults, Mention, Plan, PlannedChange, entries_of, mentions};

/// The example that the documentation shows.
const EXAMPLE: &str = r#"
[[resource]]
name   = "crm"
uri    = "http://127.0.0.1:9100"
scopes = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"]
tools  = [{ name = "close_opportunity", scope = "write:opportunities", destructive = true }]

[[person]]
name = "riley"
may  = [{ resource = "crm", scopes = ["read:cases", "write:case_comments", "write:opportunities"] }]

[[agent]]
name      = "support-agent"
owner     = "riley"
purpose   = "Works on support cases"
selectors = ["unix:uid:1000"]
ceiling   = [{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }]

[[grant]]
person   = "riley"
agent    = "support-agent"
resource = "crm"
scopes   = ["read:cases", "write:case_comments"]
expires  = "2027-01-31T00:00:00Z"
max_uses = 500

[[client]]
id            = "support-app"
redirect_uris = ["http://127.0.0.1:9200/callback"]

[[issuer]]
url      = "https://login.acme.example"
audience = "https://mandate.acme.example"
"#;

fn defaults() -> Defaults {
    Defaults {
        trust_domain: "acme.example".parse().unwrap(),
        issuer: "https://mandate.acme.example".parse().unwrap(),
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
    }
}

fn registry(text: &str) -> Registry {
    Registry::from_entries(entries_of(&parse(text).unwrap(), &defaults()).unwrap())
}

fn plan(current: &Registry, text: &str, prune: bool) -> Result<Plan, Vec<Finding>> {
    super::plan(&parse(text).unwrap(), current, &defaults(), prune)
}

/// The only finding, and the line and column at which it is shown.
fn refused(current: &Registry, text: &str, prune: bool) -> (String, (usize, usize)) {
    let findings = plan(current, text, prune).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    (findings[0].detail.clone(), locate(text, &findings[0].pointer).unwrap())
}

#[test]
fn the_example_becomes_entries_with_safe_defaults() {
    let registry = registry(EXAMPLE);
    let agent = registry.agent(&"support-agent".parse().unwrap()).unwrap();
    assert_eq!(agent.spiffe_id.as_str(), "spiffe://acme.example/agent/support-agent");
    assert_eq!((agent.chain_depth, agent.state), (3, AgentState::Active));
    let riley = registry.person(&"riley".parse().unwrap()).unwrap();
    assert_eq!(
        (riley.id.iss.as_str(), riley.id.sub.as_str(), riley.disabled),
        ("https://mandate.acme.example", "riley", false)
    );
    let grant = registry.grants().next().unwrap();
    assert_eq!(grant.expires, Some("2027-01-31T00:00:00Z".parse().unwrap()));
    assert_eq!((grant.max_uses, grant.revoked), (Some(500), false));
    assert!(
        registry.issuers().all(|issuer| issuer.subject_scope == mandate_core::registry::SubjectScope::Token)
    );
    assert!(registry.clients().all(|client| client.agents.is_empty()));
}

#[test]
fn applying_again_changes_nothing() {
    let registry = registry(EXAMPLE);
    for prune in [false, true] {
        let again = plan(&registry, EXAMPLE, prune).unwrap();
        assert!(again.is_empty(), "{again:?}");
        assert_eq!(again.unchanged, 6);
    }
}

#[test]
fn what_get_prints_can_be_applied_and_changes_nothing() {
    let registry = registry(EXAMPLE);
    let items = registry.entries();
    let file =
        RegistryFile::from_items(items.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer)));
    let text = toml::to_string(&file).unwrap();
    let again = plan(&registry, &text, true).unwrap();
    assert!(again.is_empty(), "{again:?}\n{text}");
}

#[test]
fn a_date_time_needs_no_quotes_and_a_span_is_a_span() {
    let text = |expires: &str| {
        format!(
            "[[grant]]\nperson = \"p\"\nagent = \"a\"\nresource = \"r\"\nscopes = []\nexpires = {expires}\n"
        )
    };
    let at = Expiry::At("2027-01-31T00:00:00Z".parse().unwrap());
    assert_eq!(parse(&text("2027-01-31T00:00:00Z")).unwrap().grant[0].expires, Some(at));
    assert_eq!(parse(&text("\"2027-01-31T00:00:00Z\"")).unwrap().grant[0].expires, Some(at));
    let hour = Expiry::After(Lifetime(std::time::Duration::from_hours(1)));
    assert_eq!(parse(&text("\"1h\"")).unwrap().grant[0].expires, Some(hour));
    assert!(parse(&text("{ \"$__toml_private_datetime\" = 1 }")).is_err());
    assert!(parse(&text("{ at = \"1h\" }")).is_err());
}

#[test]
fn every_dangling_reference_is_named_at_its_place() {
    let empty = Registry::default();
    for (from, to, detail, place) in [
        (
            "owner     = \"riley\"",
            "owner     = \"rileh\"",
            "person `rileh` is not declared; did you mean `riley`?",
            (14, 13),
        ),
        ("person   = \"riley\"", "person   = \"jo\"", "person `jo` is not declared", (20, 12)),
        ("agent    = \"support-agent\"", "agent    = \"x\"", "agent `x` is not declared", (21, 12)),
        (
            "resource = \"crm\"\nscopes   = [\"read:cases\", \"write:case_comments\"]\nexpires",
            "resource = \"cmr\"\nscopes   = [\"read:cases\"]\nexpires",
            "resource `cmr` is not declared; did you mean `crm`?",
            (22, 12),
        ),
        (
            "scopes   = [\"read:cases\", \"write:case_comments\"]\nexpires",
            "scopes   = [\"read:case\"]\nexpires",
            "resource `crm` has no scope `read:case`; did you mean `read:cases`?",
            (23, 12),
        ),
        (
            "scope = \"write:opportunities\", destr",
            "scope = \"delete\", destr",
            "tool `close_opportunity` needs the scope `delete`, which resource `crm` does not have",
            (6, 49),
        ),
        (
            "redirect_uris = [",
            "agents = [\"ghost\"]\nredirect_uris = [",
            "agent `ghost` is not declared",
            (29, 11),
        ),
    ] {
        let text = EXAMPLE.replacen(from, to, 1);
        assert_ne!(text, EXAMPLE, "{from}");
        let found = plan(&empty, &text, false).unwrap_err();
        let (first, at) = (&found[0], locate(&text, &found[0].pointer).unwrap());
        assert_eq!((first.detail.as_str(), at), (detail, place));
    }
}

#[test]
fn a_reference_may_point_at_what_is_declared_already_unless_that_is_pruned() {
    let current = registry(EXAMPLE);
    let more = "[[agent]]\nname = \"b\"\nowner = \"riley\"\npurpose = \"x\"\nceiling = [{ resource = \"crm\", scopes = [\"read:cases\"] }]\n";
    let made = plan(&current, more, false).unwrap();
    assert_eq!(made.changes.len(), 1);
    assert_eq!(made.notes, ["agent `b` has no selectors, so no process will be issued its identity"]);
    let findings = plan(&current, more, true).unwrap_err();
    assert_eq!(findings[0].detail, "person `riley` is not declared");
}

#[test]
fn what_stays_may_not_lose_what_it_mentions() {
    let current = registry(EXAMPLE);
    let narrower = "[[resource]]\nname = \"crm\"\nuri = \"http://127.0.0.1:9100\"\nscopes = [\"read:cases\", \"write:case_comments\"]\n";
    let (detail, place) = refused(&current, narrower, false);
    assert_eq!(
        detail,
        "person `riley`, which stays, mentions: resource `crm` has no scope `write:opportunities`"
    );
    assert_eq!(place, (1, 1));
}

#[test]
fn pruning_removes_what_is_not_mentioned_dependants_first() {
    let current = registry(EXAMPLE);
    let changes = plan(&current, "", true).unwrap().to_response(true, &defaults().issuer).changes;
    let order: Vec<&str> = changes.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!(order, ["grant", "issuer", "client", "agent", "person", "resource"]);
    assert!(changes.iter().all(|c| c.change == Change::Removed));
    assert!(plan(&current, "", false).unwrap().is_empty());
}

#[test]
fn a_change_names_its_fields() {
    let current = registry(EXAMPLE);
    let text =
        EXAMPLE.replace("max_uses = 500", "max_uses = 5\nlifetime = \"2m\"").replace("Works on", "Answers");
    let response = plan(&current, &text, true).unwrap().to_response(false, &defaults().issuer);
    let said: Vec<String> = response
        .changes
        .iter()
        .map(|c| format!("{} {:?} {}", c.kind, c.change, c.fields.join(",")))
        .collect();
    assert_eq!(said, ["agent Changed purpose", "grant Changed lifetime,max_uses"]);
    assert_eq!((response.unchanged, response.dry_run), (4, false));
}

#[test]
fn a_change_is_told_as_it_was_and_as_it_will_be_in_the_words_of_the_file() {
    let current = registry(EXAMPLE);
    let text = EXAMPLE
        .replace(
            "ceiling   = [{ resource = \"crm\", scopes = [\"read:cases\", \"write:case_comments\"] }]",
            "ceiling = []",
        )
        .replace("max_uses = 500", "lifetime = \"2m\"");
    let changes = plan(&current, &text, true).unwrap().to_response(true, &defaults().issuer).changes;
    let agent = &changes[0].differences[0];
    assert_eq!((agent.field.as_str(), changes[0].about.as_ref()), ("ceiling", None));
    assert_eq!(
        agent.before,
        Some(serde_json::json!([{"resource": "crm", "scopes": ["read:cases", "write:case_comments"]}]))
    );
    assert_eq!(agent.after, Some(serde_json::json!([])));
    assert_eq!(changes[1].about.as_deref(), Some("riley → support-agent on crm"));
    let grant: Vec<_> = changes[1]
        .differences
        .iter()
        .map(|d| (d.field.as_str(), d.before.clone(), d.after.clone()))
        .collect();
    assert_eq!(grant, [("lifetime", None, Some("2m".into())), ("max_uses", Some(500.into()), None)]);
}

#[test]
fn two_entries_may_not_claim_one_identifier() {
    let current = registry(EXAMPLE);
    let resource = "[[resource]]\nname = \"crm2\"\nuri = \"http://127.0.0.1:9100\"\n";
    assert_eq!(
        refused(&current, resource, false),
        ("resource `crm` is `http://127.0.0.1:9100` already".to_owned(), (3, 7))
    );
    assert!(plan(&Registry::default(), resource, false).is_ok());
    let agent = "[[agent]]\nname = \"b\"\nowner = \"riley\"\npurpose = \"x\"\nspiffe_id = \"spiffe://acme.example/agent/support-agent\"\n";
    assert_eq!(
        refused(&current, agent, false).0,
        "agent `support-agent` is `spiffe://acme.example/agent/support-agent` already"
    );
    let people = "[[issuer]]\nurl = \"https://login.acme.example\"\naudience = \"x\"\n[[person]]\nname = \"a\"\nissuer = \"https://login.acme.example\"\nsub = \"1\"\n[[person]]\nname = \"b\"\nissuer = \"https://login.acme.example\"\nsub = \"1\"\n";
    assert_eq!(
        refused(&Registry::default(), people, false).0,
        "person `a` is `1 of https://login.acme.example` already"
    );
}

#[test]
fn an_identifier_may_pass_from_one_entry_to_another_in_one_file() {
    let current = registry(EXAMPLE);
    let text = EXAMPLE.replace("name   = \"crm\"", "name   = \"sales\"").replace("\"crm\"", "\"sales\"");
    assert!(plan(&current, &text, true).is_ok());
}

#[test]
fn identities_outside_the_agents_own_space_are_refused() {
    let agent = |id: &str| {
        format!(
            "[[person]]\nname = \"p\"\n[[agent]]\nname = \"a\"\nowner = \"p\"\npurpose = \"x\"\nspiffe_id = \"{id}\"\n"
        )
    };
    for id in [
        "spiffe://other.example/agent/a",
        "spiffe://acme.example",
        "spiffe://acme.example/node",
        "spiffe://acme.example/node/1",
        "spiffe://acme.example/mandate",
        "spiffe://acme.example/mandate/server",
    ] {
        let (detail, place) = refused(&Registry::default(), &agent(id), false);
        assert!(detail.contains(id), "{detail}");
        assert_eq!(place, (7, 13));
    }
    assert!(plan(&Registry::default(), &agent("spiffe://acme.example/support-agent/v2"), false).is_ok());
}

#[test]
fn the_built_in_administration_is_never_pruned_and_can_be_mentioned() {
    let issuer = defaults().issuer;
    let admin = mandate_core::registry::Resource {
        name: "mandate".parse().unwrap(),
        uri: issuer.as_str().parse().unwrap(),
        scopes: "mandate:admin".parse().unwrap(),
        tools: Vec::new(),
        agent: None,
        client: None,
        unattested: mandate_core::ScopeSet::new(),
        tenant: None,
    };
    let built_in = Registry::from_entries([Entry::Resource(admin)]);
    let text = "[[person]]\nname = \"olga\"\nmay = [{ resource = \"mandate\", scopes = [\"mandate:admin\"] }]\n[[client]]\nid = \"console\"\nscopes = [\"mandate:admin\"]\n";
    for prune in [false, true] {
        let first = plan(&built_in, text, prune).unwrap();
        assert!(first.changes.iter().all(|change| change.after.is_some()));
        let mut after = built_in.clone();
        first.puts().for_each(|entry| after.put(entry.clone()));
        let again = plan(&after, text, prune).unwrap();
        assert!(again.is_empty(), "{again:?}");
        // What get prints names it, and can be applied too.
        let file =
            RegistryFile::from_items(after.entries().iter().map(|entry| RegistryItem::of(entry, &issuer)));
        assert!(plan(&after, &toml::to_string(&file).unwrap(), prune).unwrap().is_empty());
    }
}

#[test]
fn two_resources_that_differ_by_the_slash_of_an_empty_path_are_one_identifier() {
    let of = |uri: &str, name: &str| format!("[[resource]]\nname = \"{name}\"\nuri = \"{uri}\"\n");
    let both = format!("{}{}", of("https://crm.example", "one"), of("https://crm.example/", "two"));
    let (detail, place) = refused(&Registry::default(), &both, false);
    assert_eq!((detail.as_str(), place), ("resource `one` is `https://crm.example` already", (6, 7)));
    let current = registry(&of("https://crm.example/", "one"));
    assert!(
        refused(&current, &of("https://crm.example", "two"), false).0.starts_with("resource `one` is"),
        "declared before"
    );
    assert!(
        plan(&current, &of("https://crm.example", "one"), false).is_ok(),
        "it may be spelt in the other way"
    );
    let paths = format!("{}{}", of("https://crm.example/api", "one"), of("https://crm.example/api/", "two"));
    assert!(plan(&Registry::default(), &paths, false).is_ok());
}

#[test]
fn the_identity_of_a_contained_or_retired_agent_is_not_given_to_another() {
    let state = |state: AgentState| {
        let mut registry = registry(EXAMPLE);
        let mut agent = (**registry.agent(&"support-agent".parse().unwrap()).unwrap()).clone();
        agent.state = state;
        registry.put(Entry::Agent(agent));
        registry
    };
    let id = |id: &str| EXAMPLE.replace("owner     =", &format!("spiffe_id = \"{id}\"\nowner     ="));
    let (old, other) = ("spiffe://acme.example/agent/support-agent", "spiffe://acme.example/agent/other");
    for now in [AgentState::Active, AgentState::Suspended] {
        let heir = format!(
            "[[agent]]\nname = \"heir\"\nowner = \"riley\"\npurpose = \"x\"\nspiffe_id = \"{old}\"\n"
        );
        let plan = plan(&state(now), &format!("{}{heir}", id(other)), false).unwrap();
        assert_eq!(plan.changes.len(), 2, "it has another identity, and the heir has the old one");
    }
    for now in [AgentState::Contained, AgentState::Retired] {
        let (refused, at) = refused(&state(now), &id(other), false);
        assert_eq!(
            refused,
            format!(
                "agent `support-agent` is {} and keeps its SPIFFE ID `{old}`, which no other agent may have",
                now.as_str()
            )
        );
        assert_eq!(at.0, id(other).lines().position(|line| line.starts_with("spiffe_id")).unwrap() + 1);
        assert!(plan(&state(now), &id(old), false).unwrap().is_empty(), "it has this one");
    }
}

#[test]
fn a_file_cannot_let_a_contained_or_retired_agent_act_again() {
    let state = |state: AgentState| {
        let mut registry = registry(EXAMPLE);
        let mut agent = (**registry.agent(&"support-agent".parse().unwrap()).unwrap()).clone();
        agent.state = state;
        registry.put(Entry::Agent(agent));
        registry
    };
    let wish = |state: &str| EXAMPLE.replace("owner     =", &format!("state = \"{state}\"\nowner     ="));
    for held in [AgentState::Suspended, AgentState::Contained, AgentState::Retired] {
        assert!(plan(&state(held), EXAMPLE, false).unwrap().is_empty(), "no `state` keeps {held:?}");
    }
    assert_eq!(
        plan(&state(AgentState::Suspended), &wish("active"), false).unwrap().changes[0]
            .fields(&defaults().issuer),
        ["state"]
    );
    let contained = refused(&state(AgentState::Contained), &wish("active"), false).0;
    assert_eq!(contained, "agent `support-agent` is contained until it is released");
    assert!(refused(&state(AgentState::Contained), &wish("suspended"), false).0.contains("contained"));
    assert!(refused(&state(AgentState::Retired), &wish("active"), false).0.contains("retired permanently"));
    assert!(
        plan(&state(AgentState::Contained), "", true).unwrap_err()[0].detail.contains("cannot be removed")
    );
    let kept = plan(&state(AgentState::Retired), "", true).unwrap();
    let removed = |change: &PlannedChange| change.after.is_none() && change.kind() == Some(EntryKind::Agent);
    assert!(!kept.changes.iter().any(removed), "the name is never free again");
    let other = "[[person]]\nname = \"p\"\n[[agent]]\nname = \"b\"\nowner = \"p\"\npurpose = \"x\"\nspiffe_id = \"spiffe://acme.example/agent/support-agent\"\n";
    assert!(plan(&state(AgentState::Retired), other, true).unwrap_err()[0].detail.contains("already"));
}

#[test]
fn the_embedded_directory_names_people_by_name_only() {
    let text = "[[person]]\nname = \"eve\"\nsub = \"riley\"\n";
    assert!(refused(&Registry::default(), text, false).0.contains("leave it out"));
    let own = "[[issuer]]\nurl = \"https://mandate.acme.example\"\naudience = \"x\"\n";
    assert!(refused(&Registry::default(), own, false).0.contains("this server itself"));
    let foreign = "[[person]]\nname = \"eve\"\nissuer = \"https://login.acme.example\"\n";
    assert_eq!(
        refused(&Registry::default(), foreign, false),
        ("issuer `https://login.acme.example` is not declared".to_owned(), (3, 10))
    );
}

#[test]
fn one_mistake_hides_no_other_and_is_reported_once() {
    let text = r#"
[[agent]]
name = "a"
owner = "rileh"
purpose = ""
selectors = ["unix:uid:1000", "unix:uid:x", "unix:path:relative"]
ceiling = [{ resource = "crn", scopes = ["read:cases"] }]

[[grant]]
person = "riley"
agent = "a"
resource = "crm"
scopes = []
max_uses = 0

[[person]]
name = "riley"

[[resource]]
name = "crm"
uri = "https://crm.example"
scopes = ["read:cases"]
tools = [{ name = "", scope = "read:case" }]
"#;
    let found = plan(&Registry::default(), text, false).unwrap_err();
    let mut pointers: Vec<&str> = found.iter().map(|finding| finding.pointer.as_str()).collect();
    pointers.sort_unstable();
    let expected = [
        "/agent/0/ceiling/0/resource",
        "/agent/0/owner",
        "/agent/0/purpose",
        "/agent/0/selectors/1",
        "/agent/0/selectors/2",
        "/grant/0/max_uses",
        "/grant/0/scopes",
        "/resource/0/tools/0/name",
        "/resource/0/tools/0/scope",
    ];
    assert_eq!(pointers, expected, "{found:?}");
}

#[test]
fn each_entry_that_may_not_be_removed_is_mentioned_by_one_that_stays() {
    const MORE: &str = r#"
[[person]]
name    = "pat"
issuer  = "https://login.acme.example"
sub    = "1"

[[client]]
id            = "desk"
redirect_uris = ["http://127.0.0.1:9300/callback"]
agents        = ["support-agent"]
scopes        = ["read:wiki"]

[[resource]]
name   = "wiki"
uri    = "http://127.0.0.1:9400"
scopes = ["read:wiki"]
agent  = "support-agent"
client = "support-app"
"#;
    let current = registry(&format!("{EXAMPLE}{MORE}"));
    let all = current.entries();
    let mut needed = Vec::new();
    for gone in &all {
        let stay: Vec<&Entry> = all.iter().filter(|entry| *entry != gone).collect();
        let file =
            RegistryFile::from_items(stay.iter().map(|entry| RegistryItem::of(entry, &defaults().issuer)));
        let refused = super::plan(&file, &current, &defaults(), true).is_err();
        let is_mentioned = stay.iter().flat_map(|entry| mentions(entry)).any(|mention| match mention {
            Mention::Entry(kind, key) => (kind, key) == (gone.kind(), gone.key()),
            Mention::AnyResource => gone.key() == "wiki",
        });
        assert_eq!(refused, is_mentioned, "{} {}", kind_name(gone.kind()), gone.key());
        if refused {
            needed.push((gone.kind(), gone.key()));
        }
    }
    for needed_by_others in [
        (EntryKind::Resource, "crm"),
        (EntryKind::Resource, "wiki"),
        (EntryKind::Person, "riley"),
        (EntryKind::Agent, "support-agent"),
        (EntryKind::Client, "support-app"),
        (EntryKind::Issuer, "https://login.acme.example"),
    ] {
        assert!(needed.contains(&needed_by_others), "{needed_by_others:?}: {needed:?}");
    }
    assert_eq!(needed.len(), 6, "{needed:?}");
}
