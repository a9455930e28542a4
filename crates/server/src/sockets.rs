//! The sockets that a start binds.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tokio::net::TcpListener;

use crate::error::ServerError;

pub(crate) async fn listen(
    address: SocketAddr,
    remembered: Option<u16>,
) -> Result<(TcpListener, SocketAddr), ServerError> {
    let fail =
        |address: SocketAddr| move |source| ServerError::Listen { address: address.to_string(), source };
    let bind = |address| async move {
        let listener = TcpListener::bind(address).await.map_err(fail(address))?;
        let bound = listener.local_addr().map_err(fail(address))?;
        Ok::<_, ServerError>((listener, bound))
    };
    match remembered {
        // The port is part of the issuer that tokens name: no other port can be used.
        Some(port) if address.port() == 0 => bind(SocketAddr::new(address.ip(), port)).await,
        _ => bind(address).await,
    }
}

/// A unix socket for the owner alone. A socket that a killed process left behind is replaced: the store's
/// lock has already shown that no other server uses this directory.
pub(crate) fn listen_unix(path: &Path) -> Result<UnixListener, ServerError> {
    let fail = |source| ServerError::Listen { address: path.display().to_string(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    // The directory is 0700 already; this holds even if somebody opens the directory.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    Ok(listener)
}
