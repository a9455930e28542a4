//! Where a PostgreSQL database is, who its user is, and how the way to it is protected.
//!
//! Over a network there is one way: TLS, with a certificate that a trusted authority gave to the host that is
//! named. What libpq does less strictly is refused, with the reason. Environment variables do not choose the
//! database: which one holds the log does not depend on the shell from which a server is started. They name
//! the file of services (`PGSERVICEFILE`), if the address asks for a service, and replace the authorities
//! that the machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`), if the address names none.

mod error;
mod service;
mod settings;
mod tls;
mod url;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mandate_core::{Secret, check_socket_path};
use mandate_files::text;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

pub use error::AddressError;
pub use tls::PostgresTls;

use settings::{Mode, Settings};
use tls::Files;

/// The port on which `PostgreSQL` listens unless it is configured otherwise.
const DEFAULT_PORT: u16 = 5432;

/// The longest password that is read, in bytes.
const MAX_PASSWORD: u64 = 64 * 1024;

/// The authorities that the machine trusts, where Debian has them: of libpq, only versions from 16 on find
/// them by themselves.
const MACHINES_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What stays as it is in a part of a URL (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What stays as it is in a path that is in a query (RFC 3986 §3.4).
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Files that an address may need besides its URL.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressFiles<'a> {
    /// The file with the password in its first line, for this user alone.
    pub password: Option<&'a Path>,
    /// libpq's file of services, for `?service=NAME`.
    pub services: Option<&'a Path>,
}

/// The address of a database. Neither `Display` nor `Debug` shows its password.
///
/// `Display` is the URL without parameters: `postgres://USER@HOST:PORT/DATABASE`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    host: Host,
    port: u16,
    user: String,
    database: String,
    protection: Protection,
    password: Option<Secret>,
    accepts_lost_records: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// The folder of a Unix socket, absolute.
    Folder(String),
    /// A name, or an IP address without brackets.
    Network(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Protection {
    /// What is sent does not leave the machine.
    OnThisMachine,
    Tls(Files),
}

impl FromStr for PostgresAddress {
    type Err = AddressError;

    /// An address that needs neither a password nor a service file.
    fn from_str(url: &str) -> Result<Self, AddressError> {
        Self::read(url, AddressFiles::default())
    }
}

impl PostgresAddress {
    /// Reads the URL, and what it needs of `files`. What the URL says comes before what the service says, and
    /// the password file before the password of the service. Blocks.
    ///
    /// # Errors
    /// What is wrong with the URL, a file, or what they say together. No error repeats a password, also not
    /// one in a URL, where it is refused.
    pub fn read(url: &str, files: AddressFiles<'_>) -> Result<Self, AddressError> {
        let mut settings = url::parse(url)?;
        if let Some(name) = settings.service.take() {
            let services = files.services.ok_or(AddressError::NoServiceFile)?;
            settings = settings.or(service::read(services, &name)?);
        }
        if let Some(path) = files.password {
            settings.password = Some(password(path)?);
        }
        Self::of(settings)
    }

    fn of(settings: Settings) -> Result<Self, AddressError> {
        let Settings {
            host,
            port,
            user,
            database,
            mode,
            roots,
            certificate,
            key,
            password,
            accepts_lost_records,
            service: _,
        } = settings;
        let port = port.unwrap_or(DEFAULT_PORT);
        let host = Host::of(host.ok_or(AddressError::Missing { part: "host" })?, port)?;
        let with = match (&host, mode) {
            (Host::Folder(_), _) => Some("on a Unix socket"),
            (Host::Network(_), Some(Mode::Clear)) => Some("with sslmode=disable"),
            (Host::Network(_), Some(Mode::VerifyFull) | None) => None,
        };
        let protection = if let Some(with) = with {
            let verified = (mode == Some(Mode::VerifyFull)).then_some("sslmode=verify-full");
            let files = [
                roots.as_ref().map(|_| "sslrootcert"),
                certificate.map(|_| "sslcert"),
                key.map(|_| "sslkey"),
            ];
            if let Some(name) = verified.or_else(|| files.into_iter().flatten().next()) {
                return Err(AddressError::NoTls { name, with });
            }
            if let (Host::Network(host), false) = (&host, host.is_on_this_machine()) {
                return Err(AddressError::ClearNetwork { host: host.clone() });
            }
            if let (Host::Network(host), true) = (&host, password.is_some()) {
                return Err(AddressError::ClearPassword { host: host.clone() });
            }
            Protection::OnThisMachine
        } else {
            let pair = match (certificate, key) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) => return Err(AddressError::HalfPair { missing: "sslkey" }),
                (None, Some(_)) => return Err(AddressError::HalfPair { missing: "sslcert" }),
            };
            // libpq's word for the authorities that the machine trusts.
            Protection::Tls(Files { roots: roots.filter(|path| path.as_os_str() != "system"), pair })
        };
        Ok(Self {
            host,
            port,
            user: user.ok_or(AddressError::Missing { part: "user" })?,
            database: database.ok_or(AddressError::Missing { part: "database" })?,
            protection,
            password,
            accepts_lost_records: accepts_lost_records.unwrap_or(false),
        })
    }

    /// How to connect, with the password. Connect with the result of [`PostgresAddress::tls`]: the two say
    /// the same about TLS.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.user(&self.user).dbname(&self.database).port(self.port).application_name("mandate");
        match &self.host {
            Host::Folder(folder) => config.host_path(folder),
            Host::Network(name) => config.host(name),
        };
        match &self.protection {
            Protection::Tls(_) => config.ssl_mode(SslMode::Require),
            Protection::OnThisMachine => config.ssl_mode(SslMode::Disable),
        };
        // A name is looked up, and the answer may come from elsewhere: in clear, this one means this machine.
        if self.protection == Protection::OnThisMachine && self.host == Host::Network("localhost".to_owned())
        {
            config.hostaddr(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        config
    }

    /// The URL for programs of `PostgreSQL`, such as `psql`: with what keeps libpq as strict as we are, which
    /// by itself neither demands TLS nor checks a certificate. Without the password; fit for single quotes in
    /// a shell.
    pub fn for_libpq(&self) -> String {
        let Protection::Tls(Files { roots, pair }) = &self.protection else { return self.to_string() };
        let roots = roots.as_deref().unwrap_or(Path::new(MACHINES_ROOTS));
        let pair = pair.as_ref().map_or_else(String::new, |(certificate, key)| {
            format!("&sslcert={}&sslkey={}", encoded_path(certificate), encoded_path(key))
        });
        format!("{self}?sslmode=verify-full&sslrootcert={}{pair}", encoded_path(roots))
    }

    /// Whether the URL accepts a server that may lose what it has committed, as only a test may.
    pub(crate) fn accepts_lost_records(&self) -> bool {
        self.accepts_lost_records
    }

    /// What makes the connections' TLS. Its files are read now, to refuse what cannot be used, and again for
    /// each connection, so that renewed ones are used. Blocks.
    ///
    /// # Errors
    /// A file cannot be read or used, or others could change it, or read the key.
    pub fn tls(&self) -> Result<PostgresTls, AddressError> {
        match &self.protection {
            Protection::OnThisMachine => Ok(PostgresTls::none()),
            Protection::Tls(files) => PostgresTls::of(files),
        }
    }
}

impl Host {
    fn of(host: String, port: u16) -> Result<Self, AddressError> {
        if host.starts_with('/') {
            check_socket_path(&PathBuf::from(format!("{host}/.s.PGSQL.{port}")))?;
            return Ok(Self::Folder(host));
        }
        match ServerName::try_from(host.as_str()) {
            Ok(_) => Ok(Self::Network(host.to_ascii_lowercase())),
            Err(_) => Err(AddressError::Malformed {
                part: "host",
                why: "write a host name, an IP address, or the folder of a Unix socket with %2F for each /",
            }),
        }
    }

    /// Whether what is sent to it stays on this machine, no matter what a name server says.
    fn is_on_this_machine(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Network(name) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

fn encoded_path(path: &Path) -> String {
    utf8_percent_encode(&path.to_string_lossy(), ENCODED_PATH).to_string()
}

fn password(path: &Path) -> Result<Secret, AddressError> {
    let content = mandate_files::read_private(path, MAX_PASSWORD)?;
    let line = text::secret_of_line(content.expose_secret(), MAX_PASSWORD);
    line.map_err(|source| AddressError::Text { path: path.to_owned(), source })
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |text| utf8_percent_encode(text, ENCODED);
        write!(f, "postgres://{}@", encoded(&self.user))?;
        match &self.host {
            Host::Network(address) if address.contains(':') => write!(f, "[{address}]")?,
            Host::Network(host) | Host::Folder(host) => write!(f, "{}", encoded(host))?,
        }
        write!(f, ":{}/{}", self.port, encoded(&self.database))
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAddress")
            .field("url", &format_args!("{self}"))
            .field("protection", &self.protection)
            .field("password", &self.password)
            .field("accepts_lost_records", &self.accepts_lost_records)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
