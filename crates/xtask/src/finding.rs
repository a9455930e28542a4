//! What `cargo xtask tidy` finds.

use std::fmt;

use crate::tree::File;

/// Whether a finding fails the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Warning,
    Error,
}

/// One broken rule, and where.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    place: String,
    message: String,
}

impl Finding {
    pub(crate) fn error(file: &File, line: usize, message: String) -> Self {
        Self { weight: Weight::Error, place: format!("{}:{line}", file.path), message }
    }

    pub(crate) fn warning(file: &File, line: usize, message: String) -> Self {
        Self { weight: Weight::Warning, place: format!("{}:{line}", file.path), message }
    }

    /// A broken rule of the file `rules`.
    pub(crate) fn of_rules(rules: &str, message: String) -> Self {
        Self { weight: Weight::Error, place: rules.to_owned(), message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Warning => "warning",
            Weight::Error => "error",
        };
        write!(f, "{weight}: {}: {}", self.place, self.message)
    }
}
