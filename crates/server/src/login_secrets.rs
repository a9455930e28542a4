//! The server's secrets at identity providers: files in a folder of its directory, which no entry of the
//! registry leads out of.

use std::path::Path;
use std::sync::Arc;

use mandate_core::Secret;
use mandate_files::{Dir, Exposure, text};
use mandate_oauth::ReadSecret;

/// The folder in the server's directory.
const FOLDER: &str = "login-secrets";

/// The longest secret, in bytes.
const MAX_SECRET: u64 = 4096;

/// Reads the secrets of the server in `dir`. The file is read each time, so a new secret needs no restart.
pub(crate) fn in_dir(dir: &Path) -> ReadSecret {
    let folder = dir.join(FOLDER);
    Arc::new(move |name| read(&folder, name))
}

fn read(folder: &Path, name: &str) -> Result<Secret, String> {
    let path = folder.join(name);
    // The registry holds only plain names. Should it hold another one, that opens nothing either.
    if Path::new(name).file_name().is_none_or(|plain| plain != name) {
        return Err(format!("{name:?} is no name of a file in {}", folder.display()));
    }
    let dir = Dir::open(folder).map_err(|error| error.to_string())?;
    let file = dir.open_file(name, Exposure::PrivateOrRootsGroup).map_err(|error| error.to_string())?;
    let file =
        file.ok_or_else(|| format!("{} is missing: write the client secret into it", path.display()))?;
    text::secret_line(file, MAX_SECRET).map_err(|error| format!("{}: {error}", path.display()))
}
