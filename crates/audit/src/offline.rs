//! The bundle: a whole log in one file that anyone can verify without server or database.
//!
//! JSON lines. The first is a header; then one line per record, in order:
//! `{"index":0,"hashes":["…"],"leaf":"…"}`. `leaf` is the record's exact bytes as a JSON string; `hashes` are
//! the tree hashes that were stored with it, its own first, base64. The header holds the signed checkpoint
//! and the verifier key. A bundle with its own key only proves that it is complete and unchanged. To prove
//! that it is *this* log, give a key that was obtained in another way.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointError, CheckpointVerifier};
use crate::record::MAX_LEAF_LEN;
use crate::tree::Hash;
use crate::verification::{Summary, Tampered, TreeVerification};

/// The format of bundles that this program writes and reads.
pub const FORMAT: &str = "mandate-audit-bundle/1";

// A leaf may grow when quoted as a JSON string: `"` and `\` double, control characters never occur in JSON
// output.
const MAX_LINE_LEN: u64 = 4 * MAX_LEAF_LEN as u64;

/// The byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The first line of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Always [`FORMAT`].
    pub format: String,
    /// The verifier key of the log.
    pub vkey: String,
    /// The signed checkpoint: a C2SP signed note. Every log has one.
    pub checkpoint: Option<String>,
    /// How many records follow, one in each line.
    pub size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    index: u64,
    hashes: Vec<String>,
    #[serde(borrow)]
    leaf: std::borrow::Cow<'a, str>,
}

/// Why a bundle is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read or written.
    #[error("the bundle cannot be read or written")]
    Io(#[from] std::io::Error),
    /// A line does not have the form of a bundle.
    #[error("line {line} of the bundle is malformed: {why}")]
    Malformed {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The file is not a bundle: its first line is not a header.
    #[error("this is not an audit bundle")]
    NotABundle,
    /// The header says another number of records than there are.
    #[error("the bundle's header says {said} records, and there are {found}")]
    Size {
        /// The number in the header.
        said: u64,
        /// The number of lines that follow.
        found: u64,
    },
    /// It is of another format.
    #[error("this is a bundle of format {0:?}; this program reads {FORMAT:?}")]
    Format(String),
    /// It was made with another key than the expected one.
    #[error("the bundle's verifier key is {found}, not the expected {expected}")]
    OtherKey {
        /// The key in the bundle's header.
        found: String,
        /// The key that was expected.
        expected: String,
    },
    /// Its verifier key is malformed.
    #[error(transparent)]
    Key(#[from] CheckpointError),
    /// It is not what was written.
    #[error(transparent)]
    Tampered(#[from] Tampered),
}

/// Writes a bundle's header, then its records one by one.
#[derive(Debug)]
pub struct BundleWriter<W: Write> {
    out: W,
}

impl<W: Write> BundleWriter<W> {
    /// Writes the header of a log with `size` records under this checkpoint.
    pub fn begin(mut out: W, vkey: &str, checkpoint: &[u8], size: u64) -> Result<Self, BundleError> {
        let checkpoint = Some(text(1, checkpoint)?);
        let header = Header { format: FORMAT.to_owned(), vkey: vkey.to_owned(), checkpoint, size };
        write_line(&mut out, 1, &header)?;
        Ok(Self { out })
    }

    /// Writes the next record: its index, its bytes and the hashes stored with it.
    pub fn record(&mut self, index: u64, leaf: &[u8], hashes: &[Hash]) -> Result<(), BundleError> {
        let line = index + 2;
        let hashes = hashes.iter().map(Hash::to_string).collect();
        write_line(&mut self.out, line, &Line { index, hashes, leaf: text(line, leaf)?.into() })
    }

    /// Flushes `out`, and returns it.
    pub fn finish(mut self) -> Result<W, BundleError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn text(line: u64, bytes: &[u8]) -> Result<String, BundleError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| BundleError::Malformed { line, why: "not UTF-8".to_owned() })
}

fn write_line<W: Write>(out: &mut W, line: u64, value: &impl Serialize) -> Result<(), BundleError> {
    let mut bytes =
        serde_json::to_vec(value).map_err(|e| BundleError::Malformed { line, why: e.to_string() })?;
    bytes.push(b'\n');
    Ok(out.write_all(&bytes)?)
}

fn read_line(input: &mut impl BufRead, line: u64, buffer: &mut Vec<u8>) -> Result<bool, BundleError> {
    buffer.clear();
    std::io::Read::take(&mut *input, MAX_LINE_LEN).read_until(b'\n', buffer)?;
    match buffer.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(BundleError::Malformed {
            line,
            why: "it does not end, or is longer than any record".to_owned(),
        }),
    }
}

fn parse<'a, T: Deserialize<'a>>(line: u64, bytes: &'a [u8]) -> Result<T, BundleError> {
    serde_json::from_slice(bytes).map_err(|e| BundleError::Malformed { line, why: e.to_string() })
}

/// What the verifying party knows before it reads a bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The log's verifier key; without it the bundle's own is believed.
    pub vkey: Option<&'a str>,
    /// A checkpoint of the log that was kept earlier, a signed note: the bundle must continue it.
    pub since: Option<&'a [u8]>,
}

/// Only to distinguish a bundle of another version from a file that is not a bundle.
#[derive(Deserialize)]
struct Format {
    format: String,
}

fn read_header(input: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<Header, BundleError> {
    match read_line(input, 1, buffer) {
        Ok(true) => {}
        Ok(false) | Err(BundleError::Malformed { .. }) => return Err(BundleError::NotABundle),
        Err(other) => return Err(other),
    }
    // Some programs put a byte order mark in front of every text that they copy. It is no part of the bundle.
    let line: &[u8] = buffer;
    let header = line.strip_prefix(MARK).unwrap_or(line);
    let Format { format } = serde_json::from_slice(header).map_err(|_| BundleError::NotABundle)?;
    if format == FORMAT { parse(1, header) } else { Err(BundleError::Format(format)) }
}

/// Verifies a bundle: every leaf, the tree, the checkpoint's signature, and that it continues what is known
/// of the log.
///
/// `progress` is told how many of how many records are done.
pub fn verify_bundle(
    mut input: impl BufRead,
    known: Known<'_>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Summary, BundleError> {
    let mut buffer = Vec::new();
    let header = read_header(&mut input, &mut buffer)?;
    if let Some(expected) = known.vkey.map(str::trim)
        && expected != header.vkey
    {
        return Err(BundleError::OtherKey { found: header.vkey, expected: expected.to_owned() });
    }
    let verifier = CheckpointVerifier::new(&header.vkey)?;
    let mut tree = TreeVerification::new();
    if let Some(note) = known.since {
        tree = tree.continuing(verifier.open(note).map_err(Tampered::Earlier)?);
    }
    let mut line = 2;
    while read_line(&mut input, line, &mut buffer)? {
        let entry: Line<'_> = parse(line, &buffer)?;
        let hashes = entry.hashes.iter().map(|hash| Hash::parse_hash(hash)).collect::<Result<Vec<_>, _>>();
        let hashes =
            hashes.map_err(|_| BundleError::Malformed { line, why: "a hash is malformed".to_owned() })?;
        tree.push(entry.index, entry.leaf.as_bytes(), &hashes)?;
        line += 1;
        progress(tree.next_index(), header.size);
    }
    let summary = tree.finish(header.checkpoint.as_deref().map(str::as_bytes), &verifier)?;
    if summary.size != header.size {
        return Err(BundleError::Size { said: header.size, found: summary.size });
    }
    Ok(summary)
}

#[cfg(test)]
mod tests;
