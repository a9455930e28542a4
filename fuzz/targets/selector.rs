//! Selectors, which nodes send and registry files contain: what is accepted has one spelling and keeps it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mandate_core::selector::{MAX_SELECTOR_LEN, Selector, UnixSelector, shows_all};

fuzz_target!(|text: &str| {
    let Ok(selector) = text.parse::<Selector>() else { return };
    assert_eq!(selector.to_string(), text);
    assert!(text.len() <= MAX_SELECTOR_LEN && !text.chars().any(char::is_control));
    assert_eq!(text.split_once(':').map(|(attestor, _)| attestor), Some(selector.attestor()));
    assert_eq!(matches!(selector, Selector::Unix(_)), selector.attestor() == "unix");
    if let Selector::Unix(UnixSelector::Path(path)) = &selector {
        assert!(path.as_str().split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
    }
    let one = [selector];
    assert!(shows_all(&one, &one) && !shows_all(&[], &one) && !shows_all(&one, &[]));
});
