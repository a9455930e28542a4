//! What happens while an exchange waits for the keys of another issuer: earlier checks are no longer valid.

use std::time::Duration;

use mandate_core::registry::{AgentState, ClientAuthentication, Entry, Kind, SubjectScope};
use mandate_core::{Clock as _, CutTarget, Person, Secret};
use mandate_delegation::revocation::cut;
use mandate_oauth::password;
use mandate_store::{cuts, secrets};
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey};
use mandate_testkit::story::{self, CLIENT_SECRET, CRM, ISSUER};
use mandate_testkit::world::{JWT, Pairs, World, basic, with};

use crate::refused;

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
        dana.id = Person { iss: idp.issuer(), sub: "user-7".to_owned() };
        let world = World::with_entries(vec![
            Entry::Issuer(story::trusted_issuer(idp.issuer(), SubjectScope::Token)),
            Entry::Person(dana),
            Entry::Grant(story::grant("dana", "support-agent", "crm", "read:cases")),
        ]);
        let mut claims = idp.claims(ISSUER, "read:cases", world.clock.now());
        claims.subject.sub = "user-7".into();
        claims.client_id = "portal".parse().unwrap();
        claims.chain = mandate_core::ActorChain::empty();
        claims.lineage = mandate_core::Lineage::default();
        let svid = world.svid("support-agent").await;
        let token = idp.sign(&claims);
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
    async fn meanwhile(&self, form: &Pairs, authorization: Option<&str>, change: impl AsyncFnOnce(&World)) -> String {
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
    let phc = password::hash(&Secret::new(secret), &mandate_core::SystemEntropy).unwrap();
    let target = CutTarget::Client(id.parse().unwrap());
    let made = cut(target.clone(), world.clock.now());
    let write = |tx: &mandate_store::Tx<'_>| {
        secrets::set_client_secret(tx, &id.parse().unwrap(), &phc)?;
        cuts::insert(tx, &made).map(drop)
    };
    world.store.transact("secret", write).unwrap();
    world.cut(target);
}

#[tokio::test]
async fn nothing_happens_and_the_token_is_issued() {
    let waiting = Waiting::new().await;
    assert_eq!(waiting.meanwhile(&waiting.by_app(), Some(&waiting.world.desk_app()), async |_| ()).await, "ok");
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
    let new = waiting.world.token(&waiting.by_app(), Some(&basic("desk-app", "another client secret 0123456789"))).await;
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
    let change = async |world: &World| world.change(Kind::Client, "batch-app", replaced).await;
    assert_eq!(waiting.meanwhile(&waiting.by_batch(), None, change).await, OUTDATED);
    // What the registry says is enough by itself.
    let waiting = Waiting::new().await;
    let change = async |world: &World| world.change_without_cuts(Kind::Client, "batch-app", replaced);
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
        world.change(Kind::Agent, "support-agent", state(AgentState::Suspended)).await;
        world.clock.advance(Duration::from_millis(1));
        world.change(Kind::Agent, "support-agent", state(AgentState::Active)).await;
    };
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, change).await, OUTDATED);
}

#[tokio::test]
async fn the_jwt_svid_expires() {
    let waiting = Waiting::new().await;
    waiting.world.clock.advance(Duration::from_secs(299));
    let mut claims = waiting.idp.claims(ISSUER, "read:cases", waiting.world.clock.now());
    claims.subject.sub = "user-7".into();
    claims.chain = mandate_core::ActorChain::empty();
    let waiting = Waiting { token: waiting.idp.sign(&claims), ..waiting };
    let change = async |world: &World| world.clock.advance(Duration::from_secs(1));
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, change).await, OUTDATED);
}

#[tokio::test]
async fn the_issuer_is_removed_or_its_servers_are_vouched_for_by_others() {
    let waiting = Waiting::new().await;
    let issuer = waiting.idp.issuer();
    let change = async |world: &World| {
        world.change_without_cuts(Kind::Issuer, issuer.as_str(), |entry| {
            let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
            issuer.ca = Some("another authority".to_owned());
        });
    };
    assert_eq!(waiting.meanwhile(&waiting.by_agent(), None, change).await, OUTDATED);
}
