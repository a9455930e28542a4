//! Selectors: what a node can say about a local process.

use std::fmt;
use std::str::FromStr;

use base16ct::HexDisplay;
use mandate_core::digest::sha256_from_hex;

/// One attested property of a process. The text form is canonical, because the server compares it bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Selector {
    /// `unix:uid:N`, the effective user when it connected.
    Uid(u32),
    /// `unix:gid:N`, the effective group when it connected. Supplementary groups are ignored.
    Gid(u32),
    /// `unix:path:/…`, the program's absolute path.
    Path(Box<str>),
    /// `unix:sha256:…`, the SHA-256 of the program's file, in lower-case hexadecimal.
    Sha256(Box<[u8; 32]>),
}

/// The text is not a selector that this node can attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of unix:uid:N, unix:gid:N, unix:path:/…, unix:sha256:<64 lower-case hex digits>")]
pub(crate) struct UnknownSelector;

fn number(text: &str) -> Result<u32, UnknownSelector> {
    // Exactly the form that is attested: no sign, no leading zero.
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if canonical { text.parse().map_err(|_| UnknownSelector) } else { Err(UnknownSelector) }
}

impl FromStr for Selector {
    type Err = UnknownSelector;

    fn from_str(text: &str) -> Result<Self, UnknownSelector> {
        let (kind, value) = text.strip_prefix("unix:").and_then(|rest| rest.split_once(':')).ok_or(UnknownSelector)?;
        match kind {
            "uid" => number(value).map(Self::Uid),
            "gid" => number(value).map(Self::Gid),
            "path" if value.starts_with('/') => Ok(Self::Path(value.into())),
            "sha256" => sha256_from_hex(value).map(|digest| Self::Sha256(Box::new(digest))).ok_or(UnknownSelector),
            _ => Err(UnknownSelector),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "unix:uid:{uid}"),
            Self::Gid(gid) => write!(f, "unix:gid:{gid}"),
            Self::Path(path) => write!(f, "unix:path:{path}"),
            Self::Sha256(digest) => write!(f, "unix:sha256:{:x}", HexDisplay(digest.as_slice())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Selector, UnknownSelector};

    #[test]
    fn text_forms_are_canonical() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in
            ["unix:uid:0", "unix:uid:4294967295", "unix:gid:1000", "unix:path:/usr/bin/my agent:v2", &format!("unix:sha256:{digest}")]
        {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_attested_is_refused() {
        let upper = "unix:sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        for text in [
            "",
            "unix",
            "unix:",
            "unix:uid",
            "unix:uid:",
            "unix:uid:-1",
            "unix:uid:+1",
            "unix:uid:01",
            "unix:uid:4294967296",
            "unix:uid:1 ",
            "unix:user:riley",
            "k8s:ns:x",
            "unix:path:relative",
            "unix:path:",
            "unix:sha256:abc",
            "UNIX:uid:1",
            upper,
        ] {
            assert_eq!(text.parse::<Selector>(), Err(UnknownSelector), "{text:?}");
        }
    }
}
