//! SPIFFE IDs and trust domains: what is accepted has one spelling and splits into its parts without loss.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mandate_core::{SpiffeId, TrustDomain};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.as_str(), text);
        let domain = id.trust_domain();
        assert!(id.is_member_of(&domain));
        assert_eq!(domain.as_str().parse::<TrustDomain>().as_ref(), Ok(&domain));
        assert_eq!(domain.member(id.path()).as_ref(), Ok(&id));
        assert_eq!(id.path().is_empty(), domain.id() == id);
        assert!(id.path().split('/').skip(1).all(|segment| !matches!(segment, "" | "." | "..")));
        let rest = text.trim_start_matches("spiffe://");
        assert!(!rest.contains(['%', '?', '#', '@', ':', '\\', '\0', ' ']));
    }
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert_eq!(domain.as_str(), text);
        assert_eq!(domain.id().as_str().parse::<SpiffeId>(), Ok(domain.id()));
    }
});
