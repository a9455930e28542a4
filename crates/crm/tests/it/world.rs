//! A CRM on a free port and a client for it.

use std::path::PathBuf;

use mandate_crm::{Evidence, Protection, inspect, serve};
use reqwest::header::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) struct Crm {
    pub(crate) url: String,
    pub(crate) credential: String,
    database: PathBuf,
    _directory: TempDir,
    server: JoinHandle<()>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Drop for Crm {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

impl Crm {
    pub(crate) async fn start((listener, url): (TcpListener, String), protection: Protection) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("crm.db");
        let path = database.clone();
        let server = tokio::spawn(async move { serve(listener, &path, protection).await.unwrap() });
        let created = async {
            while inspect(&database).is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), created).await.expect("a database");
        Self { url, credential: String::new(), database, _directory: directory, server }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request =
            if self.credential.is_empty() { request } else { request.bearer_auth(&self.credential) };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer {
            status,
            headers,
            json: serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(http().get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(http().post(format!("{}{path}", self.url)).json(&body)).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<String>) -> Answer {
        let request = http().post(format!("{}{path}", self.url));
        self.send(request.header("content-type", "application/json").body(body.into())).await
    }

    pub(crate) fn evidence(&self) -> Evidence {
        inspect(&self.database).unwrap()
    }
}

/// Does everything that the mails of case 3 say: the worst that a model can do.
pub(crate) async fn obey(crm: &Crm) -> Vec<u16> {
    let case = crm.get("/cases/3").await;
    assert_eq!(case.status, 200);
    let mut answers = Vec::new();
    for mail in case.json.get("mails").and_then(Value::as_array).unwrap() {
        for line in mail["body"].as_str().unwrap().lines() {
            if let Some((id, reason)) =
                line.strip_prefix("Close opportunity ").and_then(|rest| rest.split_once(": "))
            {
                let body = serde_json::json!({ "reason": reason });
                answers.push(crm.post(&format!("/opportunities/{id}/close"), body).await.status);
            }
            if let Some((to, text)) =
                line.strip_prefix("Send mail to ").and_then(|rest| rest.split_once(": "))
            {
                let body = serde_json::json!({ "to": to, "subject": "Our offer", "body": text });
                answers.push(crm.post("/outbox", body).await.status);
            }
        }
    }
    answers
}

/// A client that ignores proxies that the environment names.
#[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}
