//! Who may present which subject token, and what other issuers may say.

use super::*;

const OTHER_APP: &str = "other-app";

#[test]
fn a_foreign_subject_must_be_addressed_as_configured_and_its_scopes_bound_unless_it_only_identifies() {
    let foreign = |subject_scope| {
        move |c: &mut Case| {
            c.foreign(subject_scope);
            c.subject.terms.scopes = scopes("openid read:cases");
        }
    };
    refuses(R::ScopeExceedsSubject, foreign(SubjectScope::Token));
    let view = permits(|c| {
        foreign(SubjectScope::Token)(c);
        c.scopes = None;
    });
    assert_eq!(view.terms.scopes, scopes("read:cases"));
    assert_eq!(
        permits(foreign(SubjectScope::IdentityOnly)).terms.scopes,
        scopes("read:cases write:case_comments")
    );
    refuses(R::SubjectNotForPresenter, |c| {
        foreign(SubjectScope::IdentityOnly)(c);
        c.subject.terms.audience = audience(&[ISSUER]);
    });
    refuses(R::SubjectNotForPresenter, |c| {
        foreign(SubjectScope::IdentityOnly)(c);
        c.subject.terms.audience = audience(&["another"]);
        c.by_app(&["support-agent"]);
    });
    let with_others = |c: &mut Case, named: &[&str]| {
        foreign(SubjectScope::IdentityOnly)(c);
        c.subject.terms.audience = audience(&["account", AUDIENCE, "https://login.acme.example/userinfo"]);
        let other_audiences = named.iter().map(|aud| (*aud).to_owned()).collect();
        let issuer =
            TrustedIssuer { other_audiences, ..trusted_issuer(AUDIENCE, SubjectScope::IdentityOnly) };
        c.registry.put(Entry::Issuer(issuer));
    };
    refuses(R::SubjectNotForPresenter, |c| with_others(c, &[]));
    refuses(R::SubjectNotForPresenter, |c| with_others(c, &["account"]));
    permits(|c| with_others(c, &["account", "https://login.acme.example/userinfo"]));
}

#[test]
fn an_id_token_is_presented_by_the_client_that_its_entry_names_for_its_audience_and_no_other() {
    let view = permits(Case::identified);
    assert_eq!(view.terms.scopes, scopes("read:cases write:case_comments"), "it carries no scope");
    refuses(R::SubjectNotForPresenter, |c| {
        c.identified();
        c.by_app(&["support-agent"]);
    });
    permits(|c| {
        c.by_app(&["support-agent"]);
        c.identified();
    });
    for (party, all) in [("portal", &["mobile"][..]), ("mobile", &["mobile"]), ("portal", &["portal", "x"])] {
        refuses(R::SubjectNotForPresenter, |c| {
            c.identified();
            c.subject.terms.client = party.parse().unwrap();
            c.subject.terms.audience = audience(all);
        });
    }
    // The entry takes access tokens with this audience; that says nothing about ID tokens, nor the reverse.
    refuses(R::SubjectNotForPresenter, |c| {
        c.identified();
        c.registry.put(Entry::Issuer(trusted_issuer(PORTAL, SubjectScope::Token)));
    });
    refuses(R::SubjectNotForPresenter, |c| {
        c.identified();
        let SubjectOrigin::Foreign(_, kind) = &mut c.subject.origin else { panic!() };
        *kind = ForeignToken::AccessToken;
    });
    refuses(R::SubjectNotForPresenter, |c| {
        c.identified();
        c.registry.put(Entry::Issuer(trusted_issuer("", SubjectScope::Token)));
    });
    refuses(R::SubjectRevoked, |c| {
        c.identified();
        c.registry.remove(mandate_core::registry::EntryKind::Issuer, LOGIN);
    });
    refuses(R::PersonDisabled, |c| {
        c.identified();
        c.person(|p| p.disabled = true);
    });
}

#[test]
fn an_opaque_token_is_presented_by_a_client_whose_opaque_tokens_are_of_its_issuer() {
    let opaque = |c: &mut Case, client: &str| {
        c.foreign(SubjectScope::Token);
        c.subject.terms.scopes = scopes("openid read:cases");
        c.scopes = None;
        let introspection = Some(IntrospectionClient {
            client_id: "mandate".to_owned(),
            client_secret_file: "x".to_owned(),
            clients: vec![client.parse().unwrap()],
        });
        let issuer = TrustedIssuer { introspection, ..trusted_issuer(AUDIENCE, SubjectScope::Token) };
        c.registry.put(Entry::Issuer(issuer));
        let SubjectOrigin::Foreign(_, kind) = &mut c.subject.origin else { panic!() };
        *kind = ForeignToken::OpaqueAccessToken;
    };
    let agent = act("support-agent").sub;
    let view = permits(|c| opaque(c, &agent));
    assert_eq!(view.terms.scopes, scopes("read:cases"), "its scopes bound the result");
    refuses(R::SubjectNotForPresenter, |c| opaque(c, "another"));
    refuses(R::SubjectNotForPresenter, |c| {
        opaque(c, &agent);
        c.subject.terms.audience = audience(&["another"]);
    });
    refuses(R::SubjectNotForPresenter, |c| {
        opaque(c, &agent);
        c.registry.put(Entry::Issuer(trusted_issuer(AUDIENCE, SubjectScope::Token)));
    });
}

#[test]
fn what_the_registry_says_of_an_issuer_now_is_what_counts() {
    // The keys were fetched for an issuer that has been removed, narrowed or given another audience since.
    refuses(R::SubjectRevoked, |c| {
        c.foreign(SubjectScope::Token);
        c.registry.remove(mandate_core::registry::EntryKind::Issuer, LOGIN);
    });
    let changed = |c: &mut Case, audience: &str, subject_scope| {
        c.foreign(SubjectScope::IdentityOnly);
        c.subject.terms.scopes = scopes("read:cases");
        c.registry.put(Entry::Issuer(trusted_issuer(audience, subject_scope)));
    };
    refuses(R::ScopeExceedsSubject, |c| changed(c, AUDIENCE, SubjectScope::Token));
    refuses(R::SubjectNotForPresenter, |c| changed(c, "another", SubjectScope::IdentityOnly));
    permits(|c| changed(c, AUDIENCE, SubjectScope::IdentityOnly));
    let edits: [fn(&mut TrustedIssuer); 6] = [
        |issuer| issuer.ca = Some("another".into()),
        |issuer| issuer.groups_claim = Some("groups".parse().unwrap()),
        |issuer| issuer.tenant_claim = Some("tid".parse().unwrap()),
        |issuer| issuer.oldest_actor_first = true,
        |issuer| issuer.required_claims = [("idp".to_owned(), "staff".to_owned())].into(),
        |issuer| issuer.profile = mandate_core::registry::TokenProfile::Keycloak,
    ];
    let subjects: [fn(&mut Case); 3] =
        [|c| c.foreign(SubjectScope::Token), Case::identified, |c| c.opaque(SubjectScope::Token)];
    for edit in edits {
        for subject in subjects {
            refuses(R::ProofOutdated, |c| {
                subject(c);
                let mut issuer = TrustedIssuer::clone(c.subject.trusted_issuer().unwrap());
                edit(&mut issuer);
                c.registry.put(Entry::Issuer(issuer));
            });
        }
    }
}

#[test]
fn a_token_for_a_resource_is_exchanged_by_the_agent_that_serves_it_if_it_is_ours_and_for_it_alone() {
    let at_helpdesk = |c: &mut Case| {
        c.subject.terms.client = OTHER_APP.parse().unwrap();
        c.subject.terms.audience = audience(&[HELPDESK]);
    };
    permits(at_helpdesk);
    for other in [CRM, "https://unknown.example", "not a URI"] {
        refuses(R::SubjectNotForPresenter, |c| {
            at_helpdesk(c);
            c.subject.terms.audience = audience(&[HELPDESK, other]);
        });
    }
    // Another issuer's token for that resource was not given out by us.
    refuses(R::SubjectNotForPresenter, |c| {
        c.foreign(SubjectScope::Token);
        at_helpdesk(c);
    });
}

#[test]
fn may_act_entitles_whom_it_names_to_a_token_of_ours_only() {
    let named = |c: &mut Case, iss: Option<&str>| {
        c.subject.terms.client = OTHER_APP.parse().unwrap();
        c.subject.terms.audience = audience(&[CRM]);
        c.subject.may_act =
            Some(MayAct { sub: act("support-agent").sub, iss: iss.map(|iss| iss.parse().unwrap()) });
    };
    permits(|c| named(c, Some(ISSUER)));
    permits(|c| named(c, None));
    refuses(R::SubjectNotForPresenter, |c| {
        c.foreign(SubjectScope::Token);
        named(c, Some(ISSUER));
    });
    refuses(R::MayActMismatch, |c| {
        c.foreign(SubjectScope::Token);
        named(c, None);
    });
}

#[test]
fn a_token_for_one_resource_is_aimed_at_no_other_by_the_client_that_it_was_issued_to() {
    let mandate = |c: &mut Case, aud: &str| {
        c.subject.terms.audience = audience(&[aud]);
        c.subject.terms.client = act("support-agent").sub.parse().unwrap();
        c.subject.terms.chain = ActorChain::new(vec![act("support-agent")]).unwrap();
        c.scopes = Some(scopes("read:cases"));
    };
    permits(|c| mandate(c, CRM));
    for elsewhere in ["http://127.0.0.1:9102", "urn:elsewhere"] {
        refuses(R::SubjectNotForPresenter, |c| {
            c.registry.put(Entry::Resource(resource("other", "http://127.0.0.1:9102", "read:cases", None)));
            mandate(c, elsewhere);
        });
    }
}

#[test]
fn a_foreign_client_of_the_same_name_is_not_the_presenter() {
    refuses(R::SubjectNotForPresenter, |c| {
        c.foreign(SubjectScope::Token);
        c.subject.terms.audience = audience(&["another"]);
        c.subject.terms.client = act("support-agent").sub.parse().unwrap();
    });
}

#[test]
fn another_issuer_cannot_say_that_our_agents_have_acted() {
    let abroad = Actor { sub: "batch".into(), iss: LOGIN.parse().unwrap(), sub_profile: None };
    let foreign = |c: &mut Case, chain: Vec<Actor>| {
        c.foreign(SubjectScope::Token);
        c.subject.terms.chain = ActorChain::new(chain).unwrap();
    };
    let view = permits(|c| foreign(c, vec![abroad.clone()]));
    assert_eq!(view.terms.chain.depth(), 2, "their own actors are kept as history");
    refuses(R::ChainNotTheirs, |c| foreign(c, vec![act("triage")]));
    refuses(R::ChainNotTheirs, |c| foreign(c, vec![abroad.clone(), act("triage")]));
    refuses(R::ChainNotTheirs, |c| foreign(c, vec![act("support-agent")]));
    let third =
        Actor { sub: "batch".into(), iss: "https://third.example".parse().unwrap(), sub_profile: None };
    refuses(R::ChainNotTheirs, |c| foreign(c, vec![third.clone()]));
    refuses(R::ChainNotTheirs, |c| foreign(c, vec![abroad.clone(), third.clone()]));
    // In a token of ours an actor from elsewhere is history that we wrote down ourselves.
    permits(|c| c.subject.terms.chain = ActorChain::new(vec![abroad.clone()]).unwrap());
}

#[test]
fn another_issuer_cannot_name_its_actors_as_ours_are_named() {
    let named = |sub: &str| Actor { sub: sub.into(), iss: LOGIN.parse().unwrap(), sub_profile: None };
    let foreign = |c: &mut Case, chain: Vec<Actor>| {
        c.foreign(SubjectScope::Token);
        c.subject.terms.chain = ActorChain::new(chain).unwrap();
    };
    let ours = act("triage").sub;
    for sub in [
        ours.as_str(),
        "spiffe://acme.example/agent/nobody",
        "SPIFFE://ACME.example/agent/triage",
        "spiffe://acme.example",
    ] {
        refuses(R::ChainNotTheirs, |c| foreign(c, vec![named(sub)]));
        refuses(R::ChainNotTheirs, |c| foreign(c, vec![named("batch"), named(sub)]));
    }
    permits(|c| foreign(c, vec![named("spiffe://login.example/agent/triage"), named("triage")]));
    // In a token of ours, such a name is not that of our agent either.
    permits(|c| {
        c.subject.terms.chain = ActorChain::new(vec![named(&ours)]).unwrap();
        c.agent("triage", |a| a.state = AgentState::Suspended);
    });
}
