//! The sealing key, the database, the audit log.

use std::sync::Arc;

use mandate_core::lifetimes::RECORD_CLOCK_SKEW;
use mandate_core::{Entropy, Secret, Timestamp};
use mandate_files::{Dir, FileError};
use mandate_stops::reserve::{FILE, SIZE};
use mandate_stops::{ReserveError, held};
use mandate_store::records::{CheckedLog, LogError};
use mandate_store::{
    Inspection, KeptCheckpoint, LAST_CHECKPOINT, PostgresInspection, Store, StoreError, WentBack,
};

use super::{DoctorFinding, DoctorState, Examination, error_text, store_text};
use crate::config::StoreAddress;
use crate::last_checkpoint::accepting_log_that_went_back;

pub(super) const DATABASE: &str = "database";
const JOURNAL: &str = "write-ahead log";
const INTEGRITY: &str = "database pages";
pub(super) const SEALING: &str = "sealing key";
pub(super) const FITS: &str = "sealing key of the database";
pub(super) const LOG: &str = "audit log";
const RESERVE: &str = "reserve for stops";
const LAST: &str = "last checkpoint";
pub(super) const CLOCK: &str = "clock";

/// A database that is only read, whichever it is.
pub(super) trait Inspected {
    /// The latest time of a record.
    fn newest(&self) -> Result<Timestamp, StoreError>;
    /// Whether it was sealed with this key.
    fn is_sealed_with(&self, key: &Secret, entropy: Arc<dyn Entropy>) -> Result<bool, StoreError>;
    /// Whether its log has what the directory's server has kept of it; how many records that are.
    fn compare(&self, kept: &KeptCheckpoint) -> Result<u64, WentBack>;
    /// Verifies every audit log.
    fn verify_logs(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<CheckedLog>, LogError>;
}

impl Inspected for Inspection {
    fn newest(&self) -> Result<Timestamp, StoreError> {
        self.newest()
    }

    fn is_sealed_with(&self, key: &Secret, entropy: Arc<dyn Entropy>) -> Result<bool, StoreError> {
        self.is_sealed_with(key, entropy)
    }

    fn compare(&self, kept: &KeptCheckpoint) -> Result<u64, WentBack> {
        self.compare(kept)
    }

    fn verify_logs(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<CheckedLog>, LogError> {
        self.verify_logs(progress)
    }
}

impl Inspected for PostgresInspection {
    fn newest(&self) -> Result<Timestamp, StoreError> {
        self.newest()
    }

    fn is_sealed_with(&self, key: &Secret, entropy: Arc<dyn Entropy>) -> Result<bool, StoreError> {
        self.is_sealed_with(key, entropy)
    }

    fn compare(&self, kept: &KeptCheckpoint) -> Result<u64, WentBack> {
        self.compare(kept)
    }

    fn verify_logs(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<CheckedLog>, LogError> {
        self.verify_logs(progress)
    }
}

impl Examination<'_> {
    pub(super) fn restore(&self) -> String {
        match &self.config.store {
            StoreAddress::Embedded => {
                format!("mandate restore FILE --dir {}.restored   (from a backup)", self.shown)
            }
            StoreAddress::Postgres(_) => {
                "pg_restore --exit-on-error --no-owner --dbname URL FILE   (from a backup by pg_dump, into an empty database)".to_owned()
            }
        }
    }

    /// The command that puts the sealing key back, from where it was `kept`.
    fn put_key_back(&self, kept: &str) -> String {
        format!("cp KEPT {0}/seal.key && chmod 600 {0}/seal.key   (KEPT is {kept})", self.shown)
    }

    /// The sealing key. `elsewhere`: there is a database that is not in the directory, and it needs the key.
    pub(super) fn sealing_key(&mut self, elsewhere: bool) -> Option<Secret> {
        match Inspection::seal_key(&self.config.dir) {
            Ok(Some(key)) => {
                self.add(DoctorFinding::ok(SEALING, "seal.key is there, for this user alone"));
                Some(key)
            }
            Ok(None) => {
                match Store::is_there(&self.config.dir) {
                    Ok(here) if here || elsewhere => {
                        let (database, kept) = if here {
                            ("mandate.db", "the file of --keys-file")
                        } else {
                            ("the database", "the copy of it")
                        };
                        let next = self.put_key_back(kept);
                        self.add(DoctorFinding::problem(
                            SEALING,
                            format!("seal.key is missing, and {database} cannot be used without it"),
                            next,
                        ));
                    }
                    _ => self.add(DoctorFinding::ok(SEALING, "there is none yet; the first start makes it")),
                }
                None
            }
            Err(StoreError::File(error)) => {
                let next = self.remedy(&error);
                self.add(DoctorFinding::problem(SEALING, error_text(&error), next));
                None
            }
            Err(error) => {
                let next = self.put_key_back("the file of --keys-file");
                self.add(DoctorFinding::problem(SEALING, store_text(&error), next));
                None
            }
        }
    }

    /// The database with everything in it. `used`: the directory shows that there was one.
    pub(super) fn database(
        &mut self,
        dir: &Dir,
        sealing_key: Option<&Secret>,
        used: bool,
        progress: impl FnMut(u64, u64),
    ) -> Option<Inspection> {
        const INSIDE: &[&str] = &[INTEGRITY, FITS, LOG, CLOCK];
        const WHY: &str = "needs the database";
        match Store::is_there(dir.path()) {
            Ok(true) => {}
            Ok(false) if !used && sealing_key.is_none() => {
                self.add(DoctorFinding::ok(DATABASE, "there is none yet; the first start makes it"));
                return None;
            }
            Ok(false) => {
                let next = self.restore();
                self.add(DoctorFinding::problem(
                    DATABASE,
                    "mandate.db is missing or empty, and a server has used this directory",
                    next,
                ));
                self.could_not_look(INSIDE, WHY);
                return None;
            }
            Err(error) => {
                self.file_problem(DATABASE, &error);
                self.could_not_look(INSIDE, WHY);
                return None;
            }
        }
        let (inspection, journal) = match Inspection::of_directory(dir.path()) {
            Ok(inspection) => {
                (inspection, DoctorFinding::ok(JOURNAL, "mandate.db-wal is there, or is not needed"))
            }
            Err(error @ StoreError::JournalMissing(_)) => {
                let next = self.restore();
                let problem = DoctorFinding::problem(JOURNAL, error.to_string(), next);
                match Inspection::of_directory_without_journal(dir.path()) {
                    Ok(inspection) => (inspection, problem),
                    Err(error) => {
                        self.add(problem);
                        self.file_problem(DATABASE, &error);
                        self.could_not_look(INSIDE, WHY);
                        return None;
                    }
                }
            }
            Err(error) => {
                self.file_problem(DATABASE, &error);
                self.could_not_look(INSIDE, WHY);
                return None;
            }
        };
        match inspection.schema() {
            Ok(schema) => self.add(DoctorFinding::ok(
                DATABASE,
                format!("mandate.db has schema {schema}, which this program knows"),
            )),
            Err(error) => {
                let next = match error {
                    StoreError::Newer { .. } => {
                        "mandate --version   (install the version that the server ran with, or a newer one)"
                            .to_owned()
                    }
                    _ => self.restore(),
                };
                self.add(DoctorFinding::problem(DATABASE, store_text(&error), next));
                self.add(journal);
                self.could_not_look(INSIDE, WHY);
                return None;
            }
        }
        let whole = journal.state == DoctorState::Ok;
        self.add(journal);
        self.pages(&inspection);
        if !whole {
            self.could_not_look(&[FITS, LOG, CLOCK], "needs mandate.db-wal");
            return Some(inspection);
        }
        self.fits(&inspection, sealing_key);
        self.log(Some(dir), &inspection, progress);
        self.clock(&inspection);
        Some(inspection)
    }

    fn file_problem(&mut self, check: &'static str, error: &StoreError) {
        let next = match error {
            StoreError::File(error @ (FileError::Exposed { .. } | FileError::Owner { .. })) => {
                self.remedy(error)
            }
            _ => self.restore(),
        };
        self.add(DoctorFinding::problem(check, store_text(error), next));
    }

    fn pages(&mut self, inspection: &Inspection) {
        let next = self.restore();
        self.add(match inspection.faults() {
            Ok(faults) if faults.is_empty() => DoctorFinding::ok(INTEGRITY, "SQLite finds nothing wrong"),
            Ok(faults) => DoctorFinding::problem(
                INTEGRITY,
                format!("mandate.db is damaged: {}", faults.join("; ")),
                next,
            ),
            Err(error) => DoctorFinding::problem(INTEGRITY, store_text(&error), next),
        });
    }

    pub(super) fn fits(&mut self, inspection: &dyn Inspected, sealing_key: Option<&Secret>) {
        let Some(key) = sealing_key else {
            return self.add(DoctorFinding::could_not_look(FITS, "needs seal.key"));
        };
        let next = self.put_key_back("the copy of the key of this database");
        self.add(match inspection.is_sealed_with(key, Arc::clone(&self.entropy)) {
            Ok(true) => DoctorFinding::ok(FITS, "seal.key is the one of the database"),
            Ok(false) => DoctorFinding::problem(FITS, "seal.key belongs to another database", next),
            Err(error) => DoctorFinding::problem(FITS, store_text(&error), next),
        });
    }

    /// The stops that wait for a log. The reserve must belong to one of the database's logs, and to its time.
    fn reserve(&mut self, dir: &Dir, logs: &[&str], newest: Timestamp) {
        let move_away = format!(
            "mv {0}/{FILE} {0}/{FILE}.other   (then repeat the stops that must stay in force)",
            self.shown
        );
        let path = dir.entry(FILE);
        self.add(match dir.read(FILE, SIZE as u64) {
            Ok(None) => DoctorFinding::ok(RESERVE, format!("there is no {FILE}; the server makes it")),
            Ok(Some(bytes)) => {
                // The result for the log that the reserve belongs to, or else what is wrong with it.
                let mut found = Ok(0);
                for log in logs {
                    found = held(&bytes, log, newest.max(self.now), &path);
                    if !matches!(found, Err(ReserveError::Foreign { .. })) {
                        break;
                    }
                }
                match found {
                    Ok(0) => DoctorFinding::ok(RESERVE, "nothing waits in it for the audit log".to_owned()),
                    Ok(some) => DoctorFinding::ok(
                        RESERVE,
                        format!("{some} revocations or suspensions in it; the start puts in force those that the log does not have"),
                    ),
                    Err(error) => DoctorFinding::problem(RESERVE, error.to_string(), move_away),
                }
            }
            Err(error) => {
                let next = self.remedy(&error);
                DoctorFinding::problem(RESERVE, error_text(&error), next)
            }
        });
    }

    /// The newest checkpoint that the server has kept beside the database: a start refuses a log that went
    /// back.
    fn last_checkpoint(&mut self, kept: Option<&KeptCheckpoint>, inspection: &dyn Inspected) {
        let Some(kept) = kept else {
            let detail = format!("there is no {LAST_CHECKPOINT}; the server writes it");
            return self.add(DoctorFinding::ok(LAST, detail));
        };
        self.add(match inspection.compare(kept) {
            Ok(records) => DoctorFinding::ok(
                LAST,
                format!("the audit log has the {records} records that {LAST_CHECKPOINT} shows"),
            ),
            Err(WentBack::Store(error)) => DoctorFinding::could_not_look(LAST, store_text(&error)),
            Err(error) => {
                let elsewhere = matches!(self.config.store, StoreAddress::Postgres(_));
                let next = accepting_log_that_went_back(&self.shown, elsewhere);
                DoctorFinding::problem(LAST, error.to_string(), next)
            }
        });
    }

    pub(super) fn log(
        &mut self,
        dir: Option<&Dir>,
        inspection: &dyn Inspected,
        mut progress: impl FnMut(u64, u64),
    ) {
        let next = self.restore();
        // Before the log, which a server may be writing.
        let kept = dir.map(KeptCheckpoint::read);
        let verified = inspection.verify_logs(&mut progress);
        if let (Ok(verified), Some(dir)) = (&verified, dir) {
            match kept {
                Some(Ok(kept)) => self.last_checkpoint(kept.as_ref(), inspection),
                // The check of the files reports it.
                Some(Err(error)) => self.add(DoctorFinding::could_not_look(LAST, error_text(&error))),
                None => {}
            }
            let keys: Vec<&str> = verified.iter().map(|log| log.summary.vkey.as_str()).collect();
            match inspection.newest() {
                Ok(newest) => self.reserve(dir, &keys, newest),
                Err(error) => self.add(DoctorFinding::could_not_look(RESERVE, store_text(&error))),
            }
        }
        self.add(match verified.as_deref() {
            Ok([only]) => DoctorFinding::ok(
                LOG,
                format!("verifies: {} records, root {}", only.summary.size, only.summary.root),
            ),
            Ok(several) => {
                let each = several.iter().map(|CheckedLog { summary: log, .. }| {
                    format!("{}: {} records, root {}", log.origin, log.size, log.root)
                });
                DoctorFinding::ok(
                    LOG,
                    format!("all {} verify: {}", several.len(), each.collect::<Vec<_>>().join("; ")),
                )
            }
            Err(LogError::Store(error)) => DoctorFinding::problem(LOG, store_text(error), next),
            Err(error) => {
                DoctorFinding::problem(LOG, format!("the audit log is not what was written: {error}"), next)
            }
        });
    }

    pub(super) fn clock(&mut self, inspection: &dyn Inspected) {
        self.add(match inspection.newest() {
            Ok(newest) if newest > self.now.plus(RECORD_CLOCK_SKEW) => DoctorFinding::problem(
                CLOCK,
                format!("it is {} here, and the newest record is of {newest}: the clock was set back, or was ahead before", self.now),
                "timedatectl   (set the clock right before the start)",
            ),
            Ok(newest) => DoctorFinding::ok(CLOCK, format!("it is {}, and the newest record is of {newest}", self.now)),
            Err(error) => DoctorFinding::could_not_look(CLOCK, store_text(&error)),
        });
    }
}
