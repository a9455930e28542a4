//! The names of the effects that a record carries.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The names of the effects that were written with a record, each once, in the order in which they were made.
/// The sequencer fills it from the effects that it writes, and overwrites what a caller set: a record cannot
/// claim an effect that did not happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectNames(Vec<Cow<'static, str>>);

impl EffectNames {
    /// Lists each name once.
    pub fn of(names: impl Iterator<Item = &'static str>) -> Self {
        let mut kept: Vec<Cow<'static, str>> = Vec::new();
        for name in names {
            if !kept.iter().any(|other| other == name) {
                kept.push(Cow::Borrowed(name));
            }
        }
        Self(kept)
    }

    /// Whether the record carried no effect.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in the order in which the effects were made.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(Cow::as_ref)
    }
}
