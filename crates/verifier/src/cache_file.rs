//! The optional cache file: keys and cuts as last seen, so that a restart during an outage of the issuer still works.
//!
//! Nothing in it is secret, but whoever can write it decides whose tokens are accepted. So a file that others own or may
//! write is refused, and a directory in which they may put one; links are not followed; and it is replaced in one step.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mandate_core::{Cut, Issuer, Timestamp};
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
/// The file is renewed this often even without a change, for the time of the last contact.
const RENEW: Duration = Duration::from_secs(30);

/// The cache file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheFileError {
    /// It cannot be read.
    #[error("the cache file {path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may write it, and so decide whose tokens are accepted.
    #[error("the cache file {0} may be written by others; chmod it to 0600")]
    WritableByOthers(PathBuf),
    /// Others own it, and so decide whose tokens are accepted.
    #[error("the cache file {0} belongs to another user; remove it")]
    OwnedByOthers(PathBuf),
    /// Others may put a file of theirs in its place, as in `/tmp`.
    #[error("the cache file's directory {0} belongs to others or may be written by them; use a directory of your own, with mode 0700")]
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

/// What a file gave back.
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

/// Reads the file. A file that is absent, damaged, of another version or of another issuer restores nothing.
pub(crate) fn read(path: &Path, issuer: &Issuer) -> Result<Restored, CacheFileError> {
    let unreadable = |source| CacheFileError::Unreadable { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = fs::metadata(directory).map_err(|source| CacheFileError::Unreadable { path: directory.to_owned(), source })?;
    // Whether sticky or not: whoever comes first in such a directory lays the file out.
    if !ours(&stat) || writable_by_others(&stat) {
        return Err(CacheFileError::Directory(directory.to_owned()));
    }
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Restored::default()),
        Err(error) => return Err(unreadable(error)),
    };
    let stat = file.metadata().map_err(unreadable)?;
    if !ours(&stat) {
        return Err(CacheFileError::OwnedByOthers(path.to_owned()));
    }
    if writable_by_others(&stat) {
        return Err(CacheFileError::WritableByOthers(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
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
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = private_file(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Removed first, so that neither an old mode nor a link laid out by somebody else is written through.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<fs::File> {
    fs::File::create(path)
}

/// Opens the file itself, not what a link points to, and does not wait if it is a pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?.into())
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<fs::File> {
    fs::File::open(path)
}

/// Whether it belongs to the user we run as, or to root, who decides everything anyway.
#[cfg(unix)]
fn ours(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn ours(_: &fs::Metadata) -> bool {
    true
}

#[cfg(unix)]
fn writable_by_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o022 != 0
}

#[cfg(not(unix))]
fn writable_by_others(_: &fs::Metadata) -> bool {
    false
}

fn snapshot(shared: &Shared) -> Option<Vec<u8>> {
    let keys = shared.keys.last_good()?;
    // The contact before the cuts: the cuts are then at least those that were known at that time.
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

/// Keeps the file up to date for as long as the verifier lives.
pub(crate) async fn keep(shared: &Shared, path: &Path) {
    let mut status = shared.status.subscribe();
    loop {
        if let Some(content) = snapshot(shared) {
            let to = path.to_owned();
            let written = tokio::task::spawn_blocking(move || write(&to, &content)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(path = %path.display(), %error, "the cache file cannot be written");
            }
        }
        tokio::time::sleep(GATHER).await;
        // An error would mean that the sender is gone; it is held by `shared`.
        let _ = tokio::time::timeout(RENEW, status.changed()).await;
    }
}
