//! Selectors that no process can show, and selectors that probably do not mean what they seem to mean.
//!
//! A node compares selectors with what the kernel says about one process: one user, one group, one program.
//! Selectors that can never match are refused, because otherwise the agent would have no identity and no
//! error would say so. A note is printed for selectors that depend on the machine.

use std::collections::{HashMap, HashSet};

use mandate_api::registry_file::AgentItem;
use mandate_core::registry::{AgentState, Registry};
use mandate_core::selector::{FORMS, InvalidSelector, shows_all};
use mandate_core::{AgentName, Selector, UnixSelector};

/// The number by which the kernel shows users and groups of other user namespaces, unless a machine is set up
/// otherwise.
const OVERFLOW: u32 = 65_534;

/// Names under which interpreters are mostly symbolic links.
const LINKS: [&str; 6] = ["python", "python3", "java", "sh", "awk", "editor"];

/// The selectors of one agent, in the order of the list. Refuses those that no process can show, with the
/// place in the list.
pub(crate) fn check(selectors: &[String]) -> Result<Vec<Selector>, (usize, String)> {
    let mut all: Vec<Selector> = Vec::with_capacity(selectors.len());
    for (at, text) in selectors.iter().enumerate() {
        let selector = check_one(text).map_err(|why| (at, format!("selector {text:?}: {why}")))?;
        if let Some((other, what)) = all.iter().find_map(|other| Some((other, only_one(other, &selector)?))) {
            let (other, why) =
                (other.to_string(), "a process must show all of an agent's selectors, and it has one");
            return Err((
                at,
                format!("selectors {other:?} and {text:?}: {why} {what}; make two agents of them"),
            ));
        }
        all.push(selector);
    }
    Ok(all)
}

/// Those of the texts that are selectors.
pub(crate) fn readable(selectors: &[String]) -> Vec<Selector> {
    selectors.iter().filter_map(|text| text.parse().ok()).collect()
}

fn check_one(text: &str) -> Result<Selector, String> {
    let selector: Selector = text.parse().map_err(|error: InvalidSelector| error.to_string())?;
    // `(uid_t) -1` is no user or group (credentials(7)).
    let names_nobody =
        matches!(selector, Selector::Unix(UnixSelector::Uid(u32::MAX) | UnixSelector::Gid(u32::MAX)));
    if selector.is_attestable() && !names_nobody { Ok(selector) } else { Err(FORMS.to_owned()) }
}

/// The property of which a process has only one, if both selectors name it with different values.
fn only_one(one: &Selector, other: &Selector) -> Option<&'static str> {
    use UnixSelector::{Gid, Path, Sha256, Uid};
    let (Selector::Unix(a), Selector::Unix(b)) = (one, other) else { return None };
    let what = match (a, b) {
        (Uid(_), Uid(_)) => "user",
        (Gid(_), Gid(_)) => "group (the effective one; supplementary groups do not count)",
        (Path(_), Path(_)) | (Sha256(_), Sha256(_)) => "program",
        (Uid(_) | Gid(_) | Path(_) | Sha256(_), _) => return None,
    };
    (a != b).then_some(what)
}

/// What to say about the selectors of one agent.
pub(crate) fn notes(item: &AgentItem) -> Vec<String> {
    if !item.proof.is_empty() {
        return Vec::new();
    }
    if item.selectors.is_empty() {
        return vec![format!(
            "agent `{}` has no selectors, so no process will be issued its identity",
            item.name
        )];
    }
    let of = |selector: &Selector| {
        let Selector::Unix(unix) = selector else { return None };
        let why = match unix {
            UnixSelector::Uid(OVERFLOW) => {
                "that is the kernel's placeholder for users of other namespaces (nobody), which nodes refuse; give the agent a user of its own"
            }
            UnixSelector::Gid(OVERFLOW) => {
                "that is the kernel's placeholder for groups of other namespaces (nogroup), which nodes do not attest; leave it out, or give the agent a group of its own"
            }
            UnixSelector::Path(path) => path_note(path.as_str())?,
            UnixSelector::Uid(_) | UnixSelector::Gid(_) | UnixSelector::Sha256(_) => return None,
        };
        Some(format!("agent `{}`, selector `{selector}`: {why}", item.name))
    };
    readable(&item.selectors).iter().filter_map(of).collect()
}

fn path_note(path: &str) -> Option<&'static str> {
    const LINK: &str = "that is mostly a symbolic link, and the kernel reports the file that it leads to; write it as `readlink -f PATH` prints it on the agent's machine";
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_merged = ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|top| path.starts_with(top));
    let is_virtual = path.starts_with("/proc/") || path.starts_with("/dev/fd/");
    (is_merged || is_virtual || LINKS.contains(&name)).then_some(LINK)
}

/// Agents in `items` whose processes all match another agent too, in `items` or among the entries that stay.
/// One note for each.
pub(crate) fn overlaps(items: &[AgentItem], current: &Registry) -> Vec<String> {
    let declared: HashSet<&AgentName> = items.iter().map(|item| &item.name).collect();
    let lives = |state: AgentState| state != AgentState::Retired;
    let staying = current.agents().filter(|agent| !declared.contains(&agent.name) && lives(agent.state));
    let living = items.iter().filter(|item| item.state.is_none_or(lives));
    let living: Vec<(&AgentName, Vec<Selector>)> =
        living.map(|item| (&item.name, readable(&item.selectors))).collect();
    let mut agents: Vec<(&AgentName, &[Selector])> =
        staying.map(|agent| (&agent.name, agent.selectors.as_slice())).collect();
    agents.extend(living.iter().map(|(name, selectors)| (*name, selectors.as_slice())));
    agents.retain(|(_, selectors)| !selectors.is_empty());
    let mut known = BySelector::new(&agents);
    let mut notes = Vec::new();
    for (at, (name, selectors)) in agents.iter().enumerate() {
        // One note for each agent is enough.
        if declared.contains(name)
            && let Some((other, theirs)) = known.first_overlap(selectors).and_then(|other| agents.get(other))
        {
            let what = match (shows_all(theirs, selectors), shows_all(selectors, theirs)) {
                (true, true) => {
                    format!("agents `{other}` and `{name}` have the same selectors, so each process is both")
                }
                (true, false) => format!("every process of agent `{other}` is agent `{name}`, too"),
                _ => format!("every process of agent `{name}` is agent `{other}`, too"),
            };
            notes.push(format!("{what}; `mandate svid fetch --agent NAME` says which one is meant"));
        }
        known.add(at, selectors);
    }
    notes
}

/// Agents by their selectors: to compare each agent with each other one would take minutes for a hundred
/// thousand.
struct BySelector<'a> {
    agents: &'a [(&'a AgentName, &'a [Selector])],
    /// How many agents have a selector.
    frequency: HashMap<&'a Selector, usize>,
    having: HashMap<&'a Selector, Vec<usize>>,
    /// Those whose rarest selector it is.
    rarest: HashMap<&'a Selector, Vec<usize>>,
}

impl<'a> BySelector<'a> {
    /// None of them is added yet.
    fn new(agents: &'a [(&'a AgentName, &'a [Selector])]) -> Self {
        let mut frequency = HashMap::new();
        for selector in agents.iter().flat_map(|(_, selectors)| selectors.iter()) {
            *frequency.entry(selector).or_default() += 1;
        }
        Self { agents, frequency, having: HashMap::new(), rarest: HashMap::new() }
    }

    fn rarest_of<'b>(&self, selectors: &'b [Selector]) -> Option<&'b Selector> {
        selectors.iter().min_by_key(|selector| self.frequency.get(selector))
    }

    fn add(&mut self, at: usize, selectors: &'a [Selector]) {
        for selector in selectors {
            self.having.entry(selector).or_default().push(at);
        }
        if let Some(selector) = self.rarest_of(selectors) {
            self.rarest.entry(selector).or_default().push(at);
        }
    }

    /// The first agent whose processes all have these selectors, or which has all processes that have them.
    fn first_overlap(&self, selectors: &[Selector]) -> Option<usize> {
        let theirs = |at: &usize| self.agents.get(*at).map_or(&[][..], |(_, selectors)| selectors);
        let within = self.rarest_of(selectors).and_then(|selector| self.having.get(selector));
        let within = within.and_then(|list| list.iter().find(|at| shows_all(theirs(at), selectors)));
        let around = selectors.iter().filter_map(|selector| self.rarest.get(selector));
        let around = around.filter_map(|list| list.iter().find(|at| shows_all(selectors, theirs(at)))).min();
        within.into_iter().chain(around).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::selector::shows_all;
    use mandate_core::{AgentName, Selector, UnixSelector};

    use super::{BySelector, check, path_note};

    fn refused(selectors: &[&str]) -> Option<(usize, String)> {
        check(&selectors.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).err()
    }

    /// Every set of four selectors, twice, in several orders.
    #[test]
    fn the_index_finds_the_overlap_that_comparing_each_with_each_finds() {
        let sets: Vec<Vec<Selector>> = (1..32u32)
            .map(|bits| {
                (0..4).filter(|n| (bits % 16) >> n & 1 == 1).map(|n| UnixSelector::Uid(n).into()).collect()
            })
            .filter(|set: &Vec<Selector>| !set.is_empty())
            .collect();
        for step in [1, 7, 11, 13, 29] {
            let order: Vec<usize> = (0..sets.len()).map(|n| n * step % sets.len()).collect();
            let names: Vec<AgentName> = order.iter().map(|n| format!("agent-{n}").parse().unwrap()).collect();
            let agents: Vec<(&AgentName, &[Selector])> =
                names.iter().zip(&order).map(|(name, n)| (name, sets[*n].as_slice())).collect();
            let mut index = BySelector::new(&agents);
            for (at, (_, selectors)) in agents.iter().enumerate() {
                let compared = agents[..at]
                    .iter()
                    .position(|(_, theirs)| shows_all(theirs, selectors) || shows_all(selectors, theirs));
                assert_eq!(index.first_overlap(selectors), compared, "{step}: {at}");
                index.add(at, selectors);
            }
        }
    }

    #[test]
    fn a_path_that_the_kernel_never_reports_is_refused() {
        let (at, why) = refused(&["unix:uid:1", "unix:path:/a/../b"]).unwrap();
        assert!(at == 1 && why.contains("readlink -f"), "{why}");
        assert_eq!(refused(&["unix:uid:1", "unix:path:/opt/my agent/a (deleted)"]), None);
    }

    #[test]
    fn what_no_attestor_of_this_build_can_show_is_refused_with_the_forms_that_can_be_shown() {
        for text in ["k8s:ns:prod", "docker:image:x", "uid:1", "unix:user:riley", "nonsense"] {
            let (at, why) = refused(&["unix:uid:1", text]).unwrap();
            assert!(at == 1 && why.contains(&format!("{text:?}: use unix:uid:<number>, ")), "{why}");
        }
    }

    #[test]
    fn two_users_groups_or_programs_of_one_process_are_refused() {
        let (zeros, ones) =
            (format!("unix:sha256:{}", "0".repeat(64)), format!("unix:sha256:{}", "1".repeat(64)));
        for (one, two) in [
            ("unix:uid:1", "unix:uid:2"),
            ("unix:gid:1", "unix:gid:2"),
            ("unix:path:/a", "unix:path:/b"),
            (zeros.as_str(), ones.as_str()),
        ] {
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
