//! What limits the scopes and the time, one limit at a time.

use mandate_core::{MeterId, Reservation};

use super::*;

type Narrow = fn(&mut Case, &str);

const BOUNDS: [(&str, Narrow); 4] = [
    ("subject", |c, text| c.subject.terms.scopes = scopes(text)),
    ("person", |c, text| c.person(|p| p.may[0].scopes = scopes(text))),
    ("ceiling", |c, text| c.agent("support-agent", |a| a.ceiling[0].scopes = scopes(text))),
    ("grant", |c, text| c.grant(|g| g.scopes = scopes(text))),
];

#[test]
fn each_bound_holds_by_itself_whatever_policy_says() {
    for (name, set) in BOUNDS {
        let mut case = Case::new();
        set(&mut case, "read:cases");
        let registry = &case.registry;
        let bounds = crate::decide::bounds(
            &scopes("read:cases write:case_comments"),
            &case.subject,
            None,
            registry.person(&"riley".parse().unwrap()).unwrap(),
            registry.agent(&"support-agent".parse().unwrap()).unwrap(),
            registry.resource(&"crm".parse().unwrap()).unwrap(),
            registry.grant(&"g1".parse().unwrap()).unwrap(),
        );
        let left = crate::decide::intersect(bounds);
        assert_eq!(left, Ok(scopes("read:cases")), "{name}");
    }
}

#[test]
fn each_bound_alone_takes_away_what_it_lacks() {
    let all = "read:cases write:case_comments";
    for (name, set) in BOUNDS {
        for scope in all.split(' ') {
            let view = permits(|c| {
                set(c, scope);
                c.scopes = None;
            });
            assert_eq!(view.terms.scopes, scopes(scope), "{name}");
        }
    }
}

#[test]
fn a_right_or_ceiling_on_another_resource_gives_nothing_here() {
    refuses(R::ScopeBeyondPerson, |c| {
        c.person(|p| p.may = vec![allow("helpdesk", "read:cases write:case_comments")]);
    });
    refuses(R::ScopeBeyondCeiling, |c| {
        c.agent("support-agent", |a| a.ceiling = vec![allow("helpdesk", "read:cases write:case_comments")]);
    });
    let two = permits(|c| {
        c.person(|p| p.may = vec![allow("crm", "read:cases"), allow("crm", "write:case_comments")]);
    });
    assert_eq!(
        two.terms.scopes,
        scopes("read:cases write:case_comments"),
        "two permissions on one resource add up"
    );
}

#[test]
fn a_policy_takes_away_a_part_and_leaves_exactly_the_rest() {
    for source in [
        r#"forbid (principal is Agent, action == Action::"act", resource) when { context.scope == "write:case_comments" };"#,
        r#"forbid (principal is Person, action == Action::"delegate", resource) when { context.scope == "write:case_comments" };"#,
    ] {
        assert_eq!(permits(|c| c.extra_policy = Some(source)).terms.scopes, scopes("read:cases"), "{source}");
    }
}

#[test]
fn policy_is_told_the_client_the_depth_the_grant_and_the_time() {
    let chained = |c: &mut Case| c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap();
    for condition in [
        "context.depth == 2",
        r#"context.client == "spiffe://acme.example/agent/support-agent""#,
        "context.now == 1800000000",
        r#"context.agent.granted.contains("write:case_comments")"#,
    ] {
        let source = format!(
            r#"forbid (principal is Agent, action == Action::"act", resource) when {{ context has agent && {condition} }};"#
        );
        let mut case = Case::new();
        chained(&mut case);
        case.extra_policy = Some(&*source.leak());
        assert_eq!(case.run(), Err(R::PolicyDeniesAgent), "{condition}");
    }
}

#[test]
fn of_several_grants_the_one_that_covers_the_most_of_those_in_force_is_used() {
    let also = |c: &mut Case, more: Grant| c.registry.put(Entry::Grant(more));
    let narrow = || grant("g0", "support-agent", "crm", "read:cases");
    let wide = || grant("g2", "support-agent", "crm", "read:cases write:case_comments write:opportunities");
    let used = |view: MandateView| view.terms.lineage.grants[0].as_str().to_owned();
    assert_eq!(used(permits(|c| also(c, narrow()))), "g1");
    assert_eq!(used(permits(|c| also(c, wide()))), "g1", "more than is wanted is no more");
    let wider = permits(|c| {
        also(c, wide());
        c.grant(|g| g.scopes = scopes("read:cases"));
    });
    assert_eq!(used(wider), "g2");
    for spoil in [
        (|g: &mut Grant| g.revoked = true) as fn(&mut Grant),
        |g| g.expires = Some(NOW),
        |g| g.max_uses = Some(0),
        |g| g.agent = "triage".parse().unwrap(),
        |g| g.resource = "helpdesk".parse().unwrap(),
        |g| g.person = "sam".parse().unwrap(),
    ] {
        let view = permits(|c| {
            also(c, narrow());
            c.grant(spoil);
        });
        assert_eq!((used(view.clone()).as_str(), &view.terms.scopes), ("g0", &scopes("read:cases")));
    }
}

#[test]
fn a_mandate_takes_one_use_of_a_limited_grant_and_nothing_of_another() {
    let view = permits(|c| c.grant(|g| g.max_uses = Some(7)));
    let meter = MeterId::GrantUses("g1".parse().unwrap());
    assert_eq!(view.reservations, [Reservation { meter, amount: 1, limit: 7 }]);
    assert_eq!(permits(|_| {}).reservations, []);
}

#[test]
fn a_mandate_that_no_token_can_carry_is_refused() {
    let long: Vec<String> = (0..200).map(|n| format!("s{n}:{}", "x".repeat(80))).collect();
    let (all, few) = (long.join(" "), long[..100].join(" "));
    let everywhere = |case: &mut Case, asked: Option<&str>| {
        case.registry.put(Entry::Resource(resource("crm", CRM, &all, None)));
        case.person(|person| person.may = vec![allow("crm", &all)]);
        case.agent("support-agent", |agent| agent.ceiling = vec![allow("crm", &all)]);
        case.grant(|grant| grant.scopes = scopes(&all));
        case.subject.terms.scopes = scopes(&all);
        case.scopes = asked.map(scopes);
    };
    refuses(R::TooMuchForOneToken, |case| everywhere(case, None));
    refuses(R::TooMuchForOneToken, |case| everywhere(case, Some(&all)));
    assert_eq!(permits(|case| everywhere(case, Some(&few))).terms.scopes.len(), 100);
}

#[test]
fn an_app_is_given_only_scopes_that_its_entry_lists() {
    let by_app = |c: &mut Case, listed: Option<&str>| {
        c.by_app(&["support-agent"]);
        c.registry
            .put(Entry::Client(Client { scopes: listed.map(scopes), ..support_app(&["support-agent"]) }));
        c.actor = Some(verified("support-agent"));
        c.scopes = None;
    };
    assert_eq!(permits(|c| by_app(c, None)).terms.scopes, scopes("read:cases write:case_comments"));
    assert_eq!(permits(|c| by_app(c, Some("read:cases send:mail"))).terms.scopes, scopes("read:cases"));
    refuses(R::ScopeBeyondClient, |c| by_app(c, Some("read:elsewhere")));
    refuses(R::ScopeBeyondClient, |c| by_app(c, Some("")));
    refuses(R::NothingInCommon, |c| {
        by_app(c, Some("write:case_comments write:opportunities"));
        c.scopes = Some(scopes("read:cases write:opportunities"));
    });
}

#[test]
fn a_refusal_of_scopes_says_what_each_party_allows() {
    let mut case = Case::new();
    case.scopes = None;
    case.subject.terms.scopes = scopes("write:opportunities");
    let Err(Withheld::Refusal(refusal)) = case.decided() else { panic!("not refused") };
    let bounds = refusal.bounds.unwrap();
    assert_eq!(refusal.reason, R::NothingInCommon);
    assert_eq!(bounds.subject, Some(scopes("write:opportunities")));
    assert_eq!(bounds.person, Some(scopes("read:cases write:case_comments write:opportunities")));
    assert_eq!(bounds.ceiling, Some(scopes("read:cases write:case_comments")));
    assert_eq!(bounds.grant, Some(scopes("read:cases write:case_comments")));
    assert_eq!(bounds.client, None, "an agent has no entry as a client");
}

#[test]
fn expiry_never_grows() {
    let soon = NOW.plus(Duration::from_secs(42));
    assert_eq!(permits(|c| c.subject.terms.expires = soon).terms.expires, soon);
    assert_eq!(permits(|c| c.grant(|g| g.expires = Some(soon))).terms.expires, soon);
    let minute = NOW.plus(Duration::from_secs(60));
    assert_eq!(permits(|c| c.grant(|g| g.constraints = within(60))).terms.expires, minute);
    assert_eq!(
        permits(|c| c.agent("support-agent", |a| a.ceiling[0].constraints = within(60))).terms.expires,
        minute
    );
    assert_eq!(permits(|c| c.person(|p| p.may[0].constraints = within(60))).terms.expires, minute);
    let usual = NOW.plus(Duration::from_secs(300));
    assert_eq!(
        permits(|c| c.agent("support-agent", |a| a.ceiling[1].constraints = within(60))).terms.expires,
        usual,
        "of another resource"
    );
    assert_eq!(
        permits(|c| c.person(|p| p.may[1].constraints = within(60))).terms.expires,
        usual,
        "of another resource"
    );
    assert_eq!(
        permits(|c| c.person(|p| p.may[0].constraints = within(900))).terms.expires,
        usual,
        "a right gives no time"
    );
    assert_eq!(
        permits(|c| c.grant(|g| g.constraints = within(600))).terms.expires,
        NOW.plus(Duration::from_secs(600))
    );
    assert_eq!(
        permits(|c| c.grant(|g| g.constraints = within(86_400))).terms.expires,
        NOW.plus(Duration::from_secs(900)),
        "15 minutes at most"
    );
    let two = permits(|c| {
        c.agent("support-agent", |a| {
            a.ceiling[0].constraints = within(90);
            a.ceiling.push(Permission { constraints: within(60), ..allow("crm", "send:mail") });
        });
    });
    assert_eq!(two.terms.expires, minute, "two permissions on a resource limit together");
    refuses(R::NoLifetime, |c| c.grant(|g| g.expires = Some(Timestamp::from_millis(NOW.millis() + 500))));
}
