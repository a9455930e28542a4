//! Which user a number names: in a user namespace, one number stands for every user of the machine without a
//! number there.

use std::fs;
use std::path::Path;

/// The kernel's default for both numbers.
pub(crate) const DEFAULT: u32 = 65_534;

/// The numbers by which the kernel shows users and groups that have none in this user namespace
/// (`user_namespaces(7)`, `/proc/sys/kernel/overflowuid` and `overflowgid`). Many users share them.
pub fn overflow_ids() -> (u32, u32) {
    overflow_in(Path::new("/proc"))
}

/// Whether there are users that have no number here: this process runs in a user namespace other than the
/// machine's own.
pub fn has_unmapped_users() -> bool {
    unmapped_in(Path::new("/proc"))
}

/// The user that this process acts as. `None`: its number may stand for others, too, so the number does not
/// show what belongs to it.
///
/// A user without a number here has the one that stands for all of those, and an image may run its service as
/// a user of that number (`nobody`). In the machine's own namespace every user has a number, and `nobody` is
/// a user as any other.
pub fn own_user() -> Option<u32> {
    let us = rustix::process::geteuid().as_raw();
    if cfg!(any(target_os = "linux", target_os = "android")) {
        own_in(Path::new("/proc"), us)
    } else {
        Some(us)
    }
}

fn overflow_in(proc: &Path) -> (u32, u32) {
    let dir = proc.join("sys/kernel");
    // It may be hidden (ProcSubset=pid).
    let number = |name| {
        fs::read_to_string(dir.join(name)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
    };
    (number("overflowuid"), number("overflowgid"))
}

fn unmapped_in(proc: &Path) -> bool {
    match fs::read_to_string(proc.join("self/uid_map")) {
        Ok(map) => !maps_everybody(&map),
        // A kernel without user namespaces has no such file.
        Err(_) => !proc.join("self/stat").exists(),
    }
}

fn own_in(proc: &Path, us: u32) -> Option<u32> {
    (us != overflow_in(proc).0 || !unmapped_in(proc)).then_some(us)
}

fn maps_everybody(map: &str) -> bool {
    // The number inside, the number outside, how many: the machine's own namespace maps every number to
    // itself.
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::{maps_everybody, overflow_in, own_in, own_user, unmapped_in};
    use std::fs;
    use std::path::Path;

    /// A `/proc` with these files.
    fn proc(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const EVERYBODY: (&str, &str) = ("self/uid_map", "         0          0 4294967295\n");

    #[test]
    fn only_the_machines_own_namespace_maps_everybody() {
        assert!(maps_everybody(EVERYBODY.1));
        for map in ["", "0 1000 1\n", "0 0 65536\n", "0 0 4294967295\n1 1 1\n"] {
            assert!(!maps_everybody(map), "{map:?}");
            assert!(unmapped_in(proc(&[("self/uid_map", map)]).path()), "{map:?}");
        }
        assert!(!unmapped_in(proc(&[("self/stat", "1")]).path()), "a kernel without user namespaces");
        assert!(unmapped_in(proc(&[]).path()), "nothing is known");
    }

    #[test]
    fn the_number_of_those_without_one_is_nobodys_own_but_on_the_machine_itself() {
        for map in ["", "0 100000 65536\n", "0 1000 1\n"] {
            let proc = proc(&[("self/uid_map", map)]);
            assert_eq!(
                (own_in(proc.path(), 65_534), own_in(proc.path(), 65_533), own_in(proc.path(), 0)),
                (None, Some(65_533), Some(0))
            );
        }
        assert_eq!(own_in(proc(&[EVERYBODY]).path(), 65_534), Some(65_534), "a service that runs as nobody");
        let other = proc(&[
            ("self/uid_map", ""),
            ("sys/kernel/overflowuid", "4242\n"),
            ("sys/kernel/overflowgid", "4343\n"),
        ]);
        assert_eq!(overflow_in(other.path()), (4242, 4343));
        assert_eq!((own_in(other.path(), 4242), own_in(other.path(), 65_534)), (None, Some(65_534)));
        assert_eq!(own_in(Path::new("/nonexistent"), 65_534), None, "nothing is known");
        let us = rustix::process::geteuid().as_raw();
        assert!(own_user() == Some(us) || us == overflow_in(Path::new("/proc")).0);
    }
}
