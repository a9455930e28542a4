//! Where a request came from, as far as its connection shows it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Where a request came from: for quotas and records, never for authorization.
///
/// An IPv6 address counts as its /64 network, because one host has all of that; an IPv4 address mapped into
/// IPv6 counts as the IPv4 address that it is. Behind a proxy every request has the proxy's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestSource {
    /// The network of a peer: an IPv4 address, or an IPv6 /64.
    Network(IpAddr),
    /// A local process of this user, by a unix socket.
    User(u32),
    /// A person who has proven who they are, and may not do what they ask for. All such people are one
    /// source.
    Known,
    /// An unknown source, or one beyond the number of sources that are distinguished.
    Other,
}

impl RequestSource {
    /// The source that a peer's address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }

    /// The site that a network belongs to: for an IPv6 network the /48, since one customer may have all of
    /// that (RFC 6177). Every other source is a site of its own.
    #[must_use]
    pub fn site(self) -> Self {
        match self {
            Self::Network(IpAddr::V6(network)) => {
                let [a, b, c, ..] = network.segments();
                Self::Network(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
            }
            Self::Network(IpAddr::V4(_)) | Self::User(_) | Self::Known | Self::Other => self,
        }
    }
}

impl fmt::Display for RequestSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Network(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::User(uid) => write!(f, "uid:{uid}"),
            Self::Known => f.write_str("known"),
            Self::Other => f.write_str("other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RequestSource;

    fn of(address: &str) -> String {
        RequestSource::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn one_host_is_one_source() {
        assert_eq!(of("2001:db8:1:2:aaaa::1"), of("2001:db8:1:2:bbbb::2"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }

    #[test]
    fn the_networks_of_one_customer_are_one_site() {
        let site = |address: &str| RequestSource::of(address.parse().unwrap()).site();
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:ffff::1"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:2:2::1"));
        assert_ne!(site("192.0.2.7"), site("192.0.2.8"));
    }

    #[test]
    fn a_record_can_show_it() {
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3::1"), "2001:db8:1:2::/64");
        assert_eq!(RequestSource::User(1000).to_string(), "uid:1000");
    }
}
