//! What the numbers of users and processes mean in the namespaces that this node runs in.

use std::fs;

/// The numbers by which the kernel shows users and groups that have none in this user namespace
/// (`user_namespaces(7)`, `/proc/sys/kernel/overflowuid`). Many users share them, so they identify no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    uid: u32,
    gid: u32,
}

/// `(uid_t) -1`: no user or group (credentials(7)).
const NONE: u32 = u32::MAX;

impl Overflow {
    /// The numbers of this machine at the moment.
    pub(crate) fn read() -> Self {
        let (uid, gid) = mandate_files::overflow_ids();
        Self { uid, gid }
    }

    /// These, for tests of what is made of them.
    #[cfg(test)]
    pub(crate) fn of(uid: u32, gid: u32) -> Self {
        Self { uid, gid }
    }

    /// Whether this number names one user.
    pub(crate) fn names_user(self, uid: u32) -> bool {
        uid != self.uid && uid != NONE
    }

    /// Whether this number names one group.
    pub(crate) fn names_group(self, gid: u32) -> bool {
        gid != self.gid && gid != NONE
    }
}

/// Whether `/proc` numbers processes as the kernel does for this process. In a process namespace with the
/// `/proc` of another, number 7 here and number 7 there are two processes.
pub(crate) fn proc_is_ours() -> bool {
    let shown = fs::read_link("/proc/self").ok();
    shown.is_some_and(|shown| shown.as_os_str() == std::process::id().to_string().as_str())
}

#[cfg(test)]
mod tests {
    use super::{Overflow, proc_is_ours};

    #[test]
    fn the_kernels_placeholders_name_nobody() {
        let set = Overflow::of(4242, 4343);
        assert!(!set.names_user(4242) && set.names_user(4343) && set.names_user(65_534) && set.names_user(0));
        assert!(!set.names_group(4343) && set.names_group(4242));
        assert!(!set.names_user(u32::MAX) && !set.names_group(u32::MAX));
    }

    #[test]
    fn this_process_is_found_under_its_own_number() {
        assert!(proc_is_ours());
    }
}
