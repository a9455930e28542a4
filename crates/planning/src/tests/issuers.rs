//! Entries of identity providers: the profile of their tokens and the claims that these must have.

use mandate_core::registry::{Entry, Registry, TokenProfile};

use super::{plan, refused, registry};

fn issuer_of(lines: &str) -> String {
    format!(
        "[[issuer]]\nurl = \"https://login.acme.example\"\naudience = \"https://mandate.acme.example\"\n{lines}"
    )
}

fn kept(lines: &str) -> mandate_core::registry::TrustedIssuer {
    let registry = registry(&issuer_of(lines));
    let Some(Entry::Issuer(issuer)) = registry.entries().into_iter().next() else { panic!("no issuer") };
    issuer
}

#[test]
fn the_profile_and_the_required_claims_are_kept() {
    assert_eq!(kept("").profile, TokenProfile::Rfc9068);
    let issuer = kept("profile = \"entra-v2\"\nclaims = { require = { idtyp = \"user\" } }\n");
    assert_eq!(issuer.profile, TokenProfile::EntraV2);
    assert_eq!(issuer.required_claims, [("idtyp".to_owned(), "user".to_owned())].into());
    for profile in TokenProfile::ALL {
        let text = format!("profile = \"{}\"\nclaims = {{ require = {{ a = \"b\" }} }}\n", profile.as_str());
        assert_eq!(kept(&text).profile, *profile);
    }
}

#[test]
fn a_product_whose_tokens_do_not_show_a_person_needs_a_claim_that_does() {
    for profile in TokenProfile::ALL {
        let text = issuer_of(&format!("profile = \"{}\"\n", profile.as_str()));
        if profile.needs_a_claim_of_people() {
            let (detail, _) = refused(&Registry::default(), &text, false);
            assert!(detail.contains("only people's tokens have"), "{detail}");
        } else {
            assert!(plan(&Registry::default(), &text, false).is_ok(), "{profile:?}");
        }
    }
}

#[test]
fn required_claims_are_bounded() {
    let seventeen: Vec<String> = (0..17).map(|at| format!("c{at} = \"x\"")).collect();
    for (claims, part) in [
        (seventeen.join(", "), "more than 16 claims"),
        ("\"\" = \"x\"".to_owned(), "1 to 256 bytes"),
        ("a = \"\"".to_owned(), "1 to 256 bytes"),
        (format!("a = \"{}\"", "x".repeat(257)), "1 to 256 bytes"),
        ("a = \"x\\ny\"".to_owned(), "no control characters"),
    ] {
        let text = issuer_of(&format!("claims = {{ require = {{ {claims} }} }}\n"));
        let (detail, place) = refused(&Registry::default(), &text, false);
        assert!(detail.contains(part), "{claims}: {detail}");
        assert_eq!(place.0, 4);
    }
}
