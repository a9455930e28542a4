//! No core dumps of a process that holds keys, passwords or tokens: its whole memory would be on the disk.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Turns core dumps off for this process. Every command begins with it; server and node call it again once
/// their log is set up, so that the log says if it fails.
///
/// The limit alone is not enough if the kernel passes core dumps to a program, which gets them regardless of
/// the limit (core(5), `core_pattern`). A process that is not dumpable gives no core dump, and processes of
/// the same user can neither trace it nor read its memory.
pub(crate) fn off() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "the limit of core dumps could not be set: a crash may write keys to the disk");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "core dumps could not be turned off: a crash may write keys to the disk");
    }
}

/// Lets a node of the same user see which program this process runs. The kernel shows that of a process that
/// is not dumpable to root alone. The limit of core dumps stays 0. For a command that asks a node for an
/// identity, while it asks.
pub(crate) fn show_program_to_nodes() {
    // If it fails, the node says that it cannot see the program.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable);
}
