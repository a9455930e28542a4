//! The registry of the story, and more of it: a resource, an agent or a client for each refusal.

use mandate_core::Timestamp;
use mandate_testkit::app::CALLBACK;

/// The secret of every confidential client here but `desk-app`.
pub(crate) const SECRET: &str = "another secret of a client";

/// A resource whose only purpose is in its name.
pub(crate) fn uri(name: &str) -> String {
    format!("https://{name}.acme.example")
}

/// The resources at which `support-agent` may read, each with something about its grant.
const READABLE: [&str; 9] =
    ["research", "desk", "shallow", "ungranted", "closed", "ended", "once", "policed", "rightless"];

/// The scope of one of them. Where a chain goes on, it is the same all along.
fn scope(name: &str) -> String {
    if ["research", "desk", "shallow"].contains(&name) {
        "read:cases".to_owned()
    } else {
        format!("read:{name}")
    }
}

/// Everything that exchanges need. `uid`: the user whose processes are the agents.
pub(crate) fn of_exchanges(uid: u32) -> String {
    let serving = |name: &str| match name {
        "research" => ", agent = \"research-agent\"",
        "desk" => ", agent = \"support-agent\"",
        "shallow" => ", agent = \"shallow-agent\"",
        _ => "",
    };
    let resources: Vec<String> = READABLE
        .iter()
        .map(|name| {
            format!(
                "{{ name = \"{name}\", uri = \"{}\", scopes = [\"{}\"]{} }}",
                uri(name),
                scope(name),
                serving(name)
            )
        })
        .collect();
    let permissions = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("{{ resource = \"{name}\", scopes = [\"{}\"] }}", scope(name)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let rights: Vec<&str> = READABLE.into_iter().filter(|name| *name != "rightless").collect();
    let grant = |name: &str| match name {
        "ungranted" => String::new(),
        "closed" => of(name, "support-agent", ", revoked = true"),
        "ended" => of(name, "support-agent", ", expires = \"1s\""),
        "once" => of(name, "support-agent", ", max_uses = 1"),
        _ => of(name, "support-agent", ""),
    };
    let grants: String = READABLE.iter().map(|name| grant(name)).collect();
    format!(
        r#"resource = [
  {},
  {{ name = "archive", uri = "https://archive.acme.example", scopes = ["read:archive", "write:archive"] }},
  {{ name = "split", uri = "https://split.acme.example", scopes = ["split:one", "split:two"] }},
  {{ name = "brief", uri = "https://brief.acme.example", scopes = ["read:brief"] }},
]
client = [
  {{ id = "support-app", redirect_uris = ["{CALLBACK}"] }},
  {{ id = "narrow-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["support-agent"], scopes = ["read:archive"] }},
]
[[person]]
name = "riley"
may = [
  {{ resource = "crm", scopes = ["read:cases", "write:case_comments", "send:mail"] }}, {},
  {{ resource = "archive", scopes = ["read:archive", "write:archive"] }},
  {{ resource = "split", scopes = ["split:one"] }},
  {{ resource = "brief", scopes = ["read:brief"], lifetime = "1s" }},
]
[[agent]]
name = "support-agent"
owner = "riley"
purpose = "Works on support cases"
selectors = ["unix:uid:{uid}"]
ceiling = [
  {{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }}, {},
  {{ resource = "archive", scopes = ["read:archive", "write:archive"] }},
  {{ resource = "split", scopes = ["split:one", "split:two"] }},
]
{}{}{}{}{grants}{}{}{}{}{}"#,
        resources.join(",\n  "),
        permissions(&rights),
        permissions(&READABLE),
        agent(
            uid,
            "research-agent",
            "ceiling = [{ resource = \"crm\", scopes = [\"read:cases\"] }, { resource = \"desk\", scopes = [\"read:cases\"] }]"
        ),
        agent(
            uid,
            "shallow-agent",
            "ceiling = [{ resource = \"crm\", scopes = [\"read:cases\"] }]\nchain_depth = 1"
        ),
        agent(uid, "paused-agent", ""),
        agent(uid, "renamed-agent", ""),
        granted("riley", "research-agent", "crm", "read:cases", ""),
        granted("riley", "research-agent", "desk", "read:cases", ""),
        granted("riley", "shallow-agent", "crm", "read:cases", ""),
        granted("riley", "support-agent", "archive", "read:archive", ""),
        granted("riley", "support-agent", "split", "split:two", ""),
    )
}

fn of(resource: &str, agent: &str, more: &str) -> String {
    granted("riley", agent, resource, &scope(resource), more)
}

/// A grant. `more` are further members, each after a comma.
pub(crate) fn granted(person: &str, agent: &str, resource: &str, scope: &str, more: &str) -> String {
    let more = more.replace(", ", "\n");
    format!(
        "[[grant]]\nperson = \"{person}\"\nagent = \"{agent}\"\nresource = \"{resource}\"\nscopes = [\"{scope}\"]{more}\n"
    )
}

/// An agent of Riley's with further lines.
pub(crate) fn agent(uid: u32, name: &str, more: &str) -> String {
    format!(
        "[[agent]]\nname = \"{name}\"\nowner = \"riley\"\npurpose = \"Has a part in a transcript\"\nselectors = [\"unix:uid:{uid}\"]\n{more}\n"
    )
}

/// A grant that ends at `end`.
pub(crate) fn ending(resource: &str, end: Timestamp) -> String {
    granted(
        "riley",
        "support-agent",
        resource,
        &format!("read:{resource}"),
        &format!(", expires = \"{end}\", name = \"ending\""),
    )
}
