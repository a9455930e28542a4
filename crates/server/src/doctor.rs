//! Checks why a server does not start with its directory. This needs no server, and changes nothing.

mod database;
mod machine;
mod postgres;

use std::net::SocketAddr;
use std::sync::Arc;

use mandate_core::{Entropy, Timestamp};
use mandate_files::{Dir, Exposure, FileError};
use mandate_store::{DirectoryHolder, Inspection, PostgresAddress, StoreError};
use serde::Serialize;

use crate::config::{ConfigError, Remembered, ServeConfig, StoreAddress};

use database::{CLOCK, DATABASE, LOG, SEALING};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DoctorState {
    /// The check found nothing wrong.
    Ok,
    /// The check found something wrong, and says what to do.
    Problem,
    /// It could not be checked, most often because of another problem.
    CouldNotLook,
}

/// One check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorFinding {
    /// What was checked, in a few words.
    pub check: &'static str,
    /// Whether something is wrong with it.
    pub state: DoctorState,
    /// What was found, in words.
    pub detail: String,
    /// A command to type, or what else to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl DoctorFinding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: DoctorState::Ok, detail: detail.into(), next: None }
    }

    fn problem(check: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, state: DoctorState::Problem, detail: detail.into(), next: Some(next.into()) }
    }

    fn could_not_look(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, state: DoctorState::CouldNotLook, detail: why.into(), next: None }
    }
}

/// Files that nobody else may read.
const PRIVATE_FILES: &[&str] = &[
    "mandate.db",
    "mandate.db-wal",
    "mandate.db-shm",
    "seal.key",
    "search.db",
    "search.db-wal",
    "search.db-shm",
    "stops.reserve",
];

/// Files that nobody else may write to.
const OTHER_FILES: &[&str] = &["serve.json", "mandate.lock", "last.checkpoint"];

const FILES: &str = "files";
const SERVER: &str = "server";
const REMEMBERED: &str = "serve.json";

/// Where the database is.
enum Whereabouts<'a> {
    Directory,
    /// In a server of PostgreSQL.
    Server(&'a PostgresAddress),
    /// It was not named, or the way to it cannot be used.
    Unknown,
}

/// What the checks share.
struct Examination<'a> {
    config: &'a ServeConfig,
    /// The directory as a command takes it.
    shown: String,
    now: Timestamp,
    entropy: Arc<dyn Entropy>,
    /// Whether a server uses the directory.
    runs: bool,
    found: Vec<DoctorFinding>,
}

/// Checks everything that a start with `config` needs. `progress` is told how many of how many audit records
/// are verified.
pub fn examine(
    config: &ServeConfig,
    now: Timestamp,
    entropy: Arc<dyn Entropy>,
    progress: impl FnMut(u64, u64),
) -> Vec<DoctorFinding> {
    let shown = config.dir.display().to_string();
    let mut examination = Examination { config, shown, now, entropy, runs: false, found: Vec::new() };
    let known = if let Some(dir) = examination.directory() {
        examination.inside(&dir, progress)
    } else {
        examination.without_directory(progress);
        None
    };
    examination.identity(known.as_ref());
    examination.certificate();
    examination.ports(known.as_ref());
    examination.disk();
    examination.open_files();
    examination.found
}

impl<'a> Examination<'a> {
    fn add(&mut self, finding: DoctorFinding) {
        self.found.push(finding);
    }

    /// Checks that need something that is missing.
    fn could_not_look(&mut self, checks: &[&'static str], why: &str) {
        self.found.extend(checks.iter().map(|check| DoctorFinding::could_not_look(check, why)));
    }

    fn directory(&mut self) -> Option<Dir> {
        const CHECK: &str = "directory";
        match Dir::open(&self.config.dir) {
            Ok(dir) => {
                self.add(DoctorFinding::ok(
                    CHECK,
                    format!("{} is this user's, and nobody else may write to it", self.shown),
                ));
                Some(dir)
            }
            Err(error) if error.is_not_found() => {
                let next = format!(
                    "mandate serve --dir {0}   (makes it), or mandate restore FILE --dir {0}",
                    self.shown
                );
                self.add(DoctorFinding::problem(CHECK, format!("there is no {}", self.shown), next));
                None
            }
            Err(error) => {
                let next = self.remedy(&error);
                self.add(DoctorFinding::problem(CHECK, error_text(&error), next));
                None
            }
        }
    }

    /// What can be checked without the directory, as before the first start: a database elsewhere.
    fn without_directory(&mut self, progress: impl FnMut(u64, u64)) {
        const WHY: &str = "needs the directory";
        self.could_not_look(&[FILES, SERVER, REMEMBERED, SEALING], WHY);
        if let StoreAddress::Postgres(_) = self.config.store
            && let Whereabouts::Server(address) = self.store(None)
        {
            self.postgres(None, address, None, false, progress);
        } else {
            self.could_not_look(&[DATABASE, LOG, CLOCK], WHY);
        }
    }

    /// Everything in the directory. Returns what is known about the installation.
    fn inside(&mut self, dir: &Dir, progress: impl FnMut(u64, u64)) -> Option<Remembered> {
        self.files(dir);
        self.server();
        let file = self.remembered();
        let used = file.is_some();
        let place = self.store(file.as_ref());
        let sealing_key = self.sealing_key(used && !matches!(place, Whereabouts::Directory));
        let installation = match place {
            Whereabouts::Directory => {
                let database = self.database(dir, sealing_key.as_ref(), used, progress);
                database.and_then(|database| database.installation().ok()).flatten()
            }
            Whereabouts::Server(address) => {
                self.postgres(Some(dir), address, sealing_key.as_ref(), used, progress)
            }
            Whereabouts::Unknown => {
                self.could_not_look(&[DATABASE, LOG, CLOCK], "needs the store");
                None
            }
        };
        match Remembered::known(file.clone(), installation, self.config) {
            Ok(known) => known,
            Err(error) => {
                let next = format!(
                    "mv {0}/serve.json {0}/serve.json.other   (if {1} is the right one)",
                    self.shown,
                    self.config.store.name()
                );
                let check = match self.config.store {
                    StoreAddress::Embedded => "serve.json and mandate.db",
                    StoreAddress::Postgres(_) => "serve.json and database",
                };
                self.add(DoctorFinding::problem(check, error.to_string(), next));
                file
            }
        }
    }

    /// Owner and mode of each file.
    fn files(&mut self, dir: &Dir) {
        let mut fine = 0;
        let private = PRIVATE_FILES.iter().map(|name| (name, Exposure::Private));
        for (name, exposure) in private.chain(OTHER_FILES.iter().map(|name| (name, Exposure::Readable))) {
            match dir.open_file(name, exposure) {
                Ok(None) => {}
                Ok(Some(_)) => fine += 1,
                Err(error) => {
                    let next = self.remedy(&error);
                    self.add(DoctorFinding::problem(FILES, error_text(&error), next));
                }
            }
        }
        self.add(DoctorFinding::ok(
            FILES,
            format!("{fine} are this user's, and nobody else may write to them or read what is secret"),
        ));
    }

    fn server(&mut self) {
        match Inspection::holder(&self.config.dir) {
            Ok(DirectoryHolder::Nobody) => self.add(DoctorFinding::ok(SERVER, "none runs in this directory")),
            Ok(DirectoryHolder::Process(pid)) => {
                self.runs = true;
                let which = pid.map(|pid| format!(", process {pid},")).unwrap_or_default();
                self.add(DoctorFinding::ok(
                    SERVER,
                    format!(
                        "one{which} runs in this directory; `mandate status --dir {}` asks it",
                        self.shown
                    ),
                ));
            }
            Err(error) => self.add(DoctorFinding::could_not_look(SERVER, error.to_string())),
        }
    }

    fn remembered(&mut self) -> Option<Remembered> {
        match Remembered::load(&self.config.dir) {
            Ok(Some(file)) => {
                self.add(DoctorFinding::ok(
                    REMEMBERED,
                    format!("issuer {}, trust domain {}", file.issuer, file.trust_domain),
                ));
                Some(file)
            }
            Ok(None) => {
                self.add(DoctorFinding::ok(REMEMBERED, "is not there; it is written at the next start"));
                None
            }
            Err(error) => {
                let next = format!(
                    "mv {0}/serve.json {0}/serve.json.damaged   (it is written again from mandate.db)",
                    self.shown
                );
                self.add(DoctorFinding::problem(REMEMBERED, error.to_string(), next));
                None
            }
        }
    }

    /// Whether the start names the directory's kind of store, and what the way to a PostgreSQL database needs
    /// on this machine.
    fn store(&mut self, file: Option<&Remembered>) -> Whereabouts<'a> {
        const CHECK: &str = "store";
        match self.config.same_store(file) {
            Err(error @ ConfigError::StoreIsEmbedded(_)) => {
                let next =
                    format!("mandate doctor --dir {}   (without --store and MANDATE_STORE)", self.shown);
                self.add(DoctorFinding::problem(CHECK, error.to_string(), next));
                return Whereabouts::Directory;
            }
            Err(error @ ConfigError::StoreNotNamed(_)) => {
                let next = format!(
                    "mandate doctor --dir {} --store URL   (the database that the server is started with)",
                    self.shown
                );
                self.add(DoctorFinding::problem(CHECK, error.to_string(), next));
                return Whereabouts::Unknown;
            }
            // Another check reports any other problem, with the file that has it.
            Ok(()) | Err(_) => {}
        }
        let StoreAddress::Postgres(address) = &self.config.store else { return Whereabouts::Directory };
        match address.tls() {
            Ok(_) => {
                self.add(DoctorFinding::ok(
                    CHECK,
                    format!("{address}; what it needs on this machine is there"),
                ));
                Whereabouts::Server(address)
            }
            Err(error) => {
                self.add(DoctorFinding::problem(
                    CHECK,
                    format!("{address}: {error}"),
                    "mandate serve --help   (the options of the start)",
                ));
                Whereabouts::Unknown
            }
        }
    }

    /// The installation of the directory, and what this start would make of it.
    fn identity(&mut self, known: Option<&Remembered>) {
        const CHECK: &str = "issuer";
        if let Err(error) = self.config.check(known) {
            self.add(DoctorFinding::problem(
                CHECK,
                error.to_string(),
                "mandate serve --help   (the options of the start)",
            ));
            return;
        }
        let Some(known) = known else {
            return self.add(DoctorFinding::ok(CHECK, "none is remembered"));
        };
        let bound = SocketAddr::new(self.config.listen.ip(), port_of(self.config.listen, known.port));
        let now = self.config.issuer_after(Some(known), bound).map(|issuer| Remembered {
            issuer,
            trust_domain: self.config.trust_domain.clone().unwrap_or_else(|| known.trust_domain.clone()),
            ..known.clone()
        });
        match now.and_then(|now| self.config.reconcile(Some(known), &now)) {
            Ok(()) => self.add(DoctorFinding::ok(
                CHECK,
                format!("{}, trust domain {}", known.issuer, known.trust_domain),
            )),
            Err(error) => {
                let next = format!(
                    "mandate serve --dir {} --issuer {} --trust-domain {}   (and --tls-cert, --tls-key or --behind-tls-proxy as before)",
                    self.shown, known.issuer, known.trust_domain
                );
                self.add(DoctorFinding::problem(CHECK, error.to_string(), next));
            }
        }
    }

    /// The command that repairs a file or directory.
    fn remedy(&self, error: &FileError) -> String {
        match error {
            FileError::Exposed { path, right_mode, .. } => format!("chmod {right_mode} {}", path.display()),
            FileError::Owner { owner, us: Some(0), .. } => {
                format!("sudo -u '#{owner}' mandate doctor --dir {}   (as the user that owns it)", self.shown)
            }
            FileError::Owner { path, us: Some(us), .. } => {
                format!("sudo chown {us} {}   (if it is meant to be this user's)", path.display())
            }
            other => format!("ls -ld {}", other.path().display()),
        }
    }
}

/// The port that is listened on.
fn port_of(given: SocketAddr, remembered: u16) -> u16 {
    if given.port() == 0 { remembered } else { given.port() }
}

/// An error, followed by the text of the operating system.
fn error_text(error: &FileError) -> String {
    error.io().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// An error with all its causes. Some libraries repeat the cause in the text of an error.
fn store_text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
