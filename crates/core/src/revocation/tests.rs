//! Which tokens are below which cuts.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Cut, CutTarget, RevocationSet, TokenFacts};
use crate::lifetimes::CLOCK_SKEW;
use crate::{Actor, ActorChain, ClientId, Entropy, Lineage, Subject, Timestamp, TokenId};

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// A token of Riley's through `app`, with two agents, ancestors and a grant.
struct Token {
    jti: TokenId,
    iat: Timestamp,
    subject: Subject,
    client: ClientId,
    chain: ActorChain,
    lineage: Lineage,
    groups: Vec<crate::GroupName>,
}

impl Token {
    fn with(jti: TokenId, iat: Timestamp) -> Self {
        let iss: crate::Issuer = "https://m.example".parse().unwrap();
        let actor = |sub: &str| Actor { sub: sub.into(), iss: iss.clone(), sub_profile: None };
        Self {
            jti,
            iat,
            chain: ActorChain::new(vec![actor("spiffe://td/c"), actor("spiffe://td/b")]).unwrap(),
            subject: Subject { iss, sub: "riley".into() },
            client: "app".parse().unwrap(),
            lineage: Lineage {
                parents: vec!["p1".parse().unwrap(), "p2".parse().unwrap()],
                grants: vec!["g1".parse().unwrap()],
                clients: vec!["desk".parse().unwrap(), "portal".parse().unwrap()],
            },
            groups: vec!["staff".parse().unwrap()],
        }
    }

    /// One of ours, issued in that millisecond.
    fn ours(millis: u64) -> Self {
        let at = Timestamp::from_millis(millis);
        Self::with(TokenId::generate(at, &Zeros), Timestamp::from_secs(at.secs()))
    }

    fn is_below(&self, set: &RevocationSet) -> bool {
        self.is_below_of(set, "https://m.example")
    }

    /// As issued by `iss`, checked against the cuts of `m.example`.
    fn is_below_of(&self, set: &RevocationSet, iss: &str) -> bool {
        let Self { jti, iat, subject, client, chain, lineage, groups } = self;
        let (ours, iss) = ("https://m.example".parse().unwrap(), iss.parse().unwrap());
        set.find(&TokenFacts {
            ours: &ours,
            iss: &iss,
            jti,
            iat: *iat,
            subject: Some(subject),
            client,
            chain,
            lineage,
            groups,
        })
        .is_some()
    }
}

fn cut(target: CutTarget, millis: u64) -> Cut {
    let at = Timestamp::from_millis(millis);
    Cut { target, at, forget: at.plus(std::time::Duration::from_secs(900)) }
}

fn only(cut: Cut) -> RevocationSet {
    let mut set = RevocationSet::new();
    set.insert(cut);
    set
}

fn timed(token: &Token) -> Vec<CutTarget> {
    vec![
        CutTarget::Grant("g1".parse().unwrap()),
        CutTarget::Agent("spiffe://td/b".into()),
        CutTarget::Person(token.subject.clone()),
        CutTarget::Client("app".parse().unwrap()),
        CutTarget::Client("portal".parse().unwrap()),
        CutTarget::Group("staff".parse().unwrap()),
    ]
}

#[test]
fn each_kind_of_cut_refuses_its_descendants_and_nothing_else() {
    let token = Token::ours(100_000);
    let own = token.jti.clone();
    let hits =
        timed(&token).into_iter().chain([CutTarget::Token(own), CutTarget::Token("p2".parse().unwrap())]);
    for target in hits {
        assert!(token.is_below(&only(cut(target.clone(), 100_000))), "{target:?}");
    }
    let other = Subject { sub: "sam".into(), ..token.subject.clone() };
    for target in [
        CutTarget::Token("p3".parse().unwrap()),
        CutTarget::Grant("g2".parse().unwrap()),
        CutTarget::Agent("spiffe://td/x".into()),
        CutTarget::Person(other),
        CutTarget::Client("other".parse().unwrap()),
        CutTarget::Group("sales".parse().unwrap()),
    ] {
        assert!(!token.is_below(&only(cut(target.clone(), 100_000))), "{target:?}");
    }
}

#[test]
fn a_cut_reaches_up_to_its_millisecond_and_spares_what_is_issued_in_the_next() {
    for target in timed(&Token::ours(0)) {
        let set = only(cut(target.clone(), 100_400));
        for (issued, below) in
            [(99_999, true), (100_399, true), (100_400, true), (100_401, false), (101_000, false)]
        {
            assert_eq!(Token::ours(issued).is_below(&set), below, "{target:?} {issued}");
        }
    }
}

#[test]
fn a_token_by_its_id_is_cut_whenever_it_was_issued() {
    let token = Token::ours(200_000);
    assert!(token.is_below(&only(cut(CutTarget::Token(token.jti.clone()), 100_000))));
    assert!(token.is_below(&only(cut(CutTarget::Token("p1".parse().unwrap()), 100_000))));
}

#[test]
fn a_token_of_another_issuer_is_given_the_difference_of_clocks() {
    let set = only(cut(CutTarget::Person(Token::ours(0).subject), 1_000_900));
    let room = CLOCK_SKEW.as_secs();
    for (iat, below) in [(1000, true), (1000 + room, true), (1001 + room, false)] {
        let foreign = Token::with("f.8Zr9".parse().unwrap(), Timestamp::from_secs(iat));
        assert_eq!(foreign.is_below(&set), below, "{iat}");
    }
    // An id of our form that does not fit `iat` proves no millisecond.
    let other = TokenId::generate(Timestamp::from_secs(2000), &Zeros);
    assert!(Token::with(other, Timestamp::from_secs(1001)).is_below(&set));
    // Nor does another version of UUID.
    let random = "0000000f-4628-4000-8000-000000000000".parse().unwrap();
    assert!(Token::with(random, Timestamp::from_secs(1001)).is_below(&set));
}

#[test]
fn a_cut_on_an_agent_or_client_of_ours_means_nobody_of_that_name_elsewhere() {
    let agent = only(cut(CutTarget::Agent("spiffe://td/b".into()), 100_000));
    let mut token = Token::ours(100_000);
    assert!(token.is_below(&agent));
    let abroad: crate::Issuer = "https://login.example".parse().unwrap();
    token.chain =
        ActorChain::new(vec![Actor { sub: "spiffe://td/b".into(), iss: abroad, sub_profile: None }]).unwrap();
    assert!(!token.is_below(&agent), "an actor that another issuer names so");
    let client = only(cut(CutTarget::Client("app".parse().unwrap()), 100_000));
    assert!(token.is_below(&client));
    assert!(!token.is_below_of(&client, "https://login.example"), "the client of another issuer");
}

#[test]
fn an_older_cut_never_weakens_a_later_one_and_both_are_forgotten_in_time() {
    let target = CutTarget::Agent("spiffe://td/b".into());
    let mut set = only(cut(target.clone(), 100_000));
    set.insert(cut(target, 50_000));
    assert!(Token::ours(100_000).is_below(&set));
    assert!(!Token::ours(100_001).is_below(&set));
    set.forget_before(Timestamp::from_secs(999));
    assert!(Token::ours(100_000).is_below(&set));
    set.forget_before(Timestamp::from_secs(1001));
    assert!(set.is_empty());
}

#[test]
fn after_a_restart_a_cut_reaches_up_to_the_restart_and_no_further() {
    for target in timed(&Token::ours(0)) {
        let set = RevocationSet::restored([cut(target.clone(), 100_000)], Timestamp::from_millis(100_250));
        for (issued, below) in [(100_000, true), (100_250, true), (100_251, false)] {
            assert_eq!(Token::ours(issued).is_below(&set), below, "{target:?} {issued}");
        }
    }
    let later = cut(CutTarget::Client("app".parse().unwrap()), 100_400);
    assert!(
        Token::ours(100_400).is_below(&RevocationSet::restored([later], Timestamp::from_millis(100_250))),
        "never earlier"
    );
}

#[test]
fn what_happened_before_a_cut_is_told_from_what_happened_after() {
    let target = CutTarget::Client("app".parse().unwrap());
    let set = only(cut(target.clone(), 100_400));
    assert!(set.has_cut_since(&target, Timestamp::from_millis(100_400)));
    assert!(!set.has_cut_since(&target, Timestamp::from_millis(100_401)));
    assert!(!set.has_cut_since(&CutTarget::Client("other".parse().unwrap()), Timestamp::from_millis(0)));
}

/// What happens to a set: a cut, or the time until which cuts are forgotten. Few targets, so that they meet.
fn event() -> impl Strategy<Value = Result<Cut, u64>> {
    let target = (0..4_u8, 0..12_u8).prop_map(|(kind, n)| match kind {
        0 => CutTarget::Grant(format!("g{n}").parse().unwrap()),
        1 => CutTarget::Agent(format!("spiffe://td/{n}")),
        2 => CutTarget::Client(format!("c{n}").parse().unwrap()),
        _ => CutTarget::Token(format!("t{n}").parse().unwrap()),
    });
    let cut = (target, 0..5_000_u64, 0..5_000_u64).prop_map(|(target, at, forget)| Cut {
        target,
        at: Timestamp::from_millis(at),
        forget: Timestamp::from_millis(forget),
    });
    prop_oneof![4 => cut.prop_map(Ok), 1 => (0..5_000_u64).prop_map(Err)]
}

proptest! {
    /// A snapshot shares its content with the next one. It must not see what the next one was told.
    #[test]
    fn every_snapshot_keeps_the_cuts_of_its_time(events in prop::collection::vec(event(), 0..120)) {
        let (mut set, mut expected) = (RevocationSet::new(), HashMap::<CutTarget, Cut>::new());
        let mut snapshots = Vec::new();
        for event in events {
            snapshots.push((set.clone(), expected.clone()));
            match event {
                Ok(cut) => {
                    set.insert(cut.clone());
                    let known = expected.entry(cut.target.clone()).or_insert_with(|| cut.clone());
                    (known.at, known.forget) = (known.at.max(cut.at), known.forget.max(cut.forget));
                }
                Err(now) => {
                    set.forget_before(Timestamp::from_millis(now));
                    expected.retain(|_, cut| cut.forget > Timestamp::from_millis(now));
                }
            }
        }
        snapshots.push((set, expected));
        for (set, expected) in snapshots {
            prop_assert_eq!(set.len(), expected.len());
            prop_assert_eq!(set.is_empty(), expected.is_empty());
            let all: HashMap<CutTarget, Cut> = set.iter().map(|cut| (cut.target.clone(), cut.clone())).collect();
            for (target, cut) in &expected {
                prop_assert_eq!(set.get(target), Some(cut));
            }
            prop_assert_eq!(all, expected);
        }
    }
}
