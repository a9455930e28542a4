use std::fmt::{Debug, Write as _};

use mandate_core::NodeState;
use mandate_core::registry::AgentState;

use super::{
    AgentAct, ClientAct, ClientState, GrantAct, GrantState, NodeAct, PersonAct, PersonState, StateMachine,
    StateRefusal,
};

const AGENTS: [AgentState; 4] =
    [AgentState::Active, AgentState::Suspended, AgentState::Contained, AgentState::Retired];
const ON_AGENTS: [AgentAct; 6] = [
    AgentAct::Suspend,
    AgentAct::Contain,
    AgentAct::Release,
    AgentAct::Activate,
    AgentAct::Retire,
    AgentAct::Remove,
];

/// Acts that give nothing.
const TAKING: [AgentAct; 4] = [AgentAct::Suspend, AgentAct::Contain, AgentAct::Retire, AgentAct::Remove];

fn rows<S: StateMachine + Debug>(table: &mut String, kind: &str, states: &[S], acts: &[S::Act])
where
    S::Act: Debug,
{
    for state in states {
        for act in acts {
            let (state, act, after) = (format!("{state:?}"), format!("{act:?}"), state.after(*act));
            let after = match after {
                Ok(Some(after)) => format!("{after:?}"),
                Ok(None) => "gone".to_owned(),
                Err(refusal) => format!("refused: {refusal:?}"),
            };
            writeln!(table, "{kind:8}{state:16}{act:12}{after}").unwrap();
        }
    }
}

#[test]
fn the_whole_table_is_the_committed_one() {
    let mut table = format!("{:8}{:16}{:12}{}\n", "kind", "state", "act", "after");
    rows(&mut table, "agent", &AGENTS, &ON_AGENTS);
    rows(
        &mut table,
        "person",
        &[PersonState::Active, PersonState::Disabled],
        &[PersonAct::Disable, PersonAct::Enable, PersonAct::Remove],
    );
    rows(
        &mut table,
        "grant",
        &[GrantState::Open, GrantState::Revoked],
        &[GrantAct::Revoke, GrantAct::Restore, GrantAct::Remove],
    );
    let clients = [ClientState::WithoutSecret, ClientState::SecretMissing, ClientState::SecretSet];
    rows(&mut table, "client", &clients, &[ClientAct::SetSecret, ClientAct::Remove]);
    rows(&mut table, "node", &[NodeState::Joined, NodeState::Banned], &[NodeAct::Ban]);
    let committed = include_str!("../../states.txt");
    assert_eq!(table, committed, "if this is meant, states.txt must become:\n{table}");
}

#[test]
fn no_sequence_of_acts_revives_a_retired_agent_or_a_revoked_grant() {
    for act in ON_AGENTS {
        let after = AgentState::Retired.after(act);
        assert!(
            matches!(after, Ok(Some(AgentState::Retired)) | Err(StateRefusal::Retired)),
            "{act:?}: {after:?}"
        );
    }
    for act in [GrantAct::Revoke, GrantAct::Restore, GrantAct::Remove] {
        let after = GrantState::Revoked.after(act);
        assert!(
            matches!(after, Ok(Some(GrantState::Revoked)) | Err(StateRefusal::Revoked)),
            "{act:?}: {after:?}"
        );
    }
}

#[test]
fn a_contained_agent_acts_again_only_after_a_release_and_an_activation() {
    let mut open = vec![vec![AgentState::Contained]];
    // Every sequence of up to four acts.
    for _ in 0..4 {
        let longer = open.iter().flat_map(|path| {
            let last = *path.last().unwrap();
            ON_AGENTS
                .into_iter()
                .filter_map(move |act| Some([path.clone(), vec![last.after(act).ok()??]].concat()))
        });
        open = longer.collect();
        for path in open.iter().filter(|path| path.contains(&AgentState::Active)) {
            let before = path.iter().position(|state| *state == AgentState::Active).unwrap() - 1;
            assert_eq!(path[before], AgentState::Suspended, "{path:?}");
        }
    }
    assert_eq!(AgentState::Contained.after(AgentAct::Release), Ok(Some(AgentState::Suspended)));
}

#[test]
fn an_act_that_takes_never_brings_an_agent_nearer_to_acting() {
    for state in AGENTS {
        for act in TAKING {
            if let Ok(Some(after)) = state.after(act) {
                assert!(after >= state, "{state:?} {act:?}");
            }
        }
    }
}

#[test]
fn a_wished_state_is_reached_or_refused() {
    for state in AGENTS {
        for wish in AGENTS {
            if let Ok(after) = state.after(AgentAct::towards(wish)) {
                assert_eq!(after, Some(wish), "{state:?}");
            }
        }
        assert_eq!(
            state.after(AgentAct::towards(state)),
            Ok(Some(state)),
            "what is declared again changes nothing"
        );
    }
}
