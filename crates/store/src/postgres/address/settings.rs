//! The settings of an address by their names, before it is known whether they make sense together.

use std::path::PathBuf;

use mandate_core::Secret;

use super::error::AddressError;

/// PostgreSQL silently cuts longer names (`NAMEDATALEN`): two long names could then name one database.
const LONGEST_NAME: usize = 63;

/// The parameter for a test's database, whose server may lose what it has committed.
pub(super) const ACCEPT_LOST_RECORDS: &str = "dangerously_accept_lost_records";

/// What a URL or a section of a service file says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) user: Option<String>,
    pub(super) database: Option<String>,
    pub(super) mode: Option<Mode>,
    pub(super) roots: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) service: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) accepts_lost_records: Option<bool>,
}

/// The values of `sslmode` that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `disable`.
    Clear,
    /// `verify-full`.
    VerifyFull,
}

impl Settings {
    pub(super) fn set_host(&mut self, host: String) -> Result<(), AddressError> {
        if host.contains(',') {
            return Err(AddressError::SeveralHosts);
        }
        once(&mut self.host, "host", host)
    }

    pub(super) fn set_port(&mut self, port: &str) -> Result<(), AddressError> {
        let malformed = AddressError::Malformed { part: "port", why: "write a number from 1 to 65535" };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(number) if digits && number != 0 => once(&mut self.port, "port", number),
            _ => Err(malformed),
        }
    }

    pub(super) fn set_user(&mut self, user: String) -> Result<(), AddressError> {
        once(&mut self.user, "user", name(user, "user")?)
    }

    pub(super) fn set_database(&mut self, database: String) -> Result<(), AddressError> {
        once(&mut self.database, "dbname", name(database, "database")?)
    }

    /// A parameter of TLS; false if it has another name.
    pub(super) fn set_tls(&mut self, key: &str, value: &str) -> Result<bool, AddressError> {
        match key {
            "sslmode" => once(&mut self.mode, "sslmode", mode(value)?)?,
            "sslrootcert" => once(&mut self.roots, "sslrootcert", path(value)?)?,
            "sslcert" => once(&mut self.certificate, "sslcert", path(value)?)?,
            "sslkey" => once(&mut self.key, "sslkey", path(value)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn set_service(&mut self, service: String) -> Result<(), AddressError> {
        if service.is_empty() || service.contains(['[', ']']) || service.chars().any(char::is_control) {
            return Err(AddressError::Malformed {
                part: "service",
                why: "write the name of a section of the service file",
            });
        }
        once(&mut self.service, "service", service)
    }

    pub(super) fn set_password(&mut self, password: Secret) -> Result<(), AddressError> {
        once(&mut self.password, "password", password)
    }

    pub(super) fn set_accepts_lost_records(&mut self, value: &str) -> Result<(), AddressError> {
        if value != "yes" {
            return Err(AddressError::Malformed {
                part: ACCEPT_LOST_RECORDS,
                why: "write yes, or leave it out",
            });
        }
        once(&mut self.accepts_lost_records, ACCEPT_LOST_RECORDS, true)
    }

    /// These settings; where they say nothing, those of `other`.
    pub(super) fn or(self, other: Self) -> Self {
        // A client certificate and its key are taken from the same place.
        let pair = if self.certificate.is_some() || self.key.is_some() {
            (self.certificate, self.key)
        } else {
            (other.certificate, other.key)
        };
        Self {
            host: self.host.or(other.host),
            port: self.port.or(other.port),
            user: self.user.or(other.user),
            database: self.database.or(other.database),
            mode: self.mode.or(other.mode),
            roots: self.roots.or(other.roots),
            certificate: pair.0,
            key: pair.1,
            service: self.service.or(other.service),
            password: self.password.or(other.password),
            accepts_lost_records: self.accepts_lost_records.or(other.accepts_lost_records),
        }
    }
}

fn once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), AddressError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(AddressError::Twice { name }),
    }
}

fn name(name: String, part: &'static str) -> Result<String, AddressError> {
    if name.is_empty() {
        return Err(AddressError::Missing { part });
    }
    if name.len() > LONGEST_NAME {
        return Err(AddressError::Malformed { part, why: "a name in PostgreSQL has at most 63 bytes" });
    }
    if name.chars().any(char::is_control) {
        return Err(AddressError::Malformed { part, why: "a name has no control characters" });
    }
    Ok(name)
}

fn path(value: &str) -> Result<PathBuf, AddressError> {
    if value.is_empty() {
        Err(AddressError::Malformed { part: "file name", why: "it is empty" })
    } else {
        Ok(value.into())
    }
}

fn mode(value: &str) -> Result<Mode, AddressError> {
    let weak = |mode, why| Err(AddressError::WeakMode { mode, why });
    match value {
        "disable" => Ok(Mode::Clear),
        "verify-full" => Ok(Mode::VerifyFull),
        "allow" => weak("allow", "begins without TLS, so the password and the data can be read on the way"),
        "prefer" => {
            weak("prefer", "continues without TLS if an attacker in between says that the server has none")
        }
        "require" => weak("require", "accepts every certificate, also that of an attacker in between"),
        "verify-ca" => weak(
            "verify-ca",
            "does not check the name in the certificate, so it accepts any server of the same authority",
        ),
        _ => Err(AddressError::UnknownMode),
    }
}
