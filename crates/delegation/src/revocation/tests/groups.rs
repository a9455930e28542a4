//! Changes of groups.

use mandate_core::registry::Group;

use super::*;

fn group() -> Group {
    Group {
        name: "support".parse().unwrap(),
        issuer: "https://login.example".parse().unwrap(),
        id: "7".into(),
        may: vec![permission("crm", "read write"), permission("mail", "send")],
    }
}

#[test]
fn a_group_that_gives_less_or_becomes_another_is_cut() {
    changes(
        &group(),
        Entry::Group,
        &CutTarget::Group("support".parse().unwrap()),
        &[
            |g| g.may.clear(),
            |g| g.may[0].scopes = "read".parse().unwrap(),
            |g| g.may[0].constraints = within(5),
            |g| g.id = "8".into(),
            |g| g.issuer = "https://other.example".parse().unwrap(),
        ],
        &[|g| g.may[0].scopes = "read write list".parse().unwrap(), |g| g.may.push(permission("desk", "x"))],
    );
}

#[test]
fn only_what_leaves_its_members_less_takes() {
    let with = |change: fn(&mut Group)| {
        let mut new = group();
        change(&mut new);
        Entry::Group(new)
    };
    let old = Entry::Group(group());
    for less in [with(|g| g.may.clear()), with(|g| g.may[0].scopes = "read".parse().unwrap())] {
        assert!(takes(&old, &less) && !takes(&less, &old));
        assert!(!only_takes(&old, Some(&less), true), "a policy may read the rights");
    }
    for other in [with(|g| g.id = "8".into()), with(|g| g.issuer = "https://other.example".parse().unwrap())]
    {
        assert!(!takes(&old, &other), "other people are its members");
    }
    assert!(only_takes(&old, None, false));
    assert!(!only_takes(&old, None, true), "a policy may forbid something to its members");
}

#[test]
fn a_narrowing_of_a_group_that_was_changed_meanwhile_gives_nothing() {
    let lists = ["read", "write", "read write"].into_iter().flat_map(|scopes| {
        [vec![permission("crm", scopes)], vec![permission("crm", scopes), permission("mail", "send")]]
    });
    let all = lists.chain([Vec::new()]).map(|may| Entry::Group(Group { may, ..group() }));
    narrowings(&all.collect::<Vec<_>>());
}
