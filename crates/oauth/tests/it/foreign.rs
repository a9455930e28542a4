//! Tokens of a trusted foreign issuer, over real HTTP.

mod groups;
mod id_tokens;
mod keys;
mod opaque;
mod products;
mod tenants;

use std::time::Duration;

use mandate_core::registry::{Entry, EntryKind, SubjectScope};
use mandate_core::{Clock as _, CutTarget, Subject, Terms};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::story::{self, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{JWT, Pairs, World, exposed, payload, with};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use mandate_oauth::OAuthError;

use crate::{refused, shown};

pub(crate) struct Abroad {
    pub(crate) world: World,
    pub(crate) idp: HostileIssuer,
    svid: String,
}

impl Abroad {
    pub(crate) async fn new(scope: SubjectScope) -> Self {
        let idp = HostileIssuer::start();
        let mut dana =
            story::person("dana", vec![story::permission("crm", "read:cases write:case_comments")]);
        dana.id = Subject { iss: idp.issuer(), sub: "user-7".to_owned() };
        let world = World::with_entries(vec![
            Entry::Issuer(story::trusted_issuer(idp.issuer(), scope)),
            Entry::Person(dana),
            Entry::Grant(story::grant("dana", "support-agent", "crm", "read:cases write:case_comments")),
        ]);
        let svid = world.svid("support-agent").await;
        Self { world, idp, svid }
    }

    pub(crate) fn terms(&self) -> Terms {
        let mut terms = self.idp.terms(ISSUER, "read:cases", self.world.clock.now());
        terms.subject.as_mut().unwrap().sub = "user-7".into();
        terms.client = "portal".parse().unwrap();
        terms.chain = mandate_core::ActorChain::empty();
        terms.lineage = mandate_core::Lineage::default();
        terms
    }

    fn form(&self, token: &str) -> Pairs {
        with(self.world.agent_exchange(&self.svid, token, CRM, "read:cases"), "subject_token_type", JWT)
    }

    pub(crate) async fn error(&self, token: &str) -> OAuthError {
        self.world.token(&self.form(token), None).await.unwrap_err()
    }

    pub(crate) async fn ask(&self, token: &str) -> String {
        match self.world.token(&self.form(token), None).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }

    /// Signs a changed copy of proper claims.
    fn raw(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = payload(&self.idp.sign(&self.terms()));
        change(&mut claims);
        let key = self.idp.key();
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    }
}

#[tokio::test]
async fn a_person_of_another_issuer_has_a_sub_of_both_and_keeps_their_name_beside_it() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let token = abroad.idp.sign(&abroad.terms());
    let claims = payload(&exposed(&abroad.world.token(&abroad.form(&token), None).await.unwrap()));
    assert_eq!(claims["sub"], format!("{}#user-7", abroad.idp.issuer()));
    assert_eq!(claims["sub_id"], json!({"format": "iss_sub", "iss": abroad.idp.issuer(), "sub": "user-7"}));
    assert_eq!(claims.get("sub_iss"), None);
    assert_eq!(claims["iss"], ISSUER);
    for _ in 0..5 {
        assert_eq!(abroad.ask(&abroad.idp.sign(&abroad.terms())).await, "ok");
    }
    assert_eq!(abroad.idp.jwks_served(), 1, "keys are cached");
}

#[tokio::test]
async fn its_scopes_bound_the_result_unless_it_only_says_who() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let form = with(abroad.form(&abroad.idp.sign(&abroad.terms())), "scope", "write:case_comments");
    assert_eq!(refused(abroad.world.token(&form, None).await), "400 invalid_scope scope_exceeds_subject");
    let abroad = Abroad::new(SubjectScope::IdentityOnly).await;
    let form = with(abroad.form(&abroad.idp.sign(&abroad.terms())), "scope", "write:case_comments");
    assert!(abroad.world.token(&form, None).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_only_says_who_may_write_anything_into_scope() {
    let huge = "a".repeat(6_000);
    let many: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
    let malformed = [
        json!(7),
        json!(null),
        json!(true),
        json!(["read:cases"]),
        json!([["read:cases"], 7]),
        json!({"crm": "read:cases"}),
        json!("read:cases read:cases"),
        json!("read:cases  send:mail "),
        json!("with\"quote back\\slash caf\u{e9} \u{0}"),
        json!(huge),
        json!(many.join(" ")),
    ];
    let identity = Abroad::new(SubjectScope::IdentityOnly).await;
    let bounding = Abroad::new(SubjectScope::Token).await;
    let refused_token = "400 invalid_request subject_token_refused";
    for scope in &malformed {
        let token = identity.raw(|claims| claims["scope"] = scope.clone());
        let given = payload(&exposed(&identity.world.token(&identity.form(&token), None).await.unwrap()));
        assert_eq!(given["scope"], "read:cases", "{scope}");
    }
    for scope in [json!(7), json!(["read:cases"]), json!("with\"quote")] {
        let answer = bounding.ask(&bounding.raw(|claims| claims["scope"] = scope.clone())).await;
        assert_eq!(answer, refused_token, "where scopes count they are read: {scope}");
    }
    let doubled = {
        let claims = payload(&identity.idp.sign(&identity.terms())).to_string();
        let claims = claims.replacen('{', "{\"scope\":\"send:mail\",", 1);
        let key = identity.idp.key();
        key.sign_raw(&json!({"alg": "ES256", "typ": "at+jwt", "kid": key.key_id()}).to_string(), &claims)
    };
    assert_eq!(
        identity.ask(&doubled).await,
        refused_token,
        "a doubled member makes the whole document ambiguous (RFC 7519 section 4)"
    );
}

#[tokio::test]
async fn what_is_no_access_token_for_us_is_refused() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let refused_token = "400 invalid_request subject_token_refused";
    assert_eq!(abroad.ask(&abroad.raw(|_| ())).await, "ok");
    assert_eq!(
        abroad.ask(&abroad.raw(|c| c["aud"] = json!("https://crm.acme.example"))).await,
        "400 invalid_request subject_not_for_presenter"
    );
    assert_eq!(
        abroad.ask(&abroad.raw(|c| c["aud"] = json!(format!("{ISSUER}.evil.example")))).await,
        "400 invalid_request subject_not_for_presenter"
    );
    for claim in ["exp", "iat", "jti", "sub", "client_id", "aud"] {
        let error = abroad.error(&abroad.raw(|c| drop(c.as_object_mut().unwrap().remove(claim)))).await;
        assert_eq!(
            error.description,
            format!("subject_token_refused: The subject token is refused: claim_missing: {claim}.")
        );
    }
    assert_eq!(
        abroad.ask(&abroad.raw(|c| c["aud"] = json!([ISSUER, "https://crm.acme.example"]))).await,
        "400 invalid_request subject_not_for_presenter",
        "any other API that received it could present it here"
    );
    let key = abroad.idp.key();
    let claims = payload(&abroad.idp.sign(&abroad.terms())).to_string();
    let unfit = "is not allowed for this kind of token or does not fit its key.";
    for (header, says) in [
        (
            json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()}),
            "typ: the header says JWT. An access token says typ at+jwt (RFC 9068).",
        ),
        (
            json!({"alg": "ES256", "kid": key.key_id()}),
            "typ: the header has no typ. An access token says typ at+jwt (RFC 9068).",
        ),
        (json!({"alg": "none", "typ": "at+jwt"}), &format!("alg: none {unfit}")),
        (json!({"alg": "HS256", "typ": "at+jwt", "kid": key.key_id()}), &format!("alg: HS256 {unfit}")),
        (
            json!({"alg": "ES256", "typ": "at+jwt", "kid": key.key_id(), "crit": ["x"], "x": 1}),
            "header: the header has crit.",
        ),
    ] {
        let error = abroad.error(&key.sign_raw(&header.to_string(), &claims)).await;
        assert_eq!(shown(&error), refused_token, "{header}");
        assert_eq!(
            error.description,
            format!("subject_token_refused: The subject token is refused: {says}"),
            "{header}"
        );
    }
    let ours = with(
        abroad.form(&abroad.idp.sign(&abroad.terms())),
        "subject_token_type",
        "urn:ietf:params:oauth:token-type:access_token",
    );
    let error = abroad.world.token(&ours, None).await.unwrap_err();
    assert_eq!(shown(&error), refused_token, "labelled as ours");
    assert!(error.description.contains(JWT), "{error}");
}

#[tokio::test]
async fn a_token_with_another_audience_is_refused_with_the_one_that_is_declared() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    abroad.world.change_without_cuts(EntryKind::Issuer, abroad.idp.issuer().as_str(), |entry| {
        let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
        issuer.audience = "api://mandate".to_owned();
    });
    for aud in [json!(ISSUER), json!("account"), json!(["api://mandate", "account"])] {
        let token = abroad.raw(|c| c["aud"] = aud.clone());
        let error = abroad.error(&token).await;
        assert_eq!(shown(&error), "400 invalid_request subject_not_for_presenter");
        assert!(
            error.description.contains("must be api://mandate.")
                && error.description.contains("other_audiences"),
            "{error}"
        );
        // Only to those who have proven that they are a client.
        let stranger = with(abroad.form(&token), "client_assertion", "e30.e30.e30");
        let error = abroad.world.token(&stranger, None).await.unwrap_err();
        assert!(error.status == 401 && !error.description.contains("api://"), "{error}");
    }
    assert_eq!(abroad.ask(&abroad.raw(|c| c["aud"] = json!("api://mandate"))).await, "ok");
}

#[tokio::test]
async fn an_unknown_person_or_issuer_is_nobody() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    assert_eq!(
        abroad.ask(&abroad.raw(|c| c["sub"] = json!("riley"))).await,
        "400 invalid_request person_unknown",
        "riley is ours, not theirs"
    );
    let stranger = HostileIssuer::start();
    let token = stranger.token(ISSUER, "read:cases", abroad.world.clock.now());
    assert_eq!(abroad.ask(&token).await, "400 invalid_request subject_token_provenance");
    assert_eq!(stranger.jwks_served(), 0, "nobody is asked for keys because a token says so");
}

#[tokio::test]
async fn may_act_names_who_and_everybody_else_is_refused() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let with_may_act = |sub: &str, iss: Option<&str>| {
        let may_act = iss.map_or_else(|| json!({ "sub": sub }), |iss| json!({"sub": sub, "iss": iss}));
        abroad.raw(|claims| claims["may_act"] = may_act)
    };
    let agent = story::spiffe_id("support-agent");
    assert_eq!(abroad.ask(&with_may_act(&agent, Some(ISSUER))).await, "ok");
    let mismatch = "400 invalid_request may_act_mismatch";
    assert_eq!(
        abroad.ask(&with_may_act(&story::spiffe_id("research-agent"), Some(ISSUER))).await,
        mismatch,
        "though it is in aud"
    );
    assert_eq!(
        abroad.ask(&with_may_act(&agent, Some("https://other.example"))).await,
        mismatch,
        "same sub, another iss"
    );
    assert_eq!(
        abroad.ask(&with_may_act(&agent, None)).await,
        mismatch,
        "without iss it is the issuer's namespace"
    );
    assert_eq!(abroad.ask(&with_may_act(&format!("{agent}/x"), Some(ISSUER))).await, mismatch);
}

#[tokio::test]
async fn a_depth_bomb_is_refused_by_the_parser() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    for depth in [17, 200] {
        let mut act = json!({"sub": "x0", "iss": "https://login.example"});
        for n in 1..depth {
            act = json!({"sub": format!("x{n}"), "iss": "https://login.example", "act": act});
        }
        assert_eq!(
            abroad.ask(&abroad.raw(|c| c["act"] = act)).await,
            "400 invalid_request subject_token_refused",
            "{depth}"
        );
    }
    let actor = |n: u32| json!({"sub": format!("x{n}"), "iss": "https://login.example"});
    let mut four = actor(0);
    for n in 1..4 {
        let inner = four;
        four = actor(n);
        four["act"] = inner;
    }
    assert_eq!(abroad.ask(&abroad.raw(|c| c["act"] = four)).await, "400 invalid_request chain_too_deep");
}

#[tokio::test]
async fn a_key_bound_token_is_not_turned_into_a_bearer_token() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let token = abroad.raw(|c| c["cnf"] = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}));
    assert_eq!(abroad.ask(&token).await, "400 invalid_request subject_key_not_proven");
}

#[tokio::test]
async fn a_foreign_token_is_taken_for_an_hour_after_its_issue_however_long_it_lives() {
    let mut abroad = Abroad::new(SubjectScope::Token).await;
    let mut terms = abroad.terms();
    terms.expires = terms.issued.plus(Duration::from_hours(24 * 365));
    let token = abroad.idp.sign(&terms);
    abroad.world.clock.advance(Duration::from_secs(3599));
    abroad.svid = abroad.world.svid("support-agent").await;
    let mandate = payload(&exposed(&abroad.world.token(&abroad.form(&token), None).await.unwrap()));
    assert_eq!(
        mandate["exp"].as_u64(),
        Some(terms.issued.secs() + 3600),
        "nor does a token from it live longer"
    );
    abroad.world.clock.advance(Duration::from_secs(1));
    assert_eq!(abroad.ask(&token).await, "400 invalid_request subject_expired");
}

#[tokio::test]
async fn a_cut_on_a_person_of_another_issuer_holds_for_as_long_as_their_token_is_taken() {
    let mut abroad = Abroad::new(SubjectScope::Token).await;
    let mut terms = abroad.terms();
    terms.expires = terms.issued.plus(Duration::from_hours(24));
    let token = abroad.idp.sign(&terms);
    abroad.world.cut(CutTarget::Person(Subject { iss: abroad.idp.issuer(), sub: "user-7".to_owned() }));
    let mut answers = Vec::new();
    for minutes in [0, 30, 29, 2, 10] {
        abroad.world.clock.advance(Duration::from_mins(minutes));
        abroad.svid = abroad.world.svid("support-agent").await;
        // Other cuts come and go; with each, those that are over are forgotten.
        abroad.world.cut(CutTarget::Token("another".parse().unwrap()));
        answers.push(abroad.ask(&token).await);
    }
    let revoked = "400 invalid_request subject_revoked";
    let expired = "400 invalid_request subject_expired";
    assert_eq!(answers, [revoked, revoked, revoked, expired, expired]);
}

#[tokio::test]
async fn another_issuer_cannot_say_that_an_agent_of_ours_has_acted() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    for name in ["support-agent", "research-agent"] {
        let act = json!({"sub": story::spiffe_id(name), "iss": ISSUER});
        assert_eq!(
            abroad.ask(&abroad.raw(|c| c["act"] = act.clone())).await,
            "400 invalid_request chain_not_theirs"
        );
        let nested = json!({"sub": "portal", "iss": abroad.idp.issuer(), "act": act});
        assert_eq!(
            abroad.ask(&abroad.raw(|c| c["act"] = nested)).await,
            "400 invalid_request chain_not_theirs"
        );
    }
    let third = json!({"sub": "batch", "iss": "https://third.example"});
    assert_eq!(
        abroad.ask(&abroad.raw(|c| c["act"] = third.clone())).await,
        "400 invalid_request chain_not_theirs",
        "hearsay"
    );
    let nested = json!({"sub": "portal", "iss": abroad.idp.issuer(), "act": third});
    assert_eq!(abroad.ask(&abroad.raw(|c| c["act"] = nested)).await, "400 invalid_request chain_not_theirs");
}

#[tokio::test]
async fn another_issuer_cannot_name_an_actor_of_its_own_as_our_agents_are_named() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let issuer = abroad.idp.issuer();
    for sub in [
        story::spiffe_id("research-agent"),
        story::spiffe_id("nobody"),
        story::spiffe_id("research-agent").to_uppercase(),
    ] {
        let theirs = json!({"sub": sub, "iss": issuer});
        let error = abroad.error(&abroad.raw(|c| c["act"] = theirs.clone())).await;
        assert_eq!(
            shown(&error),
            "400 invalid_request chain_not_theirs",
            "a reader of act.act.sub alone would see our agent: {sub}"
        );
        assert!(error.description.contains("SPIFFE ID of this trust domain"), "{error}");
        let nested = json!({"sub": "portal", "iss": issuer, "act": theirs});
        assert_eq!(
            abroad.ask(&abroad.raw(|c| c["act"] = nested)).await,
            "400 invalid_request chain_not_theirs",
            "{sub}"
        );
    }
    let elsewhere = json!({"sub": "spiffe://login.example/agent/research-agent", "iss": issuer});
    let mandate = exposed(
        &abroad.world.token(&abroad.form(&abroad.raw(|c| c["act"] = elsewhere.clone())), None).await.unwrap(),
    );
    assert_eq!(payload(&mandate)["act"]["act"], elsewhere, "in a trust domain of theirs");
}

#[tokio::test]
async fn a_token_lives_whose_history_has_an_actor_that_only_another_issuer_knows() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let theirs = json!({"sub": "portal", "iss": abroad.idp.issuer()});
    let token = abroad.raw(|c| c["act"] = theirs.clone());
    let mandate = exposed(&abroad.world.token(&abroad.form(&token), None).await.unwrap());
    assert_eq!(payload(&mandate)["act"]["act"], theirs);
    assert!(
        abroad.world.speaks_for(&mandate).is_some(),
        "our registry does not say which actors of theirs are active"
    );
}

#[tokio::test]
async fn the_same_sub_at_two_issuers_is_two_people_for_every_reader_of_our_tokens() {
    let idp = HostileIssuer::start();
    let mut namesake = story::person("riley-abroad", vec![story::permission("crm", "read:cases")]);
    namesake.id = Subject { iss: idp.issuer(), sub: "riley".to_owned() };
    let world = World::with_entries(vec![
        Entry::Issuer(story::trusted_issuer(idp.issuer(), SubjectScope::Token)),
        Entry::Person(namesake.clone()),
        Entry::Grant(story::grant("riley-abroad", "support-agent", "crm", "read:cases")),
    ]);
    let svid = world.svid("support-agent").await;
    let mut abroad = Abroad { world, idp, svid };
    let signed = |abroad: &Abroad| {
        let mut terms = abroad.terms();
        terms.subject.as_mut().unwrap().sub = "riley".into();
        abroad.idp.sign(&terms)
    };
    let theirs = exposed(&abroad.world.token(&abroad.form(&signed(&abroad)), None).await.unwrap());
    let ours = abroad.world.mandate().await;
    let name = |token: &str| (payload(token)["iss"].clone(), payload(token)["sub"].clone());
    assert_ne!(name(&theirs), name(&ours));
    assert_eq!(name(&ours).1, "riley");
    let again = exposed(&abroad.world.token(&abroad.form(&signed(&abroad)), None).await.unwrap());
    assert_eq!(name(&again), name(&theirs), "stable");

    // The record names the person as their issuer does; introspection says what was signed.
    let record = abroad.world.last_record();
    assert_eq!(record.said().sub, Some(&namesake.id));
    let speaks_for = |token: &str| abroad.world.speaks_for(token);
    assert_eq!(speaks_for(&theirs), Some(namesake.id.clone()));
    assert_eq!(speaks_for(&ours).unwrap().sub, "riley");

    // A cut on one is none on the other, either way.
    abroad.world.cut(CutTarget::Person(namesake.id.clone()));
    assert_eq!(speaks_for(&theirs), None);
    assert!(speaks_for(&ours).is_some());
    abroad.world.clock.advance(Duration::from_secs(120));
    abroad.svid = abroad.world.svid("support-agent").await;
    let later = exposed(&abroad.world.token(&abroad.form(&signed(&abroad)), None).await.unwrap());
    abroad.world.cut(CutTarget::Person(Subject { iss: ISSUER.parse().unwrap(), sub: "riley".to_owned() }));
    assert!(abroad.world.speaks_for(&later).is_some());
    assert!(abroad.world.speaks_for(&ours).is_none());
}

#[tokio::test]
async fn an_actor_that_another_issuer_names_like_our_client_does_not_hide_the_client_from_a_revocation() {
    let idp = HostileIssuer::start();
    let mut dana = story::person(
        "dana",
        vec![story::permission("crm", "read:cases"), story::permission("research", "read:cases")],
    );
    dana.id = Subject { iss: idp.issuer(), sub: "user-7".to_owned() };
    let world = World::with_entries(vec![
        Entry::Issuer(story::trusted_issuer(idp.issuer(), SubjectScope::Token)),
        Entry::Person(dana),
        Entry::Grant(story::grant("dana", "support-agent", "research", "read:cases")),
        Entry::Grant(story::grant("dana", "research-agent", "crm", "read:cases")),
    ]);
    let svid = world.svid("support-agent").await;
    let abroad = Abroad { world, idp, svid };
    let world = &abroad.world;
    let token = abroad.raw(|c| c["act"] = json!({"sub": "desk-app", "iss": abroad.idp.issuer()}));
    let first =
        with(world.app_exchange(&abroad.svid, &token, RESEARCH, "read:cases"), "subject_token_type", JWT);
    let first = exposed(&world.token(&first, Some(&world.desk_app())).await.unwrap());
    assert_eq!(payload(&first)["client_id"], "desk-app");
    let hop = world.svid("research-agent").await;
    let second =
        exposed(&world.token(&world.agent_exchange(&hop, &first, CRM, "read:cases"), None).await.unwrap());
    assert_eq!(payload(&second)["lineage"]["clients"], json!(["desk-app"]));
    world.cut(CutTarget::Client("desk-app".parse().unwrap()));
    assert!(world.speaks_for(&first).is_none());
    assert!(world.speaks_for(&second).is_none(), "the second hop too");
}

#[tokio::test]
async fn our_own_token_is_ours_under_both_types() {
    let world = World::story();
    let (subject, svid) = (world.person_token("riley", None, None).await, world.svid("support-agent").await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for kind in [JWT, "urn:ietf:params:oauth:token-type:access_token"] {
        assert!(world.token(&with(form.clone(), "subject_token_type", kind), None).await.is_ok(), "{kind}");
    }
    let mut forged = subject.into_bytes();
    let last = forged.len() - 10;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let form = with(with(form, "subject_token_type", JWT), "subject_token", &forged);
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_token_refused");
}
