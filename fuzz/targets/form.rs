//! OAuth's form parser against the lenient parser of browsers: both read every form that ours accepts in the
//! same way.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The source file itself rather than its crate: the whole authorization server would have to be instrumented
// for it.
#[path = "../../crates/oauth/src/form.rs"]
#[allow(dead_code, reason = "the server calls what this target does not")]
mod form;

use mandate_core::names::Parameter;

fuzz_target!(|body: &[u8]| {
    let Ok(form) = form::Form::parse(body) else { return };
    let lenient: Vec<(String, String)> =
        form_urlencoded::parse(body).map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
    assert!(lenient.len() <= form::MAX_PARAMETERS);
    for (name, value) in &lenient {
        assert!(name.len() <= form::MAX_NAME && value.len() <= form::MAX_VALUE);
        assert!(!name.chars().chain(value.chars()).any(|c| c.is_ascii_control()));
        let same = lenient.iter().filter(|(other, _)| other == name);
        match name.as_str() {
            "resource" => assert!(
                form.all(Parameter::Resource).eq(same.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty()))
            ),
            "audience" => assert!(
                form.all(Parameter::Audience).eq(same.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty()))
            ),
            _ => {
                assert_eq!(same.count(), 1, "{name:?} appears twice");
                assert_eq!(form.get(name), Some(value.as_str()).filter(|value| !value.is_empty()));
                assert_eq!(form.has(name), !value.is_empty());
            }
        }
    }
});
