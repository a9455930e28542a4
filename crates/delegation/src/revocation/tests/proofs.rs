//! Changes of what proves an agent.

use mandate_core::CutTarget;
use mandate_core::registry::{Agent, AgentProof, Entry, Platform, PlatformProof};

use super::{agent, changes, takes};

fn proof_of(repository: &str) -> AgentProof {
    AgentProof::Platform(platform_proof_of(repository))
}

fn platform_proof_of(repository: &str) -> PlatformProof {
    let one = |name: &str, value: &str| (name.to_owned(), [value.to_owned()].into());
    let issuer = "https://token.actions.githubusercontent.com".parse().unwrap();
    let says = [one("repository_id", repository), one("repository_owner_id", "65")].into();
    PlatformProof::new(Platform::GithubActions, issuer, says)
}

fn platform(proof: &mut AgentProof) -> &mut PlatformProof {
    match proof {
        AgentProof::Platform(proof) => proof,
        AgentProof::Svid { svid } => panic!("{svid}"),
    }
}

#[test]
fn an_agent_that_loses_a_proof_or_has_another_one_is_cut() {
    let target = CutTarget::Agent("spiffe://acme.example/agent/helper".into());
    let proven = Agent { proofs: vec![proof_of("74"), proof_of("75")], ..agent() };
    changes(
        &proven,
        Entry::Agent,
        &target,
        &[
            |a| a.proofs.clear(),
            |a| drop(a.proofs.pop()),
            |a| a.proofs[0] = proof_of("76"),
            |a| platform(&mut a.proofs[0]).single_use = false,
            |a| platform(&mut a.proofs[1]).ceiling = Some(Vec::new()),
            |a| platform(&mut a.proofs[1]).audience = Some("x".into()),
            |a| platform(&mut a.proofs[1]).jwks = Some("{}".into()),
            |a| platform(&mut a.proofs[1]).ca = Some("pem".into()),
            |a| {
                let says = &mut platform(&mut a.proofs[0]).says;
                says.insert("ref".into(), ["refs/heads/main".into()].into());
            },
            |a| a.proofs[0] = AgentProof::Svid { svid: "spiffe://example.org/ci".parse().unwrap() },
        ],
        &[|a| a.proofs.push(proof_of("76")), |a| a.proofs.reverse()],
    );
}

#[test]
fn a_removed_proof_only_takes_and_a_changed_one_may_give() {
    let both = Agent { proofs: vec![proof_of("74"), proof_of("75")], ..agent() };
    let with = |proofs: Vec<AgentProof>| Entry::Agent(Agent { proofs, ..agent() });
    let all = Entry::Agent(both.clone());
    for less in [with(Vec::new()), with(vec![proof_of("75")])] {
        assert!(takes(&all, &less) && !takes(&less, &all), "{less:?}");
    }
    let changed = PlatformProof {
        says: [("ref".to_owned(), ["refs/x".to_owned()].into())].into(),
        ..platform_proof_of("74")
    };
    assert!(!takes(&all, &with(vec![AgentProof::Platform(changed)])));
    // Beside a change that came between, the removal takes what it was to take, and gives nothing.
    let now = with(vec![proof_of("74"), proof_of("75"), proof_of("77")]);
    let left = now.narrowed(&all, &with(vec![proof_of("75")]));
    assert_eq!(left, with(vec![proof_of("75"), proof_of("77")]));
    assert_eq!(with(Vec::new()).narrowed(&all, &with(vec![proof_of("75")])), with(Vec::new()));
}
