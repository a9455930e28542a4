//! No core dumps of a process that holds keys: its whole memory would be on the disk.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Turns core dumps off for this process. Call it once the log is set up.
///
/// The limit alone is not enough if the kernel passes core dumps to a program, which gets them regardless of the limit
/// (core(5), `core_pattern`). A process that is not dumpable gives no core dump, and processes of the same user can neither
/// trace it nor read its memory.
pub(crate) fn off() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "the limit of core dumps could not be set: a crash may write keys to the disk");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps could not be turned off: a crash may write keys to the disk");
    }
}
