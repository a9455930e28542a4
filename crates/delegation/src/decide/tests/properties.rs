//! The invariants of `decide`, over everything that may vary.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::groups::{group, naming_groups};
use super::*;

const WORDS: [&str; 4] = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"];
const CASES: u32 = 768;

/// What policies may take away: the text and the one scope.
const POLICIES: [(&str, &str); 3] = [
    (
        r#"forbid (principal is Agent, action == Action::"act", resource) when { context.scope == "send:mail" };"#,
        "send:mail",
    ),
    (
        r#"forbid (principal is Person, action == Action::"delegate", resource) when { context.scope == "read:cases" };"#,
        "read:cases",
    ),
    ("permit (principal, action, resource);", ""),
];

/// Everything that bounds a mandate.
#[derive(Clone, Debug)]
struct Bounds {
    subject: BTreeSet<&'static str>,
    may: BTreeSet<&'static str>,
    ceiling: BTreeSet<&'static str>,
    granted: BTreeSet<&'static str>,
    asked: Option<BTreeSet<&'static str>>,
    origin: Option<SubjectScope>,
    /// It is an ID token of that issuer.
    id_token: bool,
    /// It is an opaque access token of that issuer.
    opaque: bool,
    at_helpdesk: bool,
    policy: Option<(&'static str, &'static str)>,
    actors: Vec<&'static str>,
    depth: u8,
    subject_left: u64,
    grant_left: Option<u64>,
    may_limit: Option<u64>,
    ceiling_limit: Option<u64>,
    grant_limit: Option<u64>,
    groups: Vec<OfGroup>,
}

/// A group: what it gives, whether the token names it, and whether the registry has it.
type OfGroup = (BTreeSet<&'static str>, bool, bool);

fn some_words(least: usize) -> impl Strategy<Value = BTreeSet<&'static str>> {
    proptest::sample::subsequence(WORDS.to_vec(), least..=4).prop_map(|list| list.into_iter().collect())
}

/// Mostly all scopes of a core that the others have too, so that they have something in common; sometimes any
/// scopes.
fn around(core: &BTreeSet<&'static str>) -> impl Strategy<Value = BTreeSet<&'static str>> + use<> {
    let core = core.clone();
    prop_oneof![9 => some_words(0).prop_map(move |more| &core | &more), 1 => some_words(0)]
}

fn seconds() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(1u64..5000)
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let scopes = some_words(1).prop_flat_map(|core| {
        (
            around(&core),
            around(&core),
            around(&core),
            around(&core),
            proptest::option::of(prop_oneof![4 => Just(core), 1 => some_words(0)]),
        )
    });
    let origin = (
        prop_oneof![Just(None), Just(Some(SubjectScope::Token)), Just(Some(SubjectScope::IdentityOnly))],
        0u8..3,
    );
    let policy = proptest::option::of(proptest::sample::select(&POLICIES[..]));
    let actors = proptest::sample::subsequence(vec!["triage", "third", "fourth", "support-agent"], 0..=3)
        .prop_shuffle();
    let depth = prop_oneof![3 => Just(4u8), 1 => 1u8..5];
    let limits = (1u64..5000, seconds(), seconds(), seconds(), seconds());
    let group = (
        some_words(0),
        prop_oneof![3 => Just(true), 1 => Just(false)],
        prop_oneof![3 => Just(true), 1 => Just(false)],
    );
    let groups = proptest::collection::vec(group, 0..3);
    (scopes, origin, any::<bool>(), policy, (actors, depth), limits, groups).prop_map(
        |(
            (subject, may, ceiling, granted, asked),
            (origin, kind),
            at_helpdesk,
            policy,
            (actors, depth),
            limits,
            groups,
        )| {
            let (subject_left, grant_left, may_limit, ceiling_limit, grant_limit) = limits;
            Bounds {
                subject,
                may,
                ceiling,
                granted,
                asked,
                origin,
                id_token: kind == 1 && origin.is_some(),
                opaque: kind == 2 && origin.is_some(),
                at_helpdesk,
                policy,
                actors,
                depth,
                subject_left,
                grant_left,
                may_limit,
                ceiling_limit,
                grant_limit,
                groups,
            }
        },
    )
}

fn set(words: &BTreeSet<&'static str>) -> ScopeSet {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn limit(secs: Option<u64>) -> Constraints {
    secs.map_or_else(Constraints::default, within)
}

impl Bounds {
    /// An actor that is in the chain already: ours in a token of ours, theirs in a token of theirs.
    fn actor(&self, name: &str) -> Actor {
        if self.origin.is_none() {
            act(name)
        } else {
            Actor { sub: name.into(), iss: LOGIN.parse().unwrap(), sub_profile: None }
        }
    }

    fn chain(&self) -> ActorChain {
        ActorChain::new(self.actors.iter().map(|name| self.actor(name)).collect()).unwrap()
    }

    fn target(&self) -> (&'static str, &'static str) {
        if self.at_helpdesk { ("helpdesk", HELPDESK) } else { ("crm", CRM) }
    }

    fn case(&self) -> Case {
        let mut case = Case::new();
        let (name, uri) = self.target();
        case.registry.put(Entry::Resource(resource(name, uri, &WORDS.join(" "), None)));
        if let Some(subject_scope) = self.origin {
            case.foreign(subject_scope);
        }
        if self.id_token {
            case.identified();
        }
        if let Some(subject_scope) = self.origin.filter(|_| self.opaque) {
            case.opaque(subject_scope);
        }
        self.name_groups(&mut case, name);
        case.subject.terms.scopes = set(&self.subject);
        case.subject.terms.chain = self.chain();
        case.subject.terms.expires = NOW.plus(Duration::from_secs(self.subject_left));
        let on_target = |words: &BTreeSet<&'static str>, limit| Permission {
            resource: name.parse().unwrap(),
            scopes: set(words),
            constraints: limit,
        };
        case.person(|p| p.may = vec![on_target(&self.may, limit(self.may_limit))]);
        case.agent("support-agent", |a| {
            a.ceiling = vec![on_target(&self.ceiling, limit(self.ceiling_limit))];
            a.chain_depth = self.depth;
        });
        case.registry.remove(mandate_core::registry::EntryKind::Grant, "g1");
        let mut granted = grant("g1", "support-agent", name, "read:cases");
        granted.scopes = set(&self.granted);
        granted.constraints = limit(self.grant_limit);
        granted.expires = self.grant_left.map(|secs| NOW.plus(Duration::from_secs(secs)));
        case.registry.put(Entry::Grant(granted));
        case.extra_policy = self.policy.map(|(source, _)| source);
        case.resource = uri.into();
        case.scopes = self.asked.as_ref().map(set);
        case
    }

    /// The person is one of another issuer, whose tokens name groups.
    fn name_groups(&self, case: &mut Case, resource: &str) {
        if self.groups.is_empty() {
            return;
        }
        let groups_claim = naming_groups().groups_claim;
        match &mut case.subject.origin {
            SubjectOrigin::Foreign(issuer, _) => {
                *issuer = Arc::new(TrustedIssuer { groups_claim, ..(**issuer).clone() });
                case.registry.put(Entry::Issuer((**issuer).clone()));
            }
            SubjectOrigin::Own => case.registry.put(Entry::Issuer(naming_groups())),
        }
        case.subject.terms.subject.as_mut().unwrap().iss = LOGIN.parse().unwrap();
        case.person(|p| p.id.iss = LOGIN.parse().unwrap());
        for (at, (gives, named, registered)) in self.groups.iter().enumerate() {
            let name = format!("g{at}");
            if *registered {
                let may = Permission { scopes: set(gives), ..allow(resource, "") };
                case.registry.put(group(&name, LOGIN, vec![may]));
            }
            if *named && self.origin.is_some() {
                case.subject.mapped.groups.push(format!("id-of-{name}"));
            } else if *named {
                case.subject.terms.groups.push(name.parse().unwrap());
            }
        }
    }

    /// The groups that count, with what they give.
    fn counted(&self) -> impl Iterator<Item = (usize, &BTreeSet<&'static str>)> {
        let counts = |(_, (_, named, registered)): &(usize, &OfGroup)| *named && *registered;
        self.groups.iter().enumerate().filter(counts).map(|(at, (gives, ..))| (at, gives))
    }

    /// The intersection of everything that bounds scopes.
    fn scopes(&self) -> BTreeSet<&'static str> {
        let may = self.counted().fold(self.may.clone(), |may, (_, gives)| &may | gives);
        let mut all = &(&may & &self.ceiling) & &self.granted;
        if self.origin != Some(SubjectScope::IdentityOnly) && !self.id_token {
            all = &all & &self.subject;
        }
        if let Some(asked) = &self.asked {
            all = &all & asked;
        }
        all.retain(|word| self.policy.is_none_or(|(_, taken)| taken != *word));
        all
    }

    /// The least of everything that bounds time, in seconds.
    fn seconds(&self) -> u64 {
        let given = [self.ceiling_limit, self.grant_limit].into_iter().flatten().min().unwrap_or(300);
        [Some(given), Some(900), self.may_limit, self.grant_left, Some(self.subject_left)]
            .into_iter()
            .flatten()
            .min()
            .unwrap()
    }
}

fn is_bounded(bounds: &Bounds, permits: &Cell<u32>) -> Result<(), TestCaseError> {
    let case = bounds.case();
    let Ok(view) = case.run() else { return Ok(()) };
    permits.set(permits.get() + 1);
    prop_assert!(!view.terms.scopes.is_empty());
    prop_assert_eq!(&view.terms.scopes, &set(&bounds.scopes()));
    let counted: Vec<String> = bounds.counted().map(|(at, _)| format!("g{at}")).collect();
    prop_assert_eq!(view.terms.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), counted);
    prop_assert!(
        view.terms.issuer != case.subject.terms.issuer
            || view.terms.groups.iter().all(|group| case.subject.terms.groups.contains(group)),
        "the groups never grow"
    );
    prop_assert_eq!(view.terms.expires, NOW.plus(Duration::from_secs(bounds.seconds())));
    prop_assert_eq!(&view.terms.subject, &case.subject.terms.subject);
    prop_assert_eq!(view.terms.audience.sole().unwrap(), bounds.target().1);
    prop_assert!(view.terms.chain.depth() <= usize::from(bounds.depth));
    prop_assert_eq!(&view.terms.chain.outermost().unwrap().sub, &act("support-agent").sub);
    // The chain only grows, at the outside.
    let before = bounds.chain();
    let inherited: Vec<&str> = view
        .terms
        .chain
        .iter()
        .skip(view.terms.chain.depth() - before.depth())
        .map(|a| a.sub.as_str())
        .collect();
    prop_assert_eq!(inherited, before.iter().map(|a| a.sub.as_str()).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_mandate_is_the_intersection_of_all_that_it_rests_on_and_never_more() {
    let permits = Cell::new(0);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    runner.run(&bounds(), |bounds| is_bounded(&bounds, &permits)).unwrap();
    // A property that is hardly ever reached proves nothing.
    assert!(permits.get() > CASES / 4, "{} of {CASES} were permitted", permits.get());
}
