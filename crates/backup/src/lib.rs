//! Backups of a server's directory: one file with everything that a server needs to continue elsewhere.
//!
//! A backup is a tar archive whose first member lists the others with their SHA-256. It is made from the
//! directory, beside a running server or without one: a user who can read the directory has everything in it
//! already, so no endpoint has to provide it. [`create`] reads the archive again before it returns;
//! [`Archive::restore`] gives the new directory its name only after everything was verified.
//!
//! The digests show damage, not who made the backup. A checkpoint that is kept elsewhere shows whether the
//! log is the right one.

mod archive;
mod create;
mod error;
mod manifest;
mod members;
mod restore;
mod sealed_key;
mod stopping;

pub use archive::Archive;
pub use create::{BackupPlan, Created, SealingKeyPlace, create};
pub use error::BackupError;
pub use manifest::{AuditHead, KeyPlace, Manifest, MemberEntry};
pub use restore::{Restored, Restoring};
pub use sealed_key::{MIN_PASSPHRASE, PassphraseTooShort, check_passphrase};
