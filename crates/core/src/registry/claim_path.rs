//! Where in the claims of another issuer's token a value is.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::InvalidName;

/// The longest text of a path, in bytes.
const MAX_LEN: usize = 256;
/// The most members that a pointer goes through.
const MAX_STEPS: usize = 8;
const RULE: &str = "use the name of a claim, or a JSON pointer such as /realm_access/roles: 1 to 256 bytes, \
                    no control characters, at most 8 members, none of them empty";

/// The name of a claim, or a JSON pointer (RFC 6901 §3) to a value in one: what begins with `/` is a pointer.
/// A pointer goes through objects only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of the members that lead to the value, the claim first.
    pub fn steps(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (name, pointer) = match self.0.strip_prefix('/') {
            None => (Some(Cow::Borrowed(self.0.as_str())), None),
            Some(steps) => (None, Some(steps.split('/').map(unescaped))),
        };
        name.into_iter().chain(pointer.into_iter().flatten())
    }
}

/// RFC 6901 §4: `~1` before `~0`.
fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') {
        Cow::Owned(step.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(step)
    }
}

/// Every `~` is followed by `0` or `1`.
fn is_step(step: &str) -> bool {
    !step.is_empty() && step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

impl TryFrom<String> for ClaimPath {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let plain = (1..=MAX_LEN).contains(&text.len()) && !text.chars().any(char::is_control);
        let pointer = text
            .strip_prefix('/')
            .is_none_or(|steps| steps.split('/').count() <= MAX_STEPS && steps.split('/').all(is_step));
        if plain && pointer {
            return Ok(Self(text));
        }
        Err(InvalidName { what: "claim", given: text.chars().take(80).collect(), rule: RULE })
    }
}

impl FromStr for ClaimPath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClaimPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::ClaimPath;

    fn steps(text: &str) -> Vec<String> {
        text.parse::<ClaimPath>().unwrap().steps().map(std::borrow::Cow::into_owned).collect()
    }

    #[test]
    fn a_path_is_a_name_or_a_pointer() {
        assert_eq!(steps("groups"), ["groups"]);
        assert_eq!(steps("cognito:groups"), ["cognito:groups"]);
        assert_eq!(
            steps("https://example.com/groups"),
            ["https://example.com/groups"],
            "a name with slashes"
        );
        assert_eq!(steps("a~b"), ["a~b"], "only a pointer has escapes");
        assert_eq!(steps("/realm_access/roles"), ["realm_access", "roles"]);
        assert_eq!(steps("/a~1b/c~0d/~01"), ["a/b", "c~d", "~1"]);
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = "a".repeat(257);
        for bad in ["", "/", "//", "/a/", "/a//b", "/a~", "/a~2", "a\nb", "/1/2/3/4/5/6/7/8/9", &long] {
            assert!(bad.parse::<ClaimPath>().is_err(), "{bad}");
        }
    }
}
