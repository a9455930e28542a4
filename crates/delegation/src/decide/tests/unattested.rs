//! What a client that describes itself can get.

use mandate_core::lifetimes::MAX_MANDATE_LIFETIME;
use mandate_core::{ClientId, SelfAuthentication, SelfDescribed};

use super::*;
use crate::credential::{LoggedInPerson, LoginClient, UnattestedClient};
use crate::decide::Authorization;
use crate::liveness::{Asker, Dead, living};

const STRANGER: &str = "self-registered-01968f7e-3c5a-7b21-9f0e-5d8c2a417b36";

fn stranger() -> LoginClient {
    let client = SelfDescribed {
        id: STRANGER.parse().unwrap(),
        name: Some("Support".into()),
        redirect_uris: vec!["http://127.0.0.1/callback".into()],
        authentication: SelfAuthentication::None,
        registered: NOW.minus(Duration::from_secs(600)),
    };
    LoginClient::Unattested(UnattestedClient::assertion(Arc::new(client), NOW.plus(Duration::from_secs(1))))
}

/// The story with a ceiling for such clients at the CRM.
fn with_ceiling(text: &str) -> Case {
    let mut case = Case::new();
    for (name, uri, all) in
        [("crm", CRM, "read:cases write:case_comments send:mail"), ("mandate", ISSUER, "mandate:admin")]
    {
        let ceiling = scopes(if name == "crm" { text } else { "mandate:admin" });
        case.registry
            .put(Entry::Resource(Resource { unattested: ceiling, ..resource(name, uri, all, None) }));
    }
    case
}

fn asks(case: &Case, resource: Option<&str>, asked: Option<&str>) -> Result<MandateView, R> {
    let request = DecisionRequest::Authorization(Authorization {
        client: stranger(),
        person: LoggedInPerson::assertion("riley".parse().unwrap(), NOW),
        resource: resource.map(|uri| uri.parse().unwrap()),
        scopes: asked.map(scopes),
        jti: "t1".parse().unwrap(),
        continued: None,
    });
    case.facts(|facts| decide(request, facts, NOW)).map(|m| m.view().clone()).map_err(reason)
}

#[test]
fn it_is_the_actor_and_gets_what_ceiling_person_and_request_have_in_common() {
    let case = with_ceiling("read:cases send:mail");
    for (asked, given) in [
        (None, "read:cases"),
        (Some("read:cases write:case_comments send:mail"), "read:cases"),
        (Some("read:cases"), "read:cases"),
    ] {
        let view = asks(&case, Some(CRM), asked).unwrap();
        assert_eq!(view.terms.scopes, scopes(given), "{asked:?}");
        let actor = view.terms.chain.outermost().unwrap();
        assert_eq!((actor.sub.as_str(), actor.iss.as_str()), (STRANGER, ISSUER));
        assert_eq!(actor.sub_profile, Some(mandate_core::SubjectProfile::AiAgent));
        assert_eq!(view.terms.chain.depth(), 1);
        assert_eq!(view.terms.client.as_str(), STRANGER);
        assert!(view.terms.actor_is_unattested());
        assert_eq!(view.terms.expires, NOW.plus(MAX_MANDATE_LIFETIME.0), "no person watches it");
        let record = view.record(
            mandate_core::RecordId::generate(NOW, &mandate_core::SystemEntropy),
            mandate_audit::RecordKind::Token,
            mandate_audit::Asked::default(),
        );
        assert!(record.detail.unwrap().starts_with("unattested:"));
    }
}

#[test]
fn it_gets_nothing_where_the_operator_wrote_no_ceiling() {
    assert_eq!(asks(&Case::new(), Some(CRM), None), Err(R::ScopeBeyondClient));
    assert_eq!(asks(&Case::new(), Some(CRM), Some("read:cases")), Err(R::ScopeBeyondClient));
    let case = with_ceiling("read:cases");
    assert_eq!(asks(&case, Some(CRM), Some("write:case_comments")), Err(R::ScopeBeyondClient));
    assert_eq!(asks(&with_ceiling("send:mail"), Some(CRM), None), Err(R::ScopeBeyondPerson));
}

#[test]
fn it_gets_no_token_that_could_be_exchanged_and_nothing_of_our_administration() {
    let case = with_ceiling("read:cases");
    assert_eq!(asks(&case, None, None), Err(R::ScopeBeyondClient));
    assert_eq!(asks(&case, None, Some("read:cases")), Err(R::ScopeBeyondClient));
    for uri in [ISSUER.to_owned(), format!("{ISSUER}/")] {
        assert_eq!(asks(&case, Some(&uri), Some("mandate:admin")), Err(R::ScopeBeyondClient), "{uri}");
    }
}

#[test]
fn a_cut_on_it_ends_the_login_and_its_tokens() {
    let mut case = with_ceiling("read:cases");
    let terms = asks(&case, Some(CRM), None).unwrap().terms;
    let issuer: Issuer = ISSUER.parse().unwrap();
    let lives = |case: &Case, terms: &Terms| {
        living(terms, &issuer, Asker::Resource, &case.registry, &case.revocations, NOW)
            .map(|person| person.is_some())
    };
    assert_eq!(lives(&case, &terms), Ok(true));
    let client: ClientId = STRANGER.parse().unwrap();
    case.revocations.insert(Cut {
        target: CutTarget::Client(client),
        at: NOW.plus(Duration::from_secs(2)),
        forget: NOW.plus(Duration::from_secs(3600)),
    });
    assert_eq!(lives(&case, &terms), Err(Dead::Cut));
    assert_eq!(asks(&case, Some(CRM), None), Err(R::SubjectRevoked));
}

#[test]
fn no_agent_exchanges_its_token_also_with_a_grant() {
    let terms = Terms::clone(&asks(&with_ceiling("read:cases"), Some(CRM), None).unwrap().terms);
    refuses(R::ChainActorUnattested, |c| {
        c.subject.terms = terms.clone();
        // The agent that serves the resource could exchange every other token that is addressed to it.
        let all = "read:cases write:case_comments";
        c.registry.put(Entry::Resource(resource("crm", CRM, all, Some("support-agent"))));
    });
}

#[test]
fn what_only_looks_like_such_a_token_does_not_count_as_one() {
    let terms = Terms::clone(&asks(&with_ceiling("read:cases"), Some(CRM), None).unwrap().terms);
    let case = with_ceiling("read:cases");
    let issuer: Issuer = ISSUER.parse().unwrap();
    let dead =
        |terms: &Terms| living(terms, &issuer, Asker::Resource, &case.registry, &case.revocations, NOW).err();
    // An actor that is no agent of the registry counts only if it is the client itself.
    let other = Terms { client: "support-app".parse().unwrap(), ..terms.clone() };
    assert_eq!(dead(&other), Some(Dead::ActorNotActive));
    let named = Terms { client: "self-registered-support".parse().unwrap(), ..terms.clone() };
    assert_eq!(dead(&named), Some(Dead::ActorNotActive));
    let without = Terms { chain: ActorChain::empty(), ..terms };
    assert_eq!(dead(&without), Some(Dead::ClientGone));
}
