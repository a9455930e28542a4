//! A section of libpq's file of services.

use std::path::Path;

use mandate_core::Secret;
use mandate_files::Named;
use mandate_files::text::{self, TextError};

use super::error::AddressError;
use super::settings::Settings;

/// A larger file is no file of services.
const LARGEST: u64 = 1 << 20;

/// What the section `name` of the file says. Others may read the file, unless the section has a password.
pub(super) fn read(path: &Path, name: &str) -> Result<Settings, AddressError> {
    let Named { content, exposed } = mandate_files::read_secret(path, LARGEST)?;
    let not_utf8 = || AddressError::Text { path: path.to_owned(), source: TextError::NotUtf8 };
    let whole = std::str::from_utf8(text::without_mark(content.expose_secret())).map_err(|_| not_utf8())?;
    let mut here = false;
    let mut found = None;
    for (before, line) in whole.lines().enumerate() {
        let line = line.trim();
        let at = |why| AddressError::Service { path: path.to_owned(), line: before + 1, why: Box::new(why) };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.strip_suffix(']').ok_or_else(|| at(AddressError::ServiceLine))?;
            here = section == name;
            if here && found.replace(Settings::default()).is_some() {
                return Err(at(AddressError::Twice { name: "the section" }));
            }
            continue;
        }
        if let (true, Some(settings)) = (here, &mut found) {
            let (key, value) = line.split_once('=').ok_or_else(|| at(AddressError::ServiceLine))?;
            set(key, value, settings).map_err(at)?;
        }
    }
    let settings =
        found.ok_or_else(|| AddressError::NoService { path: path.to_owned(), name: name.to_owned() })?;
    match exposed {
        Some(exposed) if settings.password.is_some() => Err(exposed.into()),
        _ => Ok(settings),
    }
}

fn set(key: &str, value: &str, settings: &mut Settings) -> Result<(), AddressError> {
    match key {
        "host" => settings.set_host(value.to_owned()),
        "port" => settings.set_port(value),
        "user" => settings.set_user(value.to_owned()),
        "dbname" => settings.set_database(value.to_owned()),
        "password" if value.is_empty() => Err(AddressError::NoPassword),
        "password" => settings.set_password(Secret::new(value)),
        "passfile" => Err(AddressError::Passfile),
        _ if settings.set_tls(key, value)? => Ok(()),
        // A line that lacks its key can begin with anything, a password too.
        _ if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
            Err(AddressError::ServiceLine)
        }
        _ => Err(AddressError::UnknownKey { name: key.to_owned() }),
    }
}
