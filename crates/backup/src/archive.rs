//! The archive: how members are written, and how an untrusted file is read.

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;

use mandate_core::Timestamp;
use mandate_core::digest::Sha256;

use crate::error::BackupError;
use crate::manifest::{Manifest, MemberEntry};
use crate::members::{LARGEST_MANIFEST, MANIFEST};
use crate::stopping::Until;

/// Members begin at multiples of this (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: u64 = 512;

/// A member that is to be written, and where its bytes come from.
pub(crate) type Source<'a> = (MemberEntry, &'a mut dyn Read);

/// Counts the bytes that pass, and computes their digest.
struct Measured<R> {
    inner: R,
    size: u64,
    digest: Sha256,
}

impl<R> Measured<R> {
    fn new(inner: R) -> Self {
        Self { inner, size: 0, digest: Sha256::default() }
    }

    fn entry(self, name: &str) -> MemberEntry {
        MemberEntry {
            name: name.to_owned(),
            size: self.size,
            sha256: base16ct::lower::encode_string(&self.digest.finish()),
        }
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        self.size += read as u64;
        Ok(read)
    }
}

/// What the manifest says of a member with these bytes.
pub(crate) fn measure(name: &str, source: impl Read) -> Result<MemberEntry, BackupError> {
    let mut measured = Measured::new(source);
    io::copy(&mut measured, &mut io::sink()).map_err(BackupError::reading)?;
    Ok(measured.entry(name))
}

pub(crate) fn write(
    out: impl Write,
    manifest: &Manifest,
    sources: Vec<Source<'_>>,
    created: Timestamp,
) -> Result<(), BackupError> {
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| BackupError::writing(error.into()))?;
    let mut builder = tar::Builder::new(out);
    let mut append = |name: &str, size: u64, source: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(created.secs());
        header.set_cksum();
        builder.append(&header, source)
    };
    append(MANIFEST, text.len() as u64, &mut text.as_slice()).map_err(BackupError::writing)?;
    for (entry, source) in sources {
        append(&entry.name, entry.size, source).map_err(BackupError::writing)?;
    }
    builder.finish().and_then(|()| builder.get_mut().flush()).map_err(BackupError::writing)
}

/// An error in the form of the archive is damage; an error of the system is not.
fn broken(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated,
        _ if error.raw_os_error().is_some() => BackupError::reading(error),
        _ => BackupError::Damaged(error.to_string()),
    }
}

/// A backup whose manifest was read.
#[derive(Debug)]
pub struct Archive<R> {
    manifest: Manifest,
    rest: R,
}

impl<R: Read> Archive<R> {
    /// Reads the manifest. Nothing of it is verified yet.
    pub fn read(input: R) -> Result<Self, BackupError> {
        let mut archive = tar::Archive::new(input);
        let mut text = Vec::new();
        {
            // Raw: extensions of the format, which could give a member another name, are members that no
            // backup has.
            let mut entries = archive.entries().map_err(broken)?.raw(true);
            let mut first = match entries.next() {
                Some(Ok(first)) if is(&first, MANIFEST) => first,
                Some(Err(error)) if error.raw_os_error().is_some() => {
                    return Err(BackupError::reading(error));
                }
                _ => return Err(BackupError::NotABackup),
            };
            let size = first.size();
            if size > LARGEST_MANIFEST {
                return Err(BackupError::NotABackup);
            }
            first.read_to_end(&mut text).map_err(broken)?;
            if text.len() as u64 != size {
                return Err(BackupError::Truncated);
            }
        }
        let manifest = Manifest::parse(&text)?;
        let mut rest = archive.into_inner();
        let padding = (text.len() as u64).next_multiple_of(BLOCK) - text.len() as u64;
        io::copy(&mut (&mut rest).take(padding), &mut io::sink()).map_err(broken)?;
        Ok(Self { manifest, rest })
    }

    /// The manifest, as the archive has it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The same, which is read until `stop` is set.
    pub(crate) fn until(self, stop: &AtomicBool) -> Archive<Until<'_, R>> {
        Archive { manifest: self.manifest, rest: Until::new(self.rest, stop) }
    }

    /// Gives each member to `take`, and verifies that the members are exactly those of the manifest.
    pub(crate) fn each(
        self,
        mut take: impl FnMut(&MemberEntry, &mut dyn Read) -> Result<(), BackupError>,
    ) -> Result<Manifest, BackupError> {
        let Self { manifest, rest } = self;
        let mut archive = tar::Archive::new(rest);
        let mut entries = archive.entries().map_err(broken)?.raw(true);
        for expected in &manifest.members {
            let entry = entries.next().ok_or(BackupError::Truncated)?.map_err(broken)?;
            if !is(&entry, &expected.name) || entry.size() != expected.size {
                let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(BackupError::Damaged(format!(
                    "{} should be next, but the next member is {found:?} with {} bytes",
                    expected.name,
                    entry.size()
                )));
            }
            let mut measured = Measured::new(entry);
            take(expected, &mut measured)?;
            // The bytes that `take` did not read are measured, too.
            io::copy(&mut measured, &mut io::sink()).map_err(broken)?;
            let found = measured.entry(&expected.name);
            if found.size < expected.size {
                return Err(BackupError::Truncated);
            }
            if found != *expected {
                return Err(BackupError::Damaged(format!(
                    "{} does not have the SHA-256 in its manifest",
                    expected.name
                )));
            }
        }
        match entries.next() {
            None => Ok(manifest),
            Some(Ok(entry)) => {
                let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                Err(BackupError::Damaged(format!("it contains {found:?}, which its manifest does not name")))
            }
            Some(Err(error)) => Err(broken(error)),
        }
    }

    /// Verifies that every member is what the manifest says.
    pub(crate) fn verify(self) -> Result<Manifest, BackupError> {
        self.each(|_, _| Ok(()))
    }
}

/// Whether an entry is a file of exactly that name.
fn is<R: Read>(entry: &tar::Entry<'_, R>, name: &str) -> bool {
    entry.header().entry_type() == tar::EntryType::Regular && *entry.path_bytes() == *name.as_bytes()
}
