//! How long the path of a unix socket may be.

use std::path::{Path, PathBuf};

/// The most bytes of a unix socket's path: the size of `sun_path` less the NUL that ends it (unix(7)).
const LONGEST_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A path that is too long for a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the socket's path {path:?} has {length} bytes, and that of a unix socket has at most {LONGEST_SOCKET_PATH}; choose a shorter one"
)]
pub struct SocketPathTooLong {
    /// The path, as it was given.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: usize,
}

/// Refuses a path that is longer than the kernel takes.
pub fn check_socket_path(path: &Path) -> Result<(), SocketPathTooLong> {
    let length = path.as_os_str().len();
    if length <= LONGEST_SOCKET_PATH {
        Ok(())
    } else {
        Err(SocketPathTooLong { path: path.to_owned(), length })
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_SOCKET_PATH, check_socket_path};
    use std::path::Path;

    #[test]
    fn a_path_counts_in_bytes_and_one_more_than_fits_is_refused_with_its_length() {
        let path = |bytes: usize| format!("/{}", "s".repeat(bytes - 1));
        assert!(check_socket_path(Path::new(&path(LONGEST_SOCKET_PATH))).is_ok());
        let error = check_socket_path(Path::new(&path(LONGEST_SOCKET_PATH + 1))).unwrap_err();
        assert!(error.to_string().contains(&format!("has {} bytes", LONGEST_SOCKET_PATH + 1)), "{error}");
        assert!(check_socket_path(Path::new(&"ü".repeat(60))).is_err());
    }
}
