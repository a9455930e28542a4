//! `mandate agent suspend` and `mandate agent activate`

use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, RegistryItem};
use mandate_core::registry::{AgentState, Kind};
use serde::Serialize;

use crate::arguments::Agent;
use crate::failure::Failure;
use crate::screen::Screen;

#[derive(Serialize)]
struct Done<'a> {
    agent: &'a str,
    state: AgentState,
    changed: bool,
}

pub(crate) fn run(arguments: &Agent, screen: &Screen) -> Result<(), Failure> {
    let (target, state) = match arguments {
        Agent::Suspend(target) => (target, AgentState::Suspended),
        Agent::Activate(target) => (target, AgentState::Active),
    };
    let name = target.name.as_str();
    let answer = target.connection.open()?.call(async |client| {
        let mut item = client.entry(Kind::Agent, name).await?.item;
        if let RegistryItem::Agent(agent) = &mut item {
            agent.state = Some(state);
        }
        client.apply(&ApplyRequest { entries: RegistryFile::from_items([item]), prune: false, dry_run: false }).await
    })?;
    let done = Done { agent: name, state, changed: !answer.changes.is_empty() };
    let again = if done.changed { "now" } else { "already" };
    screen.show(&done, || format!("{name} is {again} {}.", state.as_str()))
}
