//! Selectors: what an attestor says about a process, and what an agent's entry requires of one.
//!
//! A selector is a text `<attestor>:<value>`, as in SPIRE. This is its only parser and its only printer. Each
//! selector has one spelling: what is accepted prints as the same bytes, so that selectors can be compared as
//! values or as texts.
//!
//! The kinds are open. Those of the `unix` attestor have typed values; those of any other attestor are
//! carried as text.

use std::fmt;
use std::str::FromStr;

use base16ct::HexDisplay;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::sha256_from_hex;

/// The longest selector, in bytes.
pub const MAX_SELECTOR_LEN: usize = 4096;

/// The attestors of this build, by the first part of their selectors. No process shows a selector of another
/// attestor.
pub const ATTESTORS: [&str; 1] = [UNIX];

/// The forms of their selectors, for people.
pub const FORMS: &str = "use unix:uid:<number>, unix:gid:<number>, unix:path:<absolute path> or unix:sha256:<64 hex digits in lower case>";

const UNIX: &str = "unix";

/// The longest name of an attestor, in bytes.
const MAX_ATTESTOR_LEN: usize = 64;

/// One property of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// `unix:…`, what the kernel says about the process.
    Unix(UnixSelector),
    /// What another attestor says.
    Other(OtherSelector),
}

/// What the kernel says about a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnixSelector {
    /// `unix:uid:N`, the effective user.
    Uid(u32),
    /// `unix:gid:N`, the effective group. Supplementary groups are ignored.
    Gid(u32),
    /// `unix:path:/…`, the program's path.
    Path(ProgramPath),
    /// `unix:sha256:…`, the SHA-256 of the program's file, as 64 hexadecimal digits in lower case.
    Sha256(Box<[u8; 32]>),
}

/// The path of a program as the kernel reports it: absolute, without `.`, `..`, doubled slashes or a slash at
/// the end, and without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramPath(Box<str>);

/// A selector of an attestor other than `unix`, as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherSelector(Box<str>);

/// Why a text is not a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// It has none of the forms of this build, and is not `<attestor>:<value>` of another attestor; or it is
    /// too long.
    #[error("{FORMS}")]
    Form,
    /// The kernel never reports such a path.
    #[error(
        "the kernel reports a program's path without `.`, `..`, doubled slashes or a slash at the end; write it as `readlink -f PATH` prints it"
    )]
    Path,
}

/// Whether a process that shows `shown` gets an identity that requires `required`: it must show all of them.
/// An empty `required` matches no process, because otherwise it would match every process.
pub fn shows_all(shown: &[Selector], required: &[Selector]) -> bool {
    !required.is_empty() && required.iter().all(|selector| shown.contains(selector))
}

impl Selector {
    /// The attestor that shows it: the part before the first colon.
    pub fn attestor(&self) -> &str {
        match self {
            Self::Unix(_) => UNIX,
            Self::Other(other) => other.attestor(),
        }
    }

    /// Whether an attestor of this build can show it.
    pub fn is_attestable(&self) -> bool {
        ATTESTORS.contains(&self.attestor())
    }
}

impl From<UnixSelector> for Selector {
    fn from(selector: UnixSelector) -> Self {
        Self::Unix(selector)
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if text.len() > MAX_SELECTOR_LEN || text.chars().any(char::is_control) {
            return Err(InvalidSelector::Form);
        }
        match text.split_once(':').ok_or(InvalidSelector::Form)? {
            (UNIX, value) => unix(value).map(Self::Unix),
            (attestor, value) if is_attestor(attestor) && !value.is_empty() => {
                Ok(Self::Other(OtherSelector(text.into())))
            }
            _ => Err(InvalidSelector::Form),
        }
    }
}

fn is_attestor(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= MAX_ATTESTOR_LEN
        && name.bytes().all(allowed)
}

fn unix(text: &str) -> Result<UnixSelector, InvalidSelector> {
    match text.split_once(':').ok_or(InvalidSelector::Form)? {
        ("uid", value) => number(value).map(UnixSelector::Uid),
        ("gid", value) => number(value).map(UnixSelector::Gid),
        ("path", value) => value.parse().map(UnixSelector::Path),
        ("sha256", value) => sha256_from_hex(value)
            .map(|digest| UnixSelector::Sha256(Box::new(digest)))
            .ok_or(InvalidSelector::Form),
        _ => Err(InvalidSelector::Form),
    }
}

/// A decimal number without sign or leading zero.
fn number(text: &str) -> Result<u32, InvalidSelector> {
    let one_spelling = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if one_spelling { text.parse().map_err(|_| InvalidSelector::Form) } else { Err(InvalidSelector::Form) }
}

impl ProgramPath {
    /// The longest path, in bytes: the whole selector may have [`MAX_SELECTOR_LEN`] bytes.
    const MAX_LEN: usize = MAX_SELECTOR_LEN - "unix:path:".len();

    /// The path: absolute, without empty parts, `.` or `..`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProgramPath {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if !text.starts_with('/') || text.len() > Self::MAX_LEN || text.chars().any(char::is_control) {
            return Err(InvalidSelector::Form);
        }
        if text.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            return Err(InvalidSelector::Path);
        }
        Ok(Self(text.into()))
    }
}

impl OtherSelector {
    /// The attestor that shows it.
    pub fn attestor(&self) -> &str {
        self.0.split_once(':').map_or("", |(attestor, _)| attestor)
    }

    /// The whole text, with the attestor's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(UnixSelector::Uid(uid)) => write!(f, "unix:uid:{uid}"),
            Self::Unix(UnixSelector::Gid(gid)) => write!(f, "unix:gid:{gid}"),
            Self::Unix(UnixSelector::Path(path)) => write!(f, "unix:path:{}", path.as_str()),
            Self::Unix(UnixSelector::Sha256(digest)) => {
                write!(f, "unix:sha256:{:x}", HexDisplay(digest.as_slice()))
            }
            Self::Other(other) => f.write_str(other.as_str()),
        }
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
