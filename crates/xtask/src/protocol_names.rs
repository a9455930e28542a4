//! Names of OAuth are written in `core/src/names.rs` alone: elsewhere a literal text that is one of them is
//! refused.

use crate::finding::Finding;
use crate::tokens;
use crate::tree::File;

/// Where the names are.
const NAMES: &str = "crates/core/src/names.rs";

/// The sets whose names mean nothing else: no crate has them as literal texts.
const ALONE: &[&str] = &[
    "GrantType",
    "TokenType",
    "ClientMethod",
    "AssertionType",
    "ErrorCode",
    "ChallengeMethod",
    "AccessTokenType",
];

/// `none` is an ordinary word.
const ORDINARY: &str = "none";

/// The sets whose names are also ordinary words, claims or columns. Those with an underscore are refused in
/// the crates that speak OAuth.
const PARAMETERS: &[&str] = &["Parameter", "ResponseParameter"];
const SPEAK_OAUTH: &[&str] = &[
    "crates/bench/src/",
    "crates/mandate/src/",
    "crates/oauth/src/",
    "crates/server/src/",
    "crates/verifier/src/",
];
/// Parameters that are names of claims as well.
const CLAIMS: &[&str] = &["authorization_details", "client_id"];

/// Who types names by hand: clients of tests, so that a wrong name in the enum is noticed, and the example
/// API, which is an outside program.
const BY_HAND: &[&str] = &["crates/testkit/", "crates/crm/", "crates/xtask/"];

/// The tokens of refusals, which are named for the parameter that is wrong.
const SENTENCES: &str = "crates/oauth/src/wire/sentences.rs";

/// One name, and its place in the enums.
#[derive(Debug)]
struct Name<'a> {
    set: &'a str,
    variant: &'a str,
    text: &'a str,
}

/// Looks for names of OAuth in the literal texts of all shipped files.
pub(crate) fn check(files: &[File], findings: &mut Vec<Finding>) {
    let Some(source) = files.iter().find(|file| file.path == NAMES) else { return };
    let names = names(&source.text);
    let is_shipped = |file: &&File| {
        file.is_rust()
            && file.hand_written()
            && file.path.starts_with("crates/")
            && file.path.contains("/src/")
            && !file.path.ends_with("/tests.rs")
            && !file.path.contains("/tests/")
            && file.path != NAMES
            && BY_HAND.iter().all(|path| !file.path.starts_with(path))
    };
    for file in files.iter().filter(is_shipped) {
        for (line, text) in tokens::shipped_literals(&file.text) {
            // `b"Bearer "` is the scheme, too.
            let found = names.iter().find(|name| name.text == text.trim_ascii() && is_refused(name, file));
            if let Some(Name { set, variant, text }) = found {
                let message =
                    format!("{text:?} is a name of OAuth; use {set}::{variant} of mandate_core::names");
                findings.push(Finding::error(file, line, message));
            }
        }
    }
}

fn is_refused(name: &Name<'_>, file: &File) -> bool {
    if ALONE.contains(&name.set) {
        return name.text != ORDINARY;
    }
    PARAMETERS.contains(&name.set)
        && name.text.contains('_')
        && !CLAIMS.contains(&name.text)
        && file.path != SENTENCES
        && SPEAK_OAUTH.iter().any(|path| file.path.starts_with(path))
}

/// The names in the source of the enums: `Variant = "name",` in `names! { Set { … } }`.
fn names(source: &str) -> Vec<Name<'_>> {
    let mut found = Vec::new();
    let mut set = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line == "names! {" {
            set = lines.by_ref().find_map(|line| line.trim().strip_suffix(" {"));
        } else if line == "}" {
            set = None;
        } else if let (Some(set), Some((variant, text))) = (set, line.trim().split_once(" = \"")) {
            found.extend(text.strip_suffix("\",").map(|text| Name { set, variant, text }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{ALONE, CLAIMS, NAMES, PARAMETERS, SENTENCES, check, names};
    use crate::tree::File;

    fn names_file() -> File {
        let text = std::fs::read_to_string(crate::root().join(NAMES)).unwrap();
        File { path: NAMES.to_owned(), text }
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&[names_file(), File { path: path.to_owned(), text: text.to_owned() }], &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_names_are_read_from_their_source() {
        let source = names_file().text;
        let names = names(&source);
        for set in ALONE.iter().chain(PARAMETERS) {
            assert!(names.iter().any(|name| name.set == *set), "{set} has no names; is it called otherwise?");
        }
        for claim in CLAIMS {
            assert!(names.iter().any(|name| name.text == *claim), "{claim}");
        }
        assert_eq!(names.len(), source.matches(" = \"").count(), "a name is not read");
        assert!(crate::root().join(SENTENCES).is_file());
    }

    #[test]
    fn a_name_that_is_typed_by_hand_is_refused() {
        for (text, says) in [
            ("fn f() -> &'static str { \"invalid_grant\" }", "ErrorCode::InvalidGrant"),
            ("\n\nmatch a { \"authorization_code\" => b }", "b.rs:3: "),
            ("f(\"urn:ietf:params:oauth:token-type:jwt\")", "TokenType::Jwt"),
            ("f(\"private_key_jwt\")", "ClientMethod::PrivateKeyJwt"),
            ("f(\"S256\")", "ChallengeMethod::S256"),
            ("text.strip_prefix(\"Bearer \")", "AccessTokenType::Bearer"),
            ("text.strip_prefix(b\"Bearer \")", "AccessTokenType::Bearer"),
            ("f(r#\"invalid_grant\"#)", "ErrorCode::InvalidGrant"),
        ] {
            let found = found("crates/a/src/b.rs", text);
            assert!(found.len() == 1 && found[0].contains(says), "{text}: {found:?}");
        }
        for text in ["f(\"none\")", "f(\"scope\")", "// \"invalid_grant\"", "f(\"access_token\")", "f('\"')"]
        {
            assert_eq!(found("crates/a/src/b.rs", text), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn a_parameter_is_refused_in_the_crates_that_speak_oauth() {
        for text in ["f(\"code_verifier\")", "f(\"error_description\")"] {
            for path in ["crates/oauth/src/b.rs", "crates/mandate/src/command/b.rs"] {
                assert_eq!(found(path, text).len(), 1, "{path}: {text}");
            }
            assert_eq!(found("crates/token/src/b.rs", text), [] as [&str; 0]);
            assert_eq!(found(SENTENCES, text), [] as [&str; 0]);
        }
        for text in ["f(\"client_id\")", "f(\"resource\")"] {
            assert_eq!(found("crates/oauth/src/b.rs", text), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn tests_and_outside_programs_may_type_names() {
        let in_test = "#[cfg(test)]\nmod tests {\n    const A: &str = \"invalid_grant\";\n}";
        assert_eq!(found("crates/a/src/b.rs", in_test), [] as [&str; 0]);
        for path in [
            "crates/a/tests/it/b.rs",
            "crates/a/src/b/tests.rs",
            "crates/a/src/b/tests/c.rs",
            "crates/testkit/src/b.rs",
            "crates/crm/src/b.rs",
            "crates/a/src/generated/b.rs",
        ] {
            assert_eq!(found(path, "f(\"invalid_grant\")"), [] as [&str; 0], "{path}");
        }
    }
}
