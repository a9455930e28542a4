//! The database of a test: the embedded one, or one of PostgreSQL if the environment asks for that. So the
//! same tests run on both.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests end the test"
)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use mandate_core::Entropy;
use mandate_core::digest::sha256;
use mandate_store::{Store, StoreError};

use crate::postgres::Cluster;

/// Which database tests use: `sqlite` (also if it is not set) or `postgres`.
const STORE: &str = "MANDATE_TEST_STORE";

/// The folder of the socket of a server that another test program has started and ends.
const SERVER: &str = "MANDATE_TEST_POSTGRES";

/// The server of this test program. It ends with the program that started it.
static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// Why a test is skipped in a run on PostgreSQL ([`crate::skipped`]): it damages, fills or copies files that
/// only SQLite has.
pub const OF_FILES: &str = "it is about files of SQLite";

/// Whether this run of the tests uses PostgreSQL.
#[must_use]
pub fn is_postgres() -> bool {
    match env::var(STORE).as_deref() {
        Err(_) | Ok("" | "sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("{STORE}={other}: write sqlite or postgres"),
    }
}

/// The PostgreSQL server of this test program.
pub fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| {
        match env::var_os(SERVER) {
            Some(socket_dir) => Cluster::of_another_program(socket_dir.into()),
            None => Cluster::start(&["max_connections=1000"]),
        }
        .expect("PostgreSQL is installed")
    })
}

/// What a process that this one starts needs in its environment to use the same databases.
#[must_use]
pub fn environment() -> Vec<(&'static str, OsString)> {
    if !is_postgres() {
        return Vec::new();
    }
    vec![(STORE, "postgres".into()), (SERVER, cluster().socket_dir().into())]
}

/// The name of the database that belongs to a directory. It is made if it is not there.
#[must_use]
pub fn database_of(dir: &Path) -> String {
    let digest = sha256(dir.as_os_str().as_encoded_bytes());
    let name = format!("of_{}", base16ct::lower::encode_string(digest.get(..10).unwrap_or(&digest)));
    cluster().ensure_database(&name);
    name
}

/// The address of the database that belongs to a directory, for `--store`.
#[must_use]
pub fn url_of(dir: &Path) -> String {
    cluster().url(&database_of(dir))
}

/// Opens the store of a directory. Each time the same directory is given, it is the same database.
pub fn open(dir: &Path, entropy: Arc<dyn Entropy>) -> Result<Store, StoreError> {
    if is_postgres() {
        Store::connect_blocking(dir, &url_of(dir).parse().expect("an address"), entropy)
    } else {
        Store::open_blocking(dir, entropy)
    }
}

/// Changes the database of a directory behind the back of the program: with `sqlite` or with `postgres`,
/// which do the same.
pub fn edit(dir: &Path, sqlite: &str, postgres: &str) {
    if is_postgres() {
        cluster().sql(&database_of(dir), postgres);
    } else {
        let connection = rusqlite::Connection::open(dir.join("mandate.db")).expect("a database");
        connection.execute_batch(sqlite).expect(sqlite);
    }
}

/// Bytes as a literal of the database's SQL.
#[must_use]
pub fn literal(bytes: &[u8]) -> String {
    let hex = base16ct::lower::encode_string(bytes);
    if is_postgres() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
}

/// Whether the bytes stand anywhere in the database of a directory or in a file of the directory.
#[must_use]
pub fn holds(dir: &Path, needle: &[u8]) -> bool {
    let contains = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let files = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"));
    let in_files = files.into_iter().any(|bytes| contains(&bytes, needle));
    // A dump shows bytes in hexadecimal.
    let in_dump = || {
        let dump = cluster().dump(&database_of(dir));
        contains(&dump, needle) || contains(&dump, base16ct::lower::encode_string(needle).as_bytes())
    };
    in_files || is_postgres() && in_dump()
}
