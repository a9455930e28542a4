//! The addresses that are never asked for a client's metadata: those of the registries of special-purpose
//! addresses (RFC 6890) and of multicast, as IANA had them on 2026-11-29, and those that carry an IPv4 address
//! inside an IPv6 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// `iana-ipv4-special-registry`, and multicast (RFC 5771) and the reserved block above it (RFC 1112 §4).
const SPECIAL_V4: [Ipv4Net; 20] = [
    v4([0, 0, 0, 0], 8),          // RFC 791 §3.2
    v4([10, 0, 0, 0], 8),         // RFC 1918
    v4([100, 64, 0, 0], 10),      // RFC 6598
    v4([127, 0, 0, 0], 8),        // RFC 1122 §3.2.1.3
    v4([169, 254, 0, 0], 16),     // RFC 3927
    v4([172, 16, 0, 0], 12),      // RFC 1918
    v4([192, 0, 0, 0], 24),       // RFC 6890 §2.1
    v4([192, 0, 2, 0], 24),       // RFC 5737
    v4([192, 31, 196, 0], 24),    // RFC 7535
    v4([192, 52, 193, 0], 24),    // RFC 7450
    v4([192, 88, 99, 0], 24),     // RFC 7526
    v4([192, 168, 0, 0], 16),     // RFC 1918
    v4([192, 175, 48, 0], 24),    // RFC 7534
    v4([198, 18, 0, 0], 15),      // RFC 2544
    v4([198, 51, 100, 0], 24),    // RFC 5737
    v4([203, 0, 113, 0], 24),     // RFC 5737
    v4([224, 0, 0, 0], 4),        // RFC 5771
    v4([240, 0, 0, 0], 4),        // RFC 1112 §4
    v4([255, 255, 255, 255], 32), // RFC 8190
    v4([168, 63, 129, 16], 32), // the platform's own address in Azure: no registry has it, and it has secrets
];

/// What of IPv6 is public at all: global unicast (RFC 4291 §2.4). Everything else is special or unassigned.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// `iana-ipv6-special-registry`, as far as it is within [`GLOBAL_V6`].
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0], 23),         // RFC 2928, with Teredo (RFC 4380) and others
    v6([0x2001, 0xdb8, 0], 32),     // RFC 3849
    v6([0x2002, 0, 0], 16),         // 6to4 (RFC 3056): an IPv4 address inside
    v6([0x2620, 0x4f, 0x8000], 48), // RFC 7534
    v6([0x3fff, 0, 0], 20),         // RFC 9637
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// The first three groups of the address; the others are 0.
const fn v6([first, second, third]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), prefix)
}

/// Whether it is the address of a public host.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|net| net.contains(&address)),
        // An address that carries one of IPv4 (RFC 4291 §2.5.5.2, RFC 6052) is outside of global unicast.
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn no_special_purpose_address_is_public() {
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.2",
            "192.168.1.1",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2620:4f:8000::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "3ffe::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
