//! Which changes of the registry need which cut.

mod groups;
mod proofs;
mod tenants;

use std::collections::BTreeMap;
use std::time::Duration;

use mandate_core::constraint::Constraints;
use mandate_core::registry::{
    Agent, AgentState, AssertionAudience, Client, ClientAuthentication, Entry, Grant, Permission, Person,
    Policy, Resource, SubjectScope, TokenProfile, TrustedIssuer,
};
use mandate_core::{CutTarget, Issuer, Lifetime, ScopeSet, Timestamp};

use super::{CUT_MEMORY, cuts_for_change, only_takes};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn permission(resource: &str, scopes: &str) -> Permission {
    Permission {
        resource: resource.parse().unwrap(),
        scopes: scopes.parse().unwrap(),
        constraints: Constraints::default(),
    }
}

fn within(mins: u64) -> Constraints {
    Constraints { lifetime: Some(Lifetime(Duration::from_mins(mins))) }
}

fn agent() -> Agent {
    Agent {
        name: "helper".parse().unwrap(),
        owner: "riley".parse().unwrap(),
        purpose: "Helps".into(),
        spiffe_id: "spiffe://acme.example/agent/helper".parse().unwrap(),
        selectors: vec!["unix:uid:1".parse().unwrap()],
        proofs: Vec::new(),
        ceiling: vec![permission("crm", "read write"), permission("mail", "send")],
        may: Vec::new(),
        chain_depth: 3,
        state: AgentState::Active,
        tenant: None,
    }
}

fn person() -> Person {
    let id = mandate_core::Subject { iss: "https://m.example".parse().unwrap(), sub: "riley".into() };
    Person {
        name: "riley".parse().unwrap(),
        id,
        may: vec![permission("crm", "read write"), permission("mail", "send")],
        disabled: false,
        tenant: None,
    }
}

fn grant() -> Grant {
    Grant {
        id: "g1".parse().unwrap(),
        person: "riley".parse().unwrap(),
        agent: "helper".parse().unwrap(),
        resource: "crm".parse().unwrap(),
        scopes: "read write".parse().unwrap(),
        constraints: Constraints::default(),
        expires: None,
        max_uses: Some(9),
        span: None,
        revoked: false,
    }
}

fn client() -> Client {
    Client {
        id: "app".parse().unwrap(),
        redirect_uris: vec!["https://app.example/cb".into()],
        authentication: ClientAuthentication::PrivateKeyJwt {
            jwks: "{\"keys\":[1]}".into(),
            audience: AssertionAudience::Issuer,
        },
        agents: vec!["helper".parse().unwrap(), "other".parse().unwrap()],
        scopes: Some("read:cases mandate:admin".parse().unwrap()),
        refresh: true,
        require_pushed_authorization_requests: false,
        device: true,
        tenant: None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "its callers make the values on the spot")]
#[track_caller]
fn cuts(old: Entry, new: Option<Entry>, expected: Option<CutTarget>) {
    let cuts = cuts_for_change(&old, new.as_ref(), NOW);
    let targets: Vec<&CutTarget> = cuts.iter().map(|cut| &cut.target).collect();
    assert_eq!(targets, expected.iter().collect::<Vec<_>>());
    assert!(cuts.iter().all(|cut| cut.at == NOW && cut.forget == NOW.plus(CUT_MEMORY)));
}

/// Checks each change of `old`, and its removal. `cutting`: what takes something away; `sparing`: what does
/// not.
#[track_caller]
fn changes<T: Clone>(
    old: &T,
    entry: fn(T) -> Entry,
    target: &CutTarget,
    cutting: &[fn(&mut T)],
    sparing: &[fn(&mut T)],
) {
    let changed = |change: &fn(&mut T)| {
        let mut new = old.clone();
        change(&mut new);
        Some(entry(new))
    };
    for change in cutting {
        cuts(entry(old.clone()), changed(change), Some(target.clone()));
    }
    for change in sparing {
        cuts(entry(old.clone()), changed(change), None);
    }
    cuts(entry(old.clone()), None, Some(target.clone()));
    cuts(entry(old.clone()), Some(entry(old.clone())), None);
}

#[test]
fn an_agent_that_is_stopped_or_narrowed_is_cut() {
    let target = CutTarget::Agent("spiffe://acme.example/agent/helper".into());
    changes(
        &agent(),
        Entry::Agent,
        &target,
        &[
            |a| a.state = AgentState::Suspended,
            |a| a.state = AgentState::Contained,
            |a| a.state = AgentState::Retired,
            |a| a.ceiling[0].scopes = "read".parse().unwrap(),
            |a| drop(a.ceiling.pop()),
            |a| a.ceiling[0].resource = "mail".parse().unwrap(),
            |a| a.ceiling[0].constraints = within(1),
            |a| a.chain_depth = 2,
            |a| a.spiffe_id = "spiffe://acme.example/agent/helper-2".parse().unwrap(),
        ],
        &[
            |a| a.ceiling[0].scopes = "read write delete".parse().unwrap(),
            |a| a.ceiling.push(permission("wiki", "read")),
            |a| {
                a.ceiling =
                    vec![permission("mail", "send"), permission("crm", "read"), permission("crm", "write")];
            },
            |a| a.chain_depth = 4,
            |a| a.purpose = "Helps more".into(),
            |a| a.owner = "sam".parse().unwrap(),
            |a| a.selectors.clear(),
        ],
    );
    let stopped = Agent { state: AgentState::Suspended, ..agent() };
    let still = Agent { state: AgentState::Retired, ..agent() };
    cuts(Entry::Agent(stopped.clone()), Some(Entry::Agent(still)), None);
    cuts(Entry::Agent(stopped), Some(Entry::Agent(agent())), None);
}

#[test]
fn a_person_who_is_disabled_or_narrowed_is_cut() {
    let target = CutTarget::Person(person().id);
    changes(
        &person(),
        Entry::Person,
        &target,
        &[
            |p| p.disabled = true,
            |p| p.may[0].scopes = "write".parse().unwrap(),
            |p| drop(p.may.remove(0)),
            |p| p.may[0].constraints = within(30),
            |p| p.id.sub = "riley-2".into(),
        ],
        &[
            |p| p.may[0].scopes = "read write delete".parse().unwrap(),
            |p| p.may.push(permission("wiki", "read")),
            |p| p.may[0].constraints = within(60),
            |p| p.may[0].constraints = within(600),
        ],
    );
}

#[test]
fn a_grant_that_is_revoked_narrowed_or_brought_to_an_earlier_end_is_cut() {
    let target = CutTarget::Grant("g1".parse().unwrap());
    changes(
        &grant(),
        Entry::Grant,
        &target,
        &[
            |g| g.revoked = true,
            |g| g.scopes = "read".parse().unwrap(),
            |g| g.person = "sam".parse().unwrap(),
            |g| g.agent = "other".parse().unwrap(),
            |g| g.resource = "mail".parse().unwrap(),
            |g| g.constraints = within(1),
            |g| g.expires = Some(NOW.plus(Duration::from_mins(14))),
            |g| g.expires = Some(NOW.minus(Duration::from_mins(1))),
        ],
        &[
            |g| g.scopes = "read write delete".parse().unwrap(),
            |g| g.constraints = within(15),
            |g| g.max_uses = None,
            |g| g.max_uses = Some(1),
            // No mandate lives to see this end.
            |g| g.expires = Some(NOW.plus(Duration::from_mins(15))),
        ],
    );
    let ending = |mins| Entry::Grant(Grant { expires: Some(NOW.plus(Duration::from_mins(mins))), ..grant() });
    cuts(ending(10), Some(ending(5)), Some(target));
    cuts(ending(10), Some(ending(12)), None);
    cuts(ending(10), Some(Entry::Grant(grant())), None);
    cuts(ending(100), Some(ending(50)), None);
    let revoked = Entry::Grant(Grant { revoked: true, ..grant() });
    cuts(revoked.clone(), Some(revoked), None);
}

#[test]
fn a_lifetime_is_shorter_only_if_something_that_is_out_may_outlive_it() {
    let limited = |constraints: Constraints| Entry::Grant(Grant { constraints, ..grant() });
    let none = Constraints::default;
    for (old, new, shorter) in [
        (within(10), within(5), true),
        (within(5), within(10), false),
        (within(60), within(30), false),
        (within(60), within(14), true),
        // Without a limit of its own, it is five minutes; or what the ceiling says, at most fifteen.
        (within(10), none(), true),
        (within(5), none(), false),
        (none(), within(10), true),
        (none(), none(), false),
    ] {
        cuts(
            limited(old.clone()),
            Some(limited(new.clone())),
            shorter.then(|| CutTarget::Grant("g1".parse().unwrap())),
        );
    }
}

#[test]
fn a_client_that_loses_an_agent_or_a_scope_or_changes_its_credential_is_cut() {
    let target = CutTarget::Client("app".parse().unwrap());
    changes(
        &client(),
        Entry::Client,
        &target,
        &[
            |c| drop(c.agents.pop()),
            |c| c.agents.clear(),
            |c| c.agents[0] = "third".parse().unwrap(),
            |c| c.authentication = ClientAuthentication::None,
            |c| {
                c.authentication = ClientAuthentication::PrivateKeyJwt {
                    jwks: "{\"keys\":[2]}".into(),
                    audience: AssertionAudience::Issuer,
                };
            },
            |c| c.scopes = Some("mandate:admin".parse().unwrap()),
            |c| c.scopes = Some("read:cases other".parse().unwrap()),
            |c| c.scopes = None, // Without a list there is no administration.
            |c| c.refresh = false,
            |c| c.device = false,
        ],
        &[
            |c| c.agents.push("third".parse().unwrap()),
            |c| c.agents.reverse(),
            |c| c.redirect_uris.clear(),
            |c| c.scopes = Some("mandate:admin other read:cases".parse().unwrap()),
        ],
    );
    let unlimited = Client { scopes: None, ..client() };
    changes(
        &unlimited,
        Entry::Client,
        &target,
        &[|c| c.scopes = Some("read:cases".parse().unwrap())],
        &[|c| c.agents.reverse()],
    );
    let without = Client { refresh: false, device: false, ..client() };
    let more: [fn(&mut Client); 3] =
        [|c| c.refresh = true, |c| c.device = true, |c| c.require_pushed_authorization_requests = true];
    changes(&without, Entry::Client, &target, &[|c| c.agents.clear()], &more);
    let limited = Client { scopes: Some("read:cases".parse().unwrap()), ..client() };
    changes(
        &limited,
        Entry::Client,
        &target,
        &[|c| c.scopes = Some("other".parse().unwrap())],
        &[|c| c.scopes = None],
    );
}

#[test]
fn resources_issuers_and_policies_cut_nothing() {
    let (name, uri) = ("crm".parse().unwrap(), "https://crm.example".parse().unwrap());
    let resource = Resource {
        name,
        uri,
        scopes: ScopeSet::new(),
        tools: Vec::new(),
        agent: None,
        client: None,
        unattested: ScopeSet::new(),
        tenant: None,
    };
    let url: Issuer = "https://login.example".parse().unwrap();
    let issuer = TrustedIssuer {
        url,
        audience: "x".into(),
        subject_scope: SubjectScope::Token,
        other_audiences: Vec::new(),
        ca: None,
        proxy: None,
        profile: TokenProfile::Rfc9068,
        required_claims: BTreeMap::new(),
        login: None,
        events_audience: None,
        groups_claim: None,
        tenant_claim: None,
        tenant: None,
        id_tokens: Vec::new(),
        introspection: None,
        oldest_actor_first: false,
    };
    let policy = Policy { name: "p".parse().unwrap(), source: String::new() };
    for entry in [Entry::Resource(resource), Entry::Issuer(issuer), Entry::Policy(policy)] {
        cuts(entry, None, None);
    }
}

fn takes(old: &Entry, new: &Entry) -> bool {
    only_takes(old, Some(new), false)
}

#[test]
fn what_leaves_less_of_an_agent_only_takes_and_its_opposite_does_not() {
    let lesser: [fn(&mut Agent); 6] = [
        |a| a.state = AgentState::Suspended,
        |a| a.state = AgentState::Contained,
        |a| a.state = AgentState::Retired,
        |a| a.ceiling = vec![permission("crm", "read")],
        |a| a.ceiling.clear(),
        |a| a.chain_depth = 1,
    ];
    for change in lesser {
        let (all, mut less) = (Entry::Agent(agent()), agent());
        change(&mut less);
        let less = Entry::Agent(less);
        assert!(takes(&all, &less) && !takes(&less, &all), "{less:?}");
    }
    let others: [fn(&mut Agent); 7] = [
        |a| a.ceiling.push(permission("wiki", "read")),
        |a| a.ceiling = vec![permission("crm", "read send")],
        |a| a.ceiling[0].constraints = within(1),
        |a| a.selectors.push("unix:gid:1".parse().unwrap()),
        |a| a.spiffe_id = "spiffe://acme.example/agent/other".parse().unwrap(),
        |a| a.owner = "casey".parse().unwrap(),
        |a| {
            a.state = AgentState::Suspended;
            a.chain_depth = 4;
        },
    ];
    for change in others {
        let mut other = agent();
        change(&mut other);
        assert!(!takes(&Entry::Agent(agent()), &Entry::Agent(other.clone())), "{other:?}");
    }
    let order = [AgentState::Active, AgentState::Suspended, AgentState::Contained, AgentState::Retired];
    for (at, old) in order.into_iter().enumerate() {
        for (to, new) in order.into_iter().enumerate() {
            let of = |state| Entry::Agent(Agent { state, ..agent() });
            assert_eq!(takes(&of(old), &of(new)), to >= at, "{old:?} {new:?}");
        }
    }
}

#[test]
fn of_two_limits_on_one_resource_neither_can_be_dropped() {
    let twice = vec![
        permission("crm", "read"),
        Permission { constraints: within(1), ..permission("crm", "write") },
        permission("mail", "send"),
    ];
    let old = Entry::Agent(Agent { ceiling: twice.clone(), ..agent() });
    let without = |at: usize| {
        let mut ceiling = twice.clone();
        ceiling.remove(at);
        Entry::Agent(Agent { ceiling, ..agent() })
    };
    assert!(takes(&old, &without(0)), "the limit of a minute stays");
    assert!(!takes(&old, &without(1)), "reading would be without a limit");
    assert!(takes(&old, &without(2)));
}

#[test]
fn what_leaves_less_of_a_person_a_grant_or_a_client_only_takes_and_its_opposite_does_not() {
    let person_with = |change: fn(&mut Person)| {
        let mut less = person();
        change(&mut less);
        (Entry::Person(person()), Entry::Person(less))
    };
    let grant_with = |change: fn(&mut Grant)| {
        let mut less = grant();
        change(&mut less);
        (Entry::Grant(grant()), Entry::Grant(less))
    };
    let client_with = |change: fn(&mut Client)| {
        let mut less = client();
        change(&mut less);
        (Entry::Client(client()), Entry::Client(less))
    };
    for (all, less) in [
        person_with(|p| p.disabled = true),
        person_with(|p| p.may = vec![permission("mail", "send")]),
        grant_with(|g| g.revoked = true),
        grant_with(|g| g.scopes = "read".parse().unwrap()),
        grant_with(|g| g.expires = Some(NOW)),
        grant_with(|g| g.max_uses = Some(8)),
        client_with(|c| c.agents.clear()),
        client_with(|c| c.scopes = Some("read:cases".parse().unwrap())),
    ] {
        assert!(takes(&all, &less) && !takes(&less, &all), "{less:?}");
    }
    for (old, new) in [
        grant_with(|g| g.resource = "mail".parse().unwrap()),
        grant_with(|g| g.constraints = within(1)),
        client_with(|c| c.redirect_uris.clear()),
        client_with(|c| c.authentication = ClientAuthentication::None),
    ] {
        assert!(!takes(&old, &new), "{new:?}");
    }
    // Without a list, a client may ask for everything but the admin scope.
    let listing = |scopes: Option<&str>| {
        Entry::Client(Client { scopes: scopes.map(|s| s.parse().unwrap()), ..client() })
    };
    assert!(takes(&listing(None), &listing(Some("read:cases"))));
    assert!(!takes(&listing(None), &listing(Some("read:cases mandate:admin"))));
    assert!(!takes(&listing(Some("read:cases")), &listing(None)));
}

#[test]
fn removing_takes_but_for_a_policy_which_may_forbid() {
    for entry in
        [Entry::Agent(agent()), Entry::Person(person()), Entry::Grant(grant()), Entry::Client(client())]
    {
        assert!(only_takes(&entry, None, true));
    }
    let policy = Entry::Policy(Policy {
        name: "p".parse().unwrap(),
        source: "forbid (principal, action, resource);".into(),
    });
    assert!(!only_takes(&policy, None, true));
    assert!(!takes(&policy, &policy), "not even unchanged: nothing is known of what it says");
}

/// `forbid … when { principal.ceiling.contains("mail") }`: an agent that loses the right is permitted
/// something else.
#[test]
fn beside_policies_that_may_read_rights_fewer_rights_are_no_stop_and_states_still_are() {
    let agent_with = |change: fn(&mut Agent)| {
        let mut less = agent();
        change(&mut less);
        only_takes(&Entry::Agent(agent()), Some(&Entry::Agent(less)), true)
    };
    assert!(agent_with(|a| a.state = AgentState::Suspended));
    assert!(!agent_with(|a| a.ceiling.clear()));
    assert!(!agent_with(|a| a.chain_depth = 1));
    assert!(!agent_with(|a| {
        a.state = AgentState::Suspended;
        a.ceiling.clear();
    }));
    let person_with = |less: Person| only_takes(&Entry::Person(person()), Some(&Entry::Person(less)), true);
    assert!(person_with(Person { disabled: true, ..person() }));
    assert!(!person_with(Person { may: Vec::new(), ..person() }));
    let grant_with = |less: Grant| only_takes(&Entry::Grant(grant()), Some(&Entry::Grant(less)), true);
    assert!(grant_with(Grant { revoked: true, ..grant() }));
    assert!(!grant_with(Grant { scopes: "read".parse().unwrap(), ..grant() }));
    assert!(!only_takes(
        &Entry::Client(client()),
        Some(&Entry::Client(Client { agents: Vec::new(), ..client() })),
        true
    ));
}

/// Each of `from`, `to` and `now` is one of `all`.
fn narrowings(all: &[Entry]) {
    let mut narrowed = 0;
    for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (from, to))) {
        if !only_takes(from, Some(to), false) {
            continue;
        }
        assert_eq!(from.clone().narrowed(from, to), *to);
        for now in all {
            let after = now.clone().narrowed(from, to);
            assert!(
                only_takes(now, Some(&after), false),
                "{now:?}\nfrom {from:?}\nto {to:?}\ngave {after:?}"
            );
            assert_eq!(
                after.clone().narrowed(from, to),
                after,
                "twice is once: {now:?}\nfrom {from:?}\nto {to:?}"
            );
            narrowed += usize::from(after != *now);
        }
    }
    assert!(narrowed > all.len(), "{narrowed}");
}

#[test]
fn a_narrowing_of_what_was_changed_meanwhile_gives_nothing_and_is_itself_where_nothing_was() {
    let lists = || {
        let scopes = ["read", "write", "read write"];
        let one = scopes.iter().map(|scopes| vec![permission("crm", scopes)]);
        let two = scopes.iter().map(|scopes| vec![permission("crm", scopes), permission("mail", "send")]);
        let limited = scopes.iter().map(|scopes| {
            vec![
                Permission { constraints: within(5), ..permission("crm", scopes) },
                permission("crm", "read"),
            ]
        });
        one.chain(two).chain(limited).chain([Vec::new()]).collect::<Vec<_>>()
    };
    let states = [(AgentState::Active, 3), (AgentState::Suspended, 1), (AgentState::Retired, 2)];
    let agents = lists().into_iter().flat_map(|ceiling| {
        states.map(|(state, chain_depth)| {
            Entry::Agent(Agent { ceiling: ceiling.clone(), state, chain_depth, ..agent() })
        })
    });
    narrowings(&agents.collect::<Vec<_>>());
    let by_themselves = lists().into_iter().map(|may| Entry::Agent(Agent { may, ..agent() }));
    narrowings(&by_themselves.collect::<Vec<_>>());
    let people = lists().into_iter().flat_map(|may| {
        [true, false].map(|disabled| Entry::Person(Person { may: may.clone(), disabled, ..person() }))
    });
    narrowings(&people.collect::<Vec<_>>());
    let ends = [
        (None, None),
        (Some(NOW), None),
        (Some(NOW.plus(Duration::from_mins(1))), Some(Lifetime(Duration::from_mins(1)))),
    ];
    let grants = ["read", "write", "read write"].into_iter().flat_map(|scopes| {
        ends.into_iter().flat_map(move |(expires, span)| {
            [(None, false), (Some(1), true), (Some(2), false)].map(|(max_uses, revoked)| {
                Entry::Grant(Grant {
                    scopes: scopes.parse().unwrap(),
                    expires,
                    span,
                    max_uses,
                    revoked,
                    ..grant()
                })
            })
        })
    });
    narrowings(&grants.collect::<Vec<_>>());
    let asks = [None, Some(""), Some("read:cases"), Some("write:cases"), Some("read:cases mandate:admin")];
    let agents = [&[][..], &["helper"], &["other"], &["helper", "other"]];
    let asks = asks.into_iter().flat_map(|scopes| {
        [(scopes, false, false), (scopes, true, false), (scopes, false, true), (scopes, true, true)]
    });
    let clients = asks.flat_map(|(scopes, refresh, device)| {
        let scopes = scopes
            .map(|text| text.split_whitespace().map(|scope| scope.parse().unwrap()).collect::<ScopeSet>());
        agents.map(|agents| {
            Entry::Client(Client {
                scopes: scopes.clone(),
                agents: agents.iter().map(|name| name.parse().unwrap()).collect(),
                refresh,
                device,
                ..client()
            })
        })
    });
    narrowings(&clients.collect::<Vec<_>>());
}

#[test]
fn a_change_that_came_between_stays_apart_from_what_the_narrowing_takes() {
    let from = agent();
    let to = Agent { ceiling: vec![permission("crm", "read")], chain_depth: 1, ..agent() };
    let now = Agent {
        purpose: "Helps more".into(),
        ceiling: vec![permission("crm", "read write list"), permission("mail", "send")],
        ..agent()
    };
    let after = Agent { ceiling: vec![permission("crm", "read list")], chain_depth: 1, ..now.clone() };
    assert_eq!(Entry::Agent(now).narrowed(&Entry::Agent(from), &Entry::Agent(to)), Entry::Agent(after));
}

#[test]
fn an_agent_that_may_do_less_by_itself_is_cut_and_one_that_may_do_more_is_not() {
    let of = |may: Vec<Permission>| Entry::Agent(Agent { may, ..agent() });
    let (none, some) = (of(Vec::new()), of(vec![permission("crm", "read")]));
    let more = of(vec![permission("crm", "read write")]);
    let short = of(vec![Permission { constraints: within(1), ..permission("crm", "read") }]);
    for (from, to, cut) in [
        (&none, &some, false),
        (&some, &more, false),
        (&more, &some, true),
        (&some, &none, true),
        (&some, &short, true),
        (&some, &some, false),
    ] {
        assert_eq!(cuts_for_change(from, Some(to), NOW).len(), usize::from(cut), "{from:?} {to:?}");
        assert_eq!(only_takes(from, Some(to), false), from == to || (cut && to != &short), "{from:?} {to:?}");
    }
}
