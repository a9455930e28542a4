//! Entries of clients: scopes, methods, redirect URIs and what makes a client unsafe.

use mandate_core::registry::Registry;

use super::{plan, refused, registry};

fn client_of(lines: &str) -> String {
    format!(
        "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = [\"read:cases\"]\n[[client]]\nid = \"app\"\n{lines}"
    )
}

#[test]
fn a_client_lists_scopes_that_some_resource_has() {
    let registry_of = |lines: &str| registry(&client_of(lines));
    let app = "app".parse().unwrap();
    assert_eq!(registry_of("").client(&app).unwrap().scopes, None);
    assert_eq!(
        registry_of("scopes = [\"read:cases\"]\n").client(&app).unwrap().scopes,
        Some("read:cases".parse().unwrap())
    );
    let nothing = registry_of("scopes = []\n");
    assert_eq!(
        nothing.client(&app).unwrap().scopes,
        Some(mandate_core::ScopeSet::new()),
        "an empty list is nothing, not everything"
    );
    let (detail, place) = refused(&Registry::default(), &client_of("scopes = [\"read:casse\"]\n"), false);
    assert_eq!(
        (detail.as_str(), place),
        ("no resource has a scope `read:casse`; did you mean `read:cases`?", (7, 10))
    );
    // A scope that goes away is named where it is still listed.
    let current = registry_of("scopes = [\"read:cases\"]\n");
    let narrowed = "[[resource]]\nname = \"crm\"\nuri = \"https://crm.example\"\nscopes = []\n";
    let findings = plan(&current, narrowed, false).unwrap_err();
    assert!(
        findings
            .iter()
            .any(|f| f.detail == "client `app`, which stays, mentions: no resource has a scope `read:cases`"),
        "{findings:?}"
    );
}

#[test]
fn the_methods_of_a_client_and_the_audience_of_its_assertions_are_kept() {
    use mandate_core::registry::{AssertionAudience, ClientAuthentication};
    let keys = r#"jwks = '{"keys":[{"kty":"EC"}]}'"#;
    let of = |lines: &str| {
        registry(&client_of(lines)).client(&"app".parse().unwrap()).unwrap().authentication.clone()
    };
    assert_eq!(of("authentication = \"client_secret_post\"\n"), ClientAuthentication::ClientSecretPost);
    for (line, expected) in [
        ("", AssertionAudience::Issuer),
        ("assertion_audience = \"issuer\"\n", AssertionAudience::Issuer),
        ("assertion_audience = \"token_endpoint\"\n", AssertionAudience::TokenEndpoint),
    ] {
        let made = of(&format!("authentication = \"private_key_jwt\"\n{keys}\n{line}"));
        assert!(
            matches!(made, ClientAuthentication::PrivateKeyJwt { audience, .. } if audience == expected),
            "{line}{made:?}"
        );
    }
    let (detail, place) =
        refused(&Registry::default(), &client_of("assertion_audience = \"issuer\"\n"), false);
    assert!(detail.contains("needs authentication = \"private_key_jwt\""), "{detail}");
    assert_eq!(place, (7, 22));
}

#[test]
fn redirect_uris_are_refused_where_they_stand_and_claimable_schemes_are_noted() {
    let (detail, place) = refused(
        &Registry::default(),
        &client_of("redirect_uris = [\"https://a.example\", \"javascript:alert(1)\"]\n"),
        false,
    );
    assert!(detail.starts_with("redirect URI \"javascript:alert(1)\": the scheme `javascript`"), "{detail}");
    assert_eq!(place, (7, 39));
    let native = plan(
        &Registry::default(),
        &client_of("redirect_uris = [\"com.example.app:/cb\", \"cursor://x/cb\"]\n"),
        false,
    )
    .unwrap();
    assert_eq!(native.notes.len(), 1, "{:?}", native.notes);
    assert!(native.notes[0].contains("claim the scheme `cursor`"), "{:?}", native.notes);
}

#[test]
fn clients_are_refused_what_makes_them_unsafe() {
    let client = |more: &str| format!("[[client]]\nid = \"app\"\n{more}\n");
    for (more, part) in [
        ("redirect_uris = [\"http://app.example/cb\"]", "http is for loopback addresses only"),
        ("redirect_uris = [\"https://app.example/cb#x\"]", "fragment"),
        ("redirect_uris = [\"javascript:alert(1)\"]", "the scheme `javascript` does not lead back"),
        ("redirect_uris = [\"https://*.example/cb\"]", ""),
        ("authentication = \"private_key_jwt\"", "has no `jwks`"),
        ("jwks = '{\"keys\":[{}]}'", "needs authentication"),
        ("authentication = \"private_key_jwt\"\njwks = '[]'", "not a JWK Set"),
        ("authentication = \"private_key_jwt\"\njwks = '{\"keys\":[]}'", "there is none"),
        (
            "authentication = \"private_key_jwt\"\njwks = '{\"keys\":[{\"kty\":\"EC\",\"d\":\"s3cret\"}]}'",
            "private or secret key",
        ),
    ] {
        match plan(&Registry::default(), &client(more), false) {
            Err(findings) => assert!(
                findings[0].detail.contains(part) && !findings[0].detail.contains("s3cret"),
                "{more}: {findings:?}"
            ),
            Ok(_) => assert!(part.is_empty(), "{more} was accepted"),
        }
    }
}

#[test]
fn a_client_cannot_have_the_name_of_an_agent() {
    let text = "[[client]]\nid = \"spiffe://acme.example/agent/support-agent\"\n";
    assert!(refused(&Registry::default(), text, false).0.contains("those of agents"));
}

#[test]
fn a_client_may_have_to_push_its_requests() {
    let of = |lines: &str| {
        let registry = registry(&client_of(lines));
        registry.client(&"app".parse().unwrap()).unwrap().require_pushed_authorization_requests
    };
    let set = |value| format!("require_pushed_authorization_requests = {value}\n");
    assert_eq!((of(""), of(&set(true)), of(&set(false))), (false, true, false));
}

#[test]
fn people_log_in_for_a_client_on_another_device_only_if_its_entry_says_so() {
    let of = |lines: &str| registry(&client_of(lines)).client(&"app".parse().unwrap()).unwrap().device;
    assert_eq!((of(""), of("device = true\n"), of("device = false\n")), (false, true, false));
}

#[test]
fn a_client_may_be_given_refresh_tokens_and_no_resource_has_their_scope() {
    let of = |lines: &str| registry(&client_of(lines)).client(&"app".parse().unwrap()).unwrap().refresh;
    assert_eq!((of(""), of("refresh = true\n"), of("refresh = false\n")), (false, true, false));
    for scopes in ["\"offline_access\"", "\"read:cases\", \"offline_access\", \"read:cases\""] {
        let text = format!("[[resource]]\nname = \"r\"\nuri = \"https://r.example\"\nscopes = [{scopes}]\n");
        let findings = plan(&Registry::default(), &text, false).unwrap_err();
        let found =
            findings.iter().any(|f| f.detail.starts_with("`offline_access` is a scope of no resource"));
        assert!(found, "{findings:?}");
    }
}
