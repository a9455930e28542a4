//! Where the browser may be sent back to (RFC 9700 §2.1): an exact text comparison, with one exemption.

use mandate_core::names::ResponseParameter;
use mandate_core::uri::{MAX_URI_LEN, authority, is_uri_byte, split_scheme};
use url::Url;

/// The hosts whose port is exempt: native apps listen on any free port. The loopback literals by RFC 8252
/// §7.3, `localhost` by RFC 9700 §4.1.3. These hosts do not match each other: a name can be made to resolve
/// to another address (RFC 8252 §8.3), so `localhost` is accepted only if an operator has registered it.
const LOOPBACK: [&str; 3] = ["http://127.0.0.1", "http://[::1]", "http://localhost"];

/// Whether a requested redirect URI is one of the registered ones.
///
/// Compared as text, never parsed and normalized: two parsers may read a URI differently, but a comparison of
/// texts has only one result.
pub fn is_registered(requested: &str, registered: &[String]) -> bool {
    registered.iter().any(|known| known == requested || same_but_for_port(known, requested))
}

/// Whether both are the same loopback URI with different ports.
fn same_but_for_port(known: &str, requested: &str) -> bool {
    LOOPBACK.iter().any(|host| {
        let rest_of = |uri: &'_ str| uri.strip_prefix(host).and_then(after_port).map(str::to_owned);
        rest_of(known).is_some_and(|rest| rest_of(requested).as_ref() == Some(&rest))
    })
}

/// What follows an optional, well-formed port; `None` if something else follows the host.
fn after_port(rest: &str) -> Option<&str> {
    let Some(port) = rest.strip_prefix(':') else {
        return rest.starts_with(['/', '?']).then_some(rest).or_else(|| rest.is_empty().then_some(rest));
    };
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let (port, rest) = port.split_at_checked(digits)?;
    let well_formed = !port.starts_with('0') && port.parse::<u16>().is_ok();
    (well_formed && (rest.is_empty() || rest.starts_with(['/', '?']))).then_some(rest)
}

/// The most redirect URIs of a client that describes itself.
const MAX_REDIRECTS: usize = 10;

/// Whether these can be the redirect URIs of a client that describes itself.
pub(crate) fn may_be_of_itself(uris: &[String]) -> bool {
    (1..=MAX_REDIRECTS).contains(&uris.len()) && uris.iter().all(|uri| may_register_itself(uri))
}

/// Whether a client may register this redirect URI for itself: https or a loopback host, in the only form in
/// which a browser sends it. A scheme of an app's own is for operators to register: any app can claim one.
fn may_register_itself(uri: &str) -> bool {
    let Some((scheme, rest)) = split_scheme(uri) else { return false };
    let plain = uri.len() <= MAX_URI_LEN && uri.bytes().all(is_uri_byte) && !uri.contains('#');
    let anonymous = authority(rest).is_some_and(|host| !host.is_empty() && !host.contains('@'));
    let Ok(url) = Url::parse(uri) else { return false };
    let normal = url.as_str() == uri || url.as_str().strip_suffix('/') == Some(uri);
    let reachable = match scheme {
        "https" => url.host().is_some(),
        // The same hosts whose port is exempt.
        "http" => LOOPBACK.iter().any(|host| uri.strip_prefix(host).and_then(after_port).is_some()),
        _ => false,
    };
    plain && anonymous && normal && reachable
}

/// The redirect URI with response parameters added to its query.
pub fn with_parameters(uri: &str, parameters: &[(ResponseParameter, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        encoded.append_pair(name.as_str(), value);
    }
    let separator = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{separator}{}", encoded.finish())
}

#[cfg(test)]
mod tests {
    use mandate_core::names::ResponseParameter;

    use super::{is_registered, may_register_itself, with_parameters};

    fn matches(requested: &str) -> bool {
        is_registered(
            requested,
            &[
                "https://app.example/cb".to_owned(),
                "http://127.0.0.1:9200/callback".to_owned(),
                "http://[::1]/cb?x=1".to_owned(),
                "http://localhost/native".to_owned(),
                "com.example.app:/oauth".to_owned(),
                "cursor://anysphere.cursor-retrieval/oauth".to_owned(),
            ],
        )
    }

    #[test]
    fn exact_or_loopback_with_another_port() {
        for good in [
            "https://app.example/cb",
            "http://127.0.0.1:9200/callback",
            "http://127.0.0.1:1/callback",
            "http://127.0.0.1/callback",
            "http://[::1]:65535/cb?x=1",
            "http://localhost/native",
            "http://localhost:51234/native",
            "com.example.app:/oauth",
            "cursor://anysphere.cursor-retrieval/oauth",
        ] {
            assert!(matches(good), "{good}");
        }
    }

    #[test]
    fn every_redirect_trick_is_refused() {
        for bad in [
            "",
            "https://app.example/cb/",
            "https://app.example/cb?x=1",
            "https://app.example/cb#f",
            "https://app.example/cbx",
            "https://app.example:443/cb",
            "https://app.example:8443/cb",
            "https://app.example@evil.example/cb",
            "https://app.example.evil.example/cb",
            "https://APP.example/cb",
            "https://app.example/%63b",
            "https://app.example/x/../cb",
            "javascript:alert(1)",
            "http://localhost:9200/callback",
            "http://127.0.0.1/native",
            "http://localhost.evil.example/native",
            "http://localhost:1@evil.example/native",
            "https://localhost:51234/native",
            "http://LOCALHOST/native",
            "com.example.app:/oauth/",
            "com.example.app:/oauth?x",
            "com.example.app://oauth",
            "com.example.APP:/oauth",
            "cursor://anysphere.cursor-retrieval:1/oauth",
            "cursor:/anysphere.cursor-retrieval/oauth",
            "http://127.0.0.1:9200/callback/",
            "http://127.0.0.1:9200/callback?x",
            "http://127.0.0.1:9200@evil.example/callback",
            "http://127.0.0.1.evil.example/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:080/callback",
            "http://127.0.0.1:99999/callback",
            "http://127.0.0.2:9200/callback",
            "https://127.0.0.1:9200/callback",
            "http://[::1]:9200/callback",
        ] {
            assert!(!matches(bad), "{bad}");
        }
    }

    #[test]
    fn a_client_registers_https_and_loopback_for_itself_and_nothing_else() {
        for good in [
            "https://app.example/cb",
            "https://app.example:8443/cb?x=%2F",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:9200/cb",
            "http://[::1]/cb",
            "http://localhost:3000/oauth/callback",
        ] {
            assert!(may_register_itself(good), "{good}");
        }
        for bad in [
            "",
            "/cb",
            "https:",
            "https://",
            "https://app.example/cb#f",
            "https://u@app.example/cb",
            "https://APP.example/cb",
            "https://app.example/a/../cb",
            "https://app.example:443/cb",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.2/cb",
            "cursor://x/cb",
            "com.example.app:/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example/\u{e9}",
        ] {
            assert!(!may_register_itself(bad), "{bad}");
        }
    }

    #[test]
    fn parameters_are_added_to_the_query() {
        assert_eq!(
            with_parameters(
                "https://a.example/cb",
                &[(ResponseParameter::Code, "x y"), (ResponseParameter::Iss, "https://m")]
            ),
            "https://a.example/cb?code=x+y&iss=https%3A%2F%2Fm"
        );
        assert_eq!(
            with_parameters("https://a.example/cb?k=v", &[(ResponseParameter::State, "a&b")]),
            "https://a.example/cb?k=v&state=a%26b"
        );
    }
}
