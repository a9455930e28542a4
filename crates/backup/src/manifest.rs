//! The manifest: what a backup says about itself.

use mandate_audit::Tampered;
use mandate_core::{Issuer, Timestamp, TrustDomain};
use mandate_store::Inspection;
use mandate_store::records::{CheckedLog, LogError};
use serde::{Deserialize, Serialize};

use crate::error::BackupError;
use crate::members::{DATABASE, SEALED_KEY, named};

/// The format that this program writes and reads.
const FORMAT: &str = "mandate-backup/1";

/// What a backup says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    /// The version of the program that made it.
    pub version: String,
    /// When it was made.
    pub created: Timestamp,
    /// The issuer identifier of the server.
    pub issuer: Issuer,
    /// The trust domain of the server.
    pub trust_domain: TrustDomain,
    /// The version of the database's schema.
    pub schema: u32,
    /// The audit log in it. Of several the one that was added first.
    pub audit: AuditHead,
    /// The other audit logs in it, in the order in which they were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_audit: Vec<AuditHead>,
    /// Where the sealing key is.
    pub sealing_key: KeyPlace,
    /// What else is in the archive, in that order.
    pub members: Vec<MemberEntry>,
}

/// The head of an audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The number of records.
    pub size: u64,
    /// The root of their tree, base64.
    pub root: String,
    /// The verifier key of its checkpoints (C2SP signed-note).
    pub key: String,
}

impl AuditHead {
    /// The heads of all audit logs of a database, which were verified. The first by itself.
    pub(crate) fn of_all(
        database: &Inspection,
        progress: impl FnMut(u64, u64),
    ) -> Result<(Self, Vec<Self>), BackupError> {
        let heads = database.verify_logs(progress)?.into_iter();
        let mut heads = heads.map(|CheckedLog { summary, .. }| Self {
            size: summary.size,
            root: summary.root.to_string(),
            key: summary.vkey,
        });
        let first = heads.next().ok_or(LogError::Tampered(Tampered::NoCheckpoint { size: 0 }))?;
        Ok((first, heads.collect()))
    }
}

/// Where the sealing key of a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPlace {
    /// Not in the backup.
    Apart,
    /// In it, under a passphrase.
    Sealed,
}

/// One member of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Its name in the archive.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// Their SHA-256, in lower-case hex.
    pub sha256: String,
}

/// Only to distinguish a backup of another version from a file that is not a backup.
#[derive(Deserialize)]
struct Format {
    format: String,
}

/// The facts from which a manifest is made.
pub(crate) struct ManifestFacts<'a> {
    pub(crate) version: &'a str,
    pub(crate) created: Timestamp,
    pub(crate) issuer: Issuer,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) schema: u32,
    pub(crate) audit: AuditHead,
    pub(crate) more_audit: Vec<AuditHead>,
}

impl Manifest {
    pub(crate) fn new(facts: ManifestFacts<'_>, sealing_key: KeyPlace, members: Vec<MemberEntry>) -> Self {
        let ManifestFacts { version, created, issuer, trust_domain, schema, audit, more_audit } = facts;
        let (format, version) = (FORMAT.to_owned(), version.to_owned());
        Self {
            format,
            version,
            created,
            issuer,
            trust_domain,
            schema,
            audit,
            more_audit,
            sealing_key,
            members,
        }
    }

    /// Reads it, and refuses members that no backup has.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        let Format { format } = serde_json::from_slice(bytes).map_err(|_| BackupError::NotABackup)?;
        if format != FORMAT {
            return Err(BackupError::Format(format));
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| BackupError::Damaged(format!("its manifest is malformed: {error}")))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BackupError> {
        let damaged = |why: String| Err(BackupError::Damaged(format!("its manifest {why}")));
        for (at, entry) in self.members.iter().enumerate() {
            let Some(member) = named(&entry.name) else {
                return damaged(format!("names {:?}, which no backup has", entry.name));
            };
            if self.members.iter().take(at).any(|other| other.name == entry.name) {
                return damaged(format!("names {} twice", entry.name));
            }
            if entry.size > member.largest {
                return damaged(format!(
                    "gives {} a size of {} bytes, and it has {} at most",
                    entry.name, entry.size, member.largest
                ));
            }
        }
        if self.member(DATABASE).is_none() {
            return damaged(format!("names no {DATABASE}"));
        }
        if self.member(SEALED_KEY).is_some() != (self.sealing_key == KeyPlace::Sealed) {
            return damaged("contradicts itself about the sealing key".to_owned());
        }
        Ok(())
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> Option<&MemberEntry> {
        self.members.iter().find(|entry| entry.name == name)
    }

    /// The digest of the database, to which a sealed key is bound.
    pub(crate) fn database_digest(&self) -> &str {
        self.member(DATABASE).map_or("", |entry| entry.sha256.as_str())
    }
}
