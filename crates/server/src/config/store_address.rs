//! Where the server keeps its data: in its directory or in a PostgreSQL database.

use std::path::Path;

use mandate_store::{AddressFiles, PostgresAddress};
use serde::{Deserialize, Serialize};

use super::error::ConfigError;

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
    /// A PostgreSQL database.
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
    pub(super) fn is_embedded(&self) -> bool {
        *self == Self::Embedded
    }
}
