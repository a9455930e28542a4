//! Selectors that no process can show, and selectors that probably do not mean what they seem to mean.
//!
//! A node compares selectors with what the kernel says about one process: one user, one group, one program. Selectors that
//! can never match are refused, because otherwise the agent would have no identity and no error would say so. A note is
//! printed for selectors that depend on the machine.

use mandate_core::AgentName;
use mandate_core::registry::{AgentState, Registry};

use super::AgentItem;

const FORMS: &str = "use unix:uid:<number>, unix:gid:<number>, unix:path:<absolute path> or unix:sha256:<64 hex digits in lower case>";

/// The number by which the kernel shows users and groups of other user namespaces, unless a machine is set up otherwise.
const OVERFLOW: &str = "65534";

/// Names under which interpreters are mostly symbolic links.
const LINKS: [&str; 6] = ["python", "python3", "java", "sh", "awk", "editor"];

/// Refuses selectors of one agent that no process can show, with the place in the list.
pub(super) fn check(selectors: &[String]) -> Result<(), (usize, String)> {
    for (at, selector) in selectors.iter().enumerate() {
        check_one(selector).map_err(|why| (at, format!("selector {selector:?}: {why}")))?;
        let earlier = |other: &&String| kind(other) == kind(selector) && *other != selector;
        if let Some(other) = selectors.get(..at).unwrap_or_default().iter().find(earlier) {
            let what = match kind(selector) {
                "uid" => "user",
                "gid" => "group (the effective one; supplementary groups do not count)",
                _ => "program",
            };
            let why = "a process must show all of an agent's selectors, and it has one";
            return Err((at, format!("selectors {other:?} and {selector:?}: {why} {what}; make two agents of them")));
        }
    }
    Ok(())
}

fn parts(selector: &str) -> Option<(&str, &str)> {
    selector.strip_prefix("unix:")?.split_once(':')
}

fn kind(selector: &str) -> &str {
    parts(selector).map_or("", |(kind, _)| kind)
}

fn check_one(selector: &str) -> Result<(), &'static str> {
    let (kind, value) = parts(selector).ok_or(FORMS)?;
    // `(uid_t) -1` is no user or group (credentials(7)).
    let number = || value.parse::<u32>().is_ok_and(|n| n.to_string() == value && n != u32::MAX);
    let fine = match kind {
        "uid" | "gid" => number(),
        "path" => value.starts_with('/') && value.len() <= 4096 && !value.chars().any(char::is_control),
        "sha256" => value.len() == 64 && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        _ => false,
    };
    if !fine {
        return Err(FORMS);
    }
    let is_canonical = |path: &str| path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if kind == "path" && !is_canonical(value) {
        return Err(
            "the kernel reports a program's path without `.`, `..`, doubled slashes or a slash at the end; write it as `readlink -f PATH` prints it",
        );
    }
    Ok(())
}

/// What to say about the selectors of one agent.
pub(super) fn notes(item: &AgentItem) -> Vec<String> {
    if item.selectors.is_empty() {
        return vec![format!("agent `{}` has no selectors, so no process will be issued its identity", item.name)];
    }
    let of = |selector: &String| {
        let (kind, value) = parts(selector)?;
        let why = match kind {
            "uid" if value == OVERFLOW => {
                "that is the kernel's placeholder for users of other namespaces (nobody), which nodes refuse; give the agent a user of its own"
            }
            "gid" if value == OVERFLOW => {
                "that is the kernel's placeholder for groups of other namespaces (nogroup), which nodes do not attest; leave it out, or give the agent a group of its own"
            }
            "path" => path_note(value)?,
            _ => return None,
        };
        Some(format!("agent `{}`, selector `{selector}`: {why}", item.name))
    };
    item.selectors.iter().filter_map(of).collect()
}

fn path_note(path: &str) -> Option<&'static str> {
    const LINK: &str = "that is mostly a symbolic link, and the kernel reports the file that it leads to; write it as `readlink -f PATH` prints it on the agent's machine";
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_merged = ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|top| path.starts_with(top));
    let is_virtual = path.starts_with("/proc/") || path.starts_with("/dev/fd/");
    (is_merged || is_virtual || LINKS.contains(&name)).then_some(LINK)
}

/// Agents in `items` whose processes all match another agent too, in `items` or among the entries that stay. One note for
/// each.
pub(super) fn overlaps(items: &[AgentItem], current: &Registry) -> Vec<String> {
    let declared = |name: &AgentName| items.iter().any(|item| item.name == *name);
    let lives = |state: AgentState| state != AgentState::Retired;
    let staying = current.agents().filter(|agent| !declared(&agent.name) && lives(agent.state));
    let mut others: Vec<(&AgentName, &[String])> = staying.map(|agent| (&agent.name, agent.selectors.as_slice())).collect();
    let mut notes = Vec::new();
    for item in items.iter().filter(|item| item.state.is_none_or(lives) && !item.selectors.is_empty()) {
        let covers = |few: &[String], many: &[String]| !few.is_empty() && few.iter().all(|selector| many.contains(selector));
        // One is enough to make people look.
        notes.extend(others.iter().find_map(|(other, theirs)| {
            let what = match (covers(&item.selectors, theirs), covers(theirs, &item.selectors)) {
                (true, true) => format!("agents `{other}` and `{}` have the same selectors, so each process is both", item.name),
                (true, false) => format!("every process of agent `{other}` is agent `{}`, too", item.name),
                (false, true) => format!("every process of agent `{}` is agent `{other}`, too", item.name),
                (false, false) => return None,
            };
            Some(format!("{what}; `mandate svid fetch --agent NAME` says which one is meant"))
        }));
        others.push((&item.name, &item.selectors));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::{check, path_note};

    fn refused(selectors: &[&str]) -> Option<(usize, String)> {
        check(&selectors.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).err()
    }

    #[test]
    fn a_path_that_the_kernel_never_reports_is_refused() {
        for path in ["/a/../b", "/a/./b", "/a/", "/", "//a", "/a//b", "/.", "/..", "/a/.."] {
            let (at, why) = refused(&["unix:uid:1", &format!("unix:path:{path}")]).unwrap_or_else(|| panic!("{path}"));
            assert!(at == 1 && why.contains("readlink -f"), "{why}");
        }
        for path in ["/a", "/a/b", "/a/...", "/a/.b", "/a/b..", "/opt/my agent/a (deleted)"] {
            assert_eq!(refused(&["unix:uid:1", &format!("unix:path:{path}")]), None, "{path}");
        }
    }

    #[test]
    fn two_users_groups_or_programs_of_one_process_are_refused() {
        let (zeros, ones) = (format!("unix:sha256:{}", "0".repeat(64)), format!("unix:sha256:{}", "1".repeat(64)));
        for (one, two) in
            [("unix:uid:1", "unix:uid:2"), ("unix:gid:1", "unix:gid:2"), ("unix:path:/a", "unix:path:/b"), (zeros.as_str(), ones.as_str())]
        {
            let (at, why) = refused(&[one, "unix:uid:1", two]).unwrap();
            assert!(why.contains(one) || why.contains("unix:uid:1"), "{why}");
            assert!(at == 2 && why.contains("make two agents"), "{why}");
            assert_eq!(refused(&[one, one]), None, "the same again is one");
        }
        assert_eq!(refused(&["unix:uid:1", "unix:gid:2", "unix:path:/a", &zeros]), None);
    }

    #[test]
    fn the_number_that_is_no_user_is_refused() {
        assert!(refused(&["unix:uid:4294967295"]).is_some() && refused(&["unix:gid:4294967295"]).is_some());
        assert_eq!(refused(&["unix:uid:4294967294"]), None);
    }

    #[test]
    fn paths_that_are_mostly_links_are_noted() {
        for path in ["/usr/bin/python3", "/opt/venv/bin/python", "/bin/sleep", "/sbin/x", "/proc/self/exe"] {
            assert!(path_note(path).is_some(), "{path}");
        }
        for path in ["/usr/bin/python3.11", "/usr/bin/sleep", "/opt/bin/agent"] {
            assert!(path_note(path).is_none(), "{path}");
        }
    }
}
