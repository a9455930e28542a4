//! Files that a command writes to a given place: new files, for their owner alone, and never through a link.

use std::path::Path;

use mandate_core::SystemEntropy;
use mandate_files::{FileError, NewFile, Replace};

use crate::failure::{Failure, Fault};

/// Begins a file of mode 0600. `again` is the command to which `--force` is added if a file exists there.
pub(crate) fn begin(path: &Path, force: bool, again: &str) -> Result<NewFile, Failure> {
    mandate_files::output(path, force, &SystemEntropy).map_err(|error| match error {
        FileError::Exists { path } => {
            Failure::usage(format!("{} exists already and is not replaced", path.display()))
                .next(format!("{again} --force   (replaces it)"))
        }
        FileError::Link { path } => {
            Failure::usage(format!("{} is a symbolic link, which is not written through", path.display()))
                .next(format!("{again} --force   (replaces the link itself)"))
        }
        FileError::Kind { path, .. } if path.is_dir() => {
            Failure::usage(format!("{} is a directory: name a file in it", path.display()))
        }
        FileError::Kind { path, .. } => {
            Failure::usage(format!("{} is not a regular file; - is standard output", path.display()))
        }
        error => Failure::caused(Fault::Usage, &format!("cannot write {}", path.display()), &error),
    })
}

/// Gives the file its name.
pub(crate) fn finish(file: NewFile, force: bool) -> Result<(), Failure> {
    let replace = if force { Replace::Always } else { Replace::Never };
    file.commit(replace)
        .map_err(|error| Failure::caused(Fault::Failed, "the file cannot take its place", &error))
}
