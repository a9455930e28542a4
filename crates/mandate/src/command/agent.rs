//! `mandate agent suspend`, `contain`, `release` and `activate`

use mandate_api::admin::{AgentStateRequest, Recorded};
use mandate_core::registry::AgentState;
use serde::Serialize;

use super::recorded;
use crate::arguments::AgentCommand;
use crate::failure::Failure;
use crate::screen::Screen;

#[derive(Serialize)]
struct Done<'a> {
    agent: &'a str,
    state: AgentState,
    changed: bool,
    recorded: Recorded,
}

pub(crate) fn run(arguments: &AgentCommand, screen: &Screen) -> Result<(), Failure> {
    let (target, state) = match arguments {
        // What is released is suspended.
        AgentCommand::Suspend(target) | AgentCommand::Release(target) => (target, AgentState::Suspended),
        AgentCommand::Contain(target) => (target, AgentState::Contained),
        AgentCommand::Activate(target) => (target, AgentState::Active),
    };
    let name = target.name.as_str();
    let admin = target.connection.open()?;
    let answer = match arguments {
        AgentCommand::Release(_) => admin.call(async |client| client.release_agent(name).await)?,
        AgentCommand::Suspend(_) | AgentCommand::Contain(_) | AgentCommand::Activate(_) => {
            admin.call(async |client| client.set_agent_state(name, &AgentStateRequest { state }).await)?
        }
    };
    let done = Done { agent: name, state, changed: !answer.changes.is_empty(), recorded: answer.recorded };
    let again = if done.changed { "now" } else { "already" };
    let shown = screen.show(&done, || format!("{name} is {again} {}.", state.as_str()));
    recorded::report(answer.recorded, screen, shown)
}
