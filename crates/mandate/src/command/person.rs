//! `mandate person …` and `mandate client set-secret`

use mandate_api::admin::{ClientSecretRequest, PasswordRequest, PersonStateRequest, Recorded};
use mandate_core::Secret;
use serde::Serialize;

use super::recorded;
use crate::arguments::{PersonStateArguments, SetPassword, SetSecret};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::secret_input;

#[derive(Serialize)]
struct Set<'a> {
    set: bool,
    name: &'a str,
}

fn text(secret: &Secret) -> String {
    // `secret_input` gives UTF-8 only.
    secret.expose_secret_str().unwrap_or_default().to_owned()
}

pub(crate) fn set_password(arguments: &SetPassword, screen: &Screen) -> Result<(), Failure> {
    let admin = arguments.connection.open()?;
    let request = PasswordRequest { password: text(&secret_input::new_secret("password")?) };
    let name = arguments.name.as_str();
    admin.call(async |client| client.set_password(name, &request).await)?;
    screen.show(&Set { set: true, name }, || format!("The password of {name} is set."))
}

#[derive(Serialize)]
struct Done<'a> {
    person: &'a str,
    disabled: bool,
    changed: bool,
    recorded: Recorded,
}

pub(crate) fn set_disabled(
    arguments: &PersonStateArguments,
    disabled: bool,
    screen: &Screen,
) -> Result<(), Failure> {
    let person = arguments.name.as_str();
    let request = PersonStateRequest { disabled };
    let answer =
        arguments.connection.open()?.call(async |client| client.set_person_state(person, &request).await)?;
    let done = Done { person, disabled, changed: !answer.changes.is_empty(), recorded: answer.recorded };
    let again = if done.changed { "now" } else { "already" };
    let shown = screen
        .show(&done, || format!("{person} is {again} {}.", if disabled { "disabled" } else { "enabled" }));
    recorded::report(answer.recorded, screen, shown)
}

pub(crate) fn set_client_secret(arguments: &SetSecret, screen: &Screen) -> Result<(), Failure> {
    let admin = arguments.connection.open()?;
    let request = ClientSecretRequest { secret: text(&secret_input::new_secret("secret")?) };
    let name = arguments.id.as_str();
    admin.call(async |client| client.set_client_secret(name, &request).await)?;
    screen.show(&Set { set: true, name }, || format!("The secret of {name} is set."))
}
