//! Selectors of agents: those that match nothing, and those that match too much.

use mandate_api::RegistryFile;
use mandate_api::admin::RegistryItem;
use mandate_core::registry::Registry;

use super::{defaults, plan, refused, registry};

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
