//! Tells the operator, in the node's log, what was seen of a process and which selectors the registered
//! agents require.
//!
//! The process itself is told only that it has no identity: the selectors of other agents do not concern it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mandate_core::{Selector, SpiffeId, UnixSelector};

use crate::caller::{AttestedProcess, Caller};
use crate::entitlement::{Entitlements, Near};
use crate::throttle::Throttle;

/// How many entries are named.
const MOST: usize = 3;

/// Callers with the same message: those with the same program that ask for the same registered identity. A
/// process can invent any number of identities, so all identities that are not registered count as one.
type Askers = (Option<Box<str>>, Option<SpiffeId>);

/// Which messages were logged already.
#[derive(Default)]
pub(crate) struct Mismatches {
    said: Throttle<u32, Askers>,
}

impl Mismatches {
    /// Logs that no agent's selectors match this caller: once a minute for each user, program and identity.
    pub(crate) async fn tell(
        &self,
        caller: &Caller,
        attested: &AttestedProcess,
        entitlements: &Entitlements,
        asked: Option<&SpiffeId>,
    ) {
        let program = attested.selectors().iter().find_map(path);
        let askers = (program.map(Into::into), asked.filter(|asked| entitlements.names(asked)).cloned());
        let Some(left_out) = self.said.admits(caller.uid(), askers, Instant::now()) else { return };
        let nearest = entitlements.nearest(attested.selectors(), asked, MOST);
        let missing = nearest.iter().flat_map(|near| &near.missing).find_map(|selector| path(selector));
        let (seen, missing, none) =
            (program.map(str::to_owned), missing.map(str::to_owned), nearest.is_empty());
        let look = move || hint(seen.as_deref(), own_program().as_deref(), missing.as_deref(), none);
        let hint = caller.looks().look(caller.uid(), look).await;
        tracing::warn!(
            pid = caller.pid(),
            uid = caller.uid(),
            asked = asked.map_or("any", SpiffeId::as_str),
            seen = attested.texts().join(" "),
            nearest = wanted(&nearest),
            agents = entitlements.len(),
            hint = hint.unwrap_or_else(|why| why.to_string()),
            left_out,
            "no agent's selectors match a process that asks for an identity"
        );
    }
}

fn path(selector: &Selector) -> Option<&str> {
    if let Selector::Unix(UnixSelector::Path(path)) = selector { Some(path.as_str()) } else { None }
}

fn own_program() -> Option<PathBuf> {
    fs::read_link("/proc/self/exe").ok()
}

fn wanted(nearest: &[Near<'_>]) -> String {
    let one = |near: &Near<'_>| {
        let missing: Vec<String> = near.missing.iter().map(std::string::ToString::to_string).collect();
        format!("{} also wants {}", near.spiffe_id, missing.join(" "))
    };
    if nearest.is_empty() {
        "none".to_owned()
    } else {
        nearest.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// What to do about it, if that is known: by the program of the process, that of this node, the path that the
/// nearest agent requires, and whether no agent is near. Blocks.
fn hint(program: Option<&str>, own: Option<&Path>, wanted: Option<&str>, none_is_near: bool) -> String {
    let Some(program) = program else {
        return "this node cannot see the process's program: only a node of root's sees those of other users, and only programs that are at the same path in the node's file system".to_owned();
    };
    if let Some(wanted) = wanted {
        if fs::canonicalize(wanted).is_ok_and(|real| real == Path::new(program)) {
            return format!(
                "{wanted} leads to {program} by a symbolic link, and the kernel reports the program itself: write unix:path:{program}"
            );
        }
        if own == Some(Path::new(program)) {
            return "the process that asks is the `mandate` command, not the program that started it: let the agent's own program ask with a SPIFFE library, or write unix:path with the path of `mandate` and a user of the agent's own".to_owned();
        }
        if !Path::new(wanted).exists() {
            return format!(
                "there is no {wanted} on this machine; the program of a script is its interpreter"
            );
        }
    }
    if none_is_near {
        return "no agent is registered with anything that was seen: compare `mandate get agents`".to_owned();
    }
    "compare `mandate get agents`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Mismatches, hint, wanted};
    use crate::caller::{AttestedProcess, Caller};
    use crate::entitlement::{Entitlements, Near};
    use crate::looks::Looks;
    use mandate_api::proto::node::Entitlement;
    use mandate_core::{Selector, SpiffeId};
    use std::path::Path;
    use std::time::Instant;
    use tokio::net::UnixStream;

    #[test]
    fn what_is_missing_is_named_with_its_identity() {
        let id: SpiffeId = "spiffe://acme.example/agent/a".parse().unwrap();
        let selector: Selector = "unix:path:/opt/a".parse().unwrap();
        assert_eq!(
            wanted(&[Near { spiffe_id: &id, missing: vec![&selector] }]),
            "spiffe://acme.example/agent/a also wants unix:path:/opt/a"
        );
        assert_eq!(wanted(&[]), "none");
    }

    #[test]
    fn a_symbolic_link_is_told_with_the_program_that_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (program, link) = (dir.path().join("python3.11"), dir.path().join("python3"));
        std::fs::write(&program, "").unwrap();
        std::os::unix::fs::symlink(&program, &link).unwrap();
        let program = std::fs::canonicalize(program).unwrap();
        let said = hint(program.to_str(), None, link.to_str(), false);
        assert!(said.ends_with(&format!("write unix:path:{}", program.display())), "{said}");
    }

    #[test]
    fn the_command_line_is_told_apart_from_the_agent_that_starts_it() {
        let own = Path::new("/usr/local/bin/mandate");
        assert!(
            hint(own.to_str(), Some(own), Some("/opt/agent"), false)
                .contains("the `mandate` command, not the program that started it")
        );
        assert!(hint(Some("/bin/sh"), Some(own), Some("/nowhere/agent"), false).contains("its interpreter"));
        assert!(hint(None, Some(own), Some("/opt/agent"), false).contains("only a node of root's"));
        assert!(hint(Some("/bin/sh"), None, None, true).contains("anything that was seen"));
    }

    #[tokio::test]
    async fn a_process_that_invents_identities_hides_the_help_for_no_agent() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (caller, attested) =
            (Caller::of(&ours, &Looks::default()).unwrap(), AttestedProcess::of_this_process(1000));
        let registered = "spiffe://acme.example/agent/a";
        let entry = Entitlement {
            spiffe_id: registered.into(),
            selectors: vec!["unix:path:/opt/a".into()],
            name: "a".into(),
        };
        let entitlements = Entitlements::new(vec![entry], &"acme.example".parse().unwrap());
        let mismatches = Mismatches::default();
        for n in 0..1_000 {
            let invented = format!("spiffe://acme.example/agent/invented-{n}").parse().unwrap();
            mismatches.tell(&caller, &attested, &entitlements, Some(&invented)).await;
        }
        let now = Instant::now();
        let askers = (None, Some(registered.parse().unwrap()));
        assert_eq!(
            mismatches.said.admits(caller.uid(), askers, now),
            Some(0),
            "of the same user and program"
        );
        assert_eq!(mismatches.said.admits(caller.uid() + 1, (None, None), now), Some(0));
        assert_eq!(
            mismatches.said.admits(caller.uid(), (None, None), now),
            None,
            "what was invented was told as one thing"
        );
    }
}
