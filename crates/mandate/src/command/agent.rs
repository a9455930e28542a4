//! `mandate agent suspend` and `mandate agent activate`

use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, ApplyResponse, Recorded, RegistryItem};
use mandate_core::registry::{AgentState, Kind};
use serde::Serialize;

use super::recorded;
use crate::arguments::Agent;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::screen::Screen;

#[derive(Serialize)]
struct Done<'a> {
    agent: &'a str,
    state: AgentState,
    changed: bool,
    recorded: Recorded,
}

pub(crate) fn run(arguments: &Agent, screen: &Screen) -> Result<(), Failure> {
    let (target, state) = match arguments {
        Agent::Suspend(target) => (target, AgentState::Suspended),
        Agent::Activate(target) => (target, AgentState::Active),
    };
    let name = target.name.as_str();
    let answer = change_entry(&target.connection, Kind::Agent, name, |item| {
        if let RegistryItem::Agent(agent) = item {
            agent.state = Some(state);
        }
    })?;
    let done = Done { agent: name, state, changed: !answer.changes.is_empty(), recorded: answer.recorded };
    let again = if done.changed { "now" } else { "already" };
    screen.show(&done, || format!("{name} is {again} {}.", state.as_str()))?;
    recorded::report(answer.recorded, screen)
}

/// Changes one entry, and leaves the rest of it as it is.
pub(super) fn change_entry(
    connection: &Connection,
    kind: Kind,
    name: &str,
    change: impl Fn(&mut RegistryItem),
) -> Result<ApplyResponse, Failure> {
    connection.open()?.call(async |client| {
        let mut item = client.entry(kind, name).await?.item;
        change(&mut item);
        client.apply(&ApplyRequest { entries: RegistryFile::from_items([item]), prune: false, dry_run: false }).await
    })
}
