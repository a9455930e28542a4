//! Restores a backup into a new directory.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mandate_core::{Entropy, Secret};
use mandate_files::{Dir, NewDir};
use mandate_store::{Inspection, keep_last_checkpoint};

use crate::archive::Archive;
use crate::create::Whose;
use crate::error::BackupError;
use crate::manifest::{AuditHead, KeyPlace, Manifest};
use crate::members::{DATABASE, MemberKind, REMEMBERED, SEAL_KEY, named};
use crate::sealed_key;
use crate::stopping::until;

/// The length of a sealing key, in bytes.
const KEY_LEN: usize = 32;

/// Where a backup goes, and what opens it.
pub struct Restoring<'a> {
    /// The directory: it does not exist yet, or is empty.
    pub dir: &'a Path,
    /// The sealing key, for a backup without it.
    pub sealing_key: Option<Secret>,
    /// The passphrase, for a backup with it.
    pub passphrase: Option<Secret>,
    /// Randomness for the names of new files.
    pub entropy: Arc<dyn Entropy>,
    /// Set it to end the work, which then fails with [`BackupError::Stopped`].
    pub stop: Arc<AtomicBool>,
}

/// The result of [`Archive::restore`].
#[derive(Debug)]
pub struct Restored {
    /// The manifest of the backup.
    pub manifest: Manifest,
}

impl<R: Read> Archive<R> {
    /// Restores it. The directory gets its name, or its files, only after everything was verified: each
    /// member, the database, its audit log, the sealing key, and the installation. After an error nothing is
    /// left.
    ///
    /// `progress` is told how many of how many audit records are verified.
    pub fn restore(
        self,
        restoring: &Restoring<'_>,
        progress: impl FnMut(u64, u64),
    ) -> Result<Restored, BackupError> {
        until(&restoring.stop, || self.unpack(restoring, progress))
    }

    fn unpack(
        self,
        restoring: &Restoring<'_>,
        progress: impl FnMut(u64, u64),
    ) -> Result<Restored, BackupError> {
        match (self.manifest().sealing_key, &restoring.sealing_key, &restoring.passphrase) {
            (KeyPlace::Apart, None, _) => return Err(BackupError::KeyNeeded),
            (KeyPlace::Sealed, Some(_), _) => return Err(BackupError::KeyIsSealed),
            (KeyPlace::Sealed, None, None) => return Err(BackupError::Passphrase),
            (KeyPlace::Apart, Some(_), _) | (KeyPlace::Sealed, None, Some(_)) => {}
        }
        let new = NewDir::start(restoring.dir, restoring.entropy.as_ref())?;
        let (manifest, sealed) = extract(self.until(&restoring.stop), new.dir())?;
        let sealing_key = match (&restoring.sealing_key, &restoring.passphrase) {
            (Some(key), _) => key.clone(),
            (None, Some(passphrase)) => sealed_key::open(&sealed, passphrase, manifest.database_digest())?,
            (None, None) => return Err(BackupError::KeyNeeded),
        };
        if sealing_key.expose_secret().len() != KEY_LEN {
            return Err(BackupError::NotAKey);
        }
        verify(new.dir(), &manifest, &sealing_key, restoring, progress)?;
        if restoring.stop.load(Ordering::Relaxed) {
            return Err(BackupError::Stopped);
        }
        new.dir().replace(SEAL_KEY, 0o600, sealing_key.expose_secret(), restoring.entropy.as_ref())?;
        // That the log went back to the backup is what was asked for. From here on it must not.
        if let Some(note) = Inspection::of_file(&new.dir().entry(DATABASE))?.checkpoint()? {
            keep_last_checkpoint(new.dir(), &note, restoring.entropy.as_ref())?;
        }
        // In this order, because a server does not start with a sealing key and no database.
        new.commit(&[SEAL_KEY, DATABASE])?;
        Ok(Restored { manifest })
    }
}

/// Puts every member in its place. Returns the sealed key, if there is one.
fn extract<R: Read>(archive: Archive<R>, dir: &Dir) -> Result<(Manifest, Vec<u8>), BackupError> {
    let mut sealed = Vec::new();
    let manifest = archive.each(|entry, source| {
        let member = named(&entry.name).ok_or(BackupError::NotABackup)?;
        if member.kind == MemberKind::SealedKey {
            source.read_to_end(&mut sealed).map_err(BackupError::reading)?;
            return Ok(());
        }
        let free = dir.free_space()?;
        if entry.size > free {
            return Err(BackupError::NoSpace { needed: entry.size, free, place: dir.path().to_owned() });
        }
        let mut file = dir.create(member.name, 0o600)?;
        io::copy(source, &mut file).map_err(|source| BackupError::Io { doing: "unpack", source })?;
        file.sync_all().map_err(|source| BackupError::Io { doing: "unpack", source })
    })?;
    Ok((manifest, sealed))
}

fn verify(
    dir: &Dir,
    manifest: &Manifest,
    sealing_key: &Secret,
    restoring: &Restoring<'_>,
    progress: impl FnMut(u64, u64),
) -> Result<(), BackupError> {
    let contradicts =
        |what: &str| BackupError::Damaged(format!("its manifest and its {what} contradict each other"));
    let database = Inspection::of_file(&dir.entry(DATABASE))?.until(&restoring.stop)?;
    if database.schema()? != manifest.schema {
        return Err(contradicts("database"));
    }
    if !database.is_sealed_with(sealing_key, Arc::clone(&restoring.entropy))? {
        return Err(BackupError::OtherSealingKey);
    }
    let faults = database.faults()?;
    if !faults.is_empty() {
        return Err(BackupError::Faults(faults));
    }
    if let Some(of) = database.installation()?
        && (of.issuer != manifest.issuer || of.trust_domain != manifest.trust_domain)
    {
        return Err(contradicts("database"));
    }
    if let Some(bytes) = dir.read(REMEMBERED, u64::from(u32::MAX))? {
        let whose: Whose = serde_json::from_slice(mandate_files::text::without_mark(&bytes))
            .map_err(|_| contradicts(REMEMBERED))?;
        if whose.issuer != manifest.issuer || whose.trust_domain != manifest.trust_domain {
            return Err(contradicts(REMEMBERED));
        }
    }
    let (audit, more_audit) = AuditHead::of_all(&database, progress)?;
    if audit == manifest.audit && more_audit == manifest.more_audit {
        Ok(())
    } else {
        Err(contradicts("audit log"))
    }
}
