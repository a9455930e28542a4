//! Moves what commits have written from the write-ahead log into the database file, on a thread of its own.
//!
//! `SQLite` calls this a checkpoint; here that word is taken by the notes that the audit log signs. `SQLite`
//! would do it in the commit that makes the write-ahead log long enough, and everybody whose record is in
//! that commit would wait for two more `fsync`s. A crash at any moment loses nothing: what was moved stays in
//! the write-ahead log until all of it is in the file and on disk
//! (<https://www.sqlite.org/wal.html#checkpointing>).
//!
//! Beside writers that never pause, a moved write-ahead log already has new pages at its end, and `SQLite`
//! cannot begin it again. So a long one is moved once more, in a turn at the gate: then there are few pages
//! left, and no writer.

use std::ffi::c_int;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::error::StoreError;
use crate::sqlite::gate::Gate;

/// After so many new pages (2 MiB) what was written is moved.
const STEP: u32 = 500;

/// From so many pages on (4 MiB) writers wait for a moment, so that the write-ahead log begins again.
/// Strangers' records must not fill a small disk.
const LONG: u32 = 2 * STEP;

/// When to try again if something failed, or if a reader needs pages of the file as they are.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Length {
    /// The pages in the write-ahead log after the latest commit.
    pages: u32,
    /// The pages that the thread waits for.
    wanted: u32,
    stop: bool,
}

/// Tells the thread how long the write-ahead log is.
#[derive(Debug)]
struct Growth {
    length: Mutex<Length>,
    changed: Condvar,
}

impl Default for Growth {
    fn default() -> Self {
        Self { length: Mutex::new(Length { pages: 0, wanted: STEP, stop: false }), changed: Condvar::new() }
    }
}

impl Growth {
    /// Called inside each commit: nothing slow may happen here.
    fn written(&self, pages: u32) {
        let mut length = self.length.lock();
        if pages < length.pages {
            // It has begun again.
            length.wanted = STEP;
        }
        length.pages = pages;
        if pages >= length.wanted {
            self.changed.notify_one();
        }
    }

    fn pages(&self) -> u32 {
        self.length.lock().pages
    }

    /// Waits until there is something to do. Returns the length then, or `None` when it is time to stop.
    fn wait(&self, next: Next) -> Option<u32> {
        let mut length = self.length.lock();
        // One that has begun again in the meantime is to be moved after the first step.
        length.wanted = if length.pages < next.seen { STEP } else { next.seen.saturating_add(next.more) };
        while length.pages < length.wanted && !length.stop {
            match next.at_latest {
                Some(at) if self.changed.wait_until(&mut length, at).timed_out() => break,
                Some(_) => {}
                None => self.changed.wait(&mut length),
            }
        }
        (!length.stop).then_some(length.pages)
    }

    fn stop(&self) {
        self.length.lock().stop = true;
        self.changed.notify_all();
    }
}

/// When the thread tries again: at the first of two events.
#[derive(Clone, Copy, Debug)]
struct Next {
    /// The length that the last attempt began with.
    seen: u32,
    /// When there are so many more pages.
    more: u32,
    at_latest: Option<Instant>,
}

impl Next {
    const FIRST: Self = Self { seen: 0, more: STEP, at_latest: None };

    /// After an attempt that moved all, or not all because of a reader. An attempt costs more the longer the
    /// write-ahead log is.
    fn after(seen: u32, moved: Moved) -> Self {
        if moved.all {
            return Self { seen, more: STEP, at_latest: None };
        }
        Self { seen, more: STEP.max(seen / 4), at_latest: Instant::now().checked_add(AGAIN) }
    }

    /// After an attempt that failed. More pages are no reason to try sooner.
    fn after_failure(seen: u32) -> Self {
        Self { seen, more: u32::MAX, at_latest: Instant::now().checked_add(AGAIN) }
    }
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug)]
struct Moved {
    /// Whether all is in the file that was in the write-ahead log when it began.
    all: bool,
}

/// Moves pages with the connection, for which `SQLite` waits for nobody.
fn move_pages(conn: &Connection, mode: &str) -> Result<Moved, StoreError> {
    // The columns: whether somebody was in the way; the pages; those of them that are in the file.
    let (busy, pages, moved): (bool, i64, i64) =
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok(Moved { all: !busy && pages == moved })
}

/// Moves what is there, and lets a long write-ahead log begin again.
fn attempt(conn: &Connection, gate: &Arc<Gate>, growth: &Growth) -> Result<Moved, StoreError> {
    let moved = move_pages(conn, "PASSIVE")?;
    // A reader that is in the way would also be in the way during a turn, and writers would wait for nothing.
    if !moved.all || growth.pages() < LONG {
        return Ok(moved);
    }
    let _turn = gate.enter()?;
    move_pages(conn, "RESTART")
}

/// The thread. Ends with the store.
#[derive(Debug)]
pub(crate) struct Backfill {
    growth: Arc<Growth>,
    thread: Option<JoinHandle<()>>,
}

impl Backfill {
    /// Starts it, with a connection of its own.
    pub(crate) fn start(conn: Connection, gate: Arc<Gate>) -> Result<Self, StoreError> {
        conn.busy_timeout(Duration::ZERO)?;
        let growth = Arc::new(Growth::default());
        let own = Arc::clone(&growth);
        let run = move || {
            let mut next = Next::FIRST;
            let mut failing = false;
            while let Some(seen) = own.wait(next) {
                match attempt(&conn, &gate, &own) {
                    Ok(moved) => {
                        if mem::take(&mut failing) {
                            tracing::info!("what is in mandate.db-wal can be moved into mandate.db again");
                        }
                        next = Next::after(seen, moved);
                    }
                    Err(error) => {
                        if !mem::replace(&mut failing, true) {
                            tracing::warn!(%error, "what is in mandate.db-wal cannot be moved into mandate.db for now: mandate.db-wal grows; this is tried again every second");
                        }
                        next = Next::after_failure(seen);
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(run)
            .map_err(|e| StoreError::Io(Box::new(e)))?;
        Ok(Self { growth, thread: Some(thread) })
    }

    /// Has a connection tell the thread after each of its commits how long the write-ahead log is. Its
    /// commits must be made in a turn at the gate, so that the last length that is told is the latest.
    pub(crate) fn follow(&self, conn: &mut Connection) -> Result<(), StoreError> {
        let growth = Arc::clone(&self.growth);
        let told = move |_: &mut Wal, pages: c_int| {
            growth.written(u32::try_from(pages).unwrap_or_default());
            Ok(())
        };
        Ok(conn.wal_hook(Some(told))?)
    }

    /// Ends the thread. What it has begun, it does to the end.
    pub(crate) fn end(&mut self) {
        self.growth.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the write-ahead log had panicked");
        }
    }
}

impl Drop for Backfill {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
