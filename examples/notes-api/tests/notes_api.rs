//! The example as a process.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

struct Api(Child);

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The issuer cannot be reached: what the API says about itself, and to a caller without a token, does not
/// need it.
#[tokio::test]
async fn it_says_where_it_listens_and_opens_nothing_without_a_token() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("data");
    let url = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_notes-api"));
    command.arg("http://127.0.0.1:1").arg(&dir).arg(&url).stdout(Stdio::piped());
    let mut api = Api(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(api.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("The API listens on {url}, for tokens of http://127.0.0.1:1.\n"));
    #[expect(clippy::disallowed_methods, reason = "no_proxy comes first")]
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let refused = http.get(format!("{url}/notes")).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Bearer ") && challenge.contains("resource_metadata="), "{challenge}");
    let metadata = http.get(format!("{url}/.well-known/oauth-protected-resource")).send().await.unwrap();
    assert!(metadata.text().await.unwrap().contains("\"read:notes\""));
}
