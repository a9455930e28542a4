//! Why an address of a database is not used. No text repeats what could be a password.

use std::path::PathBuf;

use mandate_core::SocketPathTooLong;
use mandate_files::FileError;
use mandate_files::text::TextError;

/// What to write instead of an `sslmode` that is refused.
const INSTEAD: &str = "leave sslmode out, or write sslmode=verify-full, with sslrootcert=FILE if the authority is not one that this machine trusts";

/// Why an address of a database is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It begins neither with `postgres://` nor with `postgresql://`.
    #[error("it is not the address of a PostgreSQL database: write postgres://USER@HOST:PORT/DATABASE")]
    Scheme,
    /// Every user of a machine can read the arguments of its processes.
    #[error(
        "it contains a password, which other users could read in the list of processes: put it into a file, and name the file with --store-password-file"
    )]
    Password,
    /// More than one `@`, or one behind the host.
    #[error(
        "it has an @ that does not stand between the user and the host: write an @ that belongs to a name as %40"
    )]
    StrayAt,
    /// A character or an escape that has no place in a URL.
    #[error("its {part} is malformed: {why}")]
    Malformed {
        /// The part of the address, as it is called in the sentence.
        part: &'static str,
        /// What is wrong, and what to write.
        why: &'static str,
    },
    /// Several hosts. A log has one database.
    #[error(
        "it names several hosts: name one, and let its name or a proxy lead to the server that takes writes"
    )]
    SeveralHosts,
    /// A part that is needed is missing.
    #[error("the {part} is missing: write postgres://USER@HOST:PORT/DATABASE")]
    Missing {
        /// `user`, `host` or `database`.
        part: &'static str,
    },
    /// A parameter that is not understood.
    #[error(
        "there is no parameter {name}: sslmode, sslrootcert, sslcert, sslkey and service are understood; host, port, user and database stand before the question mark"
    )]
    UnknownParameter {
        /// The name of the parameter.
        name: String,
    },
    /// A key of the service file that is not understood.
    #[error(
        "there is no key {name} here: host, port, dbname, user, password, sslmode, sslrootcert, sslcert and sslkey are understood"
    )]
    UnknownKey {
        /// The name of the key.
        name: String,
    },
    /// A parameter that is given twice.
    #[error("{name} is given twice")]
    Twice {
        /// The name of the parameter, or of the key of the service file.
        name: &'static str,
    },
    /// A file of passwords for many servers.
    #[error(
        "passfile is not read: put the password alone into a file, and name the file with --store-password-file"
    )]
    Passfile,
    /// An `sslmode` with which an attacker on the network could read or change what is sent.
    #[error("sslmode={mode} {why}: {INSTEAD}")]
    WeakMode {
        /// The value of `sslmode`.
        mode: &'static str,
        /// What this mode allows: the sentence after the mode.
        why: &'static str,
    },
    /// A value that `sslmode` does not have.
    #[error("sslmode does not have this value: {INSTEAD}")]
    UnknownMode,
    /// `sslmode=disable` for another machine.
    #[error(
        "sslmode=disable is for a Unix socket or a loopback address alone: to {host}, everything would cross the network in clear. Leave sslmode out"
    )]
    ClearNetwork {
        /// The host in the address.
        host: String,
    },
    /// `sslmode=disable` and a password, for a loopback address.
    #[error(
        "sslmode=disable and a password do not go together on {host}: while the database is down, any user of this machine can listen there and ask for it. Use the Unix socket, or leave sslmode out"
    )]
    ClearPassword {
        /// The host in the address.
        host: String,
    },
    /// A parameter of TLS where there is no TLS.
    #[error("{name} has no effect {with}: leave it out")]
    NoTls {
        /// The parameter that needs TLS.
        name: &'static str,
        /// `on a Unix socket`, or `with sslmode=disable`.
        with: &'static str,
    },
    /// A client certificate without its key, or the key alone.
    #[error("sslcert and sslkey belong together: {missing} is missing")]
    HalfPair {
        /// `sslcert` or `sslkey`.
        missing: &'static str,
    },
    /// The path of the Unix socket is too long.
    #[error(transparent)]
    SocketPath(#[from] SocketPathTooLong),
    /// A service is named, and no service file is known.
    #[error(
        "it names a service, and there is no service file: set PGSERVICEFILE, or make ~/.pg_service.conf"
    )]
    NoServiceFile,
    /// The service file has no such section.
    #[error("{path} has no section [{name}]")]
    NoService {
        /// The path of the service file.
        path: PathBuf,
        /// The service that is named.
        name: String,
    },
    /// What is wrong in the service file.
    #[error("{path}, line {line}: {why}")]
    Service {
        /// The path of the service file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong there.
        why: Box<AddressError>,
    },
    /// The service file has an empty password.
    #[error("the password is empty")]
    NoPassword,
    /// A line of the service file that is no setting.
    #[error("it is neither [SERVICE] nor KEY=VALUE without spaces around the =")]
    ServiceLine,
    /// A file cannot be read, or others could read or change it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The password file, or the service file, has no usable text.
    #[error("{path}: {source}")]
    Text {
        /// The password file or the service file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TextError,
    },
    /// A file has no certificate or no key.
    #[error("{path} has no PEM {what}")]
    Pem {
        /// The file of the certificate or key.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The client certificate and its key do not belong together, or the kind of key is not supported.
    #[error(
        "the certificate of sslcert and the key of sslkey do not belong together, or the key is of an unsupported kind"
    )]
    Pair(#[source] rustls::Error),
    /// The TLS library refuses the configuration.
    #[error("the TLS library refuses the configuration")]
    Tls(#[source] rustls::Error),
}
