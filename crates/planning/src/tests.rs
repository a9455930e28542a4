use mandate_api::RegistryFile;
use mandate_api::admin::{Change, RegistryItem, kind_name};
use mandate_api::registry_file::{Expiry, Finding, locate, parse};
use mandate_core::registry::{AgentState, Entry, EntryKind, Registry};
use mandate_core::{Lifetime, Timestamp};

use crate::entries::grant_id;
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
fn selectors_that_could_never_match_are_refused() {
    let agent = |selector: &str| {
        format!(
            "[[person]]\nname = \"p\"\n[[agent]]\nname = \"a\"\nowner = \"p\"\npurpose = \"x\"\nselectors = [\"{selector}\"]\n"
        )
    };
    for bad in [
        "",
        "uid:1",
        "unix:uid:",
        "unix:uid:-1",
        "unix:uid:007",
        "unix:uid:riley",
        "unix:user:riley",
        "unix:path:bin/x",
        "unix:sha256:AB",
        "docker:image:x",
    ] {
        let (detail, place) = refused(&Registry::default(), &agent(bad), false);
        assert!(detail.contains("use unix:uid:"), "{detail}");
        assert_eq!(place, (7, 14));
    }
    for bad in ["unix:path:/a/../b", "unix:path:/a/", "unix:path:/"] {
        let (detail, place) = refused(&Registry::default(), &agent(bad), false);
        assert!(detail.contains("readlink -f") && place == (7, 14), "{detail}");
    }
    let (detail, _) = refused(&Registry::default(), &agent("unix:uid:1\", \"unix:uid:2"), false);
    assert!(detail.contains("make two agents"), "{detail}");
    for good in [
        "unix:uid:0",
        "unix:gid:1000",
        "unix:path:/usr/bin/my agent",
        &format!("unix:sha256:{}", "0a".repeat(32)),
    ] {
        let text = agent(good).replace("selectors", "dangerous_any_user = true\nselectors");
        assert!(plan(&Registry::default(), &text, false).is_ok(), "{good}");
    }
}

/// An agent of these selectors and more lines.
fn agent_of(selectors: &str, more: &str) -> String {
    format!(
        "[[person]]\nname = \"p\"\n[[agent]]\nname = \"a\"\nowner = \"p\"\npurpose = \"x\"\nselectors = [{selectors}]\n{more}"
    )
}

#[test]
fn an_agent_that_every_local_user_could_be_needs_a_word_that_says_so() {
    let digest = format!("\"unix:sha256:{}\"", "0a".repeat(32));
    for selectors in
        ["\"unix:path:/usr/bin/agent\"", &digest, &format!("\"unix:path:/usr/bin/agent\", {digest}")]
    {
        let (detail, place) = refused(&Registry::default(), &agent_of(selectors, ""), false);
        assert!(
            detail.contains("every local user") && detail.contains("dangerous_any_user = true"),
            "{detail}"
        );
        assert_eq!(place, (7, 13));
        let accepted = agent_of(selectors, "dangerous_any_user = true\n");
        let plan = plan(&Registry::default(), &accepted, false).unwrap();
        assert!(
            plan.notes.iter().any(|note| note.contains("every local user can act as it")),
            "{:?}",
            plan.notes
        );
        let registry = registry(&accepted);
        let file = RegistryFile::from_items(
            registry.entries().iter().map(|entry| RegistryItem::of(entry, &defaults().issuer)),
        );
        assert!(file.agent[0].dangerous_any_user, "what get prints says so too");
    }
    for selectors in
        ["", "\"unix:uid:1000\"", "\"unix:gid:1000\"", "\"unix:uid:1000\", \"unix:path:/usr/bin/agent\""]
    {
        assert!(plan(&Registry::default(), &agent_of(selectors, ""), false).is_ok(), "{selectors}");
        let noted =
            plan(&Registry::default(), &agent_of(selectors, "dangerous_any_user = true\n"), false).unwrap();
        assert!(
            noted.notes.iter().any(|note| note.contains("`dangerous_any_user` of agent `a` has no effect")),
            "{:?}",
            noted.notes
        );
    }
}

fn client_of(lines: &str) -> String {
    format!(
        "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = [\"read:cases\"]\n[[client]]\nid = \"app\"\n{lines}"
    )
}

#[test]
fn a_client_lists_scopes_that_some_resource_has() {
    let registry_of = |lines: &str| registry(&client_of(lines));
    let app = "app".parse().unwrap();
    assert_eq!(registry_of("").client(&app).unwrap().scopes, None);
    assert_eq!(
        registry_of("scopes = [\"read:cases\"]\n").client(&app).unwrap().scopes,
        Some("read:cases".parse().unwrap())
    );
    let nothing = registry_of("scopes = []\n");
    assert_eq!(
        nothing.client(&app).unwrap().scopes,
        Some(mandate_core::ScopeSet::new()),
        "an empty list is nothing, not everything"
    );
    let (detail, place) = refused(&Registry::default(), &client_of("scopes = [\"read:casse\"]\n"), false);
    assert_eq!(
        (detail.as_str(), place),
        ("no resource has a scope `read:casse`; did you mean `read:cases`?", (7, 10))
    );
    // A scope that goes away is named where it is still listed.
    let current = registry_of("scopes = [\"read:cases\"]\n");
    let narrowed = "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = []\n";
    let findings = plan(&current, narrowed, false).unwrap_err();
    assert!(
        findings
            .iter()
            .any(|f| f.detail == "client `app`, which stays, mentions: no resource has a scope `read:cases`"),
        "{findings:?}"
    );
}

#[test]
fn the_methods_of_a_client_and_the_audience_of_its_assertions_are_kept() {
    use mandate_core::registry::{AssertionAudience, ClientAuthentication};
    let keys = r#"jwks = '{"keys":[{"kty":"EC"}]}'"#;
    let of = |lines: &str| {
        registry(&client_of(lines)).client(&"app".parse().unwrap()).unwrap().authentication.clone()
    };
    assert_eq!(of("authentication = \"client_secret_post\"\n"), ClientAuthentication::ClientSecretPost);
    for (line, expected) in [
        ("", AssertionAudience::Issuer),
        ("assertion_audience = \"issuer\"\n", AssertionAudience::Issuer),
        ("assertion_audience = \"token_endpoint\"\n", AssertionAudience::TokenEndpoint),
    ] {
        let made = of(&format!("authentication = \"private_key_jwt\"\n{keys}\n{line}"));
        assert!(
            matches!(made, ClientAuthentication::PrivateKeyJwt { audience, .. } if audience == expected),
            "{line}{made:?}"
        );
    }
    let (detail, place) =
        refused(&Registry::default(), &client_of("assertion_audience = \"issuer\"\n"), false);
    assert!(detail.contains("needs authentication = \"private_key_jwt\""), "{detail}");
    assert_eq!(place, (7, 22));
}

#[test]
fn redirect_uris_are_refused_where_they_stand_and_claimable_schemes_are_noted() {
    let (detail, place) = refused(
        &Registry::default(),
        &client_of("redirect_uris = [\"https://a.example\", \"javascript:alert(1)\"]\n"),
        false,
    );
    assert!(detail.starts_with("redirect URI \"javascript:alert(1)\": the scheme `javascript`"), "{detail}");
    assert_eq!(place, (7, 39));
    let native = plan(
        &Registry::default(),
        &client_of("redirect_uris = [\"com.example.app:/cb\", \"cursor://x/cb\"]\n"),
        false,
    )
    .unwrap();
    assert_eq!(native.notes.len(), 1, "{:?}", native.notes);
    assert!(native.notes[0].contains("claim the scheme `cursor`"), "{:?}", native.notes);
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
fn selectors_that_many_processes_share_or_that_depend_on_the_machine_are_noted() {
    let agent = |name: &str, selectors: &str| {
        format!("[[agent]]\nname = \"{name}\"\nowner = \"p\"\npurpose = \"x\"\nselectors = [{selectors}]\n")
    };
    let file = |agents: &[String]| format!("[[person]]\nname = \"p\"\n{}", agents.concat());
    let notes = |current: &Registry, text: &str| plan(current, text, false).unwrap().notes;
    let (broad, narrow) =
        (agent("broad", "\"unix:uid:1\""), agent("narrow", "\"unix:uid:1\", \"unix:path:/opt/x\""));
    let said = notes(
        &Registry::default(),
        &file(&[broad.clone(), narrow.clone(), agent("twin", "\"unix:path:/opt/x\", \"unix:uid:1\"")]),
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with(
            "every process of agent `narrow` is agent `broad`, too; `mandate svid fetch --agent NAME`"
        ),
        "{said:?}"
    );
    assert!(
        notes(&Registry::default(), &file(&[agent("a", "\"unix:uid:1\""), agent("b", "\"unix:uid:2\"")]))
            .is_empty()
    );
    // One that is there already counts, too; the agent itself does not.
    let current = registry(&file(std::slice::from_ref(&broad)));
    assert!(notes(&current, &file(&[broad])).is_empty());
    assert!(notes(&current, &narrow)[0].contains("`narrow` is agent `broad`"));
    let nobody = notes(
        &Registry::default(),
        &file(&[agent("a", "\"unix:uid:65534\", \"unix:gid:65534\", \"unix:path:/bin/a\"")]),
    );
    assert_eq!(nobody.len(), 3, "{nobody:?}");
    assert!(
        nobody[0].contains("agent `a`, selector `unix:uid:65534`: ") && nobody[2].contains("symbolic link"),
        "{nobody:?}"
    );
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
    assert!(super::plan(&file, &current, &at("2026-11-24T00:30:00Z"), false).unwrap().is_empty());
    let later = super::plan(&file, &current, &at("2026-11-24T02:00:00Z"), false).unwrap();
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
fn clients_are_refused_what_makes_them_unsafe() {
    let client = |more: &str| format!("[[client]]\nid = \"app\"\n{more}\n");
    for (more, part) in [
        ("redirect_uris = [\"http://app.example/cb\"]", "http is for loopback addresses only"),
        ("redirect_uris = [\"https://app.example/cb#x\"]", "fragment"),
        ("redirect_uris = [\"javascript:alert(1)\"]", "the scheme `javascript` does not lead back"),
        ("redirect_uris = [\"https://*.example/cb\"]", ""),
        ("authentication = \"private_key_jwt\"", "has no `jwks`"),
        ("jwks = '{\"keys\":[{}]}'", "needs authentication"),
        ("authentication = \"private_key_jwt\"\njwks = '[]'", "not a JWK Set"),
        ("authentication = \"private_key_jwt\"\njwks = '{\"keys\":[]}'", "there is none"),
        (
            "authentication = \"private_key_jwt\"\njwks = '{\"keys\":[{\"kty\":\"EC\",\"d\":\"s3cret\"}]}'",
            "private or secret key",
        ),
    ] {
        match plan(&Registry::default(), &client(more), false) {
            Err(findings) => assert!(
                findings[0].detail.contains(part) && !findings[0].detail.contains("s3cret"),
                "{more}: {findings:?}"
            ),
            Ok(_) => assert!(part.is_empty(), "{more} was accepted"),
        }
    }
}

#[test]
fn a_client_cannot_have_the_name_of_an_agent() {
    let text = "[[client]]\nid = \"spiffe://acme.example/agent/support-agent\"\n";
    assert!(refused(&Registry::default(), text, false).0.contains("those of agents"));
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
