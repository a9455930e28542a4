//! The database in a server of PostgreSQL: the way to it, who uses it, and what is in it.

use mandate_core::Secret;
use mandate_files::Dir;
use mandate_store::{DatabaseHolder, Installation, PostgresAddress, PostgresInspection, StoreError};

use super::database::{CLOCK, DATABASE, FITS, LOG};
use super::{DoctorFinding, Examination, store_text};
use crate::database_place::Place;

const SERVER: &str = "server of the database";

impl Examination<'_> {
    /// The database with everything in it. `used`: the directory shows that there was one. Returns whose data
    /// it says it is.
    pub(super) fn postgres(
        &mut self,
        dir: Option<&Dir>,
        address: &PostgresAddress,
        sealing_key: Option<&Secret>,
        used: bool,
        progress: impl FnMut(u64, u64),
    ) -> Option<Installation> {
        let opened = PostgresInspection::connect(address)
            .and_then(|inspection| inspection.schema().map(|schema| (inspection, schema)));
        let (inspection, schema) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.add(unusable(address, &error, &self.shown));
                self.could_not_look(&[SERVER, FITS, LOG, CLOCK], "needs the database");
                return None;
            }
        };
        self.users(&inspection, address);
        let Some(schema) = schema else {
            if used || sealing_key.is_some() {
                let next = self.restore();
                self.add(DoctorFinding::problem(
                    DATABASE,
                    format!("{address} is empty, and a server has used this directory"),
                    next,
                ));
                self.could_not_look(&[FITS, LOG, CLOCK], "needs the database's content");
            } else {
                self.add(DoctorFinding::ok(
                    DATABASE,
                    format!("{address} is empty; the first start makes its tables"),
                ));
            }
            return None;
        };
        let newest = PostgresInspection::newest_schema();
        if schema < newest {
            self.add(DoctorFinding::ok(
                DATABASE,
                format!("{address} has schema {schema}; the next start brings it up to date, to {newest}"),
            ));
            self.fits(&inspection, sealing_key);
            self.could_not_look(&[LOG, CLOCK], &format!("needs schema {newest}"));
        } else {
            self.add(DoctorFinding::ok(
                DATABASE,
                format!("{address} has schema {schema}, which this program knows"),
            ));
            self.fits(&inspection, sealing_key);
            self.log(dir, &inspection, progress);
            self.clock(&inspection);
        }
        inspection.installation().ok().flatten()
    }

    /// Whether a server could use it now.
    fn users(&mut self, inspection: &PostgresInspection, address: &PostgresAddress) {
        match inspection.takes_writes() {
            Ok(true) => {}
            Ok(false) => {
                return self.add(DoctorFinding::problem(
                    SERVER,
                    "it takes no writes: it is a standby, or default_transaction_read_only is on",
                    format!(
                        "psql '{}' -c 'SELECT pg_is_in_recovery()' -c 'SHOW default_transaction_read_only'",
                        address.for_libpq()
                    ),
                ));
            }
            Err(error) => return self.add(DoctorFinding::could_not_look(SERVER, store_text(&error))),
        }
        let finding = match (inspection.holder(), self.runs) {
            (Ok(None), false) => {
                DoctorFinding::ok(SERVER, "it takes writes, and no server of Mandate uses it")
            }
            (Ok(Some(_)), true) => DoctorFinding::ok(
                SERVER,
                "it takes writes, and a server uses it, as one runs in this directory",
            ),
            (Ok(None), true) => DoctorFinding::problem(
                SERVER,
                "the server that runs in this directory has no lock on it: it uses another database, or has lost its connection",
                format!("mandate status --dir {}", self.shown),
            ),
            (Ok(Some(DatabaseHolder { pid, from })), false) => {
                let from = from.map(|from| format!(", from {from}")).unwrap_or_default();
                DoctorFinding::problem(
                    SERVER,
                    format!("another server of Mandate uses it (process {pid} of the database server{from})"),
                    Place::of(&self.config.store).who_holds_it(),
                )
            }
            (Err(error), _) => DoctorFinding::could_not_look(SERVER, store_text(&error)),
        };
        self.add(finding);
    }
}

fn unusable(address: &PostgresAddress, error: &StoreError, shown: &str) -> DoctorFinding {
    let next = match error {
        StoreError::Newer { .. } => {
            "mandate --version   (install the version that the server ran with, or a newer one)".to_owned()
        }
        StoreError::LosesCommits(_) => "sudo -u postgres psql -c 'ALTER SYSTEM SET fsync = on' \
             -c 'ALTER SYSTEM SET full_page_writes = on' -c 'SELECT pg_reload_conf()'   (on the machine of the database)"
            .to_owned(),
        StoreError::Foreign => {
            format!("mandate doctor --dir {shown} --store URL   (the database that is for Mandate alone)")
        }
        _ => format!("psql '{}' -c 'SHOW server_version' -c 'SHOW server_encoding'   (does it let this user in?)", address.for_libpq()),
    };
    DoctorFinding::problem(DATABASE, format!("{address}: {}", store_text(error)), next)
}
