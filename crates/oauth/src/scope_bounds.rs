//! Refused scopes in words: everything for the record, and for the caller as much as it may know.

use std::fmt::Write as _;

use mandate_core::ScopeSet;
use mandate_delegation::ScopeBounds;

/// The most bytes of one set that are written out.
const MAX_SHOWN: usize = 256;

/// Every set, as it is: for the record.
pub(crate) fn whole(bounds: &ScopeBounds) -> String {
    written(bounds, "person", ScopeSet::clone)
}

/// The sets that an authenticated client may know: what it asked for, what the token that it holds has, what
/// its own entry, its agent's ceiling and the grant to its agent allow. Of the person's rights, it may know
/// only those within ceiling or grant: other rights of the person do not concern the agent.
pub(crate) fn for_client(bounds: &ScopeBounds) -> String {
    let of_agent =
        bounds.ceiling.clone().unwrap_or_default().union(&bounds.grant.clone().unwrap_or_default());
    written(bounds, "person, of what ceiling or grant name", |person| person.intersection(&of_agent))
}

fn written(bounds: &ScopeBounds, of_person: &str, person: impl Fn(&ScopeSet) -> ScopeSet) -> String {
    let person = bounds.person.as_ref().map(person);
    let parties = [
        ("resource", bounds.resource.as_ref()),
        ("subject token", bounds.subject.as_ref()),
        ("client", bounds.client.as_ref()),
        (of_person, person.as_ref()),
        ("on its own behalf", bounds.own.as_ref()),
        ("ceiling", bounds.ceiling.as_ref()),
        ("ceiling of the proof", bounds.proof.as_ref()),
        ("grant", bounds.grant.as_ref()),
    ];
    let mut text = format!("asked: {}", shown(&bounds.asked));
    for (party, set) in parties.into_iter().filter_map(|(party, set)| Some((party, set?))) {
        // Writing to a String cannot fail.
        let _ = write!(text, "; {party}: {}", shown(set));
    }
    text
}

/// A set as text, shortened if it is long. Scopes have no character that an `error_description` may not have
/// (RFC 6749 §3.3, §5.2).
fn shown(set: &ScopeSet) -> String {
    if set.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = String::new();
    for (at, scope) in set.iter().enumerate() {
        if text.len() + scope.as_str().len() > MAX_SHOWN {
            let _ = write!(text, " and {} more", set.len() - at);
            break;
        }
        if at > 0 {
            text.push(' ');
        }
        text.push_str(scope.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use mandate_core::ScopeSet;
    use mandate_delegation::ScopeBounds;

    use super::{for_client, shown, whole};

    fn set(text: &str) -> ScopeSet {
        text.parse().unwrap()
    }

    #[test]
    fn the_record_has_every_set_and_the_client_of_the_persons_only_what_concerns_its_agent() {
        let bounds = ScopeBounds {
            asked: set("a b c"),
            person: Some(set("a pay:salaries")),
            ceiling: Some(set("b")),
            grant: Some(set("a c")),
            ..ScopeBounds::default()
        };
        assert_eq!(whole(&bounds), "asked: a b c; person: a pay:salaries; ceiling: b; grant: a c");
        assert_eq!(
            for_client(&bounds),
            "asked: a b c; person, of what ceiling or grant name: a; ceiling: b; grant: a c"
        );
    }

    #[test]
    fn an_empty_set_is_nothing_and_a_long_one_is_cut() {
        assert_eq!(shown(&ScopeSet::new()), "nothing");
        let many: ScopeSet = (0..100).map(|n| format!("scope:{n:03}").parse().unwrap()).collect();
        let text = shown(&many);
        assert!(
            text.starts_with("scope:000 scope:001 ") && text.ends_with(" more") && text.len() < 300,
            "{text}"
        );
    }
}
