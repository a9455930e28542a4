//! Times and spans: a value that was read is written in one form, which gives the same value when it is read
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mandate_api::registry_file::Expiry;
use mandate_core::{Lifetime, Timestamp};

fuzz_target!(|text: &str| {
    if let Ok(at) = text.parse::<Timestamp>() {
        let written = at.to_string();
        assert!(written.ends_with('Z') && written.len() == 24, "{written}");
        assert_eq!(written.parse(), Ok(at), "{text}");
    }
    if let Ok(span) = text.parse::<Lifetime>() {
        assert_eq!(span.to_string().parse(), Ok(span), "{text}");
    }
    let _ = text.parse::<Expiry>();
});
