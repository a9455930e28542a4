//! The arguments of `mandate serve`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use mandate_core::{Issuer, Lifetime, TrustDomain};
use mandate_server::MetadataHost;

use crate::connection::Directory;

/// A text that is read later, where no message repeats it: somebody may have written a password into it.
#[derive(Clone)]
pub(crate) struct Unread(pub(crate) String);

impl From<String> for Unread {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unread(redacted)")
    }
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) directory: Directory,
    /// The PostgreSQL database, as postgres://USER@HOST:PORT/DATABASE [default: mandate.db in DIR]
    #[arg(long, value_name = "URL", env = "MANDATE_STORE", hide_env_values = true)]
    pub(crate) store: Option<Unread>,
    /// The file with the password of the database's user, which nobody else may read
    #[arg(
        long,
        value_name = "FILE",
        env = "MANDATE_STORE_PASSWORD_FILE",
        hide_env_values = true,
        requires = "store"
    )]
    pub(crate) store_password_file: Option<PathBuf>,
    /// Where to serve people, agents and APIs; port 0 is any free port, and the same one at every later start
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where nodes connect
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) node_listen: SocketAddr,
    /// Where the admin API is served over TCP, besides the socket in DIR
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) admin_listen: SocketAddr,
    /// The certificate chain (PEM) for TLS, read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve plain HTTP on any address, because a TLS proxy is in front; needs --issuer
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"], requires = "issuer")]
    pub(crate) behind_tls_proxy: bool,
    /// The issuer identifier, if it is not the address that is listened on; it cannot be changed later,
    /// because tokens contain it
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<Issuer>,
    /// The trust domain of the agents' SPIFFE IDs; it cannot be changed later, because identities contain it
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<TrustDomain>,
    /// For how long after its certificate has expired a node may renew it, such as 24h for laptops that
    /// sleep; 7d at most
    /// [default: not at all]
    #[arg(long, value_name = "SPAN")]
    pub(crate) node_rejoin_grace: Option<Lifetime>,
    /// Another host name that the public and the admin listener answer to, such as the one a proxy passes on;
    /// repeatable
    #[arg(long, value_name = "HOST", value_parser = host_name)]
    pub(crate) allow_host: Vec<String>,
    /// Let clients register themselves (RFC 7591). Nothing proves who they are: they get at most what the
    /// registry lists as `unattested` of a resource
    #[arg(long)]
    pub(crate) dynamic_registration: bool,
    /// A host on which clients may have their metadata, at the URL that is their id, or *.HOST for all hosts
    /// below it; repeatable. Nothing more proves who they are: they get at most what is `unattested`
    #[arg(long, value_name = "HOST")]
    pub(crate) client_metadata_host: Vec<MetadataHost>,
    /// Start although the audit log lacks records that this server wrote: the database is an older copy, or a
    /// standby that was behind
    #[arg(long)]
    pub(crate) accept_log_that_went_back: bool,
}

/// A host name or IP address, as in `Host` before the port.
fn host_name(text: &str) -> Result<String, String> {
    let is_host = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    match text {
        _ if is_address && text.contains(':') => Ok(format!("[{text}]")),
        _ if !text.is_empty() && text.chars().all(is_host) => Ok(text.to_ascii_lowercase()),
        _ => {
            Err("write a host name or an IP address without scheme and port, such as mandate.internal"
                .to_owned())
        }
    }
}

/// An address to listen on. `localhost` is 127.0.0.1, because a name may have several addresses.
fn address(text: &str) -> Result<SocketAddr, String> {
    let number = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    number.as_deref().unwrap_or(text).parse().map_err(|_| {
        "write an IP address and a port, such as 127.0.0.1:8420, [::1]:8420, or 0.0.0.0:443 for every address of this machine".to_owned()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_is_a_number_or_localhost_and_a_slip_is_told_what_to_write() {
        for (text, address) in
            [("localhost:8420", "127.0.0.1:8420"), ("[::1]:1", "[::1]:1"), ("0.0.0.0:443", "0.0.0.0:443")]
        {
            assert_eq!(super::address(text).unwrap().to_string(), address);
        }
        for bad in ["8420", ":8420", "localhost", "mandate.example:443", "localhost:http"] {
            assert!(super::address(bad).unwrap_err().contains("127.0.0.1:8420"), "{bad}");
        }
    }
}
