//! Which `Host` a listener answers to.
//!
//! An attacker can make a host name resolve to this machine (DNS rebinding). A page from that host can then
//! talk to a listener on loopback or in a private network as if it were the page's own server; the browser
//! sends the attacker's host name. So a listener answers only to the issuer's host, to names that the
//! operator has allowed, and to the address at which it was reached.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{Request, Version};
use url::Url;

/// What is wrong with the host of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongHost {
    /// It is missing, repeated or malformed (RFC 9112 §3.2: 400).
    Invalid,
    /// It belongs to another server (RFC 9110 §15.5.20: 421).
    Other,
}

/// The hosts to which a listener answers. Ports are not compared: DNS rebinding needs another name, and ports
/// may be mapped.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// All: no browser can reach a unix socket.
    Any,
    /// These names, in lower case, and the address at which the connection was made.
    These(Arc<[Box<str>]>),
}

impl Hosts {
    /// The host of `issuer`, and `more` names or addresses without port.
    pub(crate) fn of(issuer: &str, more: &[String]) -> Self {
        let issuer = Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self::These(
            issuer
                .into_iter()
                .chain(more.iter().cloned())
                .map(|name| name.to_ascii_lowercase().into())
                .collect(),
        )
    }

    /// Whether a request that reached us at `local` is for us.
    ///
    /// The target's authority has priority over `Host` (RFC 9112 §3.2.2). HTTP/1.0 has no `Host`, and no
    /// browser uses it.
    pub(crate) fn check<B>(&self, request: &Request<B>, local: Option<IpAddr>) -> Result<(), WrongHost> {
        let Self::These(names) = self else { return Ok(()) };
        let mut values = request.headers().get_all(HOST).iter();
        let host = match (values.next(), values.next()) {
            (Some(host), None) => Some(host.to_str().map_err(|_| WrongHost::Invalid)?),
            (None, _) => None,
            (Some(_), Some(_)) => return Err(WrongHost::Invalid),
        };
        let target = request.uri().authority().map(Authority::as_str);
        match target.or(host) {
            Some(authority) => is_ours(names, authority, local),
            None if request.version() < Version::HTTP_11 => Ok(()),
            None => Err(WrongHost::Invalid),
        }
    }
}

fn is_ours(names: &[Box<str>], authority: &str, local: Option<IpAddr>) -> Result<(), WrongHost> {
    let authority: Authority = authority.parse().map_err(|_| WrongHost::Invalid)?;
    if authority.as_str().contains('@') {
        return Err(WrongHost::Invalid);
    }
    let host = authority.host();
    if names.iter().any(|name| host.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let local = local.map(|address| address.to_canonical());
    let on_loopback = local.is_some_and(|address| address.is_loopback());
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let reached = match address {
        Some(address) => local == Some(address.to_canonical()) || (on_loopback && address.is_loopback()),
        None => on_loopback && host.eq_ignore_ascii_case("localhost"),
    };
    if reached { Ok(()) } else { Err(WrongHost::Other) }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::http::{Request, Version};

    use super::{Hosts, WrongHost};

    fn hosts() -> Hosts {
        Hosts::of("https://Login.example:8443/tenant", &["mandate.internal".to_owned()])
    }

    fn get(hosts: &[&str], target: &str, version: Version) -> Request<()> {
        let mut request = Request::get(target).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap()
    }

    fn check(host: &str, local: &str) -> Result<(), WrongHost> {
        hosts().check(&get(&[host], "/jwks.json", Version::HTTP_11), Some(local.parse().unwrap()))
    }

    #[test]
    fn the_issuers_host_allowed_names_and_the_address_that_was_reached_are_ours() {
        for host in [
            "login.example",
            "LOGIN.example:443",
            "login.example:8420",
            "mandate.internal",
            "192.0.2.7",
            "192.0.2.7:8420",
        ] {
            assert_eq!(check(host, "192.0.2.7"), Ok(()), "{host}");
        }
        assert_eq!(check("[2001:db8::7]:8420", "2001:db8::7"), Ok(()));
        assert_eq!(check("192.0.2.7", "::ffff:192.0.2.7"), Ok(()));
    }

    #[test]
    fn loopback_has_its_usual_names_only_where_it_was_reached() {
        for host in
            ["localhost", "localhost:8420", "LocalHost:1", "127.0.0.1:8420", "[::1]:8420", "127.0.0.2"]
        {
            assert_eq!(check(host, "127.0.0.1"), Ok(()), "{host}");
            assert_eq!(check(host, "192.0.2.7"), Err(WrongHost::Other), "{host}");
        }
    }

    #[test]
    fn every_other_name_is_misdirected() {
        for host in [
            "evil.example",
            "evil.example:8420",
            "login.example.evil.example",
            "xlogin.example",
            "login.example.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.8",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "null",
        ] {
            assert_eq!(check(host, "127.0.0.1"), Err(WrongHost::Other), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_no_request() {
        for host in ["", "a b", "user@login.example", "login.example/x", "[::1", "login.example:8420:1"] {
            assert!(check(host, "127.0.0.1").is_err(), "{host}");
        }
        let loopback: Option<IpAddr> = Some("127.0.0.1".parse().unwrap());
        let invalid =
            |request: &Request<()>| assert_eq!(hosts().check(request, loopback), Err(WrongHost::Invalid));
        invalid(&get(&[], "/", Version::HTTP_11));
        invalid(&get(&["localhost", "evil.example"], "/", Version::HTTP_11));
        invalid(&get(&["localhost", "localhost"], "/", Version::HTTP_11));
    }

    #[test]
    fn the_target_goes_before_the_host_and_old_requests_need_none() {
        let loopback: Option<IpAddr> = Some("127.0.0.1".parse().unwrap());
        let check = |request: &Request<()>| hosts().check(request, loopback);
        assert_eq!(
            check(&get(&["localhost"], "http://evil.example/", Version::HTTP_11)),
            Err(WrongHost::Other)
        );
        assert_eq!(check(&get(&["evil.example"], "http://login.example/", Version::HTTP_11)), Ok(()));
        assert_eq!(check(&get(&[], "/", Version::HTTP_10)), Ok(()));
        assert_eq!(check(&get(&["evil.example"], "/", Version::HTTP_10)), Err(WrongHost::Other));
    }

    #[test]
    fn a_unix_socket_answers_to_all() {
        assert_eq!(Hosts::Any.check(&get(&["anything"], "/", Version::HTTP_11), None), Ok(()));
        assert_eq!(Hosts::Any.check(&get(&[], "/", Version::HTTP_11), None), Ok(()));
    }
}
