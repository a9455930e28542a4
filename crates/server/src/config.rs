//! The options of `mandate serve`, and what a directory remembers between starts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mandate_core::{Entropy, Issuer, TrustDomain};
use mandate_files::{Dir, FileError, text};
use mandate_store::{AddressError, AddressFiles, Installation, PostgresAddress, Store, StoreError};
use serde::{Deserialize, Serialize};

/// The trust domain of a directory for which no other was given.
pub const DEFAULT_TRUST_DOMAIN: &str = "mandate.internal";

/// How the public listener protects its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP; only loopback addresses are accepted.
    LoopbackHttp,
    /// TLS with this certificate chain and key (PEM files), read again when they change.
    Tls {
        /// The certificate chain, leaf first (PEM).
        cert: PathBuf,
        /// Its private key (PEM).
        key: PathBuf,
    },
    /// Plain HTTP on any address, because a TLS proxy is in front. Needs an explicit issuer.
    DangerousBehindTlsProxy,
}

/// Where the server keeps its data.
#[derive(Clone, Debug)]
pub enum StoreAddress {
    /// In `mandate.db` in the directory.
    Embedded,
    /// In a PostgreSQL database. The directory has the sealing key, the reserve for stops and the lock all
    /// the same.
    Postgres(Box<PostgresAddress>),
}

/// The kind of a store, as the directory remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// `mandate.db` in the directory.
    #[default]
    Embedded,
    /// A `PostgreSQL` database, by its URL.
    Postgres,
}

impl StoreAddress {
    /// A PostgreSQL database, by the URL `postgres://USER@HOST:PORT/DATABASE`. The password may be in the
    /// first line of `password_file`, or in `service_file`, which is libpq's file of services. Blocks.
    ///
    /// # Errors
    /// The URL or one of the files cannot be used. The text repeats no password.
    pub fn postgres(
        url: &str,
        password_file: Option<&Path>,
        service_file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let files = AddressFiles { password: password_file, services: service_file };
        Ok(Self::Postgres(Box::new(PostgresAddress::read(url, files)?)))
    }

    /// Whether it is the embedded store or a PostgreSQL database.
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::Embedded => StoreKind::Embedded,
            Self::Postgres(_) => StoreKind::Postgres,
        }
    }

    /// What messages call it: `mandate.db`, or the address of the database without a password.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Embedded => "mandate.db".to_owned(),
            Self::Postgres(address) => address.to_string(),
        }
    }
}

impl StoreKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_embedded(&self) -> bool {
        *self == Self::Embedded
    }
}

/// The kind of store that a directory belongs to. None if no server has used it.
///
/// # Errors
/// The directory or a file in it cannot be read or trusted.
pub fn store_kind(dir: &Path) -> Result<Option<StoreKind>, ConfigError> {
    match Remembered::load(dir)? {
        Some(remembered) => Ok(Some(remembered.store)),
        // serve.json was lost: the next start writes it again.
        None => Ok(Store::is_there(dir)?.then_some(StoreKind::Embedded)),
    }
}

/// The options of `mandate serve`.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The server's directory: everything is there, except what is in another [`ServeConfig::store`].
    pub dir: PathBuf,
    /// Where the database is.
    pub store: StoreAddress,
    /// The public listener; port 0 takes the port the directory remembers, or any.
    pub listen: SocketAddr,
    /// The listener of the nodes; port 0 likewise.
    pub node_listen: SocketAddr,
    /// The listener of the admin API over TCP; port 0 likewise.
    pub admin_listen: SocketAddr,
    /// How the public and the admin listener are protected.
    pub transport: Transport,
    /// The issuer identifier; by default derived from the public listener's address at the first start.
    pub issuer: Option<Issuer>,
    /// The trust domain; by default [`DEFAULT_TRUST_DOMAIN`].
    pub trust_domain: Option<TrustDomain>,
    /// For how long after its certificate has expired a node may renew it. Zero: not at all.
    pub node_rejoin_grace: Duration,
    /// Start with an audit log that is not the one that the server of the directory has written, or has fewer
    /// records.
    pub accept_log_that_went_back: bool,
    /// More host names that the public and the admin listener answer to, without port. They always answer to
    /// the issuer's host and to the address at which they are reached.
    pub allowed_hosts: Vec<String>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum ConfigError {
    /// Plain HTTP on an address that others can reach.
    #[error(
        "{0} is not a loopback address: give --tls-cert and --tls-key, or --behind-tls-proxy if a proxy ends TLS in front of it"
    )]
    PlainHttp(SocketAddr),
    /// Behind a proxy, our own address is not what clients see.
    #[error("--behind-tls-proxy needs --issuer, the URL under which clients reach the proxy")]
    IssuerNeeded,
    /// The directory belongs to another issuer or trust domain.
    #[error(
        "{dir} belongs to {what} {remembered}, not {given}: tokens and identities would change their issuer. Start with --{flag} {remembered}, or use another --dir"
    )]
    Changed {
        dir: PathBuf,
        /// `issuer` or `trust domain`.
        what: &'static str,
        /// The flag that gives the remembered value, without `--`.
        flag: &'static str,
        /// The value that the directory has.
        remembered: String,
        /// The value of this start.
        given: String,
    },
    /// The database belongs to another installation than the other files of the directory.
    #[error(
        "{dir}: serve.json names the {what} {remembered}, and {database} is of {found}: they are of two servers. Restore the serve.json that belongs to {database}, or remove it: it is written again from {database}"
    )]
    OtherDatabase {
        dir: PathBuf,
        /// `mandate.db`, or the address of the database.
        database: String,
        /// `issuer` or `trust domain`.
        what: &'static str,
        /// The value in `serve.json`.
        remembered: String,
        /// The value in the database.
        found: String,
    },
    /// The directory, or a file in it, is not safe from other users, or cannot be used.
    #[error(transparent)]
    Directory(#[from] FileError),
    /// The remembered settings cannot be read.
    #[error("{0} is damaged; restore it from a backup")]
    Damaged(PathBuf),
    /// No valid issuer follows from the listener's address.
    #[error(
        "no issuer identifier follows from {0}: give --issuer, the URL under which clients reach this server"
    )]
    NoIssuer(SocketAddr),
    /// Clients would be sent to a URL whose scheme this start does not serve.
    #[error(
        "the issuer is {0}, but no certificate is given: give --tls-cert and --tls-key, or --behind-tls-proxy and --issuer if a proxy ends TLS in front of it"
    )]
    NoCertificate(Issuer),
    /// Clients would be sent to a plain HTTP URL, and this start serves TLS.
    #[error(
        "the issuer is {0}, but a certificate is given: clients of that issuer speak plain HTTP. Start without --tls-cert and --tls-key"
    )]
    CertificateUnused(Issuer),
    /// Nobody could connect to the admin API's socket.
    #[error("{0} with --dir: the admin API's socket is in that directory")]
    SocketPath(#[from] mandate_core::SocketPathTooLong),
    /// Nodes could come back after too long a time.
    #[error("--node-rejoin-grace is at most 7d: a node that is away for longer joins with a new token")]
    RejoinGrace,
    /// The URL of the database, or a file that it needs, cannot be used.
    #[error("the address of the database (--store): {0}")]
    Address(#[from] AddressError),
    /// The directory cannot be looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory belongs to a PostgreSQL database, and none is named: an empty store would be made beside
    /// it.
    #[error(
        "{0} belongs to a server with a PostgreSQL database, and this start names none: give --store postgres://USER@HOST:PORT/DATABASE or set MANDATE_STORE, as before; to start without the content of that database, use an empty directory"
    )]
    StoreNotNamed(PathBuf),
    /// The directory has a store of its own, and another one is named.
    #[error(
        "{0} belongs to a server that keeps its data in the mandate.db of that directory, and this start names a PostgreSQL database: start without --store and MANDATE_STORE, or use an empty directory with the database"
    )]
    StoreIsEmbedded(PathBuf),
    /// The database of the directory is missing or empty.
    #[error(
        "{0} belongs to {1}, but its mandate.db is missing or empty: restore it, and seal.key, from a backup; to start without its content, use an empty directory"
    )]
    DatabaseLost(PathBuf, Issuer),
}

/// What the directory remembers: the values that must never change, because tokens contain them, and the
/// ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remembered {
    pub(crate) issuer: Issuer,
    pub(crate) trust_domain: TrustDomain,
    /// Left out for the embedded store, as by versions that had no other.
    #[serde(default, skip_serializing_if = "StoreKind::is_embedded")]
    pub(crate) store: StoreKind,
    pub(crate) port: u16,
    pub(crate) node_port: u16,
    pub(crate) admin_port: u16,
}

const FILE: &str = "serve.json";

/// A larger file was not written by this program.
const MAX_FILE: u64 = 64 * 1024;

impl ServeConfig {
    /// Where the admin API listens besides TCP.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    /// Refuses plain HTTP where others can listen, and options without a clear issuer. `before` is what the
    /// directory remembers.
    pub(crate) fn check(&self, before: Option<&Remembered>) -> Result<(), ConfigError> {
        mandate_core::check_socket_path(&self.admin_socket())?;
        if self.node_rejoin_grace > mandate_core::lifetimes::MAX_REJOIN_GRACE {
            return Err(ConfigError::RejoinGrace);
        }
        match self.transport {
            Transport::LoopbackHttp => {
                for address in [self.listen, self.admin_listen] {
                    if !address.ip().is_loopback() {
                        return Err(ConfigError::PlainHttp(address));
                    }
                }
                Ok(())
            }
            Transport::DangerousBehindTlsProxy if self.issuer.is_none() => Err(ConfigError::IssuerNeeded),
            // "Any address of this machine" is no place where a client could find it.
            Transport::Tls { .. }
                if self.issuer.is_none() && before.is_none() && self.listen.ip().is_unspecified() =>
            {
                Err(ConfigError::NoIssuer(self.listen))
            }
            Transport::Tls { .. } | Transport::DangerousBehindTlsProxy => Ok(()),
        }
    }

    /// Refuses a start with another kind of store than that of the directory, before anything is made. `file`
    /// is what the directory remembers.
    pub(crate) fn same_store(&self, file: Option<&Remembered>) -> Result<(), ConfigError> {
        let before = match file {
            Some(file) => Some(file.store),
            None => store_kind(&self.dir)?,
        };
        match (before, self.store.kind()) {
            (Some(StoreKind::Postgres), StoreKind::Embedded) => {
                Err(ConfigError::StoreNotNamed(self.dir.clone()))
            }
            (Some(StoreKind::Embedded), StoreKind::Postgres) => {
                Err(ConfigError::StoreIsEmbedded(self.dir.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The issuer for a listener that is bound at `bound`.
    pub(crate) fn issuer_at(&self, bound: SocketAddr) -> Result<Issuer, ConfigError> {
        if let Some(issuer) = &self.issuer {
            return Ok(issuer.clone());
        }
        if bound.ip().is_unspecified() {
            return Err(ConfigError::NoIssuer(bound));
        }
        let scheme = if matches!(self.transport, Transport::LoopbackHttp) { "http" } else { "https" };
        format!("{scheme}://{bound}").parse().map_err(|_| ConfigError::NoIssuer(bound))
    }

    /// The issuer of this start, whether or not the directory has one already. The public listener is bound
    /// at `bound`.
    pub(crate) fn issuer_after(
        &self,
        before: Option<&Remembered>,
        bound: SocketAddr,
    ) -> Result<Issuer, ConfigError> {
        match (&self.issuer, before) {
            // Without other options, a directory keeps its issuer, even if the listener's address has changed
            // behind a proxy.
            (None, Some(before)) if self.listen.port() == 0 || self.listen.ip().is_unspecified() => {
                Ok(before.issuer.clone())
            }
            _ => self.issuer_at(bound),
        }
    }

    /// Compares the values that this start would use with those that the directory remembers, and the issuer
    /// with what is served.
    pub(crate) fn reconcile(
        &self,
        remembered: Option<&Remembered>,
        now: &Remembered,
    ) -> Result<(), ConfigError> {
        if let Some(before) = remembered {
            self.unchanged(before, now)?;
        }
        match (&self.transport, now.issuer.as_str().starts_with("https:")) {
            (Transport::LoopbackHttp, true) => Err(ConfigError::NoCertificate(now.issuer.clone())),
            (Transport::Tls { .. }, false) => Err(ConfigError::CertificateUnused(now.issuer.clone())),
            _ => Ok(()),
        }
    }

    pub(crate) fn changed(
        &self,
        what: &'static str,
        flag: &'static str,
        remembered: &str,
        given: &str,
    ) -> ConfigError {
        ConfigError::Changed {
            dir: self.dir.clone(),
            what,
            flag,
            remembered: remembered.to_owned(),
            given: given.to_owned(),
        }
    }

    /// The trust domain of a directory that does not know one yet.
    pub(crate) fn trust_domain_or_default(&self) -> Result<TrustDomain, ConfigError> {
        let default = || DEFAULT_TRUST_DOMAIN.parse().map_err(|_| ConfigError::Damaged(self.dir.clone()));
        self.trust_domain.clone().map_or_else(default, Ok)
    }

    fn unchanged(&self, before: &Remembered, now: &Remembered) -> Result<(), ConfigError> {
        if before.issuer != now.issuer {
            return Err(self.changed("issuer", "issuer", before.issuer.as_str(), now.issuer.as_str()));
        }
        if before.trust_domain != now.trust_domain {
            return Err(self.changed(
                "trust domain",
                "trust-domain",
                before.trust_domain.as_str(),
                now.trust_domain.as_str(),
            ));
        }
        Ok(())
    }
}

impl Remembered {
    /// As the database keeps it.
    pub(crate) fn installation(&self) -> Installation {
        let Self { issuer, trust_domain, .. } = self.clone();
        Installation { issuer, trust_domain, ports: [self.port, self.node_port, self.admin_port] }
    }

    /// What a database of this kind says about the installation.
    fn of(installation: Installation, store: StoreKind) -> Self {
        let [port, node_port, admin_port] = installation.ports;
        Self {
            issuer: installation.issuer,
            trust_domain: installation.trust_domain,
            store,
            port,
            node_port,
            admin_port,
        }
    }

    /// What is known from `serve.json` and from the database, either of which may be missing.
    pub(crate) fn known(
        file: Option<Self>,
        database: Option<Installation>,
        config: &ServeConfig,
    ) -> Result<Option<Self>, ConfigError> {
        let (Some(file), Some(database)) = (&file, &database) else {
            return Ok(file.or(database.map(|database| Self::of(database, config.store.kind()))));
        };
        let other = |what, remembered: &str, found: &str| ConfigError::OtherDatabase {
            dir: config.dir.clone(),
            what,
            database: config.store.name(),
            remembered: remembered.to_owned(),
            found: found.to_owned(),
        };
        if file.issuer != database.issuer {
            return Err(other("issuer", file.issuer.as_str(), database.issuer.as_str()));
        }
        if file.trust_domain != database.trust_domain {
            return Err(other("trust domain", file.trust_domain.as_str(), database.trust_domain.as_str()));
        }
        Ok(Some(file.clone()))
    }

    /// What the directory remembers; nothing, if there is no such directory.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, ConfigError> {
        let dir = match Dir::open(dir) {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(bytes) = dir.read(FILE, MAX_FILE)? else { return Ok(None) };
        serde_json::from_slice(text::without_mark(&bytes))
            .map(Some)
            .map_err(|_| ConfigError::Damaged(dir.entry(FILE)))
    }

    /// Replaces the file in one step.
    pub(crate) fn save(&self, dir: &Path, entropy: &dyn Entropy) -> Result<(), ConfigError> {
        let text = serde_json::to_vec_pretty(self).map_err(|_| ConfigError::Damaged(dir.join(FILE)))?;
        Ok(Dir::open(dir)?.replace(FILE, 0o600, &text, entropy)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::SystemEntropy;

    use super::{ConfigError, Remembered, ServeConfig, StoreAddress, StoreKind, Transport, store_kind};

    fn config(listen: &str, transport: Transport) -> ServeConfig {
        let loopback = "127.0.0.1:0".parse().unwrap();
        ServeConfig {
            dir: "/nowhere".into(),
            store: StoreAddress::Embedded,
            listen: listen.parse().unwrap(),
            node_listen: loopback,
            admin_listen: loopback,
            transport,
            issuer: None,
            trust_domain: None,
            node_rejoin_grace: Duration::ZERO,
            accept_log_that_went_back: false,
            allowed_hosts: Vec::new(),
        }
    }

    #[test]
    fn a_node_cannot_come_back_after_more_than_a_week() {
        let with = |hours| ServeConfig {
            node_rejoin_grace: Duration::from_hours(hours),
            accept_log_that_went_back: false,
            ..config("127.0.0.1:1", Transport::LoopbackHttp)
        };
        assert!(with(7 * 24).check(None).is_ok());
        assert!(matches!(with(7 * 24 + 1).check(None), Err(ConfigError::RejoinGrace)));
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        assert!(config("127.0.0.1:1", Transport::LoopbackHttp).check(None).is_ok());
        assert!(config("[::1]:1", Transport::LoopbackHttp).check(None).is_ok());
        assert!(matches!(
            config("0.0.0.0:1", Transport::LoopbackHttp).check(None),
            Err(ConfigError::PlainHttp(_))
        ));
        assert!(matches!(
            config("192.0.2.1:1", Transport::LoopbackHttp).check(None),
            Err(ConfigError::PlainHttp(_))
        ));
        assert!(matches!(
            config("0.0.0.0:1", Transport::DangerousBehindTlsProxy).check(None),
            Err(ConfigError::IssuerNeeded)
        ));
        let mut admin = config("127.0.0.1:1", Transport::LoopbackHttp);
        admin.admin_listen = "0.0.0.0:1".parse().unwrap();
        assert!(matches!(admin.check(None), Err(ConfigError::PlainHttp(_))));
    }

    #[test]
    fn a_directory_whose_admin_socket_nobody_could_reach_is_refused_with_the_length() {
        let at = |length: usize| ServeConfig {
            dir: format!("/{}", "d".repeat(length - "//admin.sock".len())).into(),
            ..config("127.0.0.1:1", Transport::LoopbackHttp)
        };
        assert!(at(107).check(None).is_ok());
        let error = at(108).check(None).unwrap_err().to_string();
        assert!(
            error.contains("has 108 bytes") && error.contains("at most 107") && error.contains("--dir"),
            "{error}"
        );
    }

    #[test]
    fn what_is_remembered_is_never_written_through_a_link_nor_read_through_one() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        for name in [".serve.json.new", "serve.json"] {
            std::os::unix::fs::symlink(&victim, dir.path().join(name)).unwrap();
        }
        assert!(matches!(Remembered::load(dir.path()), Err(ConfigError::Directory(_))));
        remembered("http://127.0.0.1:8420").save(dir.path(), &SystemEntropy).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert!(Remembered::load(dir.path()).unwrap().is_some());
    }

    #[test]
    fn a_directory_keeps_its_issuer_and_trust_domain() {
        let config = config("127.0.0.1:8420", Transport::LoopbackHttp);
        let before = Remembered {
            issuer: config.issuer_at("127.0.0.1:8420".parse().unwrap()).unwrap(),
            trust_domain: "acme.example".parse().unwrap(),
            store: StoreKind::Embedded,
            port: 8420,
            node_port: 8421,
            admin_port: 8422,
        };
        assert_eq!(before.issuer.as_str(), "http://127.0.0.1:8420");
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(Remembered::load(&dir.join("missing")).unwrap(), None);
        assert_eq!(Remembered::load(dir).unwrap(), None);
        before.save(dir, &SystemEntropy).unwrap();
        assert_eq!(Remembered::load(dir).unwrap(), Some(before.clone()));
        let file = dir.join("serve.json");
        let edited = format!("\u{feff}{}", std::fs::read_to_string(&file).unwrap());
        std::fs::write(&file, edited).unwrap();
        assert_eq!(
            Remembered::load(dir).unwrap(),
            Some(before.clone()),
            "an editor may put a byte order mark in front"
        );
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(Remembered::load(dir), Err(ConfigError::Damaged(_))));
        assert!(config.reconcile(Some(&before), &before).is_ok());
        let moved = Remembered { issuer: "http://127.0.0.1:9999".parse().unwrap(), ..before.clone() };
        assert!(matches!(
            config.reconcile(Some(&before), &moved),
            Err(ConfigError::Changed { what: "issuer", .. })
        ));
        let renamed = Remembered { trust_domain: "other.example".parse().unwrap(), ..before.clone() };
        assert!(matches!(
            config.reconcile(Some(&before), &renamed),
            Err(ConfigError::Changed { what: "trust domain", .. })
        ));
    }

    #[test]
    fn the_database_says_whose_it_is_and_must_agree_with_the_file_beside_it() {
        let (file, embedded) =
            (remembered("http://127.0.0.1:8420"), config("127.0.0.1:0", Transport::LoopbackHttp));
        let known = |file: Option<&Remembered>, database: Option<&Remembered>| {
            Remembered::known(file.cloned(), database.map(Remembered::installation), &embedded)
        };
        assert_eq!(known(None, None).unwrap(), None);
        assert_eq!(known(Some(&file), None).unwrap(), Some(file.clone()), "a database of an older version");
        assert_eq!(known(None, Some(&file)).unwrap(), Some(file.clone()), "a restored database alone");
        let moved = Remembered { port: 1, ..file.clone() };
        assert_eq!(known(Some(&moved), Some(&file)).unwrap(), Some(moved), "ports are the file's");
        let other = remembered("http://127.0.0.1:9999");
        let error = known(Some(&other), Some(&file)).unwrap_err().to_string();
        assert!(
            error.contains("http://127.0.0.1:9999, and mandate.db is of http://127.0.0.1:8420"),
            "{error}"
        );
        let renamed = Remembered { trust_domain: "other.example".parse().unwrap(), ..file.clone() };
        assert!(matches!(
            known(Some(&renamed), Some(&file)),
            Err(ConfigError::OtherDatabase { what: "trust domain", .. })
        ));
    }

    fn postgres() -> StoreAddress {
        StoreAddress::Postgres(Box::new("postgres://mandate@db.example/log".parse().unwrap()))
    }

    #[test]
    fn a_directory_keeps_its_kind_of_store() {
        let dir = tempfile::tempdir().unwrap();
        let at = |store| ServeConfig {
            dir: dir.path().to_owned(),
            store,
            ..config("127.0.0.1:0", Transport::LoopbackHttp)
        };
        let started = |store| at(store).same_store(Remembered::load(dir.path()).unwrap().as_ref());
        assert_eq!(store_kind(dir.path()).unwrap(), None);
        assert_eq!(store_kind(&dir.path().join("missing")).unwrap(), None);
        for store in [StoreAddress::Embedded, postgres()] {
            assert!(started(store).is_ok(), "a new directory takes either");
        }

        Remembered { store: StoreKind::Postgres, ..remembered("http://127.0.0.1:8420") }
            .save(dir.path(), &SystemEntropy)
            .unwrap();
        assert_eq!(store_kind(dir.path()).unwrap(), Some(StoreKind::Postgres));
        assert!(started(postgres()).is_ok());
        let refused = started(StoreAddress::Embedded).unwrap_err().to_string();
        assert!(refused.contains("--store") && refused.contains("MANDATE_STORE"), "{refused}");

        remembered("http://127.0.0.1:8420").save(dir.path(), &SystemEntropy).unwrap();
        let text = std::fs::read_to_string(dir.path().join("serve.json")).unwrap();
        assert!(!text.contains("store"), "as a version without PostgreSQL writes and reads it: {text}");
        assert!(started(StoreAddress::Embedded).is_ok());
        assert!(matches!(started(postgres()), Err(ConfigError::StoreIsEmbedded(_))));

        std::fs::remove_file(dir.path().join("serve.json")).unwrap();
        assert!(started(postgres()).is_ok());
        drop(mandate_store::Store::open_blocking(dir.path(), std::sync::Arc::new(SystemEntropy)).unwrap());
        assert!(
            matches!(started(postgres()), Err(ConfigError::StoreIsEmbedded(_))),
            "mandate.db says so too"
        );
    }

    #[test]
    fn a_database_of_another_server_is_named_without_its_password() {
        let other = ServeConfig { store: postgres(), ..config("127.0.0.1:0", Transport::LoopbackHttp) };
        let (file, database) =
            (remembered("http://127.0.0.1:1"), remembered("http://127.0.0.1:2").installation());
        let error = Remembered::known(Some(file), Some(database.clone()), &other).unwrap_err().to_string();
        assert!(error.contains("postgres://mandate@db.example:5432/log is of http://127.0.0.1:2"), "{error}");
        let known = Remembered::known(None, Some(database), &other).unwrap().unwrap();
        assert_eq!(known.store, StoreKind::Postgres, "serve.json is written again with the kind");
    }

    fn tls(listen: &str) -> ServeConfig {
        config(listen, Transport::Tls { cert: "c".into(), key: "k".into() })
    }

    fn remembered(issuer: &str) -> Remembered {
        Remembered {
            issuer: issuer.parse().unwrap(),
            trust_domain: "acme.example".parse().unwrap(),
            store: StoreKind::Embedded,
            port: 8420,
            node_port: 8421,
            admin_port: 8422,
        }
    }

    #[test]
    fn an_address_that_no_client_could_find_needs_an_issuer() {
        for listen in ["0.0.0.0:0", "0.0.0.0:443", "[::]:443"] {
            assert!(matches!(tls(listen).check(None), Err(ConfigError::NoIssuer(_))), "{listen}");
            assert!(
                matches!(tls(listen).issuer_at(listen.parse().unwrap()), Err(ConfigError::NoIssuer(_))),
                "{listen}"
            );
            let before = remembered("https://mandate.acme.example");
            assert!(tls(listen).check(Some(&before)).is_ok(), "the directory remembers it");
            let told = ServeConfig { issuer: Some(before.issuer), ..tls(listen) };
            assert!(told.check(None).is_ok());
        }
        assert!(tls("192.0.2.1:443").check(None).is_ok());
    }

    #[test]
    fn what_is_served_is_what_the_issuer_says() {
        let (clear, secure) = (remembered("http://127.0.0.1:8420"), remembered("https://127.0.0.1:8420"));
        let plain = config("127.0.0.1:0", Transport::LoopbackHttp);
        assert!(plain.reconcile(Some(&clear), &clear).is_ok());
        assert!(matches!(plain.reconcile(Some(&secure), &secure), Err(ConfigError::NoCertificate(_))));
        assert!(tls("127.0.0.1:0").reconcile(Some(&secure), &secure).is_ok());
        assert!(matches!(
            tls("127.0.0.1:0").reconcile(Some(&clear), &clear),
            Err(ConfigError::CertificateUnused(_))
        ));
        let proxied = config("127.0.0.1:0", Transport::DangerousBehindTlsProxy);
        assert!(proxied.reconcile(Some(&secure), &secure).is_ok());
    }
}
