//! SPIRE's server and agent as the trust domain whose JWT-SVIDs prove an agent:
//! `cargo xtask interop --on-demand spire`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mandate_testkit::app::{
    ACCESS_TOKEN, Answer, CALLBACK, CLIENT_SECRET, EXCHANGE, FormPairs, JWT_SPIFFE, PASSWORD, authorization,
    claims, exchange, form, redemption,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::registry::{CRM, SCOPE};
use crate::server::{Process, Server};

const BUILDER: &str = "spiffe://example.org/ci/builder";
const OTHER: &str = "spiffe://example.org/ci/other";
const PATIENCE: Duration = Duration::from_mins(1);
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A SPIRE server and an agent of it, with two workloads: every process of this user is both.
struct Spire {
    processes: Vec<Process>,
    folder: TempDir,
    programs: PathBuf,
    ports: [u16; 2],
}

impl Spire {
    fn start() -> Self {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/on-demand/spire");
        assert!(
            programs.join("spire-server").is_file(),
            "there is no SPIRE; `cargo xtask interop --on-demand spire` builds it"
        );
        let folder = tempfile::tempdir().unwrap();
        let endpoint = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(folder.path().join("endpoint.pem"), endpoint.cert.pem()).unwrap();
        fs::write(folder.path().join("endpoint.key"), endpoint.signing_key.serialize_pem()).unwrap();
        let ports = [(); 2]
            .map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port());
        let mut spire = Self { processes: Vec::new(), folder, programs, ports };
        spire.run_on("spire-server", "server.conf", &[]);
        let token =
            spire.until("spire-server", &["token", "generate", "-spiffeID", "spiffe://example.org/node"]);
        let token = token.lines().find_map(|line| line.strip_prefix("Token: ")).unwrap().trim().to_owned();
        spire.run_on("spire-agent", "agent.conf", &["-joinToken", &token]);
        let selector = format!("unix:uid:{}", rustix::process::getuid().as_raw());
        for id in [BUILDER, OTHER] {
            spire.until(
                "spire-server",
                &[
                    "entry",
                    "create",
                    "-parentID",
                    "spiffe://example.org/node",
                    "-spiffeID",
                    id,
                    "-selector",
                    &selector,
                ],
            );
        }
        spire
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env_clear()
            .env("FOLDER", self.folder.path())
            .env("SERVER_PORT", self.ports[0].to_string())
            .env("BUNDLE_PORT", self.ports[1].to_string())
            .stdin(Stdio::null());
        command
    }

    /// Starts a program that runs until the value is dropped.
    fn run_on(&mut self, program: &str, configuration: &str, options: &[&str]) {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/on-demand/spire").join(configuration);
        let log = fs::File::create(self.folder.path().join(format!("{program}.log"))).unwrap();
        let mut command = self.command(program);
        command.args(["run", "-expandEnv", "-config"]).arg(file).args(options).stderr(log);
        self.processes.push(Process::start_logging(&mut command).unwrap());
    }

    /// Runs a command until it succeeds.
    fn until(&self, program: &str, arguments: &[&str]) -> String {
        let socket = self.folder.path().join(program.replace("spire-", "")).with_extension("sock");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Output { status, stdout, stderr } =
                self.command(program).args(arguments).arg("-socketPath").arg(&socket).output().unwrap();
            if status.success() {
                return String::from_utf8(stdout).unwrap();
            }
            let logs = ["spire-server.log", "spire-agent.log"]
                .map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default());
            assert!(
                Instant::now() < deadline,
                "{arguments:?}: {}\n{}",
                String::from_utf8_lossy(&stderr),
                logs.concat()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A JWT-SVID, as `spire-agent api fetch jwt` prints it.
    fn svid(&self, id: &str, audience: &str) -> String {
        let fetch = ["api", "fetch", "jwt", "-audience", audience, "-spiffeID", id, "-output", "json"];
        let fetched: Value = serde_json::from_str(&self.until("spire-agent", &fetch)).unwrap();
        let [svid] = &fetched[0]["svids"].as_array().unwrap()[..] else { panic!("{fetched}") };
        assert_eq!(svid["spiffe_id"], id);
        svid["svid"].as_str().unwrap().to_owned()
    }

    /// How the registry finds the bundle at its `https_web` endpoint.
    fn by_endpoint(&self) -> String {
        let certificate = self.folder.path().join("endpoint.pem");
        format!("endpoint = \"https://127.0.0.1:{}\"\nca = \"{}\"", self.ports[1], certificate.display())
    }

    /// How it finds the bundle in a file, which `spire-server bundle show` prints.
    fn by_file(&self, folder: &Path) -> String {
        let (new, file) = (folder.join("bundle.new"), folder.join("example.org.json"));
        fs::write(&new, self.until("spire-server", &["bundle", "show", "-format", "spiffe"])).unwrap();
        fs::rename(new, &file).unwrap();
        format!("bundle = \"{}\"", file.display())
    }

    /// From now on JWT-SVIDs have another key, which was in no bundle before.
    fn rotate(&self) {
        let json = ["-output", "json"];
        let prepare = [&["localauthority", "jwt", "prepare"][..], &json].concat();
        let prepared: Value = serde_json::from_str(&self.until("spire-server", &prepare)).unwrap();
        let id = prepared["prepared_authority"]["authority_id"].as_str().unwrap();
        self.until("spire-server", &["localauthority", "jwt", "activate", "-authorityID", id]);
    }
}

impl Drop for Spire {
    fn drop(&mut self) {
        // The agent first.
        while self.processes.pop().is_some() {}
    }
}

/// A server on which `riley` lets the agent `builder` work, which SPIRE's workload proves.
fn registry(bundle: &str) -> String {
    format!(
        r#"resource = [{{ name = "crm", uri = "{CRM}", scopes = ["read:cases", "send:mail"] }}]
client = [
  {{ id = "support-app", redirect_uris = ["{CALLBACK}"] }},
  {{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["builder"] }},
]
[[trust_domain]]
name = "example.org"
{bundle}
[[person]]
name = "riley"
may = [{{ resource = "crm", scopes = ["read:cases", "send:mail"] }}]
[[agent]]
name = "builder"
owner = "riley"
purpose = "Reads the cases that a build fixes"
ceiling = [{{ resource = "crm", scopes = ["read:cases"] }}]
may = [{{ resource = "crm", scopes = ["read:cases"] }}]
proof = [{{ kind = "spiffe", trust_domain = "example.org", id = "{BUILDER}" }}]
[[grant]]
person = "riley"
agent = "builder"
resource = "crm"
scopes = ["read:cases"]
"#
    )
}

/// The request of the agent itself for a token of its own.
async fn by_itself(server: &Server, svid: &str) -> Answer {
    let own = form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", svid),
        ("resource", CRM),
    ]);
    server.app().token(&own).await
}

/// A request of `desk-app`.
async fn by_app(server: &Server, mut parameters: FormPairs) -> Answer {
    parameters.retain(|(name, _)| name != "client_id");
    let secret: String = url::form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect();
    let request = server.app().http.post(format!("{}/token", server.issuer()));
    let request = request.basic_auth("desk-app", Some(secret)).form(&parameters);
    Answer::of(request.send().await.unwrap()).await
}

/// The token of a person who logs in at `desk-app`.
async fn persons_token(server: &Server) -> String {
    let mut query = authorization(Some(CRM), Some(SCOPE));
    for (name, value) in &mut query {
        if name == "client_id" {
            "desk-app".clone_into(value);
        }
    }
    let app = server.app();
    let page = app.open(&query).await;
    let back = url::Url::parse(app.log_in(&page, "riley", PASSWORD).await.header("location")).unwrap();
    let code = back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let answer = by_app(server, redemption(&code)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.member("access_token")
}

/// The mandate in an answer: of `builder`, for `riley`.
fn is_the_builders(server: &Server, answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = claims(&answer.member("access_token"));
    println!("{said}");
    assert_eq!((&said["sub"], &said["aud"]), (&"riley".into(), &CRM.into()), "{said}");
    assert_eq!((&said["scope"], &said["iss"]), (&SCOPE.into(), &server.issuer().into()), "{said}");
    assert_eq!(said["act"]["sub"], "spiffe://mandate.internal/agent/builder", "{said}");
}

/// What a JWT-SVID of SPIRE is good for, and what not.
async fn proves_the_agent_and_nobody_else(spire: &Spire, server: &Server) {
    server.run(&["person", "set-password", "riley"], PASSWORD);
    server.run(&["client", "set-secret", "desk-app"], CLIENT_SECRET);
    let svid = spire.svid(BUILDER, server.issuer());
    println!("the JWT-SVID of SPIRE: {}", claims(&svid));

    // As client assertion of the workload itself.
    let person = server.app().person_token("riley", None, None).await;
    is_the_builders(server, &server.app().token(&exchange(&svid, &person, CRM, SCOPE)).await);
    let answer = by_itself(server, &svid).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(claims(&answer.member("access_token"))["sub"], "spiffe://mandate.internal/agent/builder");

    // As actor token that an app presents.
    let person = persons_token(server).await;
    let presented = |actor: &str| {
        form(&[
            ("grant_type", EXCHANGE),
            ("subject_token", &person),
            ("subject_token_type", ACCESS_TOKEN),
            ("actor_token", actor),
            ("actor_token_type", JWT),
            ("resource", CRM),
            ("scope", SCOPE),
        ])
    };
    is_the_builders(server, &by_app(server, presented(&svid)).await);

    // The record says what proved it.
    let records = server.run(&["audit", "query", "--agent", "builder", "--json"], "");
    assert!(records.contains(BUILDER), "{records}");

    // Another identity of the trust domain, and the right one for somebody else.
    for (what, wrong) in [
        ("another identity", spire.svid(OTHER, server.issuer())),
        ("another audience", spire.svid(BUILDER, "https://elsewhere.example")),
    ] {
        let answer = server.app().token(&exchange(&wrong, &person, CRM, SCOPE)).await;
        assert_eq!(answer.error(), "401 invalid_client", "{what}: {answer:?}");
        println!("{what}: {}", answer.member("error_description"));
        let answer = by_app(server, presented(&wrong)).await;
        assert_eq!(answer.error(), "400 invalid_request", "{what}: {answer:?}");
        println!("{what}: {}", answer.member("error_description"));
    }

    // A suspended agent gets nothing, however well SPIRE proves it.
    server.run(&["agent", "suspend", "builder"], "");
    let answer = server.app().token(&exchange(&svid, &person, CRM, SCOPE)).await;
    assert!(answer.status >= 400, "{answer:?}");
    println!("suspended: {}", answer.member("error_description"));
}

#[ignore = "on demand"]
#[tokio::test]
async fn the_jwt_svids_of_spire_prove_an_agent_by_the_bundle_at_its_endpoint_and_in_a_file() {
    let spire = Spire::start();
    let server = Server::start();
    server.run(&["apply", "-f", "-"], &registry(&spire.by_endpoint()));
    proves_the_agent_and_nobody_else(&spire, &server).await;

    let server = Server::start();
    // A folder that only this user can write to, as the server demands it.
    let bundle = spire.by_file(server.dir());
    server.run(&["apply", "-f", "-"], &registry(&bundle));
    // SPIRE's next key counts once it is in the file.
    spire.rotate();
    let svid = spire.svid(BUILDER, server.issuer());
    let answer = by_itself(&server, &svid).await;
    assert_eq!(answer.error(), "401 invalid_client", "{answer:?}");
    println!("a key that is not in the file: {}", answer.member("error_description"));
    spire.by_file(server.dir());
    let deadline = Instant::now() + PATIENCE;
    while by_itself(&server, &svid).await.status != 200 {
        assert!(Instant::now() < deadline, "the new bundle is not read");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    proves_the_agent_and_nobody_else(&spire, &server).await;
}
