//! The socket of the Workload API: where it is, who may connect, and how an old socket is replaced.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mandate_core::{Entropy, check_socket_path};
use mandate_files::{Dir, Making};
use tokio::net::UnixListener;

use crate::error::NodeError;

/// A bound socket. Its file is removed with it, unless another file has taken its place.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    file: (u64, u64),
}

fn failed(path: &Path) -> impl Fn(io::Error) -> NodeError {
    let path = path.to_owned();
    move |source| NodeError::File { path: path.clone(), source }
}

impl Socket {
    /// Binds. Any local process may connect (mode 0777): the node itself finds out which process it is
    /// (Workload Endpoint §5).
    ///
    /// The socket is made under another name and then moved into place, so that there is never a socket that
    /// refuses connections or has other permissions.
    pub(crate) fn bind(path: &Path, entropy: &dyn Entropy) -> Result<(Self, UnixListener), NodeError> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut random = [0; 4];
        entropy.fill(&mut random);
        let temporary = dir.join(format!(".{:08x}", u32::from_le_bytes(random)));
        // Renaming would give a socket any name, also one under which nobody can connect.
        check_socket_path(path)?;
        check_socket_path(&temporary)?;
        // A user who could replace the socket, or a folder on the way to it, could answer workloads in our
        // place.
        Dir::open_or_make_shared(dir, Making { above: 0o755, mode: 0o755 })?;
        check_vacant(path)?;
        let bound = (|| {
            let listener = UnixListener::bind(&temporary)?;
            // As many waiting connections as the kernel allows (net.core.somaxconn): beyond that, clients are
            // refused.
            rustix::net::listen(&listener, i32::from(u16::MAX))?;
            fs::set_permissions(&temporary, Permissions::from_mode(0o777))?;
            let metadata = fs::symlink_metadata(&temporary)?;
            fs::rename(&temporary, path)?;
            Ok((listener, (metadata.dev(), metadata.ino())))
        })();
        if let Some(closed) = closed_to_others(path) {
            tracing::warn!(dir = %closed.display(), socket = %path.display(), "other users cannot reach the Workload API's socket, since this folder is closed to them; choose another place with --socket");
        }
        match bound {
            Ok((listener, file)) => Ok((Self { path: path.to_owned(), file }, listener)),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(failed(path)(error))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket cannot be removed");
        }
    }
}

/// The topmost folder on the way to `path` through which other users may not pass.
fn closed_to_others(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let closed = |dir: &&&Path| fs::metadata(dir).is_ok_and(|metadata| metadata.mode() & 0o001 == 0);
    above.iter().find(closed).map(|dir| dir.to_path_buf())
}

/// Refuses unless there is nothing at `path`, or only a socket of this user on which no process listens any
/// longer.
fn check_vacant(path: &Path) -> Result<(), NodeError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path)(error)),
    };
    if !metadata.file_type().is_socket() || mandate_files::own_user() != Some(metadata.uid()) {
        return Err(NodeError::Occupied { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(())
        }
        Ok(_) | Err(_) => Err(NodeError::InUse { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Socket, closed_to_others};
    use crate::error::NodeError;
    use mandate_core::SystemEntropy;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use tokio::net::UnixStream;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn any_local_process_may_connect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/api.sock");
        let (socket, _listener) = Socket::bind(&path, &SystemEntropy).unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o755, 0o777));
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(socket);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_folder_that_keeps_other_users_from_the_socket_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let node = dir.path().join("node");
        fs::create_dir(&node).unwrap();
        for (outer, inner, closed) in [
            (0o711, 0o711, None),
            (0o755, 0o755, None),
            (0o700, 0o711, Some(dir.path())),
            (0o755, 0o700, Some(node.as_path())),
        ] {
            set(dir.path(), outer);
            set(&node, inner);
            assert_eq!(
                closed_to_others(&node.join("workload.sock")).as_deref(),
                closed,
                "{outer:o} {inner:o}"
            );
        }
    }

    #[tokio::test]
    async fn a_folder_in_which_others_could_replace_the_socket_is_refused_and_a_sticky_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        fs::create_dir(&folder).unwrap();
        for (mode, good) in [(0o777, false), (0o775, false), (0o1777, true), (0o755, true)] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let bound = Socket::bind(&folder.join("api.sock"), &SystemEntropy);
            assert_eq!(bound.is_ok(), good, "{mode:o}");
            if let Err(error) = bound {
                let right = if mode & 0o002 == 0 { "g-w" } else { "go-w" };
                assert!(
                    error.to_string().contains(&format!("run chmod {right} {}", folder.display())),
                    "{error}"
                );
            }
        }
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder, Some(4711), None).unwrap();
            let error = Socket::bind(&folder.join("in/api.sock"), &SystemEntropy).unwrap_err().to_string();
            assert!(error.contains("belongs to user 4711") && !folder.join("in").exists(), "{error}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_socket, _listener) = Socket::bind(&path, &SystemEntropy).unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_socket_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (_socket, _listener) = Socket::bind(&path, &SystemEntropy).unwrap();
        assert!(matches!(Socket::bind(&path, &SystemEntropy), Err(NodeError::InUse { .. })));
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_another_user_left_behind_is_left_alone() {
        if !rustix::process::geteuid().is_root() {
            return mandate_testkit::skipped("only root can make the socket of another user");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
        assert!(matches!(Socket::bind(&path, &SystemEntropy), Err(NodeError::Occupied { .. })));
        assert_eq!(
            std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(&path).unwrap()),
            4711,
            "it is still theirs"
        );
    }

    #[tokio::test]
    async fn files_directories_and_links_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder, link) =
            (dir.path().join("file"), dir.path().join("folder"), dir.path().join("link"));
        fs::write(&file, "precious").unwrap();
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &folder, &link] {
            assert!(
                matches!(Socket::bind(path, &SystemEntropy), Err(NodeError::Occupied { .. })),
                "{path:?}"
            );
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_under_which_nobody_could_connect_is_refused_with_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let at = |bytes: usize| dir.path().join("s".repeat(bytes - dir.path().as_os_str().len() - 1));
        let error = Socket::bind(&at(108), &SystemEntropy).unwrap_err();
        assert!(
            matches!(&error, NodeError::SocketPath(_)) && error.to_string().contains("has 108 bytes"),
            "{error}"
        );
        assert!(
            error.to_string().contains("at most 107") && error.to_string().contains("--socket"),
            "{error}"
        );
        assert!(matches!(
            Socket::bind(&dir.path().join("d".repeat(120)).join("a"), &SystemEntropy),
            Err(NodeError::SocketPath(_))
        ));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
        let (_socket, _listener) = Socket::bind(&at(107), &SystemEntropy).unwrap();
        assert!(UnixStream::connect(at(107)).await.is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_another_node_has_put_in_its_place_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let (socket, _listener) = Socket::bind(&path, &SystemEntropy).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
