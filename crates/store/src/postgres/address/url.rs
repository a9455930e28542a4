//! The address as a URL.
//!
//! A parser of our own: what other parsers repair or ignore is refused, and no error repeats a part that
//! could be a password.

use percent_encoding::percent_decode_str;

use super::error::AddressError;
use super::settings::{ACCEPT_LOST_RECORDS, Settings};

/// Reads a URL. Nothing is known yet about whether it is complete.
pub(super) fn parse(url: &str) -> Result<Settings, AddressError> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or(AddressError::Scheme)?;
    let mut settings = Settings::default();
    let host_on = match rest.split_once('@') {
        None => rest,
        // An unencoded password may contain any character, so its end cannot be found.
        Some((user, _)) if user.contains(':') => return Err(AddressError::Password),
        Some((_, behind)) if behind.contains('@') => return Err(AddressError::StrayAt),
        Some((user, _)) if user.contains(['/', '?']) => return Err(AddressError::StrayAt),
        Some((user, host_on)) => {
            settings.set_user(decoded(user, "user")?)?;
            host_on
        }
    };
    if rest.contains('#') {
        return Err(AddressError::Malformed { part: "end", why: "write a # that belongs to a name as %23" });
    }
    let (before, parameters) = host_on.split_once('?').unwrap_or((host_on, ""));
    let (authority, database) = before.split_once('/').unwrap_or((before, ""));
    host_and_port(authority, &mut settings)?;
    if database.contains('/') {
        return Err(AddressError::Malformed {
            part: "database",
            why: "write a / that belongs to its name as %2F",
        });
    }
    if !database.is_empty() {
        settings.set_database(decoded(database, "database")?)?;
    }
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        set(parameter, &mut settings)?;
    }
    Ok(settings)
}

fn host_and_port(authority: &str, settings: &mut Settings) -> Result<(), AddressError> {
    if authority.contains(',') {
        return Err(AddressError::SeveralHosts);
    }
    let (host, port) = match authority.strip_prefix('[') {
        // RFC 3986 §3.2.2: an IPv6 address is in brackets.
        Some(bracketed) => {
            let (host, behind) = bracketed
                .split_once(']')
                .ok_or(AddressError::Malformed { part: "host", why: "the ] is missing" })?;
            match behind.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if behind.is_empty() => (host, None),
                None => {
                    return Err(AddressError::Malformed { part: "host", why: "write :PORT behind the ]" });
                }
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(AddressError::Malformed {
                    part: "host",
                    why: "write an IPv6 address in brackets, as [::1]",
                });
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if !host.is_empty() {
        settings.set_host(decoded(host, "host")?)?;
    }
    port.map_or(Ok(()), |port| settings.set_port(port))
}

fn set(parameter: &str, settings: &mut Settings) -> Result<(), AddressError> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    match name {
        "password" => return Err(AddressError::Password),
        "passfile" => return Err(AddressError::Passfile),
        "service" => return settings.set_service(decoded(value, "service")?),
        ACCEPT_LOST_RECORDS => return settings.set_accepts_lost_records(value),
        // What is not shaped as a name may be the rest of a password with a ? in it.
        _ if name.is_empty()
            || name.len() > 32
            || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') =>
        {
            return Err(AddressError::Malformed {
                part: "list of parameters",
                why: "write ?NAME=VALUE, with & before each further one",
            });
        }
        _ => {}
    }
    if settings.set_tls(name, &decoded(value, "list of parameters")?)? {
        return Ok(());
    }
    Err(AddressError::UnknownParameter { name: name.to_owned() })
}

/// A part without its escapes (RFC 3986 §2.1).
fn decoded(text: &str, part: &'static str) -> Result<String, AddressError> {
    let malformed = |why| AddressError::Malformed { part, why };
    if text.chars().any(|character| character.is_control() || character == ' ') {
        return Err(malformed("it contains a space or a control character"));
    }
    let escapes = text.split('%').skip(1);
    if !escapes
        .map(str::as_bytes)
        .all(|after| matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
    {
        return Err(malformed("write a % that belongs to it as %25"));
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| malformed("it is not UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        Err(malformed("it contains a control character"))
    } else {
        Ok(decoded.into_owned())
    }
}
