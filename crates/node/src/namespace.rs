//! What the numbers of users and processes mean in the namespaces that this node runs in.

use std::fs;
use std::path::Path;

/// The numbers by which the kernel shows users and groups that have none in this user namespace (`user_namespaces(7)`,
/// `/proc/sys/kernel/overflowuid`). Many users share them, so they identify no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    uid: u32,
    gid: u32,
}

/// The kernel's default for both.
const DEFAULT: u32 = 65_534;

/// `(uid_t) -1`: no user or group (credentials(7)).
const NONE: u32 = u32::MAX;

impl Overflow {
    /// As this machine is set up now.
    pub(crate) fn read() -> Self {
        Self::read_from(Path::new("/proc/sys/kernel"))
    }

    fn read_from(dir: &Path) -> Self {
        let number = |name| fs::read_to_string(dir.join(name)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT);
        Self { uid: number("overflowuid"), gid: number("overflowgid") }
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

/// Whether there are users that have no number here: this node runs in a user namespace other than the machine's own.
pub(crate) fn has_unmapped_users() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !maps_everybody(&map))
}

fn maps_everybody(map: &str) -> bool {
    // Inside, outside, how many: the machine's own namespace maps all there are to themselves.
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether `/proc` numbers processes as the kernel does for this process. In a process namespace with the `/proc` of
/// another, number 7 here and number 7 there are two processes.
pub(crate) fn proc_is_ours() -> bool {
    let shown = fs::read_link("/proc/self").ok();
    shown.is_some_and(|shown| shown.as_os_str() == std::process::id().to_string().as_str())
}

#[cfg(test)]
mod tests {
    use super::{Overflow, maps_everybody, proc_is_ours};
    use std::fs;

    #[test]
    fn the_kernels_placeholders_name_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let unset = Overflow::read_from(dir.path());
        assert!(!unset.names_user(65_534) && !unset.names_group(65_534) && unset.names_user(65_533) && unset.names_user(0));
        fs::write(dir.path().join("overflowuid"), "4242\n").unwrap();
        fs::write(dir.path().join("overflowgid"), "4343\n").unwrap();
        let set = Overflow::read_from(dir.path());
        assert!(!set.names_user(4242) && set.names_user(4343) && set.names_user(65_534));
        assert!(!set.names_group(4343) && set.names_group(4242));
        assert!(!set.names_user(u32::MAX) && !set.names_group(u32::MAX));
    }

    #[test]
    fn only_the_machines_own_namespace_maps_everybody() {
        assert!(maps_everybody("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 0 65536\n", "0 0 4294967295\n1 1 1\n"] {
            assert!(!maps_everybody(map), "{map:?}");
        }
    }

    #[test]
    fn this_process_is_found_under_its_own_number() {
        assert!(proc_is_ours());
    }
}
