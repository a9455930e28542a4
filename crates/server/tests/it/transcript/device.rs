//! The device authorization grant (RFC 8628). `server/tests/it/device.rs` has its pages.

use mandate_testkit::app::{CLIENT_SECRET, CRM, FormPairs, form};

use super::stage::{Stage, TOKEN, with, without};
use crate::device::{self, DEVICE_CODE, Device};

const BEGIN: &str = "/device_authorization";

fn asked(scope: &str) -> FormPairs {
    form(&[("client_id", "tv-app"), ("resource", CRM), ("scope", scope)])
}

impl Stage {
    async fn begin(&mut self, what: &str, form: &FormPairs) -> Device {
        let request = self.post(BEGIN, form);
        let answer = self.log.send(what, request).await;
        Device { code: answer.member("device_code"), user_code: answer.member("user_code") }
    }

    async fn refuse(&mut self, what: &str, device: &Device) {
        let login = device::entered(&self.server, &device.user_code).await;
        let fields = device::answer_of(&login, &device.user_code, "deny");
        device::submit(&self.server, &login.cookie, &fields).await;
        self.log.note(what);
    }

    async fn allow(&mut self, device: &Device) {
        device::allow(&self.server, device).await;
        self.log.note("riley enters the code, logs in and allows it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_begins() {
    let mut stage = Stage::new("Device authorization").await;
    stage.apply("people may log in for tv-app and desk-app on another device", &device::apps()).await;
    let good = asked("read:cases");
    stage.begin("A device of a public client", &good).await;
    let request = stage.post_as(("desk-app", CLIENT_SECRET), BEGIN, &without(good.clone(), "client_id"));
    stage.log.send("A device of a client with a secret", request).await;
    stage.begin("Without resource and scope", &form(&[("client_id", "tv-app")])).await;
    for (what, form) in [
        ("No client", without(good.clone(), "client_id")),
        ("A client with a secret, without it", with(good.clone(), "client_id", "desk-app")),
        ("A client whose entry does not let it", with(good.clone(), "client_id", "support-app")),
        ("A resource that is not registered", with(good.clone(), "resource", "https://other.acme.example")),
        ("A scope that does not exist", with(good.clone(), "scope", "read:nothing")),
        ("A request object", with(good.clone(), "request", "e30.e30.")),
        ("Another actor", with(good.clone(), "requested_actor", "support-agent")),
        ("A code of a login", with(good.clone(), "code", "x")),
    ] {
        stage.begin(what, &form).await;
    }
    stage.end("device_begins").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_asks_for_its_token() {
    let mut stage = Stage::with_node("Token endpoint: device codes").await;
    stage.apply("people may log in for tv-app and desk-app on another device", &device::apps()).await;
    let waiting = device::begun(&stage.server, "read:cases offline_access").await;
    stage.log.names.name("device code", &waiting.code);
    let good = device::polling(&waiting);
    stage.token("Nobody has logged in", &good).await;
    stage.pass(3);
    stage.token("Too soon", &good).await;
    stage.pass(10);
    stage.token("After the longer interval", &good).await;
    for (what, form) in [
        ("No device_code", without(good.clone(), "device_code")),
        ("A device code that was never issued", with(good.clone(), "device_code", "made-up")),
        ("A client whose entry does not let it", with(good.clone(), "client_id", "support-app")),
        ("A code of a login", with(good.clone(), "code", "x")),
        ("The device code at another grant", with(good.clone(), "grant_type", "authorization_code")),
    ] {
        stage.token(what, &form).await;
    }
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &without(good.clone(), "client_id"));
    stage.log.send("Another client", request).await;
    let svid = stage.svid("support-agent").await;
    let agent = with(
        with(without(good.clone(), "client_id"), "client_assertion_type", mandate_testkit::app::JWT_SPIFFE),
        "client_assertion",
        &svid,
    );
    stage.token("An agent", &agent).await;
    stage.allow(&waiting).await;
    stage.token("Another resource", &with(good.clone(), "resource", "https://other.acme.example")).await;
    stage.token("After all that, the device gets its token", &good).await;
    stage.token("Once more", &good).await;

    let second = device::begun(&stage.server, "read:cases").await;
    stage.log.names.name("device code", &second.code);
    stage.allow(&second).await;
    stage.token("A device without offline_access", &device::polling(&second)).await;
    let third = device::begun(&stage.server, "read:cases").await;
    stage.log.names.name("device code", &third.code);
    stage.allow(&third).await;
    let named = with(device::polling(&third), "resource", CRM);
    stage.token("A device that names its resource again", &named).await;

    let refused = device::begun(&stage.server, "read:cases").await;
    stage.log.names.name("device code", &refused.code);
    stage.refuse("the person refuses", &refused).await;
    stage.token("A device that was refused", &device::polling(&refused)).await;
    let late = device::begun(&stage.server, "read:cases").await;
    stage.log.names.name("device code", &late.code);
    stage.pass(600);
    stage.token("A device that nobody answered", &device::polling(&late)).await;
    assert!(named.iter().any(|(_, value)| value == DEVICE_CODE));
    stage.end("token_device").await;
}
