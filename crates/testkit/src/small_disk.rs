//! A small file system of its own, which a test can fill.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "helpers of tests end the test")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system of 24 MiB, in memory. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it at a path that does not exist. Needs the right to mount; without it there is none.
    pub fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// The path at which it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes until nothing more fits, into a file of which the path is returned.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("a file");
        for block in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0u8; block]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A busy file system is unmounted when nothing uses it any longer.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
