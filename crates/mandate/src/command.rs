//! One module for each command, or for each group of them.

mod agent;
mod apply;
mod audit;
mod audit_verify;
mod backup;
mod demo;
mod describe;
mod doctor;
mod get;
mod issuer;
mod login;
mod node;
mod person;
mod recorded;
mod revoke;
mod serve;
pub(crate) mod since;
mod status;
pub(crate) mod svid;
mod token;

use crate::arguments::{self, Command};
use crate::failure::Failure;
use crate::name_completion;
use crate::screen::Screen;

/// Runs a command to its end.
pub(crate) fn run(command: Command, screen: &Screen) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => serve::run(arguments, screen),
        Command::Node(arguments::NodeCommand::JoinToken(arguments)) => node::join_token(&arguments, screen),
        Command::Node(arguments::NodeCommand::Run(arguments)) => node::run(arguments, screen),
        Command::Node(arguments::NodeCommand::List(arguments)) => node::list(&arguments, screen),
        Command::Node(arguments::NodeCommand::Ban(arguments)) => node::ban(&arguments, screen),
        Command::Svid(arguments::Svid::Fetch(arguments)) => svid::fetch(&arguments, screen),
        Command::Apply(arguments) => apply::run(&arguments, screen),
        Command::Get(arguments) => get::run(&arguments, screen),
        Command::Describe(arguments) => describe::run(&arguments, screen),
        Command::Person(arguments::PersonCommand::SetPassword(arguments)) => {
            person::set_password(&arguments, screen)
        }
        Command::Person(arguments::PersonCommand::Disable(arguments)) => {
            person::set_disabled(&arguments, true, screen)
        }
        Command::Person(arguments::PersonCommand::Enable(arguments)) => {
            person::set_disabled(&arguments, false, screen)
        }
        Command::Client(arguments::ClientCommand::SetSecret(arguments)) => {
            person::set_client_secret(&arguments, screen)
        }
        Command::Issuer(arguments::IssuerCommand::Test(arguments)) => issuer::test(&arguments, screen),
        Command::Issuer(arguments::IssuerCommand::Add(arguments)) => issuer::add(&arguments, screen),
        Command::Agent(arguments) => agent::run(&arguments, screen),
        Command::Audit(arguments::Audit::Query(arguments)) => audit::query(&arguments, screen),
        Command::Audit(arguments::Audit::Show(arguments)) => audit::show(&arguments, screen),
        Command::Audit(arguments::Audit::Verify(arguments)) => audit_verify::run(&arguments, screen),
        Command::Audit(arguments::Audit::Checkpoint(arguments)) => {
            audit_verify::checkpoint(&arguments, screen)
        }
        Command::Audit(arguments::Audit::Export(arguments)) => audit::export(&arguments, screen),
        Command::Revoke(arguments) => revoke::run(&arguments, screen),
        Command::Login(arguments) => login::run(&arguments, screen),
        Command::Token(arguments::Token::Show(arguments)) => token::run(&arguments, screen),
        Command::Key(arguments::KeyCommand::Rotate(arguments)) => status::rotate_keys(&arguments, screen),
        Command::Status(arguments) => status::run(&arguments, screen),
        Command::Backup(arguments) => backup::backup(&arguments, screen),
        Command::Restore(arguments) => backup::restore(&arguments, screen),
        Command::Doctor(arguments) => doctor::run(arguments, screen),
        Command::Demo(arguments) => demo::run(&arguments, screen),
        Command::Completions(arguments) => completions(&arguments, screen),
    }
}

fn completions(arguments: &arguments::Completions, screen: &Screen) -> Result<(), Failure> {
    let script = name_completion::script(&arguments.shell.to_string());
    let script = script
        .ok_or_else(|| Failure::usage(format!("there is no completion script for {}", arguments.shell)))?;
    screen.script(script.trim_end())
}
