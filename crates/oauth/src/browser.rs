//! Browsers that have logged a person in before, recognized by a cookie.
//!
//! The cookie proves only that: guesses from such a browser are counted separately from those of strangers.
//! It contains an id and a mark of id, name and password hash. So nothing is stored for it, it is not valid
//! for another name, and a new password ends it. The hash leaves the store only for a check, so nobody else
//! can make the mark.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{PersonName, Secret};
use subtle::ConstantTimeEq as _;

use mandate_core::digest::sha256_of_list;

fn mark(id: &str, name: &PersonName, phc: &Secret) -> String {
    let parts = [b"mandate browser".as_slice(), phc.expose_secret(), name.as_str().as_bytes(), id.as_bytes()];
    URL_SAFE_NO_PAD.encode(sha256_of_list(parts))
}

/// The cookie for the browser `id`, which has just logged `name` in.
pub(crate) fn cookie(id: &str, name: &PersonName, phc: &Secret) -> String {
    format!("{id}.{}", mark(id, name, phc))
}

/// The id in a cookie, if it is of a browser that has logged `name` in with the present password.
pub(crate) fn known<'c>(cookie: &'c str, name: &PersonName, phc: &Secret) -> Option<&'c str> {
    let (id, given) = cookie.split_once('.')?;
    bool::from(mark(id, name, phc).as_bytes().ct_eq(given.as_bytes())).then_some(id)
}

#[cfg(test)]
mod tests {
    use mandate_core::{PersonName, Secret};

    use super::{cookie, known};

    #[test]
    fn a_browser_is_known_for_its_person_and_password_only() {
        let (riley, casey): (PersonName, PersonName) = ("riley".parse().unwrap(), "casey".parse().unwrap());
        let phc = Secret::new("$argon2id$one");
        let made = cookie("b1", &riley, &phc);
        assert_eq!(known(&made, &riley, &phc), Some("b1"));
        assert_eq!(known(&made, &casey, &phc), None);
        assert_eq!(known(&made, &riley, &Secret::new("$argon2id$two")), None, "a new password");
        for forged in [
            "",
            ".",
            "b1",
            "b1.",
            &made.replace("b1", "b2"),
            &format!("{made}A"),
            made.trim_end_matches(|_: char| true),
        ] {
            assert_eq!(known(forged, &riley, &phc), None, "{forged}");
        }
    }
}
