//! The optional cache file: keys and cuts as last seen, so that a restart during an outage of the issuer
//! still works.
//!
//! Nothing in it is secret, but a user who can write it decides whose tokens are accepted. So the file is
//! refused if others own it or may write it, and if they may put a file in its directory or on the way to it.
//! A link in the file's place is not followed. The file is replaced in one step.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mandate_core::{Cut, Entropy, Issuer, Timestamp};
#[cfg(unix)]
use mandate_files::{Dir, FileError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::issuer::parse_keys;
use crate::keys::Keys;
use crate::revocations::Revocations;
use crate::shared::Shared;

/// The largest file that is read, in bytes: 100,000 cuts and a key set fit.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Changes within this time are written together.
const GATHER: Duration = Duration::from_secs(1);
/// The file is renewed this often even without a change, because it contains the time of the last contact.
const RENEW: Duration = Duration::from_secs(30);

/// The cache file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum CacheFileError {
    /// It cannot be read.
    #[error("the cache file {path} cannot be read")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others may write it, and so decide whose tokens are accepted.
    #[error("the cache file {0} may be written by others; chmod it to 0600")]
    WritableByOthers(PathBuf),
    /// Others own it, and so decide whose tokens are accepted.
    #[error("the cache file {0} belongs to another user; remove it")]
    OwnedByOthers(PathBuf),
    /// Others may put their own file in its place, as in `/tmp`, or another directory in place of one on the
    /// way.
    #[error(
        "the cache file's directory {0} belongs to others or may be written by them; use a directory of your own, with mode 0700"
    )]
    Directory(PathBuf),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u8,
    issuer: Issuer,
    fetched: Timestamp,
    jwks: Box<RawValue>,
    contact: Option<Timestamp>,
    cuts: Vec<Cut>,
}

const VERSION: u8 = 1;

/// What was restored from a file.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) keys: Option<Keys>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) contact: Option<Timestamp>,
}

impl Restored {
    pub(crate) fn into_parts(self) -> (Option<Keys>, Revocations) {
        (self.keys, Revocations::restored(self.cuts, self.contact))
    }
}

/// The directory of the file, and its name there.
fn place(path: &Path) -> (&Path, &OsStr) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (directory, path.file_name().unwrap_or_default())
}

#[cfg(unix)]
fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, CacheFileError> {
    let unreadable = |path: &Path, error: FileError| {
        let source =
            error.io().map_or_else(|| io::Error::other(error.to_string()), |io| io::Error::from(io.kind()));
        CacheFileError::Unreadable { path: path.to_owned(), source }
    };
    let (directory, name) = place(path);
    // A sticky directory is refused too: in it, the first user to create the file decides what is in it.
    let dir = Dir::open(directory).map_err(|error| match error {
        FileError::Owner { path, .. } | FileError::Exposed { path, .. } => CacheFileError::Directory(path),
        error => unreadable(directory, error),
    })?;
    dir.read(name, MAX_FILE).map_err(|error| match error {
        FileError::Owner { path, .. } => CacheFileError::OwnedByOthers(path),
        FileError::Exposed { path, .. } => CacheFileError::WritableByOthers(path),
        error => unreadable(path, error),
    })
}

/// If the system has no owners and modes like Unix, the file is as safe as its directory.
#[cfg(not(unix))]
fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, CacheFileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CacheFileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Reads the file. A file that is absent, damaged, of another version or of another issuer restores nothing.
pub(crate) fn read(path: &Path, issuer: &Issuer) -> Result<Restored, CacheFileError> {
    let Some(bytes) = read_bytes(path)? else { return Ok(Restored::default()) };
    let content: Content = match serde_json::from_slice(&bytes) {
        Ok(content) => content,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the cache file is damaged and is ignored");
            return Ok(Restored::default());
        }
    };
    if content.version != VERSION || content.issuer != *issuer {
        tracing::warn!(path = %path.display(), issuer = %content.issuer, "the cache file is of another issuer or version and is ignored");
        return Ok(Restored::default());
    }
    let json = content.jwks.get().as_bytes().to_vec();
    let keys = match parse_keys(&json) {
        Ok(set) => Some(Keys { set, json, fetched: content.fetched }),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the keys in the cache file are ignored");
            None
        }
    };
    Ok(Restored { keys, cuts: content.cuts, contact: content.contact })
}

/// Replaces the file in one step: a reader sees the old content or the new one.
#[cfg(unix)]
fn write(path: &Path, content: &[u8], entropy: &dyn Entropy) -> Result<(), FileError> {
    let (directory, name) = place(path);
    Dir::open(directory)?.replace(name, 0o600, content, entropy)
}

#[cfg(not(unix))]
fn write(path: &Path, content: &[u8], _: &dyn Entropy) -> io::Result<()> {
    let mut name = place(path).1.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}

fn snapshot(shared: &Shared) -> Option<Vec<u8>> {
    let keys = shared.keys.last_good()?;
    // The time of the contact is read first, so that the cuts are at least those that were known at that
    // time.
    let contact = shared.revocations.last_contact();
    let content = Content {
        version: VERSION,
        issuer: shared.client.issuer().clone(),
        fetched: keys.fetched,
        jwks: RawValue::from_string(String::from_utf8(keys.json.clone()).ok()?).ok()?,
        contact,
        cuts: shared.revocations.all(),
    };
    serde_json::to_vec(&content).ok()
}

/// Keeps the file up to date until the verifier is dropped.
pub(crate) async fn keep(shared: &Shared, path: &Path) {
    let mut status = shared.status.subscribe();
    loop {
        if let Some(content) = snapshot(shared) {
            let (to, entropy) = (path.to_owned(), Arc::clone(&shared.entropy));
            let written = tokio::task::spawn_blocking(move || write(&to, &content, entropy.as_ref())).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(path = %path.display(), %error, "the cache file cannot be written");
            }
        }
        tokio::time::sleep(GATHER).await;
        // An error would mean that the sender is gone; it is held by `shared`.
        let _ = tokio::time::timeout(RENEW, status.changed()).await;
    }
}
