//! Issuer identifiers and resource indicators. Both compare bytewise: the only safe comparison is the one
//! that every implementation does the same way (RFC 8414 §4, RFC 9728 §6).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use url::{Host, Url};

/// The longest URI that is accepted, in bytes.
pub const MAX_URI_LEN: usize = 2048;

/// Why a text is not an acceptable issuer or resource URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUri {
    /// It has no scheme.
    #[error("not an absolute URI: it has no scheme such as https:")]
    NotAbsolute,
    /// A character that no URI has (RFC 3986 §2).
    #[error(
        "it has a character that no URI may have, such as a space, a backslash or a letter outside ASCII"
    )]
    Character,
    /// Longer than [`MAX_URI_LEN`].
    #[error("longer than 2048 bytes")]
    TooLong,
    /// Neither https nor (on loopback) http.
    #[error(
        "its scheme is neither https nor, for a loopback address, http; no other kind of URI is accepted here"
    )]
    Scheme,
    /// The required host is missing or not valid, or the port is not valid.
    #[error("it has no valid host and port after https:// or http://")]
    Host,
    /// It has a fragment (RFC 8707 §2, RFC 8414 §2).
    #[error("it has a fragment")]
    Fragment,
    /// It has a query.
    #[error("it has a query")]
    Query,
    /// It has a user name or password before the host.
    #[error("it has user information: an @ before the host")]
    UserInfo,
    /// It has a percent sign. Percent-encoding is the usual reason why two texts mean one resource.
    #[error("it has a percent sign; it is compared byte for byte, so choose one without percent-encoding")]
    Percent,
    /// Scheme or host are not in lower case (RFC 3986 §6.2.2.1).
    #[error("its scheme and host are not in lower case")]
    Case,
    /// It differs from the normal form in another way: default port, dot segment, an address that is not
    /// written normally.
    #[error(
        "it is not in normal form: leave out the default port and . and .. segments, and write addresses in full (RFC 3986 section 6.2)"
    )]
    NotNormal,
}

/// Whether a byte may occur in a URI (RFC 3986 §2.2, §2.3), percent signs included.
pub fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// The scheme of an absolute URI (RFC 3986 §3.1), and what follows its colon.
pub fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    formed.then_some((scheme, rest))
}

/// The authority of a URI (RFC 3986 §3.2), from what follows its scheme's colon.
pub fn authority(rest: &str) -> Option<&str> {
    rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next())
}

/// The text without the default port, which some issuers have in their identifier (RFC 3986 §6.2.3).
fn without_default_port(text: &str) -> Option<String> {
    let (scheme, rest) = split_scheme(text)?;
    let host = authority(rest)?;
    let shorter = host.strip_suffix(if scheme == "https" { ":443" } else { ":80" })?;
    let path = rest.strip_prefix("//")?.strip_prefix(host)?;
    Some(format!("{scheme}://{shorter}{path}"))
}

fn check(text: &str, query_allowed: bool) -> Result<Url, InvalidUri> {
    if text.len() > MAX_URI_LEN {
        return Err(InvalidUri::TooLong);
    }
    if !text.bytes().all(is_uri_byte) {
        return Err(InvalidUri::Character);
    }
    let (scheme, rest) = split_scheme(text).ok_or(InvalidUri::NotAbsolute)?;
    if text.contains('#') {
        return Err(InvalidUri::Fragment);
    }
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err(InvalidUri::Scheme);
    }
    let authority = authority(rest).ok_or(InvalidUri::Host)?;
    if authority.contains('@') {
        return Err(InvalidUri::UserInfo);
    }
    let url = Url::parse(text).map_err(|_| InvalidUri::Host)?;
    if authority.is_empty() || url.host().is_none() {
        return Err(InvalidUri::Host);
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(InvalidUri::Scheme);
    }
    if !query_allowed && text.contains('?') {
        return Err(InvalidUri::Query);
    }
    if text.contains('%') {
        return Err(InvalidUri::Percent);
    }
    if scheme.bytes().chain(authority.bytes()).any(|b| b.is_ascii_uppercase()) {
        return Err(InvalidUri::Case);
    }
    // `https://a.example` and `https://a.example/` are both in use; Url always prints the second.
    let normal = url.as_str();
    if normal == text || normal.strip_suffix('/') == Some(text) {
        Ok(url)
    } else {
        Err(InvalidUri::NotNormal)
    }
}

/// The other spelling of a URI whose path is empty or `/`: for `http` and `https` both name the same resource
/// (RFC 3986 §6.2.3). `None` where there is only one.
pub fn other_spelling(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    match rest.find(['/', '?', '#']) {
        None => Some(format!("{text}/")),
        Some(at) if rest.get(at..) == Some("/") => text.strip_suffix('/').map(str::to_owned),
        Some(_) => None,
    }
}

/// Whether two URIs are the same text, or differ only in that one has an empty path and the other `/` (RFC
/// 3986 §6.2.3).
pub fn same(one: &str, other: &str) -> bool {
    one == other || {
        let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
        long.strip_suffix('/') == Some(short) && other_spelling(long).is_some()
    }
}

/// Whether the URL's host is a loopback address or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

macro_rules! uri_type {
    ($(#[$doc:meta])* $name:ident, query = $query:literal, default_port = $default_port:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The URI exactly as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidUri;

            fn from_str(text: &str) -> Result<Self, InvalidUri> {
                let shorter = if $default_port { without_default_port(text) } else { None };
                check(shorter.as_deref().unwrap_or(text), $query)?;
                Ok(Self(text.into()))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uri_type!(
    /// An issuer identifier (RFC 8414 §2): https (http on loopback), no query, no fragment. It may name the
    /// default port, as those of `PingAM` do: it is compared as it is written, so that is another issuer.
    Issuer, query = false, default_port = true
);
uri_type!(
    /// The address of a bundle endpoint (SPIFFE Federation §5.2.1.1): https (http on loopback), no user
    /// information.
    BundleUrl, query = true, default_port = false
);
uri_type!(
    /// A protected resource's identifier (RFC 8707 §2): an absolute URI without fragment.
    ResourceUri, query = true, default_port = false
);

impl Issuer {
    /// The URL of a well-known document, with the suffix inserted between host and path (RFC 8414 §3).
    pub fn well_known(&self, suffix: &str) -> String {
        let after_scheme = self.0.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = self.0.split_at(after_scheme);
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        format!("{scheme}{host}/.well-known/{suffix}{}", path.trim_end_matches('/'))
    }
}

impl ResourceUri {
    /// The URL of the protected resource's metadata (RFC 9728 §3.1), well-known inserted between host and
    /// path.
    pub fn metadata_url(&self) -> String {
        let after_scheme = self.0.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = self.0.split_at(after_scheme);
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path == "/" { "" } else { path };
        format!("{scheme}{host}/.well-known/oauth-protected-resource{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidUri, Issuer, ResourceUri, same};

    #[test]
    fn refuses_every_other_spelling_of_a_resource() {
        use InvalidUri as E;
        for (text, why) in [
            ("", E::NotAbsolute),
            ("crm", E::NotAbsolute),
            ("/crm", E::NotAbsolute),
            ("//crm.example/", E::NotAbsolute),
            ("1a:crm", E::NotAbsolute),
            ("urn:crm", E::Scheme),
            ("com.example.app:/x", E::Scheme),
            ("https:", E::Host),
            ("https:crm.example", E::Host),
            ("https:///crm", E::Host),
            ("https://", E::Host),
            ("https://crm.example:port/", E::Host),
            ("https://crm.example:99999/", E::Host),
            ("https://?x", E::Host),
            ("https://crm.example/#x", E::Fragment),
            ("https://crm.example#", E::Fragment),
            ("https://u@crm.example/", E::UserInfo),
            ("https://:p@crm.example/", E::UserInfo),
            ("https://@crm.example/", E::UserInfo),
            ("https://CRM.example/", E::Case),
            ("HTTPS://crm.example/", E::Case),
            ("https://crm.example:443/", E::NotNormal),
            ("https://crm.example:/", E::NotNormal),
            ("https://crm.example/a/../b", E::NotNormal),
            ("https://crm.example/%61", E::Percent),
            ("https://crm.example/%C3%A9", E::Percent),
            ("https://crm.example/a%2Fb", E::Percent),
            ("https:\\\\crm.example\\", E::Character),
            ("https://crm.example/\u{e9}", E::Character),
            (" https://crm.example/", E::Character),
            ("http://crm.example/", E::Scheme),
            ("ftp://crm.example/", E::Scheme),
            ("javascript://crm.example/%0aalert(1)", E::Scheme),
        ] {
            assert_eq!(text.parse::<ResourceUri>(), Err(why), "{text}");
        }
    }

    #[test]
    fn an_at_sign_in_a_path_is_no_user_information() {
        assert!("https://crm.example/@acme".parse::<ResourceUri>().is_ok());
        assert!("https://crm.example/api?for=a@b".parse::<ResourceUri>().is_ok());
    }

    #[test]
    fn an_empty_path_and_a_slash_name_the_same_and_nothing_else_does() {
        for (one, other) in [
            ("https://crm.example", "https://crm.example/"),
            ("http://[::1]:9100/", "http://[::1]:9100"),
            ("https://a", "https://a"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("https://crm.example/api", "https://crm.example/api/"),
            ("https://crm.example", "https://crm.example//"),
            ("https://crm.example", "https://CRM.example/"),
            ("https://crm.example", "https://crm.example:443"),
            ("https://crm.example", "http://crm.example/"),
            ("https://crm.example?x", "https://crm.example/?x"),
            ("urn:crm", "urn:crm/"),
        ] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn both_spellings_are_kept_as_they_were_written() {
        let bare: ResourceUri = "https://crm.example".parse().unwrap();
        let slash: ResourceUri = "https://crm.example/".parse().unwrap();
        assert_eq!((bare.as_str(), slash.as_str()), ("https://crm.example", "https://crm.example/"));
        assert!("http://127.0.0.1:9100".parse::<ResourceUri>().is_ok());
        assert!("http://[::1]:9100/api?x=1".parse::<ResourceUri>().is_ok());
    }

    #[test]
    fn an_issuer_may_name_the_default_port_and_is_another_then() {
        let (with, without): (Issuer, Issuer) =
            ("https://am.example:443/am".parse().unwrap(), "https://am.example/am".parse().unwrap());
        assert_ne!(with, without);
        assert_eq!(with.as_str(), "https://am.example:443/am");
        assert_eq!(with.well_known("x"), "https://am.example:443/.well-known/x/am");
        assert!("http://127.0.0.1:80".parse::<Issuer>().is_ok());
        for bad in [
            "https://am.example:443:443/",
            "https://am.example:80443/..",
            "https://am.example:0443/",
            "https://:443/",
            "http://am.example:80/",
            "https://u@am.example:443/",
            "https://am.example:443/a/../b",
        ] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
        // Of a resource there is one spelling: clients write it.
        assert_eq!("https://crm.example:443/".parse::<ResourceUri>(), Err(InvalidUri::NotNormal));
    }

    #[test]
    fn inserts_well_known_between_host_and_path() {
        let root: Issuer = "https://login.example".parse().unwrap();
        assert_eq!(
            root.well_known("oauth-authorization-server"),
            "https://login.example/.well-known/oauth-authorization-server"
        );
        let path: Issuer = "https://login.example/tenant/1".parse().unwrap();
        assert_eq!(
            path.well_known("oauth-authorization-server"),
            "https://login.example/.well-known/oauth-authorization-server/tenant/1"
        );
        let api: ResourceUri = "https://api.example/v1?x=1".parse().unwrap();
        assert_eq!(api.metadata_url(), "https://api.example/.well-known/oauth-protected-resource/v1?x=1");
    }
}
