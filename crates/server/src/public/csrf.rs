//! The token in the login form, by which the server recognizes its own form.
//!
//! It is made with a key that only this process has, for one browser and one authorization request, and it
//! expires. So an attacker who can set a cookie cannot make one, and a form for one request is not valid for
//! another.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::lifetimes::LOGIN_FORM_LIFETIME;
use mandate_core::{Secret, Timestamp};

/// What the MAC (RFC 2104) is computed over: the token's expiry, the browser's id and the request.
fn message(expires: u64, browser: &str, request: &str) -> Vec<u8> {
    // The browser's id follows its length, so that no part of it can be taken for the request.
    let browser_length = (browser.len() as u64).to_be_bytes();
    [
        b"mandate login form",
        expires.to_be_bytes().as_slice(),
        &browser_length,
        browser.as_bytes(),
        request.as_bytes(),
    ]
    .concat()
}

fn mac_key(key: &Secret) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, key.expose_secret())
}

/// A token for the form that `browser` is shown for `request`, the query of the authorization request.
pub(super) fn token(key: &Secret, browser: &str, request: &str, now: Timestamp) -> String {
    let expires = now.plus(LOGIN_FORM_LIFETIME).secs();
    let tag = hmac::sign(&mac_key(key), &message(expires, browser, request));
    format!("{expires}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Whether `token` is one that [`token`] made for this browser and request, not too long ago.
pub(super) fn is_genuine(key: &Secret, browser: &str, request: &str, token: &str, now: Timestamp) -> bool {
    let Some((expires, tag)) = token.split_once('.') else { return false };
    let (Ok(expires), Ok(tag)) = (expires.parse::<u64>(), URL_SAFE_NO_PAD.decode(tag)) else { return false };
    // A token that expires later than any made now was made before the clock was set back.
    let in_time = now.secs() < expires && expires <= now.plus(LOGIN_FORM_LIFETIME).secs();
    in_time
        && !browser.is_empty()
        && hmac::verify(&mac_key(key), &message(expires, browser, request), &tag).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::lifetimes::LOGIN_FORM_LIFETIME;
    use mandate_core::{Secret, Timestamp};

    use super::{is_genuine, token};

    #[test]
    fn a_token_counts_for_its_server_browser_request_and_time_only() {
        let (key, now) = (Secret::new([7; 32]), Timestamp::from_secs(1_000));
        let made = token(&key, "b1", "client_id=app", now);
        assert!(is_genuine(&key, "b1", "client_id=app", &made, now));
        assert!(is_genuine(
            &key,
            "b1",
            "client_id=app",
            &made,
            now.plus(LOGIN_FORM_LIFETIME).minus(Duration::from_secs(1))
        ));
        assert!(!is_genuine(&Secret::new([8; 32]), "b1", "client_id=app", &made, now), "another server's");
        assert!(!is_genuine(&key, "b2", "client_id=app", &made, now), "another browser's");
        assert!(!is_genuine(&key, "b1", "client_id=other", &made, now), "another request's");
        assert!(!is_genuine(&key, "b1c", "lient_id=app", &made, now));
        assert!(!is_genuine(&key, "b1", "client_id=app", &made, now.plus(LOGIN_FORM_LIFETIME)), "too old");
        assert!(
            !is_genuine(&key, "b1", "client_id=app", &made, now.minus(Duration::from_secs(1))),
            "from the future"
        );
    }

    #[test]
    fn what_nobody_made_is_not_genuine() {
        let (key, now) = (Secret::new([7; 32]), Timestamp::from_secs(1_000));
        let made = token(&key, "b1", "", now);
        let (expires, tag) = made.split_once('.').unwrap();
        for forged in [
            "",
            ".",
            expires,
            &format!("{expires}."),
            &format!("1100.{tag}"),
            &format!("{expires}.{tag}A"),
            &format!("{expires}.{}", &tag[1..]),
        ] {
            assert!(!is_genuine(&key, "b1", "", forged, now), "{forged}");
        }
        assert!(
            !is_genuine(&key, "", "", &token(&key, "", "", now), now),
            "a form without a browser is nobody's"
        );
    }
}
