//! SPIFFE IDs and trust domains; `vectors/spiffe-ids.json` has what every conforming library accepts and
//! refuses.

use super::{InvalidSpiffeId, SpiffeId, TrustDomain};
use proptest::prelude::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    valid: Vec<String>,
    invalid: Vec<Invalid>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    id: String,
    /// The rule that it breaks.
    rule: String,
}

fn rule(error: InvalidSpiffeId) -> &'static str {
    use InvalidSpiffeId as E;
    match error {
        E::Scheme => "scheme",
        E::EmptyTrustDomain => "empty_trust_domain",
        E::TrustDomainCharacter => "trust_domain_character",
        E::TooLong => "too_long",
        E::EmptySegment => "empty_segment",
        E::DotSegment => "dot_segment",
        E::PathCharacter => "path_character",
    }
}

#[test]
fn every_vector_is_accepted_or_refused_as_it_says() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../../../vectors/spiffe-ids.json")).unwrap();
    for text in &vectors.valid {
        assert_eq!(text.parse::<SpiffeId>().map(|id| id.as_str().to_owned()).as_ref(), Ok(text));
    }
    let mut rules = Vec::new();
    for Invalid { id, rule: broken } in &vectors.invalid {
        assert_eq!(id.parse::<SpiffeId>().map_err(rule).err(), Some(broken.as_str()), "{id:?}");
        rules.push(broken.as_str());
    }
    rules.sort_unstable();
    rules.dedup();
    assert_eq!(rules.len(), 7, "each rule is broken by at least one");
}

#[test]
fn every_byte_in_either_position_follows_the_character_tables() {
    for byte in 0..=255u8 {
        let Ok(text) = String::from_utf8(vec![byte]) else { continue };
        let in_domain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        assert_eq!(text.parse::<TrustDomain>().is_ok(), in_domain, "{byte:#x}");
        let in_path = byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        assert_eq!(
            format!("spiffe://td/a{text}a").parse::<SpiffeId>().is_ok(),
            in_path || byte == b'/',
            "{byte:#x}"
        );
    }
}

#[test]
fn a_text_that_reads_like_an_id_of_the_trust_domain_is_recognized_also_if_it_is_none() {
    let ours: TrustDomain = "acme.example".parse().unwrap();
    for text in [
        "spiffe://acme.example/agent/a",
        "spiffe://acme.example",
        "spiffe://acme.example/",
        "SPIFFE://Acme.Example/a",
        "spiffe://acme.example//%41",
    ] {
        assert!(ours.is_named_in(text), "{text}");
    }
    for text in [
        "",
        "a",
        "spiffe://",
        "spiffe://acme.example.org/a",
        "spiffe://other.example/acme.example",
        "https://acme.example/a",
    ] {
        assert!(!ours.is_named_in(text), "{text}");
    }
}

#[test]
fn enforces_both_length_limits() {
    assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
    assert_eq!("a".repeat(256).parse::<TrustDomain>(), Err(InvalidSpiffeId::TooLong));
    let longest = format!("spiffe://td/{}", "p".repeat(2048 - 12));
    assert!(longest.parse::<SpiffeId>().is_ok());
    assert_eq!(format!("{longest}p").parse::<SpiffeId>(), Err(InvalidSpiffeId::TooLong));
}

proptest! {
    #[test]
    fn whatever_parses_prints_as_it_was_written(text in ".{0,64}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn parts_join_to_the_whole(domain in "[a-z0-9._-]{1,20}", path in "(/[A-Za-z0-9_-]{1,8}){0,4}") {
        let id: SpiffeId = format!("spiffe://{domain}{path}").parse().unwrap();
        let trust_domain = id.trust_domain();
        prop_assert_eq!(trust_domain.as_str(), domain);
        prop_assert_eq!(id.path(), path);
        prop_assert!(id.is_member_of(&id.trust_domain()));
    }
}
