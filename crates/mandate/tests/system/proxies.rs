//! Proxies that the environment names are not obeyed: who answers, and who reads what is sent, is not for it
//! to decide.

use std::fs;

use mandate_api::admin::{ApplyRequest, PasswordRequest};
use mandate_api::{AdminClient, Endpoint, registry_file};
use mandate_testkit::app::{App, CRM, PASSWORD, registry};
use mandate_testkit::proxy::LyingProxy;
use mandate_testkit::tls_front::PrivateCa;

use crate::foreign_issuer::Company;
use crate::login::Login;
use crate::processes::{Environment, Role, Server, run_in};
use crate::tls::{certificate, client, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_fetches_an_issuers_keys_and_a_node_joins_past_every_proxy_of_the_environment() {
    let proxy = LyingProxy::start();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start_in(&proxy.environment(), &root.path().join("server"));
    server.tell_the_story().await;
    let exchange = server.an_exchange(&root.path().join("node")).await;
    let authority = PrivateCa::generate();
    fs::write(root.path().join("company.pem"), authority.pem()).unwrap();
    for company in [Company::in_clear(), Company::with_tls(&authority, "company.pem").await] {
        company.declare(&server, root.path());
        let answer = company.exchange(&server, &exchange).await;
        assert_eq!((answer.status, company.keys_served()), (200, 1), "{answer:?}");
    }
    assert_eq!(proxy.asked(), 0);
}

/// An operator logs in, asks for the status, and has the token verified, all over the network.
async fn an_operator_at_work(environment: &Environment, role: &Role, app: &App, trust: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    let token = root.path().join("admin.token");
    let token = token.to_string_lossy();
    let mut login = Login::start_in(environment, app, &[&["--admin", "--out", &token], trust].concat());
    let back = login.decide_as("olga", app, "allow").await;
    login.paste(&back);
    let ran = login.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let shown = run_in(environment, &[&["token", "show", &token, "--issuer", &app.issuer], trust].concat());
    assert!(
        shown.code == Some(0) && shown.out.contains("The signature verifies"),
        "{}{}",
        shown.out,
        shown.err
    );
    let admin_url = role.text("admin_url");
    let status = run_in(
        environment,
        &[&["status", "--admin-url", &admin_url, "--admin-token-file", &token], trust].concat(),
    );
    assert!(status.code == Some(0) && status.out.contains(&app.issuer), "{}{}", status.out, status.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_to_no_proxy_of_the_environment() {
    let proxy = LyingProxy::start();
    let environment = proxy.environment();
    let root = tempfile::tempdir().unwrap();

    let plain = Server::start(&root.path().join("plain"));
    plain.tell_the_story().await;
    plain.admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    an_operator_at_work(&environment, &plain.role, &plain.app, &[]).await;
    assert_eq!(proxy.asked(), 0, "over plain HTTP");

    let pem = certificate(root.path());
    let role = serve(&[], root.path());
    let admin = AdminClient::new(Endpoint::Socket(role.text("admin_socket").into()));
    let entries = registry_file::parse(&registry(CRM, rustix::process::getuid().as_raw())).unwrap();
    admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
    admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    let ca = root.path().join("cert.pem");
    let app = client(&role.text("issuer"), &pem);
    an_operator_at_work(&environment, &role, &app, &["--ca", &ca.to_string_lossy()]).await;
    assert_eq!(proxy.asked(), 0, "over TLS");
}
