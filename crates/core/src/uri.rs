//! Issuer identifiers and resource indicators. Both compare bytewise: the only safe comparison is the one that every
//! implementation does the same way (RFC 8414 §3.3, RFC 8707 §2).

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
    /// Not an absolute URI.
    #[error("not an absolute URI")]
    NotAbsolute,
    /// Longer than [`MAX_URI_LEN`].
    #[error("longer than 2048 bytes")]
    TooLong,
    /// Neither https nor (on loopback) http.
    #[error("the scheme must be https, or http on a loopback address")]
    Scheme,
    /// It has a fragment (RFC 8707 §2, RFC 8414 §2).
    #[error("it has a fragment")]
    Fragment,
    /// It has a query.
    #[error("it has a query")]
    Query,
    /// It has a user name or password.
    #[error("it has user information")]
    UserInfo,
    /// It is not in the one normal form: upper case host, default port, dot segment, needless percent-encoding.
    #[error("it is not in normal form; write it as a browser would show it")]
    NotNormal,
}

fn check(text: &str, query_allowed: bool) -> Result<Url, InvalidUri> {
    if text.len() > MAX_URI_LEN {
        return Err(InvalidUri::TooLong);
    }
    let url = Url::parse(text).map_err(|_| InvalidUri::NotAbsolute)?;
    if url.cannot_be_a_base() || url.host().is_none() {
        return Err(InvalidUri::NotAbsolute);
    }
    if text.contains('#') {
        return Err(InvalidUri::Fragment);
    }
    if !query_allowed && text.contains('?') {
        return Err(InvalidUri::Query);
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err(InvalidUri::UserInfo);
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err(InvalidUri::Scheme),
    }
    // `https://a.example` and `https://a.example/` are both in use; Url always prints the second.
    let normal = url.as_str();
    let same = normal == text || normal.strip_suffix('/') == Some(text);
    // `%2e`, `%2F` and friends are the usual way to make two texts mean one path.
    if !same || text.contains('%') || text.contains('\\') {
        return Err(InvalidUri::NotNormal);
    }
    Ok(url)
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
    ($(#[$doc:meta])* $name:ident, query = $query:literal) => {
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
                check(text, $query)?;
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
    /// An issuer identifier (RFC 8414 §2): https (http on loopback), no query, no fragment.
    Issuer, query = false
);
uri_type!(
    /// A protected resource's identifier (RFC 8707 §2): an absolute URI without fragment.
    ResourceUri, query = true
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
    /// The URL of the protected resource's metadata (RFC 9728 §3.1), well-known inserted between host and path.
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
    use super::{InvalidUri, Issuer, ResourceUri};

    #[test]
    fn refuses_each_trick_of_a12() {
        use InvalidUri as E;
        for (text, why) in [
            ("crm", E::NotAbsolute),
            ("/crm", E::NotAbsolute),
            ("urn:crm", E::NotAbsolute),
            ("https://crm.example/#x", E::Fragment),
            ("https://crm.example#", E::Fragment),
            ("https://u@crm.example/", E::UserInfo),
            ("https://:p@crm.example/", E::UserInfo),
            ("https://@crm.example/", E::UserInfo),
            ("https://CRM.example/", E::NotNormal),
            ("HTTPS://crm.example/", E::NotNormal),
            ("https://crm.example:443/", E::NotNormal),
            ("https://crm.example/a/../b", E::NotNormal),
            ("https://crm.example/%61", E::NotNormal),
            ("https://crm.example/a%2Fb", E::NotNormal),
            ("https:\\\\crm.example\\", E::NotNormal),
            (" https://crm.example/", E::NotNormal),
            ("http://crm.example/", E::Scheme),
            ("ftp://crm.example/", E::Scheme),
            ("javascript://crm.example/%0aalert(1)", E::Scheme),
        ] {
            assert_eq!(text.parse::<ResourceUri>(), Err(why), "{text}");
        }
    }

    #[test]
    fn compares_bytewise_so_a_trailing_slash_is_another_resource() {
        let bare: ResourceUri = "https://crm.example".parse().unwrap();
        let slash: ResourceUri = "https://crm.example/".parse().unwrap();
        assert_ne!(bare, slash);
        assert!("http://127.0.0.1:9100".parse::<ResourceUri>().is_ok());
        assert!("http://[::1]:9100/api?x=1".parse::<ResourceUri>().is_ok());
    }

    #[test]
    fn inserts_well_known_between_host_and_path() {
        let root: Issuer = "https://login.example".parse().unwrap();
        assert_eq!(root.well_known("oauth-authorization-server"), "https://login.example/.well-known/oauth-authorization-server");
        let path: Issuer = "https://login.example/tenant/1".parse().unwrap();
        assert_eq!(path.well_known("oauth-authorization-server"), "https://login.example/.well-known/oauth-authorization-server/tenant/1");
        let api: ResourceUri = "https://api.example/v1?x=1".parse().unwrap();
        assert_eq!(api.metadata_url(), "https://api.example/.well-known/oauth-protected-resource/v1?x=1");
    }
}
