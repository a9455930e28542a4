//! Entries of identity providers: the profile of their tokens and the claims that these must have.

use mandate_api::admin::RegistryItem;
use mandate_core::Audience;
use mandate_core::registry::{Entry, IdTokenUse, Registry, TokenProfile, UpstreamClient};

use super::{defaults, plan, refused, registry};

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
        if !profile.has_jwt_access_tokens() {
            continue;
        }
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
        } else if profile.has_jwt_access_tokens() {
            assert!(plan(&Registry::default(), &text, false).is_ok(), "{profile:?}");
        } else {
            let (detail, place) = refused(&Registry::default(), &text, false);
            assert!(detail.contains("are opaque") && place.0 == 3, "{profile:?}: {detail}");
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

#[test]
fn an_issuer_for_logins_alone_needs_a_client_id_and_no_audience() {
    let only_login = |lines: &str| {
        let text = format!("[[issuer]]\nurl = \"https://login.acme.example\"\nlogin = true\n{lines}");
        let Some(Entry::Issuer(issuer)) = registry(&text).entries().into_iter().next() else {
            panic!("{text}")
        };
        issuer
    };
    let issuer = only_login("client_id = \"mandate\"\nclient_secret_file = \"acme.secret\"\n");
    assert!(!issuer.has_subject_tokens());
    let client =
        UpstreamClient { client_id: "mandate".into(), client_secret_file: Some("acme.secret".into()) };
    assert_eq!(issuer.login, Some(client));
    assert!(!issuer.takes(&Audience::one(String::new())), "no audience is none, not an empty one");
    let public = only_login("client_id = \"mandate\"\nprofile = \"zitadel\"\n");
    assert_eq!(public.login.unwrap().client_secret_file, None);
    let both = kept("login = true\nclient_id = \"mandate\"\n");
    assert!(both.login.is_some() && both.has_subject_tokens());
    let RegistryItem::Issuer(item) = RegistryItem::of(&Entry::Issuer(both), &defaults().issuer) else {
        panic!()
    };
    assert!(item.login && item.client_id.as_deref() == Some("mandate"));
}

#[test]
fn id_tokens_name_an_audience_there_and_a_client_here() {
    let only = |lines: &str| {
        let text =
            format!("[[issuer]]\nurl = \"https://accounts.google.com\"\nprofile = \"google\"\n{lines}");
        registry(&text).entries().into_iter().find_map(|entry| match entry {
            Entry::Issuer(issuer) => Some(issuer),
            _ => None,
        })
    };
    let named =
        |audience: &str, client: &str| format!("{{ audience = \"{audience}\", client = \"{client}\" }}");
    let list =
        [named("b", "desk"), named("a", "spiffe://acme.example/agent/x"), named("b", "desk")].join(", ");
    let issuer = only(&format!("id_tokens = [{list}]\n")).unwrap();
    assert!(!issuer.has_subject_tokens(), "its access tokens are none");
    let known = |audience: &str, client: &str| IdTokenUse {
        audience: audience.to_owned(),
        client: client.parse().unwrap(),
    };
    assert_eq!(issuer.id_tokens, [known("a", "spiffe://acme.example/agent/x"), known("b", "desk")]);
    let RegistryItem::Issuer(item) = RegistryItem::of(&Entry::Issuer(issuer), &defaults().issuer) else {
        panic!()
    };
    assert_eq!(item.id_tokens.len(), 2);
    let many = vec![named("a", "desk"); 65].join(", ");
    for (lines, part) in [
        (format!("id_tokens = [{many}]\n"), "more than 64"),
        (format!("id_tokens = [{}]\n", named("", "desk")), "expected the client id at the issuer"),
        (format!("id_tokens = [{}]\n", named("two words", "desk")), "expected the client id at the issuer"),
        (
            format!("login = true\nclient_id = \"mandate\"\nid_tokens = [{}]\n", named("mandate", "desk")),
            "this server's own client there",
        ),
    ] {
        let (detail, _) = refused(&Registry::default(), &issuer_of(&lines), false);
        assert!(detail.contains(part), "{lines}: {detail}");
    }
}

#[test]
fn opaque_tokens_of_a_client_are_of_one_issuer() {
    let asks = |client: &str| {
        format!(
            "introspection = {{ client_id = \"mandate\", client_secret_file = \"a\", clients = [\"{client}\"] }}\n"
        )
    };
    let issuer = kept(&asks("desk"));
    let asked = issuer.introspection.unwrap();
    assert_eq!((asked.client_id.as_str(), asked.client_secret_file.as_str()), ("mandate", "a"));
    assert_eq!(asked.clients, ["desk".parse().unwrap()]);
    let other = |client: &str| {
        let text = issuer_of(&asks(client));
        text.replace("https://login.acme.example", "https://login.other.example")
    };
    let two = format!("{}{}", issuer_of(&asks("desk")), other("desk"));
    let (detail, _) = refused(&Registry::default(), &two, false);
    assert!(detail.contains("are of the issuer `https://login.acme.example` already"), "{detail}");
    let (detail, _) = refused(&registry(&issuer_of(&asks("desk"))), &other("desk"), false);
    assert!(detail.contains("already"), "{detail}");
    assert!(plan(&registry(&issuer_of(&asks("desk"))), &other("phone"), false).is_ok());
    for (lines, part) in [
        (asks("desk").replace("\"a\"", "\"../a\""), "expected the name of a file"),
        (asks("desk").replace("\"mandate\"", "\"\""), "1 to 256 printable"),
        (asks("desk").replace("[\"desk\"]", "[]"), "expected the 1 to 64 clients"),
    ] {
        let (detail, _) = refused(&Registry::default(), &issuer_of(&lines), false);
        assert!(detail.contains(part), "{lines}: {detail}");
    }
    let text = issuer_of(&format!("profile = \"cognito\"\n{}", asks("desk")));
    let (detail, _) = refused(&Registry::default(), &text, false);
    assert!(detail.contains("Cognito issues no opaque access tokens"), "{detail}");
    let text = format!(
        "[[issuer]]\nurl = \"https://login.acme.example\"\nlogin = true\nclient_id = \"m\"\n{}",
        asks("desk")
    );
    let (detail, _) = refused(&Registry::default(), &text, false);
    assert!(detail.contains("need `audience` too"), "{detail}");
}

#[test]
fn the_order_of_actors_is_kept_where_a_product_can_have_one() {
    assert!(!kept("").oldest_actor_first);
    assert!(kept("claims = { oldest_actor_first = true }\n").oldest_actor_first);
    let text = issuer_of("profile = \"entra-v2\"\nclaims = { oldest_actor_first = true }\n");
    let (detail, _) = refused(&Registry::default(), &text, false);
    assert!(detail.contains("no such order"), "{detail}");
}

#[test]
fn what_a_login_cannot_use_is_refused_at_its_place() {
    for (lines, part, line) in [
        ("login = true\n", "`login = true` needs `client_id`", 4),
        ("client_id = \"mandate\"\n", "`login = true` alone", 4),
        ("client_secret_file = \"x\"\n", "`login = true` alone", 4),
        ("login = true\nclient_id = \"\"\n", "1 to 256 printable", 5),
        ("login = true\nclient_id = \"a\\nb\"\n", "1 to 256 printable", 5),
    ] {
        let (detail, place) = refused(&Registry::default(), &issuer_of(lines), false);
        assert!(detail.contains(part), "{lines}: {detail}");
        assert_eq!(place.0, line, "{lines}");
    }
    let (detail, _) =
        refused(&Registry::default(), "[[issuer]]\nurl = \"https://login.acme.example\"\n", false);
    assert!(detail.contains("`audience` is missing"), "{detail}");
}

#[test]
fn a_secret_file_is_a_name_and_never_a_path_or_the_secret() {
    let long = "x".repeat(65);
    for bad in ["", "../seal.key", "/etc/passwd", "a/b", ".hidden", "..", "s3cret!value", "a\\u0000b", &long]
    {
        let lines = format!("login = true\nclient_id = \"m\"\nclient_secret_file = \"{bad}\"\n");
        let (detail, place) = refused(&Registry::default(), &issuer_of(&lines), false);
        assert!(
            detail.contains("expected the name of a file in the provider's folder of `login-secrets`"),
            "{bad}: {detail}"
        );
        assert!(bad.is_empty() || !detail.contains("s3cret"), "the value is not repeated: {detail}");
        assert_eq!(place.0, 6, "{bad}");
    }
}

#[test]
fn security_events_are_addressed_read_by_the_entry() {
    let none = kept("");
    assert_eq!(none.events_audience, None);
    let own = kept("security_events = true\nevents_audience = \"mandate at acme\"\n");
    assert_eq!(own.events_audience.as_deref(), Some("mandate at acme"));
    let login = kept("login = true\nclient_id = \"mandate\"\nsecurity_events = true\n");
    assert_eq!(login.events_audience.as_deref(), Some("mandate"));
    for (entry, audience) in [(own, Some("mandate at acme")), (login, None), (none, None)] {
        let on = entry.events_audience.is_some();
        let RegistryItem::Issuer(item) = RegistryItem::of(&Entry::Issuer(entry), &defaults().issuer) else {
            panic!()
        };
        assert_eq!((item.security_events, item.events_audience.as_deref()), (on, audience));
    }
    for (lines, part, line) in [
        ("security_events = true\n", "needs `events_audience`", 4),
        ("events_audience = \"x\"\n", "`security_events = true` alone", 4),
        ("security_events = true\nevents_audience = \"\"\n", "1 to 2048 bytes", 5),
        ("security_events = true\nevents_audience = \"a\\nb\"\n", "1 to 2048 bytes", 5),
    ] {
        let (detail, place) = refused(&Registry::default(), &issuer_of(lines), false);
        assert!(detail.contains(part), "{lines}: {detail}");
        assert_eq!(place.0, line, "{lines}");
    }
}
