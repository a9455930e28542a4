//! Which redirect URIs a client may register (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1). They are compared
//! as text, so each is accepted only in the one form in which a browser or an app sends it.

use mandate_core::uri::{MAX_URI_LEN, authority, is_loopback, is_uri_byte, split_scheme};
use url::Url;

/// Schemes that have a special meaning in browsers and systems. A redirect to one would run a script, read
/// files, write mail, or go to a server in plain text; none of them gives a code to an app.
const TAKEN: [&str; 38] = [
    "about",
    "blob",
    "cid",
    "chrome",
    "content",
    "data",
    "dav",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "git",
    "gopher",
    "imap",
    "intent",
    "jar",
    "javascript",
    "jscript",
    "ldap",
    "ldaps",
    "livescript",
    "mailto",
    "mhtml",
    "mocha",
    "nfs",
    "res",
    "resource",
    "sftp",
    "smb",
    "sms",
    "ssh",
    "tel",
    "telnet",
    "urn",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Why a redirect URI cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRedirectUri {
    /// Longer than any identifier here.
    #[error("longer than {MAX_URI_LEN} bytes")]
    TooLong,
    /// A character that no URI has (RFC 3986 §2).
    #[error(
        "it has a character that no URI may have, such as a space, a backslash or a letter outside ASCII; percent-encode it"
    )]
    Character,
    /// A percent sign that encodes nothing (RFC 3986 §2.1).
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Percent,
    /// It has no scheme.
    #[error("not an absolute URI: it has no scheme such as https:")]
    NotAbsolute,
    /// A fragment (RFC 6749 §3.1.2).
    #[error("it has a fragment, which a redirect URI may not have (RFC 6749 §3.1.2)")]
    Fragment,
    /// User information before the host.
    #[error("it has user information: an @ before the host")]
    UserInfo,
    /// `http` to another host than this one.
    #[error("http is for loopback addresses only, such as http://127.0.0.1; use https")]
    PlainHttp,
    /// `http` or `https` without a host, or with an invalid host.
    #[error("it has no valid host and port after https:// or http://")]
    Host,
    /// A scheme in capital letters.
    #[error("write its scheme in lower case")]
    SchemeCase,
    /// A scheme that is one of [`TAKEN`].
    #[error(
        "the scheme `{0}` does not lead back to an app; use https, a loopback address, or a scheme of the app's own"
    )]
    Scheme(String),
    /// A private-use scheme without a path.
    #[error("after `{0}:` there must be a slash, as in {0}:/callback")]
    NoPath(String),
    /// A form in which no browser sends it.
    #[error("browsers and apps send it as {0}; write it so, because it is compared as text")]
    NotNormal(String),
}

/// Whether a client may register this redirect URI.
pub(crate) fn check(text: &str) -> Result<(), InvalidRedirectUri> {
    use InvalidRedirectUri as E;
    if text.len() > MAX_URI_LEN {
        return Err(E::TooLong);
    }
    if !text.bytes().all(is_uri_byte) {
        return Err(E::Character);
    }
    let (scheme, rest) = split_scheme(text).ok_or(E::NotAbsolute)?;
    if text.contains('#') {
        return Err(E::Fragment);
    }
    let is_hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    if text
        .split('%')
        .skip(1)
        .any(|after| !is_hex(after.as_bytes().first()) || !is_hex(after.as_bytes().get(1)))
    {
        return Err(E::Percent);
    }
    let lower = scheme.to_ascii_lowercase();
    if TAKEN.contains(&lower.as_str()) {
        return Err(E::Scheme(lower));
    }
    if lower != scheme {
        return Err(E::SchemeCase);
    }
    if authority(rest).is_some_and(|authority| authority.contains('@')) {
        return Err(E::UserInfo);
    }
    if matches!(scheme, "https" | "http") {
        return check_http(text, scheme, rest);
    }
    // RFC 8252 §7.1: the scheme belongs to a native app.
    if rest.starts_with('/') { Ok(()) } else { Err(E::NoPath(lower)) }
}

fn check_http(text: &str, scheme: &str, rest: &str) -> Result<(), InvalidRedirectUri> {
    use InvalidRedirectUri as E;
    let url = Url::parse(text).map_err(|_| E::Host)?;
    if authority(rest).is_none_or(str::is_empty) {
        return Err(E::Host);
    }
    if scheme == "http" && !is_loopback(&url) {
        return Err(E::PlainHttp);
    }
    let normal = url.as_str();
    // `https://a.example` is sent with a slash or without.
    if normal == text || normal.strip_suffix('/') == Some(text) {
        Ok(())
    } else {
        Err(E::NotNormal(normal.to_owned()))
    }
}

/// The scheme of a redirect URI, if any app could claim it: a scheme without a dot is not derived from a
/// domain name, as RFC 8252 §7.1 requires.
pub(crate) fn claimable_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = split_scheme(text)?;
    (!scheme.contains('.') && !matches!(scheme, "https" | "http")).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::InvalidRedirectUri as E;
    use super::{TAKEN, check, claimable_scheme};

    #[test]
    fn web_apps_native_apps_and_loopback_addresses_are_taken() {
        for good in [
            "https://app.example",
            "https://app.example/",
            "https://app.example/cb?next=%2Fhome&x",
            "https://app.example/%C3%A9",
            "https://app.example/%c3%a9",
            "https://app.example/@acme",
            "https://app.example:8443/cb",
            "https://[2001:db8::1]/cb",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:9200/cb",
            "http://[::1]:9200/cb?x=1",
            "http://localhost:3334/oauth/callback",
            "com.example.app:/oauth2redirect/example-provider",
            "com.example.app://callback",
            "cursor://anysphere.cursor-retrieval/oauth/user-mcp/callback",
            "vscode://vscode.microsoft-authentication",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_the_true_reason() {
        for (bad, why) in [
            ("", E::NotAbsolute),
            ("/cb", E::NotAbsolute),
            ("app.example/cb", E::NotAbsolute),
            ("//app.example/cb", E::NotAbsolute),
            ("https://app.example/cb#", E::Fragment),
            ("com.example.app:/x#y", E::Fragment),
            ("https://u@app.example/cb", E::UserInfo),
            ("https://u:p@app.example/cb", E::UserInfo),
            ("com.example.app://u@x/cb", E::UserInfo),
            ("http://app.example/cb", E::PlainHttp),
            ("http://127.0.0.1.evil.example/cb", E::PlainHttp),
            ("https:", E::Host),
            ("https:app.example", E::Host),
            ("https:///cb", E::Host),
            ("https://app.example:x/cb", E::Host),
            ("HTTPS://app.example/cb", E::SchemeCase),
            ("Com.example.app:/cb", E::SchemeCase),
            ("com.example.app:cb", E::NoPath("com.example.app".into())),
            ("myapp:", E::NoPath("myapp".into())),
            ("https://app.example/a b", E::Character),
            ("https://app.example/\u{e9}", E::Character),
            ("https:\\\\app.example", E::Character),
            ("java\tscript:/alert(1)", E::Character),
            (" javascript:/alert(1)", E::Character),
            ("https://app.example/%zz", E::Percent),
            ("https://app.example/%4", E::Percent),
            ("https://APP.example/cb", E::NotNormal("https://app.example/cb".into())),
            ("https://app.example:443/cb", E::NotNormal("https://app.example/cb".into())),
            ("https://app.example/a/../cb", E::NotNormal("https://app.example/cb".into())),
            ("https://app.example/a/%2e%2E/cb", E::NotNormal("https://app.example/cb".into())),
        ] {
            assert_eq!(check(bad), Err(why), "{bad}");
        }
        assert_eq!(check(&format!("https://app.example/{}", "x".repeat(2048))), Err(E::TooLong));
    }

    #[test]
    fn schemes_that_run_script_or_read_files_are_refused_however_they_are_written() {
        for scheme in TAKEN {
            for uri in [
                format!("{scheme}:x"),
                format!("{scheme}:/x"),
                format!("{scheme}://x/y"),
                format!("{}:/x", scheme.to_ascii_uppercase()),
            ] {
                assert_eq!(check(&uri), Err(E::Scheme(scheme.into())), "{uri}");
            }
        }
    }

    #[test]
    fn a_scheme_without_a_dot_is_one_that_any_app_can_claim() {
        assert_eq!(claimable_scheme("cursor://x/y"), Some("cursor"));
        for other in ["com.example.app:/x", "https://a.example", "http://127.0.0.1/cb", "x"] {
            assert_eq!(claimable_scheme(other), None, "{other}");
        }
    }
}
