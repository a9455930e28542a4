//! Registry files: every error has a place, and what is accepted survives being written out and applied
//! again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mandate_api::admin::RegistryItem;
use mandate_api::registry_file::{RegistryFile, locate, parse};
use mandate_core::Timestamp;
use mandate_core::registry::Registry;
use mandate_planning::{Defaults, entries_of, plan};

static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| Defaults {
    trust_domain: "acme.example".parse().unwrap(),
    issuer: "https://m.example".parse().unwrap(),
    now: Timestamp::from_secs(1_700_000_000),
});

fuzz_target!(|text: &str| {
    let file = match parse(text) {
        Ok(file) => file,
        Err(error) => {
            assert!((1..=text.split('\n').count() + 1).contains(&error.line) && error.column >= 1, "{error}");
            return;
        }
    };
    let entries = match entries_of(&file, &DEFAULTS) {
        Ok(entries) => entries,
        Err(findings) => {
            assert!(!findings.is_empty());
            for finding in findings {
                let _ = locate(text, &finding.pointer);
            }
            return;
        }
    };
    let again =
        RegistryFile::from_items(entries.iter().map(|entry| RegistryItem::of(entry, &DEFAULTS.issuer)));
    let written = toml::to_string(&again).unwrap();
    assert_eq!(parse(&written).as_ref(), Ok(&again), "{written}");
    let registry = Registry::from_entries(entries);
    let plan =
        plan(&again, &registry, &DEFAULTS, true).unwrap_or_else(|findings| panic!("{findings:?}\n{written}"));
    assert!(plan.is_empty(), "applying it again changes something:\n{written}");
});
