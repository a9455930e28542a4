//! Selectors that no process can show, and selectors that probably do not mean what they seem to mean.
//!
//! A node compares selectors with what the kernel says about one process: one user, one group, one program. Selectors that
//! can never match are refused, because otherwise the agent would have no identity and no error would say so. A note is
//! printed for selectors that depend on the machine.

use std::collections::{HashMap, HashSet};

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
    let declared: HashSet<&AgentName> = items.iter().map(|item| &item.name).collect();
    let lives = |state: AgentState| state != AgentState::Retired;
    let staying = current.agents().filter(|agent| !declared.contains(&agent.name) && lives(agent.state));
    let mut agents: Vec<(&AgentName, &[String])> = staying.map(|agent| (&agent.name, agent.selectors.as_slice())).collect();
    let living = items.iter().filter(|item| item.state.is_none_or(lives));
    agents.extend(living.map(|item| (&item.name, item.selectors.as_slice())));
    agents.retain(|(_, selectors)| !selectors.is_empty());
    let mut known = BySelector::new(&agents);
    let mut notes = Vec::new();
    for (at, (name, selectors)) in agents.iter().enumerate() {
        // One is enough to make people look.
        if declared.contains(name)
            && let Some((other, theirs)) = known.first_overlap(selectors).and_then(|other| agents.get(other))
        {
            let what = match (covers(selectors, theirs), covers(theirs, selectors)) {
                (true, true) => format!("agents `{other}` and `{name}` have the same selectors, so each process is both"),
                (true, false) => format!("every process of agent `{other}` is agent `{name}`, too"),
                _ => format!("every process of agent `{name}` is agent `{other}`, too"),
            };
            notes.push(format!("{what}; `mandate svid fetch --agent NAME` says which one is meant"));
        }
        known.add(at, selectors);
    }
    notes
}

/// Whether each process that has `many` has `few`.
fn covers(few: &[String], many: &[String]) -> bool {
    few.iter().all(|selector| many.contains(selector))
}

/// Agents by their selectors. To compare each agent with each other takes minutes where there are a hundred thousand.
struct BySelector<'a> {
    agents: &'a [(&'a AgentName, &'a [String])],
    /// How many agents have a selector.
    frequency: HashMap<&'a str, usize>,
    having: HashMap<&'a str, Vec<usize>>,
    /// Those whose rarest selector it is.
    rarest: HashMap<&'a str, Vec<usize>>,
}

impl<'a> BySelector<'a> {
    /// None of them is added yet.
    fn new(agents: &'a [(&'a AgentName, &'a [String])]) -> Self {
        let mut frequency = HashMap::new();
        for selector in agents.iter().flat_map(|(_, selectors)| selectors.iter()) {
            *frequency.entry(selector.as_str()).or_default() += 1;
        }
        Self { agents, frequency, having: HashMap::new(), rarest: HashMap::new() }
    }

    fn rarest_of<'b>(&self, selectors: &'b [String]) -> Option<&'b str> {
        selectors.iter().map(String::as_str).min_by_key(|selector| self.frequency.get(selector))
    }

    fn add(&mut self, at: usize, selectors: &'a [String]) {
        for selector in selectors {
            self.having.entry(selector).or_default().push(at);
        }
        if let Some(selector) = self.rarest_of(selectors) {
            self.rarest.entry(selector).or_default().push(at);
        }
    }

    /// The first agent whose processes all have these selectors, or which has all processes that have them.
    fn first_overlap(&self, selectors: &[String]) -> Option<usize> {
        let theirs = |at: &usize| self.agents.get(*at).map_or(&[][..], |(_, selectors)| selectors);
        let within = self.rarest_of(selectors).and_then(|selector| self.having.get(selector));
        let within = within.and_then(|list| list.iter().find(|at| covers(selectors, theirs(at))));
        let around = selectors.iter().filter_map(|selector| self.rarest.get(selector.as_str()));
        let around = around.filter_map(|list| list.iter().find(|at| covers(theirs(at), selectors))).min();
        within.into_iter().chain(around).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::AgentName;

    use super::{BySelector, check, covers, path_note};

    fn refused(selectors: &[&str]) -> Option<(usize, String)> {
        check(&selectors.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).err()
    }

    /// Every set of four selectors, twice, in several orders.
    #[test]
    fn the_index_finds_the_overlap_that_comparing_each_with_each_finds() {
        let sets: Vec<Vec<String>> = (1..32u32)
            .map(|bits| (0..4).filter(|n| (bits % 16) >> n & 1 == 1).map(|n| format!("unix:uid:{n}")).collect())
            .filter(|set: &Vec<String>| !set.is_empty())
            .collect();
        for step in [1, 7, 11, 13, 29] {
            let order: Vec<usize> = (0..sets.len()).map(|n| n * step % sets.len()).collect();
            let names: Vec<AgentName> = order.iter().map(|n| format!("agent-{n}").parse().unwrap()).collect();
            let agents: Vec<(&AgentName, &[String])> = names.iter().zip(&order).map(|(name, n)| (name, sets[*n].as_slice())).collect();
            let mut index = BySelector::new(&agents);
            for (at, (_, selectors)) in agents.iter().enumerate() {
                let compared = agents[..at].iter().position(|(_, theirs)| covers(selectors, theirs) || covers(theirs, selectors));
                assert_eq!(index.first_overlap(selectors), compared, "{step}: {at}");
                index.add(at, selectors);
            }
        }
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
