//! An axum API behind the verifier: `notes-api ISSUER DIRECTORY [OWN_URL]`.
//!
//! `DIRECTORY` is for what the verifier keeps; it is made if it is missing. `OWN_URL` is the resource's URI
//! in the registry, by default `http://127.0.0.1:9300`.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Extension;
use axum::routing::{get, post};
use axum::{Json, Router};
use mandate_verifier::{Freshness, Route, Verified, Verifier};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = std::env::args().nth(1).ok_or("name the issuer")?;
    let directory = PathBuf::from(std::env::args().nth(2).ok_or("name a directory")?);
    // For this user alone: a user who can write the cache file decides whose tokens are accepted.
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let own_url = std::env::args().nth(3).unwrap_or_else(|| "http://127.0.0.1:9300".to_owned());
    let listener = tokio::net::TcpListener::bind(own_url.trim_start_matches("http://")).await?;

    let verifier = Verifier::builder(issuer.parse()?, own_url.parse()?)
        .scopes_supported("read:notes write:notes".parse()?)
        .cache_file(directory.join("mandate.json"))
        .build()?;

    // Reading goes on while the issuer is away; writing does not for longer than two of its heartbeats.
    let read = Route::requires("read:notes")?.dangerous_accept_stale();
    let write =
        Route::requires("write:notes")?.freshness(Freshness::FailClosed { max_age: Duration::from_secs(10) });

    let notes = Arc::new(parking_lot::Mutex::new(Vec::<Value>::new()));
    let app = Router::new()
        .route("/notes", get(list).route_layer(verifier.layer(read)))
        .route("/notes/new", post(add).route_layer(verifier.layer(write)))
        .layer(verifier.metadata_layer())
        .layer(Extension(notes));
    println!("The API listens on {own_url}, for tokens of {issuer}.");
    axum::serve(listener, app).await?;
    Ok(())
}

type Notes = Arc<parking_lot::Mutex<Vec<Value>>>;

async fn list(Extension(notes): Extension<Notes>) -> Json<Value> {
    Json(json!(*notes.lock()))
}

async fn add(
    Extension(notes): Extension<Notes>,
    Extension(verified): Extension<Verified>,
    body: String,
) -> Json<Value> {
    // The token's id beside the change: one query to the audit log says who is behind it.
    let note = json!({
        "text": body,
        "for": verified.subject().sub,
        "by": verified.actor().map(|actor| &actor.sub),
        "token": verified.jti(),
    });
    notes.lock().push(note.clone());
    Json(note)
}
