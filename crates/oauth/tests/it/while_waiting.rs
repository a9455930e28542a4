//! What happens while an exchange waits for the keys of another issuer: earlier checks are no longer valid.

use std::time::Duration;

use mandate_audit::Outcome;
use mandate_core::registry::{
    Agent, AgentState, ClientAuthentication, Entry, EntryKind, Grant, SubjectScope, TrustedIssuer,
};
use mandate_core::{Clock as _, CutTarget, RequestSource, Secret, Subject};
use mandate_delegation::revocation::cut;
use mandate_oauth::{LoginRefusal, password};
use mandate_store::{cuts, secrets};
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey};
use mandate_testkit::story::{self, CLIENT_SECRET, CRM, ISSUER, PASSWORD};
use mandate_testkit::world::{JWT, Pairs, World, basic, encode, pairs, payload, with};
use mandate_token::Signer as _;
use serde_json::json;

use crate::{refused, shown};

struct Waiting {
    world: World,
    idp: HostileIssuer,
    token: String,
    svid: String,
}

impl Waiting {
    async fn new() -> Self {
        let idp = HostileIssuer::start();
        let mut dana = story::person("dana", vec![story::permission("crm", "read:cases")]);
        dana.id = Subject { iss: idp.issuer(), sub: "user-7".to_owned() };
        let world = World::with_entries(vec![
            Entry::Issuer(story::trusted_issuer(idp.issuer(), SubjectScope::Token)),
            Entry::Person(dana),
            Entry::Grant(story::grant("dana", "support-agent", "crm", "read:cases")),
        ]);
        let mut terms = idp.terms(ISSUER, "read:cases", world.clock.now());
        terms.subject.as_mut().unwrap().sub = "user-7".into();
        terms.client = "portal".parse().unwrap();
        terms.chain = mandate_core::ActorChain::empty();
        terms.lineage = mandate_core::Lineage::default();
        let svid = world.svid("support-agent").await;
        let token = idp.sign(&terms);
        Self { world, idp, token, svid }
    }

    fn by_app(&self) -> Pairs {
        with(self.world.app_exchange(&self.svid, &self.token, CRM, "read:cases"), "subject_token_type", JWT)
    }

    fn by_batch(&self) -> Pairs {
        let mut form = self.by_app();
        form.extend(self.world.assertion_pairs(&self.world.assertion(&self.world.assertion_claims())));
        form
    }

    fn by_agent(&self) -> Pairs {
        with(self.world.agent_exchange(&self.svid, &self.token, CRM, "read:cases"), "subject_token_type", JWT)
    }

    /// Exchanges. Once the keys are requested, `change` happens, and only then the keys arrive.
    async fn meanwhile(
        &self,
        form: &Pairs,
        authorization: Option<&str>,
        change: impl AsyncFnOnce(&World),
    ) -> String {
        self.idp.hold();
        let change = async {
            self.idp.asked_for_keys(1).await;
            self.world.clock.advance(Duration::from_millis(5));
            change(&self.world).await;
            self.world.clock.advance(Duration::from_millis(5));
            self.idp.let_go();
        };
        let (answer, ()) = tokio::join!(self.world.token(form, authorization), change);
        match answer {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }
}

const OUTDATED: &str = "401 invalid_client proof_outdated";

/// As the admin API sets it: durable, with a cut.
fn set_secret(world: &World, id: &str, secret: &str) {
    let phc = Secret::new(password::hash(&Secret::new(secret), &mandate_core::SystemEntropy).unwrap());
    let target = CutTarget::Client(id.parse().unwrap());
    let made = cut(target.clone(), world.clock.now());
    let write = |tx: &mandate_store::Tx<'_>| {
        secrets::set_client_secret(tx, &id.parse().unwrap(), &phc)?;
        cuts::insert(tx, &made)
    };
    world.store.transact_blocking("secret", write).unwrap();
    world.cut(target);
}

fn set_password(world: &World, name: &str, password: &str) {
    let phc = Secret::new(password::hash(&Secret::new(password), &mandate_core::SystemEntropy).unwrap());
    let target = CutTarget::Person(Subject { iss: ISSUER.parse().unwrap(), sub: name.to_owned() });
    let made = cut(target.clone(), world.clock.now());
    let write = |tx: &mandate_store::Tx<'_>| {
        secrets::set_password(tx, &name.parse().unwrap(), &phc)?;
        cuts::insert(tx, &made)
    };
    world.store.transact_blocking("password", write).unwrap();
    world.cut(target);
}

#[tokio::test]
async fn nothing_happens_and_the_token_is_issued() {
    let waiting = Waiting::new().await;
    assert_eq!(
        waiting.meanwhile(&waiting.by_app(), Some(&waiting.world.desk_app()), async |_| ()).await,
        "ok"
    );
    let waiting = Waiting::new().await;
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, async |_| ()).await, "ok");
}

#[tokio::test]
async fn the_clients_secret_is_replaced() {
    let waiting = Waiting::new().await;
    let change = async |world: &World| set_secret(world, "desk-app", "another client secret 0123456789");
    assert_eq!(waiting.meanwhile(&waiting.by_app(), Some(&waiting.world.desk_app()), change).await, OUTDATED);
    let old = waiting.world.token(&waiting.by_app(), Some(&basic("desk-app", CLIENT_SECRET))).await;
    assert_eq!(refused(old), "401 invalid_client client_authentication_failed");
    let new = waiting
        .world
        .token(&waiting.by_app(), Some(&basic("desk-app", "another client secret 0123456789")))
        .await;
    assert!(new.is_ok(), "the new secret works");
}

#[tokio::test]
async fn the_clients_keys_are_replaced() {
    let replaced = |entry: &mut Entry| {
        let Entry::Client(client) = entry else { panic!("a client") };
        client.authentication = ClientAuthentication::PrivateKeyJwt {
            jwks: TestKey::generate().jwks(),
            audience: mandate_core::registry::AssertionAudience::Issuer,
        };
    };
    let waiting = Waiting::new().await;
    let change = async |world: &World| world.change(EntryKind::Client, "batch-app", replaced).await;
    assert_eq!(waiting.meanwhile(&waiting.by_batch(), None, change).await, OUTDATED);
    // What the registry says is enough by itself.
    let waiting = Waiting::new().await;
    let change = async |world: &World| world.change_without_cuts(EntryKind::Client, "batch-app", replaced);
    assert_eq!(waiting.meanwhile(&waiting.by_batch(), None, change).await, OUTDATED);
}

#[tokio::test]
async fn the_client_or_the_agent_is_revoked() {
    let client = async |world: &World| world.cut(CutTarget::Client("desk-app".parse().unwrap()));
    let waiting = Waiting::new().await;
    assert_eq!(waiting.meanwhile(&waiting.by_app(), Some(&waiting.world.desk_app()), client).await, OUTDATED);
    let agent = async |world: &World| world.cut(CutTarget::Agent(story::spiffe_id("support-agent")));
    let waiting = Waiting::new().await;
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, agent).await, OUTDATED);
    let waiting = Waiting::new().await;
    assert_eq!(waiting.meanwhile(&waiting.by_app(), Some(&waiting.world.desk_app()), agent).await, OUTDATED);
}

#[tokio::test]
async fn the_agent_is_suspended_and_becomes_active_again() {
    let state = |state| {
        move |entry: &mut Entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            agent.state = state;
        }
    };
    let waiting = Waiting::new().await;
    let change = async |world: &World| {
        world.change(EntryKind::Agent, "support-agent", state(AgentState::Suspended)).await;
        world.clock.advance(Duration::from_millis(1));
        world.change(EntryKind::Agent, "support-agent", state(AgentState::Active)).await;
    };
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, change).await, OUTDATED);
}

#[tokio::test]
async fn the_jwt_svid_expires() {
    let waiting = Waiting::new().await;
    waiting.world.clock.advance(Duration::from_secs(299));
    let mut terms = waiting.idp.terms(ISSUER, "read:cases", waiting.world.clock.now());
    terms.subject.as_mut().unwrap().sub = "user-7".into();
    terms.chain = mandate_core::ActorChain::empty();
    let waiting = Waiting { token: waiting.idp.sign(&terms), ..waiting };
    let change = async |world: &World| world.clock.advance(Duration::from_secs(1));
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, change).await, OUTDATED);
}

/// What is asked for, and how an exchange ends during whose wait the entry of the issuer is changed so.
async fn after_a_change_of_the_issuer(waiting: &Waiting, change: impl FnOnce(&mut TrustedIssuer)) -> String {
    let issuer = waiting.idp.issuer();
    let change = async |world: &World| {
        world.change_without_cuts(EntryKind::Issuer, issuer.as_str(), |entry| {
            let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
            change(issuer);
        });
    };
    waiting.meanwhile(&waiting.by_agent(), None, change).await
}

#[tokio::test]
async fn the_issuer_is_removed() {
    let waiting = Waiting::new().await;
    let issuer = waiting.idp.issuer();
    let change = async |world: &World| world.remove_without_cuts(EntryKind::Issuer, issuer.as_str());
    assert_eq!(
        waiting.meanwhile(&waiting.by_agent(), None, change).await,
        "400 invalid_request subject_revoked"
    );
    let again = waiting.world.token(&waiting.by_agent(), None).await;
    assert_eq!(
        refused(again),
        "400 invalid_request subject_token_provenance",
        "its keys are there, and count for nothing"
    );
}

#[tokio::test]
async fn the_issuers_servers_are_vouched_for_by_others_or_reached_otherwise() {
    let changes: [fn(&mut TrustedIssuer); 2] = [
        |issuer| issuer.ca = Some("another authority".to_owned()),
        |issuer| issuer.proxy = Some("http://127.0.0.1:3128".to_owned()),
    ];
    for change in changes {
        assert_eq!(after_a_change_of_the_issuer(&Waiting::new().await, change).await, OUTDATED);
    }
}

#[tokio::test]
async fn the_issuers_tokens_must_be_addressed_otherwise() {
    let elsewhere = "https://other.acme.example";
    let addressed_to_both = |waiting: Waiting| {
        let mut claims = payload(&waiting.token);
        claims["aud"] = json!([ISSUER, elsewhere]);
        let key = waiting.idp.key();
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": key.key_id()});
        Waiting { token: key.sign_raw(&header.to_string(), &claims.to_string()), ..waiting }
    };
    let both = |issuer: &mut TrustedIssuer| issuer.other_audiences = vec![elsewhere.to_owned()];
    let waiting = addressed_to_both(Waiting::new().await);
    assert_eq!(
        after_a_change_of_the_issuer(&waiting, both).await,
        "ok",
        "what is true when it is decided counts"
    );
    for (what, change) in [
        ("no other audience", (|_| ()) as fn(&mut TrustedIssuer)),
        ("another audience", |issuer| issuer.audience = "https://third.acme.example".to_owned()),
    ] {
        let waiting = addressed_to_both(Waiting::new().await);
        waiting
            .world
            .change(EntryKind::Issuer, waiting.idp.issuer().as_str(), |entry| {
                let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
                both(issuer);
            })
            .await;
        let change = |issuer: &mut TrustedIssuer| {
            issuer.other_audiences.clear();
            change(issuer);
        };
        let answer = after_a_change_of_the_issuer(&waiting, change).await;
        assert_eq!(answer, "400 invalid_request subject_not_for_presenter", "{what}");
    }
}

#[tokio::test]
async fn the_issuers_scopes_come_to_bound_the_result() {
    let waiting = Waiting::new().await;
    waiting
        .world
        .change(EntryKind::Issuer, waiting.idp.issuer().as_str(), |entry| {
            let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
            issuer.subject_scope = SubjectScope::IdentityOnly;
        })
        .await;
    let token = {
        let mut terms = waiting.idp.terms(ISSUER, "", waiting.world.clock.now());
        terms.subject.as_mut().unwrap().sub = "user-7".into();
        terms.chain = mandate_core::ActorChain::empty();
        waiting.idp.sign(&terms)
    };
    let waiting = Waiting { token, ..waiting };
    let change = |issuer: &mut TrustedIssuer| issuer.subject_scope = SubjectScope::Token;
    assert_eq!(
        after_a_change_of_the_issuer(&waiting, change).await,
        "400 invalid_scope scope_exceeds_subject"
    );
}

#[tokio::test]
async fn the_issuer_replaces_its_keys() {
    let waiting = Waiting::new().await;
    let rotate = async |_: &World| waiting.idp.rotate();
    assert_eq!(
        waiting.meanwhile(&waiting.by_agent(), None, rotate).await,
        "400 invalid_request subject_token_refused"
    );
}

/// Changes of the registry that end what the exchange rests on, and what it is told.
type Change = (&'static str, fn(&World), &'static str);

fn person(change: fn(&mut mandate_core::registry::Person)) -> impl FnOnce(&mut Entry) {
    move |entry| {
        let Entry::Person(person) = entry else { panic!("a person") };
        change(person);
    }
}

fn grant(change: fn(&mut Grant)) -> impl FnOnce(&mut Entry) {
    move |entry| {
        let Entry::Grant(grant) = entry else { panic!("a grant") };
        change(grant);
    }
}

fn agent(change: fn(&mut Agent)) -> impl FnOnce(&mut Entry) {
    move |entry| {
        let Entry::Agent(agent) = entry else { panic!("an agent") };
        change(agent);
    }
}

#[tokio::test]
async fn the_person_the_grant_the_agent_or_the_resource_is_taken_away() {
    const GRANT: &str = "dana-support-agent-crm";
    let changes: [Change; 12] = [
        (
            "disabled",
            |world| world.change_without_cuts(EntryKind::Person, "dana", person(|dana| dana.disabled = true)),
            "person_disabled",
        ),
        ("no person", |world| world.remove_without_cuts(EntryKind::Person, "dana"), "person_unknown"),
        (
            "no right",
            |world| world.change_without_cuts(EntryKind::Person, "dana", person(|dana| dana.may.clear())),
            "scope_beyond_person",
        ),
        (
            "revoked",
            |world| world.change_without_cuts(EntryKind::Grant, GRANT, grant(|grant| grant.revoked = true)),
            "grant_revoked",
        ),
        ("no grant", |world| world.remove_without_cuts(EntryKind::Grant, GRANT), "no_grant"),
        (
            "suspended",
            |world| {
                world.change_without_cuts(
                    EntryKind::Agent,
                    "support-agent",
                    agent(|agent| agent.state = AgentState::Suspended),
                );
            },
            "agent_not_active",
        ),
        ("no agent", |world| world.remove_without_cuts(EntryKind::Agent, "support-agent"), "actor_unknown"),
        (
            "no ceiling",
            |world| {
                world.change_without_cuts(
                    EntryKind::Agent,
                    "support-agent",
                    agent(|agent| agent.ceiling.clear()),
                );
            },
            "scope_beyond_ceiling",
        ),
        ("no resource", |world| world.remove_without_cuts(EntryKind::Resource, "crm"), "resource_unknown"),
        (
            "no such scope",
            |world| {
                world.change_without_cuts(EntryKind::Resource, "crm", |entry| {
                    let Entry::Resource(crm) = entry else { panic!("a resource") };
                    crm.scopes = "send:mail".parse().unwrap();
                });
            },
            "scope_unknown",
        ),
        (
            "no client",
            |world| world.remove_without_cuts(EntryKind::Client, "desk-app"),
            "client_may_not_present",
        ),
        (
            "not its agent",
            |world| {
                world.change_without_cuts(EntryKind::Client, "desk-app", |entry| {
                    let Entry::Client(client) = entry else { panic!("a client") };
                    client.agents.clear();
                });
            },
            "client_may_not_present",
        ),
    ];
    for (what, change, reason) in changes {
        let waiting = Waiting::new().await;
        let change = async |world: &World| change(world);
        let answer = waiting.meanwhile(&waiting.by_app(), Some(&waiting.world.desk_app()), change).await;
        assert!(answer.ends_with(reason), "{what}: {answer}");
        let record = waiting.world.last_record();
        assert_eq!(
            (record.outcome, record.reason.as_str(), record.said().jti),
            (Outcome::Refused, reason, None),
            "{what}"
        );
    }
}

/// The check of a secret takes a while: long enough for another to be set.
#[tokio::test]
async fn the_clients_secret_is_replaced_while_the_old_one_is_checked() {
    let failed = "401 invalid_client client_authentication_failed";
    let world = World::story();
    let (form, old) = (pairs(&[("token", &world.mandate().await)]), world.crm_api());
    let change = async { set_secret(&world, "crm-api", "another client secret 0123456789") };
    let (introspected, ()) = tokio::join!(world.introspect(&form, Some(&old)), change);
    assert_eq!(shown(&introspected.unwrap_err()), failed);

    let world = World::story();
    let (form, old) = (pairs(&[("token", &world.mandate().await)]), world.desk_app());
    let change = async { set_secret(&world, "desk-app", "another client secret 0123456789") };
    let (revoked, ()) = tokio::join!(world.revoke(&form, Some(&old)), change);
    assert_eq!(shown(&revoked.unwrap_err()), failed);
}

/// Nobody who knows only the old password gets a code, also if it was right when its check began.
#[tokio::test]
async fn the_persons_password_is_replaced_while_the_old_one_is_checked() {
    let world = World::story();
    let query = encode(&world.authorization("support-app", Some(CRM), None));
    let request = world.engine.authorize(query.as_bytes(), RequestSource::Other).await.unwrap();
    let change = async { set_password(&world, "riley", "another password of riley") };
    let (login, ()) = tokio::join!(world.engine.log_in(&request, "riley", Secret::new(PASSWORD)), change);
    let Err(LoginRefusal::Redirect { error, .. }) = login else { panic!("{login:?}") };
    assert!(error.description.starts_with("subject_revoked: "), "{error}");
    assert_eq!(world.last_record().reason, "subject_revoked");
    assert!(
        world.engine.log_in(&request, "riley", Secret::new("another password of riley")).await.is_ok(),
        "the new one opens"
    );
}

/// An assertion waits for the database to remember it: long enough for its client to be revoked.
#[tokio::test]
async fn the_client_is_revoked_while_its_assertion_waits_to_be_remembered() {
    for revokes in [false, true] {
        let world = World::story();
        let mut form = pairs(&[("token", &world.mandate().await)]);
        form.extend(world.assertion_pairs(&world.assertion(&world.assertion_claims())));
        let held = world.hold_database();
        let asked = async {
            if revokes {
                world.revoke(&form, None).await
            } else {
                world.introspect(&form, None).await.map(drop)
            }
        };
        let change = async {
            world.cut(CutTarget::Client("batch-app".parse().unwrap()));
            held.let_go();
        };
        let (answer, ()) = tokio::join!(asked, change);
        assert_eq!(
            shown(&answer.unwrap_err()),
            "401 invalid_client client_authentication_failed",
            "revokes: {revokes}"
        );
    }
}
