//! Keycloak as the identity provider, with the settings of `crates/testkit/on-demand/keycloak/settings.sh`:
//! `cargo xtask interop --on-demand keycloak`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mandate_core::registry::login_key;
use mandate_testkit::app::{
    Answer, App, CLIENT_SECRET, CODE_VERIFIER, authorization, claims, exchange, form,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::browser::callback;
use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::server::{Server, mandate};
use crate::webdriver::Browser;

const ADMIN: &str = "admin";
const ADMIN_PASSWORD: &str = "the password of the administrator";
const PERSON: &str = "dana";
const PERSON_PASSWORD: &str = "the password of the person";
const REALM: &str = "staff";
const APP: &str = "staff-app";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How long Keycloak may take to start.
const PATIENCE: Duration = Duration::from_mins(4);

/// A Keycloak with an empty database in memory.
struct Keycloak {
    process: Child,
    bin: PathBuf,
    url: String,
    log: TempDir,
}

impl Keycloak {
    /// Starts it, and waits until it answers.
    async fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/on-demand/keycloak");
        let version = fs::read_to_string(folder.join("built")).unwrap_or_else(|_| {
            panic!("there is no Keycloak; `cargo xtask interop --on-demand keycloak` installs it")
        });
        let bin = folder.join(format!("keycloak-{version}/bin"));
        let log = tempfile::tempdir().unwrap();
        let output = File::create(log.path().join("log")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let process = Command::new(bin.join("kc.sh"))
            .args(["start", "--optimized", "--http-enabled=true", "--hostname-strict=false"])
            .args(["--http-host=127.0.0.1", &format!("--http-port={port}")])
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut keycloak = Self { process, bin, url: format!("http://127.0.0.1:{port}"), log };
        let http = App::new(&keycloak.url).http;
        let deadline = Instant::now() + PATIENCE;
        while !http
            .get(format!("{}/realms/master", keycloak.url))
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            let ended = keycloak.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{}", keycloak.said());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        keycloak
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }

    fn issuer(&self) -> String {
        format!("{}/realms/{REALM}", self.url)
    }

    /// Runs a script with the settings of a realm. Gives the lines that it prints.
    fn set(&self, script: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/on-demand/keycloak");
        let output = Command::new("sh")
            .arg(scripts.join(script))
            .env("KCADM", self.bin.join("kcadm.sh"))
            .envs([("KEYCLOAK", &self.url[..]), ("ADMIN", ADMIN), ("KC_CLI_PASSWORD", ADMIN_PASSWORD)])
            .env("REALM", REALM)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        // Its script passes this signal on to Java, and waits for its end.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Keycloak, a server that trusts its realm, and a browser.
struct Company {
    server: Server,
    keycloak: Keycloak,
    browser: Browser,
    callback: String,
    /// Of Keycloak's service account `batch`.
    batch_secret: String,
    svid: String,
}

impl Company {
    /// As `docs/src/keycloak.md` says it, step by step.
    async fn start() -> Option<Self> {
        let browser = Browser::start().await?;
        let keycloak = Keycloak::start().await;
        let mut server = Server::start();
        let callback = callback().await;
        let settings = [("MANDATE", server.issuer()), ("APP", APP), ("APP_URI", &callback), ("SCOPE", SCOPE)];

        // The realm is made by the settings; the address by which people come back depends on its name alone.
        let key = login_key(&keycloak.issuer().parse().unwrap());
        let redirect_uri = format!("{}/login/callback/{key}", server.issuer());
        let printed = keycloak
            .set("settings.sh", &[&settings[..], &[("REDIRECT_URI", redirect_uri.as_str())]].concat());
        let [secret] = &printed[..] else { panic!("{printed:?}") };
        let people = [("PERSON", PERSON), ("PERSON_PASSWORD", PERSON_PASSWORD)];
        let printed = keycloak.set("others.sh", &[&settings[..], &people].concat());
        let [person, batch_secret] = &printed[..] else { panic!("{printed:?}") };

        let file = server.dir().join("company.toml");
        let added = server.run(
            &[
                "issuer",
                "add",
                &keycloak.issuer(),
                "--profile",
                "keycloak",
                "--login",
                "--client-id",
                "mandate",
                "--client-secret-file",
                "keycloak.secret",
                "--audience",
                server.issuer(),
                "--file",
                file.to_str().unwrap(),
            ],
            "",
        );
        assert!(added.contains(&redirect_uri), "{added}");
        println!("{added}");

        let folder = server.dir().join("login-secrets").join(key);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let secret_file = folder.join("keycloak.secret");
        fs::write(&secret_file, secret).unwrap();
        fs::set_permissions(&secret_file, fs::Permissions::from_mode(0o600)).unwrap();
        let declared = format!(
            r#"{}
[[person]]
name = "{PERSON}"
issuer = "{}"
sub = "{person}"
may = [{{ resource = "crm", scopes = ["read:cases", "send:mail"] }}]
[[grant]]
person = "{PERSON}"
agent = "support-agent"
resource = "crm"
scopes = ["read:cases"]
"#,
            fs::read_to_string(&file).unwrap(),
            keycloak.issuer(),
        );
        apply(&server, &registry(NO_KEYS, &declared));
        let socket = server.start_node();
        let (svid, _) = server.svid(&socket);
        Some(Self { server, keycloak, browser, callback, batch_secret: batch_secret.clone(), svid })
    }

    /// An address with the query of an authorization request.
    fn request(&self, endpoint: &str, client: &str, resource: Option<&str>, scope: &str) -> Url {
        let mut query = authorization(resource, Some(scope));
        query.retain(|(name, _)| !["redirect_uri", "client_id"].contains(&name.as_str()));
        query.extend(form(&[("redirect_uri", &self.callback), ("client_id", client)]));
        Url::parse_with_params(endpoint, &query).unwrap()
    }

    /// What the browser brings back to an app.
    async fn back(&self) -> HashMap<String, String> {
        let address = self.browser.arrival(&format!("{}?", self.callback)).await;
        address.query_pairs().into_owned().collect()
    }

    /// The token that our app gets for a person who logs in at Keycloak.
    async fn log_in(&self) -> String {
        let page =
            self.request(&format!("{}/authorize", self.server.issuer()), "support-app", Some(CRM), SCOPE);
        self.browser.open(page.as_str()).await;
        self.browser.click("button[name=provider]").await;
        self.browser.fill("#username", PERSON).await;
        self.browser.fill("#password", PERSON_PASSWORD).await;
        self.browser.click("#kc-login").await;
        let back = self.back().await;
        assert_eq!(back["iss"], self.server.issuer(), "{back:?}");
        let redemption = form(&[
            ("grant_type", "authorization_code"),
            ("client_id", "support-app"),
            ("code", &back["code"]),
            ("redirect_uri", &self.callback),
            ("code_verifier", CODE_VERIFIER),
            ("resource", CRM),
        ]);
        let answer = self.server.app().token(&redemption).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }

    fn endpoint(&self, name: &str) -> String {
        format!("{}/protocol/openid-connect/{name}", self.keycloak.issuer())
    }

    /// Keycloak's tokens for an app, in the session that the browser has there.
    async fn their_tokens(&self, client: &str, scope: &str) -> Value {
        // The callback of the login before is still shown.
        self.browser.open("about:blank").await;
        self.browser.open(self.request(&self.endpoint("auth"), client, None, scope).as_str()).await;
        let back = self.back().await;
        let redemption = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", back.get("code").unwrap_or_else(|| panic!("{back:?}"))),
            ("redirect_uri", &self.callback),
            ("code_verifier", CODE_VERIFIER),
        ];
        self.ask(&redemption).await
    }

    /// The answer of Keycloak's token endpoint.
    async fn ask(&self, parameters: &[(&str, &str)]) -> Value {
        let request = self.server.app().http.post(self.endpoint("token")).form(parameters);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The agent exchanges a token of Keycloak for a mandate on the CRM.
    async fn exchange(&self, token: &str) -> Answer {
        let mut parameters = exchange(&self.svid, token, CRM, SCOPE);
        parameters.retain(|(name, _)| name != "subject_token_type");
        parameters.extend(form(&[("subject_token_type", JWT)]));
        self.server.app().token(&parameters).await
    }

    /// Why an exchange does not take a token, as an exchange and `mandate issuer test` say it.
    async fn refusal(&self, token: &str) -> String {
        let answer = self.exchange(token).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let said = answer.member("error_description");
        let (code, tested) = self.test(token, &[]);
        let refusal = tested["refusal"].as_str().unwrap_or_else(|| panic!("{tested}")).to_owned();
        println!("refused: {said}");
        assert_eq!(code, Some(1), "{tested}");
        assert!(said.contains(refusal.split(':').next().unwrap()), "{said}; {refusal}");
        refusal
    }

    /// `mandate issuer test --json`: its exit code, and what it prints.
    fn test(&self, token: &str, options: &[&str]) -> (Option<i32>, Value) {
        let file = self.server.dir().join("access.token");
        fs::write(&file, token).unwrap();
        let output = mandate(self.server.dir(), &["issuer", "test", &self.keycloak.issuer(), "--json"])
            .args(options)
            .stdin(File::open(file).unwrap())
            .output()
            .unwrap();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// Whether the CRM is told that a token counts.
    async fn counts(&self, token: &str) -> bool {
        let request = self.server.app().http.post(format!("{}/introspect", self.server.issuer()));
        let secret: String = url::form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect();
        let request = request.basic_auth("crm-api", Some(secret)).form(&[("token", token)]);
        let answer = Answer::of(request.send().await.unwrap()).await;
        answer.json()["active"].as_bool().unwrap_or_else(|| panic!("{answer:?}"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}

#[ignore = "on demand"]
#[tokio::test]
async fn people_log_in_at_keycloak_and_agents_act_for_them_until_they_log_out_there() {
    let Some(company) = Company::start().await else { return };

    // A login through Keycloak.
    let own = company.log_in().await;
    let said = claims(&own);
    println!("the token of the login: {said}");
    assert_eq!(said["sub_id"]["iss"], company.keycloak.issuer(), "{said}");
    assert_eq!((&said["scope"], &said["aud"]), (&SCOPE.into(), &CRM.into()), "{said}");
    assert!(said["auth_time"].is_u64() && said["acr"].is_string(), "what Keycloak says of the login: {said}");
    assert!(company.counts(&own).await);

    // Keycloak's own access token of the app, as it is by default, is a subject token.
    let tokens = company.their_tokens(APP, &format!("openid {SCOPE}")).await;
    let theirs = text(&tokens["access_token"]);
    println!("the access token of Keycloak: {}", claims(theirs));
    let (code, tested) = company.test(theirs, &[]);
    assert_eq!((code, &tested["taken"]), (Some(0), &true.into()), "{tested}");
    assert_eq!((&tested["profile"], &tested["entry"]), (&"keycloak".into(), &"server".into()), "{tested}");
    let answer = company.exchange(theirs).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mandate = answer.member("access_token");
    let said = claims(&mandate);
    println!("the mandate: {said}");
    assert_eq!(
        said["sub_id"],
        json!({"format": "iss_sub", "iss": company.keycloak.issuer(), "sub": claims(theirs)["sub"]})
    );
    assert_eq!((&said["scope"], &said["aud"]), (&SCOPE.into(), &CRM.into()), "{said}");
    assert!(said["act"]["sub"].as_str().unwrap().ends_with("/agent/support-agent"), "{said}");
    assert!(company.counts(&mandate).await);

    // Its other tokens are not.
    let refusal = company.refusal(text(&tokens["id_token"])).await;
    assert_eq!(refusal, "not_access_token: typ", "an ID token");
    let default = company.their_tokens("default-app", "openid").await;
    let default = text(&default["access_token"]);
    assert_eq!(claims(default)["aud"], json!([company.server.issuer(), "account"]));
    assert_eq!(company.refusal(default).await, "subject_not_for_presenter: aud", "it is for `account` too");
    let batch = [
        ("grant_type", "client_credentials"),
        ("client_id", "batch"),
        ("client_secret", &company.batch_secret),
    ];
    let batch = company.ask(&batch).await;
    let refusal = company.refusal(text(&batch["access_token"])).await;
    assert!(refusal.starts_with("not_a_person"), "{refusal}");
    let narrow = company.their_tokens(APP, "openid").await;
    let answer = company.exchange(text(&narrow["access_token"])).await;
    assert!(answer.member("error_description").starts_with("scope_exceeds_subject"), "{answer:?}");

    // A logout at Keycloak ends both.
    company.browser.open(&company.endpoint("logout")).await;
    company.browser.click("#kc-logout").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    for (name, token) in [("the token of the login", &own), ("the mandate", &mandate)] {
        while company.counts(token).await {
            assert!(Instant::now() < deadline, "{name} outlives the logout; {}", company.keycloak.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let answer = company.exchange(theirs).await;
    assert_eq!(answer.status, 400, "Keycloak's token is older than the logout: {answer:?}");
    println!("after the logout: {}", answer.member("error_description"));
}
