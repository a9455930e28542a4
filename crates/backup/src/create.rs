//! Makes a backup.

use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mandate_core::{Entropy, Issuer, Secret, Timestamp, TrustDomain};
use mandate_files::{Dir, NewFile};
use mandate_store::Inspection;
use serde::Deserialize;

use crate::archive::{self, Archive, Source};
use crate::error::BackupError;
use crate::manifest::{AuditHead, KeyPlace, Manifest, ManifestFacts, MemberEntry};
use crate::members::{DATABASE, MEMBERS, MemberKind, REMEMBERED, SEAL_KEY, SEALED_KEY};
use crate::sealed_key;
use crate::stopping::{Until, until};

/// Where the sealing key goes.
#[derive(Clone, Debug)]
pub enum SealingKeyPlace {
    /// It is left out of the backup.
    Apart,
    /// It goes into the backup, sealed under this passphrase.
    Sealed(Secret),
}

/// What is to be backed up.
pub struct BackupPlan<'a> {
    /// The directory of the server, as `mandate serve --dir` names it.
    pub dir: &'a Path,
    /// Where the sealing key goes.
    pub keys: SealingKeyPlace,
    /// Back up the content of the database file although its write-ahead log is lost.
    pub without_journal: bool,
    /// The version of this program.
    pub version: &'a str,
    /// The time of the backup, for its manifest and the times of its members.
    pub now: Timestamp,
    /// Randomness for the salt and the nonce of a sealed key.
    pub entropy: Arc<dyn Entropy>,
    /// Set it to end the work, which then fails with [`BackupError::Stopped`].
    pub stop: Arc<AtomicBool>,
}

/// A backup that was written and verified.
#[derive(Debug)]
pub struct Created {
    /// The manifest of the backup.
    pub manifest: Manifest,
    /// The sealing key, to be kept apart if it is not in the backup.
    pub sealing_key: Secret,
}

/// The part of `serve.json` that says whose directory it is.
#[derive(Deserialize)]
pub(crate) struct Whose {
    pub(crate) issuer: Issuer,
    pub(crate) trust_domain: TrustDomain,
}

/// Writes a backup to `out`, reads it again and verifies it. `scratch` is for the copy of the database, on a
/// disk that has room for it. `progress` is told how many of how many audit records are verified.
///
/// The backup contains the state of one moment, whether or not a server uses the directory.
pub fn create(
    plan: &BackupPlan<'_>,
    out: &mut NewFile,
    scratch: &mut NewFile,
    progress: impl FnMut(u64, u64),
) -> Result<Created, BackupError> {
    until(&plan.stop, || make(plan, out, scratch, progress))
}

fn make(
    plan: &BackupPlan<'_>,
    out: &mut NewFile,
    scratch: &mut NewFile,
    progress: impl FnMut(u64, u64),
) -> Result<Created, BackupError> {
    let dir = Dir::open(plan.dir)?;
    let sealing_key =
        Inspection::seal_key(plan.dir)?.ok_or_else(|| BackupError::NoSealingKey(dir.entry(SEAL_KEY)))?;
    // Before the database: see `MemberKind::File`.
    let mut content: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for member in MEMBERS.iter().filter(|member| member.kind == MemberKind::File) {
        content.extend(dir.read(member.name, member.largest)?.map(|bytes| (member.name, bytes)));
    }
    let copy = copy_database(plan, scratch)?;
    let facts = facts(plan, &dir, &copy, &sealing_key, &content, progress)?;
    let copied = scratch.file().try_clone().map_err(BackupError::reading)?;
    let database = archive::measure(DATABASE, BufReader::new(Until::new(copied, &plan.stop)))?;
    if let SealingKeyPlace::Sealed(passphrase) = &plan.keys {
        content.push((
            SEALED_KEY,
            sealed_key::seal(&sealing_key, passphrase, &database.sha256, plan.entropy.as_ref())?,
        ));
    }
    let place =
        if matches!(plan.keys, SealingKeyPlace::Sealed(_)) { KeyPlace::Sealed } else { KeyPlace::Apart };

    let mut readers: Vec<(MemberEntry, &[u8])> = Vec::new();
    for (name, bytes) in &content {
        readers.push((archive::measure(name, bytes.as_slice())?, bytes));
    }
    let entries = readers.iter().map(|(entry, _)| entry.clone()).chain([database.clone()]).collect();
    let manifest = Manifest::new(facts, place, entries);
    scratch.file().seek(SeekFrom::Start(0)).map_err(BackupError::reading)?;
    let mut sources: Vec<Source<'_>> =
        readers.iter_mut().map(|(entry, bytes)| (entry.clone(), bytes as &mut dyn Read)).collect();
    let mut copied = Until::new(scratch.file(), &plan.stop);
    sources.push((database, &mut copied));
    archive::write(out.file(), &manifest, sources, plan.now)?;

    out.file().seek(SeekFrom::Start(0)).map_err(BackupError::reading)?;
    let read_again = Archive::read(BufReader::new(Until::new(out.file(), &plan.stop)))?.verify()?;
    if read_again != manifest {
        return Err(BackupError::Damaged(
            "the bytes that were read again are not those that were written".to_owned(),
        ));
    }
    Ok(Created { manifest, sealing_key })
}

fn copy_database(plan: &BackupPlan<'_>, scratch: &NewFile) -> Result<Inspection, BackupError> {
    let database = if plan.without_journal {
        Inspection::of_directory_without_journal(plan.dir)?
    } else {
        Inspection::of_directory(plan.dir)?
    };
    let database = database.until(&plan.stop)?;
    database.schema()?;
    database.copy_to(&scratch.path())?;
    Ok(Inspection::of_file(&scratch.path())?.until(&plan.stop)?)
}

/// The facts about the copy, after it was verified.
fn facts<'a>(
    plan: &BackupPlan<'a>,
    dir: &Dir,
    copy: &Inspection,
    sealing_key: &Secret,
    content: &[(&'static str, Vec<u8>)],
    progress: impl FnMut(u64, u64),
) -> Result<ManifestFacts<'a>, BackupError> {
    let schema = copy.schema()?;
    let faults = copy.faults()?;
    if !faults.is_empty() {
        return Err(BackupError::Faults(faults));
    }
    if !copy.is_sealed_with(sealing_key, Arc::clone(&plan.entropy))? {
        return Err(BackupError::OtherSealingKey);
    }
    let remembered = content.iter().find(|(name, _)| *name == REMEMBERED);
    let remembered: Option<Whose> = remembered
        .and_then(|(_, bytes)| serde_json::from_slice(mandate_files::text::without_mark(bytes)).ok());
    let (issuer, trust_domain) = match (copy.installation()?, remembered) {
        (Some(of), Some(file)) if of.issuer != file.issuer || of.trust_domain != file.trust_domain => {
            return Err(BackupError::OtherServer(dir.entry(REMEMBERED)));
        }
        (Some(of), _) => (of.issuer, of.trust_domain),
        (None, Some(file)) => (file.issuer, file.trust_domain),
        (None, None) => return Err(BackupError::Nameless(dir.entry(DATABASE))),
    };
    let (audit, more_audit) = AuditHead::of_all(copy, progress)?;
    Ok(ManifestFacts {
        version: plan.version,
        created: plan.now,
        issuer,
        trust_domain,
        schema,
        audit,
        more_audit,
    })
}
