//! A file of fixed size in which stops wait for the audit log.
//!
//! Its blocks are written when the file is made, and later only in place: no write to it needs new space from
//! the file system. (A file system that copies on write, such as btrfs, does need new space; a full one may
//! refuse the write.) The file is divided into blocks of [`BLOCK`] bytes. A frame takes as many neighbouring
//! blocks as it needs:
//!
//! | bytes | |
//! |---|---|
//! | 8 | [`MAGIC`], which no JSON contains |
//! | 8 | its number, little-endian; later frames have higher ones |
//! | 4 | the length of its content, little-endian |
//! | 4 | zero |
//! | 32 | RFC 6962 leaf hash of the 24 bytes above and the content |
//! | … | the content |
//!
//! A frame that was not written completely does not have its hash, and is ignored.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use mandate_audit::tree::leaf_hash;
use mandate_core::{RecordId, Timestamp};
use mandate_files::{Dir, Exposure, FileError};

/// The name of the file in the server's directory.
pub const FILE: &str = "stops.reserve";

/// The size of the file in bytes.
pub const SIZE: usize = 4 * 1024 * 1024;

/// The unit in which space is given out, in bytes.
pub const BLOCK: usize = 512;

const BLOCKS: usize = SIZE / BLOCK;

/// What a frame begins with. No UTF-8 text contains `0xff`.
pub const MAGIC: [u8; 8] = *b"\xffSTOP\x00\x00\x01";

const HEAD: usize = 24;
const HEADER: usize = HEAD + 32;

/// Why the reserve cannot store a stop.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// Its file cannot be made, opened or trusted.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading or writing the file failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The path of the reserve.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// There is no room for it.
    #[error("the reserve is used up")]
    Full,
    /// The thread that writes it has ended.
    #[error("the reserve is closed")]
    Closed,
    /// Its content was not written by this version.
    #[error("{path}: it holds a stop that this version cannot read; use the version that wrote it, or a newer one", path = path.display())]
    Unreadable {
        /// The path of the reserve.
        path: PathBuf,
        /// What about its JSON is not understood.
        #[source]
        source: serde_json::Error,
    },
    /// A stop in it has an impossible time: the file was manipulated, or a clock was far ahead when it was
    /// written.
    #[error(
        "{path}: it holds {record} of {time}, weeks after everything in the audit log and after this machine's clock (the later is {known}). Set the clock right; or put back the database and the {FILE} of one moment; or move {FILE} away, start, and repeat the stops that must stay in force",
        path = path.display()
    )]
    Ahead {
        /// The path of the reserve.
        path: PathBuf,
        /// The id of its record.
        record: RecordId,
        /// The latest time in the stop.
        time: Timestamp,
        /// The latest time of the audit log and of the machine's clock.
        known: Timestamp,
    },
    /// Its content belongs to another audit log.
    #[error("{path}: it holds stops of another server; put back the one that belongs to this directory, or move it away", path = path.display())]
    Foreign {
        /// The path of the reserve.
        path: PathBuf,
    },
}

/// The blocks of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    first: usize,
    blocks: usize,
}

impl Slot {
    /// How many bytes of the file it takes.
    pub fn bytes(self) -> usize {
        self.blocks * BLOCK
    }
}

/// A complete frame that the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    number: u64,
    /// The blocks that it takes.
    pub slot: Slot,
    /// The content, without the header.
    pub content: Vec<u8>,
}

/// The open file, and which of its blocks are in use.
#[derive(Debug)]
pub struct Reserve {
    file: File,
    path: PathBuf,
    used: Vec<bool>,
    next: u64,
}

impl Reserve {
    /// Opens the file in `dir`, and makes it if it is missing. Returns the frames that it holds, in the order
    /// in which they were written. Nothing can be written before [`Reserve::allocate`].
    pub fn open(dir: &Dir) -> Result<(Self, Vec<Frame>), ReserveError> {
        let path = dir.entry(FILE);
        let file = dir.open_or_create(FILE, Exposure::Private)?;
        let mut bytes = Vec::new();
        let read = (&file).take(SIZE as u64).read_to_end(&mut bytes);
        read.map_err(|source| ReserveError::Io { path: path.clone(), source })?;
        let frames = frames(&bytes);
        let mut reserve = Self { file, path, used: vec![false; BLOCKS], next: 0 };
        for frame in &frames {
            reserve.mark(frame.slot, true);
            reserve.next = reserve.next.max(frame.number.saturating_add(1));
        }
        Ok((reserve, frames))
    }

    /// Ensures that every block of the file has its space on the disk.
    pub fn allocate(&self, dir: &Dir) -> Result<(), ReserveError> {
        let fail = |source| ReserveError::Io { path: self.path.clone(), source };
        let about = self.file.metadata().map_err(fail)?;
        if about.len() >= SIZE as u64 && about.blocks() * 512 >= SIZE as u64 {
            return Ok(());
        }
        // A new file, or one with holes, for example because it was copied as a sparse file. Written zeros
        // take up space, too.
        let mut bytes = Vec::with_capacity(SIZE);
        (&self.file)
            .seek(SeekFrom::Start(0))
            .and_then(|_| (&self.file).take(SIZE as u64).read_to_end(&mut bytes))
            .map_err(fail)?;
        bytes.resize(SIZE, 0);
        self.file.write_all_at(&bytes, 0).and_then(|()| self.file.sync_all()).map_err(fail)?;
        Ok(dir.sync()?)
    }

    /// Writes a frame. It is durable after the next [`Reserve::sync`].
    pub fn write(&mut self, content: &[u8]) -> Result<Slot, ReserveError> {
        let blocks = blocks_of(content);
        let slot = Slot { first: self.free_run(blocks).ok_or(ReserveError::Full)?, blocks };
        let frame = frame(self.next, content).ok_or(ReserveError::Full)?;
        self.next = self.next.wrapping_add(1);
        let written = self.file.write_all_at(&frame, (slot.first * BLOCK) as u64);
        written.map_err(|source| ReserveError::Io { path: self.path.clone(), source })?;
        self.mark(slot, true);
        Ok(slot)
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> Result<(), ReserveError> {
        self.file.sync_data().map_err(|source| ReserveError::Io { path: self.path.clone(), source })
    }

    /// Gives the blocks of a frame back. If the frame is found again after a crash, the audit log has its
    /// record already.
    pub fn free(&mut self, slot: Slot) {
        self.mark(slot, false);
        if let Err(error) = self.file.write_all_at(&[0; HEADER], (slot.first * BLOCK) as u64) {
            tracing::warn!(%error, "a place in the reserve could not be wiped; the next start looks at what is in it");
        }
    }

    /// How many bytes are in use.
    pub fn used(&self) -> usize {
        self.used.iter().filter(|used| **used).count() * BLOCK
    }

    fn mark(&mut self, slot: Slot, used: bool) {
        self.used.iter_mut().skip(slot.first).take(slot.blocks).for_each(|block| *block = used);
    }

    fn free_run(&self, blocks: usize) -> Option<usize> {
        let mut run = 0;
        for (at, used) in self.used.iter().enumerate() {
            run = if *used { 0 } else { run + 1 };
            if run == blocks {
                return Some(at + 1 - blocks);
            }
        }
        None
    }
}

fn blocks_of(content: &[u8]) -> usize {
    (HEADER + content.len()).div_ceil(BLOCK)
}

/// How many bytes of the file such content takes.
pub fn bytes_of(content: &[u8]) -> usize {
    blocks_of(content) * BLOCK
}

/// The bytes of a frame, without the rest of its last block.
fn frame(number: u64, content: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(content.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let hash = hash(&bytes, content);
    bytes.extend_from_slice(&hash);
    bytes.extend_from_slice(content);
    Some(bytes)
}

fn hash(head: &[u8], content: &[u8]) -> [u8; 32] {
    leaf_hash(&[head, content].concat()).0
}

/// The complete frames in a reserve's bytes, in the order in which they were written. Accepts any bytes.
pub fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut at = 0;
    while at * BLOCK < bytes.len() {
        match bytes.get(at * BLOCK..).and_then(|rest| read(rest, at)) {
            Some(frame) => {
                at += frame.slot.blocks;
                found.push(frame);
            }
            None => at += 1,
        }
    }
    found.sort_by_key(|frame| frame.number);
    found
}

fn read(bytes: &[u8], at: usize) -> Option<Frame> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let (magic, rest_of_head) = head.split_first_chunk::<8>()?;
    let (number, rest_of_head) = rest_of_head.split_first_chunk::<8>()?;
    let (length, _) = rest_of_head.split_first_chunk::<4>()?;
    if *magic != MAGIC {
        return None;
    }
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let content = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if hash(head, content) != *sum {
        return None;
    }
    let slot = Slot { first: at, blocks: blocks_of(content) };
    Some(Frame { number: u64::from_le_bytes(*number), slot, content: content.to_vec() })
}
