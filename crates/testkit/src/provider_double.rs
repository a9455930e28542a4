//! An identity provider under the test's control, at which people log in (`OpenID` Connect Core §3.1). Nobody
//! types anything there: the test takes the request that the browser would bring, and says what the provider
//! answers.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test double that cannot do its part ends the test"
)]

use mandate_core::Timestamp;
use mandate_token::Signer as _;
use serde_json::{Value, json};
use url::Url;

use crate::hostile_issuer::{HostileIssuer, PostedForm};

/// The client id of the server at every provider here.
pub const CLIENT_ID: &str = "mandate at the provider";
/// The path of the token endpoint.
pub const TOKEN: &str = "/token";

/// A provider that is honest until the test says otherwise.
pub struct ProviderDouble {
    /// Its keys, documents and troubles.
    pub issuer: HostileIssuer,
}

impl ProviderDouble {
    /// An honest provider.
    pub fn start() -> Self {
        let provider = Self { issuer: HostileIssuer::start() };
        provider.publish(&json!({}));
        provider
    }

    /// Publishes its metadata with these members changed; null takes one away.
    pub fn publish(&self, changes: &Value) {
        let url = self.issuer.issuer();
        let mut metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}{TOKEN}"),
            "jwks_uri": format!("{url}/jwks"),
        });
        change(&mut metadata, changes);
        self.issuer.serve_metadata(Some(&metadata.to_string()));
    }

    /// Proper claims of an ID token of `sub`, in answer to the authorization request at `location`.
    pub fn claims(&self, location: &str, sub: &str, now: Timestamp) -> Value {
        json!({
            "iss": self.issuer.issuer(),
            "sub": sub,
            "aud": asked(location, "client_id"),
            "nonce": asked(location, "nonce"),
            "iat": now.secs(),
            "exp": now.secs() + 300,
        })
    }

    /// Signs claims as an ID token, with the present key.
    pub fn sign(&self, claims: &Value) -> String {
        let key = self.issuer.key();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// From now on gives this ID token for every code.
    pub fn give(&self, id_token: &str) {
        self.answer(&json!({
            "access_token": "an access token", "token_type": "Bearer", "expires_in": 60, "id_token": id_token,
        }));
    }

    /// From now on answers every code with this JSON.
    pub fn answer(&self, body: &Value) {
        self.issuer.serve_at(TOKEN, "application/json", &body.to_string());
    }

    /// What was sent to the token endpoint.
    pub fn redemptions(&self) -> Vec<PostedForm> {
        self.issuer.posted().into_iter().filter(|form| form.path == TOKEN).collect()
    }
}

/// Changes members of an object; null takes one away.
pub fn change(object: &mut Value, changes: &Value) {
    let members = object.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
}

/// A parameter of the authorization request at `location`, empty if it is not there.
pub fn asked(location: &str, name: &str) -> String {
    let url = Url::parse(location).expect("a URL");
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_default()
}
