use super::{locate, parse};

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn unknown_keys_are_refused_with_place_and_suggestion() {
    for (text, expected) in [
        ("[[agents]]\n", "line 1, column 3: unknown key `agents`; did you mean `agent`?"),
        (
            "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\n  scpoes = []\n",
            "line 4, column 3: unknown key `scpoes`; did you mean `scopes`?",
        ),
        (
            "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = [\"a\"]\ntools = [{ name = \"t\", scope = \"a\", destructiv = true }]\n",
            "line 5, column 37: unknown key `destructiv`; did you mean `destructive`?",
        ),
        (
            "[[issuer]]\nurl = \"https://a.example\"\naudience = \"x\"\ncolour = 1\n",
            "line 4, column 1: unknown key `colour`; here one can write url, audience, subject_scope, other_audiences, ca, proxy, profile, claims, login, client_id, client_secret_file, security_events, events_audience, tenant, id_tokens, introspection",
        ),
        (
            "[[client]]\nid = \"a\"\nauthentication = \"private_key_jws\"\n",
            "line 3, column 18: `private_key_jws` is not known; did you mean `private_key_jwt`?",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn values_of_the_wrong_form_are_refused_where_they_stand() {
    for (text, place, part) in [
        ("[agent]\nname = \"a\"\n", "line 1, column 1", "two brackets"),
        ("[[agent]]\nname = \"Agent\"\n", "line 2, column 8", "agent name \"Agent\" is not valid"),
        ("[[agent]]\nname = \"a\"\n", "line 1, column 1", "`owner` is missing"),
        ("[[person]]\nname = \"../x\"\n", "line 2, column 8", "person name"),
        (
            "[[resource]]\nname = \"crm\"\nuri = \"http://crm.example\"\n",
            "line 3, column 7",
            "its scheme is neither https nor",
        ),
        (
            "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = [\"a b\"]\n",
            "line 4, column 10",
            "printable ASCII",
        ),
        (
            "[[grant]]\nperson = \"p\"\nagent = \"a\"\nresource = \"r\"\nscopes = []\nmax_uses = -1\n",
            "line 6, column 12",
            "u64",
        ),
        (
            "[[grant]]\nperson = \"p\"\nagent = \"a\"\nresource = \"r\"\nscopes = []\nexpires = \"soon\"\n",
            "line 6, column 11",
            "\"soon\" is neither a time",
        ),
        (
            "[[grant]]\nperson = \"p\"\nagent = \"a\"\nresource = \"r\"\nscopes = []\nexpires = 2027-01-31\n",
            "line 6, column 11",
            "neither a time",
        ),
        (
            "[[grant]]\nperson = \"p\"\nagent = \"a\"\nresource = \"r\"\nscopes = []\nlifetime = \"5 minuets\"\n",
            "line 6, column 12",
            "5m",
        ),
        ("[[agent]]\nname = \"a\"\nname = \"b\"\n", "line 3, column 1", "duplicate key"),
        ("[[agent]\n", "line 1, column", ""),
        ("é = ¿\n", "line 1, column", ""),
    ] {
        let error = error(text);
        assert!(error.starts_with(place) && error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn columns_count_characters_not_bytes() {
    assert_eq!(
        error("[[policy]]\nname = \"p\"\nsource = \"ééé\" \nkolor = 1").split(':').next(),
        Some("line 4, column 1")
    );
    assert_eq!(
        error("policy = [{ name = \"p\", source = \"ééé\", kolor = 1 }]").split(':').next(),
        Some("line 1, column 41")
    );
}

#[test]
fn duplicates_are_refused_by_name() {
    let two = |entry: &str| error(&format!("{entry}\n{entry}"));
    let agent = "[[agent]]\nname = \"a\"\nowner = \"p\"\npurpose = \"x\"\n";
    assert_eq!(two(agent), "line 6, column 1: a second agent named `a`");
    assert_eq!(
        two("[[issuer]]\nurl = \"https://a.example\"\naudience = \"x\"\n"),
        "line 5, column 1: a second issuer with the url `https://a.example`"
    );
    let grant = "[[grant]]\nperson = \"p\"\nagent = \"a\"\nresource = \"r\"\nscopes = [\"s\"]\n";
    assert_eq!(
        two(grant),
        "line 7, column 1: a second grant of `p` to `a` on `r`; give each a `name` of its own"
    );
    assert!(parse(&format!("{grant}name = \"one\"\n{grant}name = \"two\"\n")).is_ok());
}

#[test]
fn hostile_texts_end_in_an_error_not_in_a_panic() {
    let deep = format!("policy = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&deep).is_err());
    let keys = format!("{} = 1", "a.".repeat(50_000) + "a");
    assert!(parse(&keys).is_err());
    assert!(parse("\u{0}").is_err());
    assert!(parse("\u{feff}").is_ok());
    assert_eq!(locate("[[", "/agent/0"), None);
    assert_eq!(locate("", ""), Some((1, 1)));
    assert_eq!(locate("a = 1", "/a/0/~1~0"), Some((1, 5)));
}
