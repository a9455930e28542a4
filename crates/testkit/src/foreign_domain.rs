//! A SPIFFE trust domain under the test's control: it issues JWT-SVIDs and serves its bundle over real HTTP.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test double that cannot do its part ends the test"
)]

use mandate_core::Timestamp;
use mandate_core::registry::{BundleSource, ForeignDomain};
use mandate_token::{KeyUse, Signer as _};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::hostile_issuer::{HostileIssuer, TestKey, Trouble};

/// Where the bundle is.
const PATH: &str = "/bundle";

/// A trust domain with one key for JWT-SVIDs, whose bundle is at an endpoint of 127.0.0.1.
pub struct TestDomain {
    name: &'static str,
    host: HostileIssuer,
    key: Mutex<TestKey>,
}

impl TestDomain {
    /// The trust domain of this name. Its endpoint serves its bundle without the members that are optional.
    pub fn start(name: &'static str) -> Self {
        let key = Mutex::new(TestKey::for_use(KeyUse::JwtSvid));
        let domain = Self { name, host: HostileIssuer::start(), key };
        domain.publish(&json!({}));
        domain
    }

    /// The entry that trusts it by its endpoint.
    pub fn entry(&self) -> ForeignDomain {
        let url = format!("{}{PATH}", self.host.issuer()).parse().expect("an address");
        let name = self.name.parse().expect("a name");
        ForeignDomain { name, bundle: BundleSource::HttpsWeb { url }, ca: None, proxy: None }
    }

    /// The address of its endpoint, without a path.
    pub fn address(&self) -> String {
        self.host.issuer().as_str().to_owned()
    }

    /// Its bundle, with these members besides its keys, or in place of them.
    pub fn bundle(&self, members: &Value) -> String {
        let mut bundle: Value = serde_json::from_str(&self.key.lock().jwks()).expect("a JWK Set");
        let all = bundle.as_object_mut().expect("an object");
        all.extend(members.as_object().cloned().unwrap_or_default());
        bundle.to_string()
    }

    /// Serves its bundle with these members.
    pub fn publish(&self, members: &Value) {
        self.serve(&self.bundle(members));
    }

    /// Serves this text in place of its bundle.
    pub fn serve(&self, text: &str) {
        self.host.serve_at(PATH, "application/json", text);
    }

    /// From now on the endpoint fails in this way.
    pub fn fail(&self, trouble: Trouble) {
        self.host.fail_at(PATH, trouble);
    }

    /// From now on the endpoint answers with a redirect to where its bundle is.
    pub fn redirect(&self) {
        self.host.serve_at("/moved", "application/json", &self.bundle(&json!({})));
        self.host.redirect_at(PATH, "/moved");
    }

    /// From now on it signs with a new key, which it has not published yet.
    pub fn rotate(&self) {
        *self.key.lock() = TestKey::for_use(KeyUse::JwtSvid);
    }

    /// A proper JWT-SVID for `path` of this trust domain, issued at `now` for five minutes, with this change
    /// of its claims; null removes one.
    pub fn svid(&self, path: &str, audience: &str, now: Timestamp, change: &Value) -> String {
        let mut claims = json!({
            "sub": format!("spiffe://{}{path}", self.name),
            "aud": [audience],
            "iat": now.secs(),
            "exp": now.secs() + 300,
        });
        let all = claims.as_object_mut().expect("an object");
        for (name, value) in change.as_object().into_iter().flatten() {
            match value {
                Value::Null => all.remove(name),
                value => all.insert(name.clone(), value.clone()),
            };
        }
        let key = self.key.lock();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// A token of its key with any header and payload, however wrong they are.
    pub fn signed(&self, header: impl FnOnce(&str) -> Value, claims: &Value) -> String {
        let key = self.key.lock();
        key.sign_raw(&header(key.key_id()).to_string(), &claims.to_string())
    }
}
