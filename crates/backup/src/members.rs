//! The members of a backup.

/// The first member: what the others are.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The sealing key under a passphrase.
pub(crate) const SEALED_KEY: &str = "seal.key.sealed";
/// What the server was started with.
pub(crate) const REMEMBERED: &str = "serve.json";
pub(crate) const DATABASE: &str = "mandate.db";
/// The sealing key, which is never a member as it is.
pub(crate) const SEAL_KEY: &str = "seal.key";

/// The largest manifest, in bytes.
pub(crate) const LARGEST_MANIFEST: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// The most bytes that it may have.
    pub(crate) largest: u64,
    /// Where it comes from, and where it goes.
    pub(crate) kind: MemberKind,
}

/// Where a member comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A file of the directory. It is copied before the database is copied: if a server moves data from such
    /// a file into the database meanwhile, the data is in at least one of the two copies. The file may be
    /// missing.
    File,
    /// The sealing key, under a passphrase.
    SealedKey,
    /// A copy of the database as of one moment.
    Database,
}

/// Every possible member, in the order of the archive. Every file of the directory that a restore must bring
/// back is in this list.
pub(crate) const MEMBERS: &[Member] = &[
    Member { name: REMEMBERED, largest: 64 * 1024, kind: MemberKind::File },
    // What was stopped and is not yet in the log.
    Member { name: "stops.reserve", largest: 64 * 1024 * 1024, kind: MemberKind::File },
    Member { name: SEALED_KEY, largest: 4 * 1024, kind: MemberKind::SealedKey },
    Member { name: DATABASE, largest: u64::MAX, kind: MemberKind::Database },
];

/// The member of that name.
pub(crate) fn named(name: &str) -> Option<Member> {
    MEMBERS.iter().copied().find(|member| member.name == name)
}
