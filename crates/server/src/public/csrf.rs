//! The token in the login form, by which the server recognizes its own form.
//!
//! It is made with a key that only this process has, for one browser and one authorization request, and it expires. So an
//! attacker who can set a cookie cannot make one, and a form for one request is not valid for another.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use mandate_core::{Secret, Timestamp};
use sha2::Sha256;

/// How long a form may stay open.
pub(super) const LIFETIME: Duration = Duration::from_mins(15);

/// The MAC (RFC 2104) of the token's expiry, the browser's id and the request. `None`: the key cannot be used, which does not
/// happen with any key length.
fn mac(key: &Secret, expires: u64, browser: &str, request: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
    mac.update(b"mandate login form");
    mac.update(&expires.to_be_bytes());
    // Behind its length, so that no part of the one can be taken for the other's.
    mac.update(&u64::try_from(browser.len()).ok()?.to_be_bytes());
    mac.update(browser.as_bytes());
    mac.update(request.as_bytes());
    Some(mac)
}

/// A token for the form that `browser` is shown for `request`, the query of the authorization request.
pub(super) fn token(key: &Secret, browser: &str, request: &str, now: Timestamp) -> String {
    let expires = now.plus(LIFETIME).secs();
    let tag = mac(key, expires, browser, request).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    format!("{expires}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Whether `token` is one that [`token`] made for this browser and request, not too long ago.
pub(super) fn is_genuine(key: &Secret, browser: &str, request: &str, token: &str, now: Timestamp) -> bool {
    let Some((expires, tag)) = token.split_once('.') else { return false };
    let (Ok(expires), Ok(tag)) = (expires.parse::<u64>(), URL_SAFE_NO_PAD.decode(tag)) else { return false };
    // One that expires later than any could was made before the clock was set back.
    let in_time = now.secs() < expires && expires <= now.plus(LIFETIME).secs();
    in_time && !browser.is_empty() && mac(key, expires, browser, request).is_some_and(|mac| mac.verify_slice(&tag).is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::{Secret, Timestamp};

    use super::{LIFETIME, is_genuine, token};

    #[test]
    fn a_token_counts_for_its_server_browser_request_and_time_only() {
        let (key, now) = (Secret::new([7; 32]), Timestamp::from_secs(1_000));
        let made = token(&key, "b1", "client_id=app", now);
        assert!(is_genuine(&key, "b1", "client_id=app", &made, now));
        assert!(is_genuine(&key, "b1", "client_id=app", &made, now.plus(LIFETIME).minus(Duration::from_secs(1))));
        assert!(!is_genuine(&Secret::new([8; 32]), "b1", "client_id=app", &made, now), "another server's");
        assert!(!is_genuine(&key, "b2", "client_id=app", &made, now), "another browser's");
        assert!(!is_genuine(&key, "b1", "client_id=other", &made, now), "another request's");
        assert!(!is_genuine(&key, "b1c", "lient_id=app", &made, now));
        assert!(!is_genuine(&key, "b1", "client_id=app", &made, now.plus(LIFETIME)), "too old");
        assert!(!is_genuine(&key, "b1", "client_id=app", &made, now.minus(Duration::from_secs(1))), "from the future");
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
        assert!(!is_genuine(&key, "", "", &token(&key, "", "", now), now), "a form without a browser is nobody's");
    }
}
