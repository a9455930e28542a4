//! Work that ends when it is asked to, so that its files are removed.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::BackupError;

/// Runs work that looks at `stop`. Once that is set, every error of the work comes from it.
pub(crate) fn until<T>(
    stop: &AtomicBool,
    work: impl FnOnce() -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    work().map_err(|error| if stop.load(Ordering::Relaxed) { BackupError::Stopped } else { error })
}

/// A reader that fails once `stop` is set.
#[derive(Debug)]
pub(crate) struct Until<'a, R> {
    inner: R,
    stop: &'a AtomicBool,
}

impl<'a, R> Until<'a, R> {
    pub(crate) fn new(inner: R, stop: &'a AtomicBool) -> Self {
        Self { inner, stop }
    }
}

impl<R: Read> Read for Until<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not `Interrupted`: that means to try again.
        if self.stop.load(Ordering::Relaxed) {
            Err(io::Error::other("stopped"))
        } else {
            self.inner.read(buffer)
        }
    }
}
