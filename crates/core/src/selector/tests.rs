//! One spelling for each selector, and the rule by which a process is given what an entry requires.

use proptest::prelude::*;

use super::{ATTESTORS, InvalidSelector, MAX_SELECTOR_LEN, ProgramPath, Selector, UnixSelector, shows_all};

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn the_unix_attestors_selectors_have_typed_values() {
    let unix = |text: &str| match text.parse() {
        Ok(Selector::Unix(selector)) => selector,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(unix("unix:uid:0"), UnixSelector::Uid(0));
    assert_eq!(unix("unix:gid:4294967295"), UnixSelector::Gid(u32::MAX));
    assert_eq!(
        unix("unix:path:/usr/bin/my agent:v2"),
        UnixSelector::Path("/usr/bin/my agent:v2".parse().unwrap())
    );
    assert!(
        matches!(unix(&format!("unix:sha256:{DIGEST}")), UnixSelector::Sha256(digest) if digest.starts_with(&[0xe3, 0xb0]))
    );
}

#[test]
fn what_another_attestor_shows_is_carried_as_text() {
    for (text, attestor) in [
        ("k8s:ns:prod", "k8s"),
        ("docker:label:com.acme:x y", "docker"),
        ("systemd:id:agent.service", "systemd"),
        ("x509pop:a", "x509pop"),
    ] {
        let selector: Selector = text.parse().unwrap();
        assert_eq!((selector.attestor(), selector.to_string().as_str()), (attestor, text));
        assert!(!selector.is_attestable(), "no attestor of this build shows it");
    }
}

#[test]
fn every_attestor_of_this_build_can_show_its_selectors() {
    assert_eq!(ATTESTORS, ["unix"]);
    assert!("unix:uid:1".parse::<Selector>().unwrap().is_attestable());
}

#[test]
fn other_forms_are_refused() {
    let upper = format!("unix:sha256:{}", DIGEST.to_uppercase());
    for text in [
        "",
        " ",
        ":",
        "unix",
        "unix:",
        "unix:uid",
        "unix:uid:",
        "unix:uid:-1",
        "unix:uid:+1",
        "unix:uid:01",
        "unix:uid:4294967296",
        "unix:uid:1 ",
        "unix:user:riley",
        "unix:path:relative",
        "unix:path:",
        "unix:path:/a\nb",
        "unix:sha256:abc",
        "UNIX:uid:1",
        "k8s",
        "k8s:",
        "K8s:ns:x",
        "8s:ns:x",
        "k 8s:ns:x",
        "k8s:ns:\u{7f}",
        &upper,
        &format!("{}:x", "a".repeat(65)),
        &format!("k8s:{}", "x".repeat(MAX_SELECTOR_LEN)),
        &format!("unix:path:/{}", "x".repeat(MAX_SELECTOR_LEN)),
    ] {
        assert_eq!(text.parse::<Selector>(), Err(InvalidSelector::Form), "{text:?}");
    }
}

#[test]
fn a_path_that_the_kernel_never_reports_is_refused_with_its_own_reason() {
    for path in ["/a/../b", "/a/./b", "/a/", "/", "//a", "/a//b", "/.", "/..", "/a/.."] {
        assert_eq!(format!("unix:path:{path}").parse::<Selector>(), Err(InvalidSelector::Path), "{path}");
    }
    for path in ["/a", "/a/b", "/a/...", "/a/.b", "/a/b..", "/opt/my agent/a (deleted)"] {
        assert!(format!("unix:path:{path}").parse::<Selector>().is_ok(), "{path}");
    }
}

#[test]
fn the_longest_path_makes_a_selector_that_is_not_too_long() {
    let path = |len: usize| format!("/{}", "x".repeat(len - 1)).parse::<ProgramPath>();
    let longest = Selector::from(UnixSelector::Path(path(MAX_SELECTOR_LEN - 10).unwrap())).to_string();
    assert_eq!(longest.len(), MAX_SELECTOR_LEN);
    assert!(longest.parse::<Selector>().is_ok());
    assert_eq!(path(MAX_SELECTOR_LEN - 9), Err(InvalidSelector::Form));
}

#[test]
fn in_json_a_selector_is_its_text() {
    let selectors: Vec<Selector> = serde_json::from_str(r#"["unix:uid:1","k8s:ns:prod"]"#).unwrap();
    assert_eq!(serde_json::to_string(&selectors).unwrap(), r#"["unix:uid:1","k8s:ns:prod"]"#);
    assert!(serde_json::from_str::<Selector>(r#""unix:uid:01""#).is_err());
}

/// Any selector that a text names.
fn selector() -> impl Strategy<Value = Selector> {
    let path = "(/[a-z. ]{0,4}[a-z])+".prop_map(|text| UnixSelector::Path(text.parse().unwrap()));
    let other = "[a-z][a-z0-9_-]{0,8}:[ -~à-ü]{1,20}".prop_filter_map("unix has its own forms", |text| {
        if text.starts_with("unix:") { None } else { text.parse().ok() }
    });
    prop_oneof![
        any::<u32>().prop_map(|n| UnixSelector::Uid(n).into()),
        any::<u32>().prop_map(|n| UnixSelector::Gid(n).into()),
        path.prop_map(Into::into),
        any::<[u8; 32]>().prop_map(|digest| UnixSelector::Sha256(Box::new(digest)).into()),
        other,
    ]
}

/// Few distinct selectors, so that sets of them overlap.
fn few() -> impl Strategy<Value = Vec<Selector>> {
    prop::collection::vec((0..4_u32).prop_map(|n| UnixSelector::Uid(n).into()), 0..4)
}

proptest! {
    #[test]
    fn a_selector_is_read_back_from_its_text(selector in selector()) {
        prop_assert_eq!(selector.to_string().parse(), Ok(selector));
    }

    #[test]
    fn what_is_accepted_prints_as_the_same_bytes(text in r"(unix:(uid|gid|path|sha256|user):)?[0-9a-f/:. k+\-]{0,70}") {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string(), text);
        }
    }

    /// With the subset rule, more shown never takes anything away, and more required never gives anything.
    #[test]
    fn a_process_is_given_what_requires_a_part_of_what_it_shows(shown in few(), required in few(), more in selector()) {
        let given = shows_all(&shown, &required);
        prop_assert_eq!(given, !required.is_empty() && required.iter().all(|one| shown.iter().any(|other| one.to_string() == other.to_string())));
        let (mut shows_more, mut requires_more) = (shown.clone(), required.clone());
        shows_more.push(more.clone());
        requires_more.push(more);
        prop_assert!(!given || shows_all(&shows_more, &required));
        prop_assert!(required.is_empty() || given || !shows_all(&shown, &requires_more));
        prop_assert!(!shows_all(&shown, &[]), "no process is given what requires nothing");
    }
}
